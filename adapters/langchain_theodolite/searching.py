"""One search as LangChain asks for it: names checked, filters of both kinds, thresholds on relevance."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import fields
from difflib import get_close_matches
from inspect import signature
from typing import Any

from langchain_theodolite.documents import from_core
from langchain_theodolite.filters import split_filter
from langchain_theodolite.rerankers import as_stage
from theodolite import MMR, ConfigError, EmbedderOptions, Hit, InputError, Retriever

_EMBEDDER = frozenset(field.name for field in fields(EmbedderOptions)) - {"embedder"}

OPENING = (
    frozenset(signature(Retriever.open).parameters) - {"location", "embedder", "engine"}
    | _EMBEDDER
    | {"lock_timeout", "trust_index", "compact_at"}
)
"""The options of the opening, those of the embedder and of a folder among them."""

_OWN = {"now", "include_superseded", "substitute", "fusion"}

RANKING = (
    frozenset(signature(Retriever.search).parameters)
    - {"self", "query", "vector", "like", "k", "where", "accept", "superseded"}
) | _OWN
"""The options of ranking."""

OPTIONS = RANKING | {"k", "filter", "scope", "score_threshold"}
"""What every search takes."""

_ELSEWHERE = {
    "where": "filter",
    "where_document": "mode='lexical'",
    "metadata_filter": "filter",
    "pre_filter": "filter",
    "top_k": "k",
    "search_type": "the method of that name, or mode='hybrid'",
}


def check_names(given: Iterable[str], known: Collection[str], what: str, hints: Mapping[str, str] = _ELSEWHERE) -> None:
    """Raises TypeError for names that are not known, with what may have been meant."""
    names: list[str] = []
    for name in given:
        if name in known:
            continue
        names = names or sorted(known)
        close = get_close_matches(name, names, n=1)
        if name in hints:
            meant = f"here that is {hints[name]}"
        else:
            meant = f"did you mean {close[0]!r}?" if close else f"it takes {', '.join(names)}"
        raise TypeError(f"{what} takes no {name!r}; {meant}")


def search(kb: Retriever, **options: Any) -> list[Hit]:
    """The k best hits, best first.

    Args:
        query: the question; or `vector`, or both (see `Retriever.search`).
        k: how many.
        filter: a dict, a filter of theodolite, or a function of a LangChain document.
        scope: what is outside of it is not there: fields with their values, or a filter.
        score_threshold: in [0, 1], on relevance; with `rerank`, on the reranker's calibrated score.
        fetch_k: how many candidates `lambda_mult` chooses from. Nothing else needs it: filters come first.
        lambda_mult: from 0, as different as can be, to 1, as near to the question as can be.
        others: as in `Retriever.search`.

    Raises:
        ValueError: options that do not fit. TypeError: there is no such option.
    """
    view, asked = prepare(kb, **options)
    return list(view.search(**asked))


async def asearch(kb: Retriever, **options: Any) -> list[Hit]:
    """The same, without blocking the event loop."""
    view, asked = prepare(kb, **options)
    return list(await view.asearch(**asked))


def relevance_of(hit: Hit) -> float:
    """How relevant a hit is, in [0, 1]: the reranker's calibrated score, or for cosine the cosine, at least 0.

    Raises:
        ConfigError: it has none: found by words, or by dot products that are not mapped.
    """
    for name in ("rerank_relevance", "relevance"):
        if name in hit.scores:
            return min(1.0, max(0.0, hit.scores[name]))
    raise ConfigError(
        f"document {hit.document.id!r} has no relevance: in lexical and hybrid mode only a reranker gives one, and dot "
        "products need relevance=, a function, where the store is opened"
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
    """Where to search, and what for.

    Raises:
        InputError, ConfigError, FilterError: options that do not fit. TypeError: there is no such option.
    """
    check_names(options, RANKING | {"query", "vector"}, "a search")
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
            raise InputError("score_threshold is min_relevance where nothing is reranked: pass one of them")
        asked["min_relevance"] = threshold
    where, passes = split_filter(filter)
    if where is not None:
        asked["where"] = where
    if passes is not None:
        asked["accept"] = lambda passage: passes(from_core(passage))
    return scoped(kb, scope), translated(asked)


def translated(asked: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options as `Retriever.search` takes them."""
    options = {name: value for name, value in asked.items() if name not in _OWN and value is not None}
    now, fusion = asked.get("now"), asked.get("fusion")
    if now is not None and (options.get("boosts") or options.get("versions")):
        options.setdefault("as_of", now)
    if asked.get("include_superseded"):
        options["superseded"] = "show"
    elif asked.get("substitute"):
        options["superseded"] = "substitute"
    if fusion is not None:
        if options.get("mode") != "hybrid":
            raise ConfigError(f"fusion is for mode='hybrid', not for {options.get('mode')!r}")
        options["mode"] = fusion
    return options


def opened(location: Any, embedder: Any, **options: Any) -> Retriever:
    """Open a collection; options of the embedder stand beside the others."""
    own = {name: options.pop(name) for name in _EMBEDDER if name in options}
    return Retriever.open(location, embedder=EmbedderOptions(embedder, **own), **options)


def collection(given: Any, what: str) -> Retriever:
    """The collection that a caller passes, or that the store they pass holds. Raises InputError for anything else."""
    kb = getattr(given, "kb", given)
    if not isinstance(kb, Retriever):
        raise InputError(f"{what} takes a TheodoliteVectorStore or its Retriever, not {type(given).__name__}")
    return kb


def scoped(kb: Retriever, scope: Any) -> Retriever:
    """What of a collection a scope shows: fields with their values, or a filter; None shows all."""
    if scope is None:
        return kb
    # Plain fields may name a partition, which a filter does not.
    plain = isinstance(scope, Mapping) and all(isinstance(name, str) and name[:1] != "$" for name in scope)
    return kb.scoped(**scope) if plain else kb.scoped(scope)


def checked_threshold(threshold: Any) -> float | None:
    """A threshold on relevance; None for 0, which everything reaches. Raises InputError for no number in [0, 1]."""
    if threshold is None:
        return None
    if isinstance(threshold, bool) or not isinstance(threshold, (int, float)) or not 0 <= threshold <= 1:
        raise InputError(f"score_threshold is {threshold!r}; it must be a number in [0, 1]")
    return float(threshold) or None
