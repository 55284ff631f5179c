"""Embedders both ways."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("langchain_core")

from langchain_core.embeddings import DeterministicFakeEmbedding
from tests.adapters.langchain.tables import Table

from langchain_theodolite import TheodoliteEmbeddings, TheodoliteVectorStore, as_embedder
from theodolite import ConfigError, Embedder, EmbedderDriftError, Retriever, VectorError
from theodolite.testing import EmbedderContract, HashingEmbedder


class TestEmbeddingsAsAnEmbedder(EmbedderContract):
    def embedder(self) -> Embedder:
        embedder: Embedder = as_embedder(DeterministicFakeEmbedding(size=16))
        return embedder


def test_the_dimension_is_measured_once_and_only_when_it_is_asked_for() -> None:
    embeddings = Table({}, 5)
    embedder = as_embedder(embeddings)
    assert embeddings.embedded == []
    assert (embedder.dimension, embedder.dimension) == (5, 5)
    assert len(embeddings.embedded) == 1
    assert embedder.encode_query([]).shape == embedder.encode_document([]).shape == (0, 5)


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


def test_our_embedders_serve_as_embeddings() -> None:
    embedder = HashingEmbedder(32, query_prefix="question ")
    embeddings = TheodoliteEmbeddings(embedder)
    documents = embeddings.embed_documents(["a b", "c"])
    assert documents == embedder.encode_document(["a b", "c"]).astype(np.float64).tolist()
    assert (
        embeddings.embed_query("a b") == embedder.encode_query(["a b"])[0].astype(np.float64).tolist() != documents[0]
    )
    assert type(documents[0][0]) is float
    assert embeddings.embed_documents([]) == []


def test_functions_and_names_serve_as_well() -> None:
    embeddings = TheodoliteEmbeddings(lambda texts: [[float(len(text)), 1.0] for text in texts])
    assert embeddings.embed_query("abc") == [3.0, 1.0]
    for wrong in (None, 3):
        with pytest.raises((TypeError, ConfigError)):
            TheodoliteEmbeddings(wrong)


def test_there_and_back_is_the_same_embedder() -> None:
    embedder = HashingEmbedder(8)
    assert as_embedder(TheodoliteEmbeddings(embedder)) is embedder
    assert as_embedder(embedder) is embedder
    with Retriever.open(embedder=embedder) as kb:
        embeddings = TheodoliteVectorStore.from_retriever(kb).embeddings
        assert isinstance(embeddings, TheodoliteEmbeddings)
        assert embeddings.embedder is embedder
