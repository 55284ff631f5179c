"""How many words each document has, as FTS5 counts them."""

import sqlite3
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from theodolite.engines.local.storage.keys import Keys
from theodolite.errors import CorruptionError
from theodolite.types import Mask, Rows

_MANY = 500  # parameters of one statement; old SQLites take 999

Counts = NDArray[np.int32]


class Lengths:
    """The lengths of a generation's documents, kept from search to search.

    A row never changes, so that what is known of it is right for every transaction that sees it. One that had ended
    when the others were read is looked up by the transactions that still see it.
    """

    def __init__(self, generation: int, keys: Keys, *, prepared: bool) -> None:
        """`prepared` says whether the texts were prepared for the index (see `scripts`)."""
        self.generation = generation
        self._keys = keys
        self.prepared = prepared
        self._known: Counts = np.empty(0, np.int32)  # -1 where it is not
        self._total: tuple[Mask | None, int] = (None, 0)

    def of(self, connection: sqlite3.Connection, rows: Rows) -> Counts:
        """(n,) the lengths of some rows, rising, which are documents to the transaction."""
        known = self._known
        if len(rows) and rows[-1] >= len(known):
            self._known = known = _longer(connection, known, int(rows[-1]) + 1, self._keys)
        lengths: Counts = known[rows]
        missing: list[int] = self._keys.of(rows[lengths < 0]).tolist()
        for start in range(0, len(missing), _MANY):
            some = missing[start : start + _MANY]
            marks = ", ".join("?" * len(some))
            query = f"SELECT id, sz FROM lexical_docsize WHERE id IN ({marks})"  # noqa: S608
            _fill(known, connection.execute(query, some).fetchall(), self._keys)
        if missing:
            lengths = known[rows]
            if lengths.min() < 0:
                raise CorruptionError(f"document number {missing[0]} is missing in the lexical index. Run repair()")
        return lengths

    def total(self, connection: sqlite3.Connection, scope: Mask) -> int:
        """The sum over a scope, (rows,), which does not change any more."""
        of, total = self._total
        if of is not scope:  # searches of one snapshot share the mask of what is living
            total = int(self.of(connection, np.flatnonzero(scope)).sum(dtype=np.int64))
            self._total = scope, total
        return total


def _longer(connection: sqlite3.Connection, known: Counts, rows: int, keys: Keys) -> Counts:
    """What is known, and of `rows` rows now."""
    query = "SELECT id, sz FROM lexical_docsize WHERE id >= ? AND id < ?"
    found = connection.execute(query, (keys.key(len(known)), keys.key(rows))).fetchall()
    longer = np.full(rows, -1, np.int32)
    longer[: len(known)] = known
    _fill(longer, found, keys)
    return longer


def _fill(lengths: Counts, found: Sequence[tuple[int, bytes]], keys: Keys) -> None:
    rows = keys.rows(np.array([key for key, _ in found], np.int64)).tolist()
    for row, (_, size) in zip(rows, found, strict=True):
        try:
            lengths[row] = _varint(size)
        except (TypeError, OverflowError) as error:
            raise CorruptionError(f"the length of row {row} in the lexical index is damaged. Run repair()") from error


def _varint(data: bytes) -> int:
    """An integer as SQLite stores it: seven bits in a byte, the highest first."""
    value = 0
    for byte in data:
        value = value << 7 | byte & 0x7F
    return value
