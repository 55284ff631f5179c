"""Approximate indexes by name: "hnsw", "hnsw:M=32,ef_construction=400", "faiss:IVF1024,PQ48".

A name belongs to the plug-in kind `indexes`: ours, or an entry point of another package. `auto` is the recommended
index that this machine can use. What follows the colon is the argument. If all parameters of the index's factory are
numbers, the argument lists them as name=value. Otherwise the factory is called with the argument as one string.
"""

import inspect
from collections.abc import Callable
from typing import Any

from theodolite.errors import ConfigError, MissingExtraError, UnsupportedError, did_you_mean, type_of
from theodolite.plugins import load
from theodolite.protocols import Candidates

AUTO = "auto"
_RECOMMENDED = ("symqg", "hnsw")  # the fastest at the same recall first


def make_index(spec: str, **options: Any) -> Candidates:
    """Return a new index that holds no rows.

    Args:
        spec: a name, and after a colon its argument.
        options: more settings, by name.

    Raises:
        ConfigError: an unknown name or setting; the message suggests the nearest one.
        MissingExtraError: the optional package that the index needs is not installed.
    """
    name, factory, argument = _loaded(spec)
    if defaults := _number_settings(factory):
        index = factory(**_settings(name, argument, defaults, options))
    else:
        index = factory(argument, **options) if argument else factory(**options)
    if not isinstance(index, Candidates):
        raise ConfigError(f"{spec!r} makes {type_of(index)}, which lacks a method of Candidates", spec=spec)
    return index


def canonical(spec: str, **options: Any) -> str:
    """Return the spec with all settings written out, as it is recorded with a collection.

    Raises:
        ConfigError: as for `make_index`.
    """
    name, factory, argument = _loaded(spec)
    if defaults := _number_settings(factory):
        settings = _settings(name, argument, defaults, options)
        argument = ",".join(f"{key}={value}" for key, value in settings.items())
    elif options:
        raise ConfigError(f"{name}: settings are part of the spec, not {', '.join(options)}", options=options)
    return f"{name}:{argument}" if argument else name


def estimate(spec: str, rows: int, dimension: int) -> dict[str, Any]:
    """Estimate the costs of an index of these rows.

    `seconds` to build it, and bytes of `memory`, of its `file`, and of the `peak` of memory while it is built. The
    numbers come from the index's own method `estimate(rows, dimension)`. They are None if it has none, or if its
    package is not installed.
    """
    unknown = {"seconds": None, "memory": None, "file": None, "peak": None}
    try:
        own = getattr(make_index(spec), "estimate", None)
    except (MissingExtraError, UnsupportedError):
        return unknown
    return unknown if own is None else unknown | own(rows, dimension)


def recommended_index() -> str:
    """Return the name of the first recommended index that this machine can use, or of the one to install."""
    for name in _RECOMMENDED:
        try:
            make_index(name)
        except MissingExtraError:
            continue
        except UnsupportedError:  # not on this processor
            return _RECOMMENDED[-1]
        return name
    return _RECOMMENDED[0]


def _loaded(spec: str) -> tuple[str, Callable[..., Any], str]:
    """Split a spec. Return the name, its factory and the argument."""
    if not isinstance(spec, str):
        raise ConfigError(f"an index is named by a string such as 'hnsw', not by {type_of(spec)}")
    name, _, argument = (part.strip() for part in spec.partition(":"))
    if name == AUTO:
        name = recommended_index()
    return name, load("indexes", name), argument


def _number_settings(factory: Callable[..., Any]) -> dict[str, Any]:
    """Return the parameters of a factory with their defaults if all are numbers; otherwise an empty dict."""
    try:
        parameters = inspect.signature(factory).parameters
    except ValueError:  # some builtins have no signature
        return {}
    defaults = {key: parameter.default for key, parameter in parameters.items()}
    return defaults if all(isinstance(default, (int, float)) for default in defaults.values()) else {}


def _settings(name: str, argument: str, defaults: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    """Return all settings by name: the given ones, and the defaults of the others."""
    given = dict(options)
    for part in filter(None, (part.strip() for part in argument.split(","))):
        key, equals, text = (side.strip() for side in part.partition("="))
        if key in defaults and key in given:
            raise ConfigError(f"{name}: {key} is given twice")
        if not equals:
            raise ConfigError(f"{name}: {part!r} is not a setting; expected name=value, for example M=32")
        given[key] = int(text) if text.isascii() and text.isdigit() else text
    for key in given:
        if key not in defaults:
            raise ConfigError(
                f"{name} has no setting {key!r}.{did_you_mean(key, defaults)} Known: {', '.join(defaults)}",
                name=key,
                known=list(defaults),
            )
    return defaults | given
