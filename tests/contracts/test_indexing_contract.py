"""The contract of indexing: a dictionary that keeps it passes, and each of its tests can fail."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace as changed
from typing import Any

import pytest
from tests.contracts.maintained import Contract, Maintained

from theodolite.errors import ConfigError
from theodolite.protocols import Answer, Request
from theodolite.testing.dict_engine import Contents
from theodolite.testing.engine_indexing import IndexingContract


class Indexed(Maintained):
    """Keeps its index, and the documents from the time it was built."""

    index = "flat"

    def reindex(self, index: str, **options: Any) -> None:
        super().reindex(index, **options)
        self.index = index
        self.built = self._contents.stored


class IndexScores(Indexed):
    """Takes similarities from the index, which rounds them."""

    def search(self, request: Request) -> list[Answer]:
        found = super().search(request)
        if self.index == "flat":
            return found
        return [changed(one, similarities=[round(score, 1) for score in one.similarities]) for one in found]


class FiltersAfterwards(Indexed):
    """Asks the index for k, and then drops what the filter does not let pass."""

    def search(self, request: Request) -> list[Answer]:
        if self.index == "flat" or request.where is None:
            return super().search(request)
        passing = {document.id for document, _ in self.documents(request.where)}
        return [_only(one, passing) for one in super().search(changed(request, where=None))]


class StaysApproximate(Indexed):
    """The flat index says, as the last one did, that it may miss some."""

    def search(self, request: Request) -> list[Answer]:
        found = super().search(request)
        if not hasattr(self, "built"):
            return found
        return [changed(one, trace=changed(one.trace, complete=False)) for one in found]


class LosesDocuments(Indexed):
    def reindex(self, index: str, **options: Any) -> None:
        super().reindex(index, **options)
        self._contents.stored = dict(list(self._contents.stored.items())[1:])


class Stale(Indexed):
    """Searches the documents from the time the index was built."""

    def search(self, request: Request) -> list[Answer]:
        now = self._contents.stored
        try:
            self._contents.stored = getattr(self, "built", now)
            return super().search(request)
        finally:
            self._contents.stored = now


class NothingNew(Indexed):
    """Deletions and new vectors reach the index, new documents do not."""

    def search(self, request: Request) -> list[Answer]:
        found = super().search(request)
        built = {key[0] for key in getattr(self, "built", self._contents.stored)}
        return [_only(one, built) for one in found]


class NoTombstones(Indexed):
    """Finds documents that are deleted."""

    def search(self, request: Request) -> list[Answer]:
        now = self._contents.stored
        try:
            self._contents.stored = {**getattr(self, "built", {}), **now}
            return super().search(request)
        finally:
            self._contents.stored = now


class GoesOn(Indexed):
    """Ignores an interruption."""

    def reindex(self, index: str, **options: Any) -> None:
        with suppress(Exception):
            return super().reindex(index, **options)


class DropsTheData(Indexed):
    """Begins with an empty collection; an interruption leaves it so."""

    def reindex(self, index: str, **options: Any) -> None:
        whole = self._contents.stored
        try:
            super().reindex(index, **options)
        except ConfigError:
            raise
        except Exception:
            self._contents.stored = dict(list(whole.items())[:7])
            raise


class Silent(Indexed):
    """Reports only the beginning."""

    def reindex(self, index: str, **options: Any) -> None:
        progress = options.pop("progress", None)
        super().reindex(index, **options)
        if progress is not None:
            progress(0)


class AnyIndex(Indexed):
    """Falls back to what there is."""

    def reindex(self, index: str, **options: Any) -> None:
        super().reindex(index if index in ("flat", "toy") else "flat", **options)


class OnlyKnownFields(Indexed):
    def warm(self, fields: Sequence[str] = ()) -> None:
        super().warm(fields)
        for name in fields:
            if not any(f'"{name}"' in kept.metadata for kept in self._contents.stored.values()):
                raise AssertionError(f"no document has {name}")


class ForgetsCold(Indexed):
    """Keeps only warmed data in memory."""

    def warm(self, fields: Sequence[str] = ()) -> None:
        super().warm(fields)
        self._contents.stored = {
            key: kept for key, kept in self._contents.stored.items() if not fields or "third" in kept.metadata
        }


def _only(answer: Answer, names: set[str]) -> Answer:
    places = [place for place, document in enumerate(answer.documents) if document.id in names]
    return changed(
        answer,
        documents=[answer.documents[place] for place in places],
        similarities=[answer.similarities[place] for place in places],
    )


SCORES, WRITES = "test_reindex_changes_no_score", "test_writes_after_reindex_are_seen"
BROKEN: list[tuple[Callable[[Contents], Any], str]] = [
    (IndexScores, SCORES),
    (FiltersAfterwards, SCORES),
    (StaysApproximate, SCORES),
    (LosesDocuments, SCORES),
    (Stale, WRITES),
    (NothingNew, WRITES),
    (NoTombstones, WRITES),
    (GoesOn, "test_reindex_may_be_interrupted"),
    (DropsTheData, "test_reindex_may_be_interrupted"),
    (Silent, "test_reindex_may_be_interrupted"),
    (AnyIndex, "test_an_unknown_index_is_refused"),
    (OnlyKnownFields, "test_warm_changes_nothing"),
    (ForgetsCold, "test_warm_changes_nothing"),
]
TESTS = sorted(name for name in vars(IndexingContract) if name.startswith("test_"))


@pytest.mark.parametrize("test", TESTS)
def test_one_that_keeps_it_passes(test: str) -> None:
    getattr(Contract(Indexed), test)()


@pytest.mark.parametrize(("broken", "test"), BROKEN)
def test_one_that_does_not_keep_it_fails(broken: Callable[[Contents], Any], test: str) -> None:
    with pytest.raises(AssertionError):
        getattr(Contract(broken), test)()


def test_every_test_can_fail() -> None:
    assert {test for _, test in BROKEN} == set(TESTS)
