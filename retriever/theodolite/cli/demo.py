"""The command `demo`: the handbook of an invented company, and queries that show what makes retrieval hard."""

import json
import shlex
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, NamedTuple

import typer

from theodolite.cli import output
from theodolite.cli.opening import open_with_embedder
from theodolite.cli.options import EmbedderName, Json, OnDrift, parse_location
from theodolite.errors import ConfigError
from theodolite.types import Document


class Question(NamedTuple):
    """A query, its filter, and what its hits show."""

    text: str
    where: dict[str, Any] | None
    shows: str


QUESTIONS = (
    Question(
        "can an opened stove be returned?", None, "The closest match is a chat message, and what it says is wrong."
    ),
    Question(
        "can an opened stove be returned?", {"source": "policy"}, "With a filter for policies, the rule is first."
    ),
    Question("what does standard delivery cost?", None, "Three versions of one rule, the oldest first."),
    Question("what does standard delivery cost?", {"effective_from": "2026-02-01"}, "The version in force."),
    Question("Saturday work", {"lang": "de"}, "An English query finds a German document."),
)


def demo(
    location: Annotated[
        str | None,
        typer.Argument(metavar="[KB]", parser=parse_location, help="Keep the collection here."),
    ] = None,
    embedder: EmbedderName = None,
    on_drift: OnDrift = "refuse",
    json_: Json = False,
) -> None:
    """Index a sample handbook and ask it questions.

    It is the handbook of an invented company. Needs no network with the extra `minilm`.

    \b
    Examples:
      theodolite demo
      theodolite demo handbook
    """
    documents = handbook()
    with (
        TemporaryDirectory() as temporary,
        open_with_embedder(location or str(Path(temporary) / "kb"), embedder, on_drift, create=True, quiet=json_) as kb,
    ):
        stored = {document.id: document for document in kb.documents()}
        new = [document for document in documents if stored.get(document.id) != document]
        with output.progress_bar("embedding", len(new), quiet=json_) as advance:
            kb.add(new, progress=advance)
        if not json_:
            output.say(f"{len(documents)} documents from the handbook of an invented company.")
        for question in QUESTIONS:
            hits = kb.search(question.text, k=3, where=question.where)
            if json_:
                output.say_json({**output.hits_as_json(question.text, hits), "where": question.where})
            else:
                where = f"  where {json.dumps(question.where)}" if question.where else ""
                output.say(f"\n{question.text}{where}", style="bold")
                output.say(question.shows, style="dim")
                output.show_hits(hits)
    if location is not None and not json_:
        output.note(f'\nTry your own: theodolite search {shlex.quote(location)} "..."')


def handbook() -> list[Document]:
    """Return the sample documents, from the installed package or from a checkout.

    Raises:
        ConfigError: they are in neither place.
    """
    here = Path(__file__).resolve()
    for folder in (here.parent / "data", *(above / "examples" / "data" for above in here.parents[2:5])):
        path = folder / "handbook.jsonl"
        if path.is_file():
            with path.open(encoding="utf-8") as lines:
                return [Document(**json.loads(line)) for line in lines]
    raise ConfigError("the sample handbook is missing from the installation: reinstall theodolite")
