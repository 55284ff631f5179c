"""Retriever: the one class most users touch. Documents and questions in, ranked passages out."""

import itertools
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, overload

import numpy as np
from numpy.typing import NDArray

from theodolite.embedders import resolve
from theodolite.embedders.cache import QueryCache
from theodolite.engines.local import LocalEngine
from theodolite.errors import ConfigError, DocumentError, InputError
from theodolite.filters import parse
from theodolite.intake import DocumentLike, as_document, as_ids, check_lengths, taker
from theodolite.manifest import check_settings
from theodolite.protocols import Answer, Embedder, Engine, Request
from theodolite.types import Document, Hit, Hits, Metric, Norms, Trace, Vectors
from theodolite.vectors import prepare


class Retriever:
    """A collection of documents that can be searched. Open one with `Retriever.open`.

    It is a context manager, may be shared by threads, and several processes may have the same folder open: one
    writes at a time, readers never wait.
    """

    def __init__(self, engine: Engine, embedder: Embedder | None = None, *, query_cache: int = 1024) -> None:
        self._engine = engine
        self._embedder = embedder
        if embedder is not None:
            dimension = engine.space.dimension
            if dimension is not None and embedder.dimension != dimension:
                raise ConfigError(
                    f"the embedder gives {embedder.dimension} dimensions, the collection holds {dimension}. "
                    "Pass the embedder it was built with",
                    expected=dimension,
                    got=embedder.dimension,
                )
            self._queries = QueryCache(self._encode_queries, query_cache)

    @classmethod
    def open(
        cls,
        location: str | PathLike[str] | None = None,
        *,
        embedder: Any = None,
        metric: Metric | None = None,
        norms: Norms = "auto",
        read_only: bool = False,
        lock_timeout: float = 5.0,
        query_cache: int = 1024,
    ) -> Self:
        """Open the collection in a folder, or make one where there is none.

        Args:
            location: a folder; None keeps the collection in a temporary one until it is closed.
            embedder: a model's name or local path, an object that fits `protocols.Embedder`, a pair of callables
                (for queries, for documents), or None where the caller brings vectors.
            metric: `cosine` (the default), `dot` or `l2`. Pinned when the collection is made.
            norms: `unit` refuses batches with norms outside [0.98, 1.02]; `any` does not look; `auto` takes
                `unit` when the metric is dot and the first batch is of unit length. Pinned by the first batch.
            read_only: never write; works on folders that cannot be written to.
            lock_timeout: seconds to wait for another writer.
            query_cache: how many queries' vectors to keep.

        Raises:
            ManifestError: the folder holds something else, half a collection, or one of a newer version.
            MetricMismatchError, ConfigError: an argument contradicts what the collection is pinned to.
            MissingExtraError: the embedder's package is not installed.
            CorruptionError: stored data is damaged. Nothing is changed.
            EngineError: the folder cannot be read or written.
        """
        if isinstance(location, str) and "://" in location:
            raise ConfigError(f"{location!r}: only folders can be opened in this version", location=location)
        folder = None if location is None else Path(location)
        check_settings(metric, norms)
        if folder is not None and embedder is not None:
            # Before a model is loaded, which takes seconds.
            LocalEngine.check(folder, metric=metric, norms=norms, lock_timeout=lock_timeout)
        found = resolve(embedder)
        engine = LocalEngine.open(
            folder,
            metric=metric,
            norms=norms,
            embedder=None if found is None else str(getattr(found, "name", type(found).__name__)),
            read_only=read_only,
            lock_timeout=lock_timeout,
        )
        try:
            return cls(engine, found, query_cache=query_cache)
        except BaseException:
            engine.close()
            raise

    def add(
        self, documents: Iterable[DocumentLike], *, vectors: Any = None, batch_size: int | None = 1024
    ) -> list[str]:
        """Store documents; the same id replaces. Each batch is one durable, atomic commit.

        Args:
            documents: any iterable, read batch by batch. Without an id a document gets one from its text and
                metadata, so that adding it again replaces it.
            vectors: (n, d) or an iterable of n vectors, one for each document; None to embed the texts.
            batch_size: documents a commit; None makes the whole call one commit.

        Returns:
            The documents' ids, in their order.

        Raises:
            DocumentError: empty text to embed, or what cannot be stored. Batches before stay stored; of this
                one nothing is.
            VectorError: vectors that do not fit, or of another number than the documents.
            ConfigError: neither vectors nor an embedder.
            LockedError, EngineError: the store cannot be written.
        """
        if isinstance(documents, (str, bytes, Mapping, Document)):
            raise DocumentError(f"add takes an iterable of documents, not one {type(documents).__name__}")
        if batch_size is not None and batch_size < 1:
            raise InputError(f"batch_size is {batch_size}; it must be at least 1, or None for one commit")
        if vectors is None:
            self._needed()
        else:
            check_lengths(documents, vectors)
        source, take = iter(documents), taker(vectors)
        ids: list[str] = []
        while batch := [as_document(item, len(ids) + i) for i, item in enumerate(itertools.islice(source, batch_size))]:
            self._add(batch, take(len(batch)), len(ids))
            ids += [document.id for document in batch]
        if vectors is not None and len(take(1)):
            raise DocumentError(
                f"there are more vectors than the {len(ids)} documents; those documents are stored",
                count=len(ids),
            )
        return ids

    def search(
        self,
        query: str | None = None,
        *,
        vector: Any = None,
        k: int = 10,
        where: Mapping[str, Any] | None = None,
    ) -> Hits:
        """The k passages nearest to a question: exactly those, best first.

        Args:
            query: the question, which is embedded.
            vector: or one vector, (d,), in its place.
            k: how many hits; fewer come only where fewer are eligible.
            where: a filter on metadata (see `theodolite.filters`).

        Raises:
            InputError: k below 1; neither or both of query and vector; an empty query.
            VectorError, FilterError, ConfigError.
        """
        if (query is None) == (vector is None):
            raise InputError("search takes either a query or a vector")
        if vector is None:
            return self.search_many([query or ""], k=k, where=where)[0]
        return self.search_many(vectors=_row(vector), k=k, where=where)[0]

    def search_many(
        self,
        queries: Sequence[str] | None = None,
        *,
        vectors: Any = None,
        k: int = 10,
        where: Mapping[str, Any] | None = None,
    ) -> list[Hits]:
        """One `search` for each of several queries, or of `vectors` (n, d), in one pass over the index."""
        if isinstance(k, bool) or not isinstance(k, (int, np.integer)) or k < 1:
            raise InputError(f"k is {k!r}; it must be a whole number of at least 1", k=k)
        if (queries is None) == (vectors is None):
            raise InputError("search_many takes either queries or vectors")
        if isinstance(queries, str):
            raise InputError("search_many takes a list of queries; use search for one")
        tree = parse(where)
        space = self._engine.space
        started = time.perf_counter()
        if queries is not None:
            self._check_queries(queries)
        if space.dimension is None:  # nothing has ever been added
            return [Hits((), Trace("empty", 0, 0, 0))] * len(vectors if queries is None else queries)
        if queries is not None:
            prepared = Vectors(self._queries.encode_query(queries))
        else:
            prepared, _ = prepare(vectors, space, name="query vectors")
        embedded = time.perf_counter() - started
        if not len(prepared):
            return []
        answers = self._engine.search(Request(prepared, int(k), tree))
        return [_hits(answer, space.metric, embedded / len(answers)) for answer in answers]

    def get(self, ids: Iterable[str]) -> list[Document]:
        """Documents by id, in the order asked; those that are not there are skipped."""
        return self._engine.get(as_ids(ids))

    @overload
    def documents(
        self,
        where: Mapping[str, Any] | None = None,
        *,
        limit: int | None = None,
        after: str = "",
        vectors: Literal[False] = False,
    ) -> Iterator[Document]: ...
    @overload
    def documents(
        self,
        where: Mapping[str, Any] | None = None,
        *,
        limit: int | None = None,
        after: str = "",
        vectors: Literal[True],
    ) -> Iterator[tuple[Document, NDArray[np.float32]]]: ...
    def documents(
        self,
        where: Mapping[str, Any] | None = None,
        *,
        limit: int | None = None,
        after: str = "",
        vectors: bool = False,
    ) -> Iterator[Document] | Iterator[tuple[Document, NDArray[np.float32]]]:
        """List documents in the order of their ids, lazily.

        Args:
            where: a filter.
            limit: at most so many.
            after: begin behind this id.
            vectors: give pairs of a document and its vector, (d,) float32, as it is stored (normalised for cosine).
        """
        listed = self._engine.documents(parse(where), after=after, limit=limit)
        return listed if vectors else (document for document, _ in listed)

    def update(self, ids: str | Iterable[str], metadata: Mapping[str, Any], *, replace: bool = False) -> None:
        """Merge `metadata` into the documents' own, or replace it, in one commit. Nothing is embedded again.

        Raises:
            DocumentError: ids that are not there, or metadata that cannot be stored; nothing is updated.
        """
        self._engine.update(dict.fromkeys(as_ids(ids), metadata), replace=replace)

    def delete(self, ids: str | Iterable[str]) -> int:
        """Delete documents by id, in one commit; ids that are not there are fine. Returns how many there were."""
        return self._engine.delete(as_ids(ids))

    def clear(self) -> None:
        """Delete all documents. Metric, dimension and norms stay pinned."""
        self._engine.clear()

    def count(self, where: Mapping[str, Any] | None = None) -> int:
        """How many documents there are, or pass the filter."""
        return self._engine.count(parse(where))

    def verify(self) -> None:
        """Check every document and vector against its hash, and the counts. Raises CorruptionError."""
        self._engine.verify()

    def info(self) -> dict[str, Any]:
        """Documents, dimension, metric, sizes and the like, as JSON values."""
        return self._engine.info()

    def close(self) -> None:
        """Release files and memory. Closing twice is fine."""
        self._engine.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __len__(self) -> int:
        return self.count()

    def __repr__(self) -> str:
        info = self.info()
        return f"<Retriever {info['location'] or 'in memory'}: {info['documents']} documents, {info['metric']}>"

    def _add(self, batch: list[Document], vectors: Any, offset: int) -> None:
        ids = [document.id for document in batch]
        if vectors is None:
            vectors = self._embed(batch)
        elif len(vectors) != len(batch):
            raise DocumentError(
                f"there are {offset + len(vectors)} vectors for more documents; the first without one is "
                f"{ids[len(vectors)]!r}. Nothing of this batch is stored",
                ids=ids[len(vectors) :],
            )
        prepared, space = prepare(vectors, self._engine.space, ids=ids)
        self._engine.add(batch, prepared, space)

    def _needed(self) -> Embedder:
        if self._embedder is None:
            raise ConfigError("there is no embedder: open the collection with embedder=, or pass vectors")
        return self._embedder

    def _embed(self, batch: list[Document]) -> Any:
        embedder = self._needed()
        for document in batch:
            if not isinstance(document.text, str):
                raise DocumentError(
                    f"the text of document {document.id!r} is a {type(document.text).__name__}, not a string. "
                    "Nothing of this batch is stored",
                    ids=[document.id],
                )
        empty = [document.id for document in batch if not document.text.strip()]
        if empty:
            raise DocumentError(
                f"{len(empty)} of {len(batch)} documents have no text to embed, first {empty[0]!r}. "
                "Drop them, or pass their vectors. Nothing of this batch is stored",
                ids=empty,
            )
        return embedder.encode_document([document.text for document in batch])

    def _check_queries(self, queries: Sequence[str]) -> None:
        self._needed()
        for number, query in enumerate(queries):
            if not isinstance(query, str) or not query.strip():
                raise InputError(f"query {number} is {query!r}; it must be a text", index=number)

    def _encode_queries(self, texts: Sequence[str]) -> Vectors:
        """What the cache keeps: prepared vectors."""
        return prepare(self._needed().encode_query(texts), self._engine.space, name="query vectors")[0]


def _row(vector: Any) -> Any:
    """One vector as a batch of one."""
    shape = getattr(vector, "shape", None)
    if shape is not None and len(shape) == 2 and shape[0] == 1:
        return vector
    return vector[None] if hasattr(vector, "dtype") else [vector]


def _hits(answer: Answer, metric: Metric, embed: float) -> Hits:
    trace = answer.trace
    timings = {"embed": embed, **trace.timings}
    hits = tuple(
        Hit(document, similarity, rank, _scores(similarity, metric))
        for rank, (document, similarity) in enumerate(zip(answer.documents, answer.similarities, strict=True), start=1)
    )
    return Hits(hits, Trace(trace.path, trace.rows, trace.eligible, trace.scored, trace.complete, timings))


def _scores(similarity: float, metric: Metric) -> dict[str, float]:
    """Relevance: cosine clamped at 0; 1 / (1 + distance) for L2; dot products have none."""
    match metric:
        case "cosine":
            return {"similarity": similarity, "relevance": max(0.0, similarity)}
        case "l2":
            return {"similarity": similarity, "relevance": 1.0 / (1.0 - similarity)}
        case "dot":
            return {"similarity": similarity}
