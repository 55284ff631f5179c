"""Commands that change nothing: info, export."""

import os
import platform
import secrets
import shutil
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import IO, Annotated

import typer

from theodolite.cli import output
from theodolite.cli.app import Json, Kb, Where, app, as_filter, as_path
from theodolite.cli.opening import bare
from theodolite.errors import EngineError


@app.command()
def info(folder: Kb, json_: Json = False) -> None:
    """Show what a collection holds and how it is set up.

    \b
    Examples:
      theodolite info kb
      theodolite info kb --json
    """
    with bare(folder) as kb:
        found = kb.info()
    packages = {name: version(name) for name in ("theodolite", "numpy", "numkong")}
    versions = {**packages, "sqlite": sqlite3.sqlite_version, "python": platform.python_version()}
    if json_:
        output.say_json({**found, "versions": versions})
    else:
        listed = ", ".join(f"{name} {number}" for name, number in versions.items())
        output.show_mapping({**output.described(found), "versions": listed})


@app.command()
def export(
    folder: Kb,
    to: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", parser=as_path, help="Write to a file.")
    ] = None,
    vectors: Annotated[bool, typer.Option("--vectors", help="With each document's vector.")] = False,
    where: Where = None,
    json_: Json = False,
) -> None:
    """Write documents as JSON Lines, in the order of their ids; `add` and `index` read them again.

    \b
    Examples:
      theodolite export kb > kb.jsonl
      theodolite export kb --vectors -o kb.jsonl
    """
    tree = as_filter(where)
    count = 0
    # On the terminal where the documents themselves appear, a bar would be in their way.
    quiet = json_ or (to is None and sys.stdout.isatty())
    with bare(folder) as kb, output.counting("exporting", kb.count(tree), quiet=quiet) as advance, _opened(to) as file:
        for document, vector in kb.documents(tree, vectors=True):
            file.write(output.record(document, vector if vectors else None))
            count += 1
            advance(1)
    if to is None:
        return
    if json_:
        output.say_json({"documents": count, "file": str(to)})
    else:
        output.say(f"{count:,} documents in {to}")


@contextmanager
def _opened(path: Path | None) -> Iterator[IO[str]]:
    """Where to write: stdout, or a file, which afterwards is there whole or not at all.

    Raises:
        EngineError: the file cannot be written.
    """
    if path is None:
        yield sys.stdout
        return
    try:
        if path.exists() and not path.is_file():  # a pipe or a device: something to write to, not to replace
            with path.open("w", encoding="utf-8", newline="\n") as file:
                yield file
            return
        target = path.resolve()  # what a link leads to, not the link
        beside = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
        try:
            with beside.open("x", encoding="utf-8", newline="\n") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            if target.exists():
                shutil.copymode(target, beside)
            beside.replace(target)
        except BaseException:
            beside.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise EngineError(f"{path} cannot be written: {error.strerror or error}", path=str(path)) from error
