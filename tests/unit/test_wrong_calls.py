"""Common mistakes: the error names the right call."""

import inspect
import shutil
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from theodolite import Document, DocumentError, EngineError, Retriever
from theodolite.testing import HashingEmbedder


@pytest.fixture
def kb() -> Iterator[Any]:
    """A collection that mypy does not know: the calls are wrong on purpose."""
    with Retriever.open(None, embedder=HashingEmbedder(16)) as kb:
        kb.add([Document("Refunds take five days.", {"lang": "en"}, id="refunds")])
        yield kb


NAMES: list[tuple[Callable[[Any], Any], str]] = [
    (lambda kb: kb.search("a", top_k=3), "Retriever.search has no argument 'top_k'; here that is k=3"),
    (lambda kb: kb.search("a", n_results=3), "Retriever.search has no argument 'n_results'; here that is k=3"),
    (lambda kb: kb.search("a", filter={"lang": "en"}), "has no argument 'filter'; here that is where={'lang': 'en'}"),
    (
        lambda kb: kb.count(filter={"lang": "en"}),
        "Retriever.count has no argument 'filter'; here that is where={'lang': 'en'}",
    ),
    (lambda kb: kb.search(query_texts=["a"]), "here that is query, one text; search_many takes several"),
    (lambda kb: kb.search_many(query_texts=["a"]), "here that is queries=['a']"),
    (lambda kb: kb.search(query_embeddings=[[0.0]]), "here that is vector, one vector; search_many takes several"),
    (lambda kb: kb.add(["a"], metadatas=[{}]), "here that is part of each document: Document(text, metadata, id=...)"),
    (lambda kb: kb.add(["a"], ids=["a"]), "here that is part of each document: Document(text, metadata, id=...)"),
    (lambda kb: kb.add(texts=["a"]), "Retriever.add has no argument 'texts'; here that is documents=['a']"),
    (lambda kb: kb.update("refunds", metadatas={}), "here that is metadata"),
    (lambda kb: kb.search("a", score_threshold=0.5), "here that is min_relevance=0.5"),
    (lambda kb: kb.documents(offset=10), "here that is after, the last id of the page before"),
    (lambda kb: kb.search("a", fusion=1), "here that is mode=Fusion(...)"),
    (lambda kb: kb.search("a", wher={}), "Retriever.search has no argument 'wher'; did you mean 'where'?"),
    (lambda kb: kb.count(xyzzy=1), "Retriever.count has no argument 'xyzzy'; it takes where"),
]

PLACES: list[tuple[Callable[[Any], Any], str]] = [
    (lambda kb: kb.search("a", 5), "takes only query by position; pass the others by name: kb.search(query, k=5)"),
    (lambda kb: kb.search("a", {"lang": "en"}), "kb.search(query, where={'lang': 'en'})"),
    (lambda kb: kb.search_many(["a"], 5), "kb.search_many(queries, k=5)"),
    (lambda kb: kb.documents(None, 5), "kb.documents(where, limit=5)"),
    (lambda kb: kb.add(["a"], [{"lang": "en"}]), "metadata and ids are part of each document: Document(text, metadata"),
    (lambda kb: kb.add(["a"], np.ones((1, 16))), "kb.add(documents, vectors=...)"),
    (lambda kb: Retriever.open("kb", kb.embedder), "Retriever.open(location, embedder=...)"),  # type: ignore[call-arg]
]


@pytest.mark.parametrize(("call", "message"), NAMES + PLACES, ids=[message for _, message in NAMES + PLACES])
def test_a_wrong_call_names_the_right_one(kb: Any, call: Callable[[Any], Any], message: str) -> None:
    with pytest.raises(TypeError) as caught:
        call(kb)
    assert message in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


@pytest.mark.parametrize("call", [lambda kb: kb.asearch("a", top_k=3), lambda kb: kb.asearch("a", 3)])
async def test_so_does_an_awaited_one(kb: Any, call: Callable[[Any], Awaitable[Any]]) -> None:
    with pytest.raises(TypeError, match="k=3"):
        await call(kb)


@pytest.mark.parametrize("call", [lambda: Retriever("kb"), Retriever, lambda: Retriever(location="kb")])  # type: ignore[arg-type, call-arg]  # wrong on purpose
def test_the_class_is_not_called_with_a_path(call: Callable[[], Any]) -> None:
    with pytest.raises(TypeError, match=r"Open a collection with Retriever\.open\('kb', embedder=\.\.\.\)"):
        call()


def test_errors_from_inside_a_method_stay_as_they_are(kb: Any) -> None:
    def accept(document: Document) -> bool:
        raise TypeError("mine: has no argument 'top_k'")

    with pytest.raises(TypeError, match=r"^mine: has no argument 'top_k'$"):
        kb.search("a", accept=accept)
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'documents'"):
        kb.add()
    with pytest.raises(TypeError, match=r"the engine takes|has no argument 'lock_timeoutt'"):
        Retriever.open(None, lock_timeoutt=1)


def test_signatures_stay_written_out() -> None:
    with Retriever.open(None) as kb, pytest.raises(TypeError):
        kb.search("a", top_k=3)  # type: ignore[call-arg]  # mypy sees it; it complains if it ever does not
    for name in ("search", "asearch", "add", "open", "documents"):
        method = getattr(Retriever, name)
        kinds = {each.kind for each in inspect.signature(method).parameters.values()}
        assert name == "open" or inspect.Parameter.VAR_KEYWORD not in kinds
        assert method.__doc__
        assert method.__module__ == "theodolite.retriever"
    assert inspect.iscoroutinefunction(Retriever.asearch)
    assert not inspect.iscoroutinefunction(Retriever.search)
    assert list(inspect.signature(Retriever.search).parameters)[:3] == ["self", "query", "vector"]


@pytest.mark.parametrize(
    "document",
    [
        Document({"lang": "en"}, "a text"),  # type: ignore[arg-type]  # swapped on purpose
        Document("an-id", "a text", {"lang": "en"}),  # type: ignore[arg-type]
        Document("a text", "an-id"),  # type: ignore[arg-type]
        Document({"lang": "en"}),  # type: ignore[arg-type]
        Document("a text", None, "an-id"),  # type: ignore[arg-type]
    ],
)
def test_a_document_with_swapped_arguments(kb: Any, document: Document) -> None:
    with pytest.raises(DocumentError, match=r"text first: Document\(text, metadata, id=\.\.\.\)"):
        kb.add([document])
    assert len(kb) == 1


def test_documents_of_other_frameworks(kb: Any) -> None:
    with pytest.raises(DocumentError, match=r"pass Document\(doc.page_content, doc.metadata"):
        kb.add([SimpleNamespace(page_content="a", metadata={}, id=None)])
    with pytest.raises(DocumentError, match=r"pass Document\(node.get_content\(\), node.metadata"):
        kb.add([SimpleNamespace(get_content=lambda: "a", metadata={}, node_id="a")])


@pytest.mark.skipif(sys.platform == "win32", reason="an open folder cannot be deleted on Windows")
def test_a_folder_that_was_deleted_while_open(tmp_path: Path) -> None:
    folder = tmp_path / "kb"
    with Retriever.open(folder, embedder=HashingEmbedder(16)) as kb:
        kb.add(["one"])
        shutil.rmtree(folder)
        with pytest.raises(EngineError, match=r"deleted or moved meanwhile.*Retriever\.open\('.*kb', create=False\)"):
            kb.add(["two"])
    assert not folder.exists()
