"""The commands of `theodolite`. Each is a function, imported when it is used.

Built-in commands are the modules of this package that `BUILT_IN` lists, each with a function of the module's name.
Other packages add commands as entry points in the group `theodolite.commands`: functions with typer's annotations. The
first argument of a command is the collection.
"""

import shlex
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from importlib.metadata import version
from typing import Annotated, Any, cast

import typer
from typer.core import TyperCommand, TyperGroup

from theodolite import plugins
from theodolite.cli import output
from theodolite.errors import ConfigError

BUILT_IN = {
    "index": "Keep a collection in sync with files and folders.",
    "add": "Add files, records from stdin, or one document.",
    "search": "Find the passages closest to a question.",
    "info": "Show the contents and settings of a collection.",
    "fields": "Show the metadata fields and counts of their values.",
    "delete": "Delete documents by id, or all that match a filter.",
    "reindex": "Build an approximate index for a large collection.",
    "export": "Write documents as JSON Lines.",
    "verify": "Check all stored data against its checksums.",
    "compact": "Free the disk space of replaced and deleted documents.",
    "backup": "Copy a collection while other programs may write to it.",
    "copy": "Copy a collection to another folder or server, and compare both.",
    "audit": "Find problems in vectors, and say what to do about them.",
    "duplicates": "Find pairs of documents that are nearly the same.",
    "evaluate": "Measure the quality of searches with judged questions.",
    "calibrate": "Learn from judged questions what scores say about answers.",
    "diff": "Say what changed between two collections or settings, and why.",
    "judge": "Judge the passages found for questions, with single keys.",
    "recall": "Compare an index with exact search: recall and speed.",
    "monitor": "Show the statistics of a collection's monitor.",
    "report": "Write a page about a collection: map, similarities, findings.",
    "explore": "Search in the browser, and see why a document is found or not.",
    "serve": "Serve collections over HTTP.",
    "mcp": "Offer collections to an agent, over MCP on stdin and stdout.",
    "demo": "Index a sample handbook and ask it questions.",
    "doctor": "Check the installation: versions, extras, caches, self-test.",
}
"""The built-in commands in the order of the help, with the first sentence of their docstrings: help imports none."""

# Options for the collection, in earlier versions or in other tools.
_FORMER = {"--in", "--to", "--kb", "--collection"}
_FORMER_FIELDS = {"--text-field": "text", "--id-field": "id", "--metadata-field": "metadata"}  # replaced by --map
_WITH_FILES = {"index", "add"}
_WITH_OUTPUT = {"backup", "export"}  # here, --to probably means --output

# Newer versions of typer contain their own copy of click.
_UsageError: Any = next(base for base in typer.BadParameter.__mro__ if base.__name__ == "UsageError")

_Typer: Callable[..., typer.Typer] = typer.Typer
_SETTINGS: dict[str, Any] = {
    "rich_markup_mode": None,
    "pretty_exceptions_enable": False,
    "context_settings": {"help_option_names": ["-h", "--help"]},
}


class Commands(Mapping[str, Any]):
    """The commands by name. Looking one up imports it; a name of our own comes before the same name elsewhere."""

    def __getitem__(self, name: str) -> Any:
        if name in BUILT_IN:
            return _command(name, getattr(import_module(f"theodolite.cli.{name}"), name))
        if name not in plugins.names("commands"):
            raise KeyError(name)
        try:
            return _command(name, plugins.load("commands", name))
        except Exception as error:  # a broken package must not break the help of the other commands
            return _broken(name, error)

    def __iter__(self) -> Iterator[str]:
        yield from BUILT_IN
        yield from (name for name in plugins.names("commands") if name not in BUILT_IN)

    def __len__(self) -> int:
        return sum(1 for _ in self)


class _Command(TyperCommand):
    """A command that answers options of earlier versions with the call to make instead."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        given = list(args)
        try:
            return super().parse_args(ctx, args)
        except _UsageError as error:
            option = getattr(error, "option_name", None)  # of an option that does not exist
            if option in _FORMER_FIELDS and self.name in _WITH_FILES:
                fields = _fields(given)
                raise _UsageError(f"{option} is not an option. Pass --map {shlex.quote(fields)}", ctx) from None
            if option not in _FORMER or (option == "--to" and self.name in _WITH_OUTPUT):
                raise
            message = f"{option} is not an option: the collection is the first argument. Run: "
            raise _UsageError(message + _collection_first(str(self.name), given, option), ctx) from None


class _Group(TyperGroup):
    """A group that loads its commands when they are used."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = cast(Any, Commands())

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        width = formatter.width - 4 - max(map(len, self.commands))
        with formatter.section("Commands"):
            formatter.write_dl([(name, self._summary(name, width)) for name in self.commands])

    def _summary(self, name: str, width: int) -> str:
        return BUILT_IN[name] if name in BUILT_IN else self.commands[name].get_short_help_str(width)


app = _Typer(cls=_Group, no_args_is_help=True, **_SETTINGS)


def _command(name: str, function: Callable[..., None], **settings: Any) -> Any:
    single = _Typer(add_completion=False, **_SETTINGS)
    single.command(name, cls=_Command, **settings)(function)
    return typer.main.get_command(single)


def _collection_first(name: str, given: list[str], option: str) -> str:
    """Return the command line with the value of `option` as the first argument."""
    at = next(i for i, argument in enumerate(given) if argument.split("=")[0] == option)
    _, equals, value = given[at].partition("=")
    rest = given[at + 1 :]
    if not equals:
        value, rest = (rest[0], rest[1:]) if rest else ("KB", [])
    return shlex.join(["theodolite", name, value, *given[:at], *rest])


def _fields(given: list[str]) -> str:
    """Return the value of `--map` that replaces the field options of earlier versions."""
    from theodolite.files.readers.options import escape_field  # imported by the few commands that read files

    found: dict[str, list[str]] = {}
    for number, argument in enumerate(given):
        option, equals, value = argument.partition("=")
        if option in _FORMER_FIELDS:
            following = given[number + 1] if number + 1 < len(given) else "NAME"
            found.setdefault(_FORMER_FIELDS[option], []).append(value if equals else following)
    return ",".join(f"{name}={'+'.join(map(escape_field, columns))}" for name, columns in found.items())


def _broken(name: str, error: Exception) -> Any:
    message = f"the command {name!r} cannot be loaded: {type(error).__name__}: {error}"

    def refuse() -> None:
        raise ConfigError(message) from error

    accept_anything = {"ignore_unknown_options": True, "allow_extra_args": True}
    return _command(name, refuse, help=message, context_settings=accept_anything)


def _show_version(wanted: bool) -> None:
    if wanted:
        output.say(f"theodolite {version('theodolite')}")
        raise typer.Exit


@app.callback()
def theodolite(
    _: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Store documents in a folder and search them by meaning.

    \b
    Start with these three:
      theodolite demo                                     a sample handbook
      theodolite index kb docs/ notes.jsonl               your own files
      theodolite search kb "how long do refunds take?"    ask them
    """
