"""How many rows of a segment hold each value, among the rows that pass. A later count adds what has changed."""

import threading
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from theodolite.columns.segment import Lists, Segment
from theodolite.forking import register_at_fork
from theodolite.types import FieldKind, Mask, Rows

Counts = NDArray[np.int64]

ELEMENT_KINDS: tuple[FieldKind, ...] = ("none", "boolean", "list", "mapping", "number", "date", "string")

_BUDGET = 64 << 20  # bytes of counts that are kept
_FEW = 1000  # changed rows that are counted one by one


class ValueCounts(NamedTuple):
    """The counts of one segment.

    Attributes:
        values: (codes,) the rows that hold each value of the segment's dictionary.
        elements: (codes of the elements,) the rows with a list that contains each element; empty without lists.
        kinds: (kinds,) the rows with a list that contains an element of each of `ELEMENT_KINDS`.
    """

    values: Counts
    elements: Counts
    kinds: Counts

    @classmethod
    def of(cls, segment: Segment, passing: Mask) -> "ValueCounts":
        """Count all rows `passing`, (stop − start,)."""
        rows = passing if segment.places is None else passing[segment.places]
        codes = segment.codes if rows.all() else segment.codes[rows]
        values = np.bincount(codes, minlength=segment.dictionary.starts[-1])
        if segment.lists is None:
            return cls(values, np.zeros(0, np.int64), np.zeros(len(ELEMENT_KINDS), np.int64))
        return cls(values, _elements(segment.lists, passing), _kinds(segment.lists, passing))

    def changed(self, segment: Segment, rows: Rows, passing: Mask) -> "ValueCounts":
        """Return the counts after these few rows began to pass, or stopped."""
        counts = ValueCounts(*(each.copy() for each in self))
        signs = np.where(passing[rows], 1, -1)
        if segment.places is None:
            np.add.at(counts.values, segment.codes[rows], signs)
        else:
            places, held = _found(segment.places, rows)
            np.add.at(counts.values, segment.codes[places], signs[held])
        if segment.lists is not None:
            lists = segment.lists
            kind_of = _kind_of(lists)
            places, held = _found(lists.places, rows)
            for place, sign in zip(places.tolist(), signs[held].tolist(), strict=True):
                codes = np.unique(lists.codes[lists.ends[place] : lists.ends[place + 1]])
                counts.elements[codes] += sign
                counts.kinds[np.unique(kind_of[codes])] += sign
        return counts


class ValueCountsCache:
    """Keeps counts for the next commit, by segment and filter. Thread-safe."""

    def __init__(self) -> None:
        self._kept: dict[tuple[int, str], tuple[Segment, Mask, ValueCounts]] = {}
        self._bytes = 0
        self._lock = threading.Lock()
        register_at_fork(self)

    def counts(self, segment: Segment, passing: Mask, where: str) -> ValueCounts:
        """Count the rows `passing`, (stop − start,), of a segment.

        Args:
            where: what the filter is called here; of the counts for one filter, the last are kept.
        """
        key = id(segment), where
        with self._lock:
            kept = self._kept.get(key)
        if kept is None:
            counts = ValueCounts.of(segment, passing)
        else:
            _, before, counts = kept
            rows = np.flatnonzero(before != passing)
            if len(rows) > _FEW:
                counts = ValueCounts.of(segment, passing)
            elif len(rows):
                counts = counts.changed(segment, rows, passing)
        with self._lock:
            self._drop(key)
            self._kept[key] = segment, passing, counts  # the segment too: while it lives, its id is its own
            self._bytes += _size(self._kept[key])
            while self._bytes > _BUDGET:
                self._drop(next(iter(self._kept)))
        return counts

    def _drop(self, key: tuple[int, str]) -> None:
        if (kept := self._kept.pop(key, None)) is not None:
            self._bytes -= _size(kept)


def _size(kept: tuple[Segment, Mask, ValueCounts]) -> int:
    return kept[1].nbytes + sum(each.nbytes for each in kept[2])


def _found(places: NDArray[np.int32], rows: Rows) -> tuple[Rows, Mask]:
    """Return where some of the rows stand in the ascending `places`, and which rows these are."""
    at = np.searchsorted(places, rows)
    held: Mask = at < len(places)
    held[held] = places[at[held]] == rows[held]
    return at[held], held


def _elements(lists: Lists, passing: Mask) -> Counts:
    codes = np.repeat(np.arange(len(lists.bounds) - 1), np.diff(lists.bounds))
    counted = passing[lists.owners]
    # The owners of a code are sorted, so a list that has it twice appears twice in a row.
    counted[1:] &= (codes[1:] != codes[:-1]) | (lists.owners[1:] != lists.owners[:-1])
    return np.bincount(codes[counted], minlength=len(lists.bounds) - 1)


def _kinds(lists: Lists, passing: Mask) -> Counts:
    sizes = np.diff(lists.ends)
    owners = np.repeat(np.arange(len(sizes)), sizes)
    counted = passing[lists.places][owners]
    count = len(ELEMENT_KINDS)
    pairs = np.unique(owners[counted] * count + _kind_of(lists)[lists.codes[counted]])
    return np.bincount(pairs % count, minlength=count)


def _kind_of(lists: Lists) -> NDArray[np.int64]:
    """Return the place in `ELEMENT_KINDS` of each code's kind."""
    of = lists.dictionary
    _, _, moments, texts, end = of.starts
    inner: list[FieldKind] = ["list" if isinstance(value, list) else "number" for value in of.rest]
    kinds: list[FieldKind] = ["none", "none", "boolean", "boolean", "list", "list", "mapping", *inner]
    kinds += ["number"] * (moments - len(kinds))
    kinds += ["date"] * (texts - moments)
    kinds += ["string"] * (end - texts)
    return np.array([ELEMENT_KINDS.index(kind) for kind in kinds], np.int64)
