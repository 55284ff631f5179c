"""The dictionary form, parsed."""

import difflib
from collections.abc import Callable, Mapping, Sequence, Set
from typing import Any

import numpy as np

from theodolite.errors import FilterError
from theodolite.filters.operands import ID, MAX_DEPTH, MAX_PATTERN, as_ids, check_field, listed, operand, shown, tagged
from theodolite.filters.tree import (
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

Where = Mapping[str, Any] | Filter | None
"""What callers may pass as a filter: a dictionary, a tree, or None."""


def parse(where: Where) -> Filter | None:
    """The tree of a filter, or None where there is nothing to filter (`None` or `{}`). A tree is returned as it is.

    Raises:
        FilterError: unknown or undollared operators, keys that are not strings, values that cannot be compared, more
            than 64 levels. `operator` and `field` are attributes of it wherever it is about one.
    """
    if where is None:
        return None
    tree = where if isinstance(where, Filter) else _mapping(where, 1)
    if is_deeper(tree, MAX_DEPTH):
        raise _too_deep()
    return None if tree == And(()) else tree


def condition(field: str, operator: Any, value: Any, depth: int = 1) -> Filter:
    """One operator on one field. Raises FilterError."""
    if isinstance(operator, str) and operator in _FIELD:
        return _FIELD[operator](field, operator, value)
    if operator == "$not":
        if not isinstance(value, Mapping) or not value or tagged(value):
            raise FilterError(
                f"$not on {shown(field)} takes operators, such as {{'$gt': 5}}; use $ne for a value",
                operator=operator,
                field=field,
            )
        return Not(_field(field, value, depth + 1))
    raise FilterError(_unknown(operator, field), operator=operator, field=field)


def named(operator: Any, value: Any) -> Filter:
    """One operator on the document's id. Raises FilterError."""
    if operator not in ("$eq", "$ne", "$in", "$nin"):
        raise FilterError(f"{ID} takes an id, a list of ids, $eq, $ne, $in or $nin, not {shown(operator)}", field=ID)
    names = [value] if operator in ("$eq", "$ne") else listed(ID, operator, value)
    tree = Ids(as_ids(operator, names))
    return tree if operator in ("$eq", "$in") else Not(tree)


def _mapping(where: Any, depth: int) -> Filter:
    if not isinstance(where, Mapping):
        raise FilterError(f"a filter is a mapping of fields to values, not a {type(where).__name__}")
    if depth > MAX_DEPTH:
        raise _too_deep()
    return _joined(And, [_entry(key, value, depth) for key, value in where.items()])


def _entry(key: Any, value: Any, depth: int) -> Filter:
    if key == "$not":
        return Not(_mapping(value, depth + 1))
    if key in _JOINING:
        if isinstance(value, (str, bytes)) or not isinstance(value, Sequence) or not value:
            raise FilterError(f"{key} takes a list of at least one filter, not {shown(value)}", operator=key)
        parts = [_mapping(part, depth + 1) for part in value]
        return Not(_joined(Or, parts)) if key == "$nor" else _joined(And if key == "$and" else Or, parts)
    if key == ID:
        if not isinstance(value, Mapping) or not value:
            return named("$eq" if isinstance(value, str) else "$in", value)
        return _joined(And, [named(operator, item) for operator, item in value.items()])
    if isinstance(key, str) and key.startswith("$"):
        raise FilterError(_unknown(key), operator=key)
    check_field(key)
    return _field(key, value, depth)


def _joined(kind: type[And] | type[Or], parts: Sequence[Filter]) -> Filter:
    return parts[0] if len(parts) == 1 else kind(tuple(parts))


def _field(field: str, value: Any, depth: int) -> Filter:
    if depth > MAX_DEPTH:
        raise _too_deep()
    if isinstance(value, Mapping) and not tagged(value):
        if not value:
            message = f"field {shown(field)} has an empty condition; use a value or {{'$eq': value}}"
            raise FilterError(message, field=field)
        return _joined(And, [condition(field, operator, item, depth) for operator, item in value.items()])
    return condition(field, "$in" if isinstance(value, (list, tuple, set, frozenset)) else "$eq", value)


def _equals(field: str, operator: str, value: Any) -> Filter:
    return In(field, (operand(field, operator, value),))


def _in(field: str, operator: str, values: Any) -> Filter:
    return In(field, tuple(listed(field, operator, values)))


def _all(field: str, operator: str, values: Any) -> Filter:
    parts = [In(field, (value,)) for value in listed(field, operator, values)]
    return _joined(And, parts) if parts else In(field, ())  # as in MongoDB: of no values, nothing has all


def _between(field: str, operator: str, values: Any) -> Filter:
    ends = [] if isinstance(values, Set) else listed(field, operator, values)  # a set has no first and last
    if len(ends) != 2:
        raise FilterError(
            f"{operator} on {shown(field)} takes the lowest and the highest value, not {shown(values)}",
            operator=operator,
            field=field,
        )
    return And((_compared(field, operator, "$gte", ends[0]), _compared(field, operator, "$lte", ends[1])))


def _compares(order: Order) -> Callable[[str, str, Any], Filter]:
    return lambda field, operator, value: _compared(field, operator, order, value)


def _compared(field: str, operator: str, order: Order, value: Any) -> Filter:
    border = operand(field, operator, value)
    if orderable(border) is None:
        raise FilterError(
            f"{operator} on {shown(field)} takes a number, a string, a date or a datetime, not {shown(value)}",
            operator=operator,
            field=field,
        )
    return Compare(field, order, border)


def _contains(field: str, operator: str, value: Any) -> Filter:
    return Contains(field, operand(field, operator, value))


def _flag(kind: type[Exists] | type[Empty]) -> Callable[[str, str, Any], Filter]:
    def flagged(field: str, operator: str, value: Any) -> Filter:
        if not isinstance(value, (bool, np.bool_)):
            message = f"{operator} on {shown(field)} takes True or False, not {shown(value)}"
            raise FilterError(message, operator=operator, field=field)
        return kind(field) if value else Not(kind(field))

    return flagged


def _like(field: str, operator: str, pattern: Any) -> Filter:
    if not isinstance(pattern, str):
        message = f"{operator} on {shown(field)} takes a string, not {shown(pattern)}"
        raise FilterError(message, operator=operator, field=field)
    if len(pattern) > MAX_PATTERN:
        message = f"{operator} on {shown(field)}: the pattern has {len(pattern):,} characters, at most {MAX_PATTERN:,}"
        raise FilterError(f"{message} are compared; use $contains for long texts", operator=operator, field=field)
    if (len(pattern) - len(pattern.rstrip("\\"))) % 2:
        raise FilterError(
            f"{operator} on {shown(field)}: the pattern ends in a single \\, which makes the next character literal; "
            "write \\\\ for a backslash",
            operator=operator,
            field=field,
        )
    return Like(field, str.__str__(pattern), operator == "$ilike")


def _negated(positive: Callable[[str, str, Any], Filter]) -> Callable[[str, str, Any], Filter]:
    return lambda field, operator, value: Not(positive(field, operator, value))


_FIELD: dict[str, Callable[[str, str, Any], Filter]] = {
    "$eq": _equals,
    "$ne": _negated(_equals),
    "$gt": _compares("$gt"),
    "$gte": _compares("$gte"),
    "$lt": _compares("$lt"),
    "$lte": _compares("$lte"),
    "$in": _in,
    "$nin": _negated(_in),
    "$all": _all,
    "$between": _between,
    "$exists": _flag(Exists),
    "$empty": _flag(Empty),
    "$contains": _contains,
    "$not_contains": _negated(_contains),
    "$like": _like,
    "$ilike": _like,
}
_JOINING = ("$and", "$or", "$nor")

OPERATORS = (*_FIELD, *_JOINING, "$not")
"""All operators of the dictionary form."""

_ELSEWHERE = {
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
"""What other languages call them."""


def _unknown(operator: Any, field: str | None = None) -> str:
    place = "" if field is None else f" on field {shown(field)}"
    return f"unknown operator {shown(operator)}{place}; {_hint(operator, field)}There are {', '.join(OPERATORS)}"


def _hint(operator: Any, field: str | None) -> str:
    if field is None and operator in _FIELD:
        return f"it belongs to a field: {{'field': {{'{operator}': ...}}}}. "
    if field is not None and operator in _JOINING:
        return f"it joins whole filters: {{'{operator}': [{{{shown(field)}: ...}}, ...]}}. "
    if not isinstance(operator, str) or len(operator) > 60:
        return ""
    name = operator.lstrip("$").lower()
    meant = [f"${name}"] if f"${name}" in OPERATORS else [ours for ours, names in _ELSEWHERE.items() if name in names]
    if not meant and field is not None and f"${field}".lower() in OPERATORS and not operator.startswith("$"):
        meant = [f"${field}".lower()]
    if not meant:
        meant = difflib.get_close_matches(f"${name}", (*OPERATORS, ID) if field is None else OPERATORS, 1, 0.7)
        if field is not None and not operator.startswith("$"):
            meant.append(f"the field {shown(f'{field}.{operator}')}")
    return f"did you mean {' or '.join(meant)}? " if meant else ""


def _too_deep() -> FilterError:
    return FilterError(f"the filter is nested deeper than {MAX_DEPTH} levels")
