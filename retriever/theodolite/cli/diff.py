"""The command `diff`."""

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Annotated, cast

import typer

from theodolite.cli import output
from theodolite.cli.evaluate import By, Questions, Vectors, open_to_measure, read_vectors
from theodolite.cli.exit_codes import ExitCode
from theodolite.cli.options import (
    Collection,
    EmbedderName,
    Json,
    OnDrift,
    TrustIndex,
    Where,
    parse_choice,
    parse_location,
    parse_path,
    parse_where,
)
from theodolite.cli.search_options import (
    MODES,
    OTHER_MODES,
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
from theodolite.evaluation.diff import diff_with
from theodolite.evaluation.judgments import read_judgments
from theodolite.evaluation.questions import read_questions
from theodolite.filters import parse
from theodolite.types import Mode


def _parse_share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise typer.BadParameter(f"{text!r} is not a share from 0 to 1, such as 0.1")
    return share


def diff(
    location: Collection,
    other: Annotated[
        str, typer.Argument(metavar="KB_B", parser=parse_location, help="The collection to compare with.")
    ],
    questions: Questions,
    qrels: Annotated[
        Path | None,
        typer.Option("--qrels", metavar="FILE", parser=parse_path, help="Judgments, as of TREC or BEIR."),
    ] = None,
    by: By = None,
    questions_b: Annotated[
        Path | None,
        typer.Option(
            "--questions-b",
            metavar="FILE",
            parser=parse_path,
            help="Other questions for KB_B: both sets are compared by their distribution only.",
        ),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            "--threshold",
            metavar="SHARE",
            parser=_parse_share,
            help="Exit code 1 if a larger share of the hits differs. [default: 0.1]",
        ),
    ] = None,
    k: Annotated[int, typer.Option("-k", help="Number of hits.")] = 10,
    vectors: Vectors = None,
    vectors_b: Annotated[
        Path | None,
        typer.Option("--vectors-b", metavar="FILE.npy", parser=parse_path, help="The questions' vectors for KB_B."),
    ] = None,
    where: Where = None,
    where_b: Annotated[
        str | None, typer.Option("--where-b", metavar="JSON", help="The filter for KB_B, if it is another one.")
    ] = None,
    mode: ModeName = "dense",
    mode_b: Annotated[
        str | None,
        typer.Option(
            "--mode-b",
            metavar="|".join(MODES),
            parser=parse_choice(MODES, OTHER_MODES),
            help="The mode for KB_B, if it is another one.",
        ),
    ] = None,
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
    embedder: EmbedderName = None,
    embedder_b: Annotated[
        str | None, typer.Option("--embedder-b", metavar="NAME", help="The model for KB_B, if it is another one.")
    ] = None,
    on_drift: OnDrift = "refuse",
    trust_index: TrustIndex = False,
    json_: Json = False,
) -> None:
    """Say what changed between two collections or settings, and why.

    Searches both for each question, and finds the cause of each hit that differs. Exit code 1 if more than a tenth of
    the hits differ; with other questions for KB_B, if a distribution differs by more than that and more than chance.

    \b
    Examples:
      theodolite diff staging production --questions questions.jsonl --qrels qrels.tsv
      theodolite diff kb backup --questions questions.jsonl --threshold 0
      theodolite diff kb kb --questions questions.jsonl --mode-b hybrid --json
      theodolite diff kb kb --questions golden.jsonl --questions-b logged.jsonl
    """
    options = search_options(
        k=k,
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
    )
    options_b = replace(
        options,
        mode=options.mode if mode_b is None else cast("Mode", mode_b),
        where=options.where if where_b is None else parse(parse_where(where_b)),
    )
    asked = read_questions(questions)  # before a model is loaded
    asked_b = None if questions_b is None else read_questions(questions_b)
    judged = None if qrels is None else read_judgments(qrels)
    rows = None if vectors is None else read_vectors(vectors)
    rows_b = None if vectors_b is None else read_vectors(vectors_b)
    with ExitStack() as stack:
        a, b = (
            stack.enter_context(
                open_to_measure(place, chosen, given, name, on_drift, quiet=json_, trust_index=trust_index)
            )
            for place, name, given, chosen in (
                (location, embedder, rows, options),
                (other, embedder_b or embedder, rows if rows_b is None else rows_b, options_b),
            )
        )
        advance = stack.enter_context(output.progress_bar("comparing", len(asked) + len(asked_b or ()), quiet=json_))
        found = diff_with(
            options,
            options_b,
            a,
            b,
            asked,
            judged,
            by=by,
            questions_b=asked_b,
            vectors=rows,
            vectors_b=rows_b,
            progress=advance,
        )
    if json_:
        output.say_json(found.to_dict())
    else:
        output.say(str(found))
    if found.share > (0.1 if threshold is None else threshold):
        raise typer.Exit(ExitCode.FAILED)
