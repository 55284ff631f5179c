"""Shared by adapters to other frameworks: keywords, opening, scopes, embeddings, rerank stages, scores.

`langchain_theodolite` and `llama_index_theodolite` use it; your own adapters may use it, too.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from inspect import signature
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from theodolite.embedders.options import RECORDED, EmbedderOptions
from theodolite.embedders.resolve import resolve
from theodolite.engines.registry import engine_for
from theodolite.errors import ConfigError, InputError, VectorError, type_of
from theodolite.protocols import Embedder
from theodolite.ranking.options import as_rerank as as_stage
from theodolite.retriever import Retriever
from theodolite.types import Hit, Hits
from theodolite.wrong_calls import RENAMED, unknown_name

if TYPE_CHECKING:  # imported when something is reranked
    from theodolite.rerankers.stage import Rerank

__all__ = [
    "HIT_DETAILS",
    "RECORDED",
    "SEARCH_OPTIONS",
    "as_collection",
    "as_lists",
    "as_rerank",
    "await_each",
    "check_count",
    "check_kb",
    "check_names",
    "check_order",
    "embeds_texts",
    "ensure_created",
    "hit_details",
    "loaded_embedder",
    "open_collection",
    "open_existing",
    "opening_options",
    "resolve_embedder",
    "reusable",
    "scoped",
    "verdict_details",
]

Side = Literal["query", "document"]

SEARCH_OPTIONS = frozenset(signature(Retriever.search).parameters) - {"self", "query", "vector", "like", "coverage"}
"""The names of the options of a search for k hits. Stores are always asked for k hits, which `coverage` excludes."""

HIT_DETAILS = "theodolite"
"""The metadata key under which adapters put `hit_details`."""

_EMBEDDER_OPTIONS = frozenset(field.name for field in fields(EmbedderOptions)) - {"embedder"}
_OWN_OPTIONS = frozenset(signature(Retriever.open).parameters) - {"location", "embedder", "engine"}
_TOGETHER = 16  # queries sent to a service at once: services limit how many they accept


def check_names(
    given: Iterable[str], known: Collection[str], what: str, hints: Mapping[str, str] | None = None
) -> None:
    """Raise TypeError for the first name that is not known, with the name that was probably meant.

    Args:
        given: names of keyword arguments.
        known: the names that `what` takes.
        what: the callable, as the message names it.
        hints: replacements for some unknown names.
    """
    for name in given:
        if name not in known:
            raise unknown_name(what, name, known, (hints or {}).get(name) or RENAMED.get(name))


def opening_options(location: Any = None) -> frozenset[str]:
    """Return the names of the options for opening: those of `Retriever.open`, `EmbedderOptions` and the engine."""
    try:
        declared = engine_for(location, {}).declared
    except (InputError, TypeError):  # opening it will raise the error
        declared = None
    return _OWN_OPTIONS | _EMBEDDER_OPTIONS | frozenset(declared or ())


def check_order(location: Any, embedder: Any, order: str) -> None:
    """Raise InputError if a collection is passed as its location or embedder, or if the arguments are swapped.

    Args:
        order: the right call, for the message.
    """
    for name, given in (("location", location), ("the embedder", embedder)):
        if isinstance(given, Retriever):
            raise InputError(f"{name} is {type_of(given)}; an open collection goes to from_retriever")
    if not (location is None or isinstance(location, (str, PathLike))):
        raise InputError(f"location is {type_of(location)}; it must be a folder or a URL, and the order is {order}")


def check_kb(kb: Any, store: str) -> None:
    """Raise ConfigError for a `kb` that is not a collection.

    Args:
        store: the call that opens a folder instead, for the message.
    """
    if not isinstance(kb, Retriever):
        hint = f". A folder goes to {store}" if isinstance(kb, (str, PathLike)) else ""
        raise ConfigError(f"kb is {type_of(kb)}; it must be a theodolite.Retriever{hint}")


def open_collection(location: Any, embedder: Any = RECORDED, **options: Any) -> Retriever:
    """Open a collection. `options` are those of `opening_options`; embedder options are passed by name."""
    own = {name: options.pop(name) for name in _EMBEDDER_OPTIONS if name in options}
    return Retriever.open(location, embedder=EmbedderOptions(embedder, **own), **options)


def open_existing(location: Any, embedder: Any = RECORDED, **options: Any) -> Retriever:
    """Open a collection that must exist; read-only by default if its folder cannot be written to."""
    is_folder = isinstance(location, (str, PathLike)) and os.path.isdir(location)
    options.setdefault("read_only", is_folder and not os.access(location, os.W_OK))
    return open_collection(location, embedder, create=False, **options)


def loaded_embedder(kb: Retriever) -> Embedder | None:
    """Return the embedder if it was passed, or loaded for an earlier text; else None. Loads nothing."""
    texts = kb._session.parts.texts
    return texts.encoder.embedder if texts.is_made else None


def embeds_texts(kb: Retriever) -> bool:
    """Return whether texts can be searched: an embedder was passed, or one is recorded. Loads nothing."""
    try:
        kb._session.parts.texts.check_available()
    except ConfigError:
        return False
    return True


def ensure_created(kb: Retriever) -> None:
    """Create the collection if it does not exist, for files that its folder holds before the first document."""
    kb._session.create()


def as_collection(given: Any, what: str, store: str) -> Retriever:
    """Return the collection that a caller passes, or that the passed store holds as `kb`.

    Args:
        what: the callable, as the message names it.
        store: the name of the adapter's store, for the message.

    Raises:
        InputError: it is neither.
    """
    kb = getattr(given, "kb", given)
    if not isinstance(kb, Retriever):
        hint = f"; open a folder with Retriever.open({str(given)!r})" if isinstance(given, (str, PathLike)) else ""
        hint = "; its store is index.vector_store" if hasattr(given, "vector_store") else hint
        kind = type(given).__name__
        raise InputError(f"{what} takes a theodolite Retriever or a {store}, not {kind}{hint}")
    return kb


def scoped(kb: Retriever, scope: Any) -> Retriever:
    """Return the view of a scope: fields with their values, or a filter; None returns the collection itself."""
    if scope is None:
        return kb
    # Plain fields may name a partition; a filter may not.
    plain = isinstance(scope, Mapping) and all(isinstance(name, str) and name[:1] != "$" for name in scope)
    return kb.scoped(**scope) if plain else kb.scoped(scope)


def reusable(given: Any) -> Any:
    """Return an iterator's items as a tuple, so that several searches can use them; anything else unchanged."""
    return tuple(given) if isinstance(given, Iterator) else given


