"""Embedders both ways."""

from pathlib import Path

import pytest

pytest.importorskip("langchain_core")

from tests.adapters.langchain.tables import Table

from langchain_theodolite import TheodoliteEmbeddings, TheodoliteVectorStore, as_embedder
from theodolite import EmbedderDriftError, Retriever, VectorError
from theodolite.testing import HashingEmbedder


def test_questions_and_passages_go_their_own_ways() -> None:
    class Sided(Table):
        def embed_query(self, text: str) -> list[float]:
            return [1.0, 0.0]

        def embed_documents(self, texts: list[str]) -> list[list[float]]:
            return [[0.0, 1.0] for _ in texts]

    embedder = as_embedder(Sided())
    assert embedder.encode_query(["a", "b"]) == [[1.0, 0.0]] * 2
    assert embedder.encode_document(["a", "b"]) == [[0.0, 1.0]] * 2


def test_its_name_tells_the_model() -> None:
    class Named(Table):
        model = "small-3"

    assert as_embedder(Named()).name == "Named:small-3"
    assert as_embedder(Table()).name == "Table"
    with TheodoliteVectorStore(Named({}, 4)) as store:
        store.add_texts(["a"])
        assert store.kb.info()["embedder"] == "Named:small-3"


def test_too_few_vectors_are_refused() -> None:
    class Loses(Table):
        def embed_documents(self, texts: list[str]) -> list[list[float]]:
            return super().embed_documents(texts)[:1]

    with TheodoliteVectorStore(Loses({}, 4), canary="off") as store:
        with pytest.raises(VectorError, match="1 vectors for 3 document texts"):
            store.add_texts(["a", "b", "c"])
        assert len(store.kb) == 0


def test_another_model_is_noticed(tmp_path: Path) -> None:
    class Other(Table):
        def vector(self, text: str) -> list[float]:
            return super().vector(f"otherwise {text}")

    with TheodoliteVectorStore(Table({}, 8), tmp_path / "kb") as store:
        store.add_texts([f"text {n}" for n in range(30)])
    with pytest.raises(EmbedderDriftError):
        TheodoliteVectorStore(Other({}, 8), tmp_path / "kb")


def test_the_embeddings_of_a_store_are_those_of_its_collection() -> None:
    embedder = HashingEmbedder(8)
    with Retriever.open(embedder=embedder) as kb:
        embeddings = TheodoliteVectorStore.from_retriever(kb).embeddings
        assert isinstance(embeddings, TheodoliteEmbeddings)
        assert embeddings.embedder is embedder
