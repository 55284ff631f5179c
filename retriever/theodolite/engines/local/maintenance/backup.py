"""Back up a collection: copy it as of one commit, while others write.

The copy is made beside its target, under names that nothing opens, and renamed once all of it is durable.
"""

import contextlib
import os
import secrets
import shutil
import sqlite3
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from theodolite.engines.local.derived.index_record import read_index_record, sha256_of
from theodolite.engines.local.derived.snapshot import Snapshot, StaleSnapshot
from theodolite.engines.local.maintenance.compact import release
from theodolite.engines.local.maintenance.generations import NextGeneration
from theodolite.engines.local.storage.change_log import committed_frames
from theodolite.engines.local.storage.crash_points import crash_point
from theodolite.engines.local.storage.database import connect, read_state
from theodolite.engines.local.storage.folder import (
    JUDGMENTS,
    RECORDS,
    STORE,
    Folder,
    codes_folder,
    index_folder,
    sync_file,
    sync_folder,
)
from theodolite.engines.local.storage.io_errors import is_busy, translate_errors
from theodolite.engines.local.storage.store import Store
from theodolite.engines.local.storage.vector_file import VectorFile, holds_frame
from theodolite.errors import ConfigError, CorruptionError, EngineError, LockedError

Progress = Callable[[int], object]

_PAGES = 1024  # of the database, copied at a time
_BYTES_AT_A_TIME = 1 << 20  # of the vectors
_MAX_DEAD = 0.1  # a larger share of dead rows is left out, together with the approximate index that contains them
_BESIDE_TIMEOUT = 1.0  # seconds to wait for a program that writes records or judgments
_UNFINISHED = "store.partial"


@contextmanager
def _new_folder(target: Path) -> Iterator[Folder]:
    """Create a folder to fill, which is renamed to `target` at the end of the block. An exception removes it.

    Raises:
        ConfigError: `target` exists already.
        EngineError: the copy cannot be written.
    """
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ConfigError(f"{target} exists already; nothing was written. Name another folder", folder=str(target))
    beside = target.with_name(f".{target.name}.{secrets.token_hex(4)}.partial")
    try:
        beside.parent.mkdir(parents=True, exist_ok=True)
        beside.mkdir()
        yield Folder(beside)
        sync_folder(beside)
        if target.exists():
            target.rmdir()  # empty
        beside.rename(target)
        sync_folder(target.parent)
    except BaseException as error:
        shutil.rmtree(beside, ignore_errors=True)
        if isinstance(error, OSError):
            raise EngineError(f"{target} cannot be written: {error.strerror or error}", folder=str(target)) from error
        raise


def _copy_collection(
    connection: sqlite3.Connection, snapshot: Snapshot, store: Store, target: Folder, progress: Progress
) -> None:
    """Copy the state that a transaction sees into an empty folder, durably.

    Raises:
        CorruptionError: vectors do not match their checksum, so a copy would be useless.
        StaleSnapshot: the vector file is gone, because another process has begun a new generation.
        OSError, EngineError: the copy cannot be written.
    """
    if snapshot.state.sequence:
        try:
            source = store.vectors(snapshot.state.generation)
        except FileNotFoundError:
            raise StaleSnapshot from None
    living = None
    if snapshot.rows - snapshot.state.live > _MAX_DEAD * snapshot.rows:
        living = _copy_living(connection, snapshot, store.folder, target, progress)
    elif snapshot.state.sequence:
        _copy_vectors(connection, source, snapshot, target, progress)
    crash_point("backup.vectors")
    if living is None:
        _copy_caches(connection, snapshot, store.folder, target)
    _copy_store(connection, target, progress, living)
    crash_point("backup.store")
    for name in (JUDGMENTS, RECORDS):
        _copy_beside(store.folder, target, name)
    target.rename(_UNFINISHED, STORE)


def _copy_living(
    connection: sqlite3.Connection, snapshot: Snapshot, folder: Folder, target: Folder, progress: Progress
) -> NextGeneration:
    """Copy the living rows only. The copy begins a generation of its own, as after a compaction."""
    size = 4 * snapshot.flat.dimension
    living = NextGeneration(target, connection, snapshot, writable=True)
    living.copy(lambda rows: progress(rows * size))
    living.derive_codes(lambda rows: None)
    living.derive_columns(connection, folder)
    living.finish(snapshot.state)
    living.sync()
    return living


def _copy_store(
    connection: sqlite3.Connection, target: Folder, progress: Progress, living: NextGeneration | None
) -> None:
    """Copy the database. With `living`, the copy records that generation as the current one."""
    left = 0

    def on_progress(status: int, remaining: int, total: int) -> None:
        nonlocal left
        progress(max(0, (left or total) - remaining) * 4096)
        left = remaining

    with translate_errors(target), contextlib.closing(connect(target, "rwc", 0, _UNFINISHED)) as copy:
        # The open transaction on `connection` pins the commit, so that writers do not make the copy start over.
        connection.backup(copy, pages=_PAGES, progress=on_progress, sleep=0)
        if living is not None:
            copy.execute("BEGIN IMMEDIATE")
            living.record(copy, read_state(copy))
            release(copy, sys.maxsize)
            copy.execute("COMMIT")
    with target.open_to_change(_UNFINISHED) as file:
        sync_file(file)


