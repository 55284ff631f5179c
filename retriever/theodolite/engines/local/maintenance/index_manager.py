"""Background work on one open collection: build its approximate index when needed, and compact it."""

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from sqlite3 import Connection
from typing import Any

import numpy as np

from theodolite.engines.local.derived.index_record import (
    FLAT,
    NATIVE,
    IndexRecord,
    read_index_record,
    remove_other_indexes,
)
from theodolite.engines.local.derived.snapshot import Snapshot, SnapshotManager
from theodolite.engines.local.maintenance.compact import GenerationStart, compact
from theodolite.engines.local.maintenance.index_build import PartialIndex, Progress, build, only_builder
from theodolite.engines.local.maintenance.index_room import check_room
from theodolite.engines.local.storage.crash_points import crash_point
from theodolite.engines.local.storage.database import State
from theodolite.engines.local.storage.folder import index_folder
from theodolite.engines.local.storage.store import Store
from theodolite.errors import ConfigError, LockedError, TheodoliteError
from theodolite.forking import register_at_fork
from theodolite.indexes.registry import AUTO, canonical, estimate, make_index, recommended_index
from theodolite.maintenance_reports import Compaction
from theodolite.protocols import Candidates, Request
from theodolite.types import Rows, Vectors

_log = logging.getLogger(__name__)

TARGET_RECALL = 0.99

CHURN = 0.15
"""New and dead rows, as a share of the index's rows, beyond which it is rebuilt."""

_MIN_DOCUMENTS = 10_000  # smaller collections are not indexed in the background
_SCAN_TIME = 3.5e-11  # seconds to scan one dimension of one row, with one thread
_SLOW = 5e-3  # seconds: an index pays if an exact search takes longer
_MAX_QUERIES = 512  # recent queries kept for calibration
_MIN_QUERIES = 100  # enough of them for a calibration
_ENOUGH_QUERIES = 4_000  # calibrated with so many, an index is not calibrated again


class BuildStopped(Exception):
    """A background build stops, because the collection is closed or `reindex` is called. It can be resumed."""


