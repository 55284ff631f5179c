"""The search options that commands share: how they are written, and the `SearchOptions` that they make."""

from collections.abc import Sequence
from typing import Annotated, cast, get_args

import typer

from theodolite.cli.options import parse_choice, parse_where, usage_errors
from theodolite.errors import InputError
from theodolite.protocols import Boost
from theodolite.ranking.boosts import Authority, Freshness
from theodolite.ranking.options import SearchOptions
from theodolite.ranking.versions import Latest, Rule, Superseded, SupersededPolicy, Valid
from theodolite.types import Mode

_WEIGHT = 0.2  # of a boost, by default
MODES: tuple[str, ...] = get_args(Mode)
OTHER_MODES = {
    "bm25": "lexical",
    "keyword": "lexical",
    "sparse": "lexical",
    "semantic": "dense",
    "vector": "dense",
    "fusion": "hybrid",
}
_SUPERSEDED: tuple[str, ...] = get_args(SupersededPolicy)


def _parse_superseded(text: str) -> str:
    if ":" in text:
        raise typer.BadParameter(f"{text!r} is a rule; pass it as --superseded-by {text}")
    return parse_choice(_SUPERSEDED)(text)


ModeName = Annotated[
    str,
    typer.Option(
        "--mode",
        metavar="|".join(MODES),
        parser=parse_choice(MODES, OTHER_MODES),
        help="dense (by meaning), lexical (by words) or hybrid (both).",
    ),
]
FreshnessBoost = Annotated[
    str | None,
    typer.Option(
        "--freshness", metavar="FIELD:HALF_LIFE[:WEIGHT]", help="Prefer recent documents: published:180d:0.2."
    ),
]
AuthorityBoost = Annotated[
    str | None,
    typer.Option(
        "--authority", metavar="FIELD:LEVELS[:WEIGHT]", help="Prefer some sources: source:policy=1,wiki=0.6:0.2."
    ),
]
LatestRule = Annotated[
    str | None,
    typer.Option("--latest", metavar="PER:BY", help="Only the latest version: policy_id:effective_from."),
]
ValidRule = Annotated[
    str | None,
    typer.Option("--valid", metavar="START:END", help="Only documents in force: valid_from:valid_until."),
]
SupersededRule = Annotated[
    str | None,
    typer.Option(
        "--superseded-by",
        metavar="KEY:BY[:REPLACES[:SINCE]]",
        help="No documents that others replace: pep:superseded_by:replaces:created.",
    ),
]
SupersededChoice = Annotated[
    str,
    typer.Option(
        "--superseded",
        metavar="|".join(_SUPERSEDED),
        parser=_parse_superseded,
        help="Documents that are no longer current: hide, show (marked), or substitute their successors for those "
        "that match the filter.",
    ),
]
AsOf = Annotated[str | None, typer.Option("--as-of", metavar="DATE", help="Search as of this date instead of now.")]
MinRelevance = Annotated[float | None, typer.Option("--min-relevance", help="No hits of lower relevance.")]
RerankName = Annotated[str | None, typer.Option("--rerank", metavar="NAME", help="A cross-encoder's name or folder.")]
Diversity = Annotated[float, typer.Option("--diversity", help="How much the hits should differ, from 0 to 1.")]
Dedupe = Annotated[
    float | None, typer.Option("--dedupe", metavar="COSINE", help="Merge near-duplicates into one hit: 0.97.")
]


def search_options(
    *,
    k: int | None,
    where: str | None,
    mode: str,
    freshness: str | None = None,
    authority: str | None = None,
    latest: str | None = None,
    valid: str | None = None,
    superseded_by: str | None = None,
    superseded: str = "hide",
    as_of: str | None = None,
    min_relevance: float | None = None,
    rerank: str | None = None,
    diversity: float = 0.0,
    dedupe: float | None = None,
    coverage: float | None = None,
) -> SearchOptions:
    """Return the options of a search. Raises the errors of `SearchOptions`, with the names of the command line."""
    return SearchOptions(
        k=k,
        where=parse_where(where),
        mode=cast("Mode", mode),
        boosts=_boosts(freshness, authority),
        versions=_rules(latest, valid, superseded_by),
        as_of=as_of,
        superseded=cast("SupersededPolicy", superseded),
        min_relevance=min_relevance,
        rerank=rerank,
        diversity=diversity,
        dedupe=dedupe,
        coverage=coverage,
    )


def _boosts(freshness: str | None, authority: str | None) -> list[Boost]:
    boosts: list[Boost] = []
    if freshness is not None:
        field, half_life, *weight = _parts("--freshness", freshness, 2, 3)
        with usage_errors("--freshness"):
            boosts.append(Freshness(field, half_life, _weight("--freshness", weight)))
    if authority is not None:
        field, table, *weight = _parts("--authority", authority, 2, 3)
        with usage_errors("--authority"):
            boosts.append(Authority(field, _levels(table), weight=_weight("--authority", weight)))
    return boosts


def _rules(latest: str | None, valid: str | None, superseded_by: str | None) -> list[Rule] | None:
    """Return the given rules; None for the collection's own."""
    rules: list[Rule] = []
    if latest is not None:
        per, by = _parts("--latest", latest, 2, 2)
        with usage_errors("--latest"):
            rules.append(Latest(per, by))
    if valid is not None:
        start, end = _parts("--valid", valid, 2, 2)
        with usage_errors("--valid"):
            rules.append(Valid(start or None, end or None))
    if superseded_by is not None:
        key, *links = (part or None for part in _parts("--superseded-by", superseded_by, 2, 4))
        with usage_errors("--superseded-by"):
            rules.append(Superseded(key or "", *links))
    return rules or None


def _parts(option: str, text: str, least: int, most: int) -> list[str]:
    parts = text.split(":")
    if not least <= len(parts) <= most:
        count = str(least) if least == most else f"{least} to {most}"
        raise InputError(f"{option} is {text!r}; expected {count} parts separated by colons: see search --help")
    return parts


def _weight(option: str, given: Sequence[str]) -> float:
    return _number(option, given[0]) if given else _WEIGHT


def _levels(table: str) -> dict[str, float]:
    levels = {}
    for entry in table.split(","):
        name, equals, level = entry.rpartition("=")
        if not equals:
            raise InputError(f"--authority: {entry!r} has no level; write source:policy=1,wiki=0.6")
        levels[name.strip()] = _number("--authority", level)
    return levels


def _number(option: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InputError(f"{option}: {text!r} is not a number") from None