def _copy_beside(folder: Folder, target: Folder, name: str) -> None:
    """Copy a database beside the store: judgments, or the records of the LangChain adapter.

    They fit any commit, because readers look up in the store which ids exist.

    Raises:
        LockedError: another process is writing judgments.
    """
    if folder.stat(name) is None:
        return
    try:
        with (
            contextlib.closing(connect(folder, "rw", _BESIDE_TIMEOUT, name)) as connection,
            contextlib.closing(connect(target, "rwc", 0, name)) as copy,
        ):
            connection.backup(copy, pages=_PAGES)
        with target.open_to_change(name) as file:
            sync_file(file)
    except (sqlite3.Error, CorruptionError) as error:  # the documents do not need them
        target.remove([name])
        if name != JUDGMENTS or isinstance(error, CorruptionError):
            return
        if is_busy(error):
            raise LockedError(f"{folder / name}: another program is writing judgments; back up again") from error
        with folder.open(name) as file, target.create(name) as damaged:  # people made them: kept for inspection
            shutil.copyfileobj(file, damaged, _BYTES_AT_A_TIME)


def _copy_vectors(
    connection: sqlite3.Connection, source: VectorFile, snapshot: Snapshot, target: Folder, progress: Progress
) -> None:
    name, dimension, at = source.name, snapshot.flat.dimension, 0
    with target.create(name) as out:
        for frame, _ in committed_frames(connection, snapshot.base):
            start, end = 4 * dimension * frame.slot, 4 * dimension * (frame.slot + frame.rows)
            out.write(source.read(at, start - at))
            crc, at = 0, start
            while part := source.read(at, min(_BYTES_AT_A_TIME, end - at)):
                crc = zlib.crc32(part, crc)
                out.write(part)
                at += len(part)
                progress(len(part))
            if at != end or crc != frame.crc:
                raise CorruptionError(
                    f"{source.path}: the vectors of commit {frame.sequence} do not match their checksum. Nothing was "
                    "copied; run verify()",
                    sequence=frame.sequence,
                )
        sync_file(out)
    copy = VectorFile(target, source.generation, writable=False)
    for frame, digest in committed_frames(connection, snapshot.base):
        if not holds_frame(copy, frame, digest, dimension):
            raise CorruptionError(
                f"{source.path}: the frame of commit {frame.sequence} is not the one committed. Nothing was copied; "
                "run verify()",
                sequence=frame.sequence,
            )


def _copy_caches(connection: sqlite3.Connection, snapshot: Snapshot, folder: Folder, target: Folder) -> None:
    """Copy codes and the approximate index, which could also be rebuilt. Each file is verified when it is read."""
    generation = snapshot.state.generation
    codes = codes_folder(generation)
    with contextlib.suppress(OSError, CorruptionError):
        _copy_files(folder, target, codes, [name for name in folder.names(codes) if name.endswith((".codes", ".wide"))])
    with contextlib.suppress(CorruptionError):
        record = read_index_record(connection)
        if record is None or not record.files or record.generation != generation:
            return
        place, hashes = index_folder(record.files), record.hashes or {}
        try:
            _copy_files(folder, target, place, list(hashes))
            sound = all(sha256_of(target, f"{place}/{name}") == digest for name, digest in hashes.items())
        except (OSError, CorruptionError):
            sound = False
        if not sound:  # opening the copy logs a warning, and the index is rebuilt
            target.remove([place])


def _copy_files(folder: Folder, target: Folder, inside: str, names: list[str]) -> None:
    if names:
        target.make(inside)
    for name in names:
        with folder.open(f"{inside}/{name}") as file, target.create(f"{inside}/{name}") as copy:
            shutil.copyfileobj(file, copy, _BYTES_AT_A_TIME)


def backup(
    read: Callable[[Callable[[sqlite3.Connection, Snapshot], None]], None],
    store: Store,
    target: Path,
    progress: Progress | None,
) -> None:
    """Copy the collection into a new folder.

    Args:
        read: calls a function with a transaction and its snapshot (see `SnapshotManager.read`).
    """
    if os.path.realpath(target).startswith(os.path.join(store.folder.path, "")):
        raise ConfigError(f"{target} is inside the collection. Name a folder elsewhere", folder=str(target))
    with _new_folder(target) as folder:

        def copy(connection: sqlite3.Connection, snapshot: Snapshot) -> None:
            folder.remove(folder.names())  # of an attempt during which a new generation began
            _copy_collection(connection, snapshot, store, folder, progress or (lambda count: None))

        read(copy)
