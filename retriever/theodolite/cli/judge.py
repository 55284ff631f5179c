"""The command `judge`."""

import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import typer

from theodolite.cli import output
from theodolite.cli.evaluate import Questions
from theodolite.cli.keys import keyboard
from theodolite.cli.opening import open_collection, open_with_embedder
from theodolite.cli.options import Collection, EmbedderName, Json, OnDrift, TrustIndex, Where, parse_path
from theodolite.cli.search_options import ModeName, search_options
from theodolite.evaluation.judging import Candidate, Item, JudgingSession
from theodolite.evaluation.judgments import check_storable, read_judgments, write_judgments
from theodolite.evaluation.lists import value_of
from theodolite.evaluation.questions import read_questions

_LINES = 15  # of a passage
_PASSAGES = 4  # passages searched for each file to judge
_HELP = "0 not relevant · 1 somewhat · 2 relevant · 3 perfect · s skip · u undo · q quit"


def judge(
    location: Collection,
    questions: Questions,
    qrels: Annotated[
        Path | None,
        typer.Option(
            "--qrels",
            metavar="FILE",
            parser=parse_path,
            help="The judgments, read and written. [default: QUESTIONS.qrels.tsv]",
        ),
    ] = None,
    by: Annotated[
        str | None, typer.Option("--by", metavar="FIELD", help="Judge the values of a field, such as path.")
    ] = None,
    k: Annotated[int, typer.Option("-k", help="Number of passages for each question.")] = 10,
    where: Where = None,
    mode: ModeName = "hybrid",
    embedder: EmbedderName = None,
    on_drift: OnDrift = "refuse",
    trust_index: TrustIndex = False,
    json_: Json = False,
) -> None:
    """Judge the passages found for questions, with single keys.

    Each grade is saved at once. Run the command again to go on where you stopped: passages that have a grade are not
    shown again.

    \b
    Examples:
      theodolite judge kb --questions questions.jsonl
      theodolite judge kb --questions questions.jsonl --qrels files.tsv --by path
    """
    asked = read_questions(questions)
    check_storable(asked)
    path = questions.with_name(f"{questions.stem}.qrels.tsv") if qrels is None else qrels
    grades = read_judgments(path) if path.exists() and path.stat().st_size else {}
    options = search_options(k=k if by is None else k * _PASSAGES, where=where, mode=mode)
    with (
        keyboard() as read_key,
        (
            open_collection(location, trust_index=trust_index)
            if mode == "lexical"
            else open_with_embedder(location, embedder, on_drift, quiet=json_, trust_index=trust_index)
        ) as kb,
    ):

        def search(name: str, text: str) -> Sequence[Candidate]:
            found: dict[str, Candidate] = {}
            for hit in kb.search_with(options, text):
                document = hit.document
                value = document.id if by is None else value_of(document, by) or document.id
                found.setdefault(value, Candidate(value, document.text, output.place_of(document)))
            check_storable(found)
            return list(found.values())[:k]

        session = JudgingSession(asked, grades, search, lambda given: write_judgments(path, given))
        _judge_all(session, read_key)
    if json_:
        output.say_json({"judged": session.judged, "judgments": sum(map(len, grades.values())), "file": str(path)})
    else:
        output.say(f"{session.judged:,} judged now, {sum(map(len, grades.values())):,} judgments in {path}")


def _judge_all(session: JudgingSession, read_key: Callable[[], str]) -> None:
    shown = None
    while (item := session.current()) is not None:
        if item.question != shown:
            output.note(f"\nQuestion {item.number:,} of {item.questions:,}: {item.text}", style="bold")
            shown = item.question
        _show(item)
        if not _decide(session, read_key):
            return
    output.note("\nNo passage is left to judge.")


def _show(item: Item) -> None:
    candidate = item.candidate
    where = f"{item.place} of {item.candidates}  {output.one_line(candidate.id)}  {candidate.place}"
    output.note(f"\n{where.rstrip()}", style="cyan")
    lines = [
        line
        for paragraph in candidate.text.strip().splitlines()
        for line in textwrap.wrap(paragraph, output.text_width(4)) or [""]
    ]
    for line in lines[:_LINES]:
        output.note(f"    {line}")
    if len(lines) > _LINES:
        output.note(f"    … {len(lines) - _LINES:,} more lines")
    output.note(_HELP, style="dim")


def _decide(session: JudgingSession, read_key: Callable[[], str]) -> bool:
    """Carry out the next key that means something. Return False to stop."""
    while True:
        key = read_key()
        if key in ("q", "\x04"):
            return False
        if key and key in "0123":
            session.grade(int(key))
            output.note(f"graded {key}")
            return True
        if key == "s":
            session.skip()
            output.note("skipped")
            return True
        if key == "u" and session.undo():
            output.note("undone")
            return True
