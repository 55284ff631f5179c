"""`RemoteSearch` gives the answers of the local engine: 300 random requests over 5,000 documents."""

from typing import get_args

import pytest
from tests.oracle.congruence import Drawn, compare, fill
from tests.sampling import sampled
from tests.unit.engines.remote.memory import Traits, open_memory

from theodolite.engines.local import LocalEngine
from theodolite.settings import CollectionSettings
from theodolite.vectors.metrics import MetricName

pytestmark = pytest.mark.filterwarnings("ignore::theodolite.MetadataWarning")  # for filters that match nothing


@pytest.mark.parametrize("metric", get_args(MetricName))
def test_the_answers_are_those_of_the_local_engine(metric: MetricName) -> None:
    drawn = Drawn(7, 5000)
    settings = CollectionSettings(metric, partition="tenant", k1=0.9, b=0.4)
    local = LocalEngine.open(None, settings)
    remote = open_memory(settings, Traits(noise=0.002, page=999, forgets=True))
    try:
        fill(local, drawn)
        fill(remote, drawn)
        for number in range(sampled(100)):
            request = drawn.request(local)
            for expected, found in zip(local.search(request), remote.search(request), strict=True):
                compare(expected, found, f"request {number}: {request}")
    finally:
        local.close()
