"""Read columns from the database, and keep them in memory. A column gets a segment as rows are added."""

import itertools
import sqlite3
import threading
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from theodolite.columns.column import Column
from theodolite.columns.segment import Segment
from theodolite.engines.local.derived.columns.column_files import ColumnFiles
from theodolite.engines.local.storage.records import IDENTITY, Keys
from theodolite.filters import lookup
from theodolite.forking import register_at_fork
from theodolite.metadata import MAX_DEPTH, decode_stored, stored_key

BUDGET = 256 << 20
"""Bytes of columns to keep; the least recently used are dropped first. A single column may be larger."""

_CHUNK = 512  # rows at a time: so few that their tuples never trigger the garbage collector
_LIST = [None]  # a placeholder for any non-empty list
_MAX_PATH = 1000  # characters of a name that SQLite evaluates: it parses the path again for each document
_PARSED = 1 << 16  # JSON texts parsed in one piece


def extended(column: Column, connection: sqlite3.Connection, rows: int, commit: int, keys: Keys = IDENTITY) -> Column:
    """Return a column up to `rows`, read within a transaction that sees `commit`."""
    segments = list(column.segments)
    new = read_segment(connection, column.field, column.rows, rows, commit, keys)
    # Each segment is larger than all later ones together, so there are few, and each row is moved few times.
    while segments and segments[-1].stop - segments[-1].start <= new.stop - new.start:
        new = merge(segments.pop(), new)
    return Column(column.field, (*segments, new))


def read_segment(
    connection: sqlite3.Connection, field: str, start: int, stop: int, commit: int, keys: Keys = IDENTITY
) -> Segment:
    """Read the rows from `start` to `stop`. Each distinct JSON text is parsed once."""
    number_of: defaultdict[Any, int] = defaultdict(itertools.count().__next__)
    number_of[None] = -1
    places: list[NDArray[np.int64]] = []
    numbers: list[int] = []
    cursor = connection.execute(_select(field), (keys.key(start), keys.key(stop)))
    while batch := cursor.fetchmany(_CHUNK):
        row_keys, values_read = zip(*batch, strict=True)
        places.append(keys.rows(np.array(row_keys, np.int64)) - start)
        numbers += map(number_of.__getitem__, values_read)
    del number_of[None]
    value_numbers = np.array(numbers, np.int64)
    has_value = value_numbers >= 0
    value_places = np.concatenate([np.empty(0, np.int64), *places])[has_value].astype(np.int32)
    texts = list(number_of)
    if json_expression(field) is None:
        values = [lookup(metadata, field) for metadata in _parsed(texts)]
        return Segment.of(start, stop, commit, value_places, value_numbers[has_value], values)
    listed = [text[0] == "[" and text != "[]" for text in texts]
    plain = _parsed([text for text, is_list in zip(texts, listed, strict=True) if not is_list])
    values = [_LIST if is_list else next(plain) for is_list in listed]
    return Segment.of(start, stop, commit, value_places, value_numbers[has_value], values, texts)


def merge(first: Segment, second: Segment) -> Segment:
    """Merge two adjacent segments."""
    shift = second.start - first.start
    (places, numbers, values), (more_places, more_numbers, more_values) = first.entries(), second.entries()
    return Segment.of(
        first.start,
        second.stop,
        max(first.read_at, second.read_at),
        np.concatenate([places, more_places + np.int32(shift)]),
        _joined(numbers, more_numbers, len(values)),
        values + more_values,
    )


def _joined(first: NDArray[np.int64], second: NDArray[np.int64], shift: int) -> NDArray[np.int64]:
    return np.concatenate([first, second + shift])


def _parsed(texts: list[str]) -> Iterator[Any]:
    for start in range(0, len(texts), _PARSED):
        yield from decode_stored(f"[{','.join(texts[start : start + _PARSED])}]")


def json_expression(field: str) -> str | None:
    """Return SQL for the JSON text of a field, NULL if it is missing; None if SQLite's paths cannot name the field.

    `->` returns the text itself; json_extract would cut at NUL and round large numbers. A dotted name is a path into
    mappings, but at each level the rest of the name as one key comes first (as in `filters.lookup`).
    """
    if not 0 < len(field) <= _MAX_PATH or any(c in '"\\' or ord(c) < 32 for c in field):
        return None
    parts = field.split(".")
    if len(parts) > MAX_DEPTH:
        return None
    ways = [_path([*parts[:level], ".".join(parts[level:])]) for level in range(len(parts))]
    values = ", ".join(f"metadata -> '{way}'" for way in ways)
    return values if len(ways) == 1 else f"coalesce({values})"


def _path(keys: list[str]) -> str:
    return ("$" + "".join(f'."{stored_key(key)}"' for key in keys)).replace("'", "''")


def _select(field: str) -> str:
    value = json_expression(field) or "metadata"
    return f"SELECT row, {value} FROM documents WHERE row >= ? AND row < ? ORDER BY row"  # noqa: S608 - quoted above


class Columns:
    """An LRU cache of columns by field. Thread-safe; columns themselves never change."""

    def __init__(self, files: ColumnFiles | None = None, keys: Keys = IDENTITY, budget: int = BUDGET) -> None:
        self._files = files
        self._keys = keys
        self._budget = budget
        self._columns: dict[str, Column] = {}
        self.nbytes = 0
        self._lock = threading.Lock()
        register_at_fork(self)

    def forked(self, held: bool) -> None:
        """Empty the cache in a forked child if another thread may have been changing it."""
        if held:
            self._columns, self.nbytes = {}, 0

    @property
    def fields(self) -> int:
        """The number of columns in memory."""
        return len(self._columns)

    def column(self, field: str, connection: sqlite3.Connection, rows: int, commit: int) -> Column:
        """Return the column of a field, up to at least `rows`, within a transaction that sees `commit`.

        It may have values of dead rows. It has those of all live rows, provided that `Column.read_at(rows)` is not
        above `commit`.
        """
        with self._lock:
            column = self._columns.pop(field, None)
            self.nbytes -= 0 if column is None else column.nbytes
            if column is None:
                first = self._files.load(field, connection, commit) if self._files else None
                column = Column(field, () if first is None else (first,))
            try:
                if column.rows < rows:
                    first = column.segments[0] if column.segments else None
                    column = extended(column, connection, rows, commit, self._keys)
                    if self._files and column.segments[0] is not first:
                        self._files.save(field, connection, column.segments[0])
            finally:
                self._columns[field] = column
                self.nbytes += column.nbytes
            while self.nbytes > self._budget and len(self._columns) > 1:
                self.nbytes -= self._columns.pop(next(iter(self._columns))).nbytes
            return column
