"""Rerankers both ways: ours as LangChain document compressors, LangChain's cross-encoders as ours."""

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
    """Ranks documents that were found by anything anew, by any reranker of theodolite.

    Documents come back best first, as copies whose metadata has `relevance_score` (calibrated, in [0, 1]) and
    `rerank_score` (raw: it orders this one list). All documents that are passed are read. The original documents, and
    all else in their metadata, stay as they are.

    Attributes:
        reranker: the name or folder of a cross-encoder, an object with `score(query, texts)`, a function of a query and
            texts, a LangChain `BaseCrossEncoder`, or `theodolite.Rerank(...)` with a deadline and the like. After a
            fallback (`on_error="fallback"`) documents keep their order, and have no scores.
        top_n: how many come back; None for all.
        score_threshold: leave out documents whose `relevance_score` is less; in [0, 1].
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
        """The `top_n` most relevant documents, best first.

        Raises:
            RerankError: the reranker failed, was late, or did not give one finite score for each document.
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
    """Any reranker of theodolite as a LangChain cross-encoder; scores are raw, higher is better."""

    def __init__(self, reranker: Any) -> None:
        """
        Args:
            reranker: what `TheodoliteReranker` takes.
        """
        self._stage = replace(as_stage(reranker), on_error="raise")

    def score(self, text_pairs: list[tuple[str, str]]) -> list[float]:
        """One score for each pair of a query and a text.

        Raises:
            RerankError: the reranker failed, or was late; there is nothing to fall back to here.
        """
        scores: list[float] = []
        # The pairs of one query are read together: most rerankers read a list.
        for query, pairs in groupby(text_pairs, key=lambda pair: pair[0]):
            found = self._stage.run(query, [text for _, text in pairs])
            scores += [] if found.scores is None else found.scores.tolist()
        return scores


class _CrossEncoder:
    """A LangChain cross-encoder as a reranker."""

    def __init__(self, model: BaseCrossEncoder) -> None:
        self._model = model

    def score(self, query: str, texts: Sequence[str], /) -> Any:
        """What the model gives, (n,), higher is better."""
        return self._model.score([(query, text) for text in texts])


class _Calibrated(_CrossEncoder):
    """One whose scores lie in [0, 1]."""

    def calibrate(self, scores: Any, /) -> Any:
        """The scores."""
        return scores


def as_reranker(model: BaseCrossEncoder, *, calibrated: bool = False) -> Any:
    """A LangChain cross-encoder as a reranker for `kb.search(rerank=...)`.

    Args:
        model: any `BaseCrossEncoder`.
        calibrated: whether its scores lie in [0, 1] already, as those of models with a sigmoid do. Others are
            calibrated by the logistic function.
    """
    return _Calibrated(model) if calibrated else _CrossEncoder(model)


def as_stage(reranker: Any, score_threshold: float | None = None) -> Rerank:
    """Return a rerank stage of what a caller passes, with a threshold on its calibrated score.

    Raises:
        ConfigError, MissingExtraError: it does not fit, or falls back, where there is nothing to hold a threshold to.
    """
    if isinstance(reranker, BaseCrossEncoder):
        reranker = as_reranker(reranker)
    return as_rerank(reranker, score_threshold)


def _scored(document: Document, raw: float, calibrated: float) -> Document:
    metadata = {**deepcopy(document.metadata), "relevance_score": calibrated, "rerank_score": raw}
    return document.model_copy(update={"metadata": metadata})
