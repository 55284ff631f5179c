"""Parse the dictionary form of a filter.

Values are copied into the plain types that metadata holds: no subclasses, no numpy scalars, no arrays.
"""

from collections.abc import Callable, Collection, Mapping, Sequence, Set
from datetime import date, datetime, time, timezone
from operator import ne
from typing import Any, cast

import numpy as np

from theodolite.errors import DocumentError, FilterError, closest, short_repr, type_of
from theodolite.filters.dates import read_date
from theodolite.filters.tree import (
    ID,
    And,
    Compare,
    Contains,
    Empty,
    Exists,
    Filter,
    Ids,
    In,
    Like,
    Not,
    Or,
    Order,
    is_deeper,
)
from theodolite.filters.values import orderable
from theodolite.metadata import MAX_FIELD, plain_datetime, plain_scalar

Where = Mapping[str, Any] | Filter | None
"""A filter as callers pass it: a dictionary, a tree, or None."""

MAX_DEPTH = 64
"""Maximum nesting of filters and of their values: far more than anyone writes, far less than Python's stack."""

MAX_PATTERN = 10_000
"""Maximum length of a pattern. Patterns are compiled, which takes a second for 100,000 characters."""

_PLAIN = frozenset({str, int, bool, type(None), float, date, datetime})  # most of these need no conversion
_NUMBERS = tuple(map(np.dtype, "?bhilqBHILQefd"))  # types whose values Python represents exactly


def parse(where: Where) -> Filter | None:
    """Parse a filter into a tree; None if there is nothing to filter (`None` or `{}`). A tree is returned as it is.

    Raises:
        FilterError: unknown operators, operators without $, keys that are not strings, values that cannot be compared,
            more than 64 levels. Its attributes `operator` and `field` say where, if the error concerns one.
    """
    if where is None:
        return None
    tree = where if isinstance(where, Filter) else _mapping(where, 1)
    if is_deeper(tree, MAX_DEPTH):
        raise _too_deep()
    return None if tree == And(()) else tree


def field_condition(field: str, operator: Any, value: Any, depth: int = 1) -> Filter:
    """Return the filter for one operator on one field. Raises FilterError."""
    if isinstance(operator, str) and operator in _FIELD_OPERATORS:
        return _FIELD_OPERATORS[operator](field, operator, value)
    if operator == "$not":
        if not isinstance(value, Mapping) or not value or _is_tagged_date(value):
            raise _error(field, operator, " takes operators, such as {'$gt': 5}; use $ne for a value")
        return Not(_field(field, value, depth + 1))
    raise FilterError(_unknown(operator, field), operator=operator, field=field)


def id_condition(operator: Any, value: Any) -> Filter:
    """Return the filter for one operator on the document's id. Raises FilterError."""
    if operator not in ("$eq", "$ne", "$in", "$nin"):
        message = f"{ID} takes an id, a list of ids, $eq, $ne, $in or $nin, not {short_repr(operator)}"
        raise FilterError(message, field=ID)
    tree = Ids(_ids(operator, [value] if operator in ("$eq", "$ne") else _several(ID, operator, value)))
    return tree if operator in ("$eq", "$in") else Not(tree)


def check_field(field: Any) -> None:
    """Raise FilterError unless the value can be the name of a field."""
    if not isinstance(field, str):
        raise FilterError(f"field {short_repr(field)} is {type_of(field)}; field names are strings")
    if len(field) > MAX_FIELD:
        message = f"field {short_repr(field)} has {len(field):,} characters; field names in filters have at most "
        raise FilterError(f"{message}{MAX_FIELD:,}", field=field[:MAX_FIELD])
    if field.startswith("$"):
        raise FilterError(f"field {short_repr(field)}: field names do not begin with $", field=field)
    try:
        field.encode()
    except UnicodeEncodeError:
        message = f"field {short_repr(field)} contains a lone surrogate, which is not valid text: no document has it"
        raise FilterError(message, field=field) from None


def _mapping(where: Any, depth: int) -> Filter:
    if not isinstance(where, Mapping):
        raise FilterError(f"a filter is a mapping of fields to values, such as {{'lang': 'en'}}, not {type_of(where)}")
    if depth > MAX_DEPTH:
        raise _too_deep()
    return _join(And, [_entry(key, value, depth) for key, value in where.items()])


