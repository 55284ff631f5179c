"""Boosts as JSON values, for programs that search over a network."""

from collections.abc import Iterable
from dataclasses import fields
from datetime import timedelta
from typing import Any

from theodolite.errors import ConfigError, short_repr
from theodolite.protocols import Boost
from theodolite.ranking.boosts import Authority, Freshness

_KINDS: dict[str, Any] = {"authority": Authority, "freshness": Freshness}


def boosts_to_json(boosts: Iterable[Boost]) -> list[dict[str, Any]] | None:
    """Return boosts as JSON values; None if one of them is of another class, whose code cannot be sent."""
    written = []
    for boost in boosts:
        kind = next((name for name, cls in _KINDS.items() if type(boost) is cls), None)
        if kind is None:
            return None
        values = {each.name: getattr(boost, each.name) for each in fields(boost) if each.init}  # type: ignore[arg-type]  # both are dataclasses
        if isinstance(boost, Authority):
            values["levels"] = [[value, level] for value, level in boost.levels.items()]
        written.append({"kind": kind, **{name: _plain(value) for name, value in values.items()}})
    return written


def boosts_from_json(given: Any) -> tuple[Boost, ...]:
    """Read boosts: objects with `kind`, `freshness` or `authority`, and the attributes of `Freshness` or `Authority`.

    `levels` is an object of levels by value, or a list of pairs, as values that are not strings need.

    Raises:
        ConfigError: they cannot be read.
    """
    if not isinstance(given, list):
        raise ConfigError(f"boosts is {short_repr(given)}; expected a list of objects with 'kind'")
    return tuple(_boost(each) for each in given)


def _boost(given: Any) -> Boost:
    values = dict(given) if isinstance(given, dict) else {}
    kind = values.pop("kind", None)
    cls = _KINDS.get(kind) if isinstance(kind, str) else None
    if cls is None:
        raise ConfigError(f"{short_repr(given)} is not a boost: expected an object with the kind {' or '.join(_KINDS)}")
    known = {each.name for each in fields(cls) if each.init}
    if unknown := sorted(values.keys() - known):
        raise ConfigError(f"a boost of kind {kind} has no {unknown[0]!r:.60}; it has {', '.join(sorted(known))}")
    levels = values.get("levels")
    try:
        if isinstance(levels, list):
            values["levels"] = {value: level for value, level in levels}  # noqa: C416 - each must be a pair
        boost: Boost = cls(**values)
        hash(boost.name), hash(boost.field)
    except (TypeError, ValueError, OverflowError, AttributeError) as error:
        raise ConfigError(f"a boost of kind {kind} cannot be read: {error}") from error
    return boost


def _plain(value: Any) -> Any:
    if isinstance(value, timedelta):
        # In seconds: the texts that boosts read have no microseconds, and the rest of one changes nothing.
        return f"{value // timedelta(seconds=1)}s"
    return value
