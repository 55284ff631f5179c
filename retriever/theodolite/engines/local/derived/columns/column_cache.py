"""The columns of one generation in memory, and filters evaluated on columns."""

import sqlite3
import threading
from collections.abc import Callable
from typing import assert_never

import numpy as np

from theodolite.engines.local.derived.columns.column import Column
from theodolite.engines.local.derived.columns.column_files import ColumnFiles
from theodolite.engines.local.storage.records import IDENTITY, Keys
from theodolite.filters import And, Compare, Contains, Empty, Exists, Filter, Ids, In, Like, Not, Or
from theodolite.forking import register_at_fork
from theodolite.types import Mask, Rows

BUDGET = 256 << 20
"""Bytes of columns to keep; the least recently used are dropped first. A single column may be larger."""


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
                    column = column.extended(connection, rows, commit, self._keys)
                    if self._files and column.segments[0] is not first:
                        self._files.save(field, connection, column.segments[0])
            finally:
                self._columns[field] = column
                self.nbytes += column.nbytes
            while self.nbytes > self._budget and len(self._columns) > 1:
                self.nbytes -= self._columns.pop(next(iter(self._columns))).nbytes
            return column


def evaluate(
    tree: Filter, column: Callable[[str], Column], rows_of_ids: Callable[[frozenset[str]], Rows], rows: int
) -> Mask:
    """Return the mask of the first `rows` rows that pass the filter.

    Args:
        column: returns the column of a field.
        rows_of_ids: returns the rows of the documents with these ids.
    """
    match tree:
        case In() | Compare() | Exists() | Empty() | Contains() | Like():
            return column(tree.field).mask(tree, rows)
        case Ids(ids=ids):
            mask = np.zeros(rows, np.bool_)
            mask[rows_of_ids(ids)] = True
            return mask
        case Not(part=part):
            mask = evaluate(part, column, rows_of_ids, rows)
            return np.logical_not(mask, out=mask)
        case And(parts=parts):
            mask = np.ones(rows, np.bool_)
            for part in parts:
                mask &= evaluate(part, column, rows_of_ids, rows)
            return mask
        case Or(parts=parts):
            mask = np.zeros(rows, np.bool_)
            for part in parts:
                mask |= evaluate(part, column, rows_of_ids, rows)
            return mask
        case _:
            assert_never(tree)
