"""What searches share: names checked, parts of a collection, the options that pass through."""

from collections.abc import Collection, Iterable, Mapping
from difflib import get_close_matches
from inspect import signature
from typing import Any

from theodolite import Retriever

RANKING = frozenset(signature(Retriever.search).parameters) - {
    *("self", "query", "vector", "like", "k", "where", "mode", "accept", "diversity", "pool")
}
"""The options of `Retriever.search` that pass through unchanged."""

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


def check_names(given: Iterable[str], known: Collection[str], what: str, hints: Mapping[str, str] = HINTS) -> None:
    """Raises TypeError for names that are not known, with what may have been meant."""
    for name in given:
        if name in known:
            continue
        close = get_close_matches(name, sorted(known), n=1)
        if name in hints:
            meant = f"here that is {hints[name]}"
        elif close:
            meant = f"did you mean {close[0]!r}?"
        else:
            meant = f"it takes {', '.join(sorted(known))}" if known else "it takes no further arguments"
        raise TypeError(f"{what} takes no {name!r}; {meant}")


def scoped(kb: Retriever, scope: Any) -> Retriever:
    """What of a collection a scope shows: fields with their values, or a filter; None shows all."""
    if scope is None:
        return kb
    # Plain fields may name a partition, which a filter does not.
    plain = isinstance(scope, Mapping) and all(isinstance(name, str) and name[:1] != "$" for name in scope)
    return kb.scoped(**scope) if plain else kb.scoped(scope)
