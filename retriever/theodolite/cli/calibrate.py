"""The command `calibrate`."""

from pathlib import Path
from typing import Annotated

import typer

from theodolite.cli import output
from theodolite.cli.evaluate import Questions, Vectors, open_to_measure, read_vectors
from theodolite.cli.options import Collection, EmbedderName, Json, OnDrift, TrustIndex, Where, parse_path
from theodolite.cli.search_options import (
    AsOf,
    AuthorityBoost,
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
from theodolite.evaluation.judgments import read_judgments
from theodolite.evaluation.questions import read_questions


def calibrate(
    location: Collection,
    questions: Questions,
    qrels: Annotated[
        Path, typer.Option("--qrels", metavar="FILE", parser=parse_path, help="Judgments, as of TREC or BEIR.")
    ],
    unanswerable: Annotated[
        Path | None,
        typer.Option(
            "--unanswerable", metavar="FILE", parser=parse_path, help="Questions that the collection does not answer."
        ),
    ] = None,
    by: Annotated[
        str | None,
        typer.Option("--by", metavar="FIELD", help="The field that judgments name, such as path. [default: the id]"),
    ] = None,
    max_hits: Annotated[
        int, typer.Option("--max-hits", help="Length of the lists that must hold a relevant passage.")
    ] = 100,
    unanswerable_share: Annotated[
        float, typer.Option("--unanswerable-share", help="Assumed share of questions without an answer.")
    ] = 0.5,
    vectors: Vectors = None,
    where: Where = None,
    mode: ModeName = "dense",
    freshness: FreshnessBoost = None,
    authority: AuthorityBoost = None,
    latest: LatestRule = None,
    valid: ValidRule = None,
    superseded_by: SupersededRule = None,
    superseded: SupersededChoice = "hide",
    as_of: AsOf = None,
    min_relevance: MinRelevance = None,
    rerank: RerankName = None,
    embedder: EmbedderName = None,
    on_drift: OnDrift = "refuse",
    trust_index: TrustIndex = False,
    json_: Json = False,
) -> None:
    """Learn from judged questions what scores say about answers.

    The result is stored with the collection, for searches with the same options. They then have a verdict (strong, weak
    or none), and --coverage returns as many hits as it takes to hold a relevant passage.

    \b
    Examples:
      theodolite calibrate kb --questions questions.jsonl --qrels qrels.tsv
      theodolite calibrate kb --questions questions.jsonl --qrels files.tsv --by path --mode hybrid
      theodolite search kb "how long do refunds take?" --coverage 0.9
    """
    options = search_options(
        k=None,
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
    )
    asked, judged = read_questions(questions), read_judgments(qrels)  # before a model is loaded
    others = None if unanswerable is None else read_questions(unanswerable)
    rows = None if vectors is None else read_vectors(vectors)
    given = rows if others is None else None  # the others are texts to embed
    total = sum(name in judged for name in asked) + len(others or ())
    with (
        open_to_measure(
            location, options, given, embedder, on_drift, quiet=json_, trust_index=trust_index, read_only=False
        ) as kb,
        output.progress_bar("calibrating", total, quiet=json_) as advance,
    ):
        found = kb.calibrate_with(
            options,
            asked,
            judged,
            others,
            by=by,
            max_hits=max_hits,
            unanswerable_share=unanswerable_share,
            vectors=rows,
            progress=advance,
        )
    if json_:
        output.say_json(found.to_dict())
    else:
        output.say(str(found))
