"""Snapshots: what one commit looks like, for searching. Immutable, and swapped as a whole."""

import logging
import sqlite3
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from theodolite.engines.local.derived.boost_factors import BoostFactors
from theodolite.engines.local.derived.code_cache import CodeCache, hash_by_row
from theodolite.engines.local.derived.columns import ColumnFiles, Columns, evaluate
from theodolite.engines.local.derived.columns.column import Column
from theodolite.engines.local.derived.index_record import IndexRecord, load_index, read_index_record
from theodolite.engines.local.derived.versions import VersionStateCache
from theodolite.engines.local.storage.change_log import HASH, Log, chain_start, read_log
from theodolite.engines.local.storage.database import State, read_manifest
from theodolite.engines.local.storage.folder import replaced_error
from theodolite.engines.local.storage.generation_base import Base, keys_of, placed_frames, read_base
from theodolite.engines.local.storage.identity import Commit, commit_at
from theodolite.engines.local.storage.keys import Keys
from theodolite.engines.local.storage.records import select_documents
from theodolite.engines.local.storage.store import Store
from theodolite.engines.local.storage.vector_file import Frame, MappedVectors, VectorFile, hash_at_slot
from theodolite.errors import CorruptionError
from theodolite.filters import Filter
from theodolite.forking import register_at_fork
from theodolite.indexes.ann import Approximate
from theodolite.indexes.flat.index import CodesFor, FlatIndex
from theodolite.manifest import Manifest
from theodolite.types import Mask, Rows

_log = logging.getLogger(__name__)

T = TypeVar("T")

_RESTARTS = 1000


