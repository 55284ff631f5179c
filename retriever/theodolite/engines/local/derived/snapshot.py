"""Snapshots: the collection as of one commit, for searching. Immutable, and replaced as a whole."""

import logging
import sqlite3
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from theodolite.columns import Column, evaluate
from theodolite.engines.local.derived.code_cache import CodeCache, hash_by_row
from theodolite.engines.local.derived.columns import ColumnFiles, Columns
from theodolite.engines.local.derived.index_record import IndexRecord, load_index, read_index_record
from theodolite.engines.local.storage.change_log import (
    HASH,
    Base,
    Log,
    chain_start,
    keys_of,
    placed_frames,
    read_base,
    read_log,
)
from theodolite.engines.local.storage.database import State, read_manifest
from theodolite.engines.local.storage.folder import replaced_error
from theodolite.engines.local.storage.identity import Commit, commit_at
from theodolite.engines.local.storage.records import Keys, select_documents
from theodolite.engines.local.storage.store import Store
from theodolite.engines.local.storage.vector_file import Frame, MappedVectors, VectorFile, hash_at_slot
from theodolite.errors import CorruptionError
from theodolite.filters import Filter
from theodolite.forking import register_at_fork
from theodolite.indexes.flat.index import FlatIndex
from theodolite.indexes.flat.sources import CodesFor
from theodolite.ranking.boost_factors import BoostFactors
from theodolite.ranking.version_state import VersionStateCache
from theodolite.settings import Manifest
from theodolite.types import Mask, Rows

if TYPE_CHECKING:  # imported with the first approximate index
    from theodolite.indexes.ann import Approximate

_log = logging.getLogger(__name__)

T = TypeVar("T")

_MAX_RESTARTS = 1000


class StaleSnapshot(Exception):
    """The transaction is older than the current snapshot: begin it again."""


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """The collection as of one commit.

    Attributes:
        state: the commit.
        manifest: the pinned settings.
        keys: maps rows to the keys that the database uses.
        base: the base of the generation if a compaction has made it.
        live: (rows,) True for rows of living documents.
        frames: (n, 4) first row, rows, slot and commit of the frames that have rows.
        hashes: (commits,) the log's hash of each commit of the generation; for the base, its own hash.
        vectors: the mapped vectors.
        flat: the flat index over the first `flat.rows` rows; over all after `SnapshotManager.searchable`.
        columns: the columns in memory; shared by the snapshots of a generation.
        boost_factors, version_states: caches of values computed from columns; shared likewise.
        record: the record of the approximate index; None if there is none.
        approximate: the approximate index; None if it cannot be used.
    """

    state: State
    manifest: Manifest
    keys: Keys
    base: Base | None
    live: Mask
    frames: NDArray[np.int64]
    hashes: NDArray[np.void]
    vectors: MappedVectors
    flat: FlatIndex
    columns: Columns
    boost_factors: BoostFactors
    version_states: VersionStateCache
    record: IndexRecord | None = None
    approximate: "Approximate | None" = None

    @property
    def rows(self) -> int:
        """The number of rows in the vector file, dead ones included."""
        return len(self.live)

    @property
    def era(self) -> int:
        """The generation in which keys were last counted from 0. Since then, a key means one document."""
        return self.state.generation if self.base is None else self.base.era

    def rows_of(self, keys: Sequence[int]) -> Rows:
        """Return the rows, (m,), of documents by key. Raises CorruptionError for keys without a row."""
        rows = self.keys.rows(np.array(keys, np.int64))
        if len(rows) and not 0 <= rows.min() <= rows.max() < self.rows:
            raise CorruptionError(f"the database has documents for rows that do not exist, such as {max(keys)}")
        return rows

    def keys_of(self, rows: Rows) -> list[int]:
        """Return the keys of some rows."""
        keys: list[int] = self.keys.of(rows).tolist()
        return keys


