"""Opening a folder: what is in it is looked at before anything is touched."""

import contextlib
import os
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from theodolite.engines.local.files import DATABASE, STORE, vectors_name
from theodolite.engines.local.folder import Folder
from theodolite.engines.local.frames import Frame, check_frame, first_dimension, has_orphan, surplus
from theodolite.engines.local.schema import APPLICATION_ID
from theodolite.engines.local.store import (
    Store,
    connect,
    create_store,
    read_manifest,
    read_state,
    translated,
    use_wal,
)
from theodolite.engines.local.vector_file import VectorFile, too_short
from theodolite.errors import CorruptionError, EngineError, LockedError, ManifestError, TheodoliteError
from theodolite.manifest import FORMAT, Manifest, check_partitioned, check_pinned, new_manifest
from theodolite.transforms import checked
from theodolite.types import Metric, Norms, Transform

_TRIES = 20


def open_store(
    folder: Path,
    *,
    metric: Metric | None,
    norms: Norms,
    embedder: str | None,
    partition: str | None,
    transforms: Sequence[Transform] = (),
    create: bool,
    read_only: bool,
    lock_timeout: float,
    durable: bool,
) -> tuple[Store, Manifest]:
    """The store in a folder, made if there is none.

    Raises:
        ManifestError: the folder is not ours, half ours, or of a newer version; it is left untouched.
        MetricMismatchError, ConfigError: an argument contradicts what is pinned.
        CorruptionError: what is stored is damaged; it is left untouched.
        EngineError: the folder cannot be read or written.
    """
    with translated(folder):
        if not is_collection(folder):
            _check_absent(folder, create=create and not read_only)
            manifest = new_manifest(metric, norms, embedder, partition, transforms)
            folder.mkdir(parents=True, exist_ok=True)
            create_store(Folder(folder), manifest, lock_timeout)
        opened = Folder(folder)
        mode = _mode(opened, read_only)
        manifest = _inspect(opened, mode, lock_timeout)
        check_pinned(manifest.space, metric, norms, transforms)
        check_partitioned(manifest, partition)
        if mode == "rw":
            use_wal(opened, lock_timeout)
    return Store(opened, mode=mode, lock_timeout=lock_timeout, durable=durable), manifest


def check_folder(
    folder: Path,
    metric: Metric | None,
    norms: Norms,
    partition: str | None,
    transforms: Sequence[Transform],
    create: bool,
    timeout: float,
) -> None:
    """Raises ManifestError, MetricMismatchError, ConfigError or CorruptionError, as `open_store` would."""
    with translated(folder):
        if is_collection(folder):
            opened = Folder(folder)
            manifest = _inspect(opened, _mode(opened, read_only=True), timeout)
            check_pinned(manifest.space, metric, norms, transforms)
            check_partitioned(manifest, partition)
        else:
            _check_absent(folder, create=create)
            checked(transforms, metric or "cosine", norms)


def _check_absent(folder: Path, *, create: bool) -> None:
    if not create:
        raise ManifestError(f"{folder}: there is no collection", folder=str(folder))


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
    """Whether the folder holds a collection; False where one can be made.

    Raises:
        ManifestError: it holds something else.
    """
    if not folder.exists():
        return False
    if not folder.is_dir():
        raise ManifestError(f"{folder} is a file; a collection is a folder", folder=str(folder))
    opened = Folder(folder)
    found = [opened.check_file(name) for name in DATABASE]
    if found[0] is None or not found[0].st_size:
        # A database of no bytes is one whose creation was cut off. Whatever else lies there is not ours.
        others = [name for name in opened.names() if not name.startswith(STORE)]
        if others:
            half = any(name.startswith("vectors-") for name in others)
            what = f"half a collection: {STORE} is missing" if half else "not a theodolite collection"
            raise ManifestError(
                f"{folder} is {what}; it holds {', '.join(others[:3])}{' …' if len(others) > 3 else ''}. "
                "Nothing was changed; name another folder" + (", or restore the file" if half else ""),
                folder=str(folder),
            )
        return False
    _check_header(opened)
    # With a journal, creation was cut off: SQLite rolls it back, and the store is made again.
    return found[-1] is None


