"""The embedded engine keeps the contract of engines: in a folder, and in memory."""

from collections.abc import Iterator
from importlib.util import find_spec
from itertools import count
from pathlib import Path

import pytest

from theodolite.engines.local import LocalEngine
from theodolite.protocols import Engine
from theodolite.settings import CollectionSettings
from theodolite.testing import EngineContract
from theodolite.types import Space

pytestmark = pytest.mark.filterwarnings("ignore::theodolite.MetadataWarning")  # for filters that match nothing


class TestLocalEngine(EngineContract):
    index = "faiss:HNSW16" if find_spec("faiss") else None

    @pytest.fixture(autouse=True)
    def folders(self, tmp_path: Path) -> None:
        self.unused: Iterator[Path] = (tmp_path / str(number) for number in count())
        self.places: dict[int, Path] = {}

    def engine(self, space: Space) -> Engine:
        folder = next(self.unused)
        engine = LocalEngine.open(folder, CollectionSettings(space.metric, space.norms))
        self.places[id(engine)] = folder
        return engine

    def location(self) -> Path:
        return next(self.unused)

    def partitioned(self, space: Space, field: str) -> Engine:
        return LocalEngine.open(next(self.unused), CollectionSettings(space.metric, partition=field))

    def reopened(self, engine: Engine) -> Engine:
        engine.close()
        again = LocalEngine.open(self.places[id(engine)])
        self.places[id(again)] = self.places[id(engine)]
        return again

    def backed_up(self, folder: Path) -> Engine:
        return LocalEngine.open(folder)

    def damaged(self, engine: Engine) -> Engine:
        engine.close()
        folder = self.places[id(engine)]
        (vectors,) = folder.glob("vectors-*.f32")
        with vectors.open("r+b") as file:
            file.seek(100)
            (byte,) = file.read(1)
            file.seek(100)
            file.write(bytes([byte ^ 1]))
        return LocalEngine.open(folder)


@pytest.mark.thorough
class TestLocalEngineInMemory(EngineContract):
    index = "hnsw" if find_spec("hnswlib") else None

    def engine(self, space: Space) -> Engine:
        return LocalEngine.open(None, CollectionSettings(space.metric, space.norms))
