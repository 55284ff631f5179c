"""Embedders both ways: models of a framework in our collections, and ours as models of a framework."""

from typing import Any

import numpy as np
import pytest
from tests.adapters.shared.verbs import Adapter

from theodolite import ConfigError, Document, EmbedderOptions, Retriever
from theodolite.testing import EmbedderContract, HashingEmbedder


class TestTheirsAsAnEmbedder(EmbedderContract):
    @pytest.fixture(autouse=True)
    def chosen(self, adapter: Adapter) -> None:
        self.adapter = adapter

    def embedder(self) -> Any:
        return self.adapter.as_embedder(self.adapter.model(4))


def test_the_dimension_is_measured_once_and_only_when_it_is_asked_for(adapter: Adapter) -> None:
    model = adapter.model(4)
    embedder = adapter.as_embedder(model)
    assert model.asked == []
    assert (embedder.dimension, embedder.dimension) == (4, 4)
    assert len(model.asked) == 1
    assert embedder.encode_query([]).shape == embedder.encode_document([]).shape == (0, 4)


def test_its_name_tells_the_model(adapter: Adapter) -> None:
    assert adapter.as_embedder(adapter.model(4)).name.startswith("Model")


def test_ours_give_the_same_vectors(adapter: Adapter) -> None:
    ours = HashingEmbedder(16, query_prefix="question ")
    model = adapter.embeddings(ours)
    texts = ["one", "two words", "three"]
    assert np.allclose(adapter.embed_documents(model, texts), ours.encode_document(texts))
    assert np.allclose(adapter.embed_query(model, "one"), ours.encode_query(["one"])[0])
    assert adapter.embed_query(model, "one") != adapter.embed_documents(model, ["one"])[0]
    assert type(adapter.embed_query(model, "one")[0]) is float
    assert adapter.embed_documents(model, []) == []


def test_functions_serve_as_well(adapter: Adapter) -> None:
    model = adapter.embeddings(lambda texts: [[float(len(text)), 1.0] for text in texts])
    assert adapter.embed_query(model, "abc") == [3.0, 1.0]


def test_there_and_back_is_the_same_embedder(adapter: Adapter) -> None:
    embedder = HashingEmbedder(8)
    assert adapter.as_embedder(adapter.embeddings(embedder)) is embedder
    assert adapter.as_embedder(embedder) is embedder


@pytest.mark.parametrize("wrong", [None, 3])
def test_what_embeds_nothing_is_refused(adapter: Adapter, wrong: Any) -> None:
    with pytest.raises((TypeError, ConfigError)):
        adapter.embeddings(wrong)


def test_a_collection_is_filled_and_searched_with_a_model(adapter: Adapter) -> None:
    model = adapter.model(4)
    with Retriever.open(embedder=EmbedderOptions(adapter.as_embedder(model), canary="off")) as kb:
        kb.add([Document(text, id=text) for text in ("aaa", "bbb", "cab")])
        assert [hit.document.id for hit in kb.search("bbb", k=1)] == ["bbb"]
