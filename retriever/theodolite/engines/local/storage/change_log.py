"""The change log: what each commit appended and ended, each entry bound to all before it by a hash.

So whoever reads it knows that nothing in it has changed, and the hash of one commit names the whole history up to it:
caches that carry it cannot be taken for those of other rows.
"""

import sqlite3
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from theodolite.engines.local.storage.digest import seal
from theodolite.engines.local.storage.frames import Frame
from theodolite.errors import CorruptionError
from theodolite.types import Rows

HASH = np.dtype("V16")


class Log(NamedTuple):
    """Some consecutive commits. Rows are named by their keys, in frames too.

    Attributes:
        frames: what they appended.
        hashes: (commits,) of `HASH`.
        ended: rows they ended.
    """

    frames: list[Frame]
    hashes: NDArray[np.void]
    ended: Rows


def beginning(uid: str, generation: int) -> bytes:
    """What the first entry of a generation is bound to."""
    return seal(uid, generation)


def write_entry(
    connection: sqlite3.Connection, frame: Frame, hashes: Sequence[bytes], ended: Sequence[int], begin: bytes
) -> bytes:
    """Append an entry, within a write transaction. Returns its hash.

    Args:
        hashes: of the documents appended.
        ended: the rows that cease to be.
        begin: what the entry is bound to where it is the first of its generation.
    """
    rows = np.array(sorted(ended), np.int64)
    content = seal(*hashes)
    digest = entry_hash(hash_at(connection, frame.sequence - 1) or begin, frame, content, rows)
    connection.execute("INSERT INTO frames VALUES (?, ?, ?, ?, ?, ?, ?)", (*frame, content, digest))
    connection.executemany("INSERT INTO tombstones VALUES (?, ?)", ((frame.sequence, row) for row in rows.tolist()))
    return digest


def hash_at(connection: sqlite3.Connection, sequence: int) -> bytes | None:
    """The hash of a commit; None where it is not of this generation."""
    row = connection.execute("SELECT hash FROM frames WHERE sequence = ?", (sequence,)).fetchone()
    return None if row is None else bytes(row[0])


def read_log(connection: sqlite3.Connection, since: int, before: bytes) -> Log:
    """The entries behind commit `since`, whose hash is `before`.

    Raises:
        CorruptionError: naming the first that is not what was written.
    """
    try:
        dead = connection.execute(
            "SELECT sequence, row FROM tombstones WHERE sequence > ? ORDER BY sequence, row", (since,)
        ).fetchall()
        ends = np.array(dead, np.int64).reshape(-1, 2)
        frames, hashes, taken = [], [], 0
        for *values, content, digest in connection.execute(
            "SELECT sequence, first_row, rows, slot, crc, content, hash FROM frames WHERE sequence > ? "
            "ORDER BY sequence",
            (since,),
        ):
            frame = Frame(*values)
            last = int(np.searchsorted(ends[:, 0], frame.sequence, side="right")) if len(ends) > taken else taken
            if entry_hash(before, frame, content, ends[taken:last, 1]) != digest:
                raise CorruptionError(
                    f"the change log is damaged at commit {frame.sequence}; restore the folder from a copy",
                    sequence=frame.sequence,
                )
            frames.append(frame)
            hashes.append(digest)
            before, taken = digest, last
    except (ValueError, TypeError, OverflowError) as error:
        raise CorruptionError(f"the change log is damaged ({error}); restore the folder from a copy") from error
    if taken != len(ends):
        raise CorruptionError(f"the change log is damaged: row {ends[taken, 1]} was ended by no commit")
    return Log(frames, np.frombuffer(b"".join(hashes), HASH), ends[:, 1])


def entry_hash(before: bytes, frame: Frame, content: bytes, ended: Rows) -> bytes:
    """The hash of an entry, bound to the one before it."""
    return seal(before, *frame, content, ended.tobytes())
