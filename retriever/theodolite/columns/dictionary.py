"""The distinct values of a column, each with a code, sorted so that a test selects runs of codes.

Codes are in this order: missing, None, False, True, an empty list, a list, a mapping; integers too large for 64 bits
and, inside lists, lists; then integers, other numbers, instants, and strings. Equal numbers share a code (1 and 1.0),
and so do dates and datetimes of one instant. A string that names an instant has its own code beside them, since strings
are equal only if they are identical.
"""

import itertools
import math
import operator
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, assert_never

import numpy as np
from numpy.typing import NDArray

from theodolite.columns.instants import instants, instants_of_dates
from theodolite.columns.strings import Strings
from theodolite.filters import MISSING, Compare, Contains, Empty, Exists, In, Like, Test, holds, instant
from theodolite.filters.dates import SIGNS, WORDS, from_instant, is_unreadable
from theodolite.filters.values import orderable, same

NONE, FALSE, TRUE, EMPTY_LIST, LIST, MAPPING = range(1, 7)
"""Codes that are the same in every dictionary; 0 is MISSING."""
FIRST = 7

Run = tuple[int, int]
"""Codes from the first up to, and excluding, the second."""

_INT64 = 1 << 63
_MANY = 1000  # with more values than this, look up the dictionary's values among them instead of the reverse
_WORDS = [spelled for word in WORDS for spelled in (word, word.lower(), word.upper())]


