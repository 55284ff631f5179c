"""Rerankers both ways: ours over documents of LangChain, LangChain's cross-encoders in our searches."""

import math
from collections.abc import Sequence
from pathlib import Path

import pytest

pytest.importorskip("langchain_core")

from langchain_core.cross_encoders import BaseCrossEncoder
from langchain_core.documents import Document
from tests.adapters.agreement import BEST, QUERY, TEXTS, agreement
from tests.adapters.corpus import QUESTION, filled
from tests.adapters.langchain.corpus import ids

from langchain_theodolite import TheodoliteCrossEncoder, TheodoliteReranker, TheodoliteRetriever, as_reranker
from theodolite import Rerank, RerankError


def sigmoid(score: float) -> float:
    return 1 / (1 + math.exp(-score))


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


@pytest.mark.thorough
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
