"""The dictionary form, parsed."""

import difflib
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from typing import Any

import numpy as np

from theodolite.errors import DocumentError, FilterError
from theodolite.filters.tree import And, Compare, Contains, Empty, Exists, Filter, In, Like, Not, Or, Order
from theodolite.filters.values import orderable
from theodolite.metadata import plain_scalar

MAX_DEPTH = 64
"""How deep filters may be nested: far more than anyone writes, far less than Python's stack."""

Where = Mapping[str, Any] | Filter | None
"""What callers may pass as a filter: a dictionary, a tree, or None."""


def parse(where: Where) -> Filter | None:
    """The tree of a filter, or None where there is nothing to filter (`None` or `{}`). A tree is returned as it is.

    Raises:
        FilterError: unknown or undollared operators, keys that are not strings, values that cannot be compared.
    """
    if isinstance(where, Filter):
        return None if where == And(()) else where
    if where is None:
        return None
    tree = _mapping(where, 1)
    return None if tree == And(()) else tree


def condition(field: str, operator: Any, value: Any, depth: int = 1) -> Filter:
    """One operator on one field. Raises FilterError."""
    if isinstance(operator, str) and operator in _FIELD:
        return _FIELD[operator](field, value)
    if operator == "$not":
        if not isinstance(value, Mapping) or not value or _tagged(value):
            raise FilterError(
                f"$not on {field!r} takes operators, such as {{'$gt': 5}}; use $ne for a value", field=field
            )
        return Not(_field(field, value, depth + 1))
    raise FilterError(_unknown(operator, field), operator=operator, field=field)


def _mapping(where: Any, depth: int) -> Filter:
    if not isinstance(where, Mapping):
        raise FilterError(f"a filter is a mapping of fields to values, not a {type(where).__name__}")
    if depth > MAX_DEPTH:
        raise FilterError(f"the filter is nested deeper than {MAX_DEPTH} levels")
    parts = [_entry(key, value, depth) for key, value in where.items()]
    return parts[0] if len(parts) == 1 else And(tuple(parts))


def _entry(key: Any, value: Any, depth: int) -> Filter:
    if not isinstance(key, str):
        raise FilterError(f"field {key!r} is a {type(key).__name__}; field names are strings")
    if key == "$not":
        return Not(_mapping(value, depth + 1))
    if key in ("$and", "$or", "$nor"):
        if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Sequence) or not value:
            raise FilterError(f"{key} takes a list of at least one filter, not {value!r:.60}", operator=key)
        parts = tuple(_mapping(part, depth + 1) for part in value)
        if key == "$nor":
            return Not(_joined(Or, parts))
        return _joined(And if key == "$and" else Or, parts)
    if key.startswith("$"):
        raise FilterError(_unknown(key), operator=key)
    return _field(key, value, depth)


def _joined(kind: type[And] | type[Or], parts: tuple[Filter, ...]) -> Filter:
    return parts[0] if len(parts) == 1 else kind(parts)


def _field(field: str, value: Any, depth: int) -> Filter:
    if depth > MAX_DEPTH:
        raise FilterError(f"the filter is nested deeper than {MAX_DEPTH} levels")
    if isinstance(value, Mapping) and not _tagged(value):
        if not value:
            raise FilterError(f"field {field!r} has an empty condition; use a value or {{'$eq': value}}", field=field)
        return _joined(And, tuple(condition(field, operator, item, depth) for operator, item in value.items()))
    return condition(field, "$in" if isinstance(value, (list, tuple, set, frozenset)) else "$eq", value)


def _in(field: str, values: Any) -> Filter:
    return In(field, tuple(_operand(field, value) for value in _list(field, "$in", values)))


def _all(field: str, values: Any) -> Filter:
    parts = tuple(In(field, (_operand(field, value),)) for value in _list(field, "$all", values))
    return _joined(And, parts) if parts else In(field, ())  # as in MongoDB: of no values, nothing has all


def _between(field: str, values: Any) -> Filter:
    ends = _list(field, "$between", values)
    if len(ends) != 2:
        raise FilterError(
            f"$between on {field!r} takes the lowest and the highest value, not {values!r:.60}", field=field
        )
    return And((_compare("$gte")(field, ends[0]), _compare("$lte")(field, ends[1])))


def _compare(order: Order) -> Callable[[str, Any], Filter]:
    def compared(field: str, value: Any) -> Filter:
        operand = _operand(field, value)
        if orderable(operand) is None:
            raise FilterError(
                f"{order} on {field!r} takes a number, a string, a date or a datetime, not {value!r:.60}", field=field
            )
        return Compare(field, order, operand)

    return compared


