"""Retrievers pass on every search option and ignore none."""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("langchain_core")

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.documents import Document as LangChainDocument
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.runnables import ConfigurableField
from pydantic import ValidationError
from tests.adapters.corpus import DOCUMENTS, QUESTION, dated, filled, found, newest_first
from tests.adapters.langchain.corpus import ids
from tests.adapters.shared.test_retrievers import OPTIONS

from langchain_theodolite import TheodoliteRetriever
from langchain_theodolite.embeddings import as_embedder
from theodolite import (
    ConfigError,
    Document,
    EmbedderOptions,
    F,
    Fusion,
    Rerank,
    Retriever,
)
from theodolite.testing import HashingEmbedder

pytestmark = pytest.mark.filterwarnings("ignore::theodolite.MetadataWarning")  # for filters that match nothing


@pytest.fixture(scope="module")
def kb() -> Iterator[Retriever]:
    with filled() as kb:
        yield kb


def ids_and_scores(documents: list[LangChainDocument]) -> list[tuple[str | None, float]]:
    return [(document.id, document.metadata["theodolite"]["score"]) for document in documents]


@pytest.mark.parametrize(("given", "without"), OPTIONS)
def test_options_of_a_call_are_those_of_a_retriever(
    kb: Retriever, given: dict[str, Any], without: dict[str, Any]
) -> None:
    options = dated({"k": 5, **given})
    if "where" in options:
        options["filter"] = options.pop("where")
    plain = TheodoliteRetriever(kb=kb)
    expected = found(kb, **given)
    assert ids_and_scores(plain.invoke(QUESTION, with_scores=True, **options)) == expected
    assert ids_and_scores(asyncio.run(plain.ainvoke(QUESTION, with_scores=True, **options))) == expected


class TestStrict:
    @pytest.mark.parametrize(
        ("fields", "message"),
        [
            ({"search_kwargs": {}}, "has no argument 'search_kwargs'"),
            ({"score_threshold": 2.0}, "less than or equal to 1"),
        ],
    )
    def test_fields(self, kb: Retriever, fields: dict[str, Any], message: str) -> None:
        with pytest.raises(ValidationError, match=message):
            TheodoliteRetriever(kb=kb, **fields)

    @pytest.mark.parametrize(
        ("fields", "message"),
        [
            ({"now": "2024-01-01"}, "has no argument 'now'; here that is as_of"),
            ({"fusion": Fusion()}, "has no argument 'fusion'; here that is mode="),
            ({"mode": "hybrid", "rerank": newest_first, "boosts": "x"}, "boosts is 'x'"),
        ],
        ids=lambda given: ",".join(given) if isinstance(given, dict) else "",
    )
    def test_values_are_checked_when_it_is_made(self, kb: Retriever, fields: dict[str, Any], message: str) -> None:
        with pytest.raises((ConfigError, ValidationError), match=message):
            TheodoliteRetriever(kb=kb, **fields)

    def test_a_collection_is_needed(self, kb: Retriever) -> None:
        with pytest.raises(ValidationError, match="kb"):
            TheodoliteRetriever()
        with pytest.raises(ConfigError, match=r"kb is a str; .* A folder goes to TheodoliteRetriever\(location="):
            TheodoliteRetriever(kb="kb")
        for half in ({"location": "kb", "kb": kb}, {"embedding": HashingEmbedder()}):
            with pytest.raises(ValueError, match="would do nothing"):
                TheodoliteRetriever(**half)

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("filtr", "did you mean 'filter'"),
            ("kb", "has no argument 'kb'"),
            ("where", "has no argument 'where'; here that is filter"),
        ],
    )
    def test_calls(self, kb: Retriever, name: str, message: str) -> None:
        retriever = TheodoliteRetriever(kb=kb)
        with pytest.raises(TypeError, match=message):
            retriever.invoke(QUESTION, None, **{name: {}})
        with pytest.raises(TypeError, match=message):
            asyncio.run(retriever.ainvoke(QUESTION, None, **{name: {}}))

    def test_values_of_calls(self, kb: Retriever) -> None:
        retriever = TheodoliteRetriever(kb=kb)
        for options in ({"k": 0}, {"score_threshold": 2}, {"score_threshold": "0.5"}, {"filter": {"year": {"gte": 1}}}):
            with pytest.raises(ValueError, match=f"{next(iter(options))}|gte"):
                retriever.invoke(QUESTION, **options)


