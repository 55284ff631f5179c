"""The search methods of LangChain vector stores, synchronous and async."""

from collections.abc import Callable
from typing import Any

import numpy as np
from langchain_core.documents import Document
from langchain_core.vectorstores import VectorStore

from langchain_theodolite.documents import documents_of
from langchain_theodolite.searching import HINTS, OPTIONS, asearch, relevance_of, search
from theodolite import ConfigError, Hits, Retriever
from theodolite.integration import check_names

SEARCHING = OPTIONS | {"fetch_k", "lambda_mult"}
"""The keywords that every search of a store accepts."""

_BY_VECTOR = SEARCHING | {"query"}  # hybrid mode and rerankers read the query text


class Searches(VectorStore):
    """The search methods of a vector store. `TheodoliteVectorStore` opens collections and adds documents.

    All methods take `k`, the number of results, `filter` (a dict, a theodolite filter or a function of a Document), and
    the keywords that `TheodoliteVectorStore` lists. They raise TypeError for any other keyword, and ValueError for a k
    below 1 or an invalid filter or option.
    """

    _kb: Retriever

    def similarity_search(self, query: str, k: int = 4, filter: Any = None, **options: Any) -> list[Document]:
        """Return the k documents nearest to a query, best first."""
        return documents_of(self._search(SEARCHING, options, query=query, k=k, filter=filter))

    async def asimilarity_search(self, query: str, k: int = 4, filter: Any = None, **options: Any) -> list[Document]:
        """Await `similarity_search`."""
        return documents_of(await self._asearch(SEARCHING, options, query=query, k=k, filter=filter))

    def similarity_search_with_score(
        self, query: str, k: int = 4, filter: Any = None, **options: Any
    ) -> list[tuple[Document, float]]:
        """Return the k nearest documents with scores, higher is better.

        Scores are cosines. For other metrics they are the dot product, or minus the distance. If boosts, fusion or a
        reranker order the list, the score is theirs.
        """
        return _scored(self._search(SEARCHING, options, query=query, k=k, filter=filter))

    async def asimilarity_search_with_score(
        self, query: str, k: int = 4, filter: Any = None, **options: Any
    ) -> list[tuple[Document, float]]:
        """Await `similarity_search_with_score`."""
        return _scored(await self._asearch(SEARCHING, options, query=query, k=k, filter=filter))

    def similarity_search_with_relevance_scores(
        self, query: str, k: int = 4, filter: Any = None, **options: Any
    ) -> list[tuple[Document, float]]:
        """Return the k nearest documents with relevance in [0, 1], higher is better: for cosine, the cosine, at least
        0.

        With `rerank`, relevance is the reranker's calibrated score. `score_threshold` leaves out lower relevance.

        Raises:
            ConfigError: no relevance is available: in lexical and hybrid mode without a reranker, or for dot products
                without a mapping.
        """
        _check_relevance(options)
        return _relevant(self._search(SEARCHING, options, query=query, k=k, filter=filter))

    async def asimilarity_search_with_relevance_scores(
        self, query: str, k: int = 4, filter: Any = None, **options: Any
    ) -> list[tuple[Document, float]]:
        """Await `similarity_search_with_relevance_scores`."""
        _check_relevance(options)
        return _relevant(await self._asearch(SEARCHING, options, query=query, k=k, filter=filter))

    def similarity_search_by_vector(
        self, embedding: list[float], k: int = 4, filter: Any = None, **options: Any
    ) -> list[Document]:
        """Return the k documents nearest to a vector, best first."""
        return documents_of(self._search(_BY_VECTOR, options, vector=embedding, k=k, filter=filter))

    async def asimilarity_search_by_vector(
        self, embedding: list[float], k: int = 4, filter: Any = None, **options: Any
    ) -> list[Document]:
        """Await `similarity_search_by_vector`."""
        return documents_of(await self._asearch(_BY_VECTOR, options, vector=embedding, k=k, filter=filter))

    def similarity_search_with_score_by_vector(
        self, embedding: list[float], k: int = 4, filter: Any = None, **options: Any
    ) -> list[tuple[Document, float]]:
        """Return the k documents nearest to a vector, with scores as in `similarity_search_with_score`."""
        return _scored(self._search(_BY_VECTOR, options, vector=embedding, k=k, filter=filter))

    async def asimilarity_search_with_score_by_vector(
        self, embedding: list[float], k: int = 4, filter: Any = None, **options: Any
    ) -> list[tuple[Document, float]]:
        """Await `similarity_search_with_score_by_vector`."""
        return _scored(await self._asearch(_BY_VECTOR, options, vector=embedding, k=k, filter=filter))

    def max_marginal_relevance_search(
        self, query: str, k: int = 4, fetch_k: int = 20, lambda_mult: float = 0.5, filter: Any = None, **options: Any
    ) -> list[Document]:
        """Return k documents near to a query and different from one another (maximal marginal relevance).

        Args:
            fetch_k: the number of nearest documents that pass the filter to select from; at least k.
            lambda_mult: from 0, most diverse, to 1, nearest to the query.
        """
        asked = {"k": k, "fetch_k": fetch_k, "lambda_mult": lambda_mult, "filter": filter}
        return documents_of(self._search(SEARCHING, options, query=query, **asked))

    async def amax_marginal_relevance_search(
        self, query: str, k: int = 4, fetch_k: int = 20, lambda_mult: float = 0.5, filter: Any = None, **options: Any
    ) -> list[Document]:
        """Await `max_marginal_relevance_search`."""
        asked = {"k": k, "fetch_k": fetch_k, "lambda_mult": lambda_mult, "filter": filter}
        return documents_of(await self._asearch(SEARCHING, options, query=query, **asked))

    def max_marginal_relevance_search_by_vector(
        self,
        embedding: list[float],
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        filter: Any = None,
        **options: Any,
    ) -> list[Document]:
        """Return k documents near to a vector and different from one another. See `max_marginal_relevance_search`."""
        asked = {"k": k, "fetch_k": fetch_k, "lambda_mult": lambda_mult, "filter": filter}
        return documents_of(self._search(_BY_VECTOR, options, vector=embedding, **asked))

    async def amax_marginal_relevance_search_by_vector(
        self,
        embedding: list[float],
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        filter: Any = None,
        **options: Any,
    ) -> list[Document]:
        """Await `max_marginal_relevance_search_by_vector`."""
        asked = {"k": k, "fetch_k": fetch_k, "lambda_mult": lambda_mult, "filter": filter}
        return documents_of(await self._asearch(_BY_VECTOR, options, vector=embedding, **asked))

    def _select_relevance_score_fn(self) -> Callable[[float], float]:
        """Return the function from a pure similarity score of `similarity_search_with_score` to relevance."""
        relevance = self._kb.relevance
        if relevance is None:
            raise ConfigError(
                "dot products have no relevance. Pass relevance=, a function of similarities, where the store is "
                "opened, or use similarity_search_with_score"
            )
        return lambda score: relevance.of_hits([score])[0]

    def _search(self, known: frozenset[str], options: dict[str, Any], **asked: Any) -> Hits:
        check_names(options, known, "a search", HINTS)
        return search(self._kb, **_asked(asked), **options)

    async def _asearch(self, known: frozenset[str], options: dict[str, Any], **asked: Any) -> Hits:
        check_names(options, known, "a search", HINTS)
        return await asearch(self._kb, **_asked(asked), **options)


def _asked(asked: dict[str, Any]) -> dict[str, Any]:
    """Convert the vector from a list of floats to an array. Numpy does this faster than the core."""
    if isinstance(asked.get("vector"), list):
        asked["vector"] = np.asarray(asked["vector"])
    return asked


def _check_relevance(options: dict[str, Any]) -> None:
    mode = options.get("mode") or "dense"
    if mode != "dense" and options.get("rerank") is None:
        raise ConfigError(
            f"there is no relevance in {mode} mode: use similarity_search_with_score, or pass rerank=, which gives one"
        )


def _scored(hits: Hits) -> list[tuple[Document, float]]:
    return [(document, hit.score) for document, hit in zip(documents_of(hits), hits, strict=True)]


def _relevant(hits: Hits) -> list[tuple[Document, float]]:
    return [(document, relevance_of(hit)) for document, hit in zip(documents_of(hits), hits, strict=True)]
