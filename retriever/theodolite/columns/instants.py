"""Parse dates and times, many strings at a time, with the results of `filters.dates`."""

import itertools
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache
from operator import attrgetter

import numpy as np
from numpy.typing import NDArray

from theodolite.filters import instant
from theodolite.filters.dates import SHORTEST
from theodolite.types import Mask

Bytes = NDArray[np.uint8]
Ints = NDArray[np.int64]

_CHUNK = 1 << 15  # strings at a time, which fit the processor's cache
_MICROSECOND = timedelta(microseconds=1)
_OFFSETS = ("", "Z", "+dd:dd", "+dddd", "+dd")
_EPOCH = 719_163  # the number of 1970-01-01, counting days from 0001-01-01
_LETTERS = {
    "T": b"Tt ",
    "t": b"Tt",
    "Z": b"Zz",
    "+": b"+-",
    ".": b".,",
}  # the characters that match a letter of a form; other letters match themselves
_DAYS_BEFORE = np.array([0, 0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334])  # days before each month
_DAYS_OF = np.array([0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])


@dataclass(frozen=True, slots=True)
class _Form:
    """One way to write a date. `d` is a digit.

    Attributes:
        text: the form.
        offset: its end, the offset from UTC.
        places: the place in the form of each character of the extended form; None if it is the extended form.
        fraction: number of digits after the seconds; None without seconds.
    """

    text: str
    offset: str
    places: list[int] | None
    fraction: int | None


@cache
def _forms() -> dict[int, list[_Form]]:
    """Return the common ways to write a date, by length."""
    forms: defaultdict[int, list[_Form]] = defaultdict(list)
    forms[10].append(_Form("dddd-dd-dd", "", None, None))
    for fraction, offset in itertools.product((*range(10), None), _OFFSETS):
        time = "dddd-dd-ddTdd:dd" + ("" if fraction is None else ":dd") + ("." + "d" * fraction if fraction else "")
        basic = time.replace("-", "").replace(":", "").replace("T", "t")
        places = [max(0, len(time[:place].replace("-", "").replace(":", ""))) for place in range(len(time))]
        forms[len(time + offset)].append(_Form(time + offset, offset, None, fraction))
        places += range(len(basic), len(basic + offset))
        forms[len(basic + offset)].append(_Form(basic + offset, offset, places, fraction))
    return dict(forms)


def instants(strings: Sequence[str]) -> tuple[Mask, Ints]:
    """Return a mask of the strings that are dates or times, and their microseconds since 1970 in UTC (else 0)."""
    is_date = np.zeros(len(strings), np.bool_)
    micro = np.zeros(len(strings), np.int64)
    for start in range(0, len(strings), _CHUNK):
        end = start + _CHUNK
        _parse(strings[start:end], is_date[start:end], micro[start:end])
    return is_date, micro


def instants_of_dates(values: Sequence[date]) -> Ints:
    """Return the microseconds since 1970 in UTC of dates and datetimes; those without an offset are in UTC."""
    types = set(map(type, values))
    if types == {date}:
        days = np.fromiter(map(date.toordinal, values), np.int64, len(values))
        return (days - _EPOCH) * 86_400_000_000
    if types == {datetime}:
        zones = set(map(attrgetter("tzinfo"), values))
        if zones == {None} or zones == {UTC}:
            first = datetime(1970, 1, 1, tzinfo=zones.pop())
            return np.fromiter(((value - first) // _MICROSECOND for value in values), np.int64, len(values))
    return np.fromiter((instant(value) or 0 for value in values), np.int64, len(values))


def _parse(strings: Sequence[str], is_date: Mask, micro: Ints) -> None:
    """Write the results for some strings."""
    sizes = np.fromiter(map(len, strings), np.int64, len(strings))
    left = [
        number
        for number in np.flatnonzero(sizes >= SHORTEST).tolist()
        if strings[number][4] in "-W" or strings[number][8] in "Tt"
    ]
    likely = np.array(left, np.int64)
    for size in np.unique(sizes[likely]).tolist():
        places = likely[sizes[likely] == size]
        part = [strings[place] for place in places.tolist()]
        joined = "".join(part)
        if not joined.isascii():  # a date is ASCII
            places = places[[text.isascii() for text in part]]
            joined = "".join(strings[place] for place in places.tolist())
        letters = np.frombuffer(joined.encode(), np.uint8).reshape(-1, size)
        for form in _forms().get(size, ()):
            fits = _fitting(letters, form.text)
            if len(fits):
                good, read = _moments(letters[fits], form)
                is_date[places[fits[good]]], micro[places[fits[good]]] = True, read
            if len(fits) == len(letters):
                break
    for number in likely[~is_date[likely]].tolist():
        moment = instant(strings[number])
        if moment is not None:
            is_date[number], micro[number] = True, moment


def _fitting(letters: Bytes, form: str) -> Ints:
    """Return the rows of letters that have the form."""
    fits = np.ones(len(letters), np.bool_)
    # Letters before digits: they rule out most strings of other forms.
    for place in sorted(range(len(form)), key=lambda place: form[place] == "d"):
        column, kind = letters[:, place], form[place]
        if kind == "d":
            fits &= (column - np.uint8(ord("0"))) < 10
            continue
        allowed = _LETTERS.get(kind, kind.encode())
        one = column == allowed[0]
        for letter in allowed[1:]:
            one |= column == letter
        fits &= one
        if not fits.any():
            break
    return np.flatnonzero(fits)


def _moments(letters: Bytes, form: _Form) -> tuple[Mask, Ints]:
    """Return a mask of the rows that are dates, and their instants. Rare forms (24:00, leap seconds) are left out."""
    if form.places is not None:
        letters = letters[:, form.places]

    def number(start: int, count: int) -> Ints:
        value = letters[:, start].astype(np.int64) - ord("0")
        for place in range(start + 1, start + count):
            value = value * 10 + (letters[:, place] - np.uint8(ord("0")))
        return value

    size = letters.shape[1] - len(form.offset)
    year, month, day = number(0, 4), number(5, 2), number(8, 2)
    leap = (year % 4 == 0) & ((year % 100 != 0) | (year % 400 == 0))
    known = np.where(month <= 12, month, 0)
    good = (year >= 1) & (day >= 1) & (day <= _DAYS_OF[known] + (leap & (month == 2)))
    before = year - 1
    days = before * 365 + before // 4 - before // 100 + before // 400 + _DAYS_BEFORE[known] + (leap & (month > 2)) + day
    micro = (days - _EPOCH) * 86_400_000_000
    if size > 10:
        hour, minute = number(11, 2), number(14, 2)
        good &= (hour <= 23) & (minute <= 59)
        micro += (hour * 60 + minute) * 60_000_000
    if form.fraction is not None:
        second = number(17, 2)
        good &= second <= 59
        micro += second * 1_000_000
    if form.fraction:
        digits = min(form.fraction, 6)
        micro += number(20, digits) * 10 ** (6 - digits)
    if len(form.offset) > 1:
        hours = number(size + 1, 2)
        minutes = number(letters.shape[1] - 2, 2) if len(form.offset) > 3 else 0
        good &= (hours <= 23) & (minutes <= 59)
        shift = (hours * 60 + minutes) * 60_000_000
        micro += np.where(letters[:, size] == ord("-"), shift, -shift)
    return good, micro[good]
