"""Tables of older versions are upgraded when a collection is opened."""

from collections.abc import Iterator

import numpy as np
import psycopg
import pytest

from theodolite import Document, ManifestError, Retriever

pytestmark = pytest.mark.engine

SCHEMA = "theodolite_older"


@pytest.fixture
def url(database: str) -> Iterator[str]:
    yield f"{database}&schema={SCHEMA}&collection=older"
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE".encode())


def make_version_1(database: str) -> None:
    """Change the tables to what version 1 had: terms in a column of their own, letters among them only."""
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(f"SET search_path = {SCHEMA}".encode())
        for statement in (
            "DROP INDEX documents_1_terms",
            'ALTER TABLE documents_1 ADD terms text[] COLLATE "C"',
            "UPDATE documents_1 SET terms = string_to_array(btrim(words), '  '), "
            "words = regexp_replace(words, E' \\x02. ', '', 'g')",
            "CREATE INDEX documents_1_terms ON documents_1 USING gin (terms)",
            "UPDATE schema_version SET version = 1",
        ):
            connection.execute(statement.encode())


def test_version_1_keeps_its_words(database: str, url: str) -> None:
    texts = ["refunds take a week", "返金の手続き", "", "환불은 한 주가 걸립니다"]
    queries = ["refund", "返", "返金", "환불"]
    with Retriever.open(url, embedder=None) as kb:
        kb.add([Document(text, {}, str(i)) for i, text in enumerate(texts)], vectors=np.eye(4, dtype=np.float32))
        before = [[(hit.document.id, hit.score) for hit in kb.search(query, mode="lexical")] for query in queries]
    assert all(before)
    make_version_1(database)
    with pytest.raises(ManifestError, match="format 1"), Retriever.open(url, embedder=None, read_only=True):
        pass
    with Retriever.open(url, embedder=None) as kb:
        after = [[(hit.document.id, hit.score) for hit in kb.search(query, mode="lexical")] for query in queries]
        assert after == before
        assert kb.verify().sound
