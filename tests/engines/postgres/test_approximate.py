"""HNSW: calibrated, never short, and found again when the collection is opened."""

from collections.abc import Iterator
from itertools import count

import numpy as np
import psycopg
import pytest

from theodolite import ConfigError, CorruptionError, Document, EngineError, UnsupportedError
from theodolite.engines.postgres import PostgresEngine
from theodolite.filters import In
from theodolite.protocols import Request
from theodolite.settings import CollectionSettings
from theodolite.types import Vectors
from theodolite.vectors.metrics import MetricName
from theodolite.vectors.prepare import prepare

pytestmark = pytest.mark.engine

SCHEMA = "theodolite_approximate"
_numbers = count()


@pytest.fixture
def location(database: str) -> Iterator[str]:
    yield f"{database}&schema={SCHEMA}&collection=c{next(_numbers)}"
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")


def clustered(count: int, dimension: int, seed: int) -> np.ndarray:
    draw = np.random.default_rng(seed)
    centers = np.random.default_rng(0).standard_normal((40, dimension))
    return centers[draw.integers(0, 40, count)] + 0.5 * draw.standard_normal((count, dimension))


def filled(location: str, metric: MetricName, dimension: int, documents: int = 3000) -> PostgresEngine:
    engine = PostgresEngine.open(location, CollectionSettings(metric))
    vectors, space = prepare(clustered(documents, dimension, 1), engine.space)
    engine.add([Document("text", {"n": number % 50}, f"d{number}") for number in range(documents)], vectors, space)
    return engine


@pytest.mark.parametrize("metric", ["cosine", "l2", "dot"])
def test_recall_and_length_of_lists(location: str, metric: MetricName) -> None:
    engine = filled(location, metric, 24)
    engine.reindex("hnsw", target_recall=0.95)
    engine.close()
    engine = PostgresEngine.open(location)
    assert engine.info()["approximate"]["target_recall"] == 0.95
    queries, _ = prepare(clustered(40, 24, 2), engine.space, name="queries")
    for where in (None, In("n", (7,)), In("n", tuple(range(25)))):
        exact = engine.search(Request(queries, 10, where, exact=True))
        found = engine.search(Request(queries, 10, where))
        assert all(len(answer.documents) == 10 for answer in found)
        assert all(answer.trace.complete for answer in exact)
        shares = [
            len({document.id for document in one.documents} & {document.id for document in other.documents}) / 10
            for one, other in zip(exact, found, strict=True)
        ]
        assert np.mean(shares) >= 0.95
    assert {answer.trace.path for answer in found} <= {"index", "scan"}
    assert engine.search(Request(Vectors(queries[:1]), 10))[0].trace.path == "index"
    assert engine.verify().sound
    engine.reindex("flat")
    assert engine.search(Request(Vectors(queries[:1]), 10))[0].trace.path == "scan"
    engine.close()


def test_wide_vectors_are_indexed_as_halves(location: str) -> None:
    engine = filled(location, "cosine", 2100, 200)
    engine.reindex("hnsw:M=8,ef_construction=32")
    queries, _ = prepare(clustered(3, 2100, 2), engine.space, name="queries")
    found, exact = engine.search(Request(queries, 5)), engine.search(Request(queries, 5, exact=True))
    for one, other in zip(found, exact, strict=True):
        assert (one.documents, one.similarities) == (other.documents, other.similarities)
    assert found[0].trace.path == "index"
    engine.close()


def test_what_cannot_be_indexed(location: str) -> None:
    engine = PostgresEngine.open(location)
    with pytest.raises(ConfigError, match="no vectors yet"):
        engine.reindex("hnsw")
    for spec in ("hnsw:M=1", "hnsw:x=3", "hnsw:M", "hnsw:M=64,ef_construction=64"):
        with pytest.raises(ConfigError, match="hnsw:"):
            engine.reindex(spec)
    with pytest.raises(ConfigError, match="Did you mean 'hnsw'"):
        engine.reindex("hnws")
    vectors, space = prepare(clustered(3, 4100, 1), engine.space)
    engine.add([Document("", {}, f"d{number}") for number in range(3)], vectors, space)
    with pytest.raises(UnsupportedError, match="4,000"):
        engine.reindex("hnsw")
    engine.close()
    reader = PostgresEngine.open(location, read_only=True)
    with pytest.raises(EngineError, match="read-only"):
        reader.reindex("hnsw")
    reader.close()


def test_damaged_columns_are_found_and_repaired(location: str, database: str) -> None:
    engine = filled(location, "cosine", 8, 100)
    engine.reindex("hnsw")
    before = engine.count(In("n", (7,)))
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("SELECT set_config('search_path', %s, false)", (f"{SCHEMA}, public",))
        connection.execute("UPDATE documents_1 SET tokens = '{}', words = 'x' WHERE key < 20")
        connection.execute("UPDATE collections SET live = 7")
        with pytest.raises(CorruptionError, match="19 documents have damaged columns"):
            engine.verify()
        repaired = engine.repair()
        assert repaired.sound
        assert len(repaired.repaired) == 2
        assert engine.verify().checked == {"documents": 100, "vectors": 100}
        assert (engine.count(), engine.count(In("n", (7,)))) == (100, before)
        connection.execute("UPDATE documents_1 SET metadata = '{}' WHERE id = 'd3'")
    with pytest.raises(CorruptionError, match="do not match their hash"):
        engine.verify()
    assert not engine.repair().sound
    engine.close()
