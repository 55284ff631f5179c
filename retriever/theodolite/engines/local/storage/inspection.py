"""Inspect a collection's folder through a connection that changes nothing, before it is opened."""

import contextlib
import os
import sqlite3
import time

from theodolite.engines.local.storage.database import connect, read_manifest, read_state
from theodolite.engines.local.storage.disk_full import is_full
from theodolite.engines.local.storage.folder import Folder
from theodolite.engines.local.storage.paths import STORE, vectors_name
from theodolite.engines.local.storage.schema import APPLICATION_ID, STATE, foreign_entries
from theodolite.engines.local.storage.vector_file import (
    Frame,
    VectorFile,
    check_frame,
    first_dimension,
    has_orphan,
    surplus_bytes,
    too_short_error,
)
from theodolite.errors import CorruptionError, EngineError, LockedError, ManifestError, TheodoliteError
from theodolite.settings import FORMAT, OLDEST, Manifest

PATIENCE = 1.0
"""Seconds, at least, to wait for a folder whose files keep changing."""

_STEPS = 1_000_000  # of SQLite's virtual machine: some milliseconds
_FREE_BYTES = 1 << 20  # a disk with more free bytes is not full


def inspect(folder: Folder, timeout: float) -> Manifest:
    """Check the database and compare it with the vector file. Returns the manifest.

    A writable connection would, on closing, fold a damaged log into the database and delete it. A reading one would
    leave an empty log behind where there is none. So without a log the file is read as it is. Other processes may
    write meanwhile, so a failure counts only if no file has changed since the same failure before.
    """
    deadline = time.monotonic() + max(timeout, PATIENCE)
    failed_at = None
    while True:
        before = _sizes_and_times(folder)
        try:
            return _inspect_once(folder, reading_mode(folder) if before[0] else "immutable", timeout)
        except (TheodoliteError, sqlite3.DatabaseError, FileNotFoundError) as error:
            time.sleep(0.01)  # file times are coarse: a write just before `before` may have the same time
            if before == failed_at == _sizes_and_times(folder):
                raise
            failed_at = before
            if time.monotonic() > deadline:
                raise LockedError(
                    f"{folder}: its files kept changing while it was opened ({error}); try again", folder=str(folder)
                ) from error


def reading_mode(folder: Folder) -> str:
    """Return the mode for reading the database: `ro`, or `immutable` if SQLite cannot open it that way."""
    quiet = not _size(folder, f"{STORE}-wal")
    if is_writable(folder):
        return "immutable" if quiet and not _has_room(folder) else "ro"
    if quiet:
        return "immutable"
    if folder.stat(f"{STORE}-shm") is not None:
        return "ro"  # another user has it open for writing
    raise EngineError(
        f"{folder} cannot be written to and was not closed cleanly, so its last commits cannot be read. "
        "Open and close it once where it is writable",
        folder=str(folder),
    )


def is_writable(folder: Folder) -> bool:
    """Whether this user may write to the folder and its database."""
    return os.access(folder.path, os.W_OK) and os.access(folder.path / STORE, os.W_OK)


def _has_room(folder: Folder) -> bool:
    """Whether the disk has room for the index of the log, which SQLite needs for reading."""
    if hasattr(os, "statvfs"):
        disk = os.statvfs(folder.path)
        if disk.f_bavail * disk.f_frsize > _FREE_BYTES:
            return True
    try:
        with contextlib.closing(connect(folder, "ro", 0)) as connection:
            connection.execute(STATE).fetchone()
    except sqlite3.OperationalError as error:
        return not is_full(error)
    return True


def _sizes_and_times(folder: Folder) -> tuple[int, ...]:
    """Return the sizes and times of the log and the database. They change when another process commits."""
    result: list[int] = []
    for name in (f"{STORE}-wal", STORE):
        status = folder.stat(name)
        result += (0, 0) if status is None else (status.st_size, status.st_mtime_ns)
    return tuple(result)


def _size(folder: Folder, name: str) -> int:
    """Return the size of a file, 0 if it is missing."""
    status = folder.stat(name)
    return 0 if status is None else status.st_size