@dataclass(frozen=True, slots=True, eq=False)
class Dictionary:
    """Values by code.

    Attributes:
        rest: integers too large for 64 bits, and inside lists, lists.
        ints: sorted int64.
        floats: sorted; whole numbers below 2^63 are among the integers.
        moments: sorted instants in microseconds; for equal instants, dates come before strings.
        iso: the string of each instant, empty for dates and datetimes.
        texts: the other strings, sorted.
    """

    rest: tuple[Any, ...]
    ints: NDArray[np.int64]
    floats: NDArray[np.float64]
    moments: NDArray[np.int64]
    iso: Strings
    texts: Strings
    _unreadable: list[NDArray[np.int64]] = field(default_factory=list, init=False, repr=False)

    @property
    def starts(self) -> tuple[int, int, int, int, int]:
        """The first code of integers, other numbers, instants and strings; and how many codes there are."""
        ints = FIRST + len(self.rest)
        floats = ints + len(self.ints)
        moments = floats + len(self.floats)
        texts = moments + len(self.moments)
        return ints, floats, moments, texts, texts + len(self.texts)

    @property
    def nbytes(self) -> int:
        arrays = self.ints.nbytes + self.floats.nbytes + self.moments.nbytes
        return arrays + self.iso.nbytes + self.texts.nbytes + 64 * len(self.rest)

    @classmethod
    def of(cls, values: Sequence[Any], *, inner: bool = False) -> tuple["Dictionary", NDArray[np.uint32]]:
        """Return a dictionary of some values, and the code of each.

        Lists get the code LIST, or EMPTY_LIST; with `inner`, for elements of lists, they are values like others.
        """
        codes = np.zeros(len(values), np.uint32)
        places = _by_kind(values, codes, inner=inner)
        ints, of_ints = np.unique(_whole(values, places), return_inverse=True)
        floats, of_floats = np.unique(_picked(values, places["float"], np.float64), return_inverse=True)
        rest, of_rest = _distinct([values[number] for number in places["rest"]])

        strings = [values[number] for number in places["str"]]
        is_iso, moments_of = instants(strings)
        others = np.flatnonzero(~is_iso).tolist()
        texts, of_texts = _distinct_texts([strings[number] for number in others])
        timed = np.flatnonzero(is_iso).tolist()
        when = instants_of_dates([values[number] for number in places["date"]])
        moments, iso, of_moments = _distinct_moments(
            np.concatenate([when, moments_of[is_iso]]),
            [""] * len(when) + [strings[number] for number in timed],
        )
        found = cls(tuple(rest), ints, floats, moments, Strings.of(iso), Strings.of(texts))
        start = found.starts
        stands = np.array(places["str"], np.int64)
        codes[places["rest"]] = FIRST + of_rest
        codes[places["int"]] = start[0] + of_ints
        codes[places["float"]] = start[1] + of_floats
        codes[np.concatenate([np.array(places["date"], np.int64), stands[timed]])] = start[2] + of_moments
        codes[stands[others]] = start[3] + of_texts
        return found, codes

    def values(self) -> list[Any]:
        """Return a value for each code; equal to the original as far as filters can tell. None for lists."""
        iso = [text or from_instant(moment) for text, moment in zip(self.iso.all(), self.moments.tolist(), strict=True)]
        return [*_fixed_values(), *self.rest, *self.ints.tolist(), *self.floats.tolist(), *iso, *self.texts.all()]

    def value(self, code: int) -> Any:
        """Return the value of one code, as `values` does."""
        ints, floats, moments, texts, _ = self.starts
        if code >= texts:
            return self.texts[code - texts]
        if code >= moments:
            return self.iso[code - moments] or from_instant(int(self.moments[code - moments]))
        if code >= floats:
            return float(self.floats[code - floats])
        return int(self.ints[code - ints]) if code >= ints else [*_fixed_values(), *self.rest][code]

    def unreadable(self) -> NDArray[np.int64]:
        """Return the codes of strings that look like dates but are not; computed once."""
        if not self._unreadable:
            texts, start = self.texts, self.starts[3]
            likely = [place for word in _WORDS for place in texts.starting_with(word)]
            likely += itertools.chain(*(texts.starting_with(space) for space in " \t\n\r"))
            likely += texts.with_letter_at(SIGNS, texts.bisect(b"0"), texts.bisect(b":")).tolist()
            places = sorted(place for place in likely if is_unreadable(texts[place]))
            self._unreadable.append(start + np.array(places, np.int64))
        return self._unreadable[0]

    def runs(self, test: Test) -> list[Run]:
        """Return the runs of codes whose values pass the test, sorted and disjoint.

        Non-empty lists are left out: `$eq`, `$in` and `$contains` look at their elements (see `Lists.mark`).
        """
        return _merge(self._runs(test))

    def _runs(self, test: Test) -> Iterator[Run]:
        _, _, moments, texts, end = self.starts
        match test:
            case Exists():
                yield 1, end
            case Empty():
                yield 0, NONE + 1
                yield EMPTY_LIST, EMPTY_LIST + 1
                yield from self.equal("")
            case In(values=values):
                if None in values:
                    yield 0, 1
                yield from self.among(values)
            case Compare():
                yield from self._ordered(test)
            case Contains(value=value):
                if isinstance(value, str):
                    yield from ((texts + n, texts + n + 1) for n in self.texts.containing(value).tolist())
                    yield from (
                        (moments + n, moments + n + 1) for n in self.iso.containing(value).tolist() if self.iso[n]
                    )
            case Like(pattern=pattern, ignore_case=ignore_case):
                yield from self._like(pattern, ignore_case)
            case _:
                assert_never(test)

    def among(self, wanted: Sequence[Any]) -> Iterator[Run]:
        """Yield the codes of the values that equal one of `wanted`; of lists only those in `rest`."""
        if len(wanted) < _MANY:
            for value in wanted:
                yield from self.equal(value)
            return
        ints, floats, moments, texts, end = self.starts
        found = np.zeros(end, np.bool_)
        types = set(map(type, wanted))
        numbers = _of_types(wanted, types, {float, int})
        if numbers:  # Python compares int and float exactly
            found[FIRST:ints] = _are_among([value if type(value) is int else None for value in self.rest], numbers)
            found[ints:floats] = _are_among(self.ints.tolist(), numbers)
            found[floats:moments] = _are_among(self.floats.tolist(), numbers)
        strings = _of_types(wanted, types, {str})
        if strings:
            found[moments:texts] = _are_among(self.iso.all(), strings)
            found[texts:] = _are_among(self.texts.all(), strings)
            dated = np.flatnonzero(np.diff(self.iso.ends) == 0)  # dates that are not strings
            if len(dated):
                is_date, when = instants(strings)
                found[moments + dated] = _are_in(self.moments[dated], when[is_date])
        dates = instants_of_dates(_of_types(wanted, types, {date, datetime}))
        found[moments:texts] |= _are_in(self.moments, dates)
        for value in _of_types(wanted, types, types - {float, int, str, date, datetime}):
            yield from self.equal(value)
        edges = np.flatnonzero(np.diff(np.concatenate([[False], found, [False]]))).tolist()
        yield from zip(edges[::2], edges[1::2], strict=True)

    def equal(self, wanted: Any) -> Iterator[Run]:
        """Yield the codes of the values that equal `wanted`; of lists only those in `rest`."""
        ints, floats, moments, texts, _ = self.starts
        yield from ((FIRST + n, FIRST + n + 1) for n, value in enumerate(self.rest) if same(value, wanted))
        if wanted is None:
            yield NONE, NONE + 1
        elif wanted == []:
            yield EMPTY_LIST, EMPTY_LIST + 1
        elif isinstance(wanted, bool):
            yield (TRUE, TRUE + 1) if wanted else (FALSE, FALSE + 1)
        elif isinstance(wanted, (int, float)):
            # Compared, not converted: an int may be larger than any float.
            if -_INT64 <= wanted < _INT64 and wanted == int(wanted):
                whole = np.int64(int(wanted))
                yield ints + int(self.ints.searchsorted(whole)), ints + int(self.ints.searchsorted(whole, "right"))
            else:
                yield floats + self._float(wanted, bisect_left), floats + self._float(wanted, bisect_right)
        elif isinstance(wanted, (str, date)):
            moment = instant(wanted)
            if moment is None:
                place = self.texts.find(str(wanted))
                if place is not None:
                    yield texts + place, texts + place + 1
                return
            first, last = int(self.moments.searchsorted(moment)), int(self.moments.searchsorted(moment, "right"))
            if isinstance(wanted, date):
                yield moments + first, moments + last
                return
            if first < last and not self.iso[first]:  # dates stand before strings
                yield moments + first, moments + first + 1
            place = self.iso.find(wanted, first, last)
            if place is not None:
                yield moments + place, moments + place + 1

    def _ordered(self, test: Compare) -> Iterator[Run]:
        ints, floats, moments, texts, end = self.starts
        wanted = orderable(test.value)
        if wanted is None:
            return
        kind, key = wanted
        if kind == "number":
            yield from ((FIRST + n, FIRST + n + 1) for n, value in enumerate(self.rest) if holds(test, value))
            yield _side(test, ints, floats, ints + self._int(key, test))
            below = floats + self._float(key, bisect_right if test.order in ("$gt", "$lte") else bisect_left)
            yield _side(test, floats, moments, below)
        elif kind == "instant":
            below = moments + int(self.moments.searchsorted(key, "right" if test.order in ("$gt", "$lte") else "left"))
            yield _side(test, moments, texts, below)
        else:
            encoded = key.encode(errors="surrogatepass")
            below = texts + self.texts.bisect(encoded)
            if test.order in ("$gt", "$lte") and self.texts.find(key) is not None:
                below += 1
            yield _side(test, texts, end, below)

    def _int(self, key: float, test: Compare) -> int:
        """Return the number of integers below the border of a comparison with `key`."""
        after = test.order in ("$gt", "$lte")  # x > 2.5 and x > 2 have the same border, as have x < 2.5 and x < 3
        if not -_INT64 <= key < _INT64:
            return len(self.ints) if key > 0 else 0
        border = math.floor(key) if after else math.ceil(key)
        return int(self.ints.searchsorted(np.int64(border), "right" if after else "left"))

    def _float(self, key: float, bisect: Any) -> int:
        # Python compares a float with an integer of any size exactly, numpy would round it first.
        return int(bisect(range(len(self.floats)), key, key=lambda n: float(self.floats[n])))

    def _like(self, pattern: str, ignore_case: bool) -> Iterator[Run]:
        _, _, moments, texts, _ = self.starts
        low, high = 0, len(self.texts)
        head = pattern[: min((pattern.find(c) for c in "%_\\" if c in pattern), default=len(pattern))]
        if head and not ignore_case:
            encoded = head.encode(errors="surrogatepass")
            low, high = self.texts.bisect(encoded), self.texts.bisect(encoded + b"\xff")
        if not ignore_case and pattern == head + "%":
            yield texts + low, texts + high
        else:
            found = self.texts.matching(pattern, ignore_case, low, high).tolist()
            yield from ((texts + n, texts + n + 1) for n in found)
        for n in self.iso.matching(pattern, ignore_case).tolist():
            if self.iso[n]:  # not a date
                yield moments + n, moments + n + 1


