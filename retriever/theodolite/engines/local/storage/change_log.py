"""The change log: the rows that each commit appended and ended. A hash binds each entry to all entries before it.

So a reader detects any change in the log, and the hash of one commit identifies the whole history up to it. A cache
that carries that hash cannot be mistaken for a cache of other rows.
"""

import sqlite3
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from theodolite.engines.local.storage.schema import digest
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
        CorruptionError: an entry is not what was written. The error names the first.
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
