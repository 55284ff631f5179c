"""The change log: the rows that each commit appended and ended, and the base that a compaction leaves.

A hash binds each entry to all entries before it. So a reader detects any change in the log, and the hash of one commit
identifies the whole history up to it. A cache that carries that hash cannot be mistaken for a cache of other rows.

A base holds the rows left by all commits up to one. The log continues through a compaction, unchanged: entries up to
the base are history. The vector file of the new generation holds the rows of the base as one frame, and a frame for
each later commit. Frames of commits made during the compaction lie elsewhere than the log says; the base records where.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from theodolite.engines.local.storage.records import IDENTITY, Keys
from theodolite.engines.local.storage.schema import BASE, digest
from theodolite.engines.local.storage.vector_file import Frame
from theodolite.errors import CorruptionError
from theodolite.types import Rows

HASH = np.dtype("V16")


class Log(NamedTuple):
    """Some consecutive commits. Rows are named by their keys, in frames too.

    Attributes:
        frames: the rows they appended.
        hashes: (commits,) of `HASH`.
        ended: the rows they ended.
    """

    frames: list[Frame]
    hashes: NDArray[np.void]
    ended: Rows


def chain_start(uid: str, generation: int) -> bytes:
    """Return the hash that the first entry of a generation is bound to."""
    return digest(uid, generation)


def write_entry(
    connection: sqlite3.Connection, frame: Frame, hashes: Sequence[bytes], ended: Sequence[int], start: bytes
) -> bytes:
    """Append an entry, within a write transaction. Returns its hash.

    Args:
        hashes: hashes of the documents appended.
        ended: rows that end.
        start: the hash that the entry is bound to if it is the first of its generation.
    """
    rows = np.array(sorted(ended), np.int64)
    content = digest(*hashes)
    commit_hash = entry_hash(hash_at(connection, frame.sequence - 1) or start, frame, content, rows)
    connection.execute("INSERT INTO frames VALUES (?, ?, ?, ?, ?, ?, ?)", (*frame, content, commit_hash))
    connection.executemany("INSERT INTO tombstones VALUES (?, ?)", ((frame.sequence, row) for row in rows.tolist()))
    return commit_hash


def hash_at(connection: sqlite3.Connection, sequence: int) -> bytes | None:
    """Return the hash of a commit, or None if this generation lacks it."""
    row = connection.execute("SELECT hash FROM frames WHERE sequence = ?", (sequence,)).fetchone()
    return None if row is None else bytes(row[0])


def read_log(connection: sqlite3.Connection, since: int, before: bytes) -> Log:
    """Return the entries after commit `since`, whose hash is `before`.

    Raises:
        CorruptionError: an entry is damaged. The error names the first.
    """
    try:
        dead = connection.execute(
            "SELECT sequence, row FROM tombstones WHERE sequence > ? ORDER BY sequence, row", (since,)
        ).fetchall()
        ends = np.array(dead, np.int64).reshape(-1, 2)
        frames, hashes, taken = [], [], 0
        for *values, content, commit_hash in connection.execute(
            "SELECT sequence, first_row, rows, slot, crc, content, hash FROM frames WHERE sequence > ? "
            "ORDER BY sequence",
            (since,),
        ):
            frame = Frame(*values)
            last = int(np.searchsorted(ends[:, 0], frame.sequence, side="right")) if len(ends) > taken else taken
            if entry_hash(before, frame, content, ends[taken:last, 1]) != commit_hash:
                raise CorruptionError(
                    f"the change log is damaged at commit {frame.sequence}; restore the folder from a copy",
                    sequence=frame.sequence,
                )
            frames.append(frame)
            hashes.append(commit_hash)
            before, taken = commit_hash, last
    except (ValueError, TypeError, OverflowError) as error:
        raise CorruptionError(f"the change log is damaged ({error}); restore the folder from a copy") from error
    if taken != len(ends):
        raise CorruptionError(f"the change log is damaged: row {ends[taken, 1]} was ended by no commit")
    return Log(frames, np.frombuffer(b"".join(hashes), HASH), ends[:, 1])


def entry_hash(before: bytes, frame: Frame, content: bytes, ended: Rows) -> bytes:
    """Return the hash of an entry, bound to the hash of the one before it."""
    return digest(before, *frame, content, ended.tobytes())


class Base(NamedTuple):
    """The rows that a compaction has kept.

    Attributes:
        frame: their frame in the vector file.
        before: the log's hash of the commit that the base stands for.
        first: (rows,) their keys.
        hash: digest of these.
        moved: (m, 2) commit and slot of frames that lie elsewhere than the log says, in order of commits.
        era: the generation in which keys were last counted from 0. Since then, a key means one document.
        folded: the newest commit whose entry has left the log.
        origin: its hash.
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
        """Digest of the base and of the frames that have moved."""
        return digest(self.hash, self.moved.tobytes())

    def bound(self, commit_hash: bytes) -> bytes:
        """Return the hash of a commit whose frame has moved, bound to this base."""
        return digest(self.hash, commit_hash)


