"""Rows of every size: vectors stay in their row if they fit beside everything else."""

import os

import numpy as np
import psycopg
import pytest

from theodolite import Document, Retriever

pytestmark = pytest.mark.engine

SCHEMA = "theodolite_rows"


@pytest.mark.parametrize(("dimension", "inline"), [(3, True), (384, True), (1536, True), (1537, False), (4000, False)])
def test_large_documents_beside_vectors(database: str, dimension: int, inline: bool) -> None:
    def noise(size: int) -> str:
        return os.urandom(size).hex()  # which cannot be compressed

    documents = [
        Document(noise(50_000), {"long": noise(20_000), **{f"field {i}": noise(40) for i in range(200)}}, noise(600)),
        Document(" ".join(noise(3) for _ in range(5_000)), {"tags": [noise(4) for _ in range(2_000)]}, "words"),
        Document("", {}, "nothing"),
    ]
    vectors = np.random.default_rng(1).standard_normal((3, dimension)).astype(np.float32)
    try:
        with Retriever.open(f"{database}&schema={SCHEMA}&collection=rows", embedder=None, metric="l2") as kb:
            kb.add(documents, vectors=vectors)
            for document, vector in zip(documents, vectors, strict=True):
                assert kb.get([document.id], vectors=True)[0][0] == document
                assert kb.search(vector=vector, k=1)[0].document == document
            assert kb.verify().sound
        with psycopg.connect(database) as connection:
            query = "SELECT attstorage FROM pg_attribute WHERE attrelid = %s::regclass AND attname = 'embedding'"
            assert connection.execute(query, (f"{SCHEMA}.documents_1",)).fetchall() == [("p" if inline else "e",)]
    finally:
        with psycopg.connect(database, autocommit=True) as connection:
            connection.execute(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE".encode())
