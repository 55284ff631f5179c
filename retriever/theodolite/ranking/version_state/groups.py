"""When each row stops being current by `Latest`: when a newer row of its group begins."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from theodolite.ranking.version_state.field_arrays import FOREVER, Ints
from theodolite.ranking.versions import Latest
from theodolite.types import Mask, Rows

_FEW = 4  # groups that all rows are compared with, one after the other
_WIDE = 31  # bits of a group's number; with a partition's it has more


@dataclass(frozen=True, slots=True, eq=False)
class Groups:
    """A `Latest` rule applied to the rows of one commit.

    Attributes:
        rule: the rule.
        group: (rows,) the number of each row's group, the same at every commit; -1 for rows without one.
        rank: (rows,) the rank of `by`, at least 0; higher is newer.
        until: (rows,) when the first newer row of the group begins; FOREVER if there is none, or outside.
        touched: the rows whose `until` was computed after that of an earlier commit was reused; None for all rows.
    """

    rule: Latest
    group: NDArray[np.integer[Any]]
    rank: Ints
    until: Ints
    touched: Rows | None

    @classmethod
    def of(
        cls,
        rule: Latest,
        group: NDArray[np.integer[Any]],
        rank: Ints,
        begin: Ints,
        inside: Mask,
        before: tuple["Groups", Rows] | None = None,
    ) -> "Groups":
        """Apply the rule.

        Args:
            begin: (rows,) when each row begins.
            inside: (rows,) the rows that count.
            before: the rule at another commit with no more rows, and the rows that are inside at only one of the two
                commits. Only their groups are computed again.
        """
        if before is None:
            rows, touched = np.flatnonzero(inside & (group >= 0)), None
            until = np.full(len(group), FOREVER, np.int64)
        else:
            earlier, changed = before
            in_groups = _in_groups_of(group, changed)
            # A row that has died since may have lost its value: its group is known from the earlier commit.
            then = earlier.group
            in_groups[: len(then)] |= _in_groups_of(then, changed[changed < len(then)])
            touched = rows = np.flatnonzero(in_groups & inside)
            until = extended(earlier.until, len(group), FOREVER)
        if len(rows):
            until[rows] = _until(group[rows].astype(np.int64), rank[rows], begin[rows])
        return cls(rule, group, rank, until, touched)

    def until_at(self, rows: Rows) -> Ints:
        """Return when these rows stop being current."""
        return self.until[rows]

    def successors(self, gone: Mask, as_of: int) -> Mask:
        """Return the rows of groups in which one of the rows `gone` was replaced by `as_of`."""
        return _in_groups_of(self.group, np.flatnonzero(gone & (self.until <= as_of)))

    def members(self, row: int) -> Rows:
        """Return the rows of a row's group; none if it has no group."""
        number = self.group[row]
        return np.flatnonzero(self.group == number) if number >= 0 else np.empty(0, np.int64)


def _in_groups_of(group: NDArray[np.integer[Any]], rows: Rows) -> Mask:
    """Return a mask of the rows that share a group with one of these rows."""
    numbers = np.unique(group[rows])
    numbers = numbers[numbers >= 0]
    if len(numbers) > _FEW:
        return np.isin(group, numbers)
    mask: Mask = np.zeros(len(group), np.bool_)
    for number in numbers:  # as after a small commit
        mask |= group == number
    return mask


def extended(array: Ints, rows: int, value: int) -> Ints:
    """Return a copy of an array with `rows` rows; further ones have this value."""
    longer = np.empty(rows, np.int64)
    longer[: len(array)] = array
    longer[len(array) :] = value
    return longer


def _until(group: Ints, rank: Ints, begin: Ints) -> Ints:
    """Return when the first row of the same group with a higher rank begins."""
    rank = rank - rank.min()
    if int(rank.max()) >= len(rank):
        rank = _numbered(rank)
    if int(group.max()) >> _WIDE:
        group = _numbered(group)
    width = int(rank.max()) + 1
    order, ordered = _sorted(group * width + rank)
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    first = np.minimum.reduceat(begin[order], starts)
    group = ordered[starts] // width
    # The minimum from each run to the end of its group: after the step of 2^n, over the 2^(n+1) runs from it.
    step = 1
    while step < len(first):
        beyond = np.where(group[step:] == group[:-step], first[step:], FOREVER)
        if not (beyond < first[:-step]).any():
            break  # a longer step finds nothing earlier
        first[:-step] = np.minimum(first[:-step], beyond)
        step *= 2
    after = np.full(len(first), FOREVER, np.int64)
    after[:-1] = np.where(group[1:] == group[:-1], first[1:], FOREVER)
    until = np.empty(len(order), np.int64)
    until[order] = np.repeat(after, np.diff(starts, append=len(order)))
    return until


def _numbered(keys: Ints) -> Ints:
    """Number the distinct keys from 0; keys are not negative."""
    order, ordered = _sorted(keys)
    numbers = np.empty(len(keys), np.int64)
    numbers[order] = np.cumsum(np.diff(ordered, prepend=ordered[:1]) != 0)
    return numbers


def _sorted(keys: Ints) -> tuple[Rows, Ints]:
    """Return the places of the keys in sorted order, and the sorted keys. Keys are not negative."""
    bits = len(keys).bit_length()
    if int(keys.max(initial=0)).bit_length() + bits < 64:
        # Sorted with their places in the lowest bits: numpy sorts numbers five times faster than it sorts places.
        packed = np.sort(keys << bits | np.arange(len(keys)))
        return packed & ((1 << bits) - 1), packed >> bits
    order = np.argsort(keys)
    return order, keys[order]