class TestFilters:
    @pytest.mark.parametrize(
        "given",
        [{"source": "wiki"}, F("source") == "wiki", lambda document: document.metadata["source"] == "wiki"],
        ids=["dict", "F", "function"],
    )
    def test_of_each_kind(self, kb: Retriever, given: Any) -> None:
        assert ids(TheodoliteRetriever(kb=kb, filter=given).invoke(QUESTION)) == ["hours", "wiki"]
        assert ids(asyncio.run(TheodoliteRetriever(kb=kb).ainvoke(QUESTION, filter=given))) == ["hours", "wiki"]

    def test_one_of_the_call_takes_the_place_of_the_own(self, kb: Retriever) -> None:
        retriever = TheodoliteRetriever(kb=kb, filter={"source": "wiki"})
        assert ids(retriever.invoke(QUESTION, filter={"source": "chat"})) == ["chat"]
        assert len(retriever.invoke(QUESTION, filter=None)) == 4

    @pytest.mark.parametrize("k", [1, 3, 7, 50])
    def test_a_function_loses_nothing(self, k: int) -> None:
        with Retriever.open(embedder=HashingEmbedder()) as kb:
            kb.add([Document(f"passage {number} of a long text", {"n": number}) for number in range(300)])
            ranked = [hit.document.metadata["n"] for hit in kb.search("a long text", k=300)]
            last = set(ranked[-20:])
            retriever = TheodoliteRetriever(kb=kb, k=k, filter=lambda document: document.metadata["n"] in last)
            assert [document.metadata["n"] for document in retriever.invoke("a long text")] == ranked[-20:][:k]


class TestScope:
    def test_confines_and_only_narrows(self) -> None:
        with Retriever.open(embedder=HashingEmbedder(), partition="tenant") as kb:
            for tenant in ("acme", "bolt"):
                kb.scoped(tenant=tenant).add(
                    [Document("Refunds take a month.", {"lang": lang}, id=lang) for lang in ("en", "de")]
                )
            retriever = TheodoliteRetriever(kb=kb, scope={"tenant": "acme"})
            everything = [
                retriever.invoke("refunds"),
                retriever.invoke("refunds", filter={"$or": [{"tenant": "bolt"}, {"lang": {"$exists": True}}]}),
                retriever.invoke("refunds", filter=lambda document: True),
            ]
            for documents in everything:
                assert [document.metadata["tenant"] for document in documents] == ["acme", "acme"]
            assert retriever.invoke("refunds", scope={"tenant": "bolt"}) == []
            assert ids(retriever.invoke("refunds", scope={"lang": "de"})) == ["de"]
            assert retriever.invoke("refunds", filter={"tenant": "bolt"}) == []


class TestScores:
    def test_threshold_is_on_relevance(self, kb: Retriever) -> None:
        scores = dict(found(kb))
        limit = sorted(scores.values())[2]
        retriever = TheodoliteRetriever(kb=kb, k=5, score_threshold=limit)
        assert ids(retriever.invoke(QUESTION)) == [name for name, score in found(kb) if score >= limit]
        assert len(retriever.invoke(QUESTION, score_threshold=0)) == 5
        assert retriever.invoke(QUESTION, score_threshold=1) == []

    def test_threshold_is_on_the_calibrated_score_of_a_reranker(self, kb: Retriever) -> None:
        retriever = TheodoliteRetriever(kb=kb, k=5, rerank=newest_first, score_threshold=0.8)
        assert ids(retriever.invoke(QUESTION)) == ["new"]
        assert ids(retriever.invoke(QUESTION, mode="hybrid")) == ["new"]
        assert len(retriever.invoke(QUESTION, score_threshold=None)) == 5
        assert retriever.invoke(QUESTION, score_threshold=0.9) == []

    def test_threshold_on_nothing_is_refused(self, kb: Retriever) -> None:
        with pytest.raises(ConfigError, match="min_relevance needs calibrated scores"):
            TheodoliteRetriever(kb=kb, rerank=Rerank(newest_first, on_error="fallback"), score_threshold=0.5)
        with pytest.raises(ConfigError, match="no relevance"):
            TheodoliteRetriever(kb=kb, mode="hybrid", score_threshold=0.5).invoke(QUESTION)
        with pytest.raises(ValueError, match="pass one of them"):
            TheodoliteRetriever(kb=kb, min_relevance=0.5, score_threshold=0.5).invoke(QUESTION)


