"""The mark of an unfinished copy: opening the collection warns that documents are missing."""

import json
from typing import Any

from theodolite.errors import MALFORMED, CorruptionError
from theodolite.guards.notes import keep_note, read_note
from theodolite.protocols import Engine

NOTE = "unfinished-copy"


def is_unfinished(engine: Engine) -> bool:
    """Return whether the collection is an unfinished copy."""
    return read_note(engine, NOTE) is not None


def origin(engine: Engine) -> Any:
    """Return the location that an unfinished copy is made from. Raises CorruptionError if the mark is damaged."""
    try:
        return json.loads(read_note(engine, NOTE) or "")["from"]
    except MALFORMED as error:
        raise CorruptionError(f"the mark of an unfinished copy (note {NOTE!r}) cannot be read: {error}") from error


def mark(engine: Engine, location: Any) -> None:
    """Mark a collection as an unfinished copy of the one at `location`."""
    keep_note(engine, NOTE, json.dumps({"from": location}))


def unmark(engine: Engine) -> None:
    """Remove the mark."""
    keep_note(engine, NOTE, None)


def notice(engine: Engine) -> str | None:
    """Return a warning about an unfinished copy; None for other collections."""
    if not is_unfinished(engine):
        return None
    return (
        f"this collection is an unfinished copy of {origin(engine)}: {engine.count():,} documents have arrived. Copy "
        "again to finish it"
    )
