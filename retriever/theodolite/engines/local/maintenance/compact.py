"""Compaction: replace a generation that has many dead rows by one with the living rows, while others read and write.

The new generation is copied beside the old one, and then catches up with the commits made meanwhile. The last of them
are appended under the write lock, and one commit switches. Readers keep the files that they have mapped.

Afterwards unused space of the database returns to the disk, in short steps, so that no writer waits long.
"""

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from typing import NamedTuple

from theodolite.engines.local.derived.snapshot import Snapshot, SnapshotManager
from theodolite.engines.local.maintenance.generations import NextGeneration, Progress, remove_old_generations
from theodolite.engines.local.maintenance.log_retention import KEPT_COMMITS, fold_history, record_time
from theodolite.engines.local.storage import lexical_table
from theodolite.engines.local.storage.change_log import has_base
from theodolite.engines.local.storage.crash_points import crash_point
from theodolite.engines.local.storage.database import State
from theodolite.engines.local.storage.folder import (
    PARTIAL_GENERATION,
    STORE,
    Folder,
    codes_folder,
    columns_folder,
    vectors_name,
)
from theodolite.engines.local.storage.io_errors import translate_errors
from theodolite.engines.local.storage.store import Store
from theodolite.errors import EngineError
from theodolite.maintenance_reports import Compaction

MIN_DEAD = 1000
"""Collections with fewer dead rows are not compacted in the background."""

_MAX_COMMITS = 2 * KEPT_COMMITS  # commits since the last compaction that make another one due
_MAX_UNDER_LOCK = 8  # commits that may be left to append under the write lock
_ROUNDS = 20  # of catching up; then all remaining commits are appended under the write lock

STEP = 0.05
"""Seconds that one step may hold the write lock."""

_REST = 1.5  # seconds of rest for each second of background work
_LONGEST_REST = 0.2  # seconds; close() waits for its end
_TARGET = 0.5 * STEP  # so that a slow step is still short enough
_FIRST = 64  # pages or entries in the first step
_SMALL = 64 << 20  # bytes of a database that is rewritten in the background: a second or two

Work = Callable[[sqlite3.Connection, State, int], bool]


class Pace:
    """Calls `progress`, and rests after each step: background work takes less than half a core.

    It rests longer than it works, so that most searches meet an idle processor.
    """

    def __init__(self, progress: Progress, *, resting: bool) -> None:
        self._progress = progress
        self._resting = resting
        self._since = time.perf_counter()

    def __call__(self, count: int) -> None:
        self._progress(count)
        if self._resting:
            time.sleep(min(_LONGEST_REST, _REST * (time.perf_counter() - self._since)))
            self._since = time.perf_counter()


class GenerationStart(NamedTuple):
    """The start of a generation.

    Attributes:
        generation: its number.
        shift: the shift of its keys (see `records.Keys`).
        sequence: the first commit that has a frame in its vector file.
    """

    generation: int
    shift: int
    sequence: int

    @classmethod
    def read(cls, connection: sqlite3.Connection, state: State) -> "GenerationStart":
        """Read the start of the current generation."""
        if has_base(connection):
            shift, sequence = connection.execute("SELECT first_row, sequence FROM base").fetchone()
        else:
            shift, (sequence,) = 0, connection.execute("SELECT min(sequence) FROM frames").fetchone()
        return cls(state.generation, shift, sequence or 0)

    def is_compaction_due(self, state: State, share: float) -> bool:
        """Return whether dead rows exceed `share` of all rows, or the change log has grown long."""
        rows = state.keys - self.shift
        dead = rows - state.live
        return (dead >= MIN_DEAD and dead > share * rows) or state.sequence - self.sequence > _MAX_COMMITS


def compact(store: Store, snapshots: SnapshotManager, progress: Progress, *, background: bool = False) -> Compaction:
    """Remove dead rows, and return their space to the disk. The caller holds the lock of `only_builder`.

    Args:
        progress: called with the number of rows copied since the last call. An exception from it ends the compaction.
        background: use less than half a core, and skip steps that would make writers wait.

    Raises:
        EngineError: there is not enough room on the disk, or the collection is opened read-only.
        CorruptionError: stored vectors are damaged; nothing is changed.
    """
    folder = store.folder
    before, removed = folder.size(), 0
    pace = Pace(progress, resting=background)
    try:
        with translate_errors(folder):
            while (dead := _compact_once(store, snapshots, pace)) is None:
                pass  # the collection has been cleared meanwhile
            removed = dead
    finally:
        folder.remove([PARTIAL_GENERATION])
        remove_old_generations(store)
    give_back(store, pace, background=background, merge=removed > 0)
    return Compaction(removed, before, folder.size())


