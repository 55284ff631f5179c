"""The vector file of one generation: rows of float32 in frames, one frame a commit.

The file is an array of slots of one row's size. A frame is a header, which takes as many slots as 64 bytes need, and
the vectors of its rows, in order. Every commit writes a frame, even an empty one, so that a database which has lost
commits is recognized by the frames it does not know.
"""

import mmap
import os
import struct
import weakref
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from theodolite.engines.local.storage.crash_points import crash_point
from theodolite.engines.local.storage.folder import Folder, orphan_name, sync_file, vectors_name
from theodolite.errors import CorruptionError
from theodolite.types import Rows, Vectors

_MAGIC = b"theofrm\x01"
_HEADER = struct.Struct("<8sqqqqI16s")  # magic, sequence, first row, rows, dimension, CRC of the vectors, log's hash
_CRC = struct.Struct("<I")
_HEADER_SIZE = 64


class Frame(NamedTuple):
    """A frame as a commit names it. Its vectors start at `slot`, and `crc` is their checksum."""

    sequence: int
    first_row: int
    rows: int
    slot: int
    crc: int


class VectorFile:
    """An open file of vectors. It stays open while a snapshot uses it, even if its name is gone.

    Attributes:
        name: its name in the folder.
        path: its path, for messages.
        verified: the stamp it had when it was last found to hold the committed frames.
    """

    def __init__(self, folder: Folder, generation: int, *, writable: bool) -> None:
        """Open a generation's file.

        Raises:
            FileNotFoundError: it is missing.
            CorruptionError: it is not a regular file.
            OSError: it cannot be opened.
        """
        self.name = vectors_name(generation)
        self.path = folder.given / self.name
        self.generation = generation
        try:
            self._handle = folder.open_handle(self.name, os.O_RDWR if writable else os.O_RDONLY)
        except PermissionError:
            if not writable:
                raise
            self._handle = folder.open_handle(self.name, os.O_RDONLY)  # the first write fails then
        weakref.finalize(self, os.close, self._handle).atexit = False
        self.verified = (-1, -1)

    @classmethod
    def create(cls, folder: Folder, generation: int) -> "VectorFile":
        """Create a generation's file, and open it."""
        os.close(folder.open_handle(vectors_name(generation), os.O_RDWR | os.O_CREAT | os.O_EXCL))
        return cls(folder, generation, writable=True)

    @property
    def size(self) -> int:
        """The size in bytes."""
        return os.fstat(self._handle).st_size

    def is_at(self, status: os.stat_result | None) -> bool:
        """Return whether the result of a stat is this file's."""
        return status is not None and os.path.samestat(status, os.fstat(self._handle))

    def stamp(self) -> tuple[int, int]:
        """Return size and time, which change when somebody writes to the file. Times are coarse."""
        status = os.fstat(self._handle)
        return status.st_size, status.st_mtime_ns

    def read(self, offset: int, size: int) -> bytes:
        """Return bytes from an offset on, fewer at the end of the file."""
        if hasattr(os, "pread"):
            return os.pread(self._handle, size, offset)
        with open(self.path, "rb", buffering=0) as file:  # threads share the position of a descriptor
            file.seek(offset)
            return file.read(size)

    def write(self, offset: int, data: memoryview) -> None:
        """Overwrite, or append. One thread writes at a time."""
        if not hasattr(os, "pwrite"):
            os.lseek(self._handle, offset, os.SEEK_SET)
        while data:
            written = os.pwrite(self._handle, data, offset) if hasattr(os, "pwrite") else os.write(self._handle, data)
            data, offset = data[written:], offset + written

    def sync(self) -> None:
        """Wait until everything written would survive a power cut."""
        sync_file(self._handle)

    def truncate(self, size: int) -> None:
        """Cut off bytes that no commit names and nobody maps."""
        os.ftruncate(self._handle, size)

    def mapped(self, slots: int, dimension: int) -> NDArray[np.float32]:
        """Map the first slots, (slots, dimension).

        Raises:
            CorruptionError: the file is shorter. Mapped, a read beyond its end would kill the process.
        """
        size = slots * 4 * dimension
        current = self.size
        if current < size:
            raise too_short_error(self.path, size, current)
        # A plain array: each operation on a memmap creates another memmap, which takes longer than the operation.
        pages = mmap.mmap(self._handle, size, access=mmap.ACCESS_READ)
        return np.frombuffer(pages, np.float32).reshape(slots, dimension)


