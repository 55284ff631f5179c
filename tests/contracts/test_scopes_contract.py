"""The contract of scopes: it passes an engine that keeps it, and each of its tests fails one that does not."""

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import replace as changed
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.contracts.test_engine_contract import plain
from tests.oracle.ranked import Ranked

from theodolite.errors import DocumentError, InputError, UnsupportedError
from theodolite.filters import Filter, matches
from theodolite.filters.summary import Survey
from theodolite.protocols import Answer, Engine, Request, Scope
from theodolite.scopes import partition_key, within
from theodolite.testing.engine_scopes import ScopesContract
from theodolite.testing.oracle import brute_force, top_k
from theodolite.types import Compaction, Document, Duplicate, Field, Space, Trace, Vectors, Verification

Key = tuple[str, str]
Pair = tuple[Document, NDArray[np.float32]]


class Tenants:
    """An engine in a dictionary, partitioned."""

    ranked: type[Ranked] = Ranked

    def __init__(self, space: Space, field: str | None = None) -> None:
        self.space = space
        self.partition = field
        self.stored: dict[Key, Pair] = {}

    def key(self, name: str, metadata: Mapping[str, Any]) -> Key:
        return name, partition_key(self.partition, metadata)

    def inside(self, scope: Scope | None, where: Filter | None = None) -> dict[Key, Pair]:
        tree = within(scope, self.partition, where)
        return {key: pair for key, pair in sorted(self.stored.items()) if matches(tree, pair[0].metadata, pair[0].id)}

    def named(self, ids: Sequence[str], scope: Scope | None) -> list[Key]:
        if self.partition is not None and (scope is None or scope.partition is None):
            raise InputError("which partition?")
        keys = {key[0]: key for key in self.inside(scope)}
        return [keys[name] for name in ids if name in keys]

    def writing(self, scope: Scope | None) -> None:
        if scope is not None and (scope.partition is None or scope.where is not None):
            raise UnsupportedError("read-only")

    def add(
        self,
        documents: Sequence[Document],
        vectors: Vectors,
        space: Space,
        *,
        truncated: Container[int] = (),
        scope: Scope | None = None,
    ) -> None:
        self.writing(scope)
        self.space = space
        tree = within(scope, self.partition, None)
        for document in documents:
            if not matches(tree, document.metadata, document.id):
                raise DocumentError("another partition")
        new = {self.key(d.id, d.metadata): (d, v) for d, v in zip(documents, vectors, strict=True)}
        self.stored |= new

    def update(
        self, changes: Mapping[str, Mapping[str, Any]], *, replace: bool = False, scope: Scope | None = None
    ) -> None:
        self.writing(scope)
        keys = self.named(list(changes), scope)
        if len(keys) < len(changes):
            raise DocumentError("not there")
        for key in keys:
            document, vector = self.stored[key]
            metadata = {**document.metadata, **changes[key[0]]}
            if self.key(key[0], metadata) != key:
                raise DocumentError("moves")
            self.stored[key] = Document(document.text, metadata, key[0]), vector

    def delete(self, which: Sequence[str] | Filter, *, scope: Scope | None = None) -> int:
        self.writing(scope)
        gone = self.named(which, scope) if isinstance(which, Sequence) else list(self.inside(scope, which))
        for key in gone:
            del self.stored[key]
        return len(gone)

    def clear(self, *, scope: Scope | None = None) -> None:
        self.writing(scope)
        for key in self.inside(scope):
            del self.stored[key]

    def get(self, ids: Sequence[str], *, scope: Scope | None = None) -> list[Pair]:
        return [self.stored[key] for key in self.named(ids, scope)]

    def documents(
        self,
        where: Filter | None = None,
        *,
        after: str = "",
        limit: int | None = None,
        scope: Scope | None = None,
    ) -> Iterator[Pair]:
        yield from self.inside(scope, where).values()

    def count(self, where: Filter | None = None, *, scope: Scope | None = None) -> int:
        return len(self.inside(scope, where))

    def fields(self, *, values: int = 20, scope: Scope | None = None) -> dict[str, Field]:
        survey = Survey(values)
        for document, _ in self.inside(scope).values():
            survey.add(document.metadata)
        return survey.fields()

    def search(self, request: Request) -> list[Answer]:
        if not plain(request):
            inside = list(self.inside(request.scope).values())
            return self.ranked(inside, self.space.metric, self.partition).answers(changed(request, scope=None))
        found = list(self.inside(request.scope, request.where).values())
        vectors = np.array([vector for _, vector in found]).reshape(len(found), request.vectors.shape[1])
        answers = []
        for query in request.vectors:
            rows, scores = top_k(query, vectors, self.space.metric, request.k)
            trace = Trace("scan", len(self.inside(request.scope)), len(found), len(found))
            answers.append(Answer([found[row][0] for row in rows], [float(score) for score in scores], trace))
        return answers

    def duplicates(
        self,
        threshold: float,
        where: Filter | None = None,
        *,
        scope: Scope | None = None,
        progress: Callable[[int], object] | None = None,
    ) -> Iterator[Duplicate]:
        for (first, vector), (second, other) in combinations(self.inside(scope, where).values(), 2):
            (cosine,) = brute_force(vector, other[None], "cosine")
            if cosine >= threshold:
                yield Duplicate(first, second, float(np.float32(cosine)))

    def reindex(self, index: str, **options: Any) -> None: ...

    def warm(self, fields: Sequence[str] = ()) -> None: ...

    def note(self, name: str) -> str | None: ...

    def remember(self, name: str, value: str | None, *, replace: bool = True, wait: bool = True) -> None: ...

    def verify(self, progress: Callable[[int], object] | None = None) -> Verification:
        return Verification()

    def repair(self, progress: Callable[[int], object] | None = None) -> Verification:
        return self.verify()

    def compact(self, progress: Callable[[int], object] | None = None) -> Compaction:
        raise UnsupportedError("nothing of it is dead")

    def backup(self, target: Path, progress: Callable[[int], object] | None = None) -> None:
        raise UnsupportedError("it is in memory")

    def info(self) -> dict[str, Any]:
        return {"documents": len(self.stored)}

    def close(self) -> None: ...


