"""The command `backup`."""

from pathlib import Path
from typing import Annotated

import typer

from theodolite.cli import output
from theodolite.cli.opening import open_collection
from theodolite.cli.options import Collection, Json, parse_path


def backup(
    location: Collection,
    to: Annotated[
        Path,
        typer.Option(
            "-o", "--output", metavar="FOLDER", parser=parse_path, help="A folder that does not exist or is empty."
        ),
    ],
    json_: Json = False,
) -> None:
    """Copy a collection while other programs may write to it.

    The copy shows one commit, and is an ordinary collection. If interrupted, no copy is left.

    \b
    Examples:
      theodolite backup kb -o backups/kb-monday
    """
    with (
        open_collection(location) as kb,
        output.progress_bar("copying", kb.info().get("bytes", 0), quiet=json_) as advance,
    ):
        kb.backup(to, progress=advance)
    with open_collection(to) as copy:
        info = copy.info()
    if json_:
        output.say_json({"documents": info["documents"], "commits": info["commits"], "folder": str(to)})
    else:
        output.say(f"{info['documents']:,} documents, as of commit {info['commits']:,}, in {to}")
