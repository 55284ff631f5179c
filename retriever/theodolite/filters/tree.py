"""The nodes of a filter. The tree is closed: who handles it matches on all of them, ending in `assert_never`."""

from dataclasses import dataclass
from typing import Any, Literal, NoReturn, assert_never

Order = Literal["$gt", "$gte", "$lt", "$lte"]


class _Node:
    """`&`, `|` and `~` combine filters."""

    __slots__ = ()

    def __and__(self, other: "Filter") -> "Filter":
        return And((*_parts(And, self), *_parts(And, other)))

    def __or__(self, other: "Filter") -> "Filter":
        return Or((*_parts(Or, self), *_parts(Or, other)))

    def __invert__(self) -> "Filter":
        return self.part if isinstance(self, Not) else Not(_node(self))

    def __bool__(self) -> NoReturn:
        # `a and b` would quietly be b, and `1 < F("x") < 3` its second half.
        raise TypeError("a filter is neither true nor false: combine filters with & | ~, and use between() for ranges")


@dataclass(frozen=True, slots=True)
class In(_Node):
    """The field, or an element of its list, equals one of the values; None equals a missing field, too."""

    field: str
    values: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Compare(_Node):
    """The field is on that side of the value. Both are numbers, instants, or other strings; else it fails."""

    field: str
    order: Order
    value: Any


@dataclass(frozen=True, slots=True)
class Exists(_Node):
    """The field is there, be it None."""

    field: str


@dataclass(frozen=True, slots=True)
class Empty(_Node):
    """The field is missing, None, an empty string or an empty list."""

    field: str


@dataclass(frozen=True, slots=True)
class Contains(_Node):
    """The field is a list with this element, or a string with this substring."""

    field: str
    value: Any


@dataclass(frozen=True, slots=True)
class Like(_Node):
    """The field is a string that fits the pattern: % stands for any characters, _ for one, after \\ for themselves."""

    field: str
    pattern: str
    ignore_case: bool = False


@dataclass(frozen=True, slots=True)
class Ids(_Node):
    """The document's id is one of these."""

    ids: frozenset[str]


@dataclass(frozen=True, slots=True)
class Not(_Node):
    """The part fails."""

    part: "Filter"


@dataclass(frozen=True, slots=True)
class And(_Node):
    """All parts hold; of no parts, they do."""

    parts: tuple["Filter", ...]


@dataclass(frozen=True, slots=True)
class Or(_Node):
    """One of the parts holds; of no parts, none does."""

    parts: tuple["Filter", ...]


Test = In | Compare | Exists | Empty | Contains | Like
"""What looks at one field."""

Filter = Test | Ids | Not | And | Or


def fields(tree: Filter) -> set[str]:
    """The fields a filter names."""
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
    """Whether more than so many nodes stand above one another. Does not recurse, so that any tree can be asked."""
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


def _parts(kind: type[And] | type[Or], tree: Any) -> tuple[Filter, ...]:
    return tree.parts if isinstance(tree, kind) else (_node(tree),)


def _node(tree: Any) -> Filter:
    if not isinstance(tree, Filter):
        raise TypeError(f"a filter can be combined with a filter, not with a {type(tree).__name__}")
    return tree
