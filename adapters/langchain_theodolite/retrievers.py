"""LangChain retrievers over a collection. Every search option is a field, and no option is ignored."""

from collections.abc import Collection, Mapping
from typing import Any, ClassVar, Literal, Self

import numpy as np
from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever, LangSmithRetrieverParams
from langchain_core.vectorstores import VectorStoreRetriever
from pydantic import ConfigDict, Field, model_validator

from langchain_theodolite.documents import documents_of
from langchain_theodolite.embeddings import as_embedder
from langchain_theodolite.rerankers import as_stage
from langchain_theodolite.searching import HINTS, OPTIONS, prepare
from theodolite import MMR, Fusion, Retriever
from theodolite.integration import (
    RECORDED,
    check_kb,
    check_names,
    loaded_embedder,
    open_existing,
    opening_options,
    reusable,
    scoped,
)

_STORE_OPTIONS = OPTIONS | {"fetch_k", "lambda_mult"}


class TheodoliteRetriever(BaseRetriever):
    """A LangChain retriever that finds passages in a collection.

    Create it from an open collection (`kb=`), a vector store (`from_store`), or an existing folder (`location=` and
    `embedding=`). All fields except `kb` may also be passed to a single call:
    `retriever.invoke(question, k=2, filter={"lang": "en"})`.

    Attributes:
        kb: the collection, or a scope of it.
        k: the number of passages.
        coverage: instead of k: as many passages as it takes that a relevant one is among them for this share of
            answerable questions, by what `Retriever.calibrate` learned about the same options.
        filter: a metadata filter: a dict, a theodolite filter, or a function of a LangChain document.
        scope: a filter that limits the search to part of the collection. A scope passed to a call narrows this one.
        mode: `dense` ranks by similarity, `lexical` by words, `hybrid` by both. `Fusion(...)` is `hybrid` with other
            weights.
        score_threshold: leave out less relevant passages; in [0, 1]. Relevance for cosine is the cosine, at least 0.
            With `rerank`, the threshold applies to the reranker's calibrated score.
        rerank: any value that `TheodoliteReranker` accepts as its reranker.
        with_scores: add `score`, `scores` and `rank` under `theodolite` in the metadata, plus `version` and
            `duplicates` if present. The `verdict` is there in any case where searches are calibrated.
        boosts, versions, as_of, superseded, min_relevance, diversity, dedupe: see `theodolite.Retriever.search`.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    kb: Retriever
    k: int = Field(default=4, ge=1, strict=True)
    coverage: float | None = Field(default=None, gt=0, lt=1)
    filter: Any = None
    scope: Any = None
    mode: Literal["dense", "lexical", "hybrid"] | Fusion = "dense"
    score_threshold: float | None = Field(default=None, ge=0, le=1, strict=True)
    boosts: Any = ()
    versions: Any = None
    as_of: Any = None
    superseded: Literal["hide", "show", "substitute"] = "hide"
    min_relevance: float | None = None
    rerank: Any = None
    diversity: float | MMR | None = None
    dedupe: float | None = Field(default=None, gt=0, le=1)
    with_scores: bool = False

    def __init__(self, *positional: Any, location: Any = None, embedding: Any = RECORDED, **fields: Any) -> None:
        """
        Args:
            positional: none; any raises a TypeError that names the right call.
            location: the folder of a collection, instead of `kb`. It stays open; `retriever.kb.close()` closes it.
            embedding: the embedder for `location`: LangChain `Embeddings`, or any value that
                `theodolite.Retriever.open` accepts. Default: the embedder that the collection records.
            fields: see the class. With `location`, also options of `theodolite.Retriever.open` such as `on_drift`,
                except `create` and `versions`. `read_only` defaults to True if the folder is not writable.

        Raises:
            ValidationError: fields are unknown or invalid. Unknown fields are reported before anything is opened.
            ConfigError: options that conflict, or that would have no effect.
            ManifestError: the folder has no collection.
        """
        if positional:
            raise TypeError(f"{type(self).__name__} takes only keywords: kb=..., or location= and embedding=")
        kb = None
        if "kb" in fields:
            check_kb(fields["kb"], f"{type(self).__name__}(location=..., embedding=...)")
        if location is not None and "kb" not in fields:
            given = {name: fields.pop(name) for name in _opening(type(self), location) if name in fields}
            if fields.keys() - type(self).model_fields.keys():
                super().__init__(**{"location": location, **fields})  # raises, and names the unknown fields
            fields["kb"] = kb = open_existing(location, as_embedder(embedding), **given)
        elif location is not None or not (embedding is None or embedding is RECORDED):
            raise ValueError("pass kb=, or location= and embedding=; one without the other would do nothing")
        try:
            super().__init__(**fields)
        except BaseException:
            if kb is not None:
                kb.close()
            raise

    @model_validator(mode="before")
    @classmethod
    def _known(cls, values: dict[str, Any]) -> dict[str, Any]:
        if values.keys() <= cls.model_fields.keys():
            return values
        only = "an option of the opening: pass it with location=, or to Retriever.open"
        location = values.get("location")
        opening = _opening(cls, location)
        known = {*cls.model_fields, "location", "embedding", *(opening if "location" in values else ())}
        _check_fields(known, values, cls.__name__, {"where": "filter", **dict.fromkeys(opening, only)})
        return values

    @classmethod
    def from_store(cls, store: Any, **fields: Any) -> Self:
        """Create a retriever that shares the collection of a `TheodoliteVectorStore`."""
        return cls(kb=store.kb, **fields)

    @model_validator(mode="after")
    def _check(self) -> Self:
        # Report invalid options here, not at the first query.
        if self.rerank is not None:
            self.rerank = as_stage(self.rerank)
        # The first search would exhaust an iterator.
        self.boosts, self.versions = reusable(self.boosts), reusable(self.versions)
        view, asked, _ = self._asked({})
        if "where" in asked:
            self.kb.scoped(asked["where"])
        none = np.empty((0, 1), np.float32)  # any dimension is valid when there are no vectors
        words: list[str] | None = [] if self.mode != "dense" or self.rerank is not None else None
        view.search_many(words, vectors=none, **asked)
        return self

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun, **options: Any
    ) -> list[Document]:
        view, asked, scored = self._asked(options)
        return documents_of(view.search(query, **asked), with_scores=scored)

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun, **options: Any
    ) -> list[Document]:
        view, asked, scored = self._asked(options)
        return documents_of(await view.asearch(query, **asked), with_scores=scored)

    def _asked(self, given: Mapping[str, Any]) -> tuple[Retriever, dict[str, Any], bool]:
        """Return the collection or scope to search, the arguments of its `search`, and whether to add scores."""
        given = {name: value for name, value in given.items() if name != "verbose"}  # LangChain's own
        check_names(given, OPTIONS | {"coverage", "with_scores"}, "the retriever", HINTS)
        options = {name: getattr(self, name) for name in OPTIONS if name != "scope"} | given
        scored = options.pop("with_scores", self.with_scores)
        # Arguments of a call take precedence over the fields.
        own = None if "k" in given else self.coverage
        coverage = options.pop("coverage", own)
        view, asked = prepare(scoped(self.kb, self.scope), **options)
        if coverage is not None:
            chosen = "k" in (given if "coverage" in given else self.model_fields_set)
            asked = {**asked, "k": asked["k"] if chosen else None, "coverage": coverage}
        return view, asked, scored

    def _get_ls_params(self, **kwargs: Any) -> LangSmithRetrieverParams:
        params = super()._get_ls_params(**kwargs)
        params["ls_vector_store_provider"] = "theodolite"
        embedder = loaded_embedder(self.kb)
        if embedder is not None:
            embeddings = getattr(embedder, "embeddings", embedder)
            params["ls_embedding_provider"] = type(embeddings).__name__
        return _with_model(params, embedder)


class TheodoliteVectorStoreRetriever(VectorStoreRetriever):
    """The retriever that `TheodoliteVectorStore.as_retriever` returns. It rejects unknown options.

    Unknown fields and unknown `search_kwargs` raise an error at construction. The search type `hybrid`, by similarity
    and words, is available beside LangChain's own.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    allowed_search_types: ClassVar[tuple[str, ...]] = ("similarity", "similarity_score_threshold", "mmr", "hybrid")

    @model_validator(mode="before")
    @classmethod
    def _strict(cls, values: dict[str, Any]) -> dict[str, Any]:
        hints = {name: f"search_kwargs={{{name!r}: ...}}" for name in _STORE_OPTIONS}
        _check_fields(cls.model_fields, values, cls.__name__, hints)
        given = values.get("search_kwargs") or {}
        check_names(given, _STORE_OPTIONS, "search_kwargs", HINTS)
        threshold = given.get("score_threshold")
        if isinstance(threshold, int) and not isinstance(threshold, bool):  # LangChain accepts only floats
            values = {**values, "search_kwargs": {**given, "score_threshold": float(threshold)}}
        return values

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun, **kwargs: Any
    ) -> list[Document]:
        if self.search_type == "hybrid":
            return self.vectorstore.similarity_search(query, **_hybrid(self.search_kwargs | kwargs))
        return super()._get_relevant_documents(query, run_manager=run_manager, **kwargs)

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun, **kwargs: Any
    ) -> list[Document]:
        if self.search_type == "hybrid":
            return await self.vectorstore.asimilarity_search(query, **_hybrid(self.search_kwargs | kwargs))
        return await super()._aget_relevant_documents(query, run_manager=run_manager, **kwargs)

    def _get_ls_params(self, **kwargs: Any) -> LangSmithRetrieverParams:
        kb = getattr(self.vectorstore, "kb", None)
        return _with_model(super()._get_ls_params(**kwargs), None if kb is None else loaded_embedder(kb))


