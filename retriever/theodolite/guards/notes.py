"""Notes that guards store with a collection, if the engine supports `Notes`."""

from theodolite.protocols import Engine, Notes


def read_note(engine: Engine, name: str) -> str | None:
    """Return a note; None if there is none, or the engine does not support notes."""
    return engine.read_note(name) if isinstance(engine, Notes) else None


def keep_note(engine: Engine, name: str, value: str | None, *, replace: bool = True, wait: bool = True) -> None:
    """Store a note (see `Notes.remember`). Do nothing if the engine does not support notes."""
    if isinstance(engine, Notes):
        engine.write_note(name, value, replace=replace, wait=wait)
