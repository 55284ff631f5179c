"""The PostgreSQL engine: documents with their vectors in tables of one schema, searched with pgvector."""

import logging
import weakref
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, NoReturn

from theodolite.analysis.bm25 import BM25
from theodolite.engines import refusals
from theodolite.engines.postgres.approximate import ApproximateIndex, Indexes, parse_spec
from theodolite.engines.postgres.catalog import (
    Collection,
    CollectionState,
    check_collection,
    leaf_tables,
    open_collection,
    read_state,
)
from theodolite.engines.postgres.connections import Connection, Connections, Limits
from theodolite.engines.postgres.duplicates import duplicates
from theodolite.engines.postgres.location import PostgresLocation
from theodolite.engines.postgres.maintenance import Maintainer
from theodolite.engines.postgres.notes import NoteStore
from theodolite.engines.postgres.often_filtered import RangeCounter, read_counts, wanted_fields
from theodolite.engines.postgres.range_indexes import declare_fields, indexed_fields, set_indexes
from theodolite.engines.postgres.reader import Pair, Reader, matching
from theodolite.engines.postgres.source import Views
from theodolite.engines.postgres.writer import Writer
from theodolite.engines.remote.field_tokens import exists_tokens
from theodolite.engines.remote.search import RemoteSearch
from theodolite.engines.remote.source import Eligible
from theodolite.errors import ConfigError, EngineError, MetadataWarning, short_repr, warn_caller
from theodolite.filters import Filter
from theodolite.filters.non_matching import missing_field
from theodolite.maintenance_reports import Compaction, Verification
from theodolite.protocols import Answer, Request, Scope
from theodolite.settings import CollectionSettings, Manifest
from theodolite.types import Document, Duplicate, EmbedderSpec, Field, Space, Vectors

_DEFAULTS = CollectionSettings()
_log = logging.getLogger(__name__)


