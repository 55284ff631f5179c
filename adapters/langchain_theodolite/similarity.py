"""The searches of LangChain's vector stores, each also awaited."""

from collections.abc import Callable
from typing import Any

import numpy as np
from langchain_core.documents import Document
from langchain_core.vectorstores import VectorStore

from langchain_theodolite.documents import from_core
from langchain_theodolite.searching import HINTS, OPTIONS, asearch, relevance_of, search
from theodolite import ConfigError, Hit, Retriever
from theodolite.integration import check_names

SEARCHING = OPTIONS | {"fetch_k", "lambda_mult"}
"""The keywords of every search of a store."""

_BY_VECTOR = SEARCHING | {"query"}  # the words, which hybrid mode and rerankers read


class Searches(VectorStore):
    """What finds documents. `TheodoliteVectorStore` opens collections, and adds to them.

    All of them take `k`, how many, and `filter`, a dict, a filter of theodolite or a function of a Document; and the
    keywords that `TheodoliteVectorStore` lists. They raise TypeError for any other keyword, ValueError for a k below 1
    and for what cannot be read as a filter or an option.
    """

    _kb: Retriever

    def similarity_search(self, query: str, k: int = 4, filter: Any = None, **options: Any) -> list[Document]:
        """The k documents that are nearest to a question, best first."""
        return _documents(self._search(SEARCHING, options, query=query, k=k, filter=filter))

    async def asimilarity_search(self, query: str, k: int = 4, filter: Any = None, **options: Any) -> list[Document]:
        """`similarity_search`, awaited."""
        return _documents(await self._asearch(SEARCHING, options, query=query, k=k, filter=filter))

    def similarity_search_with_score(
        self, query: str, k: int = 4, filter: Any = None, **options: Any
    ) -> list[tuple[Document, float]]:
        """The same with scores, higher is better: cosines (for other metrics: the dot product; minus the distance).

        Where boosts, fusion or a reranker order the list, the score is theirs.
        """
        return _scored(self._search(SEARCHING, options, query=query, k=k, filter=filter))

    async def asimilarity_search_with_score(
        self, query: str, k: int = 4, filter: Any = None, **options: Any
    ) -> list[tuple[Document, float]]:
        """`similarity_search_with_score`, awaited."""
        return _scored(await self._asearch(SEARCHING, options, query=query, k=k, filter=filter))

    def similarity_search_with_relevance_scores(
        self, query: str, k: int = 4, filter: Any = None, **options: Any
    ) -> list[tuple[Document, float]]:
        """The same with relevance in [0, 1], higher is better: for cosine, the cosine, at least 0.

        With `rerank` it is the reranker's calibrated score. `score_threshold` leaves out what has less.

        Raises:
            ConfigError: there is none, in lexical and hybrid mode without a reranker, or for dot products that
                nothing maps.
        """
        _check_relevance(options)
        return _relevant(self._search(SEARCHING, options, query=query, k=k, filter=filter))

    async def asimilarity_search_with_relevance_scores(
        self, query: str, k: int = 4, filter: Any = None, **options: Any
    ) -> list[tuple[Document, float]]:
        """`similarity_search_with_relevance_scores`, awaited."""
        _check_relevance(options)
        return _relevant(await self._asearch(SEARCHING, options, query=query, k=k, filter=filter))

    def similarity_search_by_vector(
        self, embedding: list[float], k: int = 4, filter: Any = None, **options: Any
    ) -> list[Document]:
        """The k documents that are nearest to a vector, best first."""
        return _documents(self._search(_BY_VECTOR, options, vector=embedding, k=k, filter=filter))

    async def asimilarity_search_by_vector(
        self, embedding: list[float], k: int = 4, filter: Any = None, **options: Any
    ) -> list[Document]:
        """`similarity_search_by_vector`, awaited."""
        return _documents(await self._asearch(_BY_VECTOR, options, vector=embedding, k=k, filter=filter))

    def similarity_search_with_score_by_vector(
        self, embedding: list[float], k: int = 4, filter: Any = None, **options: Any
    ) -> list[tuple[Document, float]]:
        """The same with scores, as `similarity_search_with_score` gives them."""
        return _scored(self._search(_BY_VECTOR, options, vector=embedding, k=k, filter=filter))

    async def asimilarity_search_with_score_by_vector(
        self, embedding: list[float], k: int = 4, filter: Any = None, **options: Any
    ) -> list[tuple[Document, float]]:
        """`similarity_search_with_score_by_vector`, awaited."""
        return _scored(await self._asearch(_BY_VECTOR, options, vector=embedding, k=k, filter=filter))

    def max_marginal_relevance_search(
        self, query: str, k: int = 4, fetch_k: int = 20, lambda_mult: float = 0.5, filter: Any = None, **options: Any
    ) -> list[Document]:
        """k documents that are near to a question and unlike one another (maximal marginal relevance).

        Args:
            fetch_k: how many of the nearest, of those that pass the filter, they are chosen from; at least k.
            lambda_mult: from 0, as different as can be, to 1, as near as can be.
        """
        asked = {"k": k, "fetch_k": fetch_k, "lambda_mult": lambda_mult, "filter": filter}
        return _documents(self._search(SEARCHING, options, query=query, **asked))

    async def amax_marginal_relevance_search(
        self, query: str, k: int = 4, fetch_k: int = 20, lambda_mult: float = 0.5, filter: Any = None, **options: Any
    ) -> list[Document]:
        """`max_marginal_relevance_search`, awaited."""
        asked = {"k": k, "fetch_k": fetch_k, "lambda_mult": lambda_mult, "filter": filter}
        return _documents(await self._asearch(SEARCHING, options, query=query, **asked))

    def max_marginal_relevance_search_by_vector(
        self,
        embedding: list[float],
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        filter: Any = None,
        **options: Any,
    ) -> list[Document]:
        """`max_marginal_relevance_search`, of a vector."""
        asked = {"k": k, "fetch_k": fetch_k, "lambda_mult": lambda_mult, "filter": filter}
        return _documents(self._search(_BY_VECTOR, options, vector=embedding, **asked))

    async def amax_marginal_relevance_search_by_vector(
        self,
        embedding: list[float],
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        filter: Any = None,
        **options: Any,
    ) -> list[Document]:
        """`max_marginal_relevance_search_by_vector`, awaited."""
        asked = {"k": k, "fetch_k": fetch_k, "lambda_mult": lambda_mult, "filter": filter}
        return _documents(await self._asearch(_BY_VECTOR, options, vector=embedding, **asked))

    def _select_relevance_score_fn(self) -> Callable[[float], float]:
        """Relevance of a score of `similarity_search_with_score`, where nothing but similarity has decided."""
        metric = self._kb.metric
        if metric == "dot":
            raise ConfigError("dot products have no relevance: use similarity_search_with_score, or metric='cosine'")
        if metric == "l2":
            return lambda score: 1 / (1 - min(0.0, score))
        return lambda score: min(1.0, max(0.0, score))

    def _search(self, known: frozenset[str], options: dict[str, Any], **asked: Any) -> list[Hit]:
        check_names(options, known, "a search", HINTS)
        return search(self._kb, **_asked(asked), **options)

    async def _asearch(self, known: frozenset[str], options: dict[str, Any], **asked: Any) -> list[Hit]:
        check_names(options, known, "a search", HINTS)
        return await asearch(self._kb, **_asked(asked), **options)


def _asked(asked: dict[str, Any]) -> dict[str, Any]:
    """Vectors come as lists of floats, which numpy reads at once and the core number by number."""
    if isinstance(asked.get("vector"), list):
        asked["vector"] = np.asarray(asked["vector"])
    return asked


def _check_relevance(options: dict[str, Any]) -> None:
    mode = options.get("mode") or "dense"
    if mode != "dense" and options.get("rerank") is None:
        raise ConfigError(
            f"there is no relevance in {mode} mode: use similarity_search_with_score, or pass rerank=, which gives one"
        )


def _documents(hits: list[Hit]) -> list[Document]:
    return [from_core(hit.document) for hit in hits]


def _scored(hits: list[Hit]) -> list[tuple[Document, float]]:
    return [(from_core(hit.document), hit.score) for hit in hits]


def _relevant(hits: list[Hit]) -> list[tuple[Document, float]]:
    return [(from_core(hit.document), relevance_of(hit)) for hit in hits]
