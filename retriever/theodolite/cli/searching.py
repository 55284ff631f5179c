"""The command that finds: search, with all that ranks."""

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from theodolite.cli import output
from theodolite.cli.app import EmbedderName, In, Json, OnDriftOption, TrustIndex, Where, app, as_filter
from theodolite.cli.opening import bare, with_embedder
from theodolite.errors import InputError
from theodolite.protocols import Boost
from theodolite.ranking.boosts import Authority, Freshness
from theodolite.ranking.versions import Latest, Rule, Superseded, Valid

_WEIGHT = 0.2  # of a boost, unless one is given


@app.command()
def search(
    query: Annotated[str, typer.Argument(metavar="QUERY", help="The question.")],
    in_: In,
    k: Annotated[int, typer.Option("-k", help="How many hits.")] = 5,
    where: Where = None,
    embedder: EmbedderName = None,
    on_drift: OnDriftOption = "refuse",
    mode: Annotated[
        str, typer.Option("--mode", metavar="MODE", help="dense (by meaning), lexical (by words) or hybrid (both).")
    ] = "dense",
    explain: Annotated[bool, typer.Option("--explain", help="Say how each hit came to its place.")] = False,
    freshness: Annotated[
        str | None,
        typer.Option("--freshness", metavar="FIELD:HALF_LIFE[:WEIGHT]", help="Prefer the new: published:180d:0.2."),
    ] = None,
    authority: Annotated[
        str | None,
        typer.Option(
            "--authority", metavar="FIELD:LEVELS[:WEIGHT]", help="Prefer sources: source:policy=1,wiki=0.6:0.2."
        ),
    ] = None,
    latest: Annotated[
        str | None, typer.Option("--latest", metavar="PER:BY", help="Only the newest: policy_id:effective_from.")
    ] = None,
    valid: Annotated[
        str | None, typer.Option("--valid", metavar="START:END", help="Only what is valid: valid_from:valid_until.")
    ] = None,
    superseded: Annotated[
        str | None,
        typer.Option(
            "--superseded",
            metavar="KEY:BY[:REPLACES[:SINCE]]",
            help="Not what others replace: pep:superseded_by:replaces:created.",
        ),
    ] = None,
    as_of: Annotated[str | None, typer.Option("--as-of", metavar="DATE", help="As of this date, not now.")] = None,
    include_superseded: Annotated[
        bool, typer.Option("--include-superseded", help="Also what is no longer current, marked.")
    ] = False,
    substitute: Annotated[
        bool, typer.Option("--substitute", help="Successors in place of documents that pass the filter.")
    ] = False,
    min_relevance: Annotated[float | None, typer.Option("--min-relevance", help="Nothing of less relevance.")] = None,
    rerank: Annotated[
        str | None, typer.Option("--rerank", metavar="NAME", help="A cross-encoder's name or folder.")
    ] = None,
    diversity: Annotated[float, typer.Option("--diversity", help="From 0 to 1: how much hits are to differ.")] = 0.0,
    dedupe: Annotated[
        float | None, typer.Option("--dedupe", metavar="COSINE", help="Near-duplicates as one hit: 0.97.")
    ] = None,
    trust_index: TrustIndex = False,
    json_: Json = False,
) -> None:
    """Find the passages that answer a question best.

    Behind a pipe each hit is a line: rank, score, id and text, separated by tabs. Options act in this order: versions,
    filter, boosts, fusion, relevance, reranking, near-duplicates, diversity.

    \b
    Examples:
      theodolite search "how long do refunds take?" --in kb
      theodolite search "refunds" --in kb -k 3 --where '{"lang": "en", "year": {"$gte": 2024}}'
      theodolite search "refunds" --in kb --json | jq '.hits[].id'
      theodolite search "error E1234" --in kb --mode hybrid --explain
      theodolite search "refunds" --in kb --latest policy_id:effective_from --freshness published:180d
    """
    tree = as_filter(where)
    options: dict[str, Any] = {
        "mode": mode,
        "boosts": _boosts(freshness, authority),
        "versions": _rules(latest, valid, superseded),
        "as_of": as_of,
        "include_superseded": include_superseded,
        "substitute": substitute,
        "min_relevance": min_relevance,
        "rerank": rerank,
        "diversity": diversity,
        "dedupe": dedupe,
    }
    lexical = mode == "lexical"
    with bare(in_) if lexical else with_embedder(in_, embedder, on_drift, quiet=json_, trust_index=trust_index) as kb:
        hits = kb.search(query, k=k, where=tree, **options)
    if json_:
        output.say_json(output.hits_as_json(query, hits, explain=explain))
    else:
        output.show_hits(hits, explain=explain)


def _boosts(freshness: str | None, authority: str | None) -> list[Boost]:
    boosts: list[Boost] = []
    if freshness is not None:
        field, half_life, *weight = _parts("--freshness", freshness, 2, 3)
        boosts.append(Freshness(field, half_life, _weight("--freshness", weight)))
    if authority is not None:
        field, table, *weight = _parts("--authority", authority, 2, 3)
        boosts.append(Authority(field, _levels(table), weight=_weight("--authority", weight)))
    return boosts


def _rules(latest: str | None, valid: str | None, superseded: str | None) -> list[Rule] | None:
    """None leaves it to the collection's own rules."""
    rules: list[Rule] = []
    if latest is not None:
        per, by = _parts("--latest", latest, 2, 2)
        rules.append(Latest(per, by))
    if valid is not None:
        start, end = _parts("--valid", valid, 2, 2)
        rules.append(Valid(start or None, end or None))
    if superseded is not None:
        key, *links = (part or None for part in _parts("--superseded", superseded, 2, 4))
        rules.append(Superseded(key or "", *links))
    return rules or None


def _parts(option: str, text: str, least: int, most: int) -> list[str]:
    parts = text.split(":")
    if not least <= len(parts) <= most:
        raise InputError(
            f"{option} is {text!r}; it has {least} to {most} parts, with colons between: see search --help"
        )
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
        raise InputError(f"{option}: {text!r} is no number") from None
