"""Named texts that the guards keep beside the documents."""

from theodolite.engines.local.storage.schema import digest
from theodolite.engines.local.storage.store import Store
from theodolite.errors import CorruptionError


def read_note(store: Store, name: str) -> str | None:
    """Return a note, or None if there is none. Raises CorruptionError if it is not what was written."""
    with store.read() as (connection, _):
        row = connection.execute("SELECT value, hash FROM notes WHERE name = ?", (name,)).fetchone()
    if row is None:
        return None
    value, stored_digest = row
    check_note(name, value, stored_digest)
    return str(value)


def check_note(name: object, value: object, stored_digest: object) -> None:
    """Raise CorruptionError if a note is not what was written."""
    if not isinstance(name, str) or not isinstance(value, str) or digest(name, value) != stored_digest:
        raise CorruptionError(f"the note {name!r} is damaged; restore the folder from a copy", note=name)


def write_note(store: Store, name: str, value: str | None, *, replace: bool, wait: bool) -> None:
    """Write a note; None deletes it.

    Args:
        replace: whether to overwrite an existing note.
        wait: whether to wait for the write lock.
    """
    with store.write(None if wait else 0) as (connection, _):
        if value is None:
            connection.execute("DELETE FROM notes WHERE name = ?", (name,))
            return
        verb = "REPLACE" if replace else "IGNORE"
        connection.execute(f"INSERT OR {verb} INTO notes VALUES (?, ?, ?)", (name, value, digest(name, value)))  # noqa: S608 - one of two words
