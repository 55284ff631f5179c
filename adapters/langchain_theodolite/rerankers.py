"""Adapters in both directions: rerankers as LangChain document compressors, cross-encoders as rerankers."""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from itertools import groupby
from typing import Any

from langchain_core.callbacks import Callbacks
from langchain_core.cross_encoders import BaseCrossEncoder
from langchain_core.documents import Document
from langchain_core.documents.compressor import BaseDocumentCompressor
from pydantic import ConfigDict, Field, model_validator

from theodolite import Rerank
from theodolite.integration import as_rerank


class TheodoliteReranker(BaseDocumentCompressor):
    """A document compressor that reranks documents from any retriever with a theodolite reranker.

    Documents come back best first, as copies with `relevance_score` (calibrated, in [0, 1]) and `rerank_score` (raw,
    comparable only within this list) in their metadata. The reranker reads all documents that are passed. The original
    documents and all other metadata stay unchanged.

    Attributes:
        reranker: the name or folder of a cross-encoder, an object with `score(query, texts)`, a function of a query and
            texts, a LangChain `BaseCrossEncoder`, or `theodolite.Rerank(...)` with a deadline and other options. After
            a fallback (`on_error="fallback"`) documents keep their order and have no scores.
        top_n: the number of documents to return. None returns all.
        score_threshold: leave out documents with a lower `relevance_score`; in [0, 1].
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    reranker: Any
    top_n: int | None = Field(default=None, ge=1)
    score_threshold: float | None = Field(default=None, ge=0, le=1)

    @model_validator(mode="after")
    def _resolve(self) -> "TheodoliteReranker":
        self.reranker = as_stage(self.reranker, self.score_threshold)
        return self

    def compress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> list[Document]:
        """Return the `top_n` most relevant documents, best first.

        Raises:
            RerankError: the reranker failed, missed its deadline, or did not return one finite score for each document.
        """
        if not documents:
            return []
        found = self.reranker.run(query, [document.page_content for document in documents])
        if not found.ok:
            return list(documents[: self.top_n])
        raw, calibrated = found.scores.tolist(), found.calibrated.tolist()
        order = sorted(range(len(documents)), key=lambda place: -raw[place])
        kept = [place for place in order if calibrated[place] >= (self.score_threshold or 0)]
        return [_scored(documents[place], raw[place], calibrated[place]) for place in kept[: self.top_n]]


class TheodoliteCrossEncoder(BaseCrossEncoder):
    """Any theodolite reranker as a LangChain cross-encoder. Scores are raw; higher is better."""

    def __init__(self, reranker: Any) -> None:
        """
        Args:
            reranker: any value that `TheodoliteReranker` accepts as its reranker.
        """
        self._stage = replace(as_stage(reranker), on_error="raise")

    def score(self, text_pairs: list[tuple[str, str]]) -> list[float]:
        """Return one score for each pair of a query and a text.

        Raises:
            RerankError: the reranker failed or missed its deadline. No fallback is possible here.
        """
        scores: list[float] = []
        # Score the pairs of one query together: most rerankers take a list of texts.
        for query, pairs in groupby(text_pairs, key=lambda pair: pair[0]):
            found = self._stage.run(query, [text for _, text in pairs])
            scores += [] if found.scores is None else found.scores.tolist()
        return scores


class _CrossEncoder:
    """A LangChain cross-encoder as a reranker."""

    def __init__(self, model: BaseCrossEncoder) -> None:
        self._model = model

    def score(self, query: str, texts: Sequence[str], /) -> Any:
        """Return the model's scores, (n,). Higher is better."""
        return self._model.score([(query, text) for text in texts])


class _Calibrated(_CrossEncoder):
    """A LangChain cross-encoder with scores in [0, 1]."""

    def calibrate(self, scores: Any, /) -> Any:
        """Return the scores unchanged."""
        return scores


def as_reranker(model: BaseCrossEncoder, *, calibrated: bool = False) -> Any:
    """Wrap a LangChain cross-encoder as a reranker for `kb.search(rerank=...)`.

    Args:
        model: any `BaseCrossEncoder`.
        calibrated: whether its scores already lie in [0, 1], as for models with a sigmoid. Other scores are calibrated
            with the logistic function.
    """
    return _Calibrated(model) if calibrated else _CrossEncoder(model)


def as_stage(reranker: Any, score_threshold: float | None = None) -> Rerank:
    """Return a rerank stage for a caller's value, with a threshold on its calibrated score.

    Raises:
        ConfigError, MissingExtraError: the value is invalid, or it allows a fallback, which has no score to compare
            with the threshold.
    """
    if isinstance(reranker, BaseCrossEncoder):
        reranker = as_reranker(reranker)
    return as_rerank(reranker, score_threshold)


def _scored(document: Document, raw: float, calibrated: float) -> Document:
    metadata = {**deepcopy(document.metadata), "relevance_score": calibrated, "rerank_score": raw}
    return document.model_copy(update={"metadata": metadata})
