"""The contract of fields: the local engine keeps it by columns too, and each of its tests fails a wrong engine."""

from collections.abc import Callable
from dataclasses import replace as changed
from typing import Any

import pytest

from theodolite.engines.local import LocalEngine
from theodolite.engines.local.search import field_summary
from theodolite.filters import Filter
from theodolite.filters.summary import summarize_documents
from theodolite.metadata import decode
from theodolite.protocols import Engine, Scope
from theodolite.settings import CollectionSettings
from theodolite.testing import DictEngine
from theodolite.testing.dict_engine import Contents, Key
from theodolite.testing.engine_fields import FieldsContract
from theodolite.types import Field, Space


@pytest.fixture
def by_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a large collection."""
    monkeypatch.setattr(field_summary, "MAX_READ", -1)


@pytest.mark.usefixtures("by_columns")
class TestColumns(FieldsContract):
    def engine(self, space: Space) -> Engine:
        return LocalEngine.open(None, CollectionSettings(space.metric))

    def partitioned(self, space: Space, field: str) -> Engine:
        return LocalEngine.open(None, CollectionSettings(space.metric, partition=field))


@pytest.mark.usefixtures("by_columns")
class TestTooManyNames(TestColumns):
    @pytest.fixture(autouse=True)
    def few(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(field_summary, "MAX_COLUMNS", 2)


class TopLevelOnly(DictEngine):
    def fields(self, where: Filter | None = None, *, values: int = 20, scope: Scope | None = None) -> dict[str, Field]:
        return {
            name: field for name, field in super().fields(where, values=values, scope=scope).items() if "." not in name
        }


class CountsElements(DictEngine):
    """Twice in a list is counted twice."""

    def fields(self, where: Filter | None = None, *, values: int = 20, scope: Scope | None = None) -> dict[str, Field]:
        found = super().fields(where, values=values, scope=scope)
        return {
            name: changed(field, values=tuple((value, count + (value == "x")) for value, count in field.values))
            for name, field in found.items()
        }


class Remembers(DictEngine):
    """Counts deleted documents."""

    def __init__(self, contents: Contents) -> None:
        super().__init__(contents)
        self._seen: dict[Key, str] = {}

    def fields(self, where: Filter | None = None, *, values: int = 20, scope: Scope | None = None) -> dict[str, Field]:
        self._seen |= {key: kept.metadata for key, kept in self._eligible(scope, where).items()}
        return summarize_documents(map(decode, self._seen.values()), values)


class CutsValues(DictEngine):
    """The first few of many."""

    def fields(self, where: Filter | None = None, *, values: int = 20, scope: Scope | None = None) -> dict[str, Field]:
        found = super().fields(where, values=1000, scope=scope)
        return {name: changed(field, values=field.values[:values]) for name, field in found.items()}


class NamesOfOthers(DictEngine):
    """Counts only the scope, but lists all names."""

    def fields(self, where: Filter | None = None, *, values: int = 20, scope: Scope | None = None) -> dict[str, Field]:
        outside = {name: Field(0, {}) for name in super().fields()}
        return dict(sorted({**outside, **super().fields(where, values=values, scope=scope)}.items()))


class ForgetsPartitions(DictEngine):
    def fields(self, where: Filter | None = None, *, values: int = 20, scope: Scope | None = None) -> dict[str, Field]:
        return super().fields(where, values=values, scope=None if scope and scope.partition else scope)


class IgnoresFilters(DictEngine):
    def fields(self, where: Filter | None = None, *, values: int = 20, scope: Scope | None = None) -> dict[str, Field]:
        return super().fields(values=values, scope=scope)


class FiltersBeyondTheScope(DictEngine):
    """A filter replaces the scope."""

    def fields(self, where: Filter | None = None, *, values: int = 20, scope: Scope | None = None) -> dict[str, Field]:
        return super().fields(where, values=values, scope=scope if where is None else None)


class Contract(FieldsContract):
    def __init__(self, make: Callable[..., Any]) -> None:
        self.make = make

    def engine(self, space: Space) -> Any:
        return self.make(Contents(space))

    def partitioned(self, space: Space, field: str) -> Any:
        return self.make(Contents(space, field))


BROKEN: list[tuple[Callable[..., Any], str]] = [
    (TopLevelOnly, "test_fields_are_what_the_manual_says"),
    (CountsElements, "test_fields_are_what_the_manual_says"),
    (Remembers, "test_fields_agree_with_the_reference"),
    (CutsValues, "test_at_most_the_requested_values_are_listed"),
    (NamesOfOthers, "test_fields_of_a_scope_are_its_own"),
    (ForgetsPartitions, "test_fields_of_a_scope_are_its_own"),
    (IgnoresFilters, "test_fields_under_a_filter_are_of_documents_that_pass"),
    (FiltersBeyondTheScope, "test_fields_under_a_filter_are_of_documents_that_pass"),
]


@pytest.mark.parametrize(("broken", "test"), BROKEN)
def test_a_broken_engine_fails(broken: Callable[..., Any], test: str) -> None:
    with pytest.raises(AssertionError):
        getattr(Contract(broken), test)()


def test_every_test_of_the_contract_can_fail() -> None:
    assert {test for _, test in BROKEN} == {name for name in vars(FieldsContract) if name.startswith("test_")}


def test_partitions_in_a_dictionary_pass() -> None:
    Contract(DictEngine).test_fields_of_a_scope_are_its_own()
