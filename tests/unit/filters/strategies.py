"""Random metadata and filters from values that often meet, and what a filter means, written from the manual alone."""

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta, timezone
from fractions import Fraction
from functools import cache
from typing import Any

from hypothesis import strategies as st

EAST = timezone(timedelta(hours=2))
NUMBERS: list[Any] = [0, 1, 1.0, -0.0, -1, 2.5, 2**53, 2**53 + 1, float(2**53), 2**63, 2**70, float(2**70), 1e300]
SPELLINGS: dict[str, datetime] = {
    "2025-02-28T24:00": datetime(2025, 3, 1, tzinfo=UTC),
    "20250301T00Z": datetime(2025, 3, 1, tzinfo=UTC),
    "2025-W09-6": datetime(2025, 3, 1, tzinfo=UTC),
    "2025-03-01t020000+0200": datetime(2025, 3, 1, tzinfo=UTC),
    "2025-03-01T00:00:00.0000019+00": datetime(2025, 3, 1, 0, 0, 0, 1, tzinfo=UTC),
    "2025-03-01T23:59:60Z": datetime(2025, 3, 1, 23, 59, 59, 999999, tzinfo=UTC),
}
"""Less usual ways to write an instant; `tests/faults/test_iso_dates.py` has all of them."""
MOMENTS: list[Any] = [
    *SPELLINGS,
    *(date(2025, 3, 1), date(2024, 2, 29), datetime(2025, 3, 1), datetime(2025, 3, 1, 2, tzinfo=EAST)),  # noqa: DTZ001
    *(datetime(2025, 3, 1, tzinfo=UTC), datetime(2025, 3, 1, 0, 0, 0, 1, tzinfo=UTC)),
    *("2025-03-01", "2025-03-01T00:00Z", "2025-03-01 02:00+02:00", "2025-03-01T00:00:00.000001", "2024-12-31T23:30"),
]
TEXTS: list[Any] = [
    *("", "a", "A", "ab", "b", "a_b", "50%", "\0", "1", "true", "e\u0301", "\u00e9", "\u00c9", "\ue000", "\U0001f600"),
    *("2025", "2025-02-30", "2025-3-1", "20250301", "2025-03-01T25:00", " 2025-03-01"),
]
ORDERED = [*NUMBERS, *MOMENTS, *TEXTS]
PATTERNS = ["%", "", "_", "a%", "%b", "a\\_b", "%\\%", "2025%", "%-03-%", "_%_", "\u00e9%", "A_", "%a%b%"]
FIELDS = ["a", "b", "c", "a.b", "a.b.c", "b.a", ""]

scalars = st.none() | st.booleans() | st.sampled_from(ORDERED)
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3), max_leaves=4)
stored = st.recursive(
    values,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=3),
    max_leaves=6,
)
operands = values | st.sampled_from([float("inf"), float("-inf"), "\ud800"])
ordered = st.sampled_from([*ORDERED, float("inf"), float("-inf"), "\ud800"])


TAKES: dict[str, st.SearchStrategy[Any]] = {
    **dict.fromkeys(("$eq", "$ne", "$contains", "$not_contains"), operands),
    **dict.fromkeys(("$gt", "$gte", "$lt", "$lte"), ordered),
    **dict.fromkeys(("$in", "$nin", "$all"), st.lists(operands, max_size=3)),
    "$between": st.lists(ordered, min_size=2, max_size=2),
    **dict.fromkeys(("$exists", "$empty"), st.booleans()),
    **dict.fromkeys(("$like", "$ilike"), st.sampled_from(PATTERNS)),
}
"""Operands for each operator on a field."""


def documents() -> st.SearchStrategy[dict[str, Any]]:
    """Metadata that can be stored."""
    return st.dictionaries(st.sampled_from(FIELDS), stored, max_size=4)


@st.composite
def conditions(draw: st.DrawFn) -> Any:
    """Conditions on a field."""
    kind = draw(st.sampled_from(["value", "list", "one", "one", "one", "several", "negated"]))
    if kind == "value":
        return draw(operands)
    if kind == "list":
        return draw(st.lists(operands, max_size=3))
    condition: dict[str, Any] = {}
    for _ in range(2 if kind == "several" else 1):
        operator = draw(st.sampled_from(list(TAKES)))
        condition[operator] = draw(TAKES[operator])
    return {"$not": condition} if kind == "negated" else condition


@st.composite
def wheres(draw: st.DrawFn, levels: int = 3) -> dict[str, Any]:
    """Filters in the dictionary form."""
    where: dict[str, Any] = draw(st.dictionaries(st.sampled_from(FIELDS), conditions(), max_size=2))
    if levels:
        for operator in draw(st.sets(st.sampled_from(["$and", "$or", "$nor", "$not"]), max_size=2)):
            inner = wheres(levels - 1)
            where[operator] = draw(inner if operator == "$not" else st.lists(inner, min_size=1, max_size=2))
    return where


