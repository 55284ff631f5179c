"""The approximate index of one open collection: built on request, and again when much has changed."""

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from sqlite3 import Connection
from typing import Any

import numpy as np

from theodolite.engines.local.derived.index_record import NATIVE, IndexRecord, read_index_record, remove_other_indexes
from theodolite.engines.local.derived.snapshot import Snapshot, SnapshotManager
from theodolite.engines.local.maintenance.build_lock import only_builder
from theodolite.engines.local.maintenance.compact import GenerationStart, compact
from theodolite.engines.local.maintenance.index_build import Partial, Progress, build
from theodolite.engines.local.storage.crash_points import crash_point
from theodolite.engines.local.storage.database import State
from theodolite.engines.local.storage.paths import index_folder
from theodolite.engines.local.storage.store import Store
from theodolite.errors import ConfigError, LockedError, TheodoliteError
from theodolite.forking import register_at_fork
from theodolite.indexes.ann import Approximate, calibrate, estimate
from theodolite.indexes.registry import canonical, make_index
from theodolite.protocols import Candidates, Request
from theodolite.types import Compaction, Rows, Vectors

_log = logging.getLogger(__name__)

FLAT = "flat"

AUTO = "auto"
TARGET = 0.99

CHURN = 0.15
"""Share of an index's rows, new and dead ones together, beyond which it is built again."""

_LEAST = 10_000  # documents below which an index is not built by itself
_SCANNED = 3.5e-11  # seconds to scan one dimension of one row, one thread
_SLOW = 5e-3  # seconds of an exact search beyond which an index pays
_LOGGED = 512  # recent queries kept to calibrate with
_ENOUGH = 100  # of these make a calibration


class Closing(Exception):
    """The collection is being closed, or another index asked for: what builds stops, and can be gone on with."""