class PostgresEngine:
    """An engine on a PostgreSQL server (see `protocols.Engine`). Create it with `open`.

    Attributes:
        folder: None, because the collection is not in a local folder.
        foreign: True, because anyone with write access to the database may have written the collection.
    """

    folder = None
    foreign = True

    def __init__(
        self, connections: Connections, collection: Collection, manifest: Manifest, settings: CollectionSettings
    ) -> None:
        self._connections = connections
        self._collection = collection
        self._manifest = manifest
        self._settings = settings  # its norms and transforms apply until the first batch fixes them
        self._writer = Writer(connections, collection, manifest.partition, settings.embedder)
        self._reader = Reader(connections, collection, manifest.partition)
        self._notes = NoteStore(connections, collection)
        self._views = Views(
            connections,
            collection,
            manifest.space.metric,
            manifest.partition,
            manifest.bm25,
            lambda: self._indexes.current(),
        )
        self._indexes = Indexes(connections, collection, self._notes, self._views.similarities)
        self._search = RemoteSearch(self._views, manifest.space.metric, manifest.partition)
        self._maintainer = Maintainer(connections, collection)
        self._ranges = RangeCounter(connections, collection)
        # Also closes the connections of an engine that is garbage-collected without close().
        self._release = weakref.finalize(self, connections.close)

    def __reduce__(self) -> NoReturn:
        """Raise TypeError: a copy would share connections or have none."""
        raise refusals.not_copied()

    @classmethod
    def open(
        cls,
        location: str | PathLike[str] | None,
        settings: CollectionSettings = _DEFAULTS,
        *,
        create: bool = True,
        read_only: bool = False,
        connect_timeout: float = 10.0,
        lock_timeout: float = 5.0,
        statement_timeout: float = 0.0,
        connections: int = 16,
    ) -> "PostgresEngine":
        """Open the collection at a URL. Create it, its schema and its tables if they are missing.

        Args:
            location: postgresql://user@host/database?collection=name, with any parameters of libpq,
                `schema=name`, by default `theodolite`, `indexed=field` for each field with range filters, and
                `tables=number` to spread the partitions of a new collection over tables.
            connect_timeout: seconds to wait for a connection.
            lock_timeout: seconds to wait for another writer.
            statement_timeout: maximum seconds for one statement; 0 for no limit.
            connections: maximum number of open connections.

        Raises:
            InputError: the URL cannot be used.
            CollectionNotFoundError, ManifestError, MetricMismatchError, ConfigError, EngineError: see
                `catalog.open_collection`.
        """
        pool = _connections(
            location, connect_timeout, lock_timeout, statement_timeout, connections, read_only=read_only
        )
        try:
            collection, manifest = open_collection(pool, settings, create=create)
        except BaseException:
            pool.close()
            raise
        engine = cls(pool, collection, manifest, settings)
        try:
            engine._apply_index(settings.index)
            engine._declare_fields()
        except BaseException:
            engine.close()
            raise
        return engine

    def _apply_index(self, spec: str | None) -> None:
        """Build the requested index if there are documents but no index."""
        if spec is None or parse_spec(spec) is None:
            return
        if self._indexes.current() is None and not self._connections.read_only and self._reader.live():
            self._indexes.reindex(spec, 0.99, None, None)

    def _declare_fields(self) -> None:
        """Build the indexes for ranges that the URL asks for. Warn about fields that no document has."""
        fields = self._connections.location.indexed
        if fields is None or self._connections.read_only:
            return
        new = declare_fields(self._connections, self._collection, fields)
        if new and self._reader.live():
            with self._views(lasting=True) as source:
                known = source.summaries(None, new)
                names = source.sample_names(None)
            for name in new:
                if name not in known:
                    warn_caller(f"indexed={short_repr(name)} in the URL: {missing_field(name, names)}", MetadataWarning)

    def _index_often_filtered(self) -> None:
        """Build and drop indexes of fields that no one has declared. `&indexed=` in the URL forbids that."""
        self._ranges.save()
        if self._connections.location.indexed == () or self._connections.read_only:
            return
        try:
            counts = self._connections.read(lambda connection: read_counts(connection, self._collection))
            live = self._reader.live()
            set_indexes(self._connections, self._collection, lambda known: wanted_fields(counts, live, known))
        except EngineError as error:  # such as a missing right: no one has asked for these indexes
            _log.warning("%s: no indexes for fields that are often filtered: %s", self._collection.shown, error)

    @staticmethod
    def check(
        location: str | PathLike[str],
        settings: CollectionSettings = _DEFAULTS,
        *,
        create: bool = True,
        connect_timeout: float = 10.0,
        lock_timeout: float = 5.0,
        statement_timeout: float = 0.0,
    ) -> None:
        """Raise the same errors as `open` about the database and the settings. Changes nothing."""
        pool = _connections(location, connect_timeout, lock_timeout, statement_timeout, 1, read_only=True)
        try:
            check_collection(pool, settings, create=create)
        finally:
            pool.close()

    @property
    def space(self) -> Space:
        if self._manifest.space.dimension is None:
            manifest = self._state().manifest
            self._settings.check_pinned(manifest.space, manifest.partition, manifest.bm25)
            self._manifest = manifest
        return self._settings.applied_to(self._manifest.space)

    @property
    def partition(self) -> str | None:
        return self._manifest.partition

    @property
    def bm25(self) -> BM25:
        return self._manifest.bm25

    @property
    def embedder(self) -> EmbedderSpec | None:
        """The recorded embedder."""
        return self._state().manifest.embedder

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

    def update(
        self, changes: Mapping[str, Mapping[str, Any]], *, replace: bool = False, scope: Scope | None = None
    ) -> None:
        self._writer.update(changes, scope, replace=replace)

    def delete(self, which: Sequence[str] | Filter, *, scope: Scope | None = None) -> int:
        if isinstance(which, Filter):
            self._count(which, scope)
        return self._writer.delete(which, scope)

    def clear(self, *, scope: Scope | None = None) -> None:
        self._writer.clear(scope)

    def get(self, ids: Sequence[str], *, scope: Scope | None = None) -> list[Pair]:
        return self._reader.get(ids, scope)

    def documents(
        self,
        where: Filter | None = None,
        *,
        after: str = "",
        limit: int | None = None,
        scope: Scope | None = None,
    ) -> Iterator[Pair]:
        self._ranges.count(where, scope)
        return self._reader.documents(where, after, limit, scope)

    def count(self, where: Filter | None = None, *, scope: Scope | None = None) -> int:
        return self._reader.live() if where is None and scope is None else self._count(where, scope)

    def _count(self, where: Filter | None, scope: Scope | None) -> int:
        """Count the documents that match, and warn about a filter that cannot match."""
        self._ranges.count(where, scope)
        with self._views(lasting=True) as source:
            count = source.count(Eligible(scope, where))
            if where is not None and (count or source.state(scope).live):
                self._search.notes.notes(source, where, scope, matching=count)
            return count

    def fields(self, where: Filter | None = None, *, values: int = 20, scope: Scope | None = None) -> dict[str, Field]:
        if where is not None:
            self._count(where, scope)
        return self._reader.fields(where, values, scope)

    def search(self, request: Request) -> list[Answer]:
        self._connections.check_open()
        self._ranges.count(request.where, request.scope)
        return self._search.search(request)

    def duplicates(
        self,
        threshold: float,
        where: Filter | None = None,
        *,
        scope: Scope | None = None,
        progress: Callable[[int], object] | None = None,
    ) -> Iterator[Duplicate]:
        condition = matching(where, scope, self.partition)
        return duplicates(self._connections, self._collection, condition, threshold, progress)

    def reindex(
        self,
        index: str,
        *,
        target_recall: float = 0.99,
        queries: Vectors | None = None,
        progress: Callable[[int], object] | None = None,
    ) -> None:
        self._indexes.reindex("hnsw" if index == "auto" else index, target_recall, queries, progress)

    def warm(self, fields: Sequence[str] = ()) -> None:
        """Read the table once so that the server caches it."""

        def read(connection: Connection) -> None:
            connection.execute(
                f"SELECT count(embedding), count(*) FILTER (WHERE tokens && %s::text[]) "
                f"FROM {self._collection.documents}",
                ([token for name in fields for token in exists_tokens(name)],),
            )

        self._connections.read(read)

    def verify(self, progress: Callable[[int], object] | None = None) -> Verification:
        return self._maintainer.verify(progress)

    def repair(self, progress: Callable[[int], object] | None = None) -> Verification:
        return self._maintainer.repair(progress)

    def backup(self, target: Path, progress: Callable[[int], object] | None = None) -> None:
        self._maintainer.backup(target, progress)

    def compact(self, progress: Callable[[int], object] | None = None) -> Compaction:
        self._declare_fields()
        self._index_often_filtered()
        return self._maintainer.compact(progress)

    def read_note(self, name: str) -> str | None:
        return self._notes.read(name)

    def write_note(self, name: str, value: str | None, *, replace: bool = True, wait: bool = True) -> None:
        self._notes.write(name, value, replace=replace, wait=wait)

    def note_names(self) -> list[str]:
        return self._notes.names()

    def info(self) -> dict[str, Any]:
        index = self._indexes.current()

        def describe(connection: Connection) -> dict[str, Any]:
            state = read_state(connection, self._collection)
            manifest = state.manifest
            leaves = leaf_tables(connection, self._collection)
            row = connection.execute(
                "SELECT (SELECT sum(pg_total_relation_size(leaf)) FROM unnest(%s::regclass[]) AS t(leaf))::bigint, "
                "current_setting('server_version'), "
                "(SELECT extversion FROM pg_extension WHERE extname = 'vector')",
                (leaves,),
            ).fetchone()
            size, server, pgvector = row or (0, None, None)
            return {
                "location": self._collection.shown,
                "read_only": self._connections.read_only,
                "documents": state.live,
                "metric": manifest.space.metric,
                "dimension": manifest.space.dimension,
                "norms": manifest.space.norms,
                "transforms": [repr(transform.spec) for transform in manifest.space.transforms],
                "raw_dimension": manifest.space.raw_dimension,
                "partition": manifest.partition,
                "embedder": None if manifest.embedder is None else manifest.embedder.name,
                "truncated": state.truncated,
                "created": manifest.created,
                "commits": state.sequence,
                "bytes": size,
                "tables": len(leaves),
                "postgresql": server,
                "pgvector": pgvector,
                "indexed": indexed_fields(connection, self._collection),
                "index": "flat" if index is None else index.spec,
                "approximate": None if index is None else _described(index),
            }

        return self._connections.snapshot(describe)

    def close(self) -> None:
        if not self._connections.closed:
            self._ranges.save()
        self._release()

    def _state(self) -> CollectionState:
        return self._connections.read(lambda connection: read_state(connection, self._collection))


def _described(index: ApproximateIndex) -> dict[str, Any]:
    return {
        "ready": True,
        "building": False,
        "target_recall": index.calibration.target_recall,
        "calibration": index.calibration.to_dict(),
    }


def _connections(
    location: str | PathLike[str] | None,
    connect: float,
    lock: float,
    statement: float,
    connections: int,
    *,
    read_only: bool,
) -> Connections:
    for name, value in (("connect_timeout", connect), ("lock_timeout", lock), ("statement_timeout", statement)):
        if not 0 <= value <= 1e6:
            raise ConfigError(f"{name} is {value!r}; it must be between 0 and 1,000,000 seconds")
    if connections < 1:
        raise ConfigError(f"connections is {connections!r}; it must be at least 1")
    limits = Limits(connect, lock, statement, connections)
    return Connections(PostgresLocation.parse(str(location)), limits, read_only=read_only)
