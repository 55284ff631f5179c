"""The nodes of a filter, and the filter as a dictionary.

The set of nodes is closed: code that handles a tree matches on all of them and ends in `assert_never`.
"""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Literal, NoReturn, assert_never

ID = "$id"
"""The key of the document's id in the dictionary form, in place of a field name."""

Order = Literal["$gt", "$gte", "$lt", "$lte"]


class _Node:
    """Filters are combined with `&`, `|` and `~`."""

    __slots__ = ()

    def __and__(self, other: "Filter") -> "Filter":
        return And((*_parts(And, self), *_parts(And, other)))

    def __or__(self, other: "Filter") -> "Filter":
        return Or((*_parts(Or, self), *_parts(Or, other)))

    def __invert__(self) -> "Filter":
        return self.part if isinstance(self, Not) else Not(_node(self))

    def __bool__(self) -> NoReturn:
        # Otherwise `a and b` would silently be b, and `1 < F("x") < 3` its second half.
        raise TypeError("a filter is neither true nor false: combine filters with & | ~, and use between() for ranges")


@dataclass(frozen=True, slots=True)
class In(_Node):
    """The field, or an element of its list, equals one of the values; None also equals a missing field."""

    field: str
    values: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Compare(_Node):
    """The field is on the given side of the value. Fails unless both are numbers, instants, or other strings."""

    field: str
    order: Order
    value: Any


@dataclass(frozen=True, slots=True)
class Exists(_Node):
    """The field exists; its value may be None."""

    field: str


@dataclass(frozen=True, slots=True)
class Empty(_Node):
    """The field is missing, None, an empty string or an empty list."""

    field: str


@dataclass(frozen=True, slots=True)
class Contains(_Node):
    """The field is a list that contains this element, or a string that contains this substring."""

    field: str
    value: Any


@dataclass(frozen=True, slots=True)
class Like(_Node):
    """The field is a string that matches the pattern: % is any characters, _ is one, \\ makes the next one literal."""

    field: str
    pattern: str
    ignore_case: bool = False


@dataclass(frozen=True, slots=True)
class Ids(_Node):
    """The document's id is one of these."""

    ids: frozenset[str]


@dataclass(frozen=True, slots=True)
class Not(_Node):
    """The part does not hold."""

    part: "Filter"


@dataclass(frozen=True, slots=True)
class And(_Node):
    """All parts hold. Without parts: always true."""

    parts: tuple["Filter", ...]


@dataclass(frozen=True, slots=True)
class Or(_Node):
    """At least one part holds. Without parts: always false."""

    parts: tuple["Filter", ...]


Test = In | Compare | Exists | Empty | Contains | Like
"""A condition on one field."""

Filter = Test | Ids | Not | And | Or


def fields(tree: Filter) -> set[str]:
    """Return the fields that a filter names."""
    match tree:
        case In() | Compare() | Exists() | Empty() | Contains() | Like():
            return {tree.field}
        case Ids():
            return set()
        case Not(part=part):
            return fields(part)
        case And(parts=parts) | Or(parts=parts):
            return set().union(*map(fields, parts))
        case _:
            assert_never(tree)


def is_deeper(tree: Filter, levels: int) -> bool:
    """Return whether a tree is nested deeper than `levels`. Does not recurse, so that no tree is too deep to check."""
    layer: list[Filter] = [tree]
    for _ in range(levels):
        inner: list[Filter] = []
        for node in layer:
            if isinstance(node, Not):
                inner.append(node.part)
            elif isinstance(node, (And, Or)):
                inner.extend(node.parts)
        layer = inner
    return bool(layer)


def to_dict(tree: Filter | None) -> dict[str, Any]:
    """Return the dictionary form of a filter, with JSON values only. `parse` turns it into the same tree.

    Dates become `{"$date": "2025-03-01"}` and datetimes `{"$datetime": ...}`, as in stored metadata.
    """
    match tree:
        case None:
            return {}
        case In(field=field, values=(value,)):
            return {field: {"$eq": _json_value(value)}}
        case In(field=field, values=values):
            return {field: {"$in": [_json_value(value) for value in values]}}
        case Compare(field=field, order=order, value=value):
            return {field: {order: _json_value(value)}}
        case Exists(field=field):
            return {field: {"$exists": True}}
        case Empty(field=field):
            return {field: {"$empty": True}}
        case Contains(field=field, value=value):
            return {field: {"$contains": _json_value(value)}}
        case Like(field=field, pattern=pattern, ignore_case=ignore_case):
            return {field: {"$ilike" if ignore_case else "$like": pattern}}
        case Ids(ids=ids):
            return {ID: sorted(ids)}
        case Not(part=part):
            return {"$not": to_dict(part)}
        case And(parts=parts):
            return {"$and": [to_dict(part) for part in parts]} if parts else {}
        case Or(parts=parts):
            return {"$or": [to_dict(part) for part in parts]} if parts else {"$not": {}}
        case _:
            assert_never(tree)


def _parts(kind: type[And] | type[Or], tree: Any) -> tuple[Filter, ...]:
    return tree.parts if isinstance(tree, kind) else (_node(tree),)


def _node(tree: Any) -> Filter:
    if not isinstance(tree, Filter):
        raise TypeError(f"a filter can be combined with a filter, not with a {type(tree).__name__}")
    return tree


def _json_value(value: Any) -> Any:
    match value:
        case datetime():
            return {"$datetime": value.isoformat()}
        case date():
            return {"$date": value.isoformat()}
        case list():
            return [_json_value(item) for item in value]
        case _:
            return value
