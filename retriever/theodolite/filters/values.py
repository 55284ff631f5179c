"""How a stored value and a filter's value compare."""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Any, Literal

MISSING: Any = type("Missing", (), {"__repr__": lambda self: "MISSING"})()
"""The value of a field a document does not have."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# 24:00 is left out: newer Pythons read it, older ones do not.
_ISO = re.compile(r"\d{4}-\d\d-\d\d([T ](?!24)\d\d:\d\d(:\d\d([.,]\d{1,6})?)?(Z|[+-]\d\d:\d\d)?)?", re.ASCII)

Kind = Literal["number", "instant", "text"]


def lookup(metadata: Any, field: str) -> Any:
    """The value at a dotted path, or MISSING. A literal key with a dot comes before the path."""
    if not isinstance(metadata, Mapping):
        return MISSING
    if field in metadata:
        return metadata[field]
    head, dot, rest = field.partition(".")
    return lookup(metadata[head], rest) if dot and head in metadata else MISSING


def instant(value: Any) -> int | None:
    """Microseconds since 1970 in UTC of a date, a datetime or an ISO-8601 string; else None."""
    if isinstance(value, str):
        if not _ISO.fullmatch(value):
            return None
        try:
            value = datetime.fromisoformat(value.replace(",", "."))
        except ValueError:  # such as February 30
            return None
    elif isinstance(value, date) and not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day, tzinfo=UTC)
    if not isinstance(value, datetime):
        return None
    aware = value if value.utcoffset() is not None else value.replace(tzinfo=UTC)
    return (aware - _EPOCH) // timedelta(microseconds=1)


def orderable(value: Any) -> tuple[Kind, Any] | None:
    """What a value is ordered as, and the key to order it by; None for what has no order.

    Dates, datetimes and ISO-8601 strings are instants; other strings are ordered by code point.
    """
    if isinstance(value, bool):
        return None
    if isinstance(value, (int, float)):
        return None if value != value else ("number", value)
    if isinstance(value, (str, date)):
        moment = instant(value)
        return ("text", value) if moment is None else ("instant", moment)
    return None


def equal(value: Any, wanted: Any) -> bool:
    """Whether a stored value, or an element of a stored list, equals a filter's value."""
    if wanted is None and (value is None or value is MISSING):
        return True
    if isinstance(value, list):
        return same(value, wanted) or any(same(item, wanted) for item in value)
    return same(value, wanted)


def same(value: Any, wanted: Any) -> bool:
    """Equality of two values as a whole.

    1 equals 1.0, but a bool is not a number. Two strings are compared exactly; a date and a datetime equal one another
    and an ISO-8601 string as instants in UTC (a naive one is UTC).
    """
    if isinstance(value, list) and isinstance(wanted, list):
        return len(value) == len(wanted) and all(map(same, value, wanted))
    if isinstance(value, bool) or isinstance(wanted, bool):
        return value is wanted
    if isinstance(value, date) or isinstance(wanted, date):
        moment = instant(value)
        return moment is not None and moment == instant(wanted)
    return type(value) is not list and bool(value == wanted)


@lru_cache(maxsize=256)
def like(pattern: str, ignore_case: bool) -> Callable[[str], bool]:
    """Whether a string fits a pattern, in time that grows with length × pattern, whatever the pattern.

    Between two % the leftmost place is as good as any other, so nothing is ever tried twice, as one regular expression
    for the whole pattern would.
    """
    pieces = [_literal(piece, ignore_case) for piece in _pieces(pattern)]
    if len(pieces) == 1:
        return lambda text: pieces[0][0].fullmatch(text) is not None
    (first, _), *middle, (last, tail) = pieces

    def fits(text: str) -> bool:
        found = first.match(text)
        at = found.end() if found else -1
        for piece, _ in middle:
            if at < 0:
                break
            found = piece.search(text, at)
            at = found.end() if found else -1
        return at >= 0 and len(text) - tail >= at and last.match(text, len(text) - tail) is not None

    return fits


def _pieces(pattern: str) -> list[list[str | None]]:
    """What stands between the %: characters, None for any one."""
    pieces: list[list[str | None]] = [[]]
    characters = iter(pattern)
    for character in characters:
        if character == "%":
            pieces.append([])
        else:
            pieces[-1].append(None if character == "_" else next(characters) if character == "\\" else character)
    return pieces


def _literal(piece: list[str | None], ignore_case: bool) -> tuple[re.Pattern[str], int]:
    expression = "".join("." if character is None else re.escape(character) for character in piece)
    return re.compile(expression, re.DOTALL | (re.IGNORECASE if ignore_case else 0)), len(piece)
