"""Arguments passed by mistake: collections, copies; and odd metadata in a tool's results."""

import copy
import pickle
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("langchain_core")

from langchain_core.cross_encoders import BaseCrossEncoder
from langchain_core.embeddings import Embeddings
from pydantic import ValidationError

from langchain_theodolite import TheodoliteRetriever, TheodoliteVectorStore, theodolite_tool
from theodolite import ConfigError, InputError, VectorError
from theodolite.testing import HashingEmbedder


@pytest.fixture
def store() -> Iterator[TheodoliteVectorStore]:
    with TheodoliteVectorStore(HashingEmbedder()) as store:
        store.add_texts(["short", "the longest of them"], [{"n": 1}, {"n": 2}], ids=["a", "b"])
        yield store


class Longest(BaseCrossEncoder):
    def score(self, text_pairs: list[tuple[str, str]]) -> list[float]:
        return [float(len(text)) for _, text in text_pairs]


def test_a_store_is_its_collection_and_nothing_else_is(store: TheodoliteVectorStore) -> None:
    shared: Any = store
    assert TheodoliteVectorStore.from_retriever(shared).kb is store.kb
    assert theodolite_tool(shared, k=1).invoke({"query": "short"}).startswith("[1] a")
    wrong: Any = "kb"
    for takes in (TheodoliteVectorStore.from_retriever, theodolite_tool):
        with pytest.raises(InputError, match="not str"):
            takes(wrong)


def test_what_is_open_is_not_copied(store: TheodoliteVectorStore) -> None:
    retriever = store.as_retriever()
    for thing in (store, retriever, TheodoliteRetriever.from_store(store)):
        for duplicate in (pickle.dumps, copy.deepcopy):
            with pytest.raises(TypeError, match="Pass on its folder"):
                duplicate(thing)
    assert retriever.model_copy().invoke("short") == retriever.invoke("short")


def test_options_that_exclude_each_other_are_refused_when_it_is_made(store: TheodoliteVectorStore) -> None:
    with pytest.raises(ValidationError, match="score_threshold and min_relevance are the same"):
        TheodoliteRetriever.from_store(store, score_threshold=0.5, min_relevance=0.2)


@pytest.mark.parametrize("fields", [{"k": True}, {"k": "3"}, {"score_threshold": True}])
def test_fields_are_not_made_to_fit(store: TheodoliteVectorStore, fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        TheodoliteRetriever.from_store(store, **fields)
    with pytest.raises(InputError):
        TheodoliteRetriever.from_store(store).invoke("short", **fields)


def test_no_mode_is_the_usual_mode(store: TheodoliteVectorStore) -> None:
    assert store.similarity_search_with_relevance_scores("short", k=1, mode=None)[0][0].id == "a"
    retriever = store.as_retriever(search_type="hybrid", search_kwargs={"mode": None, "k": 1})
    assert [document.id for document in retriever.invoke("short")] == ["a"]


def test_a_tool_ranks_by_a_cross_encoder(store: TheodoliteVectorStore) -> None:
    tool = theodolite_tool(store.kb, rerank=Longest())
    assert tool.invoke({"query": "short"}).startswith("[1] b")
    with pytest.raises(ConfigError, match="reranker"):
        theodolite_tool(store.kb, rerank=3)


@pytest.mark.parametrize("options", [{"k": True}, {"k": 1.5}, {"k": 0}, {"fields": "n"}])
def test_what_a_tool_is_not_made_of(store: TheodoliteVectorStore, options: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"k is|fields is one str"):
        theodolite_tool(store.kb, **options)


def test_null_is_the_number_of_passages_that_was_set(store: TheodoliteVectorStore) -> None:
    tool = theodolite_tool(store.kb, k=1)
    assert tool.invoke({"query": "short", "k": None}) == tool.invoke({"query": "short"})
    assert tool.args["k"]["type"] == "integer"


def test_of_long_values_a_tool_shows_the_beginning(store: TheodoliteVectorStore) -> None:
    blob: Any
    for blob in ("x" * 100_000, ["x" * 100_000], {"deep": "x" * 100_000}):
        store.add_texts(["short"], [{"blob": blob, "n": 1}], ids=["a"])
        reported = theodolite_tool(store.kb, k=1, fields=["blob", "n"]).invoke({"query": "short"})
        assert len(reported) < 1000
        assert "xxx…" in reported
        assert '"n": 1' in reported


def test_embeddings_that_return_no_list() -> None:
    class Nothing(Embeddings):
        def embed_documents(self, texts: list[str]) -> Any:
            return None if "new" in texts else [[1.0, 2.0] for _ in texts]

        def embed_query(self, text: str) -> list[float]:
            return [1.0, 2.0]

    with TheodoliteVectorStore(Nothing()) as odd:
        with pytest.raises(VectorError, match="returned None"):
            odd.add_texts(["new"])
        assert len(odd.kb) == 0
