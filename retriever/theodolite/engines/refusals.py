"""Errors that every engine raises for the same reason, in the same words."""

from typing import Any

from theodolite.errors import CollectionNotFoundError, ConfigError, EngineError
from theodolite.plugins import unknown_name


def closed() -> EngineError:
    """Return the error for a call on a closed collection."""
    return EngineError("the collection is closed; open it again")


def read_only(place: object, **details: Any) -> EngineError:
    """Return the error for a write to a collection that was opened read-only."""
    return EngineError(f"{place} is opened read-only. Open it without read_only=True to write", **details)


def deleted(place: object) -> EngineError:
    """Return the error for a collection that another program has deleted since it was opened."""
    return EngineError(f"{place}: the collection was deleted; open it again", location=str(place))


def not_found(place: object, suggestion: object = None, **details: Any) -> CollectionNotFoundError:
    """Return the error for a missing collection.

    Args:
        suggestion: a collection with a similar name, as the message shows it.
    """
    hint = "" if suggestion is None else f"; did you mean {suggestion}?"
    return CollectionNotFoundError(f"there is no collection at {place}{hint}", **details)


def unknown_index(name: object, known: list[str]) -> ConfigError:
    """Return the error for an index that the store does not have."""
    return unknown_name("indexes", name, known)


def not_copied() -> TypeError:
    """Return the error for pickling or copying an open collection."""
    return TypeError("an open collection cannot be pickled or copied. Pass on its folder or URL, and open it there")