def _entry(key: Any, value: Any, depth: int) -> Filter:
    """Parse one entry of a filter: a logical operator, the id, or a field."""
    if key == "$not":
        return Not(_mapping(value, depth + 1))
    if key in _LOGICAL_OPERATORS:
        if isinstance(value, (str, bytes)) or not isinstance(value, Sequence) or not value:
            raise FilterError(f"{key} takes a list of at least one filter, not {short_repr(value)}", operator=key)
        parts = [_mapping(part, depth + 1) for part in value]
        return Not(_join(Or, parts)) if key == "$nor" else _join(And if key == "$and" else Or, parts)
    if key == ID:
        if not isinstance(value, Mapping) or not value:
            return id_condition("$eq" if isinstance(value, str) else "$in", value)
        return _join(And, [id_condition(operator, item) for operator, item in value.items()])
    if isinstance(key, str) and key.startswith("$"):
        raise FilterError(_unknown(key), operator=key)
    check_field(key)
    return _field(key, value, depth)


def _field(field: str, value: Any, depth: int) -> Filter:
    """Return the conditions on one field: a value, a list of values, or a mapping of operators."""
    if depth > MAX_DEPTH:
        raise _too_deep()
    if isinstance(value, Mapping) and not _is_tagged_date(value):
        if not value:
            message = f"field {short_repr(field)} has an empty condition; use a value or {{'$eq': value}}"
            raise FilterError(message, field=field)
        return _join(And, [field_condition(field, operator, item, depth) for operator, item in value.items()])
    return field_condition(field, "$in" if isinstance(value, (list, tuple, set, frozenset)) else "$eq", value)


def _join(kind: type[And] | type[Or], parts: Sequence[Filter]) -> Filter:
    return parts[0] if len(parts) == 1 else kind(tuple(parts))


# Operators on fields: each takes the field, its own name, for messages, and the value.


def _equals(field: str, operator: str, value: Any) -> Filter:
    return In(field, (_operand(field, operator, value),))


def _in(field: str, operator: str, values: Any) -> Filter:
    return In(field, tuple(_operands(field, operator, values)))


def _all(field: str, operator: str, values: Any) -> Filter:
    parts = [In(field, (value,)) for value in _operands(field, operator, values)]
    return _join(And, parts) if parts else In(field, ())  # as in MongoDB: an empty $all matches nothing


def _between(field: str, operator: str, values: Any) -> Filter:
    ends = () if isinstance(values, Set) else tuple(_operands(field, operator, values))  # a set has no order
    if len(ends) != 2:
        raise _error(field, operator, f" takes the lowest and the highest value, not {short_repr(values)}")
    return And((_compare(field, operator, "$gte", ends[0]), _compare(field, operator, "$lte", ends[1])))


def _compares(order: Order) -> Callable[[str, str, Any], Filter]:
    return lambda field, operator, value: _compare(field, operator, order, value)


def _compare(field: str, operator: str, order: Order, value: Any) -> Filter:
    bound = _operand(field, operator, value)
    if orderable(bound) is None:
        raise _error(field, operator, f" takes a number, a string, a date or a datetime, not {short_repr(value)}")
    return Compare(field, order, bound)


def _contains(field: str, operator: str, value: Any) -> Filter:
    return Contains(field, _operand(field, operator, value))


def _flag(kind: type[Exists] | type[Empty]) -> Callable[[str, str, Any], Filter]:
    def build(field: str, operator: str, value: Any) -> Filter:
        if not isinstance(value, (bool, np.bool_)):
            raise _error(field, operator, f" takes True or False, not {short_repr(value)}")
        return kind(field) if value else Not(kind(field))

    return build


