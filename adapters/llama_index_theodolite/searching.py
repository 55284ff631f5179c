"""A LlamaIndex search: checks keyword names, and converts modes, top_k, thresholds and ids for the core."""

import logging
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from llama_index.core.vector_stores.types import VectorStoreQuery, VectorStoreQueryMode

from llama_index_theodolite.documents import SOURCE, TYPE
from llama_index_theodolite.filters import as_where
from theodolite import MMR, ConfigError, F, Fusion, InputError, Retriever
from theodolite.integration import SEARCH_OPTIONS, check_names, embeds_texts, scoped

_LOGGER = logging.getLogger(__name__)

RANKING = SEARCH_OPTIONS - {"k", "where", "mode", "accept", "diversity"}
"""The search options that affect ranking."""

HINTS = {
    "filter": "filters, of the query",
    "where": "filters, of the query",
    "metadata_filters": "filters, of the query",
    "k": "similarity_top_k, of the query",
    "top_k": "similarity_top_k, of the query",
    "diversity": "mmr_threshold, which is 1 - diversity, in mode MMR",
    "mmr_prefetch_factor": "pool, a number of nodes",
    "fetch_k": "pool",
}

_OPTIONS = RANKING | {"mmr_threshold", "pool", "scope"}
_LEXICAL = (VectorStoreQueryMode.TEXT_SEARCH, VectorStoreQueryMode.SPARSE)
_MODES = (VectorStoreQueryMode.DEFAULT, VectorStoreQueryMode.MMR, VectorStoreQueryMode.HYBRID, *_LEXICAL)
ID = "$id"  # the core's name for a document's id in filters
_POINTING = ("IndexNode", "ImageNode")


def asked(
    kb: Retriever, query: VectorStoreQuery, kwargs: dict[str, Any]
) -> tuple[Retriever | None, dict[str, Any], str | None]:
    """Return the scope to search (None: no results), the search arguments, and the score to report (None: the hit's).

    Raises:
        ValueError, ConfigError: options are invalid or conflict. TypeError: a keyword is unknown.
    """
    if not isinstance(query, VectorStoreQuery):
        raise InputError(f"query takes a VectorStoreQuery, not {type(query).__name__}; a retriever takes questions")
    check_names(kwargs, _OPTIONS, "query", HINTS)
    if query.mode not in _MODES:
        names = ", ".join(mode.value for mode in _MODES)
        raise InputError(f"mode is {getattr(query.mode, 'value', query.mode)!r}; it must be one of {names}")
    mode = VectorStoreQueryMode(query.mode)  # query.mode may be a string
    options = {name: value for name, value in kwargs.items() if value is not None}
    threshold, scope = options.pop("mmr_threshold", query.mmr_threshold), options.pop("scope", None)
    view = scoped(kb, scope)
    where = within(as_where(query.filters), query.doc_ids, query.node_ids or None)
    if query.node_ids:
        _warn_of_pointing(view, query.node_ids)
    options |= {"k": query.similarity_top_k, "where": where}
    ranked = bool(options.get("boosts")) or options.get("rerank") is not None
    if mode in _LEXICAL:
        options |= {"query": _words(query), "mode": "lexical", "k": query.sparse_top_k or query.similarity_top_k}
    elif mode is VectorStoreQueryMode.HYBRID:
        options |= {"query": _words(query), "mode": "hybrid", "k": query.hybrid_top_k or query.similarity_top_k}
        options |= _vector(view, query)
        if query.alpha is not None:
            options["mode"] = Fusion(dense=_share(query.alpha, "alpha"), lexical=1 - query.alpha)
    else:
        options |= _vector(view, query)
        if "vector" not in options or options.get("rerank") is not None:
            options["query"] = _words(query)
    if mode is VectorStoreQueryMode.MMR:
        options["diversity"] = 1 - _share(0.5 if threshold is None else threshold, "mmr_threshold")
        pool = options.pop("pool", None)
        if options["diversity"] and pool is not None:
            options["diversity"] = MMR(options["diversity"], pool=pool)
    elif kwargs.get("mmr_threshold") is not None:
        raise InputError(f"mmr_threshold is for mode MMR, not for {mode.value!r}")
    nothing = query.doc_ids is not None and not query.doc_ids
    dense = mode in (VectorStoreQueryMode.DEFAULT, VectorStoreQueryMode.MMR)
    if "pool" in options:
        raise ConfigError("pool would do nothing: it is for mode MMR")
    return None if nothing else view, options, "similarity" if dense and not ranked else None


def within(where: Any, doc_ids: Collection[str] | None = None, node_ids: Collection[str] | None = None) -> Any:
    """Restrict a filter to nodes of these documents and with these ids. None adds no restriction."""
    for field, ids in ((SOURCE, doc_ids), (ID, node_ids)):
        if isinstance(ids, str):
            raise InputError(f"{'doc_ids' if field == SOURCE else 'node_ids'} is one string; pass a list, [{ids!r}]")
        if ids is None:
            continue
        if isinstance(where, Mapping):
            inside: Any = {ID: list(ids)} if field == ID else {"$or": [{field: list(ids)}, {ID: []}]}
            where = {"$and": [where, inside]}
        else:
            inside = F.ids(ids) if field == ID else of_documents(ids)
            where = inside if where is None else where & inside
    return where


def of_documents(ids: Collection[str]) -> Any:
    """Return a filter for the nodes of these documents. `F.ids([])` matches no node; it marks the field as optional."""
    return F(SOURCE).isin(ids) | F.ids([])


def _vector(view: Retriever, query: VectorStoreQuery) -> dict[str, Any]:
    """Return the query's vector, or an empty dict if the collection's embedder can embed the query text."""
    if query.query_embedding is not None:
        return {"vector": np.asarray(query.query_embedding)}
    if not (query.query_str and embeds_texts(view)):
        raise InputError(
            f"mode {_name(query)!r} needs query_embedding, and there is none"
            + ("; with embed_model= the store would embed query_str" if query.query_str else " (nor query_str)")
        )
    return {}


def _words(query: VectorStoreQuery) -> str:
    if not query.query_str:
        raise InputError(f"mode {_name(query)!r} or a reranker needs query_str, which is {query.query_str!r}")
    return query.query_str


def _name(query: VectorStoreQuery) -> str:
    return VectorStoreQueryMode(query.mode).value


def _share(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise InputError(f"{name} is {value!r}; it must be a number in [0, 1]")
    return float(value)


def _warn_of_pointing(view: Retriever, node_ids: Collection[str]) -> None:
    """Log a warning if an index, rather than its user, has restricted a query to some of its nodes."""
    # Read one node first: it is usually of another kind, and then no count is needed.
    if any(passage.metadata.get(TYPE) not in _POINTING for passage in view.get(list(node_ids)[:1])):
        return
    inside = F.ids(node_ids)
    found = view.count(inside)
    if found == view.count(inside & F(TYPE).isin(_POINTING)) and 0 < found < len(view):
        _LOGGER.warning(
            "the query is restricted to %d nodes, all of them IndexNodes or ImageNodes: an index that holds such nodes "
            "passes their ids, and its other nodes are not found. Search with a retriever of theodolite, or "
            "VectorStoreIndex.from_vector_store(store)",
            found,
        )
