"""Space in the database that nothing needs, given back in short steps, so that no writer waits long."""

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing

from theodolite.engines.local.storage import lexical_table
from theodolite.engines.local.storage.change_log import hash_at
from theodolite.engines.local.storage.crash_points import crash_point
from theodolite.engines.local.storage.database import State
from theodolite.engines.local.storage.generation_base import has_base
from theodolite.engines.local.storage.sqlite_errors import translate_errors
from theodolite.engines.local.storage.store import Store

KEPT = 10_000
"""Commits whose entries the change log keeps."""

STEP = 0.05
"""Seconds for which one step may hold the write lock."""

_AIMED = 0.5 * STEP  # so that a slow one is still short enough
_FIRST = 64  # pages or entries in the first step
_SMALL = 64 << 20  # bytes of a database that is rewritten in the background: a second or two

Work = Callable[[sqlite3.Connection, State, int], bool]


def give_back(store: Store, pause: Callable[[int], None], *, background: bool, all_of_it: bool) -> None:
    """Shorten the change log, merge the lexical index, and give free pages back to the file system.

    Args:
        pause: called between two steps.
        background: leave a large database that was made without `auto_vacuum` as it is: to rewrite it takes long.
        all_of_it: whether much has changed, so that the lexical index is worth merging.
    """
    _in_steps(store, _fold, pause)
    if all_of_it:
        _in_steps(store, _Merge(), pause)
    with store.read() as (connection, _):
        incremental = is_incremental(connection)
        size = connection.execute("PRAGMA page_count").fetchone()[0] * 4096
    if incremental:
        _in_steps(store, _release, pause)
    elif not background or size <= _SMALL:
        _rewrite(store)
    _shorten(store)
    crash_point("compaction.reclaimed")


def is_incremental(connection: sqlite3.Connection) -> bool:
    """Whether the database can give pages back one by one."""
    return bool(connection.execute("PRAGMA auto_vacuum").fetchone()[0] == 2)


def _rewrite(store: Store) -> None:
    """Rewrite the database, so that from now on it can give back pages one by one. Writers wait until it is done.

    Raises:
        LockedError: another one held the write lock for `lock_timeout` seconds.
    """
    with translate_errors(store.folder), closing(store.connect()) as connection:
        connection.execute("PRAGMA temp_store=FILE")  # the copy is as large as the database
        connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
        connection.execute("VACUUM")


def _shorten(store: Store) -> None:
    """Copy the write-ahead log to the database and cut it off, unless others are using it."""
    with translate_errors(store.folder), closing(store.connect()) as connection:
        connection.execute("PRAGMA busy_timeout=0")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def _in_steps(store: Store, work: Work, pause: Callable[[int], None]) -> None:
    """Do some work in transactions of `STEP` seconds at most, until it says that there is no more."""
    amount = _FIRST
    while True:
        with store.write() as (connection, state):
            started = time.perf_counter()
            more = work(connection, state, amount)
        took = time.perf_counter() - started
        if not more:
            return
        amount = max(1, int(amount * min(2.0, _AIMED / max(took, 1e-4))))
        time.sleep(min(took, STEP))  # others who wait for the lock look for it every few milliseconds
        pause(0)


def _fold(connection: sqlite3.Connection, state: State, amount: int) -> bool:
    """Delete the oldest entries of the change log that a base stands for."""
    if not has_base(connection):
        return False
    (sequence,) = connection.execute("SELECT sequence FROM base").fetchone()
    (oldest,) = connection.execute("SELECT min(sequence) FROM frames").fetchone()
    last = min(sequence - 1, state.sequence - KEPT)  # the base is bound to the entry of its own commit
    if oldest > last:
        return False
    last = min(last, oldest + amount - 1)
    connection.execute("UPDATE base SET folded = ?, origin = ?", (last, hash_at(connection, last)))
    connection.execute("DELETE FROM frames WHERE sequence <= ?", (last,))
    connection.execute("DELETE FROM tombstones WHERE sequence <= ?", (last,))
    return True


class _Merge:
    """The segments of the lexical index become one, a number of pages at a time."""

    def __init__(self) -> None:
        self._begun = False

    def __call__(self, connection: sqlite3.Connection, state: State, amount: int) -> bool:
        pages, self._begun = (amount if self._begun else -amount), True
        return lexical_table.merge(connection, pages)


def _release(connection: sqlite3.Connection, state: State, amount: int) -> bool:
    """Cut free pages off the database's end."""
    release(connection, amount)
    (free,) = connection.execute("PRAGMA freelist_count").fetchone()
    return bool(free)


def release(connection: sqlite3.Connection, amount: int) -> None:
    """Cut so many free pages off the database's end, within a write transaction."""
    (free,) = connection.execute("PRAGMA freelist_count").fetchone()
    for _ in range(min(free, amount)):
        # A page for each step of the statement, and sqlite3 makes one step: it yields no rows.
        connection.execute("PRAGMA incremental_vacuum(1)")
