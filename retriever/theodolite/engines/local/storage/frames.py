"""The vector file: rows of float32 in frames, one frame a commit.

The file is an array of slots of one row's size. A frame is a header, which takes as many slots as 64 bytes need, and
the vectors of its rows, in order. Every commit writes a frame, be it an empty one, so that a database which has
lost commits is found out by the frames it does not know.
"""

import os
import struct
import zlib
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from theodolite.engines.local.storage.crash_points import crash_point
from theodolite.engines.local.storage.folder import Folder, sync_file
from theodolite.engines.local.storage.paths import orphan_name
from theodolite.engines.local.storage.vector_file import VectorFile, too_short
from theodolite.errors import CorruptionError
from theodolite.types import Rows, Vectors

_MAGIC = b"theofrm\x01"
_HEADER = struct.Struct("<8sqqqqI16s")  # magic, sequence, first row, rows, dimension, CRC of the vectors, log's hash
_CRC = struct.Struct("<I")
_HEADER_SIZE = 64


class Frame(NamedTuple):
    """A frame as a commit names it: `slot` is where its vectors start, `crc` their checksum."""

    sequence: int
    first_row: int
    rows: int
    slot: int
    crc: int


def header_slots(dimension: int) -> int:
    return -(-_HEADER_SIZE // (4 * dimension))


def planned(end: int, sequence: int, first_row: int, vectors: Vectors) -> Frame:
    """The frame that `append` writes at slot `end`."""
    rows, dimension = vectors.shape
    return Frame(sequence, first_row, rows, end + header_slots(dimension), zlib.crc32(_payload(vectors)))


def append(file: VectorFile, frame: Frame, digest: bytes, vectors: Vectors, *, durable: bool) -> None:
    """Write a frame, synced if `durable`. Raises OSError.

    Args:
        digest: the log's hash of its commit, which tells the file from that of any other history.
    """
    dimension = vectors.shape[1]
    size = 4 * dimension
    start, end = frame.slot, frame.slot - header_slots(dimension)
    payload = _payload(vectors)
    half = len(payload) // 2
    file.write(end * size, memoryview(header(frame, digest, dimension)))
    file.write(start * size, payload[:half])
    crash_point("frame.torn")
    file.write(start * size + half, payload[half:])
    crash_point("frame.written")
    if durable:
        file.sync()
    crash_point("frame.synced")


def header(frame: Frame, digest: bytes, dimension: int) -> bytes:
    """The header of a frame, as long as its slots."""
    packed = _HEADER.pack(_MAGIC, frame.sequence, frame.first_row, frame.rows, dimension, frame.crc, digest)
    return (packed + _CRC.pack(zlib.crc32(packed))).ljust(header_slots(dimension) * 4 * dimension, b"\0")


def _payload(vectors: Vectors) -> memoryview:
    return vectors.data.cast("B") if len(vectors) else memoryview(b"")


def surplus(file: VectorFile, end: int, dimension: int) -> int:
    """How many bytes lie beyond the committed slots.

    Raises:
        CorruptionError: the file is shorter than what is committed.
    """
    size, committed = file.size, end * 4 * dimension
    if size < committed:
        raise too_short(file.path, committed, size)
    return size - committed


def has_orphan(file: VectorFile, end: int, sequence: int, dimension: int, size: int) -> bool:
    """Whether a frame, or part of one, lies beyond the committed slots: what a crash leaves behind.

    Args:
        size: how many bytes of the file to look at. A reader takes it before it reads the commit, since a writer may
            be at work.

    Raises:
        CorruptionError: more than one whole frame follows: the database has lost commits. Nothing is changed.
    """
    if size <= end * 4 * dimension:
        return False
    first = _read_header(file, end, dimension)
    if first is not None and first.sequence == sequence + 1:
        behind = first.slot + first.rows
        second = _read_header(file, behind, dimension) if size > behind * 4 * dimension else None
        if second is not None and second.sequence == sequence + 2:
            raise CorruptionError(
                f"{file.name} holds frames {first.sequence} and {second.sequence}, but the database ends at commit "
                f"{sequence}: it has lost commits. Nothing was changed; restore store.sqlite and store.sqlite-wal",
                path=str(file.path),
                committed=sequence,
            )
    return True


def move_orphan_aside(file: VectorFile, folder: Folder, end: int, sequence: int, dimension: int) -> None:
    """Copy what lies beyond the committed slots to a file of its own, durably; then free its place."""
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
        # Windows keeps the size while a reader maps the file. The next frame then overwrites what is there.
        if os.name == "posix":
            raise


def first_dimension(file: VectorFile) -> int | None:
    """The dimension in the header of a file's first frame, if there is one."""
    found = _header_at(file, 0)
    return found[3] if found else None


def digest_at(file: VectorFile, slot: int, dimension: int) -> bytes | None:
    """The hash in the header of the frame whose vectors start at a slot, if there is one."""
    found = _header_at(file, 4 * dimension * (slot - header_slots(dimension)))
    return found[-1] if found else None


def first_digest(file: VectorFile) -> bytes | None:
    """The same of a file's first frame."""
    found = _header_at(file, 0)
    return found[-1] if found else None


def _read_header(file: VectorFile, slot: int, dimension: int) -> Frame | None:
    """The frame whose header is at `slot`, if one is."""
    found = _header_at(file, slot * 4 * dimension)
    if found is None or found[3] != dimension:
        return None
    sequence, first_row, rows, _, crc, _ = found
    return Frame(sequence, first_row, rows, slot + header_slots(dimension), crc)


def _header_at(file: VectorFile, offset: int) -> tuple[int, int, int, int, int, bytes] | None:
    """Sequence, first row, rows, dimension, the vectors' CRC and the hash from a header, if a sound one is there."""
    raw = file.read(offset, _HEADER.size + _CRC.size)
    head = raw[: _HEADER.size]
    if len(raw) < _HEADER.size + _CRC.size or zlib.crc32(head) != _CRC.unpack(raw[_HEADER.size :])[0]:
        return None
    magic, sequence, first_row, rows, dimension, crc, digest = _HEADER.unpack(head)
    return (sequence, first_row, rows, dimension, crc, digest) if magic == _MAGIC else None


def holds_frame(file: VectorFile, frame: Frame, digest: bytes, dimension: int) -> bool:
    """Whether the file's frame is the one the commit with this hash named."""
    start = frame.slot - header_slots(dimension) if type(frame.slot) is int else -1
    if start < 0:
        return False
    found = _header_at(file, start * 4 * dimension)
    return found == (frame.sequence, frame.first_row, frame.rows, dimension, frame.crc, digest)


def check_frame(file: VectorFile, frame: Frame, digest: bytes, dimension: int) -> None:
    """Raises CorruptionError where the file's frame is not the one the commit named."""
    if not holds_frame(file, frame, digest, dimension):
        raise CorruptionError(
            f"{file.name}: the frame of commit {frame.sequence} is not the one that was committed",
            path=str(file.path),
            sequence=frame.sequence,
        )


class MappedVectors:
    """The committed vectors of a file, mapped: a `VectorSource`.

    Pages come from the file as they are used and belong to the page cache, not to the process.
    """

    def __init__(self, file: VectorFile | None, dimension: int, frames: NDArray[np.int64], end: int) -> None:
        """`frames` is (n, 3): first row, rows and slot of each frame with rows, in order. None needs a file.

        Raises:
            CorruptionError: the file is shorter than `end` slots (mapped, that would end the process).
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
        """Of the file, as far as it is mapped."""
        return self._slots.nbytes

    def take(self, rows: Rows) -> NDArray[np.float32]:
        if len(self._first) == 1:
            slots = rows + self._offset[0]
        else:
            slots = rows + self._offset[np.searchsorted(self._first, rows, side="right") - 1]
        try:
            taken: NDArray[np.float32] = self._slots.take(slots, axis=0)
        except IndexError as error:
            raise CorruptionError(
                f"the change log is damaged: it names vectors beyond the file's end ({error})"
            ) from error
        return taken

    def span(self, start: int, stop: int) -> NDArray[np.float32]:
        return self.take(np.arange(start, stop))
