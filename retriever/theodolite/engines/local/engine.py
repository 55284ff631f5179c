"""The local engine: documents in SQLite, vectors in a file beside it, searched through snapshots."""

import itertools
import weakref
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from os import PathLike
from pathlib import Path
from sqlite3 import Connection
from typing import Any, NoReturn

import numpy as np

from theodolite.analysis.bm25 import BM25
from theodolite.engines import refusals
from theodolite.engines.local.derived.snapshot import Snapshot, SnapshotManager
from theodolite.engines.local.maintenance.generations import remove_old_generations
from theodolite.engines.local.maintenance.index_manager import IndexManager
from theodolite.engines.local.search.documents import (
    Page,
    Pair,
    Place,
    after_id,
    duplicates,
    read_page,
    read_pairs,
    sample,
)
from theodolite.engines.local.search.executor import SearchExecutor
from theodolite.engines.local.search.field_summary import FieldSummaries, Hints
from theodolite.engines.local.storage.database import read_manifest, read_note, write_note
from theodolite.engines.local.storage.folder import TemporaryFolder
from theodolite.engines.local.storage.lexical_table import OUTDATED, is_prepared
from theodolite.engines.local.storage.opening import check_folder, is_foreign, open_store
from theodolite.engines.local.storage.records import select_documents
from theodolite.engines.local.storage.store import Store
from theodolite.engines.local.writer import Writer
from theodolite.errors import ConfigError
from theodolite.filters import Exists, Filter
from theodolite.inputs import as_folder
from theodolite.maintenance_reports import Compaction, Verification
from theodolite.protocols import Answer, Request, Scope
from theodolite.scopes import key_within, within
from theodolite.settings import CollectionSettings, Manifest
from theodolite.types import Document, Duplicate, EmbedderSpec, Field, Space, Vectors

_DEFAULTS = CollectionSettings()