class SnapshotManager:
    """Keeps the current snapshot of an open collection, and brings it up to date from the change log.

    Thread-safe. The methods that take a connection are called within a transaction of the snapshot's commit.
    """

    def __init__(self, store: Store, *, cache: bool) -> None:
        """
        Args:
            cache: whether to keep codes and columns in files.
        """
        self._store = store
        self._cache = cache
        self._current: Snapshot | None = None
        self._offered: tuple[int, Approximate] | None = None
        self._lock = threading.RLock()
        store.on_release = self.release
        register_at_fork(self)

    def read(self, work: Callable[[sqlite3.Connection, Snapshot], T]) -> T:
        """Run `work` in a read transaction, on the snapshot of the commit that the transaction sees.

        It runs again if it raises StaleSnapshot.
        """
        for _ in range(_MAX_RESTARTS):
            with self._store.read() as (connection, state):
                try:
                    return work(connection, self.current(connection, state))
                except StaleSnapshot:
                    pass
        with self._store.read() as (connection, _):
            self._store.identity.check_history(connection, read_manifest(connection).uid)
        raise CorruptionError(f"{self._store.folder}: the vector file of the current generation is missing")

    def current(self, connection: sqlite3.Connection, state: State) -> Snapshot:
        """Return the snapshot of the state that a transaction sees. Raises StaleSnapshot if a newer one is current."""
        current = self._current
        if current is not None and _is_at(current, state):
            file = current.vectors.file
            if file is not None and file.stamp() != file.verified:
                self._check_vectors(current, file)
            return current
        with self._lock:
            snapshot = self._current
            if snapshot is None or snapshot.state.generation < state.generation or snapshot.state.sequence == 0:
                snapshot = self._begin_generation(connection, state)
            if snapshot.state.sequence > state.sequence:
                raise StaleSnapshot
            if snapshot.state.sequence < state.sequence:
                snapshot = self._follow_log(snapshot, connection, state)
            if snapshot.state.approximate < state.approximate:
                snapshot = self._load_index(snapshot, connection, state)
            self._current = snapshot
            return snapshot

    def searchable(self, snapshot: Snapshot) -> Snapshot:
        """Return the snapshot with all its rows in the flat index."""
        if snapshot.flat.rows == snapshot.rows:
            return snapshot
        with self._lock:
            current = self._current
            if current is None or not _is_at(current, snapshot.state):
                raise StaleSnapshot
            if current.flat.rows != current.rows:
                flat = current.flat.grown(current.vectors, current.rows, self._cached_codes(current))
                self._current = current = replace(current, flat=flat.measured(current.vectors))
            return current

    @overload
    def mask(self, snapshot: Snapshot, tree: Filter, connection: sqlite3.Connection) -> Mask: ...
    @overload
    def mask(self, snapshot: Snapshot, tree: Filter | None, connection: sqlite3.Connection) -> Mask | None: ...
    def mask(self, snapshot: Snapshot, tree: Filter | None, connection: sqlite3.Connection) -> Mask | None:
        """Return the mask of the live rows that pass a filter; None if all rows do."""
        if tree is None:
            return None if snapshot.state.live == snapshot.rows else snapshot.live

        rows = snapshot.rows

        def rows_of_ids(ids: frozenset[str]) -> Rows:
            if len(ids) < snapshot.state.live:
                keys = [key for (key,) in select_documents(connection, "row", "id", sorted(ids))]
            else:
                keys = [key for key, id in connection.execute("SELECT row, id FROM documents") if id in ids]
            return snapshot.rows_of(keys)

        mask = evaluate(tree, lambda name: self.column(snapshot, name, connection), rows_of_ids, rows)
        if snapshot.state.live < rows:
            mask &= snapshot.live
        return mask

    def column(self, snapshot: Snapshot, name: str, connection: sqlite3.Connection) -> Column:
        """Return the column of a field."""
        rows = snapshot.rows
        column = snapshot.columns.column(name, connection, rows, snapshot.state.sequence)
        # Values read in a later transaction lack rows that have died since: never mix the two.
        if column.read_at(rows) > snapshot.state.sequence:
            raise StaleSnapshot
        return column

    @property
    def uses_files(self) -> bool:
        """Whether codes and columns are kept in files."""
        return self._cache

    def code_cache(self, snapshot: Snapshot) -> CodeCache | None:
        """Return the code files of the snapshot's generation; None if the collection keeps none."""
        if not self._cache:
            return None
        return CodeCache(
            self._store.folder,
            snapshot.state.generation,
            hash_by_row(snapshot.frames, snapshot.hashes, snapshot.state.sequence),
            snapshot.flat.dimension,
            writable=self._store.mode == "rw",
        )

    def column_files(self, generation: int) -> ColumnFiles | None:
        """Return the column files of a generation; None if the collection keeps none."""
        if not self._cache:
            return None
        return ColumnFiles(self._store.folder, generation, writable=self._store.mode == "rw")

    def offer_index(self, number: int, index: "Approximate") -> None:
        """Use this index, built by this process, instead of loading number `number` from its files."""
        self._offered = number, index

    def release(self) -> None:
        """Drop the mapped file and the indexes."""
        self._current = None

    def _check_vectors(self, snapshot: Snapshot, file: VectorFile) -> None:
        """Check a mapped file that was written to: by a commit, or by somebody who copied another file over it.

        Raises:
            EngineError: it belongs to another collection.
        """
        stamp = file.stamp()
        slot, sequence = snapshot.frames[-1, 2:].tolist()
        commit_hash = snapshot.hashes[sequence - snapshot.state.sequence - 1].tobytes()
        if stamp[0] < snapshot.vectors.nbytes or hash_at_slot(file, slot, snapshot.vectors.dimension) != commit_hash:
            raise replaced_error(self._store.folder)
        file.verified = stamp

    def _cached_codes(self, snapshot: Snapshot) -> CodesFor | None:
        cache = self.code_cache(snapshot)
        return None if cache is None else cache.codes

    def _begin_generation(self, connection: sqlite3.Connection, state: State) -> Snapshot:
        """Return the snapshot of the generation as it began: empty, or the base of a compaction."""
        manifest = read_manifest(connection)  # read again: the first batch has fixed it
        base = read_base(connection, manifest.uid, state.generation)
        begun, frames, hashes = State(state.generation, 0, 0, 0, 0, 0), np.empty((0, 4), np.int64), np.empty(0, HASH)
        if base is not None:
            sequence, first_row, rows, slot, _ = base.frame
            begun = State(state.generation, sequence, first_row + rows, slot + rows, rows, 0)
            frames = np.array([(0, rows, slot, sequence)] if rows else [], np.int64).reshape(-1, 4)
            hashes = np.frombuffer(base.hash, HASH)
        keys = keys_of(base)
        dimension = manifest.space.dimension or 1
        last = None if base is None else commit_at(connection, state.sequence)
        return Snapshot(
            begun,
            manifest,
            keys,
            base,
            np.ones(begun.live, np.bool_),
            frames,
            hashes,
            self._mapped(connection, state, last, dimension, frames),
            FlatIndex(manifest.space.metric, dimension),
            Columns(self.column_files(state.generation), keys),
            BoostFactors(),
            VersionStateCache(manifest.partition),
        )

    def _follow_log(self, snapshot: Snapshot, connection: sqlite3.Connection, state: State) -> Snapshot:
        """Apply the commits since the snapshot."""
        since, base = snapshot.state.sequence, snapshot.base
        if base is not None and since == base.frame.sequence:
            before = base.before
        else:
            before = snapshot.hashes[-1].tobytes() if since else chain_start(snapshot.manifest.uid, state.generation)
        log = read_log(connection, since, before)
        frames, vectors = snapshot.frames, snapshot.vectors
        live = live_rows_after(snapshot.live, log, state, base)
        placed = placed_frames(zip(log.frames, log.hashes, strict=True), base)
        new = frames_with_rows((frame for frame, _ in placed), snapshot.keys)
        if len(new):
            frames = np.concatenate([frames, new])
            last = Commit(log.frames[-1], bytes(log.hashes[-1]))
            vectors = self._mapped(connection, state, last, snapshot.flat.dimension, frames)
        state = state._replace(approximate=snapshot.state.approximate)
        hashes = np.concatenate([snapshot.hashes, np.array([commit_hash for _, commit_hash in placed], HASH)])
        self._store.identity.remember(state.sequence, hashes[-1].tobytes())
        return replace(snapshot, state=state, live=live, frames=frames, hashes=hashes, vectors=vectors)

    def _load_index(self, snapshot: Snapshot, connection: sqlite3.Connection, state: State) -> Snapshot:
        """Switch to the approximate index that the store now names."""
        record, index = None, None
        try:
            record = read_index_record(connection)
        except CorruptionError as error:
            _log.warning("%s: %s. Searches are exact; run repair()", self._store.folder, error)
        if record is not None and record.generation == state.generation:
            number, offered = self._offered or (0, None)
            loaded, known = snapshot.approximate, snapshot.record
            if number == state.approximate:
                index = offered
            elif loaded is not None and known is not None and known.hashes == record.hashes and record.calibration:
                index = record.approximate(loaded.candidates, loaded.rows)  # another process has calibrated it again
            else:
                space = snapshot.manifest.space
                index = load_index(self._store.folder, record, space, snapshot.rows, self._store.trust)
        return replace(snapshot, state=state, record=record, approximate=index)

    def _mapped(
        self,
        connection: sqlite3.Connection,
        state: State,
        last: Commit | None,
        dimension: int,
        frames: NDArray[np.int64],
    ) -> MappedVectors:
        """Map the vectors of some frames, after checking that the file holds the last commit."""
        if last is None or not len(frames):
            return MappedVectors(None, dimension, frames, 0)
        try:
            file = self._store.verified_vectors(connection, state.generation, last, dimension)
        except FileNotFoundError:
            raise StaleSnapshot from None  # another process has begun a new generation
        return MappedVectors(file, dimension, frames, state.slots)