def _check_header(folder: Folder) -> None:
    # Read through SQLite: where any other handle to the file is closed, POSIX drops the locks of the connections this
    # process has to it, and what it commits afterwards can be lost.
    owner = version = 0
    with contextlib.closing(connect(folder, "immutable", 0)) as connection:
        try:
            (owner,) = connection.execute("PRAGMA application_id").fetchone()
            (version,) = connection.execute("PRAGMA user_version").fetchone()
        except sqlite3.OperationalError:  # it cannot be read
            raise
        except sqlite3.DatabaseError:  # it is no database
            pass
    if owner != APPLICATION_ID:
        raise ManifestError(
            f"{folder / STORE} is not a theodolite store; nothing was changed. Name another folder",
            folder=str(folder),
        )
    if version < FORMAT:
        raise ManifestError(
            f"{folder} is of format {version}, made by a version before the first release; this theodolite reads "
            f"format {FORMAT}. Index the documents anew, in another folder",
            folder=str(folder),
            format=version,
        )
    if version > FORMAT:
        raise ManifestError(
            f"{folder} is of format {version}; this theodolite reads up to {FORMAT}. Upgrade theodolite",
            folder=str(folder),
            format=version,
        )


def _mode(folder: Folder, read_only: bool) -> str:
    writable = os.access(folder.path, os.W_OK) and os.access(folder.path / STORE, os.W_OK)
    if not read_only:
        if writable:
            return "rw"
        raise EngineError(f"{folder} cannot be written to. Open it with read_only=True", folder=str(folder))
    if writable:
        return "ro"
    log = folder.stat(f"{STORE}-wal")
    if log is None or not log.st_size:
        return "immutable"
    if folder.stat(f"{STORE}-shm") is not None:
        return "ro"  # somebody who may write has it open
    raise EngineError(
        f"{folder} cannot be written to and was not closed cleanly, so its last commits cannot be read. "
        "Open and close it once where it is writable",
        folder=str(folder),
    )


def _inspect(folder: Folder, mode: str, timeout: float) -> Manifest:
    """Hold the database against the vector file, through a connection that changes nothing.

    A connection that may write would, on closing, fold a damaged log into the database and delete it; one that
    reads would leave an empty log behind where there is none. So without a log the file is read as it stands, and
    again if somebody has written meanwhile.
    """
    failed_at = None
    for _ in range(_TRIES):
        before = _signature(folder)
        quiet = mode == "immutable" or not before[0]
        try:
            return _look(folder, "immutable" if quiet else "ro", timeout)
        except (TheodoliteError, sqlite3.DatabaseError, FileNotFoundError):
            time.sleep(0.01)  # file times tick coarsely: what was written just before `before` may have its time
            if before == failed_at == _signature(folder):
                raise
            failed_at = before
    raise LockedError(f"{folder}: others write without a pause; try again", folder=str(folder))


def _signature(folder: Folder) -> tuple[int, ...]:
    """Changes when another process commits: sizes and times of the log and the database."""
    found: list[int] = []
    for name in (f"{STORE}-wal", STORE):
        there = folder.stat(name)
        found += (0, 0) if there is None else (there.st_size, there.st_mtime_ns)
    return tuple(found)


def _look(folder: Folder, mode: str, timeout: float) -> Manifest:
    # The size first: what lies in the file now is, but for one frame, committed by the time the state is read.
    sizes = {
        name: found.st_size for name in folder.names() if name.startswith("vectors-") and (found := folder.stat(name))
    }
    connection = connect(folder, mode, timeout)
    try:
        connection.execute("BEGIN")
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
    finally:
        connection.close()
