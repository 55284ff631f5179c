"""Rerankers both ways: ours over documents of LangChain, LangChain's cross-encoders in our searches."""

import asyncio
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("langchain_core")

from langchain_core.cross_encoders import BaseCrossEncoder
from langchain_core.documents import Document
from pydantic import ValidationError
from tests.adapters.langchain.corpus import QUESTION, filled, ids

from langchain_theodolite import TheodoliteCrossEncoder, TheodoliteReranker, TheodoliteRetriever, as_reranker
from theodolite import ConfigError, Rerank, RerankError

NEGATIONS = {"not", "never", "hate"}
QUERY = "people who do not hate this office"


def negated(text: str) -> int:
    return sum(word in NEGATIONS for word in text.lower().split()) % 2


def agreement(query: str, texts: Sequence[str]) -> list[float]:
    """A toy that knows "not"; of equal passages the longer one is a little better."""
    return [(2.0 if negated(text) == negated(query) else -2.0) + len(text) / 100 for text in texts]


def sigmoid(score: float) -> float:
    return 1 / (1 + math.exp(-score))


def shortest_first(query: str, texts: Sequence[str]) -> list[float]:
    return [-float(len(text)) for text in texts]


TEXTS = ["I hate this office", "I love this office", "I do not hate this office", "Never go to this office"]
BEST = ["c", "b", "d", "a"]


def documents() -> list[Document]:
    return [
        Document(text, id=name, metadata={"tags": [name], "relevance_score": "mine"})
        for name, text in zip("abcd", TEXTS, strict=True)
    ]


class TestCompressor:
    def test_best_first_with_scores(self) -> None:
        given = documents()
        found = TheodoliteReranker(reranker=agreement).compress_documents(given, QUERY)
        assert ids(found) == BEST
        for document in found:
            (raw,) = agreement(QUERY, [document.page_content])
            assert document.metadata["rerank_score"] == raw
            assert document.metadata["relevance_score"] == pytest.approx(sigmoid(raw))
            assert document.metadata["tags"] == [document.id]

    def test_what_is_passed_stays_as_it_is(self) -> None:
        given = documents()
        found = TheodoliteReranker(reranker=agreement).compress_documents(given, QUERY)
        found[0].metadata["tags"].append("more")
        assert given == documents()

    @pytest.mark.parametrize(("top_n", "count"), [(None, 4), (1, 1), (3, 3), (9, 4)])
    def test_top_n(self, top_n: int | None, count: int) -> None:
        reranker = TheodoliteReranker(reranker=agreement, top_n=top_n)
        assert ids(reranker.compress_documents(documents(), QUERY)) == BEST[:count]

    def test_threshold_is_on_the_calibrated_score(self) -> None:
        reranker = TheodoliteReranker(reranker=agreement, score_threshold=0.5)
        assert ids(reranker.compress_documents(documents(), QUERY)) == ["c", "b"]
        assert TheodoliteReranker(reranker=agreement, score_threshold=1).compress_documents(documents(), QUERY) == []

    def test_equal_scores_keep_the_order(self) -> None:
        reranker = TheodoliteReranker(reranker=lambda query, texts: [0.0] * len(texts))
        assert ids(reranker.compress_documents(documents(), QUERY)) == ["a", "b", "c", "d"]

    def test_all_are_read(self) -> None:
        many = [Document("word " * number, id=str(number)) for number in range(1, 101)]
        stage = Rerank(lambda query, texts: [float(len(text)) for text in texts], candidates=2)
        assert ids(TheodoliteReranker(reranker=stage, top_n=2).compress_documents(many, "q")) == ["100", "99"]

    def test_nothing(self) -> None:
        def never(query: str, texts: Sequence[str]) -> list[float]:
            raise AssertionError("asked for nothing")

        assert TheodoliteReranker(reranker=never).compress_documents([], QUERY) == []

    def test_awaited(self) -> None:
        reranker = TheodoliteReranker(reranker=agreement, top_n=2)
        assert asyncio.run(reranker.acompress_documents(documents(), QUERY)) == reranker.compress_documents(
            documents(), QUERY
        )

    def test_a_failure_is_an_error_or_the_order_before(self) -> None:
        def broken(query: str, texts: Sequence[str]) -> list[float]:
            raise ZeroDivisionError("out of order")

        with pytest.raises(RerankError, match="ZeroDivisionError: out of order"):
            TheodoliteReranker(reranker=broken).compress_documents(documents(), QUERY)
        fallback = Rerank(broken, on_error="fallback")
        found = TheodoliteReranker(reranker=fallback, top_n=2).compress_documents(documents(), QUERY)
        assert found == documents()[:2]
        with pytest.raises(ConfigError, match="min_relevance needs calibrated scores"):
            TheodoliteReranker(reranker=fallback, score_threshold=0.5)

    @pytest.mark.parametrize(
        "fields",
        [{"top_k": 3}, {"top_n": 0}, {"score_threshold": 1.5}, {"score_threshold": -0.1}],
        ids=lambda fields: next(iter(fields)),
    )
    def test_fields_that_do_not_fit(self, fields: dict[str, Any]) -> None:
        with pytest.raises(ValidationError, match=next(iter(fields))):
            TheodoliteReranker(reranker=agreement, **fields)

    def test_no_reranker(self) -> None:
        with pytest.raises(ConfigError, match="the reranker is a int"):
            TheodoliteReranker(reranker=3)

    def test_after_a_retriever(self) -> None:
        retrievers = pytest.importorskip("langchain_classic.retrievers")
        with filled() as kb:
            retriever = retrievers.ContextualCompressionRetriever(
                base_retriever=TheodoliteRetriever(kb=kb, k=5),
                base_compressor=TheodoliteReranker(
                    reranker=lambda query, texts: [-len(text) for text in texts], top_n=2
                ),
            )
            assert ids(retriever.invoke(QUESTION)) == ["hours", "old"]


