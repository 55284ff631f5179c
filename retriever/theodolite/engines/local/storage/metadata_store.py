"""Small named texts beside the documents: what guards remember."""

from theodolite.engines.local.storage.database import Store
from theodolite.engines.local.storage.digest import seal
from theodolite.errors import CorruptionError


def read_note(store: Store, name: str) -> str | None:
    """Raises CorruptionError where the text is not the one that was written."""
    with store.read() as (connection, _):
        row = connection.execute("SELECT value, hash FROM notes WHERE name = ?", (name,)).fetchone()
    if row is None:
        return None
    value, digest = row
    check_note(name, value, digest)
    return str(value)


def check_note(name: object, value: object, digest: object) -> None:
    """Raises CorruptionError where a note is not what was written."""
    if not isinstance(name, str) or not isinstance(value, str) or seal(name, value) != digest:
        raise CorruptionError(f"the note {name!r} is damaged; restore the folder from a copy", note=name)


def write_note(store: Store, name: str, value: str | None, *, replace: bool, wait: bool) -> None:
    with store.write(None if wait else 0) as (connection, _):
        if value is None:
            connection.execute("DELETE FROM notes WHERE name = ?", (name,))
            return
        verb = "REPLACE" if replace else "IGNORE"
        connection.execute(f"INSERT OR {verb} INTO notes VALUES (?, ?, ?)", (name, value, seal(name, value)))  # noqa: S608 - one of two words
