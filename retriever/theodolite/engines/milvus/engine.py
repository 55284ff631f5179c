"""The Milvus engine: see `protocols.Engine`, and `writer` and `source` for what Milvus cannot guarantee."""

import threading
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from os import PathLike
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from theodolite.analysis.bm25 import BM25
from theodolite.engines import refusals
from theodolite.engines.milvus.catalog import open_collection
from theodolite.engines.milvus.conditions import TRUE
from theodolite.engines.milvus.indexes import FLAT, IndexSetting, build_settings, calibrated
from theodolite.engines.milvus.location import MilvusLocation
from theodolite.engines.milvus.rows import compare_all, document_of, read_pages
from theodolite.engines.milvus.schema import MAX_BYTES, metric_type, primary_key
from theodolite.engines.milvus.server import Consistency, MilvusServer, Row
from theodolite.engines.milvus.source import LargestNorm, MilvusSource
from theodolite.engines.milvus.writer import Writer
from theodolite.engines.remote.empty import EmptySource
from theodolite.engines.remote.search import RemoteSearch
from theodolite.engines.remote.source import Eligible, Source
from theodolite.errors import ConfigError, InputError, LockedError
from theodolite.filters import Filter
from theodolite.filters.summary import summarize_documents
from theodolite.forking import register_at_fork
from theodolite.metadata import stored_metadata
from theodolite.protocols import Answer, Request, Scope, refuse_parts
from theodolite.scopes import key_within, within
from theodolite.settings import CollectionSettings, Manifest
from theodolite.types import Document, EmbedderSpec, Field, Space, Vectors
from theodolite.vectors.metrics import get_metric

Pair = tuple[Document, NDArray[np.float32]]

_DEFAULTS = CollectionSettings()
_LEVELS = ("Strong", "Session", "Bounded", "Eventually")
_INDEX_NOTE = "theodolite index"
_NOTE = "note "
_HELD_OUT = 64  # queries of a calibration
_K = 10
_BUILD_TIMEOUT = 24 * 3600.0


