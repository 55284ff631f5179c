"""A LlamaIndex retriever over a collection. Every search option is an argument, and no option is ignored."""

import asyncio
from collections.abc import Iterable
from copy import copy
from inspect import signature
from os import PathLike
from typing import Any, Literal, Self

import numpy as np
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.callbacks import CallbackManager
from llama_index.core.constants import DEFAULT_SIMILARITY_TOP_K
from llama_index.core.instrumentation import get_dispatcher  # type: ignore[attr-defined]  # it is public there
from llama_index.core.schema import NodeWithScore, QueryBundle
from llama_index.core.vector_stores.types import MetadataFilters

from llama_index_theodolite.documents import from_core, with_details
from llama_index_theodolite.embeddings import as_embedder
from llama_index_theodolite.filters import as_where
from theodolite import MMR, Boost, ConfigError, Fusion, Hit, Hits, InputError, Retriever, UnsupportedError, VectorError
from theodolite.integration import (
    RECORDED,
    as_collection,
    as_rerank,
    check_names,
    hit_details,
    open_existing,
    opening_options,
    reusable,
    scoped,
    verdict_details,
)

_dispatcher = get_dispatcher(__name__)

_ELSEWHERE = {
    "filter": "filters",
    "where": "filters",
    "k": "similarity_top_k",
    "top_k": "similarity_top_k",
    "vector_store_query_mode": "mode",
    "node_postprocessors": "the query engine's, or rerank",
}


