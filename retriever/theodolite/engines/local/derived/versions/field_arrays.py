"""Columns as arrays by row, as rules for versions need them: numbers of values, instants, ranks, links.

Made once for each segment of a column, and kept: segments never change.
"""

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from theodolite.engines.local.derived.columns.column import Column
from theodolite.engines.local.derived.columns.dictionary import FALSE, FIRST, TRUE, Dictionary
from theodolite.engines.local.derived.columns.segment import Segment
from theodolite.filters import instant
from theodolite.types import Mask

Ints = NDArray[np.int64]
GetColumn = Callable[[str], Column]

NEVER = int(np.iinfo(np.int64).min)
"""No instant: before all of them."""
FOREVER = int(np.iinfo(np.int64).max)
"""After all instants."""

_HELD = 24  # arrays; rules name few fields


class FieldArrays:
    """Arrays by row, of all rows of a column. Not for several threads at once."""

    def __init__(self) -> None:
        self._number_of: defaultdict[Any, int] = defaultdict(itertools.count().__next__)
        self._names: list[Any] = []
        self._held: dict[tuple[str, str, bool], tuple[tuple[Segment, ...], list[Any], Any]] = {}

    def numbers(self, column: Column, *, exact: bool = False) -> NDArray[np.int32]:
        """A number for each row's value, the same for the same value in whatever column; -1 for none.

        Values are the same as in filters: 1 and 1.0, but not 1 and True or "1". Dates and ISO-8601 strings are the same
        where they name one instant, unless `exact`. Lists, mappings, None and empty strings are no values.
        """
        numbers: NDArray[np.int32] = self._whole(
            "numbers", column, exact, lambda one: one.each(self._of_dictionary(one.dictionary, exact))
        )
        return numbers

    def instants(self, column: Column) -> Ints:
        """Microseconds since 1970 of each row's date or ISO-8601 string; NEVER for what is none."""
        found: Ints = self._whole("instants", column, False, _instants)
        return found

    def ranks(self, column: Column) -> Ints:
        """Where each row's value stands among the distinct ones, from 1: numbers, then instants; 0 for other values."""
        key = ("ranks", column.field, False)
        held = self._held.pop(key, None)
        if held is None or held[0] != column.segments:
            tables = _ranks([segment.dictionary for segment in column.segments])
            parts = [segment.each(table) for segment, table in zip(column.segments, tables, strict=True)]
            held = column.segments, [], _joined(parts)
        self._keep(key, held)
        ranks: Ints = held[2]
        return ranks

    def links(self, column: Column) -> tuple[Ints, Ints]:
        """Rows, and the numbers of the values in them: one entry for a value, several for a list of them."""
        parts = self._parts("links", column, False, self._links)[1]
        if not parts:
            return np.empty(0, np.int64), np.empty(0, np.int64)
        return np.concatenate([rows for rows, _ in parts]), np.concatenate([numbers for _, numbers in parts])

    def name(self, number: int, columns: Iterable[Column], inside: Mask) -> Any:
        """The value with a number, as it is written in the first of these columns that has it in a row inside.

        How it is written elsewhere is not for a scope to know: instants may be written in several ways, and so may
        numbers beyond 64 bits.
        """
        if number >= len(self._names):
            self._names.extend(itertools.islice(self._number_of, len(self._names), None))
        key = self._names[number]
        if isinstance(key, str) or (isinstance(key, int) and abs(key) < 1 << 63):
            return key
        if key in ((False,), (True,)):
            return key[0]
        for column in columns:
            rows, numbers = self.links(column)
            rows = rows[numbers == number]
            rows = rows[rows < len(inside)]
            rows = rows[inside[rows]]
            if len(rows):
                values = _values(column, int(rows[0]))
                return next(value for value in values if (instant(value) == key[1] if _dated(key) else value == key))
        raise ValueError(f"no row inside has the value {key!r}")

    def _whole(self, kind: str, column: Column, exact: bool, make: Callable[[Segment], Any]) -> Any:
        key, parts, whole = self._parts(kind, column, exact, make)
        if whole is None:
            whole = _joined(parts)
            # Parts of the whole, not beside it.
            views = [whole[segment.start : segment.stop] for segment in column.segments]
            self._keep(key, (column.segments, views, whole))
        return whole

    def _parts(
        self, kind: str, column: Column, exact: bool, make: Callable[[Segment], Any]
    ) -> tuple[tuple[str, str, bool], list[Any], Any]:
        """What `make` gives for each segment, and what has been made of all of them."""
        key = (kind, column.field, exact)
        segments, parts, whole = self._held.pop(key, ((), [], None))
        if segments != column.segments:
            # By identity: segments are not compared by what they hold.
            known = {id(segment): part for segment, part in zip(segments, parts, strict=True)}
            parts = [known[id(one)] if id(one) in known else make(one) for one in column.segments]
            whole = None
        self._keep(key, (column.segments, parts, whole))
        return key, parts, whole

    def _keep(self, key: tuple[str, str, bool], held: tuple[tuple[Segment, ...], list[Any], Any]) -> None:
        self._held.pop(key, None)
        self._held[key] = held
        while len(self._held) > _HELD:
            del self._held[next(iter(self._held))]

    def _links(self, segment: Segment) -> tuple[Ints, Ints]:
        numbers = segment.each(self._of_dictionary(segment.dictionary, False))
        rows = np.flatnonzero(numbers >= 0)
        found = numbers[rows]
        if segment.lists is not None:
            lists = segment.lists
            inner = self._of_dictionary(lists.dictionary, False)[lists.codes]
            owners = np.repeat(lists.places, np.diff(lists.ends))
            rows = np.concatenate([rows, owners[inner >= 0]])
            found = np.concatenate([found, inner[inner >= 0]])
        return rows + segment.start, found.astype(np.int64)

    def _of_dictionary(self, dictionary: Dictionary, exact: bool) -> NDArray[np.int32]:
        """The number of each code."""
        ints, floats, moments, texts, size = dictionary.starts
        table = np.full(size, -1, np.int32)
        table[FALSE], table[TRUE] = self._numbered([(False,), (True,)])
        for place, value in enumerate(dictionary.rest):
            if isinstance(value, int):
                table[FIRST + place] = self._number_of[value]
        table[ints:floats] = self._numbered(dictionary.ints.tolist())
        table[floats:moments] = self._numbered(dictionary.floats.tolist())
        for code, moment in enumerate(dictionary.moments.tolist(), moments):
            value = dictionary.value(code)
            key = value if exact and isinstance(value, str) else ("instant", moment)
            table[code] = self._number_of[key]
        words = dictionary.texts.all()
        table[texts:] = self._numbered(words)
        if words and not words[0]:
            table[texts] = -1
        return table

    def _numbered(self, keys: Iterable[Any]) -> list[int]:
        return list(map(self._number_of.__getitem__, keys))