def _with_model(params: LangSmithRetrieverParams, embedder: Any) -> LangSmithRetrieverParams:
    """Return the tracing parameters, with the name of the embedding model if it has one."""
    embeddings = getattr(embedder, "embeddings", embedder)
    model = getattr(embeddings, "model_name", None) or getattr(embeddings, "model", None)
    if isinstance(model, str):
        params["ls_embedding_model"] = model
    return params


def _opening(retriever: type[TheodoliteRetriever], location: Any) -> Collection[str]:
    """Return the options for opening a collection, without those that are also search options."""
    return opening_options(location) - {"create", *retriever.model_fields}


def _hybrid(options: dict[str, Any]) -> dict[str, Any]:
    mode = options.get("mode") or "hybrid"
    if isinstance(mode, Fusion):
        return options
    if mode != "hybrid":
        raise ValueError(f"mode is {options['mode']!r}, and search_type 'hybrid': pass one of them")
    return {**options, "mode": "hybrid"}


def _check_fields(known: Collection[str], values: Mapping[str, Any], what: str, *hints: Mapping[str, str]) -> None:
    """Raise ValueError with suggestions for unknown fields. Pydantic reports it as a ValidationError."""
    try:
        check_names(values, known, what, *hints)
    except TypeError as error:
        raise ValueError(str(error)) from None
