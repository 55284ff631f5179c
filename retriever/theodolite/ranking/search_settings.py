"""Search settings: what decides which documents a search finds and how they score, as JSON, to recognize it later."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from theodolite.filters import to_dict
from theodolite.protocols import Fusion, Scope
from theodolite.ranking.options import SearchOptions
from theodolite.ranking.relevance import Relevance
from theodolite.ranking.versions import Rule

if TYPE_CHECKING:  # imported where a search is reranked
    from theodolite.rerankers.stage import Rerank


def settings_of(
    options: SearchOptions, scope: Scope | None, rules: Sequence[Rule], relevance: Relevance | None
) -> dict[str, Any]:
    """Return the settings of a search that differ from a plain one, as JSON values by name.

    Left out is what changes neither the first hit nor any score: `k`, `dedupe` and `diversity`.

    Args:
        rules: the collection's own rules for versions.
        relevance: how similarity becomes relevance.
    """
    found: dict[str, Any] = {}
    if scope is not None:
        found["scope"] = scope_settings(scope)
    if options.where is not None:
        found["where"] = to_dict(options.where)
    if options.arms != "dense":
        found["mode"] = options.arms if options.fusion == Fusion() else repr(options.fusion)
    if options.boosts:
        found["boosts"] = [repr(boost) for boost in options.boosts]
    rules = rules if options.versions is None else options.versions
    if rules:
        found["versions"] = [repr(rule) for rule in rules]
    if options.superseded != "hide":
        found["superseded"] = options.superseded
    if options.as_of is not None:
        found["as_of"] = options.as_of.isoformat()
    if options.min_relevance is not None:
        found["min_relevance"] = options.min_relevance
    if options.needs_relevance and relevance is not None and (relevance.floor or relevance.mapping is not None):
        found["relevance"] = [relevance.floor, _name(relevance.mapping)]
    if options.rerank is not None:
        found["rerank"] = _reranker(options.rerank)
    if options.accept is not None:
        found["accept"] = _name(options.accept)
    return found


def scope_settings(scope: Scope | None) -> list[Any] | None:
    """Return a scope as JSON values; None for the whole collection."""
    if scope is None:
        return None
    return [scope.partition, None if scope.where is None else to_dict(scope.where)]


def as_text(settings: dict[str, Any]) -> str:
    """Return settings as text: equal for equal settings."""
    return json.dumps(settings, sort_keys=True, ensure_ascii=False) if settings else "{}"


def describe(settings: dict[str, Any]) -> str:
    """Describe a search in words, by its settings: "hybrid search with where and boosts"."""
    names = [name for name in settings if name not in ("mode", "scope")]
    mode = settings.get("mode", "dense")
    words = f"{mode if mode in ('dense', 'lexical', 'hybrid') else 'hybrid'} search"
    if names:
        words += f" with {', '.join(names)}"
    return f"{words} in a scope" if "scope" in settings else words


def _reranker(stage: "Rerank") -> list[Any]:
    shown = repr(stage.reranker)
    is_same_everywhere = " at 0x" not in shown  # no address
    return [shown if is_same_everywhere else _name(type(stage.reranker)), stage.candidates, stage.min_relevance]


def _name(part: Any) -> str | None:
    """Return a name by which a function or a class is recognized in another process."""
    if part is None:
        return None
    named = part if hasattr(part, "__qualname__") else type(part)
    return f"{named.__module__}.{named.__qualname__}"
