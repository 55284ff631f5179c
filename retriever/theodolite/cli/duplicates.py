"""The command `duplicates`."""

import sys
import textwrap
from itertools import islice
from typing import Annotated, Any

import typer

from theodolite.cli import output
from theodolite.cli.opening import open_collection
from theodolite.cli.options import Collection, Json, Where, parse_where
from theodolite.metadata import as_tagged
from theodolite.types import Document, Duplicate


def duplicates(
    location: Collection,
    threshold: Annotated[
        float, typer.Option("--threshold", help="The smallest cosine of a pair: above 0, at most 1.")
    ] = 0.92,
    where: Where = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, metavar="N", help="Stop after N pairs.")] = None,
    json_: Json = False,
) -> None:
    """Find pairs of documents that are nearly the same.

    These are all pairs whose cosine similarity reaches a threshold. Behind a pipe each pair is a line: similarity, id
    and id, separated by tabs. With --json it is a line of JSON.

    \b
    Examples:
      theodolite duplicates kb
      theodolite duplicates kb --threshold 0.98 --where '{"source": "wiki"}' --limit 20
      theodolite duplicates kb --json | jq '[.similarity, .first.id, .second.id]'
    """
    condition = parse_where(where)
    pairs = 0
    with open_collection(location) as kb:
        count = kb.count(condition)
        with output.progress_bar("comparing", count * (count - 1) // 2, quiet=json_, above=True) as advance:
            for pair in islice(kb.duplicates(threshold, where=condition, progress=advance), limit):
                pairs += 1
                if json_:
                    output.say_json(_as_json(pair))
                else:
                    _show(pair)
    if not json_ and sys.stdout.isatty():
        more = ", and there may be more" if pairs == limit else ""
        output.note(f"{pairs:,} {'pair' if pairs == 1 else 'pairs'} of {count:,} documents{more}")


def _show(pair: Duplicate) -> None:
    """At a terminal: the similarity, and for each document id, place and first line. Behind a pipe: one line."""
    if not output.console.is_terminal:
        names = "\t".join(output.one_line(document.id) for document in (pair.first, pair.second))
        sys.stdout.write(f"{pair.similarity:.4f}\t{names}\n")
        return
    start = f"{pair.similarity:.3f}  "
    for document in (pair.first, pair.second):
        output.say(start, style="bold", end="")
        output.show_id_and_place(document)
        output.say(f"       {textwrap.shorten(output.one_line(document.text), output.text_width(7), placeholder=' …')}")
        start = "       "


def _as_json(pair: Duplicate) -> dict[str, Any]:
    return {
        "similarity": pair.similarity,
        "first": _document_as_json(pair.first),
        "second": _document_as_json(pair.second),
    }


def _document_as_json(document: Document) -> dict[str, Any]:
    return {"id": document.id, "text": document.text, "metadata": as_tagged(document.metadata)}
