"""store.sqlite: connections, the current state, the manifest and the notes of the guards."""

import sqlite3
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import quote

from theodolite.engines.local.storage.folder import DATABASE, STORE, Folder, replaced_error
from theodolite.engines.local.storage.schema import STATE, digest
from theodolite.errors import CorruptionError, ManifestError
from theodolite.settings import FORMAT, Manifest
from theodolite.types import EmbedderSpec, Space

_NAME_ALONE = 4  # the last format that records only the name of the embedder
_MAX_COUNT = 1 << 48  # rows, commits or generations


class State(NamedTuple):
    """The row of the table `state`. Its `keys` is the column `rows`: see `records.Keys`."""

    generation: int
    sequence: int
    keys: int
    slots: int
    live: int
    approximate: int


def connect(folder: Folder, mode: str, timeout: float, name: str = STORE) -> sqlite3.Connection:
    """Open a connection in autocommit mode. The caller begins transactions.

    Raises:
        CorruptionError: one of the database's files is not a regular file. SQLite would follow a link and hang on a
            pipe.
        EngineError: the folder is no longer the one that was opened.
    """
    for part in DATABASE:
        folder.check_file(part.replace(STORE, name))
    if not folder.is_in_place():
        raise replaced_error(folder)
    query = "mode=ro&immutable=1" if mode == "immutable" else f"mode={mode}"
    connection = sqlite3.connect(
        f"file:{quote(str(folder.path / name))}?{query}",
        uri=True,
        timeout=timeout,
        isolation_level=None,
        check_same_thread=False,
    )
    connection.execute("PRAGMA trusted_schema=OFF")
    connection.execute("PRAGMA temp_store=MEMORY")
    defend(connection, True)
    return connection


def defend(connection: sqlite3.Connection, on: bool) -> None:
    """Switch SQLite's defensive mode, in which SQL cannot change the schema table or those of FTS5.

    The database may come from somebody else. Python can switch the mode since 3.12.
    """
    if sys.version_info >= (3, 12):
        connection.setconfig(sqlite3.SQLITE_DBCONFIG_DEFENSIVE, on)


@contextmanager
def undefended(connection: sqlite3.Connection) -> Iterator[None]:
    """Leave defensive mode, to repair the tables of FTS5."""
    defend(connection, False)
    try:
        yield
    finally:
        defend(connection, True)


def fold_log(connection: sqlite3.Connection) -> None:
    """Copy the write-ahead log into the database.

    A log that cannot be copied, on a full disk for example, stays and keeps every commit.

    Raises:
        sqlite3.Error: the log cannot be read.
    """
    try:
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode in (sqlite3.SQLITE_IOERR_READ, sqlite3.SQLITE_IOERR_SHORT_READ):
            raise


def read_state(connection: sqlite3.Connection) -> State:
    """Return the state that the transaction sees. Raises CorruptionError if it is missing or damaged."""
    row = connection.execute(STATE).fetchone()
    if row is None:
        raise CorruptionError("the database has lost its state; restore the folder from a copy")
    return _checked_state(*row)


@lru_cache(maxsize=64, typed=True)  # every transaction begins with it
def _checked_state(*row: Any) -> State:
    *values, stored_digest = row
    if any(type(value) is not int for value in values) or digest(*values) != stored_digest:
        raise CorruptionError(f"the database's state is damaged ({row}); restore the folder from a copy")
    state = State(*values)
    # A foreign database may carry a correct digest, and these numbers decide how much memory is allocated.
    counts = min(state.keys, state.slots), max(state.keys, state.slots)
    if (
        not 1 <= state.generation <= _MAX_COUNT
        or not 0 <= state.sequence <= _MAX_COUNT
        or not 0 <= state.approximate <= _MAX_COUNT
        or not 0 <= state.live <= counts[0] <= counts[1] <= _MAX_COUNT
    ):
        raise CorruptionError(f"the database's state holds impossible numbers ({row}); restore the folder from a copy")
    return state


def change_state(connection: sqlite3.Connection, state: State) -> None:
    """Store a new state, within a write transaction."""
    connection.execute(
        "UPDATE state SET generation = ?, sequence = ?, rows = ?, slots = ?, live = ?, approximate = ?, hash = ?",
        (*state, digest(*state)),
    )


def read_manifest(connection: sqlite3.Connection) -> Manifest:
    """Return the manifest that the transaction sees. Raises ManifestError if it is missing or damaged."""
    row = connection.execute("SELECT value, hash FROM manifest").fetchone()
    if row is None:
        raise ManifestError("the database has lost its manifest; restore the folder from a copy")
    return _checked_manifest(*row)


@lru_cache(maxsize=16, typed=True)  # every write reads it more than once
def _checked_manifest(value: Any, stored_digest: Any) -> Manifest:
    if isinstance(value, str) and digest(value) == stored_digest:
        manifest = Manifest.from_json(value)
        if manifest.is_possible():
            return manifest
    raise ManifestError(f"the collection's manifest is damaged: {value!r:.500}; restore the folder from a copy")


def settle_manifest(
    connection: sqlite3.Connection, space: Space, embedder: EmbedderSpec | None, *, is_empty: bool
) -> None:
    """Pin the space of the first batch, or check that a later batch fits the pinned one. In a write transaction.

    Args:
        embedder: the embedder of the batch, if known. It is recorded if the collection is empty.

    Raises:
        VectorError: the vectors were prepared for another space than the one that another writer has pinned.
    """
    manifest = read_manifest(connection)
    settled = manifest.settled(space, embedder if is_empty else None)
    if settled == manifest:
        return
    value = settled.to_json()
    connection.execute("UPDATE manifest SET value = ?, hash = ?", (value, digest(value)))
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version == _NAME_ALONE:  # a commit upgrades older ones, and the lexical index with them
        connection.execute(f"PRAGMA user_version={FORMAT}")


def read_note(connection: sqlite3.Connection, name: str) -> str | None:
    """Return a note of the guards, or None if it does not exist. Raises CorruptionError if it is damaged."""
    row = connection.execute("SELECT value, hash FROM notes WHERE name = ?", (name,)).fetchone()
    if row is None:
        return None
    value, stored_digest = row
    check_note(name, value, stored_digest)
    return str(value)


def check_note(name: object, value: object, stored_digest: object) -> None:
    """Raise CorruptionError if a note does not match its hash."""
    if not isinstance(name, str) or not isinstance(value, str) or digest(name, value) != stored_digest:
        raise CorruptionError(f"the note {name!r} is damaged; restore the folder from a copy", note=name)


def write_note(connection: sqlite3.Connection, name: str, value: str | None, *, replace: bool) -> None:
    """Write a note, within a write transaction; None deletes it.

    Args:
        replace: whether to overwrite an existing note.
    """
    if value is None:
        connection.execute("DELETE FROM notes WHERE name = ?", (name,))
        return
    verb = "REPLACE" if replace else "IGNORE"
    connection.execute(f"INSERT OR {verb} INTO notes VALUES (?, ?, ?)", (name, value, digest(name, value)))  # noqa: S608 - one of two words
