"""The command `duplicates`: pairs of documents that say nearly the same."""

import json
import sys
from itertools import islice
from typing import Annotated, Any

import typer

from theodolite.cli import output
from theodolite.cli.app import Json, Kb, Where, app, as_filter
from theodolite.cli.opening import bare
from theodolite.metadata import encode
from theodolite.types import Document, Duplicate


@app.command()
def duplicates(
    folder: Kb,
    threshold: Annotated[float, typer.Option("--threshold", help="The cosine to reach, above 0, at most 1.")] = 0.92,
    where: Where = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, metavar="N", help="Stop after so many pairs.")] = None,
    json_: Json = False,
) -> None:
    """Find near-duplicates: every pair of documents whose vectors' cosine reaches a threshold.

    Behind a pipe each pair is a line: similarity, id and id, separated by tabs. With --json it is a line of JSON.

    \b
    Examples:
      theodolite duplicates kb
      theodolite duplicates kb --threshold 0.98 --where '{"source": "wiki"}' --limit 20
      theodolite duplicates kb --json | jq '[.similarity, .first.id, .second.id]'
    """
    tree = as_filter(where)
    found = 0
    with bare(folder) as kb:
        count = kb.count(tree)
        with output.counting("comparing", count * (count - 1) // 2, quiet=json_, above=True) as advance:
            for pair in islice(kb.duplicates(threshold, where=tree, progress=advance), limit):
                found += 1
                if json_:
                    output.say_json(_as_json(pair))
                else:
                    output.show_duplicate(pair)
    if not json_ and sys.stdout.isatty():
        more = ", and there may be more" if found == limit else ""
        output.note(f"{found:,} {'pair' if found == 1 else 'pairs'} of {count:,} documents{more}")


def _as_json(pair: Duplicate) -> dict[str, Any]:
    return {"similarity": pair.similarity, "first": _described(pair.first), "second": _described(pair.second)}


def _described(document: Document) -> dict[str, Any]:
    return {"id": document.id, "text": document.text, "metadata": json.loads(encode(document.metadata))}
