"""Kinds and order of stored values, and how they compare with the values of a filter."""

import re
from collections.abc import Callable, Mapping
from datetime import date
from functools import lru_cache
from typing import Any, Literal

from theodolite.filters.dates import instant
from theodolite.types import FieldKind

MISSING: Any = type("Missing", (), {"__repr__": lambda self: "MISSING"})()
"""The value of a field that a document does not have."""

Kind = Literal["number", "instant", "text"]


def lookup(metadata: Any, field: str) -> Any:
    """Return the value at a dotted path, or MISSING. A key that contains the dot itself takes precedence."""
    if type(metadata) is not dict and not isinstance(metadata, Mapping):
        return MISSING
    if field in metadata:
        return metadata[field]
    head, dot, rest = field.partition(".")
    return lookup(metadata[head], rest) if dot and head in metadata else MISSING


def kind_of(value: Any) -> FieldKind:
    """Return the kind of a stored value."""
    if isinstance(value, (str, date)):
        return "string" if instant(value) is None else "date"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, (int, float)):
        return "number"
    return "none" if value is None else "list" if isinstance(value, list) else "mapping"


def orderable(value: Any) -> tuple[Kind, Any] | None:
    """Return the kind of order a value has and its sort key; None if it has no order.

    Dates, datetimes and ISO 8601 strings are ordered as instants, other strings by code point.
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
    """Return whether a stored value, or an element of a stored list, equals a filter's value."""
    if wanted is None and (value is None or value is MISSING):
        return True
    if isinstance(value, list):
        return same(value, wanted) or any(same(item, wanted) for item in value)
    return same(value, wanted)


def same(value: Any, wanted: Any) -> bool:
    """Return whether two values are equal as a whole.

    1 equals 1.0, but a bool is not a number. Two strings are compared exactly. Dates and datetimes are compared with
    each other and with ISO 8601 strings as instants; without an offset they are in UTC.
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
    """Return a function that tells whether a string matches a `$like` pattern.

    It takes at most length × pattern steps. Between two % the leftmost match is as good as any other, so it never
    backtracks, as one regular expression for the whole pattern would.
    """
    pieces = [_compile(piece, ignore_case) for piece in _pieces(pattern)]
    if len(pieces) == 1:
        return lambda text: pieces[0][0].fullmatch(text) is not None
    (first, _), *middle, (last, tail) = pieces

    def matches(text: str) -> bool:
        match = first.match(text)
        at = match.end() if match else -1
        for piece, _ in middle:
            if at < 0:
                break
            match = piece.search(text, at)
            at = match.end() if match else -1
        return at >= 0 and len(text) - tail >= at and last.match(text, len(text) - tail) is not None

    return matches


def _pieces(pattern: str) -> list[list[str | None]]:
    """Return the parts between the %, as characters; None stands for any character."""
    pieces: list[list[str | None]] = [[]]
    characters = iter(pattern)
    for character in characters:
        if character == "%":
            pieces.append([])
        else:
            pieces[-1].append(None if character == "_" else next(characters) if character == "\\" else character)
    return pieces


def _compile(piece: list[str | None], ignore_case: bool) -> tuple[re.Pattern[str], int]:
    expression = "".join("." if character is None else re.escape(character) for character in piece)
    return re.compile(expression, re.DOTALL | (re.IGNORECASE if ignore_case else 0)), len(piece)