def _compact_once(store: Store, snapshots: SnapshotManager, pace: Pace) -> int | None:
    """Return how many rows were removed, or None if another generation has begun meanwhile."""
    folder = store.folder

    def begin(connection: sqlite3.Connection, snapshot: Snapshot) -> tuple[Snapshot, NextGeneration | None]:
        dead = snapshot.rows - snapshot.state.live
        if not dead and len(snapshot.hashes) <= KEPT_COMMITS:
            return snapshot, None
        _check_room(store, connection, snapshot)
        folder.remove([PARTIAL_GENERATION])
        folder.make(PARTIAL_GENERATION)
        partial = Folder(folder.reachable(PARTIAL_GENERATION))
        return snapshot, NextGeneration(partial, connection, snapshot, writable=snapshots.uses_files)

    snapshot, successor = snapshots.read(begin)
    if successor is None:
        return 0
    base = successor.copy(pace)
    successor.derive_codes(pace)
    snapshots.read(lambda connection, _: successor.derive_columns(connection, folder))
    successor.sync()
    crash_point("compaction.copied")

    def catch_up(connection: sqlite3.Connection, current: Snapshot) -> int | None:
        same = current.state.generation == snapshot.state.generation
        return successor.follow(connection, current) if same else None

    for _ in range(_ROUNDS):
        if (left := snapshots.read(catch_up)) is None:
            return None
        pace(0)
        if left <= _MAX_UNDER_LOCK:
            break
    successor.sync()
    crash_point("compaction.followed")
    if not _switch(store, snapshots, successor, snapshot):
        return None
    crash_point("compaction.committed")
    return snapshot.rows - base.frame.rows


def _switch(store: Store, snapshots: SnapshotManager, successor: NextGeneration, begun: Snapshot) -> bool:
    """Append the last commits, move the files into place and commit. False if another generation has begun."""
    folder, number = store.folder, successor.number
    with store.write() as (connection, state):
        if state.generation != begun.state.generation:
            return False
        successor.follow(connection, snapshots.current(connection, state))
        store.announce_commit(state.sequence + 1, successor.finish(state))
        if store.durable:
            successor.sync()
        names = [codes_folder(number), columns_folder(number), vectors_name(number)]
        folder.remove(names)  # of a generation that was never committed
        written = folder.names(PARTIAL_GENERATION)
        for name in names:
            if name in written:
                folder.rename(f"{PARTIAL_GENERATION}/{name}", name)
        if store.durable:
            folder.sync()
        crash_point("compaction.placed")
        successor.record(connection, state)
    return True


def _check_room(store: Store, connection: sqlite3.Connection, snapshot: Snapshot) -> None:
    """Raise EngineError unless the disk has room for all files written before old ones are deleted."""
    dimension, live = snapshot.flat.dimension, snapshot.state.live
    needed = live * (4 * dimension + 8)
    needed += store.folder.size(codes_folder(snapshot.state.generation))
    needed += store.folder.size(columns_folder(snapshot.state.generation))
    if not is_incremental(connection):
        database = store.folder.stat(STORE)
        needed += 2 * (0 if database is None else database.st_size)
    import shutil  # seldom needed, and slow to import

    free = shutil.disk_usage(store.folder.path).free
    if free < needed:
        raise EngineError(
            f"{store.folder}: compacting needs {needed:,} bytes of disk, and {free:,} are free. Nothing was changed; "
            "make room and try again",
            folder=str(store.folder),
            needed=needed,
            free=free,
        )


def give_back(store: Store, pause: Callable[[int], None], *, background: bool, merge: bool) -> None:
    """Shorten the change log, merge the lexical index, and return free pages to the file system.

    Args:
        pause: called between two steps.
        background: skip a large database that was created without `auto_vacuum`, since rewriting it takes long.
        merge: whether to merge the lexical index, which pays after many changes.
    """
    with store.write() as (connection, state):
        record_time(connection, state)
    _in_steps(store, fold_history, pause)
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
    """Return whether the database can return single pages to the file system."""
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
