"""Open the collection in a folder, or create one.

An existing folder is inspected first, through a connection that changes nothing.
"""

import contextlib
import itertools
import os
import sqlite3
import time
from pathlib import Path

from theodolite.engines import refusals
from theodolite.engines.local.storage.crash_points import crash_point
from theodolite.engines.local.storage.database import State, connect, read_manifest, read_state
from theodolite.engines.local.storage.folder import DATABASE, STORE, Folder, vectors_name
from theodolite.engines.local.storage.io_errors import FOR_DELETING, free_room, is_busy, is_full, translate_errors
from theodolite.engines.local.storage.schema import APPLICATION_ID, STATE, TABLES, digest, foreign_entries
from theodolite.engines.local.storage.store import Store
from theodolite.engines.local.storage.vector_file import (
    Frame,
    VectorFile,
    check_frame,
    first_dimension,
    has_orphan,
    surplus_bytes,
    too_short_error,
)
from theodolite.errors import (
    CorruptionError,
    EngineError,
    LockedError,
    ManifestError,
    TheodoliteError,
    closest,
)
from theodolite.settings import FORMAT, OLDEST, CollectionSettings, Manifest, new_manifest

PATIENCE = 1.0
"""Seconds, at least, to wait for a folder whose files keep changing."""

_STEPS = 1_000_000  # of SQLite's virtual machine: some milliseconds
_MOST_BESIDE = 10_000  # folders to compare a mistyped name with
_FREE_BYTES = 1 << 20  # a disk with more free bytes is not full


def open_store(
    folder: Path,
    settings: CollectionSettings,
    *,
    create: bool,
    read_only: bool,
    lock_timeout: float,
    durable: bool,
    trust_index: bool = False,
) -> tuple[Store, Manifest]:
    """Open the store in a folder, creating it if it is missing and `create` is set.

    Raises:
        ManifestError: the folder is not a collection, lacks its database, or has a newer format; it is left untouched.
        MetricMismatchError, ConfigError: an argument contradicts the manifest.
        CorruptionError: the stored data is damaged; it is left untouched.
        EngineError: the folder cannot be read or written.
    """
    with translate_errors(folder):
        if not _exists(folder, create=create and not read_only):
            manifest = new_manifest(settings)
            folder.mkdir(parents=True, exist_ok=True)
            create_store(Folder(folder), manifest, lock_timeout)
        opened = Folder(folder)
        try:
            mode, manifest = _inspect_and_prepare(opened, read_only, lock_timeout)
        except (sqlite3.Error, EngineError) as error:
            if read_only or not is_full(error) or not free_room(opened, FOR_DELETING):
                raise
            mode, manifest = _inspect_and_prepare(opened, read_only, lock_timeout)
        settings.check_pinned(manifest.space, manifest.partition, manifest.bm25)
    store = Store(
        opened,
        uid=manifest.uid,
        mode=mode,
        lock_timeout=lock_timeout,
        durable=durable,
        trust_index=trust_index,
    )
    return store, manifest


def _inspect_and_prepare(folder: Folder, read_only: bool, timeout: float) -> tuple[str, Manifest]:
    """Inspect a store and prepare it for writing. Returns the mode to open it in, and its manifest."""
    manifest = inspect(folder, timeout)
    if read_only:
        return reading_mode(folder), manifest
    if not is_writable(folder):
        raise EngineError(f"{folder} cannot be written to. Open it with read_only=True", folder=str(folder))
    use_wal(folder, timeout)
    return "rw", manifest


def check_folder(folder: Path, settings: CollectionSettings, *, create: bool, lock_timeout: float) -> None:
    """Raise the same ManifestError, MetricMismatchError, ConfigError or CorruptionError as `open_store`."""
    with translate_errors(folder):
        if _exists(folder, create=create):
            manifest = inspect(Folder(folder), lock_timeout)
            settings.check_pinned(manifest.space, manifest.partition, manifest.bm25)


def _exists(folder: Path, *, create: bool) -> bool:
    """Return whether there is a collection. A missing one raises CollectionNotFoundError unless `create` is set."""
    deadline = time.monotonic() + PATIENCE
    while not is_collection(folder):
        if create:
            return False
        if not (folder / f"{STORE}-journal").exists() or time.monotonic() > deadline:
            near = _similar(folder)
            raise refusals.not_found(folder, near, folder=str(folder), similar=near)
        time.sleep(0.01)  # another process is creating it
    return True