class OneIdForAll(Tenants):
    def key(self, name: str, metadata: Mapping[str, Any]) -> Key:
        return name, ""


class NumbersAreTexts(Tenants):
    def key(self, name: str, metadata: Mapping[str, Any]) -> Key:
        return name, str(metadata[self.partition or ""])


class CountsAll(Tenants):
    def count(self, where: Filter | None = None, *, scope: Scope | None = None) -> int:
        return super().count(where)


class FilterWidens(Tenants):
    def inside(self, scope: Scope | None, where: Filter | None = None) -> dict[Key, Pair]:
        return super().inside(scope if where is None else None, where)


class TellsOfAll(Tenants):
    def search(self, request: Request) -> list[Answer]:
        answers = super().search(request)
        return [
            Answer(a.documents, a.similarities, Trace("scan", len(self.stored), a.trace.eligible, a.trace.scored))
            for a in answers
        ]


class TellsOfTheWay(Tenants):
    def search(self, request: Request) -> list[Answer]:
        path = "scan" if len(self.stored) < 1000 else "rows"
        return [Answer(a.documents, a.similarities, changed(a.trace, path=path)) for a in super().search(request)]


class TellsWhetherThereIsAnything(Tenants):
    def search(self, request: Request) -> list[Answer]:
        timings = {"search": 1e-6} if self.inside(None, request.where) else {}
        return [Answer(a.documents, a.similarities, changed(a.trace, timings=timings)) for a in super().search(request)]


class TakesAnyScope(Tenants):
    def inside(self, scope: Scope | None, where: Filter | None = None) -> dict[Key, Pair]:
        return super().inside(None if self.partition is None else scope, where)


class SearchesAll(Tenants):
    def search(self, request: Request) -> list[Answer]:
        return super().search(Request(request.vectors, request.k, request.where))


class ComparesAll(Tenants):
    def duplicates(self, threshold: float, where: Filter | None = None, **options: Any) -> Iterator[Duplicate]:
        return super().duplicates(threshold, where)


class AddsAnywhere(Tenants):
    def add(self, *arguments: Any, scope: Scope | None = None, **options: Any) -> None:
        super().add(*arguments, **options)


class NeedsNoPartition(Tenants):
    def key(self, name: str, metadata: Mapping[str, Any]) -> Key:
        return super().key(name, {"tenant": "none", **metadata})


class Moves(Tenants):
    def update(
        self, changes: Mapping[str, Mapping[str, Any]], *, replace: bool = False, scope: Scope | None = None
    ) -> None:
        for key in self.named(list(changes), scope):
            document, vector = self.stored.pop(key)
            moved = Document(document.text, {**document.metadata, **changes[key[0]]}, key[0])
            self.stored[self.key(key[0], moved.metadata)] = moved, vector


class DeletesAnywhere(Tenants):
    def delete(self, which: Sequence[str] | Filter, *, scope: Scope | None = None) -> int:
        if isinstance(which, Sequence):
            return super().delete(which, scope=scope)
        return super().delete(which)


class ClearsAll(Tenants):
    def clear(self, *, scope: Scope | None = None) -> None:
        self.stored.clear()


class WritesThroughFilters(Tenants):
    def writing(self, scope: Scope | None) -> None: ...


class GuessesThePartition(Tenants):
    def named(self, ids: Sequence[str], scope: Scope | None) -> list[Key]:
        keys = {key[0]: key for key in self.inside(scope)}
        return [keys[name] for name in ids if name in keys]


class Contract(ScopesContract):
    def __init__(self, kind: type[Tenants]) -> None:
        self.kind = kind

    def engine(self, space: Space) -> Engine:
        return self.kind(space)

    def partitioned(self, space: Space, field: str) -> Engine:
        return self.kind(space, field)


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
    (TellsOfTheWay, "test_the_trace_tells_nothing_of_the_outside"),
    (TellsWhetherThereIsAnything, "test_the_trace_tells_nothing_of_the_outside"),
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
    getattr(Contract(Tenants), test)()


@pytest.mark.parametrize(("broken", "test"), BROKEN)
def test_one_that_does_not_fails(broken: type[Tenants], test: str) -> None:
    with pytest.raises(AssertionError):
        getattr(Contract(broken), test)()


def test_every_test_can_fail() -> None:
    assert {test for _, test in BROKEN} == set(TESTS)
