"""The PostgreSQL engine gives the answers of the local engine: 300 random requests over 5,000 documents."""

import psycopg
import pytest
from tests.oracle.congruence import Drawn, compare, fill

from theodolite.engines.local import LocalEngine
from theodolite.engines.postgres import PostgresEngine
from theodolite.settings import CollectionSettings
from theodolite.vectors.metrics import MetricName

pytestmark = [pytest.mark.engine, pytest.mark.filterwarnings("ignore::theodolite.MetadataWarning")]

SCHEMA = "theodolite_congruence"


@pytest.mark.parametrize(("metric", "k1", "b"), [("cosine", None, None), ("dot", 0.0, 1.0), ("l2", 0.9, 0.4)])
def test_the_answers_are_those_of_the_local_engine(
    database: str, metric: MetricName, k1: float | None, b: float | None
) -> None:
    drawn = Drawn(11, 5000)
    settings = CollectionSettings(metric, partition="tenant", k1=k1, b=b)
    local = LocalEngine.open(None, settings)
    remote = PostgresEngine.open(f"{database}&schema={SCHEMA}&collection={metric}", settings)
    try:
        fill(local, drawn)
        fill(remote, drawn)
        for number in range(100):
            request = drawn.request(local)
            for expected, found in zip(local.search(request), remote.search(request), strict=True):
                compare(expected, found, f"request {number}: {request}")
    finally:
        local.close()
        remote.close()
        with psycopg.connect(database, autocommit=True) as connection:
            connection.execute(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")