# The manual, line by line.

ABSENT: Any = object()


def means(where: Mapping[str, Any], metadata: Mapping[str, Any]) -> bool:
    """Whether metadata passes a filter in the dictionary form."""
    return all(_part(key, value, metadata) for key, value in where.items())


def _part(key: str, value: Any, metadata: Mapping[str, Any]) -> bool:
    if key == "$not":
        return not means(value, metadata)
    if key in ("$and", "$or", "$nor"):
        passed = [means(part, metadata) for part in value]
        return all(passed) if key == "$and" else any(passed) == (key == "$or")
    found = _find(metadata, key)
    if isinstance(value, dict):
        return all(_holds(operator, operand, found) for operator, operand in value.items())
    return _holds("$in" if isinstance(value, list) else "$eq", value, found)


def _find(metadata: Any, path: str) -> Any:
    if not isinstance(metadata, dict):
        return ABSENT
    if path in metadata:
        return metadata[path]
    first, *others = path.split(".")
    return _find(metadata[first], ".".join(others)) if others and first in metadata else ABSENT


def _holds(operator: str, operand: Any, found: Any) -> bool:
    if operator in ("$ne", "$nin", "$not_contains"):
        return not _holds({"$ne": "$eq", "$nin": "$in", "$not_contains": "$contains"}[operator], operand, found)
    elements = found if isinstance(found, list) else []
    match operator:
        case "$not":
            return not all(_holds(inner, value, found) for inner, value in operand.items())
        case "$eq":
            if operand is None and found is ABSENT:
                return True
            return any(_same(value, operand) for value in (found, *elements))
        case "$in":
            return any(_holds("$eq", value, found) for value in operand)
        case "$all":
            return operand != [] and all(_holds("$eq", value, found) for value in operand)
        case "$between":
            return _holds("$gte", operand[0], found) and _holds("$lte", operand[1], found)
        case "$exists":
            return bool((found is not ABSENT) == operand)
        case "$empty":
            return (found is ABSENT or found is None or found in ("", [])) is operand
        case "$contains":
            if isinstance(found, str) and isinstance(operand, str):
                return found.count(operand) > 0
            return any(_same(value, operand) for value in elements)
        case "$like":
            return isinstance(found, str) and _fits(operand, found)
        case "$ilike":
            return isinstance(found, str) and _fits(operand.lower(), found.lower())
    one, other = _place(found), _place(operand)
    if one is None or other is None or one[0] != other[0]:
        return False
    below, above = bool(one[1] < other[1]), bool(one[1] > other[1])
    return {"$lt": below, "$gt": above, "$lte": not above, "$gte": not below}[operator]


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(_same(a, b) for a, b in zip(one, other, strict=True))
    kinds = {type(one), type(other)}
    if kinds == {str}:
        return bool(one == other)
    if kinds <= {str, date, datetime} or kinds <= {int, float}:
        return _place(one) is not None and _place(one) == _place(other)
    return len(kinds) == 1 and kinds <= {bool, type(None)} and bool(one == other)


_ISO = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
    r"([T ]([01][0-9]|2[0-3]):[0-9]{2}(:[0-9]{2}([.,][0-9]{1,6})?)?(Z|[+-][0-9]{2}:[0-9]{2})?)?"
)


def _place(value: Any) -> tuple[str, Any] | None:
    """A value's kind of order, and its place there."""
    if isinstance(value, float) and value in (float("inf"), float("-inf")):
        return "number", value
    if type(value) in (int, float):
        return "number", Fraction(value)
    if isinstance(value, str):
        if value in SPELLINGS:
            return "instant", _microseconds(SPELLINGS[value])
        if not _ISO.fullmatch(value):
            return "text", value
        try:
            return "instant", _microseconds(datetime.fromisoformat(value))
        except ValueError:  # there is no such day
            return "text", value
    if isinstance(value, datetime):
        return "instant", _microseconds(value)
    return ("instant", value.toordinal() * 24 * 60 * 60 * 10**6) if isinstance(value, date) else None


def _microseconds(value: datetime) -> int:
    offset = value.utcoffset() or timedelta()
    day = value.toordinal() * 24 * 60 - offset // timedelta(minutes=1)
    return ((day + value.hour * 60 + value.minute) * 60 + value.second) * 10**6 + value.microsecond


def _fits(pattern: str, text: str) -> bool:
    rest = iter(pattern)
    tokens = [(next(rest), False) if character == "\\" else (character, character in "%_") for character in rest]

    @cache
    def at(token: int, place: int) -> bool:
        if token == len(tokens):
            return place == len(text)
        character, special = tokens[token]
        if special and character == "%":
            return at(token + 1, place) or (place < len(text) and at(token, place + 1))
        return place < len(text) and (special or text[place] == character) and at(token + 1, place + 1)

    return at(0, 0)
