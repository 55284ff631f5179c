"""Contexts read the same neighbors from PostgreSQL as from a folder, by id and by filter."""

import numpy as np
import psycopg
import pytest

from theodolite import Document, Latest, Retriever, Window

pytestmark = pytest.mark.engine

SCHEMA = "theodolite_context"


@pytest.mark.parametrize("pattern", ["guide.md#{}", "{}-of-the-guide"])
def test_contexts_are_those_of_a_folder(database: str, pattern: str) -> None:
    documents = [
        Document(
            f"part {at}",
            {"path": "guide.md", "chunk": at, "heading": f"h{at // 3}", "v": at, "of": 7 if at in (4, 5) else at},
            pattern.format(at),
        )
        for at in range(1, 11)
    ]
    queries = np.eye(10)[[0, 3, 6, 9]] + 0.02 * np.arange(10)
    contexts = []
    try:
        for location in (None, f"{database}&schema={SCHEMA}&collection=c{len(pattern)}"):
            with Retriever.open(location, embedder=None) as kb:
                kb.add(documents, vectors=np.eye(10))
                contexts.append(
                    [
                        str(kb.search(vector=query, k=2, **options).context(expand=expand, count=len))
                        for query in queries
                        for expand in (None, "section", Window(1), Window(3))
                        for options in ({}, {"where": {"v": {"$lt": 9}}}, {"versions": Latest("of", "v")})
                    ]
                )
    finally:
        with psycopg.connect(database, autocommit=True) as connection:
            connection.execute(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")
    assert contexts[0] == contexts[1]
    assert len(set(contexts[0])) > 12
