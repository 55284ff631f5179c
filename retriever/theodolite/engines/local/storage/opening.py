"""Opening a folder: what is in it is looked at before anything is touched."""

import contextlib
import os
import shutil
import sqlite3
import tempfile
import time
from pathlib import Path

from theodolite.engines.local.storage.creation import create_store, use_wal
from theodolite.engines.local.storage.database import Store, connect, read_manifest, read_state
from theodolite.engines.local.storage.folder import Folder
from theodolite.engines.local.storage.frames import Frame, check_frame, first_dimension, has_orphan, surplus
from theodolite.engines.local.storage.paths import DATABASE, STORE, vectors_name
from theodolite.engines.local.storage.reserve import FOR_DELETING, free_room
from theodolite.engines.local.storage.schema import APPLICATION_ID, STATE, foreign_entries
from theodolite.engines.local.storage.sqlite_errors import is_full, translated
from theodolite.engines.local.storage.vector_file import VectorFile, too_short
from theodolite.errors import CorruptionError, EngineError, LockedError, ManifestError, TheodoliteError
from theodolite.manifest import FORMAT, OLDEST, Manifest, new_manifest
from theodolite.settings import CollectionSettings

_STEPS = 1_000_000  # of SQLite's machine, some milliseconds
_PLENTY = 1 << 20  # bytes of a disk that is not full
_PATIENCE = 1.0  # seconds for which files may keep changing, at least


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
    """The store in a folder, made if there is none.

    Raises:
        ManifestError: the folder is not ours, half ours, or of a newer version; it is left untouched.
        MetricMismatchError, ConfigError: an argument contradicts what is pinned.
        CorruptionError: what is stored is damaged; it is left untouched.
        EngineError: the folder cannot be read or written.
    """
    with translated(folder):
        if not _is_there(folder, create=create and not read_only):
            manifest = new_manifest(settings)
            folder.mkdir(parents=True, exist_ok=True)
            create_store(Folder(folder), manifest, lock_timeout)
        opened = Folder(folder)
        try:
            mode, manifest = _opened(opened, read_only, lock_timeout)
        except (sqlite3.Error, EngineError) as error:
            if read_only or not is_full(error) or not free_room(opened, FOR_DELETING):
                raise
            mode, manifest = _opened(opened, read_only, lock_timeout)
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


def _opened(folder: Folder, read_only: bool, timeout: float) -> tuple[str, Manifest]:
    """The mode of a store that is found in order, and what is pinned."""
    manifest = _inspect(folder, timeout)
    if read_only:
        return _reading_mode(folder), manifest
    if not _is_writable(folder):
        raise EngineError(f"{folder} cannot be written to. Open it with read_only=True", folder=str(folder))
    use_wal(folder, timeout)
    return "rw", manifest


def check_folder(folder: Path, settings: CollectionSettings, *, create: bool, lock_timeout: float) -> None:
    """Raises ManifestError, MetricMismatchError, ConfigError or CorruptionError, as `open_store` would."""
    with translated(folder):
        if _is_there(folder, create=create):
            manifest = _inspect(Folder(folder), lock_timeout)
            settings.check_pinned(manifest.space, manifest.partition)


def _is_there(folder: Path, *, create: bool) -> bool:
    """Whether there is a collection; False only with `create`. Raises as `is_collection`."""
    deadline = time.monotonic() + _PATIENCE
    while not is_collection(folder):
        if create:
            return False
        if not (folder / f"{STORE}-journal").exists() or time.monotonic() > deadline:
            raise ManifestError(f"{folder}: there is no collection", folder=str(folder))
        time.sleep(0.01)  # another process is making it
    return True


class TemporaryFolder:
    """A private folder for a collection in memory."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="theodolite-"))
        self._pid = os.getpid()

    def remove(self) -> None:
        """Delete it, but not in a forked child: it is the parent's."""
        if self._pid == os.getpid():
            shutil.rmtree(self.path, ignore_errors=True)


def is_collection(folder: Path) -> bool:
    """Whether the folder holds a collection, or a database at least; False where one can be made.

    Raises:
        ManifestError: it holds something else.
        CorruptionError: a file of the database is missing, or is none.
    """
    if not folder.exists():
        return False
    if not folder.is_dir():
        raise ManifestError(f"{folder} is a file; a collection is a folder", folder=str(folder))
    opened = Folder(folder)
    store, log, _, journal = (opened.check_file(name) for name in DATABASE)
    if store is not None and store.st_size:
        # With a journal, creation was cut off: SQLite rolls it back, and the store is made again.
        return journal is None
    if log is not None and log.st_size:  # SQLite would delete it
        raise CorruptionError(
            f"{folder / STORE} is missing or empty, but its log holds commits. Nothing was changed; restore {STORE}",
            folder=str(folder),
        )
    # A database of no bytes is one whose creation was cut off. Other files do not belong to it.
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


def _reading_mode(folder: Folder) -> str:
    """How a connection that only reads opens the database: `ro`, or `immutable` where SQLite could not."""
    quiet = not _size(folder, f"{STORE}-wal")
    if _is_writable(folder):
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


def _has_room(folder: Folder) -> bool:
    """Whether SQLite can make the index of the log that it reads with."""
    if hasattr(os, "statvfs"):
        disk = os.statvfs(folder.path)
        if disk.f_bavail * disk.f_frsize > _PLENTY:
            return True
    try:
        with contextlib.closing(connect(folder, "ro", 0)) as connection:
            connection.execute(STATE).fetchone()
    except sqlite3.OperationalError as error:
        return not is_full(error)
    return True


