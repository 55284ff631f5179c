"""DictEngine: an engine in a dictionary, as an example of the contract, and for tests.

Every search is exact and slow: it goes through all documents with the reference evaluation of the contract. The engine
has partitions, boosts, versions, lexical search, notes and duplicates, but no maintenance and no indexes.
"""

import threading
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from theodolite.analysis.bm25 import BM25
from theodolite.errors import CollectionNotFoundError, DocumentError, EngineError, UnsupportedError, VectorError
from theodolite.filters import Filter, matches
from theodolite.filters.summary import summarize_documents
from theodolite.forking import register_at_fork
from theodolite.metadata import decode, encode
from theodolite.protocols import Answer, Request, Scope
from theodolite.scopes import key_within, partition_key, within
from theodolite.settings import DEFAULT_BM25, CollectionSettings
from theodolite.testing.oracle import brute_force
from theodolite.testing.reference_search import ReferenceSearch
from theodolite.types import Document, Duplicate, EmbedderSpec, Field, Space, Vectors

Key = tuple[str, str]
"""A document's id and its partition as text; the second is empty if the collection is not partitioned."""


class Stored(NamedTuple):
    """A stored document. Its metadata is kept as JSON, so that nothing is shared with callers."""

    text: str
    metadata: str
    vector: NDArray[np.float32]
    truncated: bool


@dataclass
class Contents:
    """A collection. Each commit replaces the dictionary, so readers keep a consistent view."""

    space: Space
    partition: str | None = None
    stored: dict[Key, Stored] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    lock: "threading.RLock" = field(default_factory=threading.RLock)
    embedder: EmbedderSpec | None = None
    bm25: BM25 = DEFAULT_BM25

    def __post_init__(self) -> None:
        register_at_fork(self)


