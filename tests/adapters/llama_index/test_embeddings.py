"""Embedders both ways."""

import asyncio
import copy
import pickle
import threading

import pytest

pytest.importorskip("llama_index.core")

from llama_index.core import MockEmbedding, Settings
from tests.adapters.llama_index.nodes import Letters

from llama_index_theodolite import TheodoliteEmbedding, as_embedder
from llama_index_theodolite.embeddings import EmbeddingEmbedder
from theodolite import EmbedderOptions, Retriever, VectorError
from theodolite.testing import HashingEmbedder


class Counting(Letters):
    asked: list[str] = []  # noqa: RUF012 - a field: pydantic copies it for each model

    def _get_query_embedding(self, query: str) -> list[float]:
        self.asked.append(query)
        return super()._get_query_embedding(query)

    async def _aget_query_embedding(self, query: str) -> list[float]:
        self.asked.append(f"awaited {query}")
        return super()._get_query_embedding(query)

    async def _aget_text_embedding(self, text: str) -> list[float]:
        return await self._aget_query_embedding(text)


def test_its_name_tells_the_model() -> None:
    assert as_embedder(Letters(embed_dim=4)).name == "Letters"
    assert as_embedder(Letters(embed_dim=4, model_name="small-3")).name == "Letters:small-3"


def test_too_few_vectors_are_refused() -> None:
    class Loses(Letters):
        def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
            return super()._get_text_embeddings(texts)[:1]

    with pytest.raises(VectorError, match="returned 1 vectors for 2 document texts"):
        as_embedder(Loses(embed_dim=4)).encode_document(["a", "b"])


async def test_ours_awaited() -> None:
    model = TheodoliteEmbedding(HashingEmbedder(16))
    query, text = await asyncio.gather(model.aget_query_embedding("one"), model.aget_text_embedding("two"))
    assert (query, text) == (model.get_query_embedding("one"), model.get_text_embedding("two"))
    assert model.class_name() == "TheodoliteEmbedding"
    assert await model.aget_text_embedding_batch(["one", "two"]) == model.get_text_embedding_batch(["one", "two"])


def test_settings_are_looked_up_when_they_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Settings, "_embed_model", None)
    embedder = as_embedder(Settings)
    model = MockEmbedding(embed_dim=3)
    monkeypatch.setattr(Settings, "_embed_model", model)
    assert embedder.dimension == 3
    monkeypatch.setattr(Settings, "_embed_model", MockEmbedding(embed_dim=5))
    assert embedder.embed_model is model


async def test_what_was_awaited_is_what_the_collection_sees() -> None:
    model = Counting(embed_dim=4)
    with Retriever.open(embedder=EmbedderOptions(as_embedder(model), canary="off")) as kb:
        await kb.aadd([{"id": text, "text": text} for text in ("aaa", "bbb")])
        model.asked.clear()
        found = await kb.asearch("bb", k=1)
    assert [hit.document.id for hit in found] == ["bbb"]
    assert model.asked == ["awaited bb"]


def test_a_model_of_llama_index_is_taken_for_what_it_is() -> None:
    model = Letters(embed_dim=4)
    ours = TheodoliteEmbedding(model)
    assert ours.model_name == "Letters"
    assert ours.get_query_embedding("abca") == model.get_query_embedding("abca")
    assert ours.get_text_embedding_batch(["a", "b"]) == model.get_text_embedding_batch(["a", "b"])


class Unpicklable(HashingEmbedder):
    def __init__(self) -> None:
        super().__init__(8)
        self.lock = threading.Lock()


def test_copies_share_the_embedder_and_pickles_have_it_or_are_refused() -> None:
    model = TheodoliteEmbedding(Unpicklable(), embed_batch_size=3)
    other = copy.deepcopy(model)
    other.embed_batch_size = 5
    assert other.embedder is model.embedder
    assert model.embed_batch_size == 3
    with pytest.raises(TypeError, match="Unpicklable cannot be pickled"):
        pickle.dumps(model)
    plain = TheodoliteEmbedding(HashingEmbedder(8))
    again = pickle.loads(pickle.dumps(plain))  # noqa: S301 - our own
    assert again.get_text_embedding("a") == plain.get_text_embedding("a")


async def test_questions_of_one_call_are_awaited_together_but_not_all_at_once() -> None:
    class Slow(Letters):
        waiting: int = 0
        most: int = 0

        async def _aget_query_embedding(self, query: str) -> list[float]:
            self.waiting += 1
            self.most = max(self.most, self.waiting)
            await asyncio.sleep(0.001)
            self.waiting -= 1
            return self._get_query_embedding(query)

    model = Slow(embed_dim=4)
    texts = [f"{'a' * n} {n}" for n in range(50)]
    found = await EmbeddingEmbedder(model).aencode_query(texts)
    assert found == [model.get_query_embedding(text) for text in texts]
    assert model.most == 16
