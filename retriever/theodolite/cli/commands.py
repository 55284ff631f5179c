"""The commands of `theodolite`. Each is a function, imported when it is used.

Our own are the modules of this package named in `BUILT_IN`, each with a function of the module's name. Other packages
add commands through the entry-point group `theodolite.commands`, which leads to a function with typer's annotations.
"""

from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from importlib.metadata import version
from typing import Annotated, Any, cast

import typer
from typer.core import TyperGroup

from theodolite import plugins
from theodolite.cli import output
from theodolite.errors import ConfigError

BUILT_IN = (
    *("index", "add", "search", "info", "delete", "reindex", "export", "verify", "compact", "backup", "audit"),
    *("duplicates", "recall", "monitor", "demo"),
)
"""Our commands, in the order of the help."""

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


class _Group(TyperGroup):
    """A group that loads its commands when they are used."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = cast(Any, Commands())


app = _Typer(cls=_Group, no_args_is_help=True, **_SETTINGS)


def _command(name: str, function: Callable[..., None], **settings: Any) -> Any:
    single = _Typer(add_completion=False, **_SETTINGS)
    single.command(name, **settings)(function)
    return typer.main.get_command(single)


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
    Examples:
      theodolite demo
      theodolite index docs/ notes.jsonl --to kb
      theodolite search "how long do refunds take?" --in kb -k 5
      theodolite info kb
    """
