"""Notes of guards: read and kept where the engine has `Notes`, else left out."""

from theodolite.protocols import Engine, Notes


def read_note(engine: Engine, name: str) -> str | None:
    """Return a note; None if there is none, or the engine keeps none."""
    return engine.note(name) if isinstance(engine, Notes) else None


def keep_note(engine: Engine, name: str, value: str | None, *, replace: bool = True, wait: bool = True) -> None:
    """Store a note (see `Notes.remember`); do nothing if the engine keeps none."""
    if isinstance(engine, Notes):
        engine.remember(name, value, replace=replace, wait=wait)
