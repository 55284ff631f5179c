"""`as_retriever` returns LangChain's own retriever, but ignores no option."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("langchain_core")

from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.vectorstores import VectorStoreRetriever
from pydantic import ValidationError
from tests.adapters.corpus import DOCUMENTS, QUESTION, found, newest_first
from tests.adapters.langchain.corpus import ids

from langchain_theodolite import TheodoliteRetriever, TheodoliteVectorStore
from theodolite import Fusion
from theodolite.testing import HashingEmbedder


@pytest.fixture(scope="module")
def store() -> Iterator[TheodoliteVectorStore]:
    with TheodoliteVectorStore(HashingEmbedder()) as store:
        store.kb.add(DOCUMENTS)
        yield store


def test_is_langchains_own(store: TheodoliteVectorStore) -> None:
    retriever = store.as_retriever(search_kwargs={"k": 2})
    assert isinstance(retriever, VectorStoreRetriever)
    assert ids(retriever.invoke(QUESTION)) == ids(store.similarity_search(QUESTION, k=2))
    assert ids(retriever.invoke(QUESTION, k=1, filter={"source": "chat"})) == ["chat"]
    assert retriever._get_ls_params()["ls_vector_store_provider"] == "TheodoliteVectorStore"


@pytest.mark.parametrize(
    ("search_type", "given", "as_asked"),
    [
        ("similarity", {"k": 3}, {"k": 3}),
        ("similarity_score_threshold", {"k": 5, "score_threshold": 0.3}, {"k": 5, "min_relevance": 0.3}),
        ("mmr", {"k": 3, "fetch_k": 5, "lambda_mult": 0.1}, {"k": 3, "diversity": 0.9}),
        ("hybrid", {"k": 5, "mode": Fusion(1.0, 0.1)}, {"k": 5, "mode": Fusion(1.0, 0.1)}),
        ("similarity", {"k": 3, "rerank": newest_first}, {"k": 3, "rerank": newest_first}),
    ],
)
def test_search_types(
    store: TheodoliteVectorStore, search_type: str, given: dict[str, Any], as_asked: dict[str, Any]
) -> None:
    expected = [name for name, _ in found(store.kb, **as_asked)]
    retriever = store.as_retriever(search_type=search_type, search_kwargs=given)
    assert ids(retriever.invoke(QUESTION)) == expected
    assert ids(asyncio.run(retriever.ainvoke(QUESTION))) == expected


def test_search_types_differ(store: TheodoliteVectorStore) -> None:
    plain = ids(store.as_retriever().invoke(QUESTION))
    for search_type in ("mmr", "hybrid"):
        assert ids(store.as_retriever(search_type=search_type).invoke(QUESTION)) != plain


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"filter": {}}, r"has no argument 'filter'; here that is search_kwargs={'filter': ...}"),
        ({"k": 3}, "has no argument 'k'"),
        ({"search_kwarg": {}}, "did you mean 'search_kwargs'"),
        ({"search_type": "bm25"}, "bm25 not allowed"),
        ({"search_type": "similarity_score_threshold"}, "score_threshold"),
    ],
)
def test_nothing_is_ignored(store: TheodoliteVectorStore, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        store.as_retriever(**fields)


def test_no_search_keyword_is_ignored(store: TheodoliteVectorStore) -> None:
    with pytest.raises(TypeError, match="search_kwargs has no argument 'filtr'; did you mean 'filter'"):
        store.as_retriever(search_kwargs={"filtr": {}})


def test_a_whole_number_is_a_threshold(store: TheodoliteVectorStore) -> None:
    def retriever(threshold: int) -> VectorStoreRetriever:
        kind = "similarity_score_threshold"
        return store.as_retriever(search_type=kind, search_kwargs={"score_threshold": threshold, "k": 5})

    assert len(retriever(0).invoke(QUESTION)) == 5
    assert len(retriever(1).invoke(QUESTION)) == 0


def test_modes_that_contradict_one_another(store: TheodoliteVectorStore) -> None:
    with pytest.raises(ValueError, match="pass one of them"):
        store.as_retriever(search_type="hybrid").invoke(QUESTION, mode="lexical")


def test_calls(store: TheodoliteVectorStore) -> None:
    with pytest.raises(TypeError, match="did you mean 'filter'"):
        store.as_retriever().invoke(QUESTION, filtr={})


def test_the_model_of_the_embeddings_is_traced() -> None:
    class Named(DeterministicFakeEmbedding):
        model: str = "small-3"

    with TheodoliteVectorStore(Named(size=8)) as store:
        for retriever in (store.as_retriever(), TheodoliteRetriever.from_store(store)):
            reported = retriever._get_ls_params()
            assert reported["ls_embedding_provider"] == "Named"
            assert reported["ls_embedding_model"] == "small-3"
    with TheodoliteVectorStore() as store:
        assert "ls_embedding_model" not in store.as_retriever()._get_ls_params()


def test_from_store(store: TheodoliteVectorStore) -> None:
    retriever = TheodoliteRetriever.from_store(store, k=2)
    assert retriever.kb is store.kb
    assert ids(retriever.invoke(QUESTION)) == ids(store.similarity_search(QUESTION, k=2))
