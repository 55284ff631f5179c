"""The document cache: by key, bounded, and never shared with callers."""

from typing import Any

import numpy as np
import pytest

from theodolite import CorruptionError, Document, Retriever
from theodolite.engines.local.search.document_cache import DocumentCache

EYE = np.eye(4, dtype=np.float32)


def stored(kb: Retriever, rows: list[int], cache: DocumentCache, statements: list[str]) -> list[Document]:
    """Return documents through a cache; record the statements that this takes."""
    engine: Any = kb._engine

    def work(connection: Any, snapshot: Any) -> list[Document]:
        connection.set_trace_callback(statements.append)
        try:
            return cache.documents(connection, snapshot.state.generation, rows)
        finally:
            connection.set_trace_callback(None)

    return engine._snapshots.read(work)  # type: ignore[no-any-return]  # the engine is private to tests


def test_cached_documents_are_not_read_again() -> None:
    cache = DocumentCache()
    with Retriever.open() as kb:
        kb.add([Document(f"text {n}", {"n": [n]}, str(n)) for n in range(4)], vectors=EYE)
        statements: list[str] = []
        assert [document.id for document in stored(kb, [2, 0, 2], cache, statements)] == ["2", "0", "2"]
        assert len(statements) == 1
        first = stored(kb, [0, 2], cache, statements)
        assert len(statements) == 1
        first[0].metadata["n"].append("changed by the caller")
        assert stored(kb, [0], cache, statements)[0].metadata == {"n": [0]}
        assert [document.id for document in stored(kb, [3, 2, 1], cache, statements)] == ["3", "2", "1"]
        assert len(statements) == 2


def test_a_new_generation_starts_with_an_empty_cache() -> None:
    cache = DocumentCache()
    with Retriever.open() as kb:
        kb.add([Document("old", id="old")], vectors=EYE[:1])
        assert stored(kb, [0], cache, [])[0].text == "old"
        kb.clear()
        kb.add([Document("new", id="new")], vectors=EYE[:1])
        assert stored(kb, [0], cache, [])[0].text == "new"


def test_the_oldest_are_dropped() -> None:
    cache = DocumentCache(budget=1000)
    with Retriever.open() as kb:
        kb.add([Document("x" * 100, id=str(n)) for n in range(4)], vectors=EYE)
        statements: list[str] = []
        for row in (0, 1, 2, 3):
            stored(kb, [row], cache, statements)
        assert len(statements) == 4
        stored(kb, [2, 3], cache, statements)
        assert len(statements) == 4
        stored(kb, [0], cache, statements)
        assert len(statements) == 5


def test_a_row_without_a_document_is_damage() -> None:
    with Retriever.open() as kb:
        kb.add([Document("x", id="x")], vectors=EYE[:1])
        with pytest.raises(CorruptionError, match="row 7"):
            stored(kb, [0, 7], DocumentCache(), [])


def test_searches_see_updates(tmp_path: Any) -> None:
    with Retriever.open(tmp_path / "kb") as kb, Retriever.open(tmp_path / "kb") as other:
        kb.add([Document("one", {"v": 1}, "a")], vectors=EYE[:1])
        assert kb.search(vector=EYE[0])[0].document.metadata == {"v": 1}
        other.update("a", {"v": 2})
        assert kb.search(vector=EYE[0])[0].document.metadata == {"v": 2}
        other.clear()
        other.add([Document("two", {"v": 3}, "b")], vectors=EYE[:1])
        assert kb.search(vector=EYE[0])[0].document.metadata == {"v": 3}
