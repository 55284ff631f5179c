"""Backups: a copy of a collection as of one commit, taken while others write.

Made beside its place, under names that nothing opens, and given its own when all of it is durable.
"""

import contextlib
import os
import secrets
import shutil
import sqlite3
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from theodolite.engines.local.approximate.record import hash_of, read_record
from theodolite.engines.local.files import (
    RECORDS,
    STORE,
    codes_folder,
    index_folder,
    sync_file,
    sync_folder,
    vectors_path,
)
from theodolite.engines.local.frames import holds_frame, logged
from theodolite.engines.local.points import reach
from theodolite.engines.local.snapshot import Snapshot, Stale
from theodolite.engines.local.store import translated
from theodolite.errors import ConfigError, CorruptionError, EngineError

Progress = Callable[[int], object]

_PAGES = 1024  # of the database, copied at a time
_PART = 1 << 20  # bytes of the vectors
_UNFINISHED = "store.partial"


@contextmanager
def placed(target: Path) -> Iterator[Path]:
    """A folder to fill, which becomes `target` on leaving; an exception removes it.

    Raises:
        ConfigError: there is something at `target` already.
        EngineError: the copy cannot be written.
    """
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ConfigError(f"{target} exists already; nothing was written. Name another folder", folder=str(target))
    beside = target.with_name(f".{target.name}.{secrets.token_hex(4)}.partial")
    try:
        beside.parent.mkdir(parents=True, exist_ok=True)
        beside.mkdir()
        yield beside
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


def copy_collection(
    connection: sqlite3.Connection, snapshot: Snapshot, folder: Path, target: Path, progress: Progress
) -> None:
    """Copy what a transaction sees into an empty folder, durably.

    Raises:
        CorruptionError: vectors do not match their checksum; a copy of them would be worth nothing.
        Stale: the vector file is gone; another process has begun a new generation.
        OSError, EngineError: it cannot be written.
    """
    _copy_vectors(connection, snapshot, folder, target, progress)
    reach("backup.vectors")
    _copy_caches(connection, snapshot, folder, target)
    _copy_store(connection, target / _UNFINISHED, progress)
    reach("backup.store")
    _copy_records(folder / RECORDS, target / RECORDS)
    (target / _UNFINISHED).rename(target / STORE)


def _copy_store(connection: sqlite3.Connection, path: Path, progress: Progress) -> None:
    left = 0

    def copied(status: int, remaining: int, total: int) -> None:
        nonlocal left
        progress(max(0, (left or total) - remaining) * 4096)
        left = remaining

    with translated(path.parent), contextlib.closing(sqlite3.connect(path)) as copy:
        # The transaction that is open on `connection` pins the commit: writers do not make this begin again.
        connection.backup(copy, pages=_PAGES, progress=copied, sleep=0)
    with path.open("rb+") as file:
        sync_file(file)


def _copy_records(source: Path, target: Path) -> None:
    """What an adapter has noted of documents. It fits any commit: whether they are there is asked of the store."""
    if not source.is_file():
        return
    try:
        with (
            contextlib.closing(sqlite3.connect(source)) as connection,
            contextlib.closing(sqlite3.connect(target)) as copy,
        ):
            connection.backup(copy, pages=_PAGES)
        with target.open("rb+") as file:
            sync_file(file)
    except sqlite3.Error:  # the documents do not need it
        target.unlink(missing_ok=True)


def _copy_vectors(
    connection: sqlite3.Connection, snapshot: Snapshot, folder: Path, target: Path, progress: Progress
) -> None:
    state, dimension = snapshot.state, snapshot.flat.dimension
    source = vectors_path(folder, state.generation)
    if not state.sequence:
        return
    try:
        file = source.open("rb")
    except FileNotFoundError:
        raise Stale from None
    copy = vectors_path(target, state.generation)
    with file, copy.open("xb") as out:
        for frame, _ in logged(connection):
            end, crc = 4 * dimension * (frame.slot + frame.rows), 0
            out.write(file.read(4 * dimension * frame.slot - file.tell()))
            while file.tell() < end and (part := file.read(min(_PART, end - file.tell()))):
                crc = zlib.crc32(part, crc)
                out.write(part)
                progress(len(part))
            if file.tell() != end or crc != frame.crc:
                raise CorruptionError(
                    f"{source}: the vectors of commit {frame.sequence} do not match their checksum. Nothing copied; "
                    "run verify()",
                    sequence=frame.sequence,
                )
        sync_file(out)
    for frame, digest in logged(connection):
        if not holds_frame(copy, frame, digest, dimension):
            raise CorruptionError(
                f"{source}: the frame of commit {frame.sequence} is not the one committed. Nothing was copied; "
                "run verify()",
                sequence=frame.sequence,
            )


def _copy_caches(connection: sqlite3.Connection, snapshot: Snapshot, folder: Path, target: Path) -> None:
    """What would otherwise be made anew. Each file is verified when it is read; what is not there need not be."""
    generation = snapshot.state.generation
    with contextlib.suppress(OSError, shutil.Error):
        codes = codes_folder(folder, generation)
        if codes.is_dir():
            shutil.copytree(codes, codes_folder(target, generation), ignore=shutil.ignore_patterns("*.tmp"))
    with contextlib.suppress(CorruptionError):
        record = read_record(connection)
        if record is None or not record.files or record.generation != generation:
            return
        place = index_folder(target, record.files)
        try:
            shutil.copytree(index_folder(folder, record.files), place)
            sound = all(hash_of(place / name) == digest for name, digest in (record.hashes or {}).items())
        except (OSError, shutil.Error):
            sound = False
        if not sound:  # the copy says so when it is opened, and builds it again
            shutil.rmtree(place, ignore_errors=True)


def backup(
    read: Callable[[Callable[[sqlite3.Connection, Snapshot], None]], None],
    folder: Path,
    target: Path,
    progress: Progress | None,
) -> None:
    """Copy the collection that `read` gives transactions and snapshots of (see `View.read`)."""
    if os.path.realpath(target).startswith(os.path.join(os.path.realpath(folder), "")):
        raise ConfigError(f"{target} lies within the collection; name a folder elsewhere", folder=str(target))
    with placed(target) as beside:

        def copied(connection: sqlite3.Connection, snapshot: Snapshot) -> None:
            for path in list(beside.iterdir()):  # of an attempt that a new generation has overtaken
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            copy_collection(connection, snapshot, folder, beside, progress or (lambda count: None))

        read(copied)
