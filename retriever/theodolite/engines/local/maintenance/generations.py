"""Generations: make the next one, and remove old ones.

The next generation has the living rows in a vector file of its own, which then follows the change log. It is made
beside the current one, from a snapshot, while others write. Documents and the lexical index stay as they are, since
they know only keys. A key then belongs to another row of another file.
"""

import contextlib
import sqlite3
import zlib
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from theodolite.columns.segment import Segment
from theodolite.engines.local.derived.code_cache import CodeCache
from theodolite.engines.local.derived.columns.column_files import ColumnFiles, OtherVersion, read_file
from theodolite.engines.local.derived.snapshot import Snapshot
from theodolite.engines.local.maintenance.index_build import only_builder
from theodolite.engines.local.storage import lexical_table
from theodolite.engines.local.storage.change_log import Base, base_hash, entry_hash, hash_at, log_origin, write_base
from theodolite.engines.local.storage.database import State, change_state
from theodolite.engines.local.storage.folder import PARTIAL_GENERATION, Folder, columns_folder, generations
from theodolite.engines.local.storage.store import Store
from theodolite.engines.local.storage.vector_file import (
    Frame,
    MappedVectors,
    VectorFile,
    append_frame,
    empty_vectors,
    frame_header,
    header_slots,
    plan_frame,
)
from theodolite.errors import CorruptionError, LockedError
from theodolite.indexes.flat.codes import BLOCK
from theodolite.types import Rows, Vectors

_BYTES_AT_A_TIME = 1 << 20  # about a millisecond of work, after which a background compaction rests

Progress = Callable[[int], object]


