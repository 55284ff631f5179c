"""The contract of opening refuses engines that break it."""

from itertools import count
from typing import Any

import pytest

from theodolite import plugins
from theodolite.analysis.bm25 import BM25
from theodolite.errors import CollectionNotFoundError, ManifestError
from theodolite.settings import CollectionSettings
from theodolite.testing.dict_engine import DictEngine
from theodolite.testing.engine_opening import OpeningContract


class CreatesAnyway(DictEngine):
    @classmethod
    def open(cls, location: Any, settings: Any, *, create: bool = True, read_only: bool = False) -> DictEngine:
        return super().open(location, settings)


class SaysOtherwise(DictEngine):
    """Raises the general error, so a missing collection looks like a broken one."""

    @classmethod
    def open(cls, location: Any, settings: Any, *, create: bool = True, read_only: bool = False) -> DictEngine:
        try:
            return super().open(location, settings, create=create, read_only=read_only)
        except CollectionNotFoundError as error:
            raise ManifestError(str(error)) from None


class TakesAnyMetric(DictEngine):
    @classmethod
    def open(cls, location: Any, settings: Any, *, create: bool = True, read_only: bool = False) -> DictEngine:
        if settings.metric == "l2":
            settings = CollectionSettings()
        return super().open(location, settings, create=create, read_only=read_only)


class RanksByDefaults(DictEngine):
    """Pins k1 and b, and searches without them."""

    def search(self, request: Any) -> Any:
        self._contents.bm25, kept = BM25(), self._contents.bm25
        try:
            return super().search(request)
        finally:
            self._contents.bm25 = kept


class TakesAnyK1(DictEngine):
    @classmethod
    def open(cls, location: Any, settings: Any, *, create: bool = True, read_only: bool = False) -> DictEngine:
        opened = super().open(location, CollectionSettings() if settings.k1 == 1.5 else settings)
        if settings.k1 == 1.5:
            opened._contents.bm25 = settings.bm25
        return opened


class RecordsNothing(DictEngine):
    @property
    def embedder(self) -> Any:
        return None


class KeepsTheFirst(DictEngine):
    def add(self, *args: Any, **options: Any) -> None:
        self._embedder = None
        super().add(*args, **options)


class TakesTheLast(DictEngine):
    def add(self, *args: Any, **options: Any) -> None:
        super().add(*args, **options)
        self._contents.embedder = self._embedder or self._contents.embedder


class Contract(OpeningContract):
    numbers = count()

    def location(self) -> str:
        return f"faulty://{next(self.numbers)}"


CASES = [
    (CreatesAnyway, "test_a_missing_collection_is_not_found"),
    (SaysOtherwise, "test_a_missing_collection_is_not_found"),
    (TakesAnyMetric, "test_the_settings_of_the_first_hold"),
    (RanksByDefaults, "test_k1_and_b_hold"),
    (TakesAnyK1, "test_k1_and_b_hold"),
    (RecordsNothing, "test_the_embedder_is_recorded"),
    (KeepsTheFirst, "test_the_embedder_is_recorded"),
    (TakesTheLast, "test_the_embedder_is_recorded"),
]


@pytest.mark.parametrize(("engine", "test"), [(DictEngine, test) for _, test in CASES[::2]] + CASES)
def test_what_breaks_the_contract_fails(engine: type[DictEngine], test: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(plugins._TABLE["engines"], "faulty", (f"{__name__}:{engine.__name__}", ""))
    monkeypatch.setattr(plugins, "load", lambda kind, name: engine)
    run = getattr(Contract(), test)
    if engine is DictEngine:
        run()
        return
    with pytest.raises((AssertionError, ManifestError)):
        run()