def _dated(key: Any) -> bool:
    """Whether a value's key is that of an instant."""
    return isinstance(key, tuple)


def _values(column: Column, row: int) -> list[Any]:
    """The value of a row, or the elements of the list in it."""
    segment = next(segment for segment in column.segments if row < segment.stop)
    place, lists = row - segment.start, segment.lists
    if lists is not None and len(at := np.flatnonzero(lists.places == place)):
        start, stop = lists.ends[at[0]], lists.ends[at[0] + 1]
        return [lists.dictionary.value(int(code)) for code in lists.codes[start:stop]]
    return [segment.dictionary.value(segment.code(place))]


def _instants(segment: Segment) -> Ints:
    _, _, moments, texts, size = segment.dictionary.starts
    table = np.full(size, NEVER, np.int64)
    table[moments:texts] = segment.dictionary.moments
    return segment.each(table)


def _ranks(dictionaries: list[Dictionary]) -> list[Ints]:
    """For each dictionary the rank of each code."""
    moments = _distinct([one.moments for one in dictionaries])
    whole = _distinct([one.ints for one in dictionaries])
    large = [{value for value in one.rest if isinstance(value, int)} for one in dictionaries]
    mixed = any(large) or any(len(one.floats) for one in dictionaries)
    rank_of: dict[Any, int] = {}
    if mixed:
        # Python compares whole numbers with others exactly, numpy would round them.
        values = {*whole.tolist(), *itertools.chain(*large, *(one.floats.tolist() for one in dictionaries))}
        rank_of = {value: rank for rank, value in enumerate(sorted(values), 1)}
    above = len(rank_of) if mixed else len(whole)
    tables = []
    for one in dictionaries:
        ints, floats, first, texts, size = one.starts
        table = np.zeros(size, np.int64)
        if mixed:
            table[ints:floats] = [rank_of[value] for value in one.ints.tolist()]
            table[floats:first] = [rank_of[value] for value in one.floats.tolist()]
            table[FIRST:ints] = [rank_of[value] if isinstance(value, int) else 0 for value in one.rest]
        else:
            table[ints:floats] = 1 + np.searchsorted(whole, one.ints)
        table[first:texts] = 1 + above + np.searchsorted(moments, one.moments)
        tables.append(table)
    return tables


def _distinct(arrays: list[Ints]) -> Ints:
    return np.unique(np.concatenate([np.empty(0, np.int64), *arrays]))


def _joined(parts: list[Any]) -> Any:
    return parts[0] if len(parts) == 1 else np.concatenate([np.empty(0, parts[0].dtype if parts else np.int64), *parts])