class StaleSnapshot(Exception):
    """The transaction is older than what is shared: begin it again."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The collection as of one commit.

    Attributes:
        state: the commit.
        manifest: what is pinned by then.
        keys: of the rows, as the database names documents.
        base: of the generation, if a compaction has made it.
        live: (rows,) True where a row is a living document.
        frames: (n, 4) first row, rows, slot and commit of the frames that have rows.
        hashes: (commits,) the log's hash of each commit of the generation; of the base, its own.
        vectors: the mapped vectors.
        flat: the flat index, over `flat.rows` rows: all of them once `SnapshotManager.searchable` has been called.
        columns: the columns in memory; shared by the snapshots of a generation.
        boost_factors, version_states: what boosts and rules for versions have made of them; shared likewise.
        record, approximate: what the store knows of the approximate index, and the index, if it can be used.
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
    approximate: Approximate | None = None

    @property
    def rows(self) -> int:
        """How many rows the vector file has, dead ones included."""
        return len(self.live)

    @property
    def era(self) -> int:
        """The generation in which keys began to count: the same key is the same document in all of an era."""
        return self.state.generation if self.base is None else self.base.era

    def rows_of(self, keys: Sequence[int]) -> Rows:
        """(m,) the rows of documents, from `documents.row`. Raises CorruptionError where there is none."""
        rows = self.keys.rows(np.array(keys, np.int64))
        if len(rows) and not 0 <= rows.min() <= rows.max() < self.rows:
            raise CorruptionError(f"the database holds documents of rows that are not there, such as {max(keys)}")
        return rows

    def keys_of(self, rows: Rows) -> list[int]:
        """`documents.row` of some rows."""
        keys: list[int] = self.keys.of(rows).tolist()
        return keys


class SnapshotManager:
    """The current snapshot, brought up to date from the change log."""

    def __init__(self, store: Store, *, cache: bool) -> None:
        self._store = store
        self._cache = cache
        self._current: Snapshot | None = None
        self._offered: tuple[int, Approximate] | None = None
        self._lock = threading.RLock()
        store.on_release = self.drop
        register_at_fork(self)

    def current(self, connection: sqlite3.Connection, state: State) -> Snapshot:
        """The snapshot of a transaction's state. Raises Stale if a newer one is shared already."""
        held = self._current
        if held is not None and _shows(held, state):
            file = held.vectors.file
            if file is not None and file.stamp() != file.verified:
                self._check_vectors(held, file)
            return held
        with self._lock:
            held = self._current
            if held is None or held.state.generation < state.generation or held.state.sequence == 0:
                held = self._empty(connection, state)
            if held.state.sequence > state.sequence:
                raise StaleSnapshot
            if held.state.sequence < state.sequence:
                held = self._advanced(held, connection, state)
            if held.state.approximate < state.approximate:
                held = self._with_index(held, connection, state)
            self._current = held
            return held

    @property
    def cached(self) -> bool:
        """Whether codes and columns are kept in files."""
        return self._cache

    def offer(self, number: int, index: Approximate) -> None:
        """An index that this process has built: it need not be loaded when the store says that it is in use."""
        self._offered = number, index

    def read(self, work: Callable[[sqlite3.Connection, Snapshot], T]) -> T:
        """`work` within one transaction, on the snapshot of the commit that transaction sees."""
        for _ in range(_RESTARTS):
            with self._store.read() as (connection, state):
                try:
                    return work(connection, self.current(connection, state))
                except StaleSnapshot:
                    pass
        with self._store.read() as (connection, _):
            self._store.identity.check_history(connection, read_manifest(connection).uid)
        raise CorruptionError(f"{self._store.folder}: the vector file of the current generation is missing")

    def searchable(self, snapshot: Snapshot) -> Snapshot:
        """The snapshot with all rows in its flat index."""
        if snapshot.flat.rows == snapshot.rows:
            return snapshot
        with self._lock:
            held = self._current
            if held is None or not _shows(held, snapshot.state):
                raise StaleSnapshot
            if held.flat.rows != held.rows:
                flat = held.flat.grown(held.vectors, held.rows, self._codes(held))
                self._current = held = replace(held, flat=flat.measured(held.vectors))
            return held

    @overload
    def mask(self, snapshot: Snapshot, tree: Filter, connection: sqlite3.Connection) -> Mask: ...
    @overload
    def mask(self, snapshot: Snapshot, tree: Filter | None, connection: sqlite3.Connection) -> Mask | None: ...
    def mask(self, snapshot: Snapshot, tree: Filter | None, connection: sqlite3.Connection) -> Mask | None:
        """The eligible rows, or None for all. Called within the snapshot's transaction."""
        if tree is None:
            return None if snapshot.state.live == snapshot.rows else snapshot.live

        rows = snapshot.rows

        def named(ids: frozenset[str]) -> Rows:
            if len(ids) < snapshot.state.live:
                listed = [row for (row,) in select_documents(connection, "row", "id", sorted(ids))]
            else:
                listed = [row for row, id in connection.execute("SELECT row, id FROM documents") if id in ids]
            return snapshot.rows_of(listed)

        mask = evaluate(tree, lambda name: self.column(snapshot, name, connection), named, rows)
        if snapshot.state.live < rows:
            mask &= snapshot.live
        return mask

    def column(self, snapshot: Snapshot, name: str, connection: sqlite3.Connection) -> Column:
        """A field's column. Called within the snapshot's transaction."""
        rows = snapshot.rows
        found = snapshot.columns.column(name, connection, rows, snapshot.state.sequence)
        # What was read in a later transaction lacks rows that have died since; do not mix the two.
        if found.read_at(rows) > snapshot.state.sequence:
            raise StaleSnapshot
        return found

    def code_cache(self, snapshot: Snapshot) -> CodeCache | None:
        """The cache of the snapshot's generation, if the collection has one."""
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
        """The files of a generation's columns, if the collection has any."""
        if not self._cache:
            return None
        return ColumnFiles(self._store.folder, generation, writable=self._store.mode == "rw")

    def drop(self) -> None:
        """Let go of the mapped file and the index."""
        self._current = None

    def _check_vectors(self, held: Snapshot, file: VectorFile) -> None:
        """The file was written to: by a commit, or by somebody who copied another one over it, and it is mapped.

        Raises:
            EngineError: it is another collection's.
        """
        stamp = file.stamp()
        slot, sequence = held.frames[-1, 2:].tolist()
        digest = held.hashes[sequence - held.state.sequence - 1].tobytes()
        if stamp[0] < held.vectors.nbytes or hash_at_slot(file, slot, held.vectors.dimension) != digest:
            raise replaced_error(self._store.folder)
        file.verified = stamp

    def _codes(self, snapshot: Snapshot) -> CodesFor | None:
        cache = self.code_cache(snapshot)
        return None if cache is None else lambda start, stop: cache.codes(snapshot.vectors, start, stop)

    def _empty(self, connection: sqlite3.Connection, state: State) -> Snapshot:
        """The generation as it began. The manifest is read now: the first batch has settled it."""
        manifest = read_manifest(connection)
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

    def _with_index(self, held: Snapshot, connection: sqlite3.Connection, state: State) -> Snapshot:
        record, index = None, None
        try:
            record = read_index_record(connection)
        except CorruptionError as error:
            _log.warning("%s: %s. Searches are exact; run repair()", self._store.folder, error)
        if record is not None and record.generation == state.generation:
            number, offered = self._offered or (0, None)
            index = (
                offered
                if number == state.approximate
                else load_index(self._store.folder, record, held.manifest.space, held.rows, self._store.trust)
            )
        return replace(held, state=state, record=record, approximate=index)

    def _advanced(self, held: Snapshot, connection: sqlite3.Connection, state: State) -> Snapshot:
        since, base = held.state.sequence, held.base
        if base is not None and since == base.frame.sequence:
            before = base.before
        else:
            before = held.hashes[-1].tobytes() if since else chain_start(held.manifest.uid, state.generation)
        log = read_log(connection, since, before)
        frames, vectors = held.frames, held.vectors
        live = live_rows_after(held.live, log, state, base)
        placed = placed_frames(zip(log.frames, log.hashes, strict=True), base)
        new = frames_with_rows((frame for frame, _ in placed), held.keys)
        if len(new):
            frames = np.concatenate([frames, new])
            last = Commit(log.frames[-1], bytes(log.hashes[-1]))
            vectors = self._mapped(connection, state, last, held.flat.dimension, frames)
        state = state._replace(approximate=held.state.approximate)
        hashes = np.concatenate([held.hashes, np.array([digest for _, digest in placed], HASH)])
        self._store.identity.remember(state.sequence, hashes[-1].tobytes())
        return replace(held, state=state, live=live, frames=frames, hashes=hashes, vectors=vectors)

    def _mapped(
        self,
        connection: sqlite3.Connection,
        state: State,
        last: Commit | None,
        dimension: int,
        frames: NDArray[np.int64],
    ) -> MappedVectors:
        """The vectors of some frames, in a file that is proved to hold the last commit."""
        if last is None or not len(frames):
            return MappedVectors(None, dimension, frames, 0)
        try:
            file = self._store.verified_vectors(connection, state.generation, last, dimension)
        except FileNotFoundError:
            raise StaleSnapshot from None  # another process has begun a new generation since
        return MappedVectors(file, dimension, frames, state.slots)