def too_short_error(path: Path, expected: int, got: int) -> CorruptionError:
    return CorruptionError(
        f"{path.name} has {got} bytes where {expected} are committed: vectors are missing. "
        "Restore the folder from a copy",
        path=str(path),
        expected=expected,
        got=got,
    )


def header_slots(dimension: int) -> int:
    """Return how many slots the header of a frame takes."""
    return -(-_HEADER_SIZE // (4 * dimension))


def plan_frame(end: int, sequence: int, first_row: int, vectors: Vectors) -> Frame:
    """Return the frame that `append_frame` will write at slot `end`."""
    rows, dimension = vectors.shape
    return Frame(sequence, first_row, rows, end + header_slots(dimension), zlib.crc32(_payload(vectors)))


def append_frame(file: VectorFile, frame: Frame, commit_hash: bytes, vectors: Vectors, *, durable: bool) -> None:
    """Write a frame, synced if `durable`. Raises OSError.

    Args:
        commit_hash: the hash of its commit in the log, which distinguishes the file from that of any other history.
    """
    dimension = vectors.shape[1]
    size = 4 * dimension
    start, end = frame.slot, frame.slot - header_slots(dimension)
    payload = _payload(vectors)
    half = len(payload) // 2
    file.write(end * size, memoryview(frame_header(frame, commit_hash, dimension)))
    file.write(start * size, payload[:half])
    crash_point("frame.torn")
    file.write(start * size + half, payload[half:])
    crash_point("frame.written")
    if durable:
        file.sync()
    crash_point("frame.synced")


def frame_header(frame: Frame, commit_hash: bytes, dimension: int) -> bytes:
    """Return the header of a frame, padded to whole slots."""
    packed = _HEADER.pack(_MAGIC, frame.sequence, frame.first_row, frame.rows, dimension, frame.crc, commit_hash)
    return (packed + _CRC.pack(zlib.crc32(packed))).ljust(header_slots(dimension) * 4 * dimension, b"\0")


def _payload(vectors: Vectors) -> memoryview:
    return vectors.data.cast("B") if len(vectors) else memoryview(b"")


def surplus_bytes(file: VectorFile, end: int, dimension: int) -> int:
    """Return how many bytes lie beyond the committed slots.

    Raises:
        CorruptionError: the file is shorter than the committed slots.
    """
    size, committed = file.size, end * 4 * dimension
    if size < committed:
        raise too_short_error(file.path, committed, size)
    return size - committed


def has_orphan(file: VectorFile, end: int, sequence: int, dimension: int, size: int) -> bool:
    """Return whether a frame, or part of one, lies beyond the committed slots. A crash can leave one behind.

    Args:
        size: how many bytes of the file to look at. A reader takes the size before it reads the commit, since a writer
            may be at work.

    Raises:
        CorruptionError: more than one whole frame follows, so the database has lost commits. Nothing is changed.
    """
    if size <= end * 4 * dimension:
        return False
    first = _read_header(file, end, dimension)
    if first is not None and first.sequence == sequence + 1:
        next_slot = first.slot + first.rows
        second = _read_header(file, next_slot, dimension) if size > next_slot * 4 * dimension else None
        if second is not None and second.sequence == sequence + 2:
            raise CorruptionError(
                f"{file.name} holds frames {first.sequence} and {second.sequence}, but the database ends at commit "
                f"{sequence}: it has lost commits. Nothing was changed; restore store.sqlite and store.sqlite-wal",
                path=str(file.path),
                committed=sequence,
            )
    return True


def move_orphan_aside(file: VectorFile, folder: Folder, end: int, sequence: int, dimension: int) -> None:
    """Copy everything beyond the committed slots to a file of its own, durably, and cut it off."""
    committed = at = end * 4 * dimension
    with folder.create(orphan_name(file.generation, sequence + 1)) as copy:
        while part := file.read(at, 1 << 20):
            copy.write(part)
            at += len(part)
        sync_file(copy)
    folder.sync()
    crash_point("orphan.copied")
    try:
        file.truncate(committed)
    except OSError:
        # Windows keeps the size while a reader maps the file. The next frame then overwrites these bytes.
        if os.name == "posix":
            raise


def first_dimension(file: VectorFile) -> int | None:
    """Return the dimension in the header of the first frame, or None if the file has no frame."""
    header = _header_at(file, 0)
    return header[3] if header else None


def hash_at_slot(file: VectorFile, slot: int, dimension: int) -> bytes | None:
    """Return the commit hash in the header of the frame whose vectors start at a slot, if there is one."""
    header = _header_at(file, 4 * dimension * (slot - header_slots(dimension)))
    return header[-1] if header else None


def first_frame_hash(file: VectorFile) -> bytes | None:
    """Return the commit hash in the header of the first frame, or None if the file has no frame."""
    header = _header_at(file, 0)
    return header[-1] if header else None


def _read_header(file: VectorFile, slot: int, dimension: int) -> Frame | None:
    """Return the frame whose header is at `slot`, if there is one."""
    header = _header_at(file, slot * 4 * dimension)
    if header is None or header[3] != dimension:
        return None
    sequence, first_row, rows, _, crc, _ = header
    return Frame(sequence, first_row, rows, slot + header_slots(dimension), crc)


def _header_at(file: VectorFile, offset: int) -> tuple[int, int, int, int, int, bytes] | None:
    """Read an intact header: sequence, first row, rows, dimension, CRC of the vectors and commit hash."""
    raw = file.read(offset, _HEADER.size + _CRC.size)
    head = raw[: _HEADER.size]
    if len(raw) < _HEADER.size + _CRC.size or zlib.crc32(head) != _CRC.unpack(raw[_HEADER.size :])[0]:
        return None
    magic, sequence, first_row, rows, dimension, crc, commit_hash = _HEADER.unpack(head)
    return (sequence, first_row, rows, dimension, crc, commit_hash) if magic == _MAGIC else None


def holds_frame(file: VectorFile, frame: Frame, commit_hash: bytes, dimension: int) -> bool:
    """Return whether the file holds a commit's frame, with this hash in its header."""
    start = frame.slot - header_slots(dimension) if type(frame.slot) is int else -1
    if start < 0:
        return False
    header = _header_at(file, start * 4 * dimension)
    return header == (frame.sequence, frame.first_row, frame.rows, dimension, frame.crc, commit_hash)


def check_frame(file: VectorFile, frame: Frame, commit_hash: bytes, dimension: int) -> None:
    """Raise CorruptionError unless the file holds a commit's frame, with this hash in its header."""
    if not holds_frame(file, frame, commit_hash, dimension):
        raise CorruptionError(
            f"{file.name}: the frame of commit {frame.sequence} is not the one that was committed",
            path=str(file.path),
            sequence=frame.sequence,
        )


def empty_vectors(dimension: int) -> Vectors:
    """Return no vectors of a dimension, (0, dimension)."""
    return Vectors(np.empty((0, dimension), np.float32))


class MappedVectors:
    """The committed vectors of a file, mapped into memory: a `VectorSource`.

    Pages are read as they are used, and belong to the page cache, not to the process.
    """

    def __init__(self, file: VectorFile | None, dimension: int, frames: NDArray[np.int64], end: int) -> None:
        """
        Args:
            file: may be None if there are no frames.
            frames: (n, 3) or wider: first row, rows and slot of each frame that has rows, in order.
            end: how many slots are committed.

        Raises:
            CorruptionError: the file is shorter than `end` slots.
        """
        self._first = frames[:, 0]
        self._offset = frames[:, 2] - frames[:, 0]
        self.dimension = dimension
        self.file = file
        self._slots: NDArray[np.float32] = np.empty((0, dimension), np.float32)
        if file is not None and len(frames):
            self._slots = file.mapped(end, dimension)

    @property
    def nbytes(self) -> int:
        """Bytes of the file that are mapped."""
        return self._slots.nbytes

    def take(self, rows: Rows, out: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        if len(self._first) == 1:
            slots = rows + self._offset[0]
        else:
            slots = rows + self._offset[np.searchsorted(self._first, rows, side="right") - 1]
        try:
            if out is None or (len(slots) and not 0 <= slots.min() <= slots.max() < len(self._slots)):
                taken: NDArray[np.float32] = self._slots.take(slots, axis=0)
            else:  # with the default mode, numpy would copy through a buffer of its own
                taken = self._slots.take(slots, axis=0, out=out[: len(slots)], mode="clip")
        except IndexError as error:
            raise CorruptionError(
                f"the change log is damaged: it names vectors beyond the end of the file ({error})"
            ) from error
        return taken

    def span(self, start: int, stop: int) -> NDArray[np.float32]:
        return self.take(np.arange(start, stop))