_NAMES: dict[type, str] = {int: "int", float: "float", str: "str", date: "date", datetime: "date"}


def _fixed_values() -> list[Any]:
    return [MISSING, None, False, True, [], None, {}]


def _fixed(value: Any) -> int:
    if value is None:
        return NONE
    if isinstance(value, bool):
        return TRUE if value else FALSE
    if isinstance(value, list):
        return LIST if value else EMPTY_LIST
    return MAPPING if isinstance(value, dict) else 0


def _side(test: Compare, start: int, end: int, border: int) -> Run:
    return (border, end) if test.order in ("$gt", "$gte") else (start, border)


def _by_kind(values: Sequence[Any], codes: NDArray[np.uint32], *, inner: bool) -> dict[str, Sequence[int]]:
    """Return the places of the values of each class; values with a fixed code get it here."""
    places: dict[str, list[int]] = {name: [] for name in ("rest", "int", "float", "date", "str")}
    kinds = set(map(type, values))
    if kinds == {str}:
        return {**places, "str": range(len(values))}
    if kinds == {list} and not inner:
        codes[:] = [LIST if value else EMPTY_LIST for value in values]
        return {**places}
    for number, value in enumerate(values):
        kind = _NAMES.get(type(value), "")
        if kind == "float" and value.is_integer() and -_INT64 <= value < _INT64:
            kind = "int"
        elif (kind == "int" and not -_INT64 <= value < _INT64) or (inner and value and type(value) is list):
            kind = "rest"
        if kind:
            places[kind].append(number)
        else:
            codes[number] = _fixed(value)
    return {**places}


