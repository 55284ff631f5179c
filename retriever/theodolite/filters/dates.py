"""Dates and times as text: whether a string is a date, and which instant it names.

Reads the forms of ISO 8601 and RFC 3339 that name one instant without guessing. docs/filters.md has the table.
"""

import re
from datetime import UTC, date, datetime, timedelta, timezone
from functools import cache, lru_cache
from typing import Any

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SHORTEST = 10
"""Length of the shortest date: 2025-06-15."""

_MICROSECOND = timedelta(microseconds=1)
_FRACTION = r"(?:[.,](\d{1,9}))?"
# Python writes old local times with seconds in their offset.
_OFFSET = r"([Zz]|[+-]\d\d(?::?\d\d|:\d\d:\d\d(?:\.\d{1,6})?)?)?"
_TIME = rf"(\d\d)(?:(?P<colon>:?)(\d\d)(?:(?P=colon)(\d\d){_FRACTION})?)?{_OFFSET}"
# Eight digits may be a number, and "2025-06-15 12" a date beside a number: only with a T are these read as times.
_EXTENDED = rf"(?a)(\d{{4}})-(?:(\d\d)-(\d\d)|W(\d\d)-(\d))(?:(?:[Tt]| (?=\d\d:)){_TIME})?"
_BASIC = rf"(?a)(\d{{4}})(?:(\d\d)(\d\d)|W(\d\d)(\d))[Tt]{_TIME}"


@cache
def _compiled(expression: str) -> re.Pattern[str]:
    """Compile at first use: this takes milliseconds, and opening a collection does not need it."""
    return re.compile(expression)


def read_date(text: str) -> date | None:
    """Return the date a string names, or the datetime if it has a time; None for any other string.

    Without an offset the datetime is naive. Fractions are truncated to microseconds. A leap second counts as the last
    microsecond of its minute, and 24:00 as midnight of the next day.
    """
    found = _compiled(_EXTENDED if text[4:5] == "-" else _BASIC).fullmatch(text)
    if found is None:
        return None
    year, month, day, week, weekday, hour, _, minute, second, fraction, offset = found.groups()
    try:
        if month is None:
            of = date.fromisocalendar(int(year), int(week), int(weekday))
        else:
            of = date(int(year), int(month), int(day))
        if hour is None:
            return of
        zone = None if offset is None else _zone(offset)
        if hour == "24" and not int((minute or "0") + (second or "0") + (fraction or "0")):
            return datetime(of.year, of.month, of.day, tzinfo=zone) + timedelta(days=1)
        if second == "60":
            return _leap_second(datetime(of.year, of.month, of.day, int(hour), int(minute), 59, 999_999, zone))
        micro = int(f"{fraction:0<6.6}") if fraction else 0
        return datetime(of.year, of.month, of.day, int(hour), int(minute or 0), int(second or 0), micro, zone)
    except (ValueError, OverflowError):  # such as February 30
        return None


def instant(value: Any) -> int | None:
    """Return microseconds since 1970 in UTC of a date, a datetime, or a string that names one; else None.

    A date is its midnight; without an offset, times are in UTC.
    """
    if isinstance(value, str):
        if len(value) < SHORTEST or not "0" <= value[0] <= "9":
            return None
        value = read_date(value)
    if isinstance(value, datetime):
        aware = value if value.utcoffset() is not None else value.replace(tzinfo=UTC)
        return (aware - EPOCH) // _MICROSECOND
    if isinstance(value, date):
        return (value.toordinal() - EPOCH.toordinal()) * 86_400_000_000
    return None


def from_instant(moment: int) -> datetime:
    """Return the datetime of an instant, in UTC if possible; the first and last hours of time need another offset."""
    try:
        return EPOCH + moment * _MICROSECOND
    except OverflowError:
        offset = timedelta(hours=-23, minutes=-59) if moment > 0 else timedelta(hours=23, minutes=59)
        return (EPOCH + (moment * _MICROSECOND + offset)).replace(tzinfo=timezone(offset))


def _leap_second(last: datetime) -> datetime | None:
    """Return the last microsecond of the minute if it may have 61 seconds (the last of a day in UTC), else None."""
    utc = last - (last.utcoffset() or timedelta())
    return last if (utc.hour, utc.minute) == (23, 59) else None


@lru_cache(maxsize=256)
def _zone(offset: str) -> timezone:
    """Raises ValueError for an offset of a day or more, or with more than 59 minutes."""
    if offset in "Zz":
        return UTC
    parts = offset[1:].replace(":", "")
    hours, minutes, seconds = int(parts[:2]), int(parts[2:4] or 0), float(parts[4:] or 0)
    if minutes > 59 or seconds >= 60:
        raise ValueError(offset)
    size = timedelta(hours=hours, minutes=minutes, seconds=seconds)
    return timezone(-size if offset[0] == "-" else size)


_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTH = rf"(?:{'|'.join(_MONTHS)})[a-z]{{0,6}}\.?"
_WEEKDAY = rf"(?:(?:{'|'.join(_DAYS)})[a-z]{{0,6}}\.?,? )?"
_CLOCK = r"\d\d?(?::?\d\d){0,2}(?:[.,]\d+)?"
_OFFSET_OR_ZONE = r"(?: ?[+\u2212-]\d\d?:?\d*(?::\d\d)?)?(?: ?\[?[a-z_]+/[a-z_/]+\]?| ?\(.{1,40}\))?"
_PLACE = rf"(?: ?[ap]\.?m\.?)?(?: ?[a-z]{{1,5}})?{_OFFSET_OR_ZONE}"
_AFTER = rf"(?:(?:,? |T){_CLOCK}{_PLACE})?"
_LIKELY = "(?ai)" + "|".join(
    (
        rf"(?:\d{{4}}([-/])\d\d?\1\d\d?|\d{{4}}-?W\d\d-?\d)(?:Z|[+-]\d\d:\d\d|{_AFTER})",
        rf"(?:\d{{8}}|\d{{4}}-?\d{{3}})T{_CLOCK}{_PLACE}|\d{{8}} \d\d:\d\d(?::\d\d)?{_PLACE}",
        rf"(?:\d\d?([/.-])\d\d?\2\d{{4}}|\d\d?/\d\d?/\d\d){_AFTER}",
        rf"{_WEEKDAY}\d\d?(?:st|nd|rd|th|\.)?[ -]{_MONTH},?[ -]\d{{4}}{_AFTER}",
        rf"{_WEEKDAY}{_MONTH} \d\d?(?:st|nd|rd|th)?,? \d{{4}}{_AFTER}",
        rf"{_WEEKDAY}{_MONTH}  ?\d\d? {_CLOCK}(?: [a-z]{{1,5}})? \d{{4}}",
    )
)
_LONGEST = 80
WORDS = (*_MONTHS, *_DAYS)
"""How strings that look like dates begin, in any case, unless with a digit or white space."""
SIGNS: tuple[tuple[int, bytes], ...] = ((1, b"/.- snrt"), (2, b"/.- snrt"), (4, b"-/Ww"), (7, b"Tt"), (8, b"Tt "))
"""Positions and characters: strings that look like dates and begin with a digit have at least one of these."""


def is_unreadable(text: str) -> bool:
    """Return whether a string looks like a date but is not read as one: an impossible day, a local format, a zone name.

    A month or week alone, and digits alone, do not look like a date.
    """
    return (
        6 <= len(text) <= _LONGEST and _compiled(_LIKELY).fullmatch(text.strip()) is not None and instant(text) is None
    )
