"""The arguments and options that several commands share, and how their values are parsed."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, get_args

import typer

from theodolite.cli.opening import DEFAULT
from theodolite.embedders.options import OnDrift as DriftPolicy
from theodolite.errors import ConfigError, InputError, closest
from theodolite.filters import parse
from theodolite.metadata import decode

_ON_DRIFT: tuple[str, ...] = get_args(DriftPolicy)


def parse_where(text: str | None) -> dict[str, Any] | None:
    """Parse the value of --where. Raises InputError, for an invalid filter FilterError."""
    if text is None:
        return None
    # json.loads, not decode: in metadata a leading $ is escaped, in a filter it marks an operator.
    where = parse_object(text, "--where", json.loads)
    parse(where)
    return where


def parse_object(text: str, name: str, read: Callable[[str], Any] = decode) -> dict[str, Any]:
    """Parse a JSON object, in which dates may be tagged as `export` writes them. Raises InputError."""
    try:
        value = read(text)
    except (ValueError, TypeError, RecursionError) as error:  # TypeError: the value of a date tag is not a string
        raise InputError(f'{name} is not JSON: {error}. Example: \'{{"lang": "en"}}\'') from error
    if not isinstance(value, dict):
        raise InputError(f'{name} is {text!r:.80}; it must be a JSON object, such as \'{{"lang": "en"}}\'')
    return value


def parse_path(text: str | Path) -> Path:
    """Parse a path. Raises typer.BadParameter for an empty one: usually a shell variable that is not set."""
    if not str(text):
        raise typer.BadParameter("the path is empty; pass . for the working directory")
    return Path(text)


def parse_location(text: str) -> str:
    """Parse a folder or URL. Raises typer.BadParameter for an empty one: usually a shell variable that is not set."""
    if not text:
        raise typer.BadParameter("the path is empty; pass . for the working directory")
    return text


@contextmanager
def usage_errors(option: str) -> Iterator[None]:
    """Turn a ConfigError about an option's value into an InputError that names the option."""
    try:
        yield
    except ConfigError as error:
        raise InputError(f"{option}: {error.message}", **error.details) from error


def parse_choice(allowed: Sequence[str], synonyms: Mapping[str, str] | None = None) -> Callable[[str], str]:
    """Return a parser for an option with a closed set of values. It raises typer.BadParameter for any other.

    Args:
        synonyms: values that users may try, with the one to suggest instead.
    """
    meanings = {**(synonyms or {}), **{name: name for name in allowed}}

    def parse_value(text: str) -> str:
        if text in allowed:
            return text
        close = closest(text, meanings)
        hint = "" if close is None else f" Did you mean {meanings[close]!r}?"
        raise typer.BadParameter(f"{text!r} is not one of {', '.join(allowed)}.{hint}")

    return parse_value


# The first argument of every command that has a collection.
Collection = Annotated[
    str, typer.Argument(metavar="KB", parser=parse_location, help="The collection: a folder, or a URL.")
]
NewCollection = Annotated[
    str, typer.Argument(metavar="KB", parser=parse_location, help="The collection; created if it does not exist.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, and warnings and errors as JSON on stderr.")]
Where = Annotated[
    str | None,
    typer.Option("--where", metavar="JSON", help='Only documents that match: \'{"year": {"$gte": 2024}}\'.'),
]
EmbedderName = Annotated[
    str | None,
    typer.Option(
        "--embedder",
        metavar="NAME",
        help=f"A model's name or folder, or 'name:argument'. Default: the collection's own, or {DEFAULT} for a new "
        "collection.",
    ),
]
OnDrift = Annotated[
    str,
    typer.Option(
        "--on-drift",
        metavar="|".join(_ON_DRIFT),
        parser=parse_choice(_ON_DRIFT),
        help="If the embedder no longer gives the vectors the collection was built with: refuse, or warn and go on.",
    ),
]
TrustIndex = Annotated[
    bool,
    typer.Option("--trust-index", help="Load an index built elsewhere that cannot be checked, such as FAISS's."),
]
