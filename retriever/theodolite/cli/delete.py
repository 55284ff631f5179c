"""The command `delete`."""

import sys
from typing import Annotated

import typer

from theodolite.cli import output
from theodolite.cli.exit_codes import ExitCode
from theodolite.cli.opening import open_collection
from theodolite.cli.options import Collection, Json, Where, parse_where
from theodolite.errors import InputError


def delete(
    location: Collection,
    ids: Annotated[list[str] | None, typer.Argument(metavar="ID", help="Ids of documents.")] = None,
    where: Where = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
    json_: Json = False,
) -> None:
    """Delete documents by id, or all that match a filter.

    \b
    Examples:
      theodolite delete kb refunds-2023 hours
      theodolite delete kb --where '{"source": "chat", "year": {"$lt": 2020}}' --yes
    """
    if (where is None) == (not ids):
        raise InputError("give either ids or --where")
    condition = parse_where(where)
    with open_collection(location, read_only=False) as kb:
        if condition is not None and not yes:
            count = kb.count(condition)
            if not sys.stdin.isatty():
                raise InputError(
                    f"this would delete {count:,} documents, and there is no terminal to confirm at: add --yes"
                )
            if not typer.confirm(f"Delete {count:,} of {kb.count():,} documents?", err=True):
                output.note("Nothing was deleted.")
                raise typer.Exit(ExitCode.FAILED)
        deleted = kb.delete(ids) if ids else kb.delete(where=condition)
    if json_:
        output.say_json({"deleted": deleted})
    else:
        output.say(f"{deleted:,} deleted")
