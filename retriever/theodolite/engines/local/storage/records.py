"""Read the table `documents`, and map rows of the vector file to its keys."""

import sqlite3
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

import numpy as np

from theodolite.engines.records import Record
from theodolite.errors import CorruptionError
from theodolite.types import Rows

MAX_PARAMETERS = 500  # per statement; old versions of SQLite allow 999


def select_documents(
    connection: sqlite3.Connection, columns: str, key: str, values: Sequence[object], partition: str | None = None
) -> Iterator[Any]:
    """Yield columns of the documents whose `key` is one of `values`, in any order.

    Args:
        partition: only look in this partition.
    """
    condition, parameters = ("", ()) if partition is None else (" AND partition = ?", (partition,))

    def rows(start: int) -> Iterator[Any]:
        part = values[start : start + MAX_PARAMETERS]
        marks = ",".join("?" * len(part))
        return connection.execute(
            f"SELECT {columns} FROM documents WHERE {key} IN ({marks}){condition}",  # noqa: S608 - names are ours
            (*part, *parameters),
        )

    return chain.from_iterable(map(rows, range(0, len(values), MAX_PARAMETERS)))


def read_records(connection: sqlite3.Connection, keys: Sequence[int]) -> dict[int, Record]:
    """Return the records of the documents with these keys; keys without a document are omitted."""
    rows = select_documents(connection, "row, id, text, metadata", "row", keys)
    return {key: Record(*rest) for key, *rest in rows}


class Keys:
    """Maps rows of one generation's vector file to `documents.row`, the keys. Immutable; keys increase with rows.

    A document has one key for life, and no key is used twice. The database stores only keys. The vector file, and
    everything derived from it, numbers rows from 0 without gaps, also after a compaction removed dead rows. Until the
    first compaction keys and rows are the same.

    Attributes:
        first: (n,) the keys of the rows that the last compaction kept.
        shift: key minus row, for all later rows.
    """

    __slots__ = ("first", "shift")

    def __init__(self, first: Rows | None = None, shift: int = 0) -> None:
        self.first = np.empty(0, np.int64) if first is None else first
        self.shift = shift

    def of(self, rows: Rows) -> Rows:
        """Return the keys of rows, (m,)."""
        if not self.shift:
            return rows
        keys = rows + self.shift
        old = rows < len(self.first)
        keys[old] = self.first[rows[old]]
        return keys

    def key(self, row: int) -> int:
        """Return the key of one row, or the key that the next row will have."""
        return int(self.first[row]) if row < len(self.first) else row + self.shift

    def rows(self, keys: Rows) -> Rows:
        """Return the rows of keys, (m,).

        Raises:
            CorruptionError: a key belongs to no row.
        """
        if not self.shift:
            return keys
        rows = self.find(keys)
        if len(rows) and rows.min() < 0:
            lost = keys[rows < 0]
            raise CorruptionError(f"the database has {len(lost)} documents without a vector, first number {lost[0]}")
        return rows

    def find(self, keys: Rows) -> Rows:
        """Return the rows of keys, (m,), -1 for a row that a compaction has removed."""
        if not self.shift:
            return keys
        rows = keys - self.shift
        old = rows < len(self.first)
        if old.any():
            places = np.searchsorted(self.first, keys[old])
            places[places == len(self.first)] = 0
            exists = self.first[places] == keys[old] if len(self.first) else np.zeros(len(places), np.bool_)
            rows[old] = np.where(exists, places, -1)
        return rows


IDENTITY = Keys()
"""The keys before the first compaction."""
