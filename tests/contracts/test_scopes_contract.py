"""The contract of scopes: it passes an engine that keeps it, and each of its tests fails one that does not."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace as changed
from typing import Any

import pytest

from theodolite.filters import Filter
from theodolite.metadata import decode, encode
from theodolite.protocols import Answer, Engine, Request, Scope
from theodolite.testing import DictEngine
from theodolite.testing.dict_engine import Contents, Key, Stored
from theodolite.testing.engine_scopes import ScopesContract
from theodolite.types import Duplicate, Space, Trace


class OneIdForAll(DictEngine):
    def _key(self, name: str, metadata: Mapping[str, Any]) -> Key:
        return name, ""


class NumbersAreTexts(DictEngine):
    def _key(self, name: str, metadata: Mapping[str, Any]) -> Key:
        return name, str(metadata[self.partition or ""])


class CountsAll(DictEngine):
    def count(self, where: Filter | None = None, *, scope: Scope | None = None) -> int:
        return super().count(where)


class FilterWidens(DictEngine):
    def _eligible(self, scope: Scope | None, where: Filter | None) -> dict[Key, Stored]:
        return super()._eligible(scope if where is None else None, where)


class TellsOfAll(DictEngine):
    def search(self, request: Request) -> list[Answer]:
        answers = super().search(request)
        return [
            Answer(
                a.documents, a.similarities, Trace("scan", len(self._contents.stored), a.trace.eligible, a.trace.scored)
            )
            for a in answers
        ]


class TellsOfTheWay(DictEngine):
    def search(self, request: Request) -> list[Answer]:
        path = "scan" if len(self._contents.stored) < 1000 else "rows"
        return [Answer(a.documents, a.similarities, changed(a.trace, path=path)) for a in super().search(request)]


class TellsWhetherThereIsAnything(DictEngine):
    def search(self, request: Request) -> list[Answer]:
        timings = {"search": 1e-6} if self.count(request.where) else {}
        return [Answer(a.documents, a.similarities, changed(a.trace, timings=timings)) for a in super().search(request)]


class TakesAnyScope(DictEngine):
    def _eligible(self, scope: Scope | None, where: Filter | None) -> dict[Key, Stored]:
        return super()._eligible(None if self.partition is None else scope, where)


class SearchesAll(DictEngine):
    def search(self, request: Request) -> list[Answer]:
        return super().search(Request(request.vectors, request.k, request.where))


class ComparesAll(DictEngine):
    def duplicates(self, threshold: float, where: Filter | None = None, **options: Any) -> Iterator[Duplicate]:
        return super().duplicates(threshold, where)


class AddsAnywhere(DictEngine):
    def add(self, *arguments: Any, scope: Scope | None = None, **options: Any) -> None:
        super().add(*arguments, **options)


class NeedsNoPartition(DictEngine):
    def _key(self, name: str, metadata: Mapping[str, Any]) -> Key:
        return super()._key(name, {"tenant": "none", **metadata})


class Moves(DictEngine):
    def update(
        self, changes: Mapping[str, Mapping[str, Any]], *, replace: bool = False, scope: Scope | None = None
    ) -> None:
        for key in self._named(list(changes), scope):
            kept = self._contents.stored.pop(key)
            metadata = {**decode(kept.metadata), **changes[key[0]]}
            self._contents.stored[self._key(key[0], metadata)] = kept._replace(metadata=encode(metadata))


class DeletesAnywhere(DictEngine):
    def delete(self, which: Sequence[str] | Filter, *, scope: Scope | None = None) -> int:
        if isinstance(which, Sequence):
            return super().delete(which, scope=scope)
        return super().delete(which)


class ClearsAll(DictEngine):
    def clear(self, *, scope: Scope | None = None) -> None:
        self._contents.stored = {}


class WritesThroughFilters(DictEngine):
    def _check_writable(self, scope: Scope | None = None) -> None: ...


class GuessesThePartition(DictEngine):
    def _named(self, ids: Sequence[str], scope: Scope | None) -> list[Key]:
        keys = {key[0]: key for key in self._eligible(scope, None)}
        return [keys[name] for name in ids if name in keys]


class Contract(ScopesContract):
    def __init__(self, kind: type[DictEngine]) -> None:
        self.kind = kind

    def engine(self, space: Space) -> Engine:
        return self.kind(Contents(space))

    def partitioned(self, space: Space, field: str) -> Engine:
        return self.kind(Contents(space, field))


TESTS = sorted(name for name in vars(ScopesContract) if name.startswith("test_"))

BROKEN = [
    (OneIdForAll, "test_an_id_is_one_document_in_each_partition"),
    (NumbersAreTexts, "test_an_id_is_one_document_in_each_partition"),
    (CountsAll, "test_a_scope_shows_its_partition_only"),
    (FilterWidens, "test_a_scope_shows_its_partition_only"),
    (TellsOfAll, "test_a_scope_shows_its_partition_only"),
    (SearchesAll, "test_a_scope_shows_its_partition_only"),
    (ComparesAll, "test_a_scope_shows_its_partition_only"),
    (ComparesAll, "test_nothing_is_a_partition_where_there_are_none"),
    (TellsOfTheWay, "test_the_trace_reveals_nothing_outside_the_scope"),
    (TellsWhetherThereIsAnything, "test_the_trace_reveals_nothing_outside_the_scope"),
    (TakesAnyScope, "test_nothing_is_a_partition_where_there_are_none"),
    (AddsAnywhere, "test_writes_stay_in_their_partition"),
    (NeedsNoPartition, "test_writes_stay_in_their_partition"),
    (Moves, "test_writes_stay_in_their_partition"),
    (DeletesAnywhere, "test_writes_stay_in_their_partition"),
    (ClearsAll, "test_writes_stay_in_their_partition"),
    (WritesThroughFilters, "test_other_scopes_are_read_only"),
    (GuessesThePartition, "test_ids_alone_name_nothing"),
    (SearchesAll, "test_a_filter_may_be_a_scope"),
    (TellsOfAll, "test_a_filter_may_be_a_scope"),
]


@pytest.mark.parametrize("test", TESTS)
def test_an_engine_that_keeps_it_passes(test: str) -> None:
    getattr(Contract(DictEngine), test)()


@pytest.mark.parametrize(("broken", "test"), BROKEN)
def test_one_that_does_not_fails(broken: type[DictEngine], test: str) -> None:
    with pytest.raises(AssertionError):
        getattr(Contract(broken), test)()


def test_every_test_can_fail() -> None:
    assert {test for _, test in BROKEN} == set(TESTS)