def _like(field: str, operator: str, pattern: Any) -> Filter:
    if not isinstance(pattern, str):
        raise _error(field, operator, f" takes a string, not {short_repr(pattern)}")
    if len(pattern) > MAX_PATTERN:
        raise _error(
            field,
            operator,
            f": the pattern has {len(pattern):,} characters; at most {MAX_PATTERN:,} are allowed. Use $contains for "
            "long texts",
        )
    if (len(pattern) - len(pattern.rstrip("\\"))) % 2:
        raise _error(
            field,
            operator,
            ": the pattern ends in a single \\, which makes the next character literal; write \\\\ for a backslash",
        )
    return Like(field, str.__str__(pattern), operator == "$ilike")


def _negate(positive: Callable[[str, str, Any], Filter]) -> Callable[[str, str, Any], Filter]:
    return lambda field, operator, value: Not(positive(field, operator, value))


_FIELD_OPERATORS: dict[str, Callable[[str, str, Any], Filter]] = {
    "$eq": _equals,
    "$ne": _negate(_equals),
    "$gt": _compares("$gt"),
    "$gte": _compares("$gte"),
    "$lt": _compares("$lt"),
    "$lte": _compares("$lte"),
    "$in": _in,
    "$nin": _negate(_in),
    "$all": _all,
    "$between": _between,
    "$exists": _flag(Exists),
    "$empty": _flag(Empty),
    "$contains": _contains,
    "$not_contains": _negate(_contains),
    "$like": _like,
    "$ilike": _like,
}
_LOGICAL_OPERATORS = ("$and", "$or", "$nor")

OPERATORS = (*_FIELD_OPERATORS, *_LOGICAL_OPERATORS, "$not")
"""All operators of the dictionary form."""


def _operand(field: str, operator: str, value: Any, depth: int = 1) -> Any:
    """Convert a value to the type metadata would hold: no subclass, no numpy scalar, tuples as lists.

    Infinities are allowed: `{"$lt": inf}` is any smaller number. NaN is not: nothing equals it.

    Raises:
        FilterError: no field can hold such a value.
    """
    try:
        if isinstance(value, np.generic):
            value = plain_scalar(value, f"the value for {short_repr(field)}")
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
                raise _error(field, operator, ": nothing equals NaN; use None for a missing value")
            case datetime():
                return plain_datetime(value, f"the value for {short_repr(field)}")
            case date():
                return date(value.year, value.month, value.day)
            case list() | tuple():
                if depth > MAX_DEPTH:
                    message = f"a value for {short_repr(field)} is nested deeper than {MAX_DEPTH} levels"
                    raise FilterError(message, operator=operator, field=field)
                return [_operand(field, operator, item, depth + 1) for item in value]
            case Mapping() if _is_tagged_date(value):
                return _untag(field, operator, value)
    except DocumentError as error:
        raise FilterError(str(error), operator=operator, field=field) from error
    hint = "Address fields inside mappings by dotted names: 'author.name'"
    if f"${field.lower()}" in (*_LOGICAL_OPERATORS, "$not"):
        hint = f"Did you mean ${field.lower()}?"
    raise FilterError(
        f"field {short_repr(field)} is compared with {type_of(value)}; use a string, number, boolean, None, date, "
        f"datetime or a list of these. {hint}",
        operator=operator,
        field=field,
    )


def _operands(field: str, operator: str, values: Any) -> Collection[Any]:
    """Return the values of an operator that takes several; there may be a million. Raises FilterError."""
    several = _several(field, operator, values)
    return several if _are_plain(several) else [_operand(field, operator, value) for value in several]


def _several(field: str, operator: str, values: Any) -> Collection[Any]:
    """Return the values, an array of numbers as a list. Raises FilterError for a value that is not a collection."""
    several = isinstance(values, (Sequence, Set)) or (isinstance(values, np.ndarray) and values.ndim > 0)
    if not several or isinstance(values, (str, bytes)):
        raise _error(field, operator, f" takes a list of values, not {short_repr(values)}")
    if isinstance(values, np.ndarray) and values.ndim == 1 and values.dtype in _NUMBERS:
        return cast("list[Any]", values.tolist())
    return cast("Collection[Any]", values)


def _are_plain(values: Collection[Any]) -> bool:
    """Return whether `_operand` would return each value as it is."""
    types = set(map(type, values))
    if not types <= _PLAIN or (float in types and any(map(ne, values, values))):
        return False
    zones = {type(value.tzinfo) for value in values if type(value) is datetime} if datetime in types else set()
    return zones <= {type(None), timezone}


