"""Open the collection in a folder, or create one. An existing folder is inspected before anything in it changes."""

import sqlite3
import time
from pathlib import Path

from theodolite.engines.local.storage.crash_points import crash_point
from theodolite.engines.local.storage.database import State, connect
from theodolite.engines.local.storage.disk_full import FOR_DELETING, free_room, is_full
from theodolite.engines.local.storage.folder import Folder
from theodolite.engines.local.storage.inspection import PATIENCE, inspect, is_writable, reading_mode
from theodolite.engines.local.storage.paths import DATABASE, STORE
from theodolite.engines.local.storage.schema import APPLICATION_ID, TABLES, digest
from theodolite.engines.local.storage.sqlite_errors import is_busy, translate_errors
from theodolite.engines.local.storage.store import Store
from theodolite.errors import CorruptionError, EngineError, LockedError, ManifestError
from theodolite.settings import FORMAT, CollectionSettings, Manifest, new_manifest


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
        settings.check_pinned(manifest.space, manifest.partition)
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
            settings.check_pinned(manifest.space, manifest.partition)


def _exists(folder: Path, *, create: bool) -> bool:
    """Whether there is a collection. A missing one raises ManifestError unless `create` is set."""
    deadline = time.monotonic() + PATIENCE
    while not is_collection(folder):
        if create:
            return False
        if not (folder / f"{STORE}-journal").exists() or time.monotonic() > deadline:
            raise ManifestError(f"{folder}: there is no collection", folder=str(folder))
        time.sleep(0.01)  # another process is creating it
    return True


def is_collection(folder: Path) -> bool:
    """Whether the folder holds a collection, or at least a database. False if one can be created there.

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