class TheodoliteRetriever(BaseRetriever):
    """A LlamaIndex retriever that finds nodes in a collection.

    Create it from an open collection, or from a vector store (`from_store`). Nodes come back best first, each a new
    object with its `score`: higher is better. The score is the cosine (for other metrics the dot product, or minus the
    distance). If boosts, fusion or a reranker order the list, it is their score.

    A query bundle is never changed. Its embedding, if present, replaces the query's own, so the collection's model must
    have produced it. `custom_embedding_strs` are embedded instead of the query; several are averaged. Hybrid mode and
    rerankers also read the words of the query.

    Attributes:
        kb: the collection, or the part of it inside the scope.
        similarity_top_k: the number of nodes, unless the options have a coverage.
        filters: the metadata filters.
        options: further arguments for `theodolite.Retriever.search`.
        with_scores: whether to add scores to the metadata.
    """

    def __init__(
        self,
        kb: Any = None,
        *,
        location: str | PathLike[str] | None = None,
        embed_model: Any = RECORDED,
        similarity_top_k: int | None = None,
        coverage: float | None = None,
        filters: MetadataFilters | Any = None,
        scope: Any = None,
        mode: Literal["dense", "lexical", "hybrid"] | Fusion = "dense",
        boosts: Boost | Iterable[Boost] = (),
        versions: Any = None,
        as_of: Any = None,
        superseded: Literal["hide", "show", "substitute"] = "hide",
        min_relevance: float | None = None,
        rerank: Any = None,
        diversity: float | MMR | None = None,
        dedupe: float | None = None,
        with_scores: bool = False,
        callback_manager: CallbackManager | None = None,
        object_map: dict[Any, Any] | None = None,
        objects: list[Any] | None = None,
        verbose: bool = False,
        **opening: Any,
    ) -> None:
        """
        Args:
            kb: an open collection, a scope of one, or a `TheodoliteVectorStore`.
            location: the folder of a collection, instead of `kb`. It stays open; `retriever.kb.close()` closes it.
            embed_model: the embedder for `location`: a `BaseEmbedding`, `Settings` for `Settings.embed_model`, or any
                value that `theodolite.Retriever.open(embedder=...)` accepts. Default: the embedder that the collection
                records.
            similarity_top_k: the number of nodes; LlamaIndex's default, 2, if None.
            coverage: instead of `similarity_top_k`: as many nodes as it takes that a relevant one is among them for
                this share of answerable questions, by what `Retriever.calibrate` learned about the same options.
            filters: LlamaIndex MetadataFilters, a dict, or a theodolite filter.
            scope: limits the retriever to part of the collection: fields with their values, or a filter.
            mode: `dense` ranks by similarity, `lexical` by words, `hybrid` by both. `Fusion(...)` is `hybrid` with
                other weights.
            rerank: any value that `TheodoliteRerank` accepts as its reranker. It reads the first 50 results.
            with_scores: add `score`, `scores` and `rank` under `theodolite` in the metadata, plus `version` and
                `duplicates` if present. Language models and embedders do not see them. The `verdict` is there in any
                case where searches are calibrated.
            boosts, versions, as_of, superseded, min_relevance, diversity, dedupe: see `theodolite.Retriever.search`.
            callback_manager, object_map, objects, verbose: see LlamaIndex's BaseRetriever.
            opening: with `location`, options of `theodolite.Retriever.open` such as `on_drift`, except `create` and
                `versions`. `read_only` defaults to True if the folder is not writable.

        Raises:
            TypeError: arguments are unknown. They are reported before anything is opened.
            InputError, FilterError, ConfigError: values are invalid.
        """
        names = signature(TheodoliteRetriever).parameters.keys() - {"opening"}
        options = opening_options(location) - {"create", *names}
        only = "an option of the opening: pass it with location=, or to Retriever.open"
        closed = {**dict.fromkeys(options, only), **_ELSEWHERE}
        known, hints = (names, closed) if location is None else (names | options, _ELSEWHERE)
        check_names(opening, known, type(self).__name__, hints)
        if location is None and (embed_model is None or embed_model is RECORDED):
            self.kb = scoped(collection(kb, type(self).__name__), scope)
        elif location is None or kb is not None:
            raise ConfigError("pass kb, or location= and embed_model=; one without the other would do nothing")
        if similarity_top_k is not None and coverage is not None:
            raise ConfigError(
                "coverage= and similarity_top_k= exclude each other: coverage decides how many nodes there are. Leave "
                "one out"
            )
        top_k = DEFAULT_SIMILARITY_TOP_K if similarity_top_k is None else similarity_top_k
        if isinstance(top_k, bool) or not isinstance(top_k, int) or top_k < 1:
            raise InputError(f"similarity_top_k is {top_k!r}; it must be a whole number, at least 1")
        super().__init__(callback_manager, object_map, objects, verbose)
        self.similarity_top_k, self.with_scores, self.filters = top_k, with_scores, filters
        self.options: dict[str, Any] = {
            "coverage": coverage,
            "mode": mode,
            "boosts": reusable(boosts),
            "versions": reusable(versions),
            "as_of": as_of,
            "superseded": superseded,
            "min_relevance": min_relevance,
            "rerank": None if rerank is None else as_rerank(rerank),
            "diversity": diversity,
            "dedupe": dedupe,
        }
        if location is None:
            self._check()
            return
        own = open_existing(location, as_embedder(embed_model), **opening)
        try:
            self.kb = scoped(own, scope)
            self._check()
        except BaseException:
            own.close()
            raise

    @classmethod
    def from_store(cls, store: Any, **options: Any) -> Self:
        """Create a retriever that shares the collection of a `TheodoliteVectorStore`. See the class for options."""
        return cls(store, **options)

    def with_options(self, **options: Any) -> Self:
        """Return a new retriever with some options changed; `scope` narrows. This is cheap: make one for each call."""
        own = {
            "filters": self.filters,
            "with_scores": self.with_scores,
            "callback_manager": self.callback_manager,
            "object_map": self.object_map,
            "verbose": self._verbose,
        }
        counted = options.get("similarity_top_k") is not None  # instead of a coverage of this retriever
        coverage = options.get("coverage", None if counted else self.options["coverage"])
        if coverage is None:
            own["similarity_top_k"] = self.similarity_top_k
        return type(self)(self.kb, **{**self.options, **own, "coverage": coverage, **options})

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        twin = copy(self)  # shares the collection, like a copy of a store
        twin.options = {**self.options}
        return twin

    def _check(self) -> None:
        """Raise errors for invalid options at construction, not at the first query."""
        if self._where() is not None:
            self.kb.scoped(self._where())
        none = np.empty((0, 1), np.float32)  # any dimension is valid when there are no vectors
        words: list[str] | None = [] if self.options["mode"] != "dense" or self.options["rerank"] is not None else None
        self.kb.search_many(words, vectors=none, k=self._k, **self.options)

    @property
    def _k(self) -> int | None:
        """The number of nodes to ask for; None where the coverage decides."""
        return self.similarity_top_k if self.options["coverage"] is None else None

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        texts = self._embedded_otherwise(query_bundle)
        vector = self._mean(texts) if texts else query_bundle.embedding
        try:
            hits = self.kb.search(**self._asked(query_bundle, vector))
        except VectorError as error:
            raise _explained(query_bundle, error) from error
        return [self._node(hit, hits) for hit in hits]

    @_dispatcher.span
    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        texts = self._embedded_otherwise(query_bundle)
        vector = await self._amean(texts) if texts else query_bundle.embedding
        try:
            hits = await self.kb.asearch(**self._asked(query_bundle, vector))
        except VectorError as error:
            raise _explained(query_bundle, error) from error
        return [self._node(hit, hits) for hit in hits]

    def _asked(self, bundle: QueryBundle, vector: Any) -> dict[str, Any]:
        """Return the arguments of the search that answers the query."""
        if vector is None and not bundle.query_str and bundle.image_path:
            raise UnsupportedError("images are not embedded here: pass the embedding of an image, or a question")
        asked = {**self.options, "k": self._k, "where": self._where()}
        if vector is None or self.options["mode"] == "lexical":
            return {**asked, "query": bundle.query_str}
        if self.options["mode"] == "dense" and self.options["rerank"] is None:
            return {**asked, "vector": vector}
        return {**asked, "vector": vector, "query": bundle.query_str}

    def _embedded_otherwise(self, bundle: QueryBundle) -> list[str]:
        """Return the texts to embed instead of the query, or an empty list to use the query itself."""
        texts = bundle.custom_embedding_strs or []
        if bundle.embedding is not None or self.options["mode"] == "lexical" or texts == [bundle.query_str]:
            return []
        return texts

    def _mean(self, texts: list[str]) -> Any:
        """Return the mean vector of the texts."""
        self.kb.search_many([])  # checks the embedder, as before any query
        embedder = self.kb.embedder
        if embedder is None:
            raise ConfigError(
                "this collection was opened without an embedder. Open it with embed_model=, or pass an embedding"
            )
        return np.mean(np.asarray(embedder.encode_query(texts), np.float32), axis=0)

    async def _amean(self, texts: list[str]) -> Any:
        awaited = getattr(await asyncio.to_thread(lambda: self.kb.embedder), "aencode_query", None)
        if awaited is None:
            return await asyncio.to_thread(self._mean, texts)
        await self.kb.asearch_many([])
        return np.mean(np.asarray(await awaited(texts), np.float32), axis=0)

    def _where(self) -> Any:
        return as_where(self.filters)

    def _node(self, hit: Hit, hits: Hits) -> NodeWithScore:
        own = hit_details(hit) if self.with_scores else {}
        node = with_details(from_core(hit.document), {**own, **verdict_details(hits)})
        return NodeWithScore(node=node, score=hit.score)


def collection(given: Any, what: str) -> Retriever:
    """Return the passed collection, or the collection of the passed store."""
    return as_collection(given, what, "TheodoliteVectorStore")


def _explained(bundle: QueryBundle, error: VectorError) -> VectorError:
    if bundle.embedding is None:
        return error
    return VectorError(
        f"the query bundle's embedding does not fit: {error} It may come from another model: an index stores its own "
        "embedding in the bundle. Pass a new QueryBundle",
        **error.details,
    )