def frames_with_rows(frames: Iterable[Frame], keys: Keys) -> NDArray[np.int64]:
    """(n, 4) first row, rows, slot and commit of those frames that have rows."""
    found = [(one.first_row - keys.shift, one.rows, one.slot, one.sequence) for one in frames if one.rows]
    return np.array(found, np.int64).reshape(-1, 4)


def live_rows_after(live: Mask, log: Log, state: State, base: Base | None = None) -> Mask:
    """The living rows after some more commits, which lead to `state`. Raises CorruptionError where they do not."""
    last, keys = log.frames[-1] if log.frames else None, keys_of(base)
    frames = [frame for frame, _ in placed_frames(zip(log.frames, log.hashes, strict=True), base)]
    if (
        last is not None
        and last.sequence == state.sequence
        and _is_chained(len(live) + keys.shift, frames, log.ended, state)
    ):
        grown = np.concatenate([live, np.ones(state.keys - keys.shift - len(live), np.bool_)])
        grown[keys.rows(log.ended)] = False
        if np.count_nonzero(grown) == state.live:
            return grown
    raise CorruptionError(
        f"the change log does not lead to commit {state.sequence} with {state.keys - keys.shift} rows and {state.live} "
        "documents; restore the folder from a copy"
    )


def _is_chained(rows: int, frames: Sequence[Frame], ended: Rows, state: State) -> bool:
    """Whether the frames append row after row, up to the state's, and end none that does not exist."""
    end = 0
    for frame in frames:
        if type(frame.slot) is not int or type(frame.rows) is not int or frame.rows < 0:
            return False
        if frame.first_row != rows or frame.slot < end:
            return False
        rows, end = rows + frame.rows, frame.slot + frame.rows
    inside = not len(ended) or 0 <= int(ended.min()) <= int(ended.max()) < state.keys
    return inside and rows == state.keys and end <= state.slots


def _shows(held: Snapshot, state: State) -> bool:
    """Whether it is of the same commit. Any index will do: all of them give what the documents are."""
    return held.state[:-1] == state[:-1] and held.state.approximate >= state.approximate
