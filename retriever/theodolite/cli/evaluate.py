"""The command `evaluate`."""

import json
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from theodolite.cli import output
from theodolite.cli.opening import open_collection, open_with_embedder
from theodolite.cli.options import Collection, EmbedderName, Json, OnDrift, TrustIndex, Where, parse_path
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
from theodolite.errors import InputError
from theodolite.evaluation.judgments import read_judgments
from theodolite.evaluation.questions import read_questions
from theodolite.evaluation.result import Evaluation
from theodolite.evaluation.text_files import read_text
from theodolite.ranking.options import SearchOptions
from theodolite.retriever import Retriever

Questions = Annotated[
    Path,
    typer.Option(
        "--questions",
        metavar="FILE",
        parser=parse_path,
        help="Questions: JSON Lines with id and text, lines of id and text with a tab, or topics of TREC.",
    ),
]

Vectors = Annotated[
    Path | None,
    typer.Option(
        "--vectors", metavar="FILE.npy", parser=parse_path, help="The questions' vectors, so nothing is embedded."
    ),
]

By = Annotated[
    str | None,
    typer.Option("--by", metavar="FIELD", help="The field that judgments name, such as path. [default: the id]"),
]


def evaluate(
    location: Collection,
    questions: Questions,
    qrels: Annotated[
        Path, typer.Option("--qrels", metavar="FILE", parser=parse_path, help="Judgments, as of TREC or BEIR.")
    ],
    by: By = None,
    k: Annotated[list[int] | None, typer.Option("-k", help="Number of hits; may be repeated. [default: 10]")] = None,
    vectors: Vectors = None,
    run: Annotated[
        Path | None,
        typer.Option("--run", metavar="FILE", parser=parse_path, help="Write the hits as a run file of TREC."),
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(
            "--against", metavar="FILE", parser=parse_path, help="Compare with an earlier evaluation: its --json."
        ),
    ] = None,
    no_index: Annotated[
        bool, typer.Option("--no-index", help="Do not measure the recall and the speed of the index.")
    ] = False,
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
    diversity: Diversity = 0.0,
    dedupe: Dedupe = None,
    embedder: EmbedderName = None,
    on_drift: OnDrift = "refuse",
    trust_index: TrustIndex = False,
    json_: Json = False,
) -> None:
    """Measure the quality of searches with judged questions.

    Prints nDCG, MRR, MAP, recall, precision and success, each with its 95 % interval.

    \b
    Examples:
      theodolite evaluate kb --questions questions.jsonl --qrels qrels.tsv
      theodolite evaluate kb --questions questions.jsonl --qrels files.tsv --by path --mode hybrid
      theodolite evaluate kb --questions questions.jsonl --qrels qrels.tsv --json > before.json
      theodolite evaluate kb --questions questions.jsonl --qrels qrels.tsv --against before.json
    """
    options = search_options(
        k=10,
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
    asked, judged = read_questions(questions), read_judgments(qrels)  # before a model is loaded
    rows = None if vectors is None else read_vectors(vectors)
    before = None if against is None else _earlier(against)
    total = sum(name in judged for name in asked)
    with (
        open_to_measure(location, options, rows, embedder, on_drift, quiet=json_, trust_index=trust_index) as kb,
        output.progress_bar("evaluating", total, quiet=json_) as advance,
    ):
        found = kb.evaluate_with(
            options, asked, judged, k=k or 10, by=by, vectors=rows, index=not no_index, progress=advance
        )
    compared = None if before is None else before.compare(found)
    if json_:
        values = found.to_dict()
        output.say_json(values if compared is None else {**values, "comparison": compared.to_dict()})
    else:
        output.say(str(found))
        if compared is not None:
            output.say(f"\nFirst {against}, second this evaluation:\n{compared}")
    if run is not None:
        found.write_run(run)


def open_to_measure(
    location: str,
    options: SearchOptions,
    vectors: Any,
    embedder: str | None,
    on_drift: str,
    *,
    quiet: bool,
    trust_index: bool,
    read_only: bool = True,
) -> Retriever:
    """Open a collection to search for questions, with an embedder only if their texts are embedded."""
    if vectors is None and options.arms != "lexical":
        return open_with_embedder(
            location, embedder, on_drift, read_only=read_only, quiet=quiet, trust_index=trust_index
        )
    return open_collection(location, read_only=read_only, trust_index=trust_index)


def read_vectors(path: Path) -> Any:
    """Read an array of vectors. Raises InputError."""
    if not path.is_file():
        raise InputError(f"{path} does not exist or is not a file", path=str(path))
    try:
        return np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise InputError(f"{path} is not an array of numbers: {error}", path=str(path)) from error


def _earlier(path: Path) -> Evaluation:
    text = read_text(path, "evaluation")
    try:
        return Evaluation.from_dict(json.loads(text))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: {error}", path=str(path)) from error
