"""The command `report`."""

from pathlib import Path
from typing import Annotated

import typer

from theodolite.cli import output
from theodolite.cli.evaluate import read_vectors
from theodolite.cli.opening import open_collection, open_with_embedder
from theodolite.cli.options import Collection, EmbedderName, Json, OnDrift, TrustIndex, Where, parse_path, parse_where
from theodolite.errors import InputError
from theodolite.evaluation.judgments import read_judgments
from theodolite.evaluation.questions import read_questions
from theodolite.reporting.report import check_suffix


def report(
    location: Collection,
    file: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            parser=parse_path,
            help="Write the report here: .html, .md or .json. [default: report.html]",
        ),
    ] = None,
    questions: Annotated[
        Path | None,
        typer.Option(
            "--questions", metavar="FILE", parser=parse_path, help="Questions, for a heat map with documents."
        ),
    ] = None,
    qrels: Annotated[
        Path | None,
        typer.Option(
            "--qrels", metavar="FILE", parser=parse_path, help="Judgments of the questions, for an evaluation."
        ),
    ] = None,
    by: Annotated[
        str | None,
        typer.Option("--by", metavar="FIELD", help="The field that judgments name, such as path. [default: the id]"),
    ] = None,
    vectors: Annotated[
        Path | None,
        typer.Option(
            "--vectors", metavar="FILE.npy", parser=parse_path, help="The questions' vectors, so nothing is embedded."
        ),
    ] = None,
    color: Annotated[
        str | None,
        typer.Option("--color", metavar="FIELD", help="Color the map by this field. [default: clusters]"),
    ] = None,
    parquet: Annotated[
        Path | None,
        typer.Option(
            "--parquet", metavar="FILE", parser=parse_path, help="Write the map as a table, for Embedding Atlas."
        ),
    ] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the report as Markdown.")] = False,
    title: Annotated[str | None, typer.Option("--title", metavar="TEXT", help="The heading.")] = None,
    sample: Annotated[
        int, typer.Option("--sample", metavar="N", min=1, help="Draw at most this many documents.")
    ] = 100_000,
    where: Where = None,
    embedder: EmbedderName = None,
    on_drift: OnDrift = "warn",
    trust_index: TrustIndex = False,
    json_: Json = False,
) -> None:
    """Write a page about a collection: map, similarities, findings.

    The page is one file that loads nothing and runs no script. The embedder is loaded, and checked, only if there are
    questions to embed or --embedder names it.

    \b
    Examples:
      theodolite report kb
      theodolite report kb -o report.html --questions questions.jsonl --qrels qrels.tsv
      theodolite report kb --color source --parquet map.parquet
      theodolite report kb --markdown
    """
    condition = parse_where(where)
    if qrels is not None and questions is None:
        raise InputError("--qrels needs --questions: judgments name questions")
    if vectors is not None and questions is None:
        raise InputError("--vectors needs --questions: they are the questions' vectors")
    target = Path("report.html") if file is None and not (markdown or json_ or parquet) else file
    for each in (target, parquet):
        if each is not None:
            check_suffix(each)
    asked = None if questions is None else read_questions(questions)  # before a model is loaded
    judged = None if qrels is None else read_judgments(qrels)
    rows = None if vectors is None else read_vectors(vectors)
    embeds = (asked is not None and rows is None) or embedder is not None
    opened = (
        open_with_embedder(location, embedder, on_drift, quiet=json_, trust_index=trust_index)
        if embeds
        else open_collection(location, trust_index=trust_index)
    )
    with opened as kb, output.spinner("examining", quiet=json_):
        found = kb.report(
            questions=asked,
            judgments=judged,
            by=by,
            vectors=rows,
            color=color,
            where=condition,
            title=title,
            sample=sample,
        )
    for each in (target, parquet):
        if each is not None:
            found.write(each)
            output.note(f"wrote {each}")
    if json_:
        output.say_json(found.to_dict())
    elif markdown:
        output.say(found.markdown(), end="")