def as_rerank(reranker: Any, min_relevance: float | None = None) -> "Rerank":
    """Return a rerank stage, with a threshold on its calibrated scores. A named model is loaded once.

    Raises:
        ConfigError, MissingExtraError: see `theodolite.Rerank`.
    """
    stage = as_stage(reranker)
    return stage if min_relevance is None else replace(stage, min_relevance=min_relevance)


def resolve_embedder(embedder: Any) -> Embedder:
    """Return the embedder that `Retriever.open(embedder=...)` would use.

    Raises:
        TypeError: it is None. ConfigError, MissingExtraError: see `Retriever.open`.
    """
    resolved = resolve(embedder)
    if resolved is None:
        raise TypeError("embedder is None; pass a model's name, or an object with encode_query and encode_document")
    return resolved


async def await_each(embed: Callable[[str], Awaitable[Any]], texts: Sequence[str]) -> list[Any]:
    """Await one call for each text, some at a time, for services that embed one query a call."""
    vectors: list[Any] = []
    for start in range(0, len(texts), _TOGETHER):
        vectors += await asyncio.gather(*map(embed, texts[start : start + _TOGETHER]))
    return vectors


def check_count(side: Side, texts: Sequence[str], vectors: Any, source: str) -> None:
    """Raise VectorError unless `source` returned a list or an array with one vector for each text."""
    if not isinstance(vectors, (list, tuple, np.ndarray)):
        raise VectorError(f"{source} returned {type_of(vectors)} for {side} texts; expected a list of vectors")
    if len(vectors) != len(texts):
        raise VectorError(
            f"{source} returned {len(vectors)} vectors for {len(texts)} {side} texts; each needs one",
            expected=len(texts),
            got=len(vectors),
        )


def as_lists(vectors: Any) -> list[list[float]]:
    """Return vectors, (n, d), of numpy or torch as lists of floats."""
    rows = vectors.detach().cpu().numpy() if hasattr(vectors, "detach") else np.asarray(vectors)
    listed: list[list[float]] = rows.astype(np.float64).tolist()
    return listed


def hit_details(hit: Hit) -> dict[str, Any]:
    """Return a hit's `score`, `scores` and `rank`, and its `version` and `duplicates` if it has any, as JSON values."""
    explained = hit.explain().to_dict()
    return {
        name: explained[name]
        for name in ("score", "scores", "rank", "version", "duplicates")
        if explained[name] or name in ("score", "scores", "rank")
    }


def verdict_details(hits: Hits) -> dict[str, Any]:
    """Return the verdict on hits as JSON values under `verdict`; empty if searches are not calibrated."""
    return {} if hits.verdict is None else {"verdict": hits.verdict.to_dict()}