class Events(BaseCallbackHandler):
    """Collects the events of a LangChain run."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.metadata: dict[str, Any] = {}

    def on_retriever_start(self, *args: Any, metadata: dict[str, Any] | None = None, **kwargs: Any) -> None:
        self.seen.append("start")
        self.metadata = metadata or {}

    def on_retriever_end(self, documents: Any, **kwargs: Any) -> None:
        self.seen.append(f"end {len(documents)}")

    def on_retriever_error(self, error: BaseException, **kwargs: Any) -> None:
        self.seen.append(f"error {type(error).__name__}")


class TestRunnable:
    def test_callbacks(self, kb: Retriever) -> None:
        events = Events()
        retriever = TheodoliteRetriever(kb=kb, k=2).with_config({"callbacks": [events]})
        retriever.invoke(QUESTION)
        asyncio.run(retriever.ainvoke(QUESTION))
        with pytest.raises(TypeError):
            retriever.invoke(QUESTION, filtr={})
        assert events.seen == ["start", "end 2", "start", "end 2", "start", "error TypeError"]
        assert events.metadata["ls_retriever_name"] == "theodolite"
        assert events.metadata["ls_vector_store_provider"] == "theodolite"
        assert events.metadata["ls_embedding_provider"] == "HashingEmbedder"

    def test_events_are_streamed(self, kb: Retriever) -> None:
        async def names() -> list[str]:
            retriever = TheodoliteRetriever(kb=kb)
            return [event["event"] async for event in retriever.astream_events(QUESTION, version="v2")]

        assert asyncio.run(names()) == ["on_retriever_start", "on_retriever_end"]

    def test_configurable_fields(self, kb: Retriever) -> None:
        retriever = TheodoliteRetriever(kb=kb, rerank=newest_first).configurable_fields(
            k=ConfigurableField(id="k"), filter=ConfigurableField(id="filter")
        )
        assert ids(retriever.invoke(QUESTION, {"configurable": {"k": 1}})) == ["new"]
        assert ids(retriever.invoke(QUESTION, {"configurable": {"filter": {"source": "chat"}}})) == ["chat"]

    def test_bind_and_chain(self, kb: Retriever) -> None:
        chain = TheodoliteRetriever(kb=kb).bind(k=2) | ids
        assert chain.invoke(QUESTION) == ["old", "chat"]

    def test_batches(self, kb: Retriever) -> None:
        questions = [document.text for document in DOCUMENTS] * 8
        retriever = TheodoliteRetriever(kb=kb, k=1)
        expected = [[document.id] for document in DOCUMENTS] * 8
        assert [ids(one) for one in retriever.batch(questions)] == expected
        assert [ids(one) for one in asyncio.run(retriever.abatch(questions))] == expected

    @pytest.mark.parametrize("filter", [None, lambda document: document.id == "hours"], ids=["plain", "function"])
    def test_the_event_loop_is_never_held_up(self, filter: Any) -> None:
        free = threading.Event()

        class Waiting(HashingEmbedder):
            """Returns only after the event loop has run another task."""

            def encode_query(self, texts: Any, /) -> Any:
                assert free.wait(30), "the event loop was held up"
                return super().encode_query(texts)

        async def main(retriever: TheodoliteRetriever) -> Any:
            asked = asyncio.create_task(retriever.abatch([f"{QUESTION} {number}" for number in range(20)]))
            await asyncio.sleep(0.01)
            assert not asked.done()
            free.set()
            return await asked

        with Retriever.open(embedder=EmbedderOptions(Waiting(), canary="off")) as kb:
            kb.add(DOCUMENTS)
            answers = asyncio.run(main(TheodoliteRetriever(kb=kb, filter=filter, k=1)))
        assert [len(answer) for answer in answers] == [1] * 20


class TestLocation:
    def test_a_folder_and_embeddings(self, tmp_path: Path) -> None:
        embeddings = DeterministicFakeEmbedding(size=8)
        with Retriever.open(tmp_path / "kb", embedder=as_embedder(embeddings)) as kb:
            kb.add(DOCUMENTS)
        retriever = TheodoliteRetriever(location=tmp_path / "kb", embedding=embeddings, k=1)
        assert ids(retriever.invoke("We open at nine.")) == ["hours"]
        assert retriever._get_ls_params()["ls_embedding_provider"] == "DeterministicFakeEmbedding"
        retriever.kb.close()


def test_what_is_passed_by_position_is_refused_with_the_keywords(kb: Retriever) -> None:
    anything: Any = TheodoliteRetriever
    for given in (kb, "kb"):
        with pytest.raises(TypeError, match=r"takes only keywords: kb=\.\.\., or location= and embedding="):
            anything(given)
