"""Columns as arrays by row, as rules for versions need them: numbers of values, instants, ranks, links.

They are computed once for each segment of a column and kept: segments never change.
"""

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from theodolite.columns.column import Column
from theodolite.columns.dictionary import FALSE, FIRST, TRUE, Dictionary
from theodolite.columns.segment import Segment
from theodolite.filters import instant
from theodolite.types import Mask

Ints = NDArray[np.int64]
GetColumn = Callable[[str], Column]

NEVER = int(np.iinfo(np.int64).min)
"""Stands for a missing instant; before all others."""
FOREVER = int(np.iinfo(np.int64).max)
"""After all instants."""

_LARGE = 1 << 60  # added to smaller integers, makes them positive
_ABOVE = 1 << 62  # added to an instant, puts it above them
_SPARE = 8  # one row in so many is added to the memory of an array, for rows to come
_MAX_ARRAYS = 24  # kept; rules name few fields


class FieldArrays:
    """Turns columns into arrays over all their rows, and keeps recent ones. Not thread-safe."""

    def __init__(self) -> None:
        self._number_of: defaultdict[Any, int] = defaultdict(itertools.count().__next__)
        self._names: list[Any] = []
        self._entries: dict[tuple[str, str, bool], tuple[tuple[Segment, ...], list[Any], Any]] = {}

    def numbers(self, column: Column, *, exact: bool = False) -> NDArray[np.int32]:
        """Return a number for each row's value, the same for equal values in all columns; -1 for rows without a value.

        Equality is that of filters: 1 equals 1.0, but not True or "1". Dates and ISO-8601 strings of one instant are
        equal, unless `exact`. Lists, mappings, None and empty strings do not count as values.
        """
        numbers: NDArray[np.int32] = self._whole(
            "numbers", column, exact, lambda segment: segment.each(self._number_codes(segment.dictionary, exact))
        )
        return numbers

    def instants(self, column: Column) -> Ints:
        """Return each row's date or ISO-8601 string in microseconds since 1970; NEVER for other values."""
        instants: Ints = self._whole("instants", column, False, _instants)
        return instants

    def ranks(self, column: Column) -> Ints:
        """Return the rank of each row's value, above 0: numbers, then instants; 0 for other values.

        Integers and instants are their own ranks, so a new segment leaves those of others as they are. With floats or
        very large integers, ranks are consecutive, from 1.
        """
        if all(_is_own_rank(segment.dictionary) for segment in column.segments):
            own: Ints = self._whole("own ranks", column, False, _own_ranks)
            return own
        key = ("ranks", column.field, False)
        entry = self._entries.pop(key, None)
        if entry is None or entry[0] != column.segments:
            tables = _ranks([segment.dictionary for segment in column.segments])
            parts = [segment.each(table) for segment, table in zip(column.segments, tables, strict=True)]
            entry = column.segments, [], _joined(parts)
        self._keep(key, entry)
        ranks: Ints = entry[2]
        return ranks

    def links(self, column: Column) -> tuple[Ints, Ints]:
        """Return rows and the numbers of their values; a row with a list occurs once for each of its values."""
        _, parts = self._parts("links", column, False, self._links)
        if not parts:
            return np.empty(0, np.int64), np.empty(0, np.int64)
        return np.concatenate([rows for rows, _ in parts]), np.concatenate([numbers for _, numbers in parts])

    def name(self, number: int, columns: Iterable[Column], inside: Mask) -> Any:
        """Return the value with a number, as written in the first of these columns that has it in a row inside.

        Instants and numbers beyond 64 bits may be written in several ways; a scope must not learn how it is written
        elsewhere.
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
                return next(
                    value for value in values if (instant(value) == key[1] if isinstance(key, tuple) else value == key)
                )
        raise ValueError(f"no row in the scope has the value {key!r}")

    def _whole(self, kind: str, column: Column, exact: bool, make: Callable[[Segment], Any]) -> Any:
        segments, _, before = self._entries.get((kind, column.field, exact), ((), [], None))
        key, parts = self._parts(kind, column, exact, make)
        if before is not None and segments == column.segments:
            whole = before
        else:
            whole = _joined(parts) if before is None else _joined_after(before, column.segments, parts)
            # Views of the whole, so that nothing is stored twice.
            parts = [whole[segment.start : segment.stop] for segment in column.segments]
        self._keep(key, (column.segments, parts, whole))
        return whole

    def _parts(
        self, kind: str, column: Column, exact: bool, make: Callable[[Segment], Any]
    ) -> tuple[tuple[str, str, bool], list[Any]]:
        """Return the key of an entry, and the result of `make` for each segment."""
        key = (kind, column.field, exact)
        segments, parts, whole = self._entries.pop(key, ((), [], None))
        if segments != column.segments:
            # By identity: comparing contents would take longer.
            known = {id(segment): part for segment, part in zip(segments, parts, strict=True)}
            parts = [known[id(segment)] if id(segment) in known else make(segment) for segment in column.segments]
            whole = None
        self._keep(key, (column.segments, parts, whole))
        return key, parts

    def _keep(self, key: tuple[str, str, bool], entry: tuple[tuple[Segment, ...], list[Any], Any]) -> None:
        self._entries.pop(key, None)
        self._entries[key] = entry
        while len(self._entries) > _MAX_ARRAYS:
            del self._entries[next(iter(self._entries))]

    def _links(self, segment: Segment) -> tuple[Ints, Ints]:
        numbers = segment.each(self._number_codes(segment.dictionary, False))
        rows = np.flatnonzero(numbers >= 0)
        numbers = numbers[rows]
        if segment.lists is not None:
            lists = segment.lists
            inner = self._number_codes(lists.dictionary, False)[lists.codes]
            owners = np.repeat(lists.places, np.diff(lists.ends))
            rows = np.concatenate([rows, owners[inner >= 0]])
            numbers = np.concatenate([numbers, inner[inner >= 0]])
        return rows + segment.start, numbers.astype(np.int64)

    def _number_codes(self, dictionary: Dictionary, exact: bool) -> NDArray[np.int32]:
        """Return the number of each code."""
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


def _values(column: Column, row: int) -> list[Any]:
    """Return the value of a row, or the elements of its list."""
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


def _is_own_rank(dictionary: Dictionary) -> bool:
    """Whether all numbers are integers below `_LARGE`."""
    ints = dictionary.ints  # sorted
    small = not len(ints) or (ints[0] > -_LARGE and ints[-1] < _LARGE)
    return bool(small) and not len(dictionary.floats) and not any(isinstance(one, int) for one in dictionary.rest)


def _own_ranks(segment: Segment) -> Ints:
    ints, floats, moments, texts, size = segment.dictionary.starts
    table = np.zeros(size, np.int64)
    table[ints:floats] = segment.dictionary.ints + _LARGE
    table[moments:texts] = segment.dictionary.moments + _ABOVE
    return segment.each(table)


def _ranks(dictionaries: list[Dictionary]) -> list[Ints]:
    """Return for each dictionary the rank of each code."""
    moments = _distinct([one.moments for one in dictionaries])
    whole = _distinct([one.ints for one in dictionaries])
    large = [{value for value in one.rest if isinstance(value, int)} for one in dictionaries]
    mixed = any(large) or any(len(one.floats) for one in dictionaries)
    rank_of: dict[Any, int] = {}
    if mixed:
        # Python compares int and float exactly; numpy would round.
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


def _joined_after(before: NDArray[Any], segments: Sequence[Segment], parts: list[Any]) -> Any:
    """Join the parts of segments. They stay in the memory of the array before them if it has room for new rows.

    Other searches may be reading that array, so none of its rows may change.
    """
    rows, known = segments[-1].stop, len(before)
    room: NDArray[Any] = before if before.base is None else np.asarray(before.base)
    fits = known <= rows <= len(room)
    for segment, part in zip(segments, parts, strict=True):
        if fits and part.base is not room:
            fits = np.array_equal(part[: max(0, known - segment.start)], before[segment.start : segment.stop])
    if not fits:
        room, known = np.empty(rows + rows // _SPARE, parts[0].dtype), 0
    for segment, part in zip(segments, parts, strict=True):
        start = max(segment.start, known)
        if start < segment.stop:
            room[start : segment.stop] = part[start - segment.start :]
    return room[:rows]