def _flag(operator: str, kind: type[Exists] | type[Empty]) -> Callable[[str, Any], Filter]:
    def flagged(field: str, value: Any) -> Filter:
        if not isinstance(value, (bool, np.bool_)):
            raise FilterError(f"{operator} on {field!r} takes True or False, not {value!r:.60}", field=field)
        return kind(field) if value else Not(kind(field))

    return flagged


def _like(operator: str, *, ignore_case: bool) -> Callable[[str, Any], Filter]:
    def fits(field: str, pattern: Any) -> Filter:
        if not isinstance(pattern, str):
            raise FilterError(f"{operator} on {field!r} takes a string, not {pattern!r:.60}", field=field)
        if (len(pattern) - len(pattern.rstrip("\\"))) % 2:
            raise FilterError(
                f"{operator} on {field!r}: the pattern ends in a single \\, which makes the next character literal; "
                "write \\\\ for a backslash",
                field=field,
            )
        return Like(field, str(pattern), ignore_case)

    return fits


_FIELD: dict[str, Callable[[str, Any], Filter]] = {
    "$eq": lambda field, value: In(field, (_operand(field, value),)),
    "$ne": lambda field, value: Not(In(field, (_operand(field, value),))),
    "$gt": _compare("$gt"),
    "$gte": _compare("$gte"),
    "$lt": _compare("$lt"),
    "$lte": _compare("$lte"),
    "$in": _in,
    "$nin": lambda field, values: Not(
        In(field, tuple(_operand(field, value) for value in _list(field, "$nin", values)))
    ),
    "$all": _all,
    "$between": _between,
    "$exists": _flag("$exists", Exists),
    "$empty": _flag("$empty", Empty),
    "$contains": lambda field, value: Contains(field, _operand(field, value)),
    "$not_contains": lambda field, value: Not(Contains(field, _operand(field, value))),
    "$like": _like("$like", ignore_case=False),
    "$ilike": _like("$ilike", ignore_case=True),
}

OPERATORS = (*_FIELD, "$and", "$or", "$nor", "$not")
"""All operators of the dictionary form."""


def _list(field: str, operator: str, values: Any) -> Sequence[Any]:
    if isinstance(values, (set, frozenset, np.ndarray)):
        return list(values)
    if isinstance(values, (str, bytes, Mapping)) or not isinstance(values, Sequence):
        raise FilterError(f"{operator} on {field!r} takes a list of values, not {values!r:.60}", field=field)
    return values


def _operand(field: str, value: Any, depth: int = 1) -> Any:
    if value is None or isinstance(value, (str, bool, int, float, date)):
        return value
    if isinstance(value, (list, tuple)):
        if depth > MAX_DEPTH:
            raise FilterError(f"a value for {field!r} is nested deeper than {MAX_DEPTH} levels", field=field)
        return [_operand(field, item, depth + 1) for item in value]
    if isinstance(value, np.generic):
        try:
            return _operand(field, plain_scalar(value, f"the value for {field!r}"))
        except DocumentError as error:
            raise FilterError(str(error), field=field) from error
    if isinstance(value, Mapping) and _tagged(value):
        ((tag, text),) = value.items()
        try:
            return date.fromisoformat(text) if tag == "$date" else datetime.fromisoformat(text)
        except (TypeError, ValueError):
            raise FilterError(f"{tag} on {field!r} takes an ISO-8601 string, not {text!r:.60}", field=field) from None
    raise FilterError(
        f"field {field!r} is compared with a {type(value).__name__}; use a string, number, boolean, None, "
        "date, datetime or a list of these. Fields inside mappings have dotted names: 'author.name'",
        field=field,
    )


def _tagged(value: Mapping[Any, Any]) -> bool:
    """Whether it is a date or datetime as JSON holds it."""
    return len(value) == 1 and next(iter(value)) in ("$date", "$datetime")


def _unknown(operator: Any, field: str | None = None) -> str:
    place = "" if field is None else f" on field {field!r}"
    name = str(operator)
    near = difflib.get_close_matches(f"${name.lstrip('$')}".lower(), OPERATORS, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}? " if near else ""
    if field is not None and not name.startswith("$") and not near:
        hint = f"for a field inside a mapping write '{field}.{name}'. "
    return f"unknown operator {operator!r}{place}; {hint}There are {', '.join(OPERATORS)}"