class NextGeneration:
    """An unfinished generation. Its files are in a folder of their own."""

    def __init__(self, folder: Folder, connection: sqlite3.Connection, snapshot: Snapshot, *, writable: bool) -> None:
        """Begin a generation with the rows of a snapshot, within the snapshot's transaction.

        Args:
            folder: an empty folder.
            writable: whether to write files of codes and columns.
        """
        self.number = snapshot.state.generation + 1
        self._folder = folder
        self._snapshot = snapshot
        self._writable = writable
        self._dimension = snapshot.flat.dimension
        self._checksums = _checksums(connection, snapshot)
        self._sequence = snapshot.state.sequence
        self._chain: bytes = snapshot.hashes[-1].tobytes()
        self._end = 0
        self._moved: list[tuple[int, int]] = []
        self._file = VectorFile.create(folder, self.number)
        self._last: Frame | None = None
        self.base: Base | None = None

    def copy(self, progress: Progress) -> Base:
        """Copy the living rows of the snapshot, and verify the checksums of all rows.

        Args:
            progress: called with the number of rows copied since the last call.

        Raises:
            CorruptionError: stored vectors are damaged.
        """
        snapshot, dimension = self._snapshot, self._dimension
        head, step = header_slots(dimension), max(1, _BYTES_AT_A_TIME // (4 * dimension))
        out = _RowWriter(self._file, head * 4 * dimension)
        for (first, rows, _, commit), expected in zip(snapshot.frames.tolist(), self._checksums, strict=True):
            crc = 0
            for start in range(first, first + rows, step):
                part = snapshot.vectors.span(start, min(start + step, first + rows))
                crc = zlib.crc32(part.data.cast("B"), crc)
                living = part[snapshot.live[start : start + len(part)]]
                out.write(living)
                progress(len(living))
            if crc != expected:
                raise _damaged_error(commit)
        out.flush()
        first_keys = snapshot.keys.of(np.flatnonzero(snapshot.live))
        frame = Frame(self._sequence, snapshot.state.keys - len(first_keys), len(first_keys), head, out.crc)
        digest = base_hash(snapshot.manifest.uid, self.number, snapshot.era, self._chain, frame, first_keys)
        self._file.write(0, memoryview(frame_header(frame, digest, dimension)))
        self._end = frame.slot + frame.rows
        origin = log_origin(snapshot.base, snapshot.manifest.uid, snapshot.state.generation)
        self.base = Base(frame, self._chain, first_keys, digest, np.empty((0, 2), np.int64), snapshot.era, *origin)
        return self.base

    def derive_codes(self, progress: Progress) -> None:
        """Write code files for the copied rows. Calls `progress` with 0 now and then."""
        base = self.base
        if base is None or not self._writable or base.frame.rows < BLOCK:
            return
        rows = base.frame.rows
        frames = np.array([(0, rows, base.frame.slot, base.frame.sequence)], np.int64)
        vectors = MappedVectors(self._file, self._dimension, frames, self._end)
        codes = CodeCache(self._folder, self.number, lambda row: base.hash, self._dimension, writable=True)
        for start in range(0, rows - rows % BLOCK, BLOCK):
            codes.codes(vectors, start, start + BLOCK)
            progress(0)

    def derive_columns(self, connection: sqlite3.Connection, source: Folder) -> None:
        """Write column files for the copied rows, from those in the collection's folder, `source`."""
        base, snapshot = self.base, self._snapshot
        if base is None or not self._writable:
            return
        inside = columns_folder(snapshot.state.generation)
        files = ColumnFiles(self._folder, self.number, writable=True)
        moved = np.cumsum(snapshot.live) - 1
        for name in source.names(inside):
            try:
                field, history, segment = read_file(source, f"{inside}/{name}")
            except (OSError, CorruptionError, OtherVersion):  # it will be read from the documents when needed
                continue
            if segment.read_at <= self._sequence and history == hash_at(connection, segment.read_at):
                files.save(field, connection, _compacted(segment, snapshot, moved, base.frame.sequence))

    def follow(self, connection: sqlite3.Connection, snapshot: Snapshot) -> int:
        """Append the commits made since, from a later snapshot of the same generation, within its transaction.

        Returns their number.
        """
        query = "SELECT sequence, first_row, rows, crc, hash FROM frames WHERE sequence > ? ORDER BY sequence"
        entries = connection.execute(query, (self._sequence,)).fetchall()
        for sequence, first_row, rows, crc, digest in entries:
            start = first_row - snapshot.keys.shift
            vectors = Vectors(snapshot.vectors.span(start, start + rows)) if rows else empty_vectors(self._dimension)
            if zlib.crc32(vectors.data.cast("B") if rows else b"") != crc:
                raise _damaged_error(sequence)
            frame = plan_frame(self._end, sequence, first_row, vectors)
            append_frame(self._file, frame, self._copied_base.bound(digest), vectors, durable=False)
            self._moved.append((sequence, frame.slot))
            self._sequence, self._chain, self._end = sequence, digest, frame.slot + frame.rows
        return len(entries)

    def finish(self, state: State) -> bytes:
        """Append the frame of the commit that will switch to this generation, after `follow`. Returns its hash."""
        base = self.base = self._copied_base._replace(moved=np.array(self._moved, np.int64).reshape(-1, 2))
        frame = plan_frame(self._end, state.sequence + 1, state.keys, empty_vectors(self._dimension))
        self._chain = entry_hash(self._chain, frame, base.whole_hash, _NO_ROWS)
        append_frame(self._file, frame, self._chain, empty_vectors(self._dimension), durable=False)
        self._last, self._end = frame, frame.slot
        return self._chain

    def sync(self) -> None:
        """Wait until the vector file would survive a power cut."""
        self._file.sync()

    def record(self, connection: sqlite3.Connection, state: State) -> None:
        """Make it the current generation, after `finish`, within a write transaction that the caller commits."""
        base, last = self._copied_base, self._last
        if last is None or last.sequence != state.sequence + 1:
            raise ValueError("the generation is not complete")
        lexical_table.upgrade(connection)  # earlier formats have no base
        connection.execute("INSERT INTO frames VALUES (?, ?, ?, ?, ?, ?, ?)", (*last, base.whole_hash, self._chain))
        write_base(connection, self.number, base)
        change_state(connection, state._replace(generation=self.number, sequence=last.sequence, slots=self._end))

    @property
    def _copied_base(self) -> Base:
        if self.base is None:
            raise ValueError("the living rows have not been copied")
        return self.base


_NO_ROWS = np.empty(0, np.int64)


class _RowWriter:
    """Appends rows to a file, many at a time."""

    def __init__(self, file: VectorFile, offset: int) -> None:
        self._file = file
        self._offset = offset
        self._waiting: list[bytes] = []
        self._size = 0
        self.crc = 0

    def write(self, rows: NDArray[np.float32]) -> None:
        data = rows.tobytes()
        self.crc = zlib.crc32(data, self.crc)
        self._waiting.append(data)
        self._size += len(data)
        if self._size >= _BYTES_AT_A_TIME:
            self.flush()

    def flush(self) -> None:
        self._file.write(self._offset, memoryview(b"".join(self._waiting)))
        self._offset += self._size
        self._waiting, self._size = [], 0


def _checksums(connection: sqlite3.Connection, snapshot: Snapshot) -> list[int]:
    """Return the committed checksum of each frame that has rows."""
    base = snapshot.base
    since = -1 if base is None else base.frame.sequence
    query = "SELECT crc FROM frames WHERE sequence > ? AND rows > 0 ORDER BY sequence"
    first = [] if base is None or not base.frame.rows else [base.frame.crc]
    return [*first, *(crc for (crc,) in connection.execute(query, (since,)))]


def _compacted(segment: Segment, snapshot: Snapshot, moved: Rows, commit: int) -> Segment:
    """Return the first segment of a column with the living rows only, renumbered."""
    places, numbers, values = segment.entries()
    keep = snapshot.live[places]
    stop = int(np.count_nonzero(snapshot.live[: segment.stop]))
    return Segment.of(0, stop, commit, moved[places[keep]].astype(np.int32), numbers[keep], values)


def _damaged_error(commit: int) -> CorruptionError:
    return CorruptionError(
        f"the vectors of commit {commit} do not match their checksum. Nothing was changed; run verify()",
        sequence=commit,
    )


def remove_old_generations(store: Store) -> None:
    """Delete the files of old generations, and of those that were never committed.

    They are found by listing the folder. Readers keep the files they have mapped. A file that a reader on Windows has
    open is deleted at a later opening.
    """
    with store.read() as (_, state):
        current = state.generation
    folder = store.folder
    names = folder.names()
    present = list(generations(names))
    folder.remove(name for generation, name in present if generation < current)
    if any(generation > current for generation, _ in present):
        with contextlib.suppress(LockedError), store.write(0) as (_, state):
            # Under the write lock, a generation newer than the state was never committed and will not be.
            folder.remove(name for generation, name in generations(folder.names()) if generation > state.generation)
    if PARTIAL_GENERATION in names:
        with contextlib.suppress(LockedError), only_builder(folder, 0):  # no compaction is running
            folder.remove([PARTIAL_GENERATION])