class IndexManager:
    """Builds, swaps and describes the index. Searches go on meanwhile, with the one before or without."""

    def __init__(
        self, store: Store, snapshots: SnapshotManager, *, background: bool, compact_at: float | None = None
    ) -> None:
        """`compact_at` is the share of dead rows beyond which the collection is compacted; None leaves it as it is."""
        self._store = store
        self._snapshots = snapshots
        self._background = background
        self._compact_at = compact_at
        self._start_of: GenerationStart | None = None
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()
        self._closing = threading.Event()
        self._claims = 0  # calls of reindex() at work
        self._queries: deque[Vectors] = deque(maxlen=_LOGGED)
        self._failed_at = -1  # the commit at which building failed: not tried again before the next
        register_at_fork(self)

    def forked(self, held: bool) -> None:
        """In a forked child: nothing is being built here."""
        self._thread, self._claims = None, 0

    def apply_setting(self, index: str | None) -> None:
        """What `index=` of an opening says: None and `auto` take what is there; a new collection may want another.

        Raises:
            ConfigError: the collection has another index, or there is no such index.
        """
        if index is None or index == AUTO:
            return
        spec = _spec(index)
        with self._store.read() as (connection, state):
            record = read_index_record(connection) if state.approximate else None
        held = FLAT if record is None else record.spec
        if held == spec:
            return
        if record is not None or state.sequence or self._store.mode != "rw":
            raise ConfigError(
                f"the collection's index is {held!r}, not {spec!r}. Open it without index= and call "
                f"reindex({index!r}) to change that",
                pinned=held,
                asked=spec,
            )
        with self._store.write() as (connection, state):
            IndexRecord(spec, TARGET).write(connection, state.approximate + 1)

    def reindex(
        self, index: str, *, target_recall: float, queries: Vectors | None = None, progress: Progress | None = None
    ) -> None:
        """Build `index` aside and swap it in; `flat` goes back to exact search.

        Raises:
            ConfigError, MissingExtraError: there is no such index.
            LockedError: another process or thread is building one.
            EngineError: the folder is no longer the one that was opened.
        """
        spec = _spec(index)
        if spec == FLAT:
            with self._store.write() as (connection, state):
                IndexRecord(FLAT, target_recall).write(connection, state.approximate + 1)
            self._tidy(0)
            return
        self._store.identity.check_folder()  # before minutes are spent
        with self._instead_of_background(), only_builder(self._store.folder, self._store.lock_timeout):
            self._build(spec, target_recall, queries, progress or (lambda count: None))

    def record_query(self, snapshot: Snapshot, request: Request) -> None:
        """Remember a query, to calibrate with; and build again, if that is due."""
        if len(request.vectors) == 1 and request.where is None:
            self._queries.append(request.vectors)
        self._consider(snapshot)

    def compact(self, progress: Progress | None = None) -> Compaction:
        """Remove dead rows now, and build the approximate index again, if there is one.

        Raises:
            EngineError: there is not enough room on the disk, or the collection is opened read-only.
            LockedError: another process or thread is compacting, or building an index.
        """
        self._store.check_writable()
        with self._instead_of_background(), only_builder(self._store.folder, self._store.lock_timeout):
            return self._compacted(progress or (lambda count: None))

    def _compacted(self, progress: Progress, *, background: bool = False) -> Compaction:
        done = compact(self._store, self._snapshots, progress, background=background)
        with self._store.read() as (connection, state):
            record = read_index_record(connection) if state.approximate else None
        if record is not None and record.files and record.generation != state.generation:
            self._build(record.spec, record.target_recall, None, lambda count: progress(0))
        return done

    def _compact_in_background(self, sequence: int) -> None:
        self._failed_at = sequence
        with only_builder(self._store.folder, 0):
            with self._store.read() as (connection, state):
                due = self._is_compaction_due(connection, state)
            if due:  # unless somebody was quicker
                self._compacted(self._progress, background=True)
        self._failed_at = -1

    def _is_compaction_due(self, connection: Connection, state: State) -> bool:
        if self._compact_at is None:
            return False
        start = self._start_of
        if start is None or start.generation != state.generation:
            self._start_of = start = GenerationStart.read(connection, state)
        return start.is_compaction_due(state, self._compact_at)

    def after_commit(self) -> None:
        """Build the index again, or compact, if a commit has made that due."""
        try:
            with self._store.read() as (connection, state):
                record = read_index_record(connection) if state.approximate else None
                idle = self._background and self._thread is None and state.sequence != self._failed_at
                due = idle and self._is_compaction_due(connection, state)
        except TheodoliteError:  # the write is done, whatever fails now: the collection may be closed meanwhile
            return
        if due:
            self._start(lambda: self._compact_in_background(state.sequence))
        elif record is not None and self._may_build(record, state.sequence) and _is_due(record, state):
            self._start(lambda: self._rebuild(record, state.sequence))

    def _consider(self, snapshot: Snapshot) -> None:
        """Build again in the background, if that is due."""
        record = snapshot.record
        if record is None or not self._may_build(record, snapshot.state.sequence):
            return
        if _is_due(record, snapshot.state) or _is_unusable(snapshot):
            self._start(lambda: self._rebuild(record, snapshot.state.sequence))
        elif _is_guessed(record) and len(self._queries) >= _ENOUGH and snapshot.approximate is not None:
            self._start(self._calibrate_again)

    def _may_build(self, record: IndexRecord, sequence: int) -> bool:
        idle = self._thread is None and not self._claims and not self._closing.is_set()
        # An index that is not trusted is not built by itself either: its settings are somebody else's.
        foreign = self._store.trust.refused((record.hashes or {}).get(NATIVE, ""))
        return idle and self._background and record.spec != FLAT and sequence != self._failed_at and not foreign

    def info(self, snapshot: Snapshot) -> dict[str, Any]:
        """What `info` tells of the index."""
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
            }
        elif dimension is not None and state.live * dimension * _SCANNED > _SLOW:
            described["recommended"] = {"index": "hnsw", **estimate("hnsw", state.live, dimension)}
        return described

    def wait(self) -> None:
        """Return when nothing is being built in the background."""
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def close(self) -> None:
        self._closing.set()
        self.wait()

    def _start(self, work: Callable[[], None]) -> None:
        with self._starting:
            if self._thread is None and not self._claims:
                self._thread = threading.Thread(target=self._run, args=(work,), name="theodolite-index", daemon=True)
                self._thread.start()

    def _run(self, work: Callable[[], None]) -> None:
        try:
            work()
        except (Closing, LockedError):  # later, or by another process
            pass
        except (TheodoliteError, OSError) as error:
            _log.warning("%s: work in the background failed: %s", self._store.folder, error)
        finally:
            self._thread = None

    def _rebuild(self, record: IndexRecord, sequence: int) -> None:
        self._failed_at = sequence
        self._store.identity.check_folder()
        with only_builder(self._store.folder, 0):
            current = self._snapshots.read(lambda connection, snapshot: snapshot)
            known = current.record
            # Unless somebody was quicker.
            if known is not None and (_is_due(known, current.state) or _is_unusable(current)):
                self._build(record.spec, record.target_recall, None, self._progress)
        self._failed_at = -1

    def _progress(self, count: int) -> None:
        if self._closing.is_set() or self._claims:
            raise Closing

    @contextmanager
    def _instead_of_background(self) -> Iterator[None]:
        """What is built in the background makes way for what is asked for, which goes on with it if it is the same."""
        with self._starting:
            self._claims += 1
        try:
            self.wait()
            yield
        finally:
            with self._starting:
                self._claims -= 1

    def _build(self, spec: str, target_recall: float, queries: Vectors | None, progress: Progress) -> None:
        snapshot = self._searchable()
        manifest, space = snapshot.manifest, snapshot.manifest.space
        if not snapshot.state.live:
            with self._store.write() as (connection, state):
                IndexRecord(spec, target_recall).write(connection, state.approximate + 1)
            return
        partial = Partial(
            self._store.folder,
            f"{manifest.uid} {snapshot.state.generation}",
            spec,
            snapshot.rows,
            self._store.trust,
        )
        rows = np.flatnonzero(snapshot.live)
        candidates, rows = build(partial, snapshot.vectors, rows, space, progress)
        record = IndexRecord(
            spec,
            target_recall,
            snapshot.state.generation,
            hashes=partial.save(candidates, rows),  # interrupted from now on, it need not be rebuilt
            covered=len(rows),
            stop=int(rows[-1]) + 1,
            shift=snapshot.keys.shift,
        )
        crash_point("index.saved")
        record = self._measured(record, candidates, rows, queries, progress)
        self._install(partial, record, candidates, rows)

    def _measured(
        self, record: IndexRecord, candidates: Candidates, rows: Rows, queries: Vectors | None, progress: Progress
    ) -> IndexRecord:
        """The record with a calibration, on the queries given, on those asked lately, or on noisy rows."""
        snapshot = self._searchable()
        live = None if snapshot.state.live == snapshot.rows else snapshot.live
        logged = list(self._queries)
        asked = queries is None and len(logged) >= _ENOUGH
        calibration = calibrate(
            candidates,
            rows,
            snapshot.flat,
            snapshot.vectors,
            live,
            Vectors(np.concatenate(logged)) if asked else queries,
            target_recall=record.target_recall,
            kind="logged" if asked else "given",
            progress=lambda n: progress(0),
        )
        return replace(record, calibration=calibration.to_dict())

    def _install(self, partial: Partial, record: IndexRecord, candidates: Candidates, rows: Rows) -> None:
        """Swap in what lies in the partial folder."""
        with self._store.write() as (connection, state):
            if state.generation != record.generation:  # cleared meanwhile
                partial.drop()
                return
            number = state.approximate + 1
            before = read_index_record(connection)
            self._tidy(0 if before is None else before.files)  # what lies under the new name was never recorded
            partial.place(index_folder(number))
            self._store.folder.sync()
            crash_point("index.placed")
            record = replace(record, files=number)
            record.write(connection, number)
            self._snapshots.offer(number, _approximate(record, candidates, rows))
        crash_point("index.recorded")
        self._tidy(number)

    def _calibrate_again(self) -> None:
        """With real queries, once there are some: noisy rows are only careful."""
        snapshot = self._searchable()
        record, index = snapshot.record, snapshot.approximate
        if record is None or index is None:
            return
        record = self._measured(record, index.candidates, index.rows, None, self._progress)
        with self._store.write() as (connection, state):
            if state.approximate == snapshot.state.approximate:
                record.write(connection, state.approximate + 1)
                self._snapshots.offer(state.approximate + 1, _approximate(record, index.candidates, index.rows))

    def _searchable(self) -> Snapshot:
        return self._snapshots.read(lambda connection, snapshot: self._snapshots.searchable(snapshot))

    def _tidy(self, *files: int) -> None:
        remove_other_indexes(self._store.folder, files)


def _spec(index: str) -> str:
    """The canonical name. Raises ConfigError, MissingExtraError for what cannot be built."""
    if index == FLAT:
        return FLAT
    make_index(index)
    return canonical(index)


def churn(record: IndexRecord, state: State) -> float:
    """The rows that came and died since the index was built, as a share of those it holds."""
    if record.generation != state.generation or not record.covered:
        return float("inf")
    rows = state.keys - record.shift
    died = rows - state.live - record.dead
    return (rows - record.stop + died) / record.covered


def _is_due(record: IndexRecord, state: State) -> bool:
    return state.live >= _LEAST and churn(record, state) > CHURN


def _is_unusable(snapshot: Snapshot) -> bool:
    """Whether its files are missing or damaged."""
    record = snapshot.record
    current = record is not None and record.files > 0 and record.generation == snapshot.state.generation
    return current and snapshot.approximate is None


def _is_guessed(record: IndexRecord) -> bool:
    return record.calibration is not None and record.calibration["kind"] == "noise"


def _approximate(record: IndexRecord, candidates: Candidates, rows: Rows) -> Approximate:
    return Approximate(candidates, rows, record.measured())
