"""The command `theodolite`, and the options that its commands share."""

import json
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from theodolite.cli import output
from theodolite.cli.opening import DEFAULT
from theodolite.errors import InputError
from theodolite.filters import parse
from theodolite.metadata import decode

_ORDER = (
    *("index", "add", "search", "info", "delete", "reindex", "export", "verify", "compact", "backup", "audit"),
    *("duplicates", "recall", "monitor", "demo"),
)


class _InOrder(TyperGroup):
    """Help lists the commands as they are used."""

    def list_commands(self, ctx: Any) -> list[str]:
        return sorted(super().list_commands(ctx), key=_ORDER.index)


app = typer.Typer(
    cls=_InOrder,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def as_filter(text: str | None) -> dict[str, Any] | None:
    """The value of --where. Raises InputError, of which FilterError is one."""
    if text is None:
        return None
    where = as_object(text, "--where", json.loads)  # in metadata a leading $ is escaped, here it marks an operator
    parse(where)
    return where


def as_object(text: str, what: str, read: Callable[[str], Any] = decode) -> dict[str, Any]:
    """A JSON object, in which dates may be tagged as `export` writes them. Raises InputError."""
    try:
        value = read(text)
    except (ValueError, TypeError, RecursionError) as error:  # TypeError: a date that is no text
        raise InputError(f'{what} is not JSON: {error}. For example: \'{{"lang": "en"}}\'') from error
    if not isinstance(value, dict):
        raise InputError(f'{what} is {text!r:.80}; it must be a JSON object, such as \'{{"lang": "en"}}\'')
    return value


def as_path(text: str | Path) -> Path:
    """A path on the command line. Raises typer.BadParameter for an empty one, as of a variable that is not set."""
    if not str(text):
        raise typer.BadParameter("the path is empty; pass . for the working directory")
    return Path(text)


def _show_version(asked: bool) -> None:
    if asked:
        output.say(f"theodolite {version('theodolite')}")
        raise typer.Exit


To = Annotated[
    Path, typer.Option("--to", metavar="FOLDER", parser=as_path, help="The collection; made if it is not there.")
]
In = Annotated[Path, typer.Option("--in", metavar="FOLDER", parser=as_path, help="The collection.")]
Kb = Annotated[Path, typer.Argument(metavar="FOLDER", parser=as_path, help="The collection.")]
Files = Annotated[list[Path], typer.Argument(metavar="PATH", parser=as_path, help="Files and folders.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON; errors, too, on stderr.")]
Where = Annotated[
    str | None,
    typer.Option("--where", metavar="JSON", help='Only documents that pass this filter: \'{"year": {"$gte": 2024}}\'.'),
]
EmbedderName = Annotated[
    str | None,
    typer.Option(
        "--embedder",
        metavar="NAME",
        help=f"A model's name or folder, or 'name:argument'; by default the collection's own, else {DEFAULT}.",
    ),
]
OnDriftOption = Annotated[
    str,
    typer.Option(
        "--on-drift",
        metavar="POLICY",
        help="An embedder that gives other vectors than when the collection was built: refuse it, or only warn.",
    ),
]
TrustIndex = Annotated[
    bool,
    typer.Option("--trust-index", help="Load an index that was built elsewhere and cannot be checked, as FAISS's."),
]
Chunk = Annotated[int | None, typer.Option("--chunk-tokens", min=1, help="Tokens of a passage, at most.")]
Overlap = Annotated[int, typer.Option("--overlap", min=0, help="Tokens a passage shares with the one before.")]
MaxMegabytes = Annotated[float, typer.Option("--max-mb", help="Larger files are skipped.")]
TextField = Annotated[str, typer.Option("--text-field", help="Field or column of the text (JSON Lines, CSV).")]
IdField = Annotated[str, typer.Option("--id-field", help="Field or column of the id.")]
SourceName = Annotated[
    str | None,
    typer.Option("--source", metavar="NAME", help="The name of the folder or file, whatever its path."),
]
FollowLinks = Annotated[
    bool, typer.Option("--follow-links", help="Read links to files and folders outside of the given folder, too.")
]
MetadataFields = Annotated[
    list[str] | None, typer.Option("--metadata-field", help="Field or column to keep as metadata; may be repeated.")
]


@app.callback()
def theodolite(
    _: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Keep documents in a folder and find passages by their meaning.

    \b
    Examples:
      theodolite demo
      theodolite index docs/ notes.jsonl --to kb
      theodolite search "how long do refunds take?" --in kb -k 5
      theodolite info kb
    """