class IndexManager:
    """Builds, installs and describes the index. Meanwhile, searches use the previous index, or are exact."""

    def __init__(
        self, store: Store, snapshots: SnapshotManager, *, background: bool, compact_at: float | None = None
    ) -> None:
        """
        Args:
            background: whether to build and compact in the background.
            compact_at: the share of dead rows beyond which the collection is compacted; None never compacts.
        """
        self._store = store
        self._snapshots = snapshots
        self._background = background
        self._compact_at = compact_at
        self._generation_start: GenerationStart | None = None
        self._thread: threading.Thread | None = None
        self._thread_lock = threading.Lock()
        self._closing = threading.Event()
        self._foreground_builds = 0  # running calls of reindex() and compact()
        self._queries: deque[Vectors] = deque(maxlen=_MAX_QUERIES)
        self._new_queries = 0  # recorded since the last calibration
        self._failed_at = -1  # the commit at which a build failed; it is tried again after the next commit
        register_at_fork(self)

    def forked(self, held: bool) -> None:
        """Forget the parent's builds, in a forked child."""
        self._thread, self._foreground_builds = None, 0

    def apply_setting(self, index: str | None) -> None:
        """Apply the setting `index=` of `open`. None and `auto` accept any index; a new collection takes any setting.

        Raises:
            ConfigError: the collection has another index, or the name is unknown.
        """
        if index is None or index == AUTO:
            return
        spec = _spec(index)
        with self._store.read() as (connection, state):
            record = read_index_record(connection) if state.approximate else None
        current = FLAT if record is None else record.spec
        if current == spec:
            return
        if record is not None or state.sequence or self._store.mode != "rw":
            raise ConfigError(
                f"the collection's index is {current!r}, not {spec!r}. Open it without index= and call "
                f"reindex({index!r}) to change that",
                pinned=current,
                asked=spec,
            )
        with self._store.write() as (connection, state):
            IndexRecord(spec, TARGET_RECALL).write(connection, state.approximate + 1)

    def reindex(
        self, index: str, *, target_recall: float, queries: Vectors | None = None, progress: Progress | None = None
    ) -> None:
        """Build an index, and use it once it is complete. `flat` returns to exact search.

        Raises:
            ConfigError: the name is unknown.
            MissingExtraError: its package is not installed.
            LockedError: another process or thread is building an index.
            EngineError: the folder is no longer the one that was opened, or memory or disk are too small for the index.
        """
        spec = _spec(index)
        if spec == FLAT:
            with self._store.write() as (connection, state):
                IndexRecord(FLAT, target_recall).write(connection, state.approximate + 1)
            self._remove_indexes_except(0)
            return
        self._store.identity.check_folder()  # before minutes are spent
        with self._background_stopped(), only_builder(self._store.folder, self._store.lock_timeout):
            self._build(spec, target_recall, queries, progress or (lambda count: None))

    def record_query(self, snapshot: Snapshot, request: Request) -> None:
        """Keep a query for calibration, and start a rebuild if one is due."""
        if request.where is None:
            for number in range(min(len(request.vectors), _MAX_QUERIES)):
                self._queries.append(Vectors(request.vectors[number : number + 1]))
                self._new_queries += 1
        self._rebuild_if_due(snapshot)

    def compact(self, progress: Progress | None = None) -> Compaction:
        """Remove dead rows, and rebuild the approximate index, if there is one.

        Raises:
            EngineError: there is not enough room on the disk, or the collection is opened read-only.
            LockedError: another process or thread is compacting, or building an index.
        """
        self._store.check_writable()
        with self._background_stopped(), only_builder(self._store.folder, self._store.lock_timeout):
            return self._compact(progress or (lambda count: None))

    def _compact(self, progress: Progress, *, background: bool = False) -> Compaction:
        compaction = compact(self._store, self._snapshots, progress, background=background)
        with self._store.read() as (connection, state):
            record = read_index_record(connection) if state.approximate else None
        if record is not None and record.files and record.generation != state.generation:
            self._build(record.spec, record.target_recall, None, lambda count: progress(0))
        return compaction

    def _compact_in_background(self, sequence: int) -> None:
        self._failed_at = sequence
        with only_builder(self._store.folder, 0):
            with self._store.read() as (connection, state):
                due = self._is_compaction_due(connection, state)
            if due:  # unless another process was faster
                self._compact(self._progress, background=True)
        self._failed_at = -1

    def _is_compaction_due(self, connection: Connection, state: State) -> bool:
        if self._compact_at is None:
            return False
        start = self._generation_start
        if start is None or start.generation != state.generation:
            self._generation_start = start = GenerationStart.read(connection, state)
        return start.is_compaction_due(state, self._compact_at)

    def after_commit(self) -> None:
        """Start a rebuild or a compaction if a commit has made one due."""
        try:
            with self._store.read() as (connection, state):
                record = read_index_record(connection) if state.approximate else None
                idle = self._background and self._thread is None and state.sequence != self._failed_at
                due = idle and self._is_compaction_due(connection, state)
        except TheodoliteError:  # the commit stands; the collection may have been closed meanwhile
            return
        if due:
            self._run_in_background(lambda: self._compact_in_background(state.sequence))
        elif record is not None and self._may_build(record, state.sequence) and _is_due(record, state):
            self._run_in_background(lambda: self._rebuild(record, state.sequence))

    def _rebuild_if_due(self, snapshot: Snapshot) -> None:
        record = snapshot.record
        if record is None or not self._may_build(record, snapshot.state.sequence):
            return
        if _is_due(record, snapshot.state) or _is_unusable(snapshot):
            self._run_in_background(lambda: self._rebuild(record, snapshot.state.sequence))
        elif snapshot.approximate is not None and self._new_queries >= _queries_until_next(record):
            self._run_in_background(self._calibrate_again)

    def _may_build(self, record: IndexRecord, sequence: int) -> bool:
        idle = self._thread is None and not self._foreground_builds and not self._closing.is_set()
        # An index that is not trusted is not rebuilt in the background either: its settings are somebody else's.
        foreign = self._store.trust.refused((record.hashes or {}).get(NATIVE, ""))
        return idle and self._background and record.spec != FLAT and sequence != self._failed_at and not foreign

    def info(self, snapshot: Snapshot) -> dict[str, Any]:
        """Return the part of `info()` about the index."""
        record, state, dimension = snapshot.record, snapshot.state, snapshot.manifest.space.dimension
        described: dict[str, Any] = {"index": FLAT, "approximate": None, "recommended": None}
        if record is not None and record.spec != FLAT:
            described["index"] = record.spec
            described["approximate"] = {
                "ready": snapshot.approximate is not None,
                "building": self._thread is not None,
                "rows": record.covered,
                "bytes": self._store.folder.size(index_folder(record.files)) if record.files else 0,
                "churn": None if record.generation != state.generation else round(churn(record, state), 4),
                "target_recall": record.target_recall,
                "calibration": record.calibration,
                "proven": None if record.calibration is None else record.measured().proven,
            }
        elif dimension is not None and state.live * dimension * _SCAN_TIME > _SLOW:
            index = recommended_index()
            described["recommended"] = {"index": index, **estimate(index, state.live, dimension)}
        return described

    def wait(self) -> None:
        """Wait until no background work is running."""
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def close(self) -> None:
        """Stop background work and wait until it has ended."""
        self._closing.set()
        self.wait()

    def _run_in_background(self, work: Callable[[], None]) -> None:
        with self._thread_lock:
            if self._thread is None and not self._foreground_builds:
                self._thread = threading.Thread(target=self._run, args=(work,), name="theodolite-index", daemon=True)
                self._thread.start()

    def _run(self, work: Callable[[], None]) -> None:
        try:
            work()
        except (BuildStopped, LockedError):  # resumed later, or another process is at it
            pass
        except (TheodoliteError, OSError) as error:
            _log.warning("%s: background work failed: %s", self._store.folder, error)
        finally:
            self._thread = None

    def _rebuild(self, record: IndexRecord, sequence: int) -> None:
        self._failed_at = sequence
        self._store.identity.check_folder()
        with only_builder(self._store.folder, 0):
            current = self._snapshots.read(lambda connection, snapshot: snapshot)
            known = current.record
            # Unless another process was faster.
            if known is not None and (_is_due(known, current.state) or _is_unusable(current)):
                self._build(record.spec, record.target_recall, None, self._progress)
        self._failed_at = -1

    def _progress(self, count: int) -> None:
        if self._closing.is_set() or self._foreground_builds:
            raise BuildStopped

    @contextmanager
    def _background_stopped(self) -> Iterator[None]:
        """Stop a background build. `reindex` resumes it if the settings match."""
        with self._thread_lock:
            self._foreground_builds += 1
        try:
            self.wait()
            yield
        finally:
            with self._thread_lock:
                self._foreground_builds -= 1

    def _build(self, spec: str, target_recall: float, queries: Vectors | None, progress: Progress) -> None:
        snapshot = self._searchable_snapshot()
        manifest, space = snapshot.manifest, snapshot.manifest.space
        if not snapshot.state.live:
            with self._store.write() as (connection, state):
                IndexRecord(spec, target_recall).write(connection, state.approximate + 1)
            return
        partial = PartialIndex(
            self._store.folder,
            f"{manifest.uid} {snapshot.state.generation}",
            spec,
            snapshot.rows,
            self._store.trust,
        )
        rows = np.flatnonzero(snapshot.live)
        check_room(self._store.folder, spec, len(rows), snapshot.flat.dimension)
        candidates, rows = build(partial, snapshot.vectors, rows, space, progress)
        record = IndexRecord(
            spec,
            target_recall,
            snapshot.state.generation,
            hashes=partial.save(candidates, rows),  # an interruption from here on loses no work
            covered=len(rows),
            stop=int(rows[-1]) + 1,
            shift=snapshot.keys.shift,
        )
        crash_point("index.saved")
        record = self._calibrated(record, candidates, rows, queries, progress)
        self._install(partial, record, candidates, rows)

    def _calibrated(
        self, record: IndexRecord, candidates: Candidates, rows: Rows, queries: Vectors | None, progress: Progress
    ) -> IndexRecord:
        """Return the record with a calibration on the given queries, else on recent ones, else on noisy rows.

        Queries that come after a calibration with recent ones are added to it.
        """
        from theodolite.indexes.ann import calibrate

        snapshot = self._searchable_snapshot()
        live = None if snapshot.state.live == snapshot.rows else snapshot.live
        before = None if record.calibration is None else record.measured()
        logged, self._new_queries = list(self._queries)[-max(self._new_queries, _MIN_QUERIES) :], 0
        use_logged = queries is None and len(logged) >= _MIN_QUERIES
        calibration = calibrate(
            candidates,
            rows,
            snapshot.flat,
            snapshot.vectors,
            live,
            Vectors(np.concatenate(logged)) if use_logged else queries,
            target_recall=record.target_recall,
            kind="logged" if use_logged else "given",
            before=before,
            progress=lambda n: progress(0),
        )
        return replace(record, calibration=calibration.to_dict())

    def _install(self, partial: PartialIndex, record: IndexRecord, candidates: Candidates, rows: Rows) -> None:
        """Put the finished index in use."""
        with self._store.write() as (connection, state):
            if state.generation != record.generation:  # cleared or compacted meanwhile
                partial.drop()
                return
            number = state.approximate + 1
            before = read_index_record(connection)
            # A folder under the new name was never recorded.
            self._remove_indexes_except(0 if before is None else before.files)
            partial.move_to(index_folder(number))
            self._store.folder.sync()
            crash_point("index.placed")
            record = replace(record, files=number)
            record.write(connection, number)
            self._snapshots.offer_index(number, record.approximate(candidates, rows))
        crash_point("index.recorded")
        self._remove_indexes_except(number)

    def _calibrate_again(self) -> None:
        """Calibrate with real queries, once there are enough. Noisy rows give a more cautious calibration."""
        snapshot = self._searchable_snapshot()
        record, index = snapshot.record, snapshot.approximate
        if record is None or index is None:
            return
        record = self._calibrated(record, index.candidates, index.rows, None, self._progress)
        with self._store.write() as (connection, state):
            if state.approximate == snapshot.state.approximate:
                record.write(connection, state.approximate + 1)
                self._snapshots.offer_index(state.approximate + 1, record.approximate(index.candidates, index.rows))

    def _searchable_snapshot(self) -> Snapshot:
        return self._snapshots.read(lambda connection, snapshot: self._snapshots.searchable(snapshot))

    def _remove_indexes_except(self, *files: int) -> None:
        remove_other_indexes(self._store.folder, files)


