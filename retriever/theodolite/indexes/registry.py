"""Candidate indexes by name: "hnsw", "hnsw:M=32,ef_construction=400", "faiss:IVF1024,PQ48"."""

import inspect
from difflib import get_close_matches
from typing import Any

from theodolite.errors import ConfigError
from theodolite.plugins import load
from theodolite.protocols import Candidates

# Ours that take settings by name, all of them ints. To any other, what follows the colon is passed as one string.
_WITH_SETTINGS = ("hnsw",)


def make_index(spec: str, **options: Any) -> Candidates:
    """A new index, not built.

    Args:
        spec: a name (ours, or of an entry point in the group `theodolite.indexes`), and after a colon its argument.
        options: further settings, by name.

    Raises:
        ConfigError: a name or setting that is not known; the message has the nearest one.
        MissingExtraError: the optional package it needs is not installed.
    """
    name, argument = _split(spec)
    factory = load("indexes", name)
    if name in _WITH_SETTINGS:
        made = factory(**_settings(name, argument, options))
    else:
        made = factory(argument, **options) if argument else factory(**options)
    if not isinstance(made, Candidates):
        raise ConfigError(f"{spec!r} makes a {type(made).__name__}, which lacks a method of Candidates", spec=spec)
    return made


def canonical(spec: str, **options: Any) -> str:
    """The spec with its settings written out, as it is recorded with the data.

    Raises:
        ConfigError: as for `make_index`.
    """
    name, argument = _split(spec)
    if name in _WITH_SETTINGS:
        argument = ",".join(f"{key}={value}" for key, value in _settings(name, argument, options).items())
    else:
        load("indexes", name)
        if options:
            raise ConfigError(f"{name}: settings are part of the spec, not {', '.join(options)}", options=options)
    return f"{name}:{argument}" if argument else name


def _split(spec: str) -> tuple[str, str]:
    if not isinstance(spec, str):
        raise ConfigError(f"an index is named by a string such as 'hnsw', not by a {type(spec).__name__}")
    name, _, argument = spec.partition(":")
    return name.strip(), argument.strip()


def _settings(name: str, argument: str, options: dict[str, Any]) -> dict[str, Any]:
    """All settings by name: those given, and the defaults of the others."""
    settings = {
        key: parameter.default for key, parameter in inspect.signature(load("indexes", name)).parameters.items()
    }
    given = dict(options)
    for part in filter(None, (part.strip() for part in argument.split(","))):
        key, equals, text = (side.strip() for side in part.partition("="))
        if key in settings and key in given:
            raise ConfigError(f"{name}: {key} is given twice")
        if not equals:
            raise ConfigError(f"{name}: {part!r} is no setting; expected name=value, for example M=32")
        given[key] = int(text) if text.isascii() and text.isdigit() else text
    for key in given:
        if key not in settings:
            close = get_close_matches(key.lower(), [known.lower() for known in settings], n=1)
            nearest = next((known for known in settings if known.lower() in close), None)
            raise ConfigError(
                f"{name} has no setting {key!r}."
                + (f" Did you mean {nearest!r}?" if nearest else "")
                + f" Known: {', '.join(settings)}",
                name=key,
                known=list(settings),
            )
    return settings | given