class LocalEngine:
    """The embedded engine (see `protocols.Engine`). Create it with `open`."""

    def __init__(
        self,
        store: Store,
        manifest: Manifest,
        settings: CollectionSettings,
        temporary: TemporaryFolder | None = None,
        compact_at: float | None = None,
    ) -> None:
        self._store = store
        self._manifest = manifest
        self._settings = settings  # its norms and transforms apply until the first batch fixes them
        self._temporary = temporary
        self._snapshots = SnapshotManager(store, cache=temporary is None)
        self._writer = Writer(store, self._snapshots, manifest.partition, settings.embedder)
        self._index_manager = IndexManager(store, self._snapshots, background=store.mode == "rw", compact_at=compact_at)
        self._fields = FieldSummaries(self._snapshots)
        self._hints = Hints(self._snapshots, self._fields)
        self._executor = self._new_executor()
        # Also cleans up after an engine that is garbage-collected without close().
        self._release = weakref.finalize(self, _release, store, self._snapshots, self._index_manager, temporary)

    @property
    def uid(self) -> str:
        """The collection's own name, which its backups share."""
        return self._store.identity.uid

    def _new_executor(self) -> SearchExecutor:
        return SearchExecutor(self._snapshots, self._hints, self.partition, self.bm25, self._index_manager.record_query)

    def __reduce__(self) -> NoReturn:
        """Raise TypeError: a copy would share files and locks or have none."""
        raise refusals.not_copied()

    @classmethod
    def open(
        cls,
        location: str | PathLike[str] | None = None,
        settings: CollectionSettings = _DEFAULTS,
        *,
        create: bool = True,
        read_only: bool = False,
        lock_timeout: float = 5.0,
        trust_index: bool = False,
        compact_at: float | None = 1 / 3,
    ) -> "LocalEngine":
        """Open the collection in a folder, or create it. None creates one in a temporary folder.

        Args:
            lock_timeout: seconds to wait for another writer.
            trust_index: load an approximate index that this user did not build on this machine, even if its library
                cannot check the file.
            compact_at: the share of dead rows beyond which the collection is compacted in the background; None leaves
                that to `compact()`.

        Raises:
            ManifestError, MetricMismatchError, ConfigError, CorruptionError, EngineError: see `open_store`.
        """
        if compact_at is not None and not 0 < compact_at < 1:
            raise ConfigError(f"compact_at is {compact_at!r}; it must be a share between 0 and 1, or None")
        if location is None and read_only:
            raise ConfigError("a collection in memory is new and empty: it cannot be opened read-only")
        temporary = TemporaryFolder() if location is None else None
        folder = as_folder(location) if temporary is None else temporary.path
        try:
            store, manifest = open_store(
                folder,
                settings,
                create=create or temporary is not None,
                read_only=read_only,
                lock_timeout=lock_timeout,
                durable=temporary is None,
                trust_index=trust_index,
            )
        except BaseException:
            if temporary:
                temporary.remove()
            raise
        engine = cls(store, manifest, settings, temporary, compact_at)
        try:
            engine._index_manager.apply_setting(settings.index)
        except BaseException:
            engine.close()
            raise
        if store.mode == "rw":
            remove_old_generations(store)
            engine._writer.keep_reserve()
        return engine

    @staticmethod
    def check(
        location: str | PathLike[str],
        settings: CollectionSettings = _DEFAULTS,
        *,
        create: bool = True,
        lock_timeout: float = 5.0,
    ) -> None:
        """Raise the same errors as `open` about the folder and the settings. Changes nothing."""
        check_folder(as_folder(location).expanduser().absolute(), settings, create=create, lock_timeout=lock_timeout)

    @property
    def space(self) -> Space:
        if self._manifest.space.dimension is None:
            manifest = self._snapshots.read(lambda connection, snapshot: snapshot.manifest)
            self._settings.check_pinned(manifest.space, manifest.partition, manifest.bm25)
            self._manifest = manifest
        return self._settings.applied_to(self._manifest.space)

    @property
    def folder(self) -> Path | None:
        """The collection's folder; None for a temporary one."""
        return None if self._temporary else self._store.folder.given

    @property
    def partition(self) -> str | None:
        return self._manifest.partition

    @property
    def bm25(self) -> BM25:
        return self._manifest.bm25

    @property
    def embedder(self) -> EmbedderSpec | None:
        """The recorded embedder."""
        with self._store.read() as (connection, _):
            return read_manifest(connection).embedder

    @property
    def foreign(self) -> bool:
        """Whether another user may have written the collection."""
        return self._temporary is None and is_foreign(self._store.folder)

    def add(
        self,
        documents: Sequence[Document],
        vectors: Vectors,
        space: Space,
        *,
        truncated: Container[int] = (),
        scope: Scope | None = None,
    ) -> None:
        self._writer.add(documents, vectors, space, truncated, scope)
        self._index_manager.after_commit()

    def update(
        self, changes: Mapping[str, Mapping[str, Any]], *, replace: bool = False, scope: Scope | None = None
    ) -> None:
        self._writer.update(changes, scope, replace=replace)
        self._index_manager.after_commit()

    def delete(self, which: Sequence[str] | Filter, *, scope: Scope | None = None) -> int:
        if isinstance(which, Filter):
            self._snapshots.read(lambda connection, snapshot: self._count_and_warn(connection, snapshot, which, scope))
        count = self._writer.delete(which, scope)
        self._index_manager.after_commit()
        return count

    def clear(self, *, scope: Scope | None = None) -> None:
        self._writer.clear(scope)

    def get(self, ids: Sequence[str], *, scope: Scope | None = None) -> list[Pair]:
        key = key_within(scope, self.partition)

        def read(connection: Connection, snapshot: Snapshot) -> list[Pair]:
            keys = dict(select_documents(connection, "id, row", "id", list(dict.fromkeys(ids)), key))
            if scope is not None and scope.where is not None:
                inside = self._snapshots.mask(snapshot, scope.where, connection)[snapshot.rows_of(list(keys.values()))]
                keys = dict(itertools.compress(keys.items(), inside.tolist()))
            return read_pairs(connection, snapshot, [keys[name] for name in ids if name in keys])

        return self._snapshots.read(read)

    def documents(
        self,
        where: Filter | None = None,
        *,
        after: str = "",
        limit: int | None = None,
        scope: Scope | None = None,
    ) -> Iterator[Pair]:
        tree = within(scope, self.partition, where)

        def read(connection: Connection, snapshot: Snapshot, after: Place) -> Page:
            mask = None if tree is None else self._snapshots.mask(snapshot, tree, connection)
            return read_page(connection, snapshot, mask, after)

        remaining, start = limit, after_id(after)
        while remaining is None or remaining > 0:
            listed = self._snapshots.read(partial(read, after=start))
            part = listed.pairs[:remaining]
            yield from part
            if listed.after is None:
                return
            start = listed.after
            if remaining is not None:
                remaining -= len(part)

    def sample(self, count: int, where: Filter | None = None, *, scope: Scope | None = None) -> Iterator[Pair]:
        return sample(self._snapshots, within(scope, self.partition, where), count)

    def count(self, where: Filter | None = None, *, scope: Scope | None = None) -> int:
        tree = within(scope, self.partition, where)
        if tree is None:
            with self._store.read() as (_, state):
                return state.live

        return self._snapshots.read(
            lambda connection, snapshot: self._count_and_warn(connection, snapshot, where, scope)
        )

    def _count_and_warn(
        self, connection: Connection, snapshot: Snapshot, where: Filter | None, scope: Scope | None
    ) -> int:
        """Count the documents that match, and warn about a filter that cannot match."""
        mask = self._snapshots.mask(snapshot, within(scope, self.partition, where), connection)
        count = snapshot.state.live if mask is None else int(np.count_nonzero(mask))
        confined = within(scope, self.partition, None)
        if where is not None and (count or self._holds_any(connection, snapshot, confined)):
            self._hints.notes(connection, snapshot, where, confined, matching=count)
        return count

    def _holds_any(self, connection: Connection, snapshot: Snapshot, confined: Filter | None) -> bool:
        mask = self._snapshots.mask(snapshot, confined, connection)
        return bool(snapshot.state.live if mask is None else mask.any())

    def fields(self, where: Filter | None = None, *, values: int = 20, scope: Scope | None = None) -> dict[str, Field]:
        tree = within(scope, self.partition, where)

        def summarize(connection: Connection, snapshot: Snapshot) -> dict[str, Field]:
            if where is not None:
                self._count_and_warn(connection, snapshot, where, scope)
            return self._fields.fields(connection, snapshot, tree, values)

        return self._snapshots.read(summarize)

    def search(self, request: Request) -> list[Answer]:
        return self._snapshots.read(lambda connection, snapshot: self._executor.answers(connection, snapshot, request))

    def efforts(self, k: int) -> list[int]:
        index = self._snapshots.read(lambda _, snapshot: snapshot.approximate)
        return [] if index is None else index.efforts(k)

    def search_with_effort(self, request: Request, effort: int) -> list[Answer]:
        def search(connection: Connection, snapshot: Snapshot) -> list[Answer]:
            snapshot = self._snapshots.searchable(snapshot)
            if snapshot.approximate is not None:
                snapshot.approximate.costs(snapshot.flat, snapshot.vectors)  # measured once, not in each search
                snapshot = replace(snapshot, approximate=snapshot.approximate.with_effort(request.k, effort))
            return self._executor.answers(connection, snapshot, request)

        return self._snapshots.read(search)

    def duplicates(
        self,
        threshold: float,
        where: Filter | None = None,
        *,
        scope: Scope | None = None,
        progress: Callable[[int], object] | None = None,
    ) -> Iterator[Duplicate]:
        return duplicates(self._snapshots, within(scope, self.partition, where), threshold, progress)

    def reindex(
        self,
        index: str,
        *,
        target_recall: float = 0.99,
        queries: Vectors | None = None,
        progress: Callable[[int], object] | None = None,
    ) -> None:
        self._index_manager.reindex(index, target_recall=target_recall, queries=queries, progress=progress)

    def compact(self, progress: Callable[[int], object] | None = None) -> Compaction:
        return self._index_manager.compact(progress)

    def warm(self, fields: Sequence[str] = ()) -> None:
        def load(connection: Connection, snapshot: Snapshot) -> None:
            if snapshot.state.live:
                self._snapshots.searchable(snapshot)
            for name in fields:
                self._snapshots.mask(snapshot, Exists(name), connection)

        self._snapshots.read(load)

    def read_note(self, name: str) -> str | None:
        with self._store.read() as (connection, _):
            return read_note(connection, name)

    def write_note(self, name: str, value: str | None, *, replace: bool = True, wait: bool = True) -> None:
        with self._store.write(None if wait else 0) as (connection, _):
            write_note(connection, name, value, replace=replace)

    def note_names(self) -> list[str]:
        with self._store.read() as (connection, _):
            return [name for (name,) in connection.execute("SELECT name FROM notes")]

    # Few programs call these. The calls import their modules, so that opening a collection stays cheap.

    def verify(self, progress: Callable[[int], object] | None = None) -> Verification:
        from theodolite.engines.local.maintenance.verify import raise_damage, verify

        verification = verify(self._store, progress)
        raise_damage(verification, self._store.folder)
        return verification

    def repair(self, progress: Callable[[int], object] | None = None) -> Verification:
        from theodolite.engines.local.maintenance.repair import repair

        verification = repair(self._store, self._index_manager, self._writer.fill_cache, progress)
        self._executor = self._new_executor()  # its cached word statistics may come from a damaged index
        return verification

    def backup(self, target: Path, progress: Callable[[int], object] | None = None) -> None:
        from theodolite.engines.local.maintenance.backup import backup

        backup(self._snapshots.read, self._store, target, progress)

    def info(self) -> dict[str, Any]:
        folder = self._store.folder

        def describe(connection: Connection, snapshot: Snapshot) -> dict[str, Any]:
            state, manifest = snapshot.state, snapshot.manifest
            embedder = read_manifest(connection).embedder  # a snapshot may hold the embedder of deleted documents
            return {
                "location": None if self._temporary else str(folder),
                "read_only": self._store.mode != "rw",
                "documents": state.live,
                "metric": manifest.space.metric,
                "dimension": manifest.space.dimension,
                "norms": manifest.space.norms,
                "transforms": [repr(transform.spec) for transform in manifest.space.transforms],
                "raw_dimension": manifest.space.raw_dimension,
                "partition": manifest.partition,
                **self._index_manager.info(snapshot),
                "embedder": None if embedder is None else embedder.name,
                "unreadable_dates": self._hints.unreadable(connection, snapshot, None),
                "truncated": connection.execute("SELECT count(*) FROM documents WHERE truncated").fetchone()[0],
                "lexical": None if is_prepared(connection) else OUTDATED,
                "created": manifest.created,
                "commits": state.sequence,
                "rows": snapshot.rows,
                "deleted_rows": snapshot.rows - state.live,
                "bytes": folder.size(),
                "columns": {"fields": snapshot.columns.fields, "bytes": snapshot.columns.nbytes},
            }

        return self._snapshots.read(describe)

    def close(self) -> None:
        self._release()


def _release(
    store: Store, snapshots: SnapshotManager, index_manager: IndexManager, temporary: TemporaryFolder | None
) -> None:
    try:
        index_manager.close()
        store.close()
    finally:
        snapshots.release()  # before the folder goes: Windows does not delete files that are mapped
        if temporary is not None:
            temporary.remove()
