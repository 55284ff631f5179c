"""HNSW on PostgreSQL finds at least 0.98 of the exact answers for real vectors and real queries."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from theodolite import Document
from theodolite.engines.postgres import PostgresEngine
from theodolite.filters import In
from theodolite.protocols import Request
from theodolite.settings import CollectionSettings
from theodolite.testing.postgres_server import PostgresServer
from theodolite.vectors.prepare import prepare

DATA = Path(os.environ.get("THEODOLITE_DATA") or Path(__file__).resolve().parents[3] / "shared" / "data")
MOST = 30_000
QUERIES = 200

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (DATA / "glosses").exists(),
        reason="the collections are not here; THEODOLITE_DATA names the folder that holds them",
    ),
]


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with PostgresServer() as started:
        yield started


@pytest.mark.parametrize("name", ["scifact", "glosses"])
def test_recall_is_at_least_098(server: PostgresServer, name: str) -> None:
    corpus = np.load(DATA / name / "corpus.f16.npy", mmap_mode="r")[:MOST].astype(np.float32)
    raw = np.load(DATA / name / "queries.f16.npy")[:QUERIES].astype(np.float32)
    engine = PostgresEngine.open(f"{server.url()}&collection={name}", CollectionSettings())
    for start in range(0, len(corpus), 5000):
        vectors, space = prepare(corpus[start : start + 5000], engine.space)
        numbers = range(start, start + len(vectors))
        engine.add([Document("", {"n": number % 20}, f"d{number}") for number in numbers], vectors, space)
    engine.reindex("hnsw", target_recall=0.98)
    queries, _ = prepare(raw, engine.space, name="queries")
    for where in (None, In("n", (3, 7))):
        found = engine.search(Request(queries, 10, where))
        exact = engine.search(Request(queries, 10, where, exact=True))
        assert all(answer.trace.complete for answer in exact)
        assert all(len(answer.documents) == 10 for answer in found)
        shared = [
            len({one.id for one in first.documents} & {one.id for one in second.documents})
            for first, second in zip(found, exact, strict=True)
        ]
        recall = sum(shared) / (10 * len(shared))
        print(f"{name}, {'no filter' if where is None else '10 % pass'}: recall {recall:.4f}, {found[0].trace.path}")
        assert recall >= 0.98
    engine.close()