def frames_with_rows(frames: Iterable[Frame], keys: Keys) -> NDArray[np.int64]:
    """Return first row, rows, slot and commit, (n, 4), of the frames that have rows."""
    entries = [(frame.first_row - keys.shift, frame.rows, frame.slot, frame.sequence) for frame in frames if frame.rows]
    return np.array(entries, np.int64).reshape(-1, 4)


def live_rows_after(live: Mask, log: Log, state: State, base: Base | None = None) -> Mask:
    """Return the live rows after the commits of a log. Raises CorruptionError if they do not lead to `state`."""
    last, keys = log.frames[-1] if log.frames else None, keys_of(base)
    frames = [frame for frame, _ in placed_frames(zip(log.frames, log.hashes, strict=True), base)]
    if (
        last is not None
        and last.sequence == state.sequence
        and _are_consecutive(len(live) + keys.shift, frames, log.ended, state)
    ):
        grown = np.concatenate([live, np.ones(state.keys - keys.shift - len(live), np.bool_)])
        grown[keys.rows(log.ended)] = False
        if np.count_nonzero(grown) == state.live:
            return grown
    raise CorruptionError(
        f"the change log does not lead to commit {state.sequence} with {state.keys - keys.shift} rows and {state.live} "
        "documents; restore the folder from a copy"
    )


def _are_consecutive(rows: int, frames: Sequence[Frame], ended: Rows, state: State) -> bool:
    """Return whether the frames append row after row up to the state's, and end only rows that exist."""
    end = 0
    for frame in frames:
        if type(frame.slot) is not int or type(frame.rows) is not int or frame.rows < 0:
            return False
        if frame.first_row != rows or frame.slot < end:
            return False
        rows, end = rows + frame.rows, frame.slot + frame.rows
    exist = not len(ended) or 0 <= int(ended.min()) <= int(ended.max()) < state.keys
    return exist and rows == state.keys and end <= state.slots


def _is_at(snapshot: Snapshot, state: State) -> bool:
    """Return whether the snapshot shows this commit. Its approximate index may be newer, which changes no result."""
    return snapshot.state[:-1] == state[:-1] and snapshot.state.approximate >= state.approximate
