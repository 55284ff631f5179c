"""`Latest`: until when each row is the newest of its group."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from theodolite.engines.local.derived.versions.field_arrays import FOREVER, Ints
from theodolite.ranking.versions import Latest
from theodolite.types import Mask, Rows


@dataclass(frozen=True, slots=True, eq=False)
class Groups:
    """The rule on the rows of one commit.

    Attributes:
        rule: the rule.
        group: (rows,) the number of each row's group, -1 where it stands alone.
        rank: (rows,) the place of `by`, the higher the newer.
        until: (rows,) when the first newer row of the group begins; FOREVER where there is none, or outside.
    """

    rule: Latest
    group: NDArray[np.integer[Any]]
    rank: Ints
    until: Ints

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
        """From when each row begins, and which rows count.

        Args:
            before: the rule at another commit, of no more rows, and the rows inside now or then, but not both times:
                only their groups are looked at.
        """
        chosen = inside & (group >= 0)
        until = np.full(len(group), FOREVER, np.int64)
        if before is not None:
            earlier, changed = before
            touched = _flagged(group, changed)
            # A row that has died since may have lost its value: what it was in is known from then.
            then = earlier.group
            touched[: len(then)] |= _flagged(then, changed[changed < len(then)])
            until[: len(earlier.until)] = earlier.until
            chosen &= touched
        rows = np.flatnonzero(chosen)
        if len(rows):
            until[rows] = _until(group[rows].astype(np.int64), rank[rows], begin[rows])
        return cls(rule, group, rank, until)

    def successors(self, gone: Mask, as_of: int) -> Mask:
        """Rows of the groups where one of the rows `gone` has been overtaken by `as_of`."""
        return _flagged(self.group, np.flatnonzero(gone & (self.until <= as_of)))

    def mates(self, row: int) -> Rows:
        """The rows of a row's group; none for one that stands alone."""
        number = self.group[row]
        return np.flatnonzero(self.group == number) if number >= 0 else np.empty(0, np.int64)


def _flagged(group: NDArray[np.integer[Any]], rows: Rows) -> Mask:
    """Which rows share a group with one of some rows."""
    flags = np.zeros(int(group.max(initial=-1)) + 2, np.bool_)
    flags[group[rows]] = True
    flags[-1] = False  # where the number -1 leads
    mask: Mask = flags[group]
    return mask


def _until(group: Ints, rank: Ints, begin: Ints) -> Ints:
    """When the first row of the same group with a higher rank begins."""
    width = int(rank.max()) + 1
    order, ordered = _sorted(group * width + rank)
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    first = np.minimum.reduceat(begin[order], starts)
    group = ordered[starts] // width
    # From each run on to the end of its group: after the step of 2^n, over the 2^(n+1) runs from it.
    step = 1
    while step < len(first):
        beyond = np.where(group[step:] == group[:-step], first[step:], FOREVER)
        if not (beyond < first[:-step]).any():
            break  # nor will a longer step find something earlier
        first[:-step] = np.minimum(first[:-step], beyond)
        step *= 2
    after = np.full(len(first), FOREVER, np.int64)
    after[:-1] = np.where(group[1:] == group[:-1], first[1:], FOREVER)
    until = np.empty(len(order), np.int64)
    until[order] = np.repeat(after, np.diff(starts, append=len(order)))
    return until


def numbered(keys: Ints) -> Ints:
    """A number from 0 for each distinct key; keys are not negative."""
    order, ordered = _sorted(keys)
    numbers = np.empty(len(keys), np.int64)
    numbers[order] = np.cumsum(np.diff(ordered, prepend=ordered[:1]) != 0)
    return numbers


def _sorted(keys: Ints) -> tuple[Rows, Ints]:
    """The places of the keys, none of them negative, in their order; and the keys in it."""
    bits = len(keys).bit_length()
    if int(keys.max(initial=0)).bit_length() + bits < 64:
        # Sorted with their places in the lowest bits: numpy sorts numbers five times faster than it sorts places.
        packed = np.sort(keys << bits | np.arange(len(keys)))
        return packed & ((1 << bits) - 1), packed >> bits
    order = np.argsort(keys)
    return order, keys[order]
