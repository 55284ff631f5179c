"""Columns: one metadata field over all rows, dictionary-coded; filters become row masks through them.

A column is built the first time a filter names its field, from the JSON text of the field, of which each distinct
one is parsed once. A test runs on the distinct values; its outcome is looked up for every row.
"""

import sqlite3
from typing import Any, assert_never

import numpy as np
from numpy.typing import NDArray

from theodolite.engines.local.records import stored
from theodolite.filters import (
    MISSING,
    And,
    Compare,
    Contains,
    Empty,
    Exists,
    Filter,
    In,
    Like,
    Not,
    Or,
    Test,
    holds,
    lookup,
)
from theodolite.metadata import stored_key
from theodolite.types import Mask


class Column:
    """The values of one field.

    Attributes:
        rows: how many rows are covered; rows without a document have MISSING.
    """

    def __init__(self, field: str) -> None:
        self._field = field
        self._codes: NDArray[np.int32] = np.empty(0, np.int32)
        self._values: list[Any] = [MISSING]
        self._code_of: dict[str | None, int] = {None: 0}

    @property
    def rows(self) -> int:
        return len(self._codes)

    def extend(self, connection: sqlite3.Connection, rows: int) -> None:
        """Read the rows from `self.rows` up to `rows`. Interrupted anywhere, it can be called again."""
        first = self.rows
        codes = np.zeros(rows - first, np.int32)
        for row, text in connection.execute(_select(self._field), (first, rows)):
            code = self._code_of.get(text)
            if code is None:
                self._values.append(self._value(text))
                code = self._code_of[text] = len(self._values) - 1
            codes[row - first] = code
        self._codes = np.concatenate([self._codes, codes])

    def mask(self, test: Test, rows: int) -> Mask:
        """Which of the first `rows` rows pass."""
        passes = np.fromiter((holds(test, value) for value in self._values), np.bool_, len(self._values))
        codes = self._codes[:rows]
        if np.count_nonzero(passes) == 1:  # comparing is several times faster than looking up
            only: Mask = codes == int(passes.argmax())
            return only
        return passes[codes]

    def _value(self, text: str) -> Any:
        return stored(text) if _is_plain(self._field) else lookup(stored(text), self._field)


def evaluate(tree: Filter, columns: dict[str, Column], rows: int) -> Mask:
    """Which of the first `rows` rows pass the filter; `columns` holds every field it names."""
    match tree:
        case In() | Compare() | Exists() | Empty() | Contains() | Like():
            return columns[tree.field].mask(tree, rows)
        case Not(part=part):
            return ~evaluate(part, columns, rows)
        case And(parts=parts):
            mask = np.ones(rows, np.bool_)
            for part in parts:
                mask &= evaluate(part, columns, rows)
            return mask
        case Or(parts=parts):
            mask = np.zeros(rows, np.bool_)
            for part in parts:
                mask |= evaluate(part, columns, rows)
            return mask
        case _:
            assert_never(tree)


def _is_plain(field: str) -> bool:
    # SQLite's JSON paths have no way to quote these, and a dot may be part of a key or not.
    return bool(field) and not any(c in '."\\' or ord(c) < 32 for c in field)


def _select(field: str) -> str:
    # `->` gives the JSON text as it stands; json_extract would cut at NUL, and round large numbers.
    value = "metadata"
    if _is_plain(field):
        path = f'$."{stored_key(field)}"'.replace("'", "''")
        value = f"metadata -> '{path}'"
    return f"SELECT row, {value} FROM documents WHERE row >= ? AND row < ? ORDER BY row"  # noqa: S608 - quoted above
