"""Retention of the change log: it keeps its last 10,000 commits, and none that is older than 30 days.

Entries before the base of a compaction are history. Searches do not read them; an open process uses them to prove that
the commits it has seen belong to this collection, and falls back on the collection's uid without them. Both limits
apply, so that a busy collection keeps a log of bounded length, and a quiet one drops the rows that large replacements
ended long ago.

Entries have no time of their own, so that a commit writes no more than it needs. Each compaction records its time and
the newest commit in a note; about two of these a day remain. A commit counts as old as the first of these times after
it. A commit without one is kept by its number alone.
"""

import json
import sqlite3
import time
from typing import NamedTuple

from theodolite.engines.local.storage.change_log import has_base, hash_at
from theodolite.engines.local.storage.database import State, read_note, write_note

KEPT_COMMITS = 10_000
"""The change log keeps at most the entries of this many commits."""

KEPT_SECONDS = 30 * 86400
"""The change log keeps entries for this long."""

NOTE = "engine:log-times"
"""The note that holds the times."""

_APART = 86400  # seconds within which two times are enough


class CommitTime(NamedTuple):
    """A time at which commit `sequence` was the newest."""

    sequence: int
    seconds: float


def record_time(connection: sqlite3.Connection, state: State) -> None:
    """Record the time of the newest commit, within a write transaction."""
    now = time.time()
    times = [known for known in read_times(connection) if known.seconds <= now]  # the clock may have been set back
    if len(times) > 1 and now - times[-2].seconds < _APART:
        times.pop()
    times.append(CommitTime(state.sequence, now))
    expired = sum(known.seconds <= now - KEPT_SECONDS for known in times)
    write_note(connection, NOTE, json.dumps(times[max(0, expired - 1) :]), replace=True)


def fold_history(connection: sqlite3.Connection, state: State, amount: int) -> bool:
    """Delete at most `amount` of the oldest entries that are no longer kept, within a write transaction.

    Returns False if there is none.
    """
    if not has_base(connection):
        return False
    (base,) = connection.execute("SELECT sequence FROM base").fetchone()
    (oldest,) = connection.execute("SELECT min(sequence) FROM frames").fetchone()
    last = max(state.sequence - KEPT_COMMITS, _last_expired(connection))
    last = min(last, base - 1, oldest + amount - 1)  # the base is bound to the entry of its own commit
    if oldest > last:
        return False
    connection.execute("UPDATE base SET folded = ?, origin = ?", (last, hash_at(connection, last)))
    connection.execute("DELETE FROM frames WHERE sequence <= ?", (last,))
    connection.execute("DELETE FROM tombstones WHERE sequence <= ?", (last,))
    return True


def read_times(connection: sqlite3.Connection) -> list[CommitTime]:
    """Return the recorded times, oldest first. A note of another form counts as none.

    Raises:
        CorruptionError: the note is damaged.
    """
    note = read_note(connection, NOTE)
    try:
        times = [CommitTime(int(sequence), float(seconds)) for sequence, seconds in json.loads(note or "[]")]
    except (ValueError, TypeError, OverflowError, RecursionError):
        return []
    return sorted(times, key=lambda known: known.seconds)


def _last_expired(connection: sqlite3.Connection) -> int:
    """Return the newest commit that is known to be too old, or 0."""
    limit = time.time() - KEPT_SECONDS
    return max((known.sequence for known in read_times(connection) if known.seconds <= limit), default=0)
