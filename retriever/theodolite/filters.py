"""The filter language: parsed once into a closed tree, evaluated on one document's metadata.

So far: equality. `{"lang": "en"}` is `$eq`, `{"lang": ["en", "de"]}` is `$in`, several keys must all hold.

- A stored list matches if one of its elements does; `None` matches a missing field too.
- 1 equals 1.0, but a bool is not a number. Two strings are compared exactly; a date, a datetime and an ISO-8601
  string in extended form are equal as instants in UTC (a naive one is UTC) unless both are strings.
- A dotted path reaches into mappings; a literal key with a dot wins.
"""

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, assert_never

import numpy as np

from theodolite.errors import DocumentError, FilterError
from theodolite.metadata import plain_scalar

MISSING: Any = type("Missing", (), {"__repr__": lambda self: "MISSING"})()
"""The value of a field a document does not have."""

_OPERATORS = ("$eq", "$in")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ISO = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d([.,]\d{1,6})?)?(Z|[+-]\d\d:\d\d)?)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class In:
    """The field equals one of the values."""

    field: str
    values: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class And:
    """All parts hold."""

    parts: tuple["Filter", ...]


Filter = In | And


def parse(where: Mapping[str, Any] | None) -> Filter | None:
    """The tree of a filter, or None where there is nothing to filter (`None` or `{}`).

    Raises:
        FilterError: unknown or undollared operators, keys that are not strings, values that cannot be compared.
    """
    if where is None:
        return None
    if not isinstance(where, Mapping):
        raise FilterError(f"a filter is a mapping of fields to values, not a {type(where).__name__}")
    parts: list[Filter] = []
    for field, condition in where.items():
        if not isinstance(field, str):
            raise FilterError(f"field {field!r} is a {type(field).__name__}; field names are strings")
        if field.startswith("$"):
            raise FilterError(_unknown(field), operator=field)
        parts += _conditions(field, condition)
    if not parts:
        return None
    return parts[0] if len(parts) == 1 else And(tuple(parts))


def matches(tree: Filter | None, metadata: Mapping[str, Any]) -> bool:
    """Whether a document with this metadata passes: the reference every engine is held against."""
    match tree:
        case None:
            return True
        case In(field=field):
            return holds(tree, lookup(metadata, field))
        case And(parts=parts):
            return all(matches(part, metadata) for part in parts)
        case _:
            assert_never(tree)


def holds(test: In, value: Any) -> bool:
    """Whether one field's value (or MISSING) passes the test."""
    return any(_equal(value, wanted) for wanted in test.values)


def lookup(metadata: Any, field: str) -> Any:
    """The value at a dotted path, or MISSING."""
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


def _conditions(field: str, condition: Any) -> list[Filter]:
    if isinstance(condition, Mapping):
        if not condition:
            raise FilterError(f"field {field!r} has an empty condition; use a value or {{'$eq': value}}")
        return [_condition(field, operator, value) for operator, value in condition.items()]
    if isinstance(condition, (list, tuple, set, frozenset)):
        return [_condition(field, "$in", condition)]
    return [_condition(field, "$eq", condition)]


def _condition(field: str, operator: Any, value: Any) -> Filter:
    if operator == "$eq":
        return In(field, (_operand(field, value),))
    if operator == "$in":
        if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, (Sequence, set, frozenset)):
            raise FilterError(f"$in on {field!r} takes a list of values, not {value!r}", field=field)
        return In(field, tuple(_operand(field, item) for item in value))
    raise FilterError(_unknown(operator, field), operator=operator, field=field)


def _operand(field: str, value: Any) -> Any:
    if value is None or isinstance(value, (str, bool, int, float, date)):
        return value
    if isinstance(value, (list, tuple)):
        return [_operand(field, item) for item in value]
    if isinstance(value, np.generic):
        try:
            return _operand(field, plain_scalar(value, f"the value for {field!r}"))
        except DocumentError as error:
            raise FilterError(str(error), field=field) from error
    raise FilterError(
        f"field {field!r} is compared with a {type(value).__name__}; use a string, number, boolean, None, "
        "date, datetime or a list of these",
        field=field,
    )


def _unknown(operator: Any, field: str | None = None) -> str:
    place = "" if field is None else f" on field {field!r}"
    near = difflib.get_close_matches(f"${str(operator).lstrip('$')}", _OPERATORS, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]}? " if near else ""
    return f"unknown operator {operator!r}{place}; {hint}This version knows {', '.join(_OPERATORS)}"


def _equal(value: Any, wanted: Any) -> bool:
    if wanted is None and (value is None or value is MISSING):
        return True
    if isinstance(value, list):
        return _same(value, wanted) or any(_same(item, wanted) for item in value)
    return _same(value, wanted)


def _same(value: Any, wanted: Any) -> bool:
    if isinstance(value, list) and isinstance(wanted, list):
        return len(value) == len(wanted) and all(map(_same, value, wanted))
    if isinstance(value, bool) or isinstance(wanted, bool):
        return value is wanted
    if isinstance(value, date) or isinstance(wanted, date):
        moment = instant(value)
        return moment is not None and moment == instant(wanted)
    return type(value) is not list and bool(value == wanted)
