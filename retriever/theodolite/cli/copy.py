"""The command `copy`."""

from dataclasses import asdict
from typing import Annotated

import typer

from theodolite.cli import output
from theodolite.cli.opening import open_collection
from theodolite.cli.options import Collection, Json, parse_location


def copy(
    location: Collection,
    to: Annotated[
        str, typer.Argument(metavar="TO", parser=parse_location, help="A folder or URL without a collection.")
    ],
    json_: Json = False,
) -> None:
    """Copy a collection to another folder or server, and compare both.

    Nothing is embedded again. Run the command again to finish an interrupted copy. Use backup for a copy as of one
    commit in a folder, which is faster.

    \b
    Examples:
      theodolite copy kb "postgresql://me@db.example.org/search?collection=handbook"
      theodolite copy "postgresql://me@db.example.org/search?collection=handbook" kb
    """
    with (
        open_collection(location) as kb,
        output.progress_bar("copying and comparing", 2 * kb.count(), quiet=json_) as advance,
    ):
        done = kb.copy_to(to, progress=advance)
    if json_:
        output.say_json(asdict(done))
    else:
        output.say(
            f"{done.documents:,} documents copied, {done.written:,} of them by this call; every one compared, and "
            f"{done.searches:,} searches"
        )
