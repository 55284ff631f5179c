"""The Milvus engine keeps the contract of engines, except for the features that it declares missing."""

from collections.abc import Callable

import pytest

from theodolite.engines.milvus import MilvusEngine
from theodolite.protocols import Engine
from theodolite.settings import CollectionSettings
from theodolite.testing import EngineContract
from theodolite.types import Space

pytestmark = [
    pytest.mark.engine,
    pytest.mark.filterwarnings("ignore::theodolite.MetadataWarning"),  # for filters that match nothing
]


class TestMilvusEngine(EngineContract):
    lacks = frozenset({"lexical", "maintenance", "duplicates"})
    index = "hnsw"

    @pytest.fixture(autouse=True)
    def urls(self, new_url: Callable[[], str]) -> None:
        self.new_url = new_url
        self.places: dict[int, str] = {}

    def location(self) -> str:
        return self.new_url()

    def engine(self, space: Space) -> Engine:
        return self._created(CollectionSettings(space.metric, space.norms))

    def partitioned(self, space: Space, field: str) -> Engine:
        return self._created(CollectionSettings(space.metric, partition=field))

    def reopened(self, engine: Engine) -> Engine:
        engine.close()
        url = self.places[id(engine)]
        again = MilvusEngine.open(url, CollectionSettings())
        self.places[id(again)] = url
        return again

    def _created(self, settings: CollectionSettings) -> Engine:
        url = self.new_url()
        engine = MilvusEngine.open(url, settings)
        self.places[id(engine)] = url
        return engine