def base_hash(uid: str, generation: int, era: int, before: bytes, frame: Frame, first: Rows) -> bytes:
    """Return the digest of a base."""
    return digest(chain_start(uid, generation), era, before, *frame, first.tobytes())


def has_base(connection: sqlite3.Connection) -> bool:
    """Return whether a compaction has made the current generation."""
    query = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'base'"
    return connection.execute(query).fetchone() is not None


def read_base(connection: sqlite3.Connection, uid: str, generation: int) -> Base | None:
    """Return the base of the current generation, or None if it began empty.

    Raises:
        CorruptionError: the base is damaged.
    """
    if not has_base(connection):
        return None
    row = connection.execute(
        "SELECT generation, sequence, first_row, rows, slot, crc, keys, hash, moved, whole_hash, era, folded, origin "
        "FROM base"
    ).fetchone()
    try:
        of, *values, blob, stored_hash, moved, whole, era, folded, origin = row
        frame, first = Frame(*values), np.frombuffer(blob, np.int64)
        before = hash_at(connection, frame.sequence)
        sound = of == generation and len(first) == frame.rows and before is not None
        if sound and base_hash(uid, generation, era, before or b"", frame, first) == stored_hash:
            slots = np.frombuffer(moved, np.int64).reshape(-1, 2)
            base = Base(frame, before or b"", first, stored_hash, slots, era, folded, origin)
            if base.whole_hash == whole:
                return base
    except (ValueError, TypeError):
        pass
    raise CorruptionError("the record of the last compaction is damaged; restore the folder from a copy")


def first_hash(connection: sqlite3.Connection) -> bytes | None:
    """Return the hash in the first frame of the vector file, or None if nothing has been committed."""
    query = "SELECT hash FROM base" if has_base(connection) else "SELECT hash FROM frames ORDER BY sequence LIMIT 1"
    row = connection.execute(query).fetchone()
    return None if row is None else bytes(row[0])


def write_base(connection: sqlite3.Connection, generation: int, base: Base) -> None:
    """Record the base of the current generation, within a write transaction."""
    drop_base(connection)
    connection.execute(BASE)
    hashed = (base.first.tobytes(), base.hash, base.moved.tobytes(), base.whole_hash)
    values = (generation, *base.frame, *hashed, base.era, base.folded, base.origin)
    connection.execute("INSERT INTO base VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", values)


def drop_base(connection: sqlite3.Connection) -> None:
    """Remove the base, within a write transaction."""
    connection.execute("DROP TABLE IF EXISTS base")


def keys_of(base: Base | None) -> Keys:
    """Return the keys of a generation with this base."""
    return IDENTITY if base is None else base.keys


def log_origin(base: Base | None, uid: str, generation: int) -> tuple[int, bytes]:
    """Return the commit after which the log begins, and the hash that its first entry is bound to."""
    return (0, chain_start(uid, generation)) if base is None else (base.folded, base.origin)


def committed_frames(connection: sqlite3.Connection, base: Base | None) -> Iterator[tuple[Frame, bytes]]:
    """Yield the frames of the vector file, as they were committed, with their hashes."""
    since = -1
    if base is not None:
        since = base.frame.sequence
        yield base.frame, base.hash
    query = "SELECT sequence, first_row, rows, slot, crc, hash FROM frames WHERE sequence > ? ORDER BY sequence"
    entries = connection.execute(query, (since,))
    yield from placed_frames(((Frame(*values), commit_hash) for *values, commit_hash in entries), base)


def placed_frames(logged: Iterable[tuple[Frame, Any]], base: Base | None) -> list[tuple[Frame, Any]]:
    """Return frames and hashes of the log, with the slots where the vector file has them."""
    frames = list(logged)
    if base is None or not len(base.moved) or not frames or frames[0][0].sequence > base.moved[-1, 0]:
        return frames
    slots = dict(base.moved.tolist())
    return [
        (frame._replace(slot=slots[frame.sequence]), base.bound(bytes(commit_hash)))
        if frame.sequence in slots
        else (frame, commit_hash)
        for frame, commit_hash in frames
    ]
