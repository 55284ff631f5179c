"""Writes: add, update, delete and clear, each one transaction."""

from collections import defaultdict
from collections.abc import Callable, Container, Mapping, Sequence
from sqlite3 import Connection
from typing import Any, TypeVar

import numpy as np

from theodolite.engines.local.derived.snapshot import Snapshot, SnapshotManager
from theodolite.engines.local.maintenance.generations import remove_old_generations
from theodolite.engines.local.storage.commit import begin_generation, commit
from theodolite.engines.local.storage.crash_points import crash_point
from theodolite.engines.local.storage.database import settle_manifest
from theodolite.engines.local.storage.io_errors import FOR_CLEARING, free_room, is_full, keep_reserve
from theodolite.engines.local.storage.records import select_documents
from theodolite.engines.local.storage.store import Store
from theodolite.engines.local.storage.vector_file import empty_vectors
from theodolite.engines.records import Record, check_all_found, make_records, updated_record
from theodolite.errors import EngineError
from theodolite.filters import And, Filter
from theodolite.indexes.flat.codes import BLOCK
from theodolite.protocols import Scope
from theodolite.scopes import partition_to_write, within
from theodolite.types import Document, EmbedderSpec, Space, Vectors

T = TypeVar("T")


class Writer:
    """Changes a collection. The methods are those of `protocols.Engine`."""

    def __init__(
        self, store: Store, snapshots: SnapshotManager, partition: str | None, embedder: EmbedderSpec | None
    ) -> None:
        self._store = store
        self._snapshots = snapshots
        self._partition = partition
        self._embedder = embedder

    def add(
        self,
        documents: Sequence[Document],
        vectors: Vectors,
        space: Space,
        truncated: Container[int],
        scope: Scope | None,
    ) -> None:
        partition_to_write(scope, self._partition, ids=False)
        rows, places = make_records(documents, truncated, self._partition, scope)
        if not rows:
            return
        chosen = vectors if len(places) == len(vectors) else Vectors(vectors[places])
        hashes = [record.hash(vector) for record, vector in zip(rows, chosen, strict=True)]
        with self._store.write() as (connection, state):
            settle_manifest(connection, space, self._embedder, is_empty=not state.live)
            ended: list[tuple[Any, ...]] = []
            if state.live:
                ids_by_partition = defaultdict(list)
                for record in rows:
                    ids_by_partition[record.partition].append(record.id)
                for key, ids in ids_by_partition.items():
                    ended += select_documents(connection, "row, text", "id", ids, key)
            commit(
                connection,
                self._store,
                state,
                ended=ended,
                records=rows,
                hashes=hashes,
                vectors=chosen,
            )
        if (state.keys + len(rows)) // BLOCK > state.keys // BLOCK:
            self.fill_cache()

    def update(self, changes: Mapping[str, Mapping[str, Any]], scope: Scope | None, *, replace: bool) -> None:
        if not changes:
            return
        key = partition_to_write(scope, self._partition, ids=True)
        with self._store.write() as (connection, state):
            columns = "row, id, text, metadata, truncated"
            stored = {row[1]: row for row in select_documents(connection, columns, "id", list(changes), key)}
            check_all_found(changes, stored)
            snapshot = self._snapshots.current(connection, state)
            vectors = Vectors(snapshot.vectors.take(snapshot.rows_of([stored[name][0] for name in changes])))
            rows = []
            for name, change in changes.items():
                _, _, text, metadata, truncated = stored[name]
                record = Record(name, text, metadata, truncated, key)
                rows.append(updated_record(record, change, self._partition, replace=replace))
            commit(
                connection,
                self._store,
                state,
                ended=[(stored[name][0], stored[name][2]) for name in changes],
                records=rows,
                hashes=[record.hash(vector) for record, vector in zip(rows, vectors, strict=True)],
                vectors=vectors,
            )

    def delete(self, which: Sequence[str] | Filter, scope: Scope | None) -> int:
        return self._retry_with_room(lambda: self._delete(which, scope), FOR_CLEARING)

    def _delete(self, which: Sequence[str] | Filter, scope: Scope | None) -> int:
        key = partition_to_write(scope, self._partition, ids=isinstance(which, Sequence))
        with self._store.write() as (connection, state):
            if isinstance(which, Sequence):
                ended = list(select_documents(connection, "row, text", "id", list(dict.fromkeys(which)), key))
            else:
                tree = within(scope, self._partition, which)
                snapshot = self._snapshots.current(connection, state)
                mask = self._snapshots.mask(snapshot, tree, connection)
                ended = list(
                    select_documents(
                        connection, "row, text", "row", [] if mask is None else snapshot.keys_of(np.flatnonzero(mask))
                    )
                )
            if ended:
                dimension = self._snapshots.current(connection, state).flat.dimension
                commit(
                    connection,
                    self._store,
                    state,
                    ended=ended,
                    vectors=empty_vectors(dimension),
                )
        return len(ended)

    def clear(self, scope: Scope | None) -> None:
        if scope is not None:
            self.delete(And(()), scope)
            return
        self._retry_with_room(self._clear, 0)
        crash_point("generation.committed")
        remove_old_generations(self._store)
        self.keep_reserve()

    def keep_reserve(self) -> None:
        """Set disk space aside, so that documents can be deleted from a full disk."""
        if self._store.durable:
            keep_reserve(self._store.folder)

    def _clear(self) -> None:
        with self._store.write() as (connection, state):
            if state.keys:
                dimension = self._snapshots.current(connection, state).flat.dimension
                begin_generation(connection, self._store, state, dimension)

    def _retry_with_room(self, work: Callable[[], T], leave: int) -> T:
        """Run some work that will free disk space. If the disk is full, free some first (see `free_room`) and retry."""
        try:
            return work()
        except EngineError as error:
            if not is_full(error) or not free_room(self._store.folder, leave):
                raise
        return work()

    def fill_cache(self) -> None:
        """Save the codes of every full block that has no file yet."""

        def fill(connection: Connection, snapshot: Snapshot) -> None:
            cache = self._snapshots.code_cache(snapshot)
            if cache is not None:
                cache.fill(snapshot.vectors, snapshot.rows)

        self._snapshots.read(fill)
