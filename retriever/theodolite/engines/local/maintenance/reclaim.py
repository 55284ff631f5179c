"""Return unused space of the database to the disk, in short steps, so that no writer waits long."""

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing

from theodolite.engines.local.storage import lexical_table
from theodolite.engines.local.storage.change_log import has_base, hash_at
from theodolite.engines.local.storage.crash_points import crash_point
from theodolite.engines.local.storage.database import State
from theodolite.engines.local.storage.io_errors import translate_errors
from theodolite.engines.local.storage.store import Store

KEPT_COMMITS = 10_000
"""The change log keeps the entries of this many commits."""

STEP = 0.05
"""Seconds that one step may hold the write lock."""

_TARGET = 0.5 * STEP  # so that a slow step is still short enough
_FIRST = 64  # pages or entries in the first step
_SMALL = 64 << 20  # bytes of a database that is rewritten in the background: a second or two

Work = Callable[[sqlite3.Connection, State, int], bool]


def give_back(store: Store, pause: Callable[[int], None], *, background: bool, merge: bool) -> None:
    """Shorten the change log, merge the lexical index, and return free pages to the file system.

    Args:
        pause: called between two steps.
        background: skip a large database that was created without `auto_vacuum`, since rewriting it takes long.
        merge: whether to merge the lexical index, which pays after many changes.
    """
    _in_steps(store, _fold_history, pause)
    if merge:
        _in_steps(store, _Merge(), pause)
    with store.read() as (connection, _):
        incremental = is_incremental(connection)
        size = connection.execute("PRAGMA page_count").fetchone()[0] * 4096
    if incremental:
        _in_steps(store, _release, pause)
    elif not background or size <= _SMALL:
        _rewrite(store)
    _truncate_log(store)
    crash_point("compaction.reclaimed")


def is_incremental(connection: sqlite3.Connection) -> bool:
    """Whether the database can return single pages to the file system."""
    return bool(connection.execute("PRAGMA auto_vacuum").fetchone()[0] == 2)


def _rewrite(store: Store) -> None:
    """Rewrite the database, so that from now on it can return single pages. Writers wait until it is done.

    Raises:
        LockedError: another writer held the lock for `lock_timeout` seconds.
    """
    with translate_errors(store.folder), closing(store.connect()) as connection:
        connection.execute("PRAGMA temp_store=FILE")  # the copy is as large as the database
        connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
        connection.execute("VACUUM")


def _truncate_log(store: Store) -> None:
    """Copy the write-ahead log into the database and truncate it, unless others use it."""
    with translate_errors(store.folder), closing(store.connect()) as connection:
        connection.execute("PRAGMA busy_timeout=0")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def _in_steps(store: Store, work: Work, pause: Callable[[int], None]) -> None:
    """Repeat some work, in transactions of at most `STEP` seconds, until it returns False."""
    amount = _FIRST
    while True:
        with store.write() as (connection, state):
            started = time.perf_counter()
            more = work(connection, state, amount)
        took = time.perf_counter() - started
        if not more:
            return
        amount = max(1, int(amount * min(2.0, _TARGET / max(took, 1e-4))))
        time.sleep(min(took, STEP))  # so that others get the lock: they try every few milliseconds
        pause(0)


def _fold_history(connection: sqlite3.Connection, state: State, amount: int) -> bool:
    """Delete the oldest log entries that the base replaces."""
    if not has_base(connection):
        return False
    (sequence,) = connection.execute("SELECT sequence FROM base").fetchone()
    (oldest,) = connection.execute("SELECT min(sequence) FROM frames").fetchone()
    last = min(sequence - 1, state.sequence - KEPT_COMMITS)  # the base is bound to the entry of its own commit
    if oldest > last:
        return False
    last = min(last, oldest + amount - 1)
    connection.execute("UPDATE base SET folded = ?, origin = ?", (last, hash_at(connection, last)))
    connection.execute("DELETE FROM frames WHERE sequence <= ?", (last,))
    connection.execute("DELETE FROM tombstones WHERE sequence <= ?", (last,))
    return True


class _Merge:
    """Merges the segments of the lexical index, a number of pages at a time."""

    def __init__(self) -> None:
        self._begun = False

    def __call__(self, connection: sqlite3.Connection, state: State, amount: int) -> bool:
        pages, self._begun = (amount if self._begun else -amount), True
        return lexical_table.merge(connection, pages)


def _release(connection: sqlite3.Connection, state: State, amount: int) -> bool:
    """Cut free pages off the end of the database."""
    release(connection, amount)
    (free,) = connection.execute("PRAGMA freelist_count").fetchone()
    return bool(free)


def release(connection: sqlite3.Connection, amount: int) -> None:
    """Cut at most `amount` free pages off the end of the database, within a write transaction."""
    (free,) = connection.execute("PRAGMA freelist_count").fetchone()
    for _ in range(min(free, amount)):
        # The statement frees one page a step, and sqlite3 makes one step, since it yields no rows.
        connection.execute("PRAGMA incremental_vacuum(1)")
