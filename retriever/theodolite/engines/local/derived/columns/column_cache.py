"""The columns of one generation that are in memory."""

import sqlite3
import threading
from collections.abc import Callable
from typing import assert_never

import numpy as np

from theodolite.engines.local.derived.columns.column import Column
from theodolite.engines.local.derived.columns.column_files import ColumnFiles
from theodolite.engines.local.storage.keys import IDENTITY, Keys
from theodolite.filters import And, Compare, Contains, Empty, Exists, Filter, Ids, In, Like, Not, Or
from theodolite.forking import register_at_fork
from theodolite.types import Mask, Rows

BUDGET = 256 << 20
"""Bytes that columns may take; those used longest ago give way. The one in use may be larger."""


class Columns:
    """Columns by field, the one used last at the end. Shared by threads: columns themselves never change."""

    def __init__(self, files: ColumnFiles | None = None, keys: Keys = IDENTITY, budget: int = BUDGET) -> None:
        self._files = files
        self._keys = keys
        self._budget = budget
        self._held: dict[str, Column] = {}
        self.nbytes = 0
        self._lock = threading.Lock()
        register_at_fork(self)

    def forked(self, held: bool) -> None:
        """In a forked child: what another thread was changing is read again."""
        if held:
            self._held, self.nbytes = {}, 0

    @property
    def fields(self) -> int:
        return len(self._held)

    def column(self, field: str, connection: sqlite3.Connection, rows: int, commit: int) -> Column:
        """The column of a field, up to `rows` at least, within a transaction that sees `commit`.

        It may hold values of rows that have died since, but none that are of rows still alive are missing, provided
        that `Column.read_at(rows)` is not above `commit`.
        """
        with self._lock:
            column = self._held.pop(field, None)
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
                self._held[field] = column
                self.nbytes += column.nbytes
            while self.nbytes > self._budget and len(self._held) > 1:
                self.nbytes -= self._held.pop(next(iter(self._held))).nbytes
            return column


def evaluate(tree: Filter, column: Callable[[str], Column], named: Callable[[frozenset[str]], Rows], rows: int) -> Mask:
    """Which of the first `rows` rows pass the filter.

    Args:
        column: gives the column of a field.
        named: gives the rows of the documents with these ids.
    """
    match tree:
        case In() | Compare() | Exists() | Empty() | Contains() | Like():
            return column(tree.field).mask(tree, rows)
        case Ids(ids=ids):
            mask = np.zeros(rows, np.bool_)
            mask[named(ids)] = True
            return mask
        case Not(part=part):
            mask = evaluate(part, column, named, rows)
            return np.logical_not(mask, out=mask)
        case And(parts=parts):
            mask = np.ones(rows, np.bool_)
            for part in parts:
                mask &= evaluate(part, column, named, rows)
            return mask
        case Or(parts=parts):
            mask = np.zeros(rows, np.bool_)
            for part in parts:
                mask |= evaluate(part, column, named, rows)
            return mask
        case _:
            assert_never(tree)