def _inspect_once(folder: Folder, mode: str, timeout: float) -> Manifest:
    # Sizes first: by the time the state is read, everything in the file now is committed, except for one frame.
    sizes = {
        name: status.st_size for name in folder.names() if name.startswith("vectors-") and (status := folder.stat(name))
    }
    with contextlib.closing(connect(folder, mode, timeout)) as connection:
        limit_steps(connection, _size(folder, STORE) + _size(folder, f"{STORE}-wal"))
        connection.execute("BEGIN")
        _check_owner(connection, folder, has_vectors=bool(sizes))
        _check_declarations(connection, folder)
        manifest, state = read_manifest(connection), read_state(connection)
        name = vectors_name(state.generation)
        file = VectorFile(folder, state.generation, writable=False) if folder.stat(name) is not None else None
        # A database that has lost all its commits does not know the dimension, but the frames do.
        dimension = manifest.space.dimension or (None if file is None else first_dimension(file))
        if file is not None and dimension is not None:
            surplus_bytes(file, state.slots, dimension)
            has_orphan(file, state.slots, state.sequence, dimension, sizes.get(name, 0))
        elif state.slots:
            raise too_short_error(folder / name, state.slots * 4 * (dimension or 1), 0)
        if state.sequence:
            last = connection.execute(
                "SELECT sequence, first_row, rows, slot, crc, hash FROM frames WHERE sequence = ?", (state.sequence,)
            ).fetchone()
            if last is None or dimension is None or file is None:
                raise CorruptionError(f"{folder}: the change log lacks commit {state.sequence}; restore the folder")
            check_frame(file, Frame(*last[:-1]), last[-1], dimension)
        connection.execute("ROLLBACK")
        return manifest


def limit_steps(connection: sqlite3.Connection, size: int) -> None:
    """Interrupt any query that takes too many steps. Damaged pages that lead to each other would never end.

    Args:
        size: of the database in bytes. The checks of an opening take a small part of the steps that it allows.
    """
    left = [1 + size // _STEPS]

    def is_used_up() -> bool:
        left[0] -= 1
        return left[0] < 0

    connection.set_progress_handler(is_used_up, _STEPS)


def _check_owner(connection: sqlite3.Connection, folder: Folder, *, has_vectors: bool) -> None:
    """Check the header, which names the program and the format.

    Another program's database must not be reported as a damaged collection, and a damaged collection must not be
    reported as another program's database: vectors beside it tell them apart.
    """
    store = folder / STORE
    try:
        (owner,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
    except sqlite3.DatabaseError as error:
        is_ours = has_vectors or _size(folder, f"{STORE}-wal")
        if getattr(error, "sqlite_errorcode", 0) != sqlite3.SQLITE_NOTADB or is_ours:
            raise
        raise ManifestError(
            f"{store} is not a database; nothing was changed. Name another folder", folder=str(folder)
        ) from error
    if owner != APPLICATION_ID:
        if has_vectors:
            raise CorruptionError(
                f"the header of {store} is damaged: its application id is {owner:#x}, not {APPLICATION_ID:#x}. "
                "Restore the folder from a copy",
                folder=str(folder),
            )
        raise ManifestError(
            f"{store} is not a theodolite store; nothing was changed. Name another folder", folder=str(folder)
        )
    if version < OLDEST:
        raise ManifestError(
            f"{folder} has format {version}, from a version before the first release; this theodolite reads "
            f"formats {OLDEST} to {FORMAT}. Index the documents again, in another folder",
            folder=str(folder),
            format=version,
        )
    if version > FORMAT:
        raise ManifestError(
            f"{folder} has format {version}; this theodolite reads up to {FORMAT}. Upgrade theodolite",
            folder=str(folder),
            format=version,
        )


def _check_declarations(connection: sqlite3.Connection, folder: Folder) -> None:
    """Check the schema before anything is read from a table: a foreign view or trigger would run its author's SQL."""
    foreign = foreign_entries(connection)
    if foreign:
        raise CorruptionError(
            f"{folder / STORE} does not have the schema of a collection: {len(foreign)} differences, first "
            f"{foreign[0]}. Nothing of it was run. Restore the folder from a copy",
            folder=str(folder),
        )
