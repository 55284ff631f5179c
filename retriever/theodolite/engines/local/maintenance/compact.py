"""Compaction: a new generation of living rows takes the place of one with many dead ones, while others read and write.

The new one is copied beside the old one, and catches up with what is committed meanwhile. What is left then is
appended under the write lock, and one commit switches. Readers keep what they have mapped.
"""

import shutil
import sqlite3
import time
from typing import NamedTuple

from theodolite.engines.local.derived.snapshot import Snapshot, SnapshotManager
from theodolite.engines.local.maintenance.generations import NextGeneration, Progress, remove_old_generations
from theodolite.engines.local.maintenance.reclaim import KEPT, give_back, is_incremental
from theodolite.engines.local.storage.crash_points import crash_point
from theodolite.engines.local.storage.database import State
from theodolite.engines.local.storage.folder import Folder
from theodolite.engines.local.storage.generation_base import has_base
from theodolite.engines.local.storage.paths import PARTIAL_GENERATION, STORE, codes_folder, columns_folder, vectors_name
from theodolite.engines.local.storage.sqlite_errors import translate_errors
from theodolite.engines.local.storage.store import Store
from theodolite.errors import EngineError
from theodolite.types import Compaction

LEAST = 1000
"""Dead rows below which no collection is compacted by itself."""

_LONG = 2 * KEPT  # commits since the last compaction that make one due by themselves
_FEW = 8  # commits that may be left for the write lock
_ROUNDS = 20  # of catching up, before what is left is appended under the write lock, however much it is


class Pace:
    """Calls `progress`, and rests as long as it has worked since the last call: half a core, for background work."""

    def __init__(self, progress: Progress, *, resting: bool) -> None:
        self._progress = progress
        self._resting = resting
        self._since = time.perf_counter()

    def __call__(self, count: int) -> None:
        self._progress(count)
        if self._resting:
            time.sleep(min(0.1, time.perf_counter() - self._since))
            self._since = time.perf_counter()


class GenerationStart(NamedTuple):
    """How a generation began.

    Attributes:
        generation: its number.
        shift: of its keys (see `keys.Keys`).
        sequence: the first commit that its vector file has a frame for.
    """

    generation: int
    shift: int
    sequence: int

    @classmethod
    def read(cls, connection: sqlite3.Connection, state: State) -> "GenerationStart":
        """That of the current generation."""
        if has_base(connection):
            shift, sequence = connection.execute("SELECT first_row, sequence FROM base").fetchone()
        else:
            shift, (sequence,) = 0, connection.execute("SELECT min(sequence) FROM frames").fetchone()
        return cls(state.generation, shift, sequence or 0)

    def is_compaction_due(self, state: State, share: float) -> bool:
        """Whether dead rows are more than `share` of all rows, or the change log has become long."""
        rows = state.keys - self.shift
        dead = rows - state.live
        return (dead >= LEAST and dead > share * rows) or state.sequence - self.sequence > _LONG


def compact(store: Store, snapshots: SnapshotManager, progress: Progress, *, background: bool = False) -> Compaction:
    """Remove dead rows, and give their disk space back. The caller holds the lock of `only_builder`.

    Args:
        progress: called with the number of rows copied since the last call; what it raises ends the compaction.
        background: work at half a core, and leave out what would make writers wait.

    Raises:
        EngineError: there is not enough room on the disk, or the collection is opened read-only.
        CorruptionError: stored vectors are damaged; nothing is changed.
    """
    folder = store.folder
    before, removed = folder.size(), 0
    pace = Pace(progress, resting=background)
    try:
        with translate_errors(folder):
            while (dead := _switched(store, snapshots, pace)) is None:
                pass  # the collection has been cleared meanwhile
            removed = dead
    finally:
        folder.remove([PARTIAL_GENERATION])
        remove_old_generations(store)
    give_back(store, pace, background=background, all_of_it=removed > 0)
    return Compaction(removed, before, folder.size())


def _switched(store: Store, snapshots: SnapshotManager, pace: Pace) -> int | None:
    """How many rows were removed; None where another generation has begun meanwhile."""
    folder = store.folder

    def begun(connection: sqlite3.Connection, snapshot: Snapshot) -> tuple[Snapshot, NextGeneration | None]:
        dead = snapshot.rows - snapshot.state.live
        if not dead and len(snapshot.hashes) <= KEPT:
            return snapshot, None
        _check_room(store, connection, snapshot)
        folder.remove([PARTIAL_GENERATION])
        folder.make(PARTIAL_GENERATION)
        place = Folder(folder.reachable(PARTIAL_GENERATION))
        return snapshot, NextGeneration(place, connection, snapshot, writable=snapshots.cached)

    snapshot, following = snapshots.read(begun)
    if following is None:
        return 0
    base = following.copy(pace)
    following.derive_codes(pace)
    snapshots.read(lambda connection, _: following.derive_columns(connection, folder))
    following.sync()
    crash_point("compaction.copied")
    for _ in range(_ROUNDS):
        if (left := snapshots.read(_Following(following, snapshot))) is None:
            return None
        pace(0)
        if left <= _FEW:
            break
    following.sync()
    crash_point("compaction.followed")
    if not _switch(store, snapshots, following, snapshot):
        return None
    crash_point("compaction.committed")
    return snapshot.rows - base.frame.rows


class _Following:
    """Catches up within a transaction. Returns how many commits there were; None in another generation."""

    def __init__(self, following: NextGeneration, begun: Snapshot) -> None:
        self._following = following
        self._generation = begun.state.generation

    def __call__(self, connection: sqlite3.Connection, snapshot: Snapshot) -> int | None:
        if snapshot.state.generation != self._generation:
            return None
        return self._following.follow(connection, snapshot)


def _switch(store: Store, snapshots: SnapshotManager, following: NextGeneration, begun: Snapshot) -> bool:
    """Append what is left, put the files in place and commit; False where another generation has begun."""
    folder, number = store.folder, following.number
    with store.write() as (connection, state):
        if state.generation != begun.state.generation:
            return False
        following.follow(connection, snapshots.current(connection, state))
        store.announce_commit(state.sequence + 1, following.finish(state))
        if store.durable:
            following.sync()
        names = [codes_folder(number), columns_folder(number), vectors_name(number)]
        folder.remove(names)  # of a generation that was never committed
        made = folder.names(PARTIAL_GENERATION)
        for name in names:
            if name in made:
                folder.rename(f"{PARTIAL_GENERATION}/{name}", name)
        if store.durable:
            folder.sync()
        crash_point("compaction.placed")
        following.record(connection, state)
    return True


def _check_room(store: Store, connection: sqlite3.Connection, snapshot: Snapshot) -> None:
    """Raises EngineError where the disk has no room for what is written before anything is deleted."""
    dimension, live = snapshot.flat.dimension, snapshot.state.live
    needed = live * (4 * dimension + 8)
    needed += store.folder.size(codes_folder(snapshot.state.generation))
    needed += store.folder.size(columns_folder(snapshot.state.generation))
    if not is_incremental(connection):
        found = store.folder.stat(STORE)
        needed += 2 * (0 if found is None else found.st_size)
    free = shutil.disk_usage(store.folder.path).free
    if free < needed:
        raise EngineError(
            f"{store.folder}: compacting needs {needed:,} bytes of disk, and {free:,} are free. Nothing was changed; "
            "make room and try again",
            folder=str(store.folder),
            needed=needed,
            free=free,
        )