def _spec(index: str) -> str:
    """Return the canonical name of an index. Raises ConfigError or MissingExtraError if it cannot be built."""
    if index == FLAT:
        return FLAT
    make_index(index)
    return canonical(index)


def churn(record: IndexRecord, state: State) -> float:
    """Return the rows added and ended since the index was built, as a share of its rows."""
    if record.generation != state.generation or not record.covered:
        return float("inf")
    rows = state.keys - record.shift
    died = rows - state.live - record.dead
    return (rows - record.stop + died) / record.covered


def _is_due(record: IndexRecord, state: State) -> bool:
    return state.live >= _MIN_DOCUMENTS and churn(record, state) > CHURN


def _is_unusable(snapshot: Snapshot) -> bool:
    """Return whether the index in use could not be loaded: its files are missing or damaged."""
    record = snapshot.record
    current = record is not None and record.files > 0 and record.generation == snapshot.state.generation
    return current and snapshot.approximate is None


def _queries_until_next(record: IndexRecord) -> float:
    """Return how many new queries call for a calibration: as many as the last one had, so that calibrations get rare.

    Those with queries that the caller has given stand.
    """
    calibration = record.calibration
    if calibration is None or calibration["kind"] == "given" or calibration["queries"] >= _ENOUGH_QUERIES:
        return float("inf")
    return max(_MIN_QUERIES, calibration["queries"] if calibration["kind"] == "logged" else 0)
