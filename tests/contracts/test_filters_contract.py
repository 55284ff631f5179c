"""The contract of filters fails an engine that evaluates them differently."""

import re
from collections.abc import Callable
from datetime import date, datetime
from typing import Any

import pytest

from theodolite.filters import (
    MISSING,
    OPERATORS,
    Compare,
    Contains,
    Exists,
    Filter,
    In,
    Like,
    Not,
    fields,
    lookup,
    matches,
)
from theodolite.metadata import decode
from theodolite.protocols import Scope
from theodolite.testing import DictEngine
from theodolite.testing.dict_engine import Contents, Key, Stored
from theodolite.testing.engine_filters import PASSING, FiltersContract
from theodolite.types import Space

TESTS = sorted(name for name in vars(FiltersContract) if name.startswith("test_"))
Metadata = dict[str, Any]


class Otherwise(DictEngine):
    """Understands some filters in its own way."""

    def passes(self, tree: Filter, metadata: Metadata, name: str) -> bool:
        return matches(tree, metadata, name)

    def _eligible(self, scope: Scope | None, where: Filter | None) -> dict[Key, Stored]:
        every = super()._eligible(scope, None)
        if where is None:
            return every
        return {key: kept for key, kept in every.items() if self.passes(where, decode(kept.metadata), key[0])}


class NullsAsInSql(Otherwise):
    """A negation is unknown where the field is missing."""

    def passes(self, tree: Filter, metadata: Metadata, name: str) -> bool:
        missing = any(lookup(metadata, field) in (None, MISSING) for field in fields(tree))
        return matches(tree, metadata, name) and not (isinstance(tree, Not) and missing)


class AllOrdersAreText(Otherwise):
    """As in a column of text: numbers and dates in the order of their letters."""

    def passes(self, tree: Filter, metadata: Metadata, name: str) -> bool:
        if not isinstance(tree, Compare):
            return matches(tree, metadata, name)
        found = lookup(metadata, tree.field)
        return isinstance(found, (str, int, date)) and matches(
            Compare("f", tree.order, f"-{tree.value}"), {"f": f"-{found}"}
        )


class FloatsOnly(Otherwise):
    """As in JSON elsewhere: large integers are rounded."""

    def passes(self, tree: Filter, metadata: Metadata, name: str) -> bool:
        value = metadata.get("f")
        if type(value) is int and abs(value) < 2**100:
            metadata = metadata | {"f": float(value)}
        return matches(tree, metadata, name)


class RaisesOnLargeNumbers(Otherwise):
    def passes(self, tree: Filter, metadata: Metadata, name: str) -> bool:
        if isinstance(tree, In):
            assert all(float(value) is not None for value in tree.values if type(value) is int)  # OverflowError
        return matches(tree, metadata, name)


class IdsAreMetadata(Otherwise):
    """Looks for ids among the fields."""

    def passes(self, tree: Filter, metadata: Metadata, name: str) -> bool:
        return matches(tree, metadata, metadata.get("id"))


class ListsAreOrdered(Otherwise):
    """As in MongoDB: an element that is greater will do."""

    def passes(self, tree: Filter, metadata: Metadata, name: str) -> bool:
        found = [lookup(metadata, field) for field in fields(tree)]
        if isinstance(tree, Compare) and found and isinstance(found[0], list):
            return any(matches(tree, {tree.field: element}) for element in found[0])
        return matches(tree, metadata, name)


class PathsOnly(Otherwise):
    """A key with a dot in it is never found."""

    def passes(self, tree: Filter, metadata: Metadata, name: str) -> bool:
        return matches(tree, {key: value for key, value in metadata.items() if "." not in key}, name)


class NoneIsMissing(Otherwise):
    def passes(self, tree: Filter, metadata: Metadata, name: str) -> bool:
        return matches(tree, {key: value for key, value in metadata.items() if value is not None}, name)


class LikeIgnoresCase(Otherwise):
    """As SQLite's own."""

    def passes(self, tree: Filter, metadata: Metadata, name: str) -> bool:
        if isinstance(tree, Like):
            tree = Like(tree.field, tree.pattern, ignore_case=True)
        return matches(tree, metadata, name)


