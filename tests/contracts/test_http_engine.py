"""The contract for engines, kept by collections on a server."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest
from tests.serving import WRITER, Server, serving

from theodolite import Retriever
from theodolite.engines.http import HttpEngine
from theodolite.engines.local import LocalEngine
from theodolite.protocols import Engine
from theodolite.serving.collections import Served
from theodolite.serving.limits import Limits
from theodolite.settings import CollectionSettings
from theodolite.testing import EngineContract
from theodolite.testing.reference import Lacking
from theodolite.types import Space

pytestmark = pytest.mark.filterwarnings("ignore::theodolite.MetadataWarning")  # for filters that match nothing

numbers = itertools.count()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving(limits=Limits(seconds=600)) as running:
        yield running


class TestHttpEngine(EngineContract):
    lacks: ClassVar[frozenset[Lacking]] = frozenset({"boosts", "maintenance", "indexing", "duplicates"})

    @pytest.fixture(autouse=True)
    def _served(self, server: Server, tmp_path: Path) -> None:
        self.server, self.folder = server, tmp_path

    def engine(self, space: Space) -> Engine:
        return self._serve(CollectionSettings(space.metric, space.norms, transforms=space.transforms))

    def partitioned(self, space: Space, field: str) -> Engine:
        return self._serve(CollectionSettings(space.metric, space.norms, field, space.transforms))

    def _serve(self, settings: CollectionSettings) -> Engine:
        name = f"kb{next(numbers)}"
        local = LocalEngine.open(self.folder / name, settings)
        self.server.collections.add(Served(name, Retriever(local, None), True))
        return HttpEngine.open(f"{self.server.url}/{name}", token=WRITER)
