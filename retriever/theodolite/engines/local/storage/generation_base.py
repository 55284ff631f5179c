"""The base of a generation that a compaction has made: what all commits up to one have left.

The change log goes on through a compaction, unchanged. Entries up to the base are history; the vector file holds the
base's rows as one frame, and a frame for each commit after it. Frames of commits that were made during the compaction
lie elsewhere than the log says: the base knows where.
"""

import sqlite3
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from theodolite.engines.local.storage.change_log import beginning, hash_at
from theodolite.engines.local.storage.digest import seal
from theodolite.engines.local.storage.frames import Frame
from theodolite.engines.local.storage.keys import IDENTITY, Keys
from theodolite.engines.local.storage.schema import BASE
from theodolite.errors import CorruptionError
from theodolite.types import Rows


class Base(NamedTuple):
    """The rows that a compaction has kept.

    Attributes:
        frame: where the vector file has them.
        before: the log's hash of the commit it stands for.
        first: (rows,) their keys.
        hash: of these.
        moved: (m, 2) commit and slot of frames that lie elsewhere than the log says, by rising commit.
        era: the generation in which keys began to count. In a later one no key means another document.
        folded, origin: the newest commit that the log has no entry for, and its hash.
    """

    frame: Frame
    before: bytes
    first: Rows
    hash: bytes
    moved: NDArray[np.int64]
    era: int
    folded: int
    origin: bytes

    @property
    def keys(self) -> Keys:
        return Keys(self.first, self.frame.first_row)

    @property
    def whole_hash(self) -> bytes:
        """Of the frames that have moved, too."""
        return seal(self.hash, self.moved.tobytes())

    def bound(self, digest: bytes) -> bytes:
        """The hash of a commit whose frame has moved, bound to where that is."""
        return seal(self.hash, digest)


def base_hash(uid: str, generation: int, era: int, before: bytes, frame: Frame, first: Rows) -> bytes:
    return seal(beginning(uid, generation), era, before, *frame, first.tobytes())


def has_base(connection: sqlite3.Connection) -> bool:
    query = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'base'"
    return connection.execute(query).fetchone() is not None


def read_base(connection: sqlite3.Connection, uid: str, generation: int) -> Base | None:
    """The base of the current generation; None where it began empty.

    Raises:
        CorruptionError: it is not what was written.
    """
    if not has_base(connection):
        return None
    row = connection.execute(
        "SELECT generation, sequence, first_row, rows, slot, crc, keys, hash, moved, whole_hash, era, folded, origin "
        "FROM base"
    ).fetchone()
    try:
        of, *values, blob, digest, moved, whole, era, folded, origin = row
        frame, first = Frame(*values), np.frombuffer(blob, np.int64)
        before = hash_at(connection, frame.sequence)
        sound = of == generation and len(first) == frame.rows and before is not None
        if sound and base_hash(uid, generation, era, before or b"", frame, first) == digest:
            slots = np.frombuffer(moved, np.int64).reshape(-1, 2)
            base = Base(frame, before or b"", first, digest, slots, era, folded, origin)
            if base.whole_hash == whole:
                return base
    except (ValueError, TypeError):
        pass
    raise CorruptionError("the record of the last compaction is damaged; restore the folder from a copy")


def first_hash(connection: sqlite3.Connection) -> bytes | None:
    """The hash in the first frame of the generation's vector file; None where nothing has been committed."""
    query = "SELECT hash FROM base" if has_base(connection) else "SELECT hash FROM frames ORDER BY sequence LIMIT 1"
    row = connection.execute(query).fetchone()
    return None if row is None else bytes(row[0])


def write_base(connection: sqlite3.Connection, generation: int, base: Base) -> None:
    """Make it the current one, within a write transaction."""
    drop_base(connection)
    connection.execute(BASE)
    hashed = (base.first.tobytes(), base.hash, base.moved.tobytes(), base.whole_hash)
    values = (generation, *base.frame, *hashed, base.era, base.folded, base.origin)
    connection.execute("INSERT INTO base VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", values)


def drop_base(connection: sqlite3.Connection) -> None:
    """Within a write transaction."""
    connection.execute("DROP TABLE IF EXISTS base")


def keys_of(base: Base | None) -> Keys:
    return IDENTITY if base is None else base.keys


def origin_of(base: Base | None, uid: str, generation: int) -> tuple[int, bytes]:
    """The commit behind which the log begins, and the hash that its first entry is bound to."""
    return (0, beginning(uid, generation)) if base is None else (base.folded, base.origin)


def committed_frames(connection: sqlite3.Connection, base: Base | None) -> Iterator[tuple[Frame, bytes]]:
    """The frames of the generation's vector file, as they were committed, with their hashes."""
    since = -1
    if base is not None:
        since = base.frame.sequence
        yield base.frame, base.hash
    query = "SELECT sequence, first_row, rows, slot, crc, hash FROM frames WHERE sequence > ? ORDER BY sequence"
    entries = connection.execute(query, (since,))
    yield from placed_frames(((Frame(*values), digest) for *values, digest in entries), base)


def placed_frames(logged: Iterable[tuple[Frame, Any]], base: Base | None) -> list[tuple[Frame, Any]]:
    """Frames with their hashes, from those that the log has: where they lie in the generation's file."""
    frames = list(logged)
    if base is None or not len(base.moved) or not frames or frames[0][0].sequence > base.moved[-1, 0]:
        return frames
    slots = dict(base.moved.tolist())
    return [
        (frame._replace(slot=slots[frame.sequence]), base.bound(bytes(digest)))
        if frame.sequence in slots
        else (frame, digest)
        for frame, digest in frames
    ]
