"""An engine that searches with `RemoteSearch` keeps the contract of engines, whatever the faults of its store."""

import pytest
from tests.unit.engines.remote.memory import Traits, open_memory

from theodolite.protocols import Engine
from theodolite.settings import CollectionSettings
from theodolite.testing import EngineContract
from theodolite.types import Space

pytestmark = pytest.mark.filterwarnings("ignore::theodolite.MetadataWarning")  # for filters that match nothing


class Remote(EngineContract):
    lacks = frozenset({"maintenance", "indexing"})
    traits = Traits()

    def engine(self, space: Space) -> Engine:
        return open_memory(CollectionSettings(space.metric, space.norms), self.traits)

    def partitioned(self, space: Space, field: str) -> Engine:
        return open_memory(CollectionSettings(space.metric, partition=field), self.traits)


@pytest.mark.thorough  # the other two round as well
class TestFloat32(Remote):
    """Similarities that are rounded, in one list."""


class TestNoisy(Remote):
    """Similarities with errors so large that lists have to be widened, and a server that forgets what it has shown."""

    traits = Traits(noise=0.05, page=7, forgets=True)


class TestApproximate(Remote):
    """Lists that are never proven, and that end early."""

    traits = Traits(found=1 - 1e-9, short=60, page=100)