def _whole(values: Sequence[Any], places: dict[str, Sequence[int]]) -> NDArray[np.int64]:
    return np.array([int(values[number]) for number in places["int"]], np.int64)


def _picked(values: Sequence[Any], places: Sequence[int], dtype: Any) -> NDArray[Any]:
    return np.array([values[number] for number in places], dtype)


def _distinct(values: list[Any]) -> tuple[list[Any], NDArray[np.int64]]:
    """Return the distinct values, which are few and need not be hashable, and the number of each."""
    number_of: dict[str, int] = {}
    codes = np.array([number_of.setdefault(repr(value), len(number_of)) for value in values], np.int64)
    first = np.unique(codes, return_index=True)[1].tolist()
    return [values[number] for number in first], codes


def _distinct_texts(texts: list[str]) -> tuple[list[str], NDArray[np.int64]]:
    """Return the distinct strings, sorted, and the number of each."""
    order = sorted(range(len(texts)), key=texts.__getitem__)
    listed = [texts[number] for number in order]
    new = [True, *map(operator.ne, listed, itertools.islice(listed, 1, None))][: len(listed)]
    return list(itertools.compress(listed, new)), _numbers(order, np.array(new, np.bool_))


def _distinct_moments(
    moments: NDArray[np.int64], texts: list[str]
) -> tuple[NDArray[np.int64], list[str], NDArray[np.int64]]:
    """Return the distinct pairs of instant and string (empty for a date), sorted, and the number of each."""
    order = np.argsort(moments, kind="stable")
    ordered = moments[order]
    new = np.ones(len(order), np.bool_)
    tied = np.zeros(len(order) + 1, np.bool_)
    tied[1:-1] = ordered[1:] == ordered[:-1]
    shared = np.flatnonzero(tied[1:] | tied[:-1])  # few: an instant written in several ways
    order[shared] = sorted(order[shared].tolist(), key=lambda number: (moments[number], texts[number]))
    for place in np.flatnonzero(tied[:-1]).tolist():
        new[place] = texts[order[place]] != texts[order[place - 1]]
    distinct = order[new]
    return moments[distinct], [texts[number] for number in distinct.tolist()], _numbers(order, new)


def _numbers(order: Any, new: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the number of each value, from the sorted order and a mask of the first of each equal values in it."""
    numbers = np.empty(len(new), np.int64)
    numbers[order] = np.cumsum(new) - 1
    return numbers


def _of_types(values: Sequence[Any], types: set[type], kept: set[type]) -> Sequence[Any]:
    """Return the values of some types; `types` are those of all values."""
    if types <= kept:
        return values
    return [value for value in values if type(value) in kept] if types & kept else []


def _are_among(known: Sequence[Any], wanted: Sequence[Any]) -> list[bool]:
    """Return whether each known value is one of `wanted`. The smaller of the two becomes a set."""
    found = set(wanted) if len(wanted) < len(known) else set(known).intersection(wanted)
    return list(map(found.__contains__, known))


def _are_in(known: NDArray[np.int64], wanted: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Do the same as `np.isin`, ten times faster for a million wanted values."""
    ordered = np.append(np.sort(wanted), np.iinfo(np.int64).max)  # above every instant
    found: NDArray[np.bool_] = ordered[np.searchsorted(ordered, known)] == known
    return found


def _merge(runs: Iterator[Run]) -> list[Run]:
    """Sort runs, merge those that touch, and drop empty ones."""
    merged: list[Run] = []
    for first, last in sorted(runs):
        if first >= last:
            continue
        if merged and first <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(merged[-1][1], last)
        else:
            merged.append((first, last))
    return merged