class _Collections:
    """The collections that this process keeps by name."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.by_name: dict[str, Contents] = {}
        register_at_fork(self)


_collections = _Collections()


class DictEngine:
    """An engine in memory (see `protocols.Engine`).

    `Retriever.open("dict://")` opens a new collection; `Retriever.open("dict://name")` one that this process keeps
    under that name until `DictEngine.forget(name)`.
    """

    search_class = ReferenceSearch

    def __init__(
        self,
        contents: Contents,
        location: str | None = None,
        *,
        read_only: bool = False,
        embedder: EmbedderSpec | None = None,
    ) -> None:
        """
        Args:
            embedder: the embedder to record when documents are added to an empty collection.
        """
        self._contents = contents
        self._location = location
        self._read_only = read_only
        self._embedder = embedder
        self._closed = False

    @classmethod
    def open(
        cls,
        location: str | PathLike[str] | None,
        settings: CollectionSettings,
        *,
        create: bool = True,
        read_only: bool = False,
    ) -> "DictEngine":
        """Open the collection of this name, or create it.

        Raises:
            CollectionNotFoundError: it does not exist and may not be created.
            MetricMismatchError, ConfigError: settings other than the collection's.
        """
        name = str(location or "").partition("://")[2]
        with _collections.lock:
            contents = _collections.by_name.get(name)
            if contents is None:
                if read_only or (name and not create):
                    raise CollectionNotFoundError(f"there is no collection at {location}", location=location)
                contents = Contents(settings.space, settings.partition, embedder=settings.embedder, bm25=settings.bm25)
                if name:
                    _collections.by_name[name] = contents
            settings.check_pinned(contents.space, contents.partition, contents.bm25)
            contents.space = settings.applied_to(contents.space)
        return cls(contents, str(location), read_only=read_only, embedder=settings.embedder)

    @staticmethod
    def forget(name: str) -> None:
        """Drop the collection that is kept under this name."""
        _collections.by_name.pop(name, None)

    @property
    def space(self) -> Space:
        return self._contents.space

    @property
    def partition(self) -> str | None:
        return self._contents.partition

    @property
    def bm25(self) -> BM25:
        return self._contents.bm25

    @property
    def embedder(self) -> EmbedderSpec | None:
        """The recorded embedder."""
        return self._contents.embedder

    def add(
        self,
        documents: Sequence[Document],
        vectors: Vectors,
        space: Space,
        *,
        truncated: Container[int] = (),
        scope: Scope | None = None,
    ) -> None:
        inside = within(scope, self.partition, None)
        new: dict[Key, Stored] = {}
        for place, (document, vector) in enumerate(zip(documents, vectors, strict=True)):
            self._check_document(document)
            metadata = encode(document.metadata)
            if not matches(inside, document.metadata, document.id):
                raise DocumentError(f"document {document.id!r} is of another partition than the scope's")
            key = self._key(document.id, document.metadata)
            new[key] = Stored(document.text, metadata, vector.copy(), place in truncated)
        with self._contents.lock:
            self._check_writable(scope)
            if not new:
                return
            if self.space.dimension is not None and space != self.space:
                raise VectorError(f"the collection is pinned to {self.space}, not {space}")
            self._contents.space = space
            if self._embedder is not None and not self._contents.stored:
                self._contents.embedder = self._embedder
            self._contents.stored = {**self._contents.stored, **new}

    def update(
        self, changes: Mapping[str, Mapping[str, Any]], *, replace: bool = False, scope: Scope | None = None
    ) -> None:
        with self._contents.lock:
            self._check_writable(scope)
            keys = self._named(list(changes), scope)
            missing = changes.keys() - {name for name, _ in keys}
            if missing:
                raise DocumentError(f"{len(missing)} ids do not exist, first {min(missing)!r}; nothing is updated")
            changed = {key: self._changed(key, changes[key[0]], replace=replace) for key in keys}
            self._contents.stored = {**self._contents.stored, **changed}

    def delete(self, which: Sequence[str] | Filter, *, scope: Scope | None = None) -> int:
        with self._contents.lock:
            self._check_writable(scope)
            gone = set(self._eligible(scope, which) if isinstance(which, Filter) else self._named(which, scope))
            self._contents.stored = {key: kept for key, kept in self._contents.stored.items() if key not in gone}
            return len(gone)

    def clear(self, *, scope: Scope | None = None) -> None:
        with self._contents.lock:
            self._check_writable(scope)
            gone = set(self._eligible(scope, None))
            self._contents.stored = {key: kept for key, kept in self._contents.stored.items() if key not in gone}

    def get(self, ids: Sequence[str], *, scope: Scope | None = None) -> list[tuple[Document, NDArray[np.float32]]]:
        stored = self._check_open()
        return [(self._document(key, stored[key]), stored[key].vector.copy()) for key in self._named(ids, scope)]

    def documents(
        self, where: Filter | None = None, *, after: str = "", limit: int | None = None, scope: Scope | None = None
    ) -> Iterator[tuple[Document, NDArray[np.float32]]]:
        eligible = [(key, kept) for key, kept in self._eligible(scope, where).items() if key[0] > after]
        for key, kept in eligible[:limit]:
            yield self._document(key, kept), kept.vector.copy()

    def count(self, where: Filter | None = None, *, scope: Scope | None = None) -> int:
        return len(self._eligible(scope, where))

    def fields(self, where: Filter | None = None, *, values: int = 20, scope: Scope | None = None) -> dict[str, Field]:
        eligible = self._eligible(scope, where).values()
        return summarize_documents((decode(kept.metadata) for kept in eligible), values)

    def search(self, request: Request) -> list[Answer]:
        stored = [(self._document(key, kept), kept.vector) for key, kept in sorted(self._check_open().items())]
        return self.search_class(stored, self.space.metric, self.partition, self.bm25).answers(request)

    def duplicates(
        self,
        threshold: float,
        where: Filter | None = None,
        *,
        scope: Scope | None = None,
        progress: Callable[[int], object] | None = None,
    ) -> Iterator[Duplicate]:
        rows = list(self._eligible(scope, where).items())
        for i, (key, kept) in enumerate(rows):
            others = np.array([other.vector for _, other in rows[:i]]).reshape(i, len(kept.vector))
            cosines = self._cosines(kept.vector, others).astype(np.float32)
            for j in np.flatnonzero(cosines >= np.float32(threshold)).tolist():
                yield Duplicate(self._document(*rows[j]), self._document(key, kept), float(cosines[j]))
            if progress is not None:
                progress(i)

    def read_note(self, name: str) -> str | None:
        self._check_open()
        return self._contents.notes.get(name)

    def write_note(self, name: str, value: str | None, *, replace: bool = True, wait: bool = True) -> None:
        if not self._contents.lock.acquire(blocking=wait):
            raise EngineError("another thread is writing")
        try:
            self._check_writable()
            if value is None:
                self._contents.notes.pop(name, None)
            elif replace or name not in self._contents.notes:
                self._contents.notes[name] = value
        finally:
            self._contents.lock.release()

    def note_names(self) -> list[str]:
        self._check_open()
        return list(self._contents.notes)

    def info(self) -> dict[str, Any]:
        stored = self._check_open()
        return {
            "location": self._location,
            "read_only": self._read_only,
            "documents": len(stored),
            "truncated": sum(kept.truncated for kept in stored.values()),
            "embedder": None if self.embedder is None else self.embedder.name,
        }

    def close(self) -> None:
        self._closed = True

    def _key(self, name: str, metadata: Mapping[str, Any]) -> Key:
        return name, partition_key(self.partition, metadata)

    def _check_open(self) -> dict[Key, Stored]:
        if self._closed:
            raise EngineError("the engine is closed")
        return self._contents.stored

    def _check_writable(self, scope: Scope | None = None) -> None:
        self._check_open()
        if self._read_only:
            raise EngineError("the collection was opened with read_only=True")
        if scope is not None and scope.partition is not None:
            key_within(scope, self.partition)  # raises if the collection has no partitions
        if scope is not None and (scope.partition is None or scope.where is not None):
            raise UnsupportedError("only scopes of exactly one partition can be written to")

    def _check_document(self, document: Document) -> None:
        try:
            (document.id + document.text).encode()
        except UnicodeEncodeError:
            raise DocumentError(f"document {document.id!r} holds a lone surrogate, which is not text") from None
        if not document.id:
            raise DocumentError("a document has an empty id")

    def _eligible(self, scope: Scope | None, where: Filter | None) -> dict[Key, Stored]:
        """Return the documents in a scope that pass a filter, in the order of their ids."""
        tree = within(scope, self.partition, where)
        stored = sorted(self._check_open().items())
        return {key: kept for key, kept in stored if tree is None or matches(tree, decode(kept.metadata), key[0])}

    def _named(self, ids: Sequence[str], scope: Scope | None) -> list[Key]:
        """Return the keys of the ids that exist in a scope, in the order given."""
        partition = key_within(scope, self.partition)
        eligible = self._eligible(scope, None)
        return [(name, partition) for name in ids if (name, partition) in eligible]

    def _changed(self, key: Key, change: Mapping[str, Any], *, replace: bool) -> Stored:
        kept = self._contents.stored[key]
        metadata = dict(change) if replace else {**decode(kept.metadata), **change}
        if self._key(key[0], metadata) != key:
            raise DocumentError(f"document {key[0]!r} cannot change its partition; nothing is updated")
        return kept._replace(metadata=encode(metadata))

    def _document(self, key: Key, kept: Stored) -> Document:
        return Document(kept.text, decode(kept.metadata), key[0])

    def _cosines(self, vector: NDArray[np.float32], vectors: NDArray[np.float32]) -> NDArray[np.float64]:
        return brute_force(vector, vectors, "cosine")