class Agreement(BaseCrossEncoder):
    """A cross-encoder as LangChain knows them."""

    def __init__(self) -> None:
        self.calls: list[int] = []

    def score(self, text_pairs: list[tuple[str, str]]) -> list[float]:
        self.calls.append(len(text_pairs))
        return [agreement(query, [text])[0] for query, text in text_pairs]


class Sure(BaseCrossEncoder):
    """One with a sigmoid at its end."""

    def score(self, text_pairs: list[tuple[str, str]]) -> list[float]:
        return [sigmoid(score) for score in Agreement().score(text_pairs)]


class TestCrossEncoders:
    def test_in_a_search_of_the_core(self) -> None:
        with filled() as kb:
            question = "do not refunds take days"
            hits = kb.search(question, k=5, rerank=as_reranker(Agreement()))
            expected = {hit.document.id: agreement(question, [hit.document.text])[0] for hit in hits}
            assert len(expected) == 5
            assert {hit.document.id: hit.scores["rerank"] for hit in hits} == expected
            assert [hit.score for hit in hits] == sorted(expected.values(), reverse=True)

    @pytest.mark.parametrize("wrapped", [False, True])
    def test_in_a_retriever_and_a_compressor(self, wrapped: bool) -> None:
        model = Agreement()
        given = as_reranker(model) if wrapped else model
        found = TheodoliteReranker(reranker=given).compress_documents(documents(), QUERY)
        assert ids(found) == BEST
        assert model.calls == [4]
        with filled() as kb:
            retriever = TheodoliteRetriever(kb=kb, k=2, rerank=given)
            assert ids(retriever.invoke(QUESTION)) == ids(
                TheodoliteRetriever(kb=kb, k=2, rerank=agreement).invoke(QUESTION)
            )
            assert model.calls == [4, 5]

    def test_scores_that_are_calibrated_already(self) -> None:
        plain, sure = as_reranker(Sure()), as_reranker(Sure(), calibrated=True)
        for given, expected in ((plain, sigmoid(sigmoid(2.25))), (sure, sigmoid(2.25))):
            best = TheodoliteReranker(reranker=given, top_n=1).compress_documents(documents(), QUERY)[0]
            assert best.metadata["relevance_score"] == pytest.approx(expected)
        with pytest.raises(RerankError, match=r"values in \[0, 1\]"):
            TheodoliteReranker(reranker=as_reranker(Agreement(), calibrated=True)).compress_documents(
                documents(), QUERY
            )

    def test_ours_as_theirs(self) -> None:
        asked: list[tuple[str, int]] = []

        def counted(query: str, texts: Sequence[str]) -> list[float]:
            asked.append((query, len(texts)))
            return agreement(query, texts)

        pairs = [("not", text) for text in TEXTS] + [("yes", text) for text in TEXTS] + [("not", TEXTS[0])]
        assert TheodoliteCrossEncoder(counted).score(pairs) == Agreement().score(pairs)
        assert asked == [("not", 4), ("yes", 4), ("not", 1)]
        assert TheodoliteCrossEncoder(counted).score([]) == []

    def test_ours_as_theirs_never_lacks_a_score(self) -> None:
        def broken(query: str, texts: Sequence[str]) -> list[float]:
            raise ZeroDivisionError

        with pytest.raises(RerankError):
            TheodoliteCrossEncoder(Rerank(broken, on_error="fallback")).score([("q", "text")])


class TestModel:
    def test_a_cross_encoder_by_its_folder(self, tmp_path_factory: pytest.TempPathFactory) -> None:
        pytest.importorskip("sentence_transformers")
        from tests.unit.crossing import averse, fond, tiny_cross_encoder

        folder = tiny_cross_encoder(tmp_path_factory.mktemp("models") / "cross")
        query = "someone who does not hate this office"
        given = [Document(text, id=text) for text in (averse("office"), fond("office"))]
        reranker = TheodoliteReranker(reranker=str(folder), score_threshold=0.5)
        assert ids(reranker.compress_documents(given, query)) == [fond("office")]
        scores = TheodoliteCrossEncoder(Path(folder)).score([(query, document.page_content) for document in given])
        both = TheodoliteReranker(reranker=str(folder)).compress_documents(given, query)
        assert [document.metadata["rerank_score"] for document in both] == sorted(scores, reverse=True)
        with filled() as kb:
            kb.add([document.page_content for document in given])
            retriever = TheodoliteRetriever(kb=kb, rerank=str(folder), k=1, score_threshold=0.5)
            assert [document.page_content for document in retriever.invoke(query)] == [fond("office")]
