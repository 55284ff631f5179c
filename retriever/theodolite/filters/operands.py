"""What a filter compares with, made plain: the values a document could hold, in new objects."""

import reprlib
from collections.abc import Mapping, Sequence, Set
from datetime import date, datetime, time
from operator import ne
from typing import Any

import numpy as np

from theodolite.errors import DocumentError, FilterError
from theodolite.filters.dates import read_date
from theodolite.metadata import MAX_FIELD, plain_datetime, plain_scalar

MAX_DEPTH = 64
"""How deep filters and their values may be nested: far more than anyone writes, far less than Python's stack."""

MAX_PATTERN = 10_000
"""Characters of a pattern: it is compiled, which takes a second for a hundred thousand."""

ID = "$id"
"""What stands for the document's id, where the name of a field may stand."""

_PLAIN = frozenset({str, int, bool, type(None), float})  # stay as they are, but for NaN
_NUMBERS = tuple(map(np.dtype, "?bhilqBHILQefd"))  # whose values Python holds exactly
_LOGICAL = ("and", "or", "nor", "not")
_brief = reprlib.Repr()
_brief.maxstring = _brief.maxother = 60


def shown(value: Any) -> str:
    """A value as messages name it: short, however large or deep it is."""
    try:
        return _brief.repr(value)
    except ValueError:  # an int of thousands of digits
        return f"a large {type(value).__name__}"


def check_field(field: Any) -> None:
    """Raises FilterError for what cannot be the name of a field."""
    if not isinstance(field, str):
        raise FilterError(f"field {shown(field)} is a {type(field).__name__}; field names are strings")
    if len(field) > MAX_FIELD:
        message = f"field {shown(field)} has {len(field):,} characters; names to filter by have at most {MAX_FIELD:,}"
        raise FilterError(message, field=field[:MAX_FIELD])
    if field.startswith("$"):
        raise FilterError(f"field {shown(field)}: field names do not begin with $", field=field)
    try:
        field.encode()
    except UnicodeEncodeError:
        message = f"field {shown(field)} holds a lone surrogate, which is not text: no document has such a field"
        raise FilterError(message, field=field) from None


def as_ids(operator: str, values: Sequence[Any]) -> frozenset[str]:
    """Ids of documents. Raises FilterError for what none can be."""
    if set(map(type, values)) <= {str}:  # there may be a million
        try:
            "".join(values).encode()
            return frozenset(values)
        except UnicodeEncodeError:
            pass  # one of them is refused below, by its name
    return frozenset(_as_id(operator, value) for value in values)


def _as_id(operator: str, value: Any) -> str:
    """A document's id. Raises FilterError for what none can be."""
    if not isinstance(value, str):
        message = f"{operator} on {ID}: {shown(value)} is a {type(value).__name__}; ids are strings"
        raise FilterError(message, operator=operator, field=ID)
    try:
        value.encode()
    except UnicodeEncodeError:
        message = (
            f"{operator} on {ID}: {shown(value)} holds a lone surrogate, which is not text: no document has such an id"
        )
        raise FilterError(message, operator=operator, field=ID) from None
    return str.__str__(value)


def operand(field: str, operator: str, value: Any, depth: int = 1) -> Any:
    """A value as metadata would hold it: no subclass, no numpy scalar, tuples as lists. Raises FilterError.

    Infinities are allowed, `{"$lt": inf}` being any smaller number; NaN is not, since nothing equals it.
    """
    try:
        if isinstance(value, np.generic):
            value = plain_scalar(value, f"the value for {shown(field)}")
        match value:
            case bool() | None:
                return value
            case str():
                return str.__str__(value)
            case int():
                return int(value)
            case float() if value == value:
                return float(value)
            case float():
                message = f"{operator} on {shown(field)}: nothing equals NaN; use None for a missing value"
                raise FilterError(message, operator=operator, field=field)
            case datetime():
                return plain_datetime(value, f"the value for {shown(field)}")
            case date():
                return date(value.year, value.month, value.day)
            case list() | tuple():
                if depth > MAX_DEPTH:
                    message = f"a value for {shown(field)} is nested deeper than {MAX_DEPTH} levels"
                    raise FilterError(message, operator=operator, field=field)
                return [operand(field, operator, item, depth + 1) for item in value]
            case Mapping() if tagged(value):
                return _untagged(field, operator, value)
    except DocumentError as error:
        raise FilterError(str(error), operator=operator, field=field) from error
    hint = "Fields inside mappings have dotted names: 'author.name'"
    if field.lower() in _LOGICAL:
        hint = f"Did you mean ${field.lower()}?"
    raise FilterError(
        f"field {shown(field)} is compared with a {type(value).__name__}; use a string, number, boolean, None, date, "
        f"datetime or a list of these. {hint}",
        operator=operator,
        field=field,
    )


def listed(field: str, operator: str, values: Any) -> list[Any]:
    """The values of an operator that takes several. Raises FilterError."""
    several = isinstance(values, (Sequence, Set)) or (isinstance(values, np.ndarray) and values.ndim > 0)
    if not several or isinstance(values, (str, bytes)):
        message = f"{operator} on {shown(field)} takes a list of values, not {shown(values)}"
        raise FilterError(message, operator=operator, field=field)
    # There may be a million.
    if isinstance(values, np.ndarray) and values.ndim == 1 and values.dtype in _NUMBERS:
        values = values.tolist()
    kinds = set(map(type, values))
    if kinds <= _PLAIN and not (float in kinds and any(map(ne, values, values))):
        return list(values)
    return [operand(field, operator, value) for value in values]


def tagged(value: Mapping[Any, Any]) -> bool:
    """Whether it is a date or datetime as JSON holds it."""
    return len(value) == 1 and next(iter(value)) in ("$date", "$datetime")


def _untagged(field: str, operator: str, value: Mapping[str, Any]) -> date:
    ((tag, text),) = value.items()
    found = read_date(text) if isinstance(text, str) else None
    if found is None or (tag == "$date" and isinstance(found, datetime)):
        kind = "date such as '2025-06-15'" if tag == "$date" else "time such as '2025-06-15T12:30:45Z'"
        message = f"{tag} on {shown(field)} takes an ISO 8601 {kind}, not {shown(text)}"
        raise FilterError(message, operator=operator, field=field)
    return found if tag == "$date" or isinstance(found, datetime) else datetime.combine(found, time())
