"""The command `export`."""

import json
import os
import secrets
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Annotated, Any

import typer

from theodolite.cli import output
from theodolite.cli.opening import open_collection
from theodolite.cli.options import Collection, Json, Where, parse_path, parse_where
from theodolite.errors import EngineError
from theodolite.metadata import encode
from theodolite.types import Document


def export(
    location: Collection,
    to: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", parser=parse_path, help="Write to a file.")
    ] = None,
    vectors: Annotated[bool, typer.Option("--vectors", help="Include each document's vector.")] = False,
    where: Where = None,
    json_: Json = False,
) -> None:
    """Write documents as JSON Lines.

    They are ordered by id. `add` and `index` can read them back.

    \b
    Examples:
      theodolite export kb > kb.jsonl
      theodolite export kb --vectors -o kb.jsonl
    """
    condition = parse_where(where)
    count = 0
    # No progress bar on a terminal that shows the documents themselves.
    quiet = json_ or (to is None and sys.stdout.isatty())
    with (
        open_collection(location) as kb,
        output.progress_bar("exporting", kb.count(condition), quiet=quiet) as advance,
        _open_output(to) as file,
    ):
        for document, vector in kb.documents(condition, vectors=True):
            file.write(json_line(document, vector if vectors else None))
            count += 1
            advance(1)
    if to is None:
        return
    if json_:
        output.say_json({"documents": count, "file": str(to)})
    else:
        output.say(f"{count:,} documents in {to}")


def json_line(document: Document, vector: Any = None) -> str:
    """Return a document as a line of JSON, in the format that `add` and `index` read."""
    parts = [
        f'"id": {json.dumps(document.id, ensure_ascii=False)}',
        f'"text": {json.dumps(document.text, ensure_ascii=False)}',
        f'"metadata": {encode(document.metadata)}',
    ]
    if vector is not None:
        parts.append(f'"vector": {json.dumps(vector.tolist())}')
    return "{" + ", ".join(parts) + "}\n"


@contextmanager
def _open_output(path: Path | None) -> Iterator[IO[str]]:
    """Open stdout, or a file that is replaced only once everything is written.

    Raises:
        EngineError: the file cannot be written.
    """
    if path is None:
        yield sys.stdout
        return
    try:
        if path.exists() and not path.is_file():  # a pipe or a device: written to, never replaced
            with path.open("w", encoding="utf-8", newline="\n") as file:
                yield file
            return
        target = path.resolve()  # replace the target of a link, not the link
        temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
        try:
            with temporary.open("x", encoding="utf-8", newline="\n") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            if target.exists():
                shutil.copymode(target, temporary)
            temporary.replace(target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise EngineError(f"{path} cannot be written: {error.strerror or error}", path=str(path)) from error
