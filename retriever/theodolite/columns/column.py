"""One metadata field over all rows, and filters evaluated on such columns."""

from collections.abc import Callable, Sequence
from typing import Any, assert_never

import numpy as np

from theodolite.columns.segment import Segment
from theodolite.filters import MISSING, And, Compare, Contains, Empty, Exists, Filter, Ids, In, Like, Not, Or, Test
from theodolite.types import Mask, Rows


class Column:
    """The values of a field in rows 0 to `rows`. Immutable."""

    __slots__ = ("field", "nbytes", "rows", "segments")

    def __init__(self, field: str, segments: tuple[Segment, ...] = ()) -> None:
        self.field = field
        self.segments = segments
        self.rows = segments[-1].stop if segments else 0
        self.nbytes = sum(segment.nbytes for segment in segments)

    @classmethod
    def of(cls, field: str, values: Sequence[Any]) -> "Column":
        """Return a column in memory: row i has values[i], or no value if that is MISSING."""
        places = np.array([place for place, value in enumerate(values) if value is not MISSING], np.int32)
        present = [value for value in values if value is not MISSING]
        return cls(field, (Segment.of(0, len(values), 0, places, np.arange(len(present)), present),))

    def mask(self, test: Test, rows: int) -> Mask:
        """Return the mask of the first `rows` rows that pass."""
        out = np.empty(self.rows, np.bool_)
        for segment in self.segments:
            if segment.start < rows:
                segment.mask(test, out[segment.start : segment.stop])
        return out[:rows]

    def value(self, row: int) -> Any:
        """Return the value of a row, or MISSING; None for a list."""
        segment = next(segment for segment in self.segments if row < segment.stop)
        return segment.dictionary.value(segment.code(row - segment.start))

    def read_at(self, rows: int) -> int:
        """Return the newest commit at which values of the first `rows` rows were read."""
        return max((segment.read_at for segment in self.segments if segment.start < rows), default=0)


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