def _is_writable(folder: Folder) -> bool:
    return os.access(folder.path, os.W_OK) and os.access(folder.path / STORE, os.W_OK)


def _inspect(folder: Folder, timeout: float) -> Manifest:
    """Check the database and compare it with the vector file, through a connection that changes nothing.

    A connection that may write would, on closing, fold a damaged log into the database and delete it; one that
    reads would leave an empty log behind where there is none. So without a log the file is read as it is. Other
    processes may write meanwhile, so a failure counts only if no file has changed since the same failure before.
    """
    deadline = time.monotonic() + max(timeout, _PATIENCE)
    failed_at = None
    while True:
        before = _signature(folder)
        try:
            return _look(folder, _reading_mode(folder) if before[0] else "immutable", timeout)
        except (TheodoliteError, sqlite3.DatabaseError, FileNotFoundError) as error:
            time.sleep(0.01)  # file times tick coarsely: what was written just before `before` may have its time
            if before == failed_at == _signature(folder):
                raise
            failed_at = before
            if time.monotonic() > deadline:
                raise LockedError(
                    f"{folder}: its files kept changing while it was opened ({error}); try again", folder=str(folder)
                ) from error


def _signature(folder: Folder) -> tuple[int, ...]:
    """Changes when another process commits: sizes and times of the log and the database."""
    found: list[int] = []
    for name in (f"{STORE}-wal", STORE):
        there = folder.stat(name)
        found += (0, 0) if there is None else (there.st_size, there.st_mtime_ns)
    return tuple(found)


def _size(folder: Folder, name: str) -> int:
    """The size of a file, 0 where there is none."""
    found = folder.stat(name)
    return 0 if found is None else found.st_size


def _look(folder: Folder, mode: str, timeout: float) -> Manifest:
    # The size first: what lies in the file now is, but for one frame, committed by the time the state is read.
    sizes = {
        name: found.st_size for name in folder.names() if name.startswith("vectors-") and (found := folder.stat(name))
    }
    with contextlib.closing(connect(folder, mode, timeout)) as connection:
        _limit(connection, _size(folder, STORE) + _size(folder, f"{STORE}-wal"))
        connection.execute("BEGIN")
        _check_owner(connection, folder, ours=bool(sizes))
        _check_declarations(connection, folder)
        manifest, state = read_manifest(connection), read_state(connection)
        name = vectors_name(state.generation)
        file = VectorFile(folder, state.generation, writable=False) if folder.stat(name) is not None else None
        # A database that has lost all its commits knows of no dimension, but the frames do.
        dimension = manifest.space.dimension or (None if file is None else first_dimension(file))
        if file is not None and dimension is not None:
            surplus(file, state.slots, dimension)
            has_orphan(file, state.slots, state.sequence, dimension, sizes.get(name, 0))
        elif state.slots:
            raise too_short(folder / name, state.slots * 4 * (dimension or 1), 0)
        if state.sequence:
            last = connection.execute(
                "SELECT sequence, first_row, rows, slot, crc, hash FROM frames WHERE sequence = ?", (state.sequence,)
            ).fetchone()
            if last is None or dimension is None or file is None:
                raise CorruptionError(f"{folder}: the change log lacks commit {state.sequence}; restore the folder")
            check_frame(file, Frame(*last[:-1]), last[-1], dimension)
        connection.execute("ROLLBACK")
        return manifest


def _limit(connection: sqlite3.Connection, size: int) -> None:
    """Let no query of a connection run on for ever, as one over pages that lead to each other would.

    Args:
        size: of the database in bytes; the checks at an opening take a small part of the steps that it allows.
    """
    left = [1 + size // _STEPS]

    def used() -> bool:
        left[0] -= 1
        return left[0] < 0

    connection.set_progress_handler(used, _STEPS)


def _check_owner(connection: sqlite3.Connection, folder: Folder, *, ours: bool) -> None:
    """Read the header, with the log if there is one: another program's database is never taken for a damaged one of
    ours, nor the other way round.

    Args:
        ours: whether there are vectors beside the database.
    """
    store = folder / STORE
    try:
        (owner,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
    except sqlite3.DatabaseError as error:
        if getattr(error, "sqlite_errorcode", 0) != sqlite3.SQLITE_NOTADB or ours or _size(folder, f"{STORE}-wal"):
            raise
        raise ManifestError(
            f"{store} is not a database; nothing was changed. Name another folder", folder=str(folder)
        ) from error
    if owner != APPLICATION_ID:
        if ours:
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
            f"{folder} is of format {version}, made by a version before the first release; this theodolite reads "
            f"formats {OLDEST} to {FORMAT}. Index the documents anew, in another folder",
            folder=str(folder),
            format=version,
        )
    if version > FORMAT:
        raise ManifestError(
            f"{folder} is of format {version}; this theodolite reads up to {FORMAT}. Upgrade theodolite",
            folder=str(folder),
            format=version,
        )


def _check_declarations(connection: sqlite3.Connection, folder: Folder) -> None:
    """Before anything is read from a table: a view or a trigger in its place would run its author's SQL."""
    foreign = foreign_entries(connection)
    if foreign:
        raise CorruptionError(
            f"{folder / STORE} does not have the schema of a collection: {len(foreign)} differences, first "
            f"{foreign[0]}. Nothing of it was run. Restore the folder from a copy",
            folder=str(folder),
        )
