"""The verdict on hits reaches the documents and nodes of both frameworks, and the words of the tools."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from theodolite import ConfigError, Document, Retriever, SearchTool, Verdict
from theodolite.testing import HashingEmbedder

pytest.importorskip("langchain_core")
pytest.importorskip("llama_index.core")

from llama_index.core.schema import MetadataMode
from llama_index.core.vector_stores.types import VectorStoreQuery

from langchain_theodolite import TheodoliteRetriever as ForLangChain
from langchain_theodolite import TheodoliteVectorStore as LangChainStore
from langchain_theodolite import theodolite_tool
from llama_index_theodolite import TheodoliteRetriever as ForLlamaIndex
from llama_index_theodolite import TheodoliteVectorStore as LlamaIndexStore
from llama_index_theodolite import as_tool

THINGS = ["refunds", "parcels", "gift cards", "opening hours", "repairs", "tents", "boots", "stoves"]
RULES = ["take five days", "cost nothing", "are announced on Mondays", "end in winter"]
TEXTS = [f"{thing} {rule}" for thing in THINGS for rule in RULES]
QUESTIONS = {f"q{n}": f"is it true that {text}" for n, text in enumerate(TEXTS)}
JUDGMENTS = {f"q{n}": {f"d{n}": 1} for n in range(len(TEXTS))}
OTHERS = {f"o{n}": f"who sang song number {n} in the choir of Riga" for n in range(32)}
ANSWERED, UNANSWERED = "is it true that boots cost nothing", "who sang in the choir of Riga"


@pytest.fixture
def kb() -> Iterator[Retriever]:
    with Retriever.open(embedder=HashingEmbedder(512)) as kb:
        kb.add([Document(text, id=f"d{n}") for n, text in enumerate(TEXTS)])
        yield kb


@pytest.fixture
def calibrated(kb: Retriever) -> Retriever:
    kb.calibrate(QUESTIONS, JUDGMENTS, OTHERS)
    return kb


def expected(kb: Retriever, question: str) -> dict[str, Any]:
    verdict = kb.search(question, k=4).verdict
    assert verdict is not None
    return verdict.to_dict()


@pytest.mark.parametrize("question", [ANSWERED, UNANSWERED])
def test_documents_and_nodes_carry_the_verdict(calibrated: Retriever, question: str) -> None:
    verdict = expected(calibrated, question)
    assert verdict["label"] == ("none" if question is UNANSWERED else "strong")
    for document in ForLangChain(kb=calibrated).invoke(question):
        assert document.metadata["theodolite"] == {"verdict": verdict}
    for document in ForLangChain(kb=calibrated, with_scores=True).invoke(question):
        assert document.metadata["theodolite"]["verdict"] == verdict
        assert "score" in document.metadata["theodolite"]
    for document, _ in LangChainStore.from_retriever(calibrated).similarity_search_with_score(question):
        assert document.metadata["theodolite"] == {"verdict": verdict}
    for found in ForLlamaIndex(calibrated).retrieve(question):
        assert found.node.metadata["theodolite"] == {"verdict": verdict}
        assert "verdict" not in found.node.get_content(MetadataMode.LLM)
        assert "verdict" not in found.node.get_content(MetadataMode.EMBED)
    query = VectorStoreQuery(query_str=question, similarity_top_k=4)
    for node in LlamaIndexStore.from_retriever(calibrated).query(query).nodes or ():
        assert node.metadata["theodolite"] == {"verdict": verdict}


def test_the_documents_and_nodes_of_tools_carry_it_too(calibrated: Retriever) -> None:
    verdict = expected(calibrated, ANSWERED)
    called = {"name": "search_documents", "args": {"query": ANSWERED}, "id": "1", "type": "tool_call"}
    for document in theodolite_tool(calibrated).invoke(called).artifact:
        assert document.metadata["theodolite"]["verdict"] == verdict
    for found in as_tool(calibrated).call(query=ANSWERED).raw_output:
        assert found.node.metadata["theodolite"] == {"verdict": verdict}


@pytest.mark.parametrize("coverage", [0.5, 0.9])
async def test_retrievers_return_as_many_as_a_coverage_takes(calibrated: Retriever, coverage: float) -> None:
    chain, index = ForLangChain(kb=calibrated, coverage=coverage), ForLlamaIndex(calibrated, coverage=coverage)
    lengths = set()
    for question in QUESTIONS.values():
        hits = [hit.document.id for hit in calibrated.search(question, coverage=coverage)]
        lengths.add(len(hits))
        assert [document.id for document in chain.invoke(question)] == hits
        assert [found.node.node_id for found in index.retrieve(question)] == hits
    assert lengths != {4}  # as many as by default
    assert [document.id for document in await chain.ainvoke(question)] == hits
    assert [found.node.node_id for found in await index.aretrieve(question)] == hits
    # A call, and a retriever made of another one, may say otherwise.
    assert [each.id for each in ForLangChain(kb=calibrated, k=3).invoke(question, coverage=coverage)] == hits
    twin = ForLlamaIndex(calibrated, similarity_top_k=3).with_options(coverage=coverage)
    assert [found.node.node_id for found in twin.retrieve(question)] == hits
    assert len(chain.invoke(question, k=7)) == 7
    assert len(index.with_options(similarity_top_k=7).retrieve(question)) == 7
    assert index.with_options(with_scores=True).options["coverage"] == coverage


def test_a_coverage_beside_a_count_and_without_a_calibration_is_refused(calibrated: Retriever) -> None:
    with pytest.raises(ConfigError, match=r"coverage= and k= exclude each other"):
        ForLangChain(kb=calibrated, coverage=0.9, k=4)
    with pytest.raises(ConfigError, match=r"coverage= and k= exclude each other"):
        ForLangChain(kb=calibrated).invoke(ANSWERED, coverage=0.9, k=4)
    with pytest.raises(ConfigError, match=r"coverage= and similarity_top_k= exclude each other"):
        ForLlamaIndex(calibrated, coverage=0.9, similarity_top_k=2)
    with pytest.raises(ConfigError, match=r"Call kb\.calibrate"):
        ForLangChain(kb=calibrated, coverage=0.9, mode="lexical")
    with pytest.raises(ConfigError, match=r"Call kb\.calibrate"):
        ForLlamaIndex(calibrated, coverage=0.9, mode="lexical")
    with pytest.raises(TypeError, match="coverage"):  # a store is always asked for a number
        LangChainStore.from_retriever(calibrated).similarity_search(ANSWERED, coverage=0.9)


def test_without_a_calibration_nothing_is_added(kb: Retriever) -> None:
    for document in ForLangChain(kb=kb).invoke(ANSWERED):
        assert "theodolite" not in document.metadata
    for found in ForLlamaIndex(kb).retrieve(ANSWERED):
        assert "theodolite" not in found.node.metadata
    tool = SearchTool(kb)
    assert tool.passages(tool.search({"query": ANSWERED})).startswith("[1]")


def test_tools_put_the_verdict_into_words(calibrated: Retriever) -> None:
    tool = SearchTool(calibrated)
    text = tool.passages(tool.search({"query": ANSWERED}))
    assert text.startswith("These passages probably answer the question (probability 0.")
    text = tool.passages(tool.search({"query": UNANSWERED}))
    assert text.startswith("These passages probably do not answer the question")
    assert "do not know" in text.partition("\n")[0]
    between = replace(tool.search({"query": ANSWERED}), verdict=Verdict("weak", 0.5))
    assert tool.passages(between).startswith("These passages may not answer the question (probability 0.50).")
    # With a filter that was not calibrated there is nothing to say.
    narrowed = SearchTool(calibrated, scope={"$id": ["d1", "d2"]})
    assert narrowed.passages(narrowed.search({"query": ANSWERED})).startswith("[1]")