def _ids(operator: str, values: Collection[Any]) -> frozenset[str]:
    """Return the ids of documents; there may be a million. Raises FilterError for a value that cannot be one."""
    if set(map(type, values)) <= {str}:
        try:
            "".join(values).encode()
            return frozenset(values)
        except UnicodeEncodeError:
            pass  # find out below which one it is
    return frozenset(_id(operator, value) for value in values)


def _id(operator: str, value: Any) -> str:
    if not isinstance(value, str):
        message = f"{operator} on {ID}: {short_repr(value)} is {type_of(value)}; ids are strings"
        raise FilterError(message, operator=operator, field=ID)
    try:
        value.encode()
    except UnicodeEncodeError:
        message = f"{operator} on {ID}: {short_repr(value)} contains a lone surrogate, which is not valid text"
        raise FilterError(f"{message}: no document has it", operator=operator, field=ID) from None
    return str.__str__(value)


def _is_tagged_date(value: Mapping[Any, Any]) -> bool:
    """Return whether a mapping is a date or datetime as JSON holds it."""
    return len(value) == 1 and next(iter(value)) in ("$date", "$datetime")


def _untag(field: str, operator: str, value: Mapping[str, Any]) -> date:
    ((tag, text),) = value.items()
    moment = read_date(text) if isinstance(text, str) else None
    if moment is None or (tag == "$date" and isinstance(moment, datetime)):
        kind = "date such as '2025-06-15'" if tag == "$date" else "time such as '2025-06-15T12:30:45Z'"
        message = f"{tag} on {short_repr(field)} takes an ISO 8601 {kind}, not {short_repr(text)}"
        raise FilterError(message, operator=operator, field=field)
    return moment if tag == "$date" or isinstance(moment, datetime) else datetime.combine(moment, time())


def _error(field: str, operator: str, message: str) -> FilterError:
    return FilterError(f"{operator} on {short_repr(field)}{message}", operator=operator, field=field)


def _too_deep() -> FilterError:
    return FilterError(f"the filter is nested deeper than {MAX_DEPTH} levels")


_OTHER_NAMES = {
    "$eq": ("=", "==", "equals"),
    "$ne": ("!=", "<>", "neq"),
    "$gt": (">",),
    "$gte": (">=",),
    "$lt": ("<",),
    "$lte": ("<=",),
    "$in": ("any",),
    "$nin": ("notin", "not_in"),
    "$like": ("regex", "startswith", "endswith"),
    "$contains": ("text_match",),
}
"""Names that other filter languages use."""


def _unknown(operator: Any, field: str | None = None) -> str:
    place = "" if field is None else f" on field {short_repr(field)}"
    known = ", ".join(OPERATORS)
    return f"unknown operator {short_repr(operator)}{place}; {_hint(operator, field)}Known operators: {known}"


def _hint(operator: Any, field: str | None) -> str:
    """Return a hint at the operator that was probably meant, or an empty string."""
    if field is None and operator in _FIELD_OPERATORS:
        return f"it belongs to a field: {{'field': {{'{operator}': ...}}}}. "
    if field is not None and operator in _LOGICAL_OPERATORS:
        return f"it joins whole filters: {{'{operator}': [{{{short_repr(field)}: ...}}, ...]}}. "
    if not isinstance(operator, str) or len(operator) > 60:
        return ""
    name = operator.lstrip("$").lower()
    meant = [f"${name}"] if f"${name}" in OPERATORS else [ours for ours, names in _OTHER_NAMES.items() if name in names]
    if not meant and field is not None and f"${field}".lower() in OPERATORS and not operator.startswith("$"):
        meant = [f"${field}".lower()]
    if not meant:
        close = closest(f"${name}", (*OPERATORS, ID) if field is None else OPERATORS, 0.7)
        meant = [] if close is None else [close]
        if field is not None and not operator.startswith("$"):
            meant.append(f"the field {short_repr(f'{field}.{operator}')}")
    return f"did you mean {' or '.join(meant)}? " if meant else ""
