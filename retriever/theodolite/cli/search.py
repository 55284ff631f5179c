"""The command `search`."""

import shlex
from typing import Annotated

import typer

from theodolite.cli import output
from theodolite.cli.opening import is_collection, open_collection, open_with_embedder
from theodolite.cli.options import Collection, EmbedderName, Json, OnDrift, TrustIndex, Where
from theodolite.cli.search_options import (
    AsOf,
    AuthorityBoost,
    Dedupe,
    Diversity,
    FreshnessBoost,
    LatestRule,
    MinRelevance,
    ModeName,
    RerankName,
    SupersededChoice,
    SupersededRule,
    ValidRule,
    search_options,
)
from theodolite.errors import InputError, ManifestError


def search(
    location: Collection,
    query: Annotated[str, typer.Argument(metavar="QUESTION", help="The text to search for.")],
    k: Annotated[int | None, typer.Option("-k", help="Number of hits. [default: 5]")] = None,
    where: Where = None,
    embedder: EmbedderName = None,
    on_drift: OnDrift = "refuse",
    mode: ModeName = "dense",
    explain: Annotated[bool, typer.Option("--explain", help="Explain the rank of each hit.")] = False,
    freshness: FreshnessBoost = None,
    authority: AuthorityBoost = None,
    latest: LatestRule = None,
    valid: ValidRule = None,
    superseded_by: SupersededRule = None,
    superseded: SupersededChoice = "hide",
    as_of: AsOf = None,
    min_relevance: MinRelevance = None,
    rerank: RerankName = None,
    diversity: Diversity = 0.0,
    dedupe: Dedupe = None,
    coverage: Annotated[
        float | None,
        typer.Option(
            "--coverage",
            metavar="SHARE",
            help="Instead of -k: as many hits as it takes to hold a relevant one for this share of answerable "
            "questions: 0.9. Needs calibrate.",
        ),
    ] = None,
    trust_index: TrustIndex = False,
    json_: Json = False,
) -> None:
    """Find the passages closest to a question.

    Behind a pipe each hit is a line: rank, score, id and text, separated by tabs. The options are applied in this
    order: versions, filter, boosts, fusion, relevance, reranking, near-duplicates, diversity.

    \b
    Examples:
      theodolite search kb "how long do refunds take?"
      theodolite search kb "refunds" -k 3 --where '{"lang": "en", "year": {"$gte": 2024}}'
      theodolite search kb "refunds" --json | jq '.hits[].id'
      theodolite search kb "error E1234" --mode hybrid --explain
      theodolite search kb "refunds" --latest policy_id:effective_from --freshness published:180d
    """
    options = search_options(
        k=5 if k is None and coverage is None else k,
        where=where,
        mode=mode,
        freshness=freshness,
        authority=authority,
        latest=latest,
        valid=valid,
        superseded_by=superseded_by,
        superseded=superseded,
        as_of=as_of,
        min_relevance=min_relevance,
        rerank=rerank,
        diversity=diversity,
        dedupe=dedupe,
        coverage=coverage,
    )
    try:
        opened = (
            open_collection(location)
            if mode == "lexical"  # which needs no embedder
            else open_with_embedder(location, embedder, on_drift, quiet=json_, trust_index=trust_index)
        )
    except ManifestError as error:
        if is_collection(query):
            command = shlex.join(["theodolite", "search", query, location])
            raise InputError(f"the collection comes first, then the question. Run: {command}") from error
        raise
    with opened as kb:
        hits = kb.search_with(options, query)
    if json_:
        output.say_json(output.hits_as_json(query, hits, explain=explain))
    else:
        output.show_hits(hits, explain=explain)
