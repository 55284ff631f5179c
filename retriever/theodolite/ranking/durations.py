"""Durations as people write them: "180d", "12h", "P180D"."""

import re
from datetime import timedelta
from typing import Any

from theodolite.errors import ConfigError

_DAY = 86_400
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": _DAY, "w": 7 * _DAY, "y": 365.25 * _DAY}
_SHORT = re.compile(r"(\d+(?:\.\d+)?)([smhdwy])", re.ASCII)
# ISO 8601. Months are left out: they have no length.
_ISO = re.compile(r"P(?=.)(\d+Y)?(\d+W)?(\d+D)?(?:T(?=.)(\d+H)?(\d+M)?(\d+S)?)?", re.ASCII)
_WORDS = re.compile(r"(\d+(?:\.\d+)?)\s*(sec|min|h|d|w|y|mo)[a-z]*", re.ASCII | re.IGNORECASE)


def duration(given: Any, what: str) -> timedelta:
    """A duration of at least 0: a timedelta, a number with a unit, or ISO 8601 ("P180D", "PT12H").

    Units are s, m (minutes), h, d, w and y (365.25 days).

    Raises:
        ConfigError: anything else, above all a number without a unit.
    """
    try:
        if isinstance(given, timedelta):
            found = given
        elif isinstance(given, str) and (short := _SHORT.fullmatch(given)):
            found = timedelta(seconds=float(short[1]) * _SECONDS[short[2]])
        elif isinstance(given, str) and (iso := _ISO.fullmatch(given)):
            parts = (part for part in iso.groups() if part)
            found = timedelta(seconds=sum(int(part[:-1]) * _SECONDS[part[-1].lower()] for part in parts))
        else:
            raise ConfigError(f"{what} is {given!r}; {_advice(given)}")
    except OverflowError:
        raise ConfigError(f"{what} is {given!r}, which is too long; use a shorter one, or no boost at all") from None
    if found < timedelta(0):
        raise ConfigError(f"{what} is {given!r}; it cannot be negative")
    return found


def _advice(given: Any) -> str:
    usual = "it must be a timedelta or a number with a unit (s, m, h, d, w, y), such as '180d' or '12h'"
    if isinstance(given, (int, float)) and not isinstance(given, bool):
        return f"a number has no unit: did you mean '{given:g}d'?"
    words = _WORDS.fullmatch(given.strip()) if isinstance(given, str) else None
    if words is None:
        return usual
    if words[2].lower() == "mo":
        return f"months differ in length: did you mean '{float(words[1]) * 30:g}d'?"
    return f"{usual}. Did you mean '{words[1]}{words[2][0].lower()}'?"
