"""Evaluate a filter on one document. This defines what a filter means."""

import operator
from collections.abc import Callable, Mapping
from typing import Any, assert_never

from theodolite.filters.tree import And, Compare, Contains, Empty, Exists, Filter, Ids, In, Like, Not, Or, Order, Test
from theodolite.filters.values import MISSING, equal, like, lookup, orderable, same

ORDERS: Mapping[Order, Callable[[Any, Any], bool]] = {
    "$gt": operator.gt,
    "$gte": operator.ge,
    "$lt": operator.lt,
    "$lte": operator.le,
}


def matches(tree: Filter | None, metadata: Mapping[str, Any], name: str | None = None) -> bool:
    """Return whether a document with this metadata and id matches a filter. The reference for all engines."""
    match tree:
        case None:
            return True
        case Not(part=part):
            return not matches(part, metadata, name)
        case And(parts=parts):
            return all(matches(part, metadata, name) for part in parts)
        case Or(parts=parts):
            return any(matches(part, metadata, name) for part in parts)
        case Ids(ids=ids):
            return name in ids
        case In() | Compare() | Exists() | Empty() | Contains() | Like():
            return holds(tree, lookup(metadata, tree.field))
        case _:
            assert_never(tree)


def holds(test: Test, value: Any) -> bool:
    """Return whether the value of a field (or MISSING) passes a test."""
    match test:
        case In(values=values):
            return any(equal(value, wanted) for wanted in values)
        case Compare(order=order, value=wanted):
            stored, bound = orderable(value), orderable(wanted)
            return (
                stored is not None
                and bound is not None
                and stored[0] == bound[0]
                and ORDERS[order](stored[1], bound[1])
            )
        case Exists():
            return value is not MISSING
        case Empty():
            return value is MISSING or value is None or value == "" or value == []
        case Contains(value=wanted):
            if isinstance(value, str):
                return isinstance(wanted, str) and wanted in value
            return isinstance(value, list) and any(same(item, wanted) for item in value)
        case Like(pattern=pattern, ignore_case=ignore_case):
            return isinstance(value, str) and like(pattern, ignore_case)(value)
        case _:
            assert_never(test)
