"""A LangChain search: checks option names, and handles both kinds of filters and thresholds on relevance."""

from typing import Any

from langchain_theodolite.documents import from_core
from langchain_theodolite.filters import split_filter
from langchain_theodolite.rerankers import as_stage
from theodolite import MMR, ConfigError, Hit, Hits, InputError, Retriever
from theodolite.integration import SEARCH_OPTIONS, as_collection, check_names, scoped

RANKING = SEARCH_OPTIONS - {"k", "where", "accept"}
"""The search options that affect ranking."""

OPTIONS = RANKING | {"k", "filter", "scope", "score_threshold"}
"""The options that every search accepts."""

HINTS = {
    "where": "filter",
    "where_document": "mode='lexical'",
    "metadata_filter": "filter",
    "pre_filter": "filter",
    "top_k": "k",
    "search_type": "the method of that name, or mode='hybrid'",
}


def search(kb: Retriever, **options: Any) -> Hits:
    """Return the k best hits, best first.

    Args:
        query: the query, or pass `vector`, or both (see `Retriever.search`).
        k: the number of hits.
        filter: a dict, a theodolite filter, or a function of a LangChain document.
        scope: limits the search to part of the collection: fields with their values, or a filter.
        score_threshold: in [0, 1], on relevance; with `rerank`, on the reranker's calibrated score.
        fetch_k: the number of candidates that `lambda_mult` selects from. It has no other use: filters apply first.
        lambda_mult: from 0 (most diverse) to 1 (nearest to the query).
        others: as in `Retriever.search`.

    Raises:
        ValueError: options are invalid or conflict. TypeError: an option is unknown.
    """
    view, asked = prepare(kb, **options)
    return view.search(**asked)


async def asearch(kb: Retriever, **options: Any) -> Hits:
    """Return the k best hits without blocking the event loop. See `search`."""
    view, asked = prepare(kb, **options)
    return await view.asearch(**asked)


def relevance_of(hit: Hit) -> float:
    """Return a hit's relevance in [0, 1]: the reranker's calibrated score, or its relevance by similarity.

    Raises:
        ConfigError: the hit has no relevance, because it was found by words, or by dot products without a mapping.
    """
    for name in ("rerank_relevance", "relevance"):
        if name in hit.scores:
            return min(1.0, max(0.0, hit.scores[name]))
    raise ConfigError(
        f"document {hit.document.id!r} has no relevance: in lexical and hybrid mode only a reranker gives one, and dot "
        "products need a function relevance= when the store is opened"
    )


def prepare(
    kb: Retriever,
    *,
    k: int = 4,
    filter: Any = None,
    scope: Any = None,
    score_threshold: float | None = None,
    fetch_k: int | None = None,
    lambda_mult: float | None = None,
    **options: Any,
) -> tuple[Retriever, dict[str, Any]]:
    """Return the collection or view to search, and the arguments of its `search`.

    Raises:
        InputError, ConfigError, FilterError: options are invalid or conflict. TypeError: an option is unknown.
    """
    check_names(options, RANKING | {"query", "vector"}, "a search", HINTS)
    threshold = checked_threshold(score_threshold)
    asked = {name: value for name, value in options.items() if value is not None}
    asked["k"] = k
    if lambda_mult is not None:
        if "diversity" in asked:
            raise InputError("lambda_mult is 1 - diversity: pass one of them")
        if isinstance(lambda_mult, bool) or not isinstance(lambda_mult, (int, float)) or not 0 <= lambda_mult <= 1:
            raise InputError(f"lambda_mult is {lambda_mult!r}; it must be a number in [0, 1]")
        asked["diversity"] = 1 - lambda_mult
    if fetch_k is not None:
        if isinstance(fetch_k, bool) or not isinstance(fetch_k, int) or fetch_k < 1:
            raise InputError(f"fetch_k is {fetch_k!r}; it must be a whole number of at least 1")
        if asked.get("diversity"):
            asked["diversity"] = MMR(asked["diversity"], pool=fetch_k)
    if "rerank" in asked:
        asked["rerank"] = as_stage(asked["rerank"], threshold)
    elif threshold is not None:
        if "min_relevance" in asked:
            raise InputError("score_threshold and min_relevance are the same without a reranker: pass one of them")
        asked["min_relevance"] = threshold
    where, passes = split_filter(filter)
    if where is not None:
        asked["where"] = where
    if passes is not None:
        asked["accept"] = lambda passage: passes(from_core(passage))
    return scoped(kb, scope), asked


def collection(given: Any, what: str) -> Retriever:
    """Return the passed collection, or the collection of the passed store."""
    return as_collection(given, what, "TheodoliteVectorStore")


def checked_threshold(threshold: Any) -> float | None:
    """Return the threshold, or None for 0, which excludes nothing. Raises InputError unless it is in [0, 1]."""
    if threshold is None:
        return None
    if isinstance(threshold, bool) or not isinstance(threshold, (int, float)) or not 0 <= threshold <= 1:
        raise InputError(f"score_threshold is {threshold!r}; it must be a number in [0, 1]")
    return float(threshold) or None