def _similar(folder: Path) -> str | None:
    """Return the collection beside a folder whose name is most similar, or None."""
    with contextlib.suppress(OSError), os.scandir(folder.parent) as entries:
        beside = itertools.islice(entries, _MOST_BESIDE)
        near = closest(folder.name, [entry.name for entry in beside if os.path.isfile(os.path.join(entry.path, STORE))])
        return None if near is None else str(folder.with_name(near))
    return None


def is_collection(folder: Path) -> bool:
    """Return whether the folder holds a collection, or at least a database. False if one can be created there.

    Raises:
        ManifestError: the folder holds something else.
        CorruptionError: a file of the database is missing, or is not a regular file.
    """
    if not folder.exists():
        return False
    if not folder.is_dir():
        raise ManifestError(f"{folder} is a file; a collection is a folder", folder=str(folder))
    opened = Folder(folder)
    store, log, _, journal = (opened.check_file(name) for name in DATABASE)
    if store is not None and store.st_size:
        # A journal means that creation was interrupted: SQLite rolls it back, and the store is created again.
        return journal is None
    if log is not None and log.st_size:  # SQLite would delete it
        raise CorruptionError(
            f"{folder / STORE} is missing or empty, but its log holds commits. Nothing was changed; restore {STORE}",
            folder=str(folder),
        )
    # An empty database is one whose creation was interrupted. Other files do not belong to it.
    others = [name for name in opened.names() if not name.startswith(STORE)]
    if others:
        half = any(name.startswith("vectors-") for name in others)
        what = f"half a collection: {STORE} is missing" if half else "not a theodolite collection"
        cure = "restore the file" if half else "name another folder"
        raise ManifestError(
            f"{folder} is {what}; it holds {', '.join(others[:3])}{' …' if len(others) > 3 else ''}. "
            f"Nothing was changed; {cure}",
            folder=str(folder),
        )
    return False


def create_store(folder: Folder, manifest: Manifest, timeout: float) -> None:
    """Create store.sqlite, unless another process was faster. After a crash, the next call starts over."""
    with translate_errors(folder):
        connection = connect(folder, "rwc", timeout)
        try:
            connection.execute("BEGIN")
            # It must be set before there are tables. It writes to the empty file, so it takes the write lock, too.
            connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
            crash_point("create.begun")
            # If there are tables, another process was faster; `inspect` checks them.
            if not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
                connection.execute(f"PRAGMA user_version={FORMAT}")
                for statement in TABLES.split(";\n"):
                    connection.execute(statement)
                value = manifest.to_json()
                connection.execute("INSERT INTO manifest VALUES (?, ?)", (value, digest(value)))
                state = State(1, 0, 0, 0, 0, 0)
                connection.execute("INSERT INTO state VALUES (?, ?, ?, ?, ?, ?, ?)", (*state, digest(*state)))
            connection.execute("COMMIT")
            folder.sync()
            crash_point("create.committed")
        finally:
            connection.close()


def use_wal(folder: Folder, timeout: float) -> None:
    """Turn the journal into a write-ahead log, so that readers can go on during writes."""
    deadline = time.monotonic() + timeout
    with translate_errors(folder):
        connection = connect(folder, "rw", timeout)
        try:
            while True:
                try:
                    if connection.execute("PRAGMA journal_mode=WAL").fetchone()[0] == "wal":
                        return
                except sqlite3.OperationalError as error:
                    if not is_busy(error):
                        raise
                if time.monotonic() > deadline:
                    raise LockedError(f"{folder}: the database is in use and cannot be set up; try again")
                time.sleep(0.005)
        finally:
            connection.close()


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
    """Return whether this user may write to the folder and its database."""
    return os.access(folder.path, os.W_OK) and os.access(folder.path / STORE, os.W_OK)


def is_foreign(folder: Folder) -> bool:
    """Return whether the database belongs to another user, or this user may not write to it."""
    status = folder.stat(STORE)
    is_owner = status is None or not hasattr(os, "geteuid") or status.st_uid == os.geteuid()
    return not (is_owner and is_writable(folder))


def _has_room(folder: Folder) -> bool:
    """Return whether the disk has room for the index of the log, which SQLite needs for reading."""
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
        size: the size of the database in bytes. Opening takes a small part of the steps that it allows.
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
            f"{foreign[0]}. None of its SQL was run. Restore the folder from a copy",
            folder=str(folder),
        )