class MilvusEngine:
    """An engine on a Milvus server. Create it with `open`.

    Attributes:
        folder: None, because the collection is not in a local folder.
        foreign: True, because anyone with write access to the server may have written the collection.
    """

    folder = None
    foreign = True

    def __init__(
        self,
        server: MilvusServer,
        location: MilvusLocation,
        settings: CollectionSettings,
        *,
        create: bool,
        read_only: bool,
    ) -> None:
        self._server = server
        self._location = location
        self._settings = settings  # its norms and transforms apply until the first batch fixes them
        self._read_only = read_only
        self._collection, self._manifest = open_collection(
            server, location.collection, settings, create=create and not read_only
        )
        self._writer = Writer(self._collection, self.partition, settings.embedder, self._expression)
        self._search = RemoteSearch(self._view, self._manifest.space.metric, self.partition)
        self._norms = LargestNorm()
        self._index = IndexSetting.from_json(self._collection.catalog.read(_INDEX_NOTE))
        self._building = threading.Lock()
        register_at_fork(self)
        self._apply_index(settings.index)

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
        timeout: float = 30.0,
        consistency: Consistency = "Session",
    ) -> "MilvusEngine":
        """Open the collection at a URL, or create it.

        Args:
            location: milvus://user:password@host:port/collection, with `?database=name` and `secure=true` if needed.
            timeout: maximum seconds for one call to the server.
            consistency: the consistency of reads. "Session" sees writes of this process at once, and of others a
                fraction of a second later; "Strong" sees all writes, and takes about 0.2 seconds; "Bounded" and
                "Eventually" may miss even writes of this process.

        Raises:
            InputError: the URL cannot be used.
            CollectionNotFoundError, ManifestError, MetricMismatchError, ConfigError, EngineError: see
                `catalog.open_collection`.
        """
        if consistency not in _LEVELS:
            raise ConfigError(f"consistency is {consistency!r}; expected one of {', '.join(_LEVELS)}")
        if not isinstance(location, str):
            raise InputError(f"{location!r} is not a URL; expected milvus://host:port/collection")
        place = MilvusLocation.parse(location)
        server = MilvusServer(place, timeout, consistency)
        try:
            return cls(server, place, settings, create=create, read_only=read_only)
        except BaseException:
            server.close()
            raise

    def _apply_index(self, name: str | None) -> None:
        """Build the requested index if there are documents but no index. Raises ConfigError for unknown names."""
        if name in (None, "auto", FLAT):
            return
        build_settings(str(name), metric_type(self.space.metric))
        if self._index.name == FLAT and not self._read_only and self._has_rows() and self.count():
            self.reindex(str(name))

    @property
    def space(self) -> Space:
        self._server.check_open()
        if self._manifest.space.dimension is None:
            self._settle(self._read_manifest())
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
        return self._read_manifest().embedder

    def add(
        self,
        documents: Sequence[Document],
        vectors: Vectors,
        space: Space,
        *,
        truncated: Container[int] = (),
        scope: Scope | None = None,
    ) -> None:
        self._check_writable()
        self._writer.add(self._read_manifest, documents, vectors, space, truncated, scope)

    def update(
        self, changes: Mapping[str, Mapping[str, Any]], *, replace: bool = False, scope: Scope | None = None
    ) -> None:
        self._check_writable()
        self._writer.update(changes, scope, replace=replace)

    def delete(self, which: Sequence[str] | Filter, *, scope: Scope | None = None) -> int:
        self._check_writable()
        if isinstance(which, Filter):
            within(scope, self.partition, which)
        return self._writer.delete(which, scope)

    def clear(self, *, scope: Scope | None = None) -> None:
        self._check_writable()
        within(scope, self.partition, None)
        self._writer.clear(scope)

    def get(self, ids: Sequence[str], *, scope: Scope | None = None) -> list[Pair]:
        key = key_within(scope, self.partition)
        self._server.check_open()
        if not self._has_rows():
            return []
        pks = {name: primary_key(name, key) for name in ids if name}
        known = [pk for pk in dict.fromkeys(pks.values()) if len(pk) <= MAX_BYTES]
        confined = "" if scope is None or scope.where is None else f" and ({self._expression(scope, None)})"
        pair_of: dict[str, Pair] = {}
        for start in range(0, len(known), 200):
            listed = ",".join(f'"{pk}"' for pk in known[start : start + 200])
            rows = self._server.query(
                self._collection.name, f"pk in [{listed}]{confined}", ["pk", "text", "metadata", "vector"]
            )
            pair_of.update((str(row["pk"]), _pair(row)) for row in rows)
        return [pair_of[pks[name]] for name in ids if name in pks and pks[name] in pair_of]

    def documents(
        self, where: Filter | None = None, *, after: str = "", limit: int | None = None, scope: Scope | None = None
    ) -> Iterator[Pair]:
        within(scope, self.partition, where)
        self._server.check_open()
        if not self._has_rows():
            return
        remaining = limit
        # All keys of this id, in any partition, sort before this one; those of longer ids sort after it.
        start = f"{after.encode().hex()}.z" if after else ""
        fields = ["text", "metadata", "vector"]
        for page in read_pages(self._server, self._collection.name, self._expression(scope, where), fields, start):
            for row in page:
                if remaining is not None and remaining <= 0:
                    return
                remaining = None if remaining is None else remaining - 1
                yield _pair(row)

    def count(self, where: Filter | None = None, *, scope: Scope | None = None) -> int:
        within(scope, self.partition, where)
        with self._view(lasting=True) as source:
            count = source.count(Eligible(scope, where))
            if where is not None and (count or source.state(scope).live):
                self._search.notes.notes(source, where, scope, matching=count)
            return count

    def fields(self, where: Filter | None = None, *, values: int = 20, scope: Scope | None = None) -> dict[str, Field]:
        within(scope, self.partition, where)
        self._server.check_open()
        if not self._has_rows():
            return {}
        if where is not None:
            self.count(where, scope=scope)  # warns about a filter that cannot match
        pages = read_pages(self._server, self._collection.name, self._expression(scope, where), ["metadata"])
        return summarize_documents((stored_metadata(row["metadata"]) for page in pages for row in page), values)

    def search(self, request: Request) -> list[Answer]:
        refuse_parts(self, request, {"lexical"})
        return self._search.search(request)

    def reindex(
        self,
        index: str,
        *,
        target_recall: float = 0.99,
        queries: Vectors | None = None,
        progress: Callable[[int], object] | None = None,
    ) -> None:
        """Build another index: flat, hnsw or ivf. While it is built, searches of all programs fail."""
        self._check_writable()
        index = "hnsw" if index == "auto" else index
        settings = build_settings(index, metric_type(self.space.metric))
        if not self._building.acquire(blocking=False):
            raise LockedError("another thread is building an index")
        try:
            if not self._has_rows():
                raise ConfigError("there are no documents to index yet")
            self._server.replace_index(self._collection.name, settings, _BUILD_TIMEOUT)
            setting = IndexSetting(FLAT) if index == FLAT else self._calibrated(index, target_recall, queries)
            self._collection.catalog.write(_INDEX_NOTE, setting.to_json())
            self._index = setting
        finally:
            self._building.release()
        if progress is not None:
            progress(self._server.count(self._collection.name, ""))

    def warm(self, fields: Sequence[str] = ()) -> None:
        if self._has_rows():
            self._server.load(self._collection.name)

    def read_note(self, name: str) -> str | None:
        return self._collection.catalog.read(_NOTE + name)

    def note_names(self) -> list[str]:
        return self._collection.catalog.names(_NOTE)

    def write_note(self, name: str, value: str | None, *, replace: bool = True, wait: bool = True) -> None:
        self._check_writable()
        if replace or self._collection.catalog.read(_NOTE + name) is None:
            self._collection.catalog.write(_NOTE + name, value)

    def info(self) -> dict[str, Any]:
        self._server.check_open()
        manifest = self._read_manifest()
        rows = self._has_rows()
        name = self._collection.name
        return {
            "location": self._server.shown,
            "read_only": self._read_only,
            "documents": self._server.count(name, "") if rows else 0,
            "metric": manifest.space.metric,
            "dimension": manifest.space.dimension,
            "norms": manifest.space.norms,
            "transforms": [repr(transform.spec) for transform in manifest.space.transforms],
            "raw_dimension": manifest.space.raw_dimension,
            "partition": manifest.partition,
            "embedder": None if manifest.embedder is None else manifest.embedder.name,
            "truncated": self._server.count(name, "truncated == true") if rows else 0,
            "created": manifest.created,
            "consistency": self._server.consistency,
            "index": self._index.name,
            "approximate": None if self._index.name == FLAT else {"target_recall": self._index.target_recall},
        }

    def close(self) -> None:
        self._server.close()

    @contextmanager
    def _view(self, *, lasting: bool) -> Iterator[Source]:
        self._server.check_open()
        yield self._source() if self._has_rows() else EmptySource()

    def _source(self) -> MilvusSource:
        return MilvusSource(self._server, self._collection.name, self.space, self.partition, self._index, self._norms)

    def _expression(self, scope: Scope | None, where: Filter | None) -> str:
        return self._source().expression(Eligible(scope, where))

    def _has_rows(self) -> bool:
        """Return whether a first batch has settled the dimension; another process may have added it."""
        return self.space.dimension is not None and self._collection.has_rows

    def _read_manifest(self) -> Manifest:
        manifest = self._collection.manifest()
        if manifest is None:
            raise refusals.deleted(self._server.shown)
        return manifest

    def _settle(self, manifest: Manifest) -> None:
        self._settings.check_pinned(manifest.space, manifest.partition, manifest.bm25)
        self._manifest = manifest

    def _check_writable(self) -> None:
        self._server.check_open()
        if self._read_only:
            raise refusals.read_only(self._server.shown, location=self._server.shown)

    def _calibrated(self, index: str, target_recall: float, queries: Vectors | None) -> IndexSetting:
        """Measure the recall of the index against the exact answer, for held-out queries."""
        name, metric = self._collection.name, get_metric(self.space.metric)
        if queries is None:
            queries = self._held_out()
        exact = compare_all(self._server, name, metric, queries, _K, TRUE)
        wanted = [set(candidates.keys.tolist()) for candidates in exact]

        def recall_at(parameters: dict[str, Any]) -> list[float]:
            options = {"metric_type": metric_type(self.space.metric), "params": parameters}
            found = self._server.search(name, list(queries), _K, TRUE, ["key"], options)
            return [
                len(keys & {int(row["key"]) for row in rows}) / max(1, len(keys))
                for keys, rows in zip(wanted, found, strict=True)
            ]

        return calibrated(index, target_recall, recall_at)

    def _held_out(self) -> Vectors:
        """Return queries between pairs of stored vectors: none of them is stored itself."""
        rows = self._server.query(self._collection.name, "", ["vector"], limit=2 * _HELD_OUT)
        vectors = np.array([row["vector"] for row in rows], np.float64)
        middle = (vectors + vectors[::-1]) / 2 + 1e-3 * vectors
        if get_metric(self.space.metric).normalizes:
            middle /= np.maximum(np.linalg.norm(middle, axis=1, keepdims=True), 1e-12)
        return Vectors(middle[:_HELD_OUT].astype(np.float32))


def _pair(row: Row) -> Pair:
    return document_of(row), np.array(row["vector"], np.float32)