class LikeIsAnExpression(Otherwise):
    """% and _ translated, the rest taken as it is."""

    def passes(self, tree: Filter, metadata: Metadata, name: str) -> bool:
        found = [lookup(metadata, field) for field in fields(tree)]
        if isinstance(tree, Like) and isinstance(found[0], str):
            expression = tree.pattern.replace("%", ".*").replace("_", ".")
            return re.fullmatch(expression, found[0], re.DOTALL) is not None
        return matches(tree, metadata, name)


class ContainsAsText(Otherwise):
    def passes(self, tree: Filter, metadata: Metadata, name: str) -> bool:
        if isinstance(tree, Contains):
            return str(tree.value) in str(lookup(metadata, tree.field))
        return matches(tree, metadata, name)


class DatesAreDays(Otherwise):
    """The time of day is lost."""

    def passes(self, tree: Filter, metadata: Metadata, name: str) -> bool:
        days = {k: v.date() if isinstance(v, datetime) else v for k, v in metadata.items()}
        return matches(tree, days, name)


class OnlyTheFirst(Otherwise):
    """Evaluates only one of several conditions."""

    def passes(self, tree: Filter, metadata: Metadata, name: str) -> bool:
        parts = getattr(tree, "parts", None)
        return matches(parts[0] if parts else tree, metadata, name)


class ExistsIsTruth(Otherwise):
    def passes(self, tree: Filter, metadata: Metadata, name: str) -> bool:
        return bool(lookup(metadata, tree.field)) if isinstance(tree, Exists) else matches(tree, metadata, name)


class Recurses(Otherwise):
    """Gives up where others still count."""

    def passes(self, tree: Filter, metadata: Metadata, name: str) -> bool:
        inner, levels = tree, 0
        while isinstance(inner, Not):
            inner, levels = inner.part, levels + 1
        if levels > 30:
            raise RecursionError
        return matches(tree, metadata, name)


MANUAL, REFERENCE, BREAKS = (
    "test_filters_pass_what_the_manual_says",
    "test_filters_agree_with_the_reference",
    "test_no_filter_breaks_an_engine",
)
BROKEN: list[tuple[Callable[[Contents], Any], str]] = [
    *((IdsAreMetadata, test) for test in (MANUAL, REFERENCE)),
    *((NullsAsInSql, test) for test in (MANUAL, REFERENCE)),
    *((AllOrdersAreText, test) for test in (MANUAL, REFERENCE)),
    *((ListsAreOrdered, test) for test in (MANUAL, REFERENCE)),
    *((PathsOnly, test) for test in (MANUAL, REFERENCE)),
    *((NoneIsMissing, test) for test in (MANUAL, REFERENCE)),
    *((LikeIgnoresCase, test) for test in (MANUAL, REFERENCE)),
    *((ContainsAsText, test) for test in (MANUAL, REFERENCE)),
    *((OnlyTheFirst, test) for test in (MANUAL, REFERENCE)),
    *((ExistsIsTruth, test) for test in (MANUAL, REFERENCE)),
    (DatesAreDays, MANUAL),
    (FloatsOnly, REFERENCE),
    (RaisesOnLargeNumbers, REFERENCE),
    (LikeIsAnExpression, BREAKS),
    (Recurses, BREAKS),
]


class Contract(FiltersContract):
    def __init__(self, make: Callable[[Contents], Any]) -> None:
        self.make = make

    def engine(self, space: Space) -> Any:
        return self.make(Contents(space))


@pytest.mark.parametrize("test", TESTS)
@pytest.mark.thorough
def test_an_engine_that_keeps_it_passes(test: str) -> None:
    getattr(Contract(Otherwise), test)()


@pytest.mark.parametrize(("broken", "test"), BROKEN)
def test_one_that_does_not_fails(broken: Callable[[Contents], Any], test: str) -> None:
    with pytest.raises((AssertionError, OverflowError, RecursionError, re.error)):
        getattr(Contract(broken), test)()


def test_every_test_can_fail() -> None:
    assert {test for _, test in BROKEN} == set(TESTS)


def test_the_table_has_every_operator() -> None:
    table = repr(PASSING)
    assert [operator for operator in OPERATORS if f"'{operator}'" not in table] == []
