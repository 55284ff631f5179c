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
from theodolite.embedders.encoding import Encoder, OnTruncate, Progress, check_policy, name_of
from theodolite.engines.local import LocalEngine
from theodolite.errors import ConfigError, DocumentError, InputError
from theodolite.filters import Where, parse
from theodolite.intake import DocumentLike, as_batch, as_document, as_ids, as_k, check_lengths, taker
from theodolite.manifest import check_settings
from theodolite.protocols import Embedder, Engine, Request
from theodolite.ranking.hits import ranked, without
from theodolite.types import Document, Hits, Metric, Norms, Trace
from theodolite.vectors import prepare


class Retriever:
    """A collection of documents that can be searched. Open one with `Retriever.open`.

    It is a context manager, may be shared by threads, and several processes may have the same folder open: one
    writes at a time, readers never wait.
    """

    def __init__(
        self,
        engine: Engine,
        embedder: Embedder | None = None,
        *,
        on_truncate: OnTruncate = "warn",
        query_cache: int = 1024,
    ) -> None:
        self._engine = engine
        self._encoding: Encoder | None = None
        if embedder is not None:
            dimension = engine.space.dimension
            if dimension is not None and embedder.dimension != dimension:
                raise ConfigError(
                    f"the embedder gives {embedder.dimension} dimensions, the collection holds {dimension}. "
                    "Pass the embedder it was built with",
                    expected=dimension,
                    got=embedder.dimension,
                )
            self._encoding = Encoder(embedder, lambda: engine.space, on_truncate=on_truncate, query_cache=query_cache)

    @classmethod
    def open(
        cls,
        location: str | PathLike[str] | None = None,
        *,
        embedder: Any = None,
        metric: Metric | None = None,
        norms: Norms = "auto",
        create: bool = True,
        read_only: bool = False,
        lock_timeout: float = 5.0,
        on_truncate: OnTruncate = "warn",
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
            create: whether to make the collection where there is none.
            read_only: never write; works on folders that cannot be written to.
            lock_timeout: seconds to wait for another writer.
            on_truncate: what to do about texts longer than the embedder reads: `warn`, `error` or `ignore`.
                `info()` counts them, and a search's `trace` tells.
            query_cache: how many queries' vectors to keep.

        Raises:
            ManifestError: the folder holds something else, half a collection, or one of a newer version; or
                nothing, and none is to be made.
            MetricMismatchError, ConfigError: an argument contradicts what the collection is pinned to.
            MissingExtraError: the embedder's package is not installed.
            CorruptionError: stored data is damaged. Nothing is changed.
            EngineError: the folder cannot be read or written.
        """
        if isinstance(location, str) and "://" in location:
            raise ConfigError(f"{location!r}: only folders can be opened in this version", location=location)
        folder = None if location is None else Path(location)
        check_settings(metric, norms)
        check_policy(on_truncate)
        if folder is not None and embedder is not None:
            # Before a model is loaded, which takes seconds.
            LocalEngine.check(folder, metric=metric, norms=norms, create=create, lock_timeout=lock_timeout)
        found = resolve(embedder)
        engine = LocalEngine.open(
            folder,
            metric=metric,
            norms=norms,
            embedder=None if found is None else name_of(embedder, found),
            create=create,
            read_only=read_only,
            lock_timeout=lock_timeout,
        )
        try:
            return cls(engine, found, on_truncate=on_truncate, query_cache=query_cache)
        except BaseException:
            engine.close()
            raise

    @property
    def embedder(self) -> Embedder | None:
        """What embeds texts here; None where the caller brings vectors."""
        return None if self._encoding is None else self._encoding.embedder

    def add(
        self,
        documents: Iterable[DocumentLike],
        *,
        vectors: Any = None,
        batch_size: int | None = 1024,
        progress: Progress | None = None,
    ) -> list[str]:
        """Store documents; the same id replaces. Each batch is one durable, atomic commit.

        Args:
            documents: any iterable, read batch by batch. Without an id a document gets one from its text and
                metadata, so that adding it again replaces it.
            vectors: (n, d) or an iterable of n vectors, one for each document; None to embed the texts.
            batch_size: documents a commit; None makes the whole call one commit.
            progress: called now and then with the number of documents embedded since the last call (or stored,
                where vectors are given).

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
            self._encoder()
        else:
            check_lengths(documents, vectors)
        source, take = iter(documents), taker(vectors)
        ids: list[str] = []
        while batch := [as_document(item, len(ids) + i) for i, item in enumerate(itertools.islice(source, batch_size))]:
            self._add(batch, take(len(batch)), len(ids), progress)
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
        like: str | Iterable[str] | None = None,
        k: int = 10,
        where: Where = None,
    ) -> Hits:
        """The k passages nearest to a question: exactly those, best first.

        Args:
            query: the question, which is embedded.
            vector: or one vector, (d,), in its place;
            like: or ids of stored documents: what is near the mean of their vectors, but not these themselves.
            k: how many hits; fewer come only where fewer are eligible.
            where: a filter on metadata (see `theodolite.filters`).

        Raises:
            InputError: k below 1; none or several of query, vector and like; an empty query; ids in `like` that
                are not there.
            VectorError, FilterError, ConfigError.
        """
        if (query is None) + (vector is None) + (like is None) != 2:
            raise InputError("search takes either a query, a vector, or ids of documents (like)")
        if like is not None:
            names = list(dict.fromkeys(as_ids(like)))
            mean = self._between(names)
            return without(self.search_many(vectors=mean, k=as_k(k) + len(names), where=where)[0], names, k)
        if vector is None:
            return self.search_many([query or ""], k=k, where=where)[0]
        return self.search_many(vectors=as_batch(vector), k=k, where=where)[0]

    def search_many(
        self,
        queries: Sequence[str] | None = None,
        *,
        vectors: Any = None,
        k: int = 10,
        where: Where = None,
    ) -> list[Hits]:
        """One `search` for each of several queries, or of `vectors` (n, d), in one pass over the index."""
        count = as_k(k)
        if (queries is None) == (vectors is None):
            raise InputError("search_many takes either queries or vectors")
        if isinstance(queries, str):
            raise InputError("search_many takes a list of queries; use search for one")
        tree = parse(where)
        space = self._engine.space
        started = time.perf_counter()
        if queries is not None:
            self._encoder().check(queries)
        if space.dimension is None:  # nothing has ever been added
            return [Hits((), Trace("empty", 0, 0, 0))] * len(vectors if queries is None else queries)
        if queries is not None:
            prepared, unread = self._encoder().queries(queries)
        else:
            prepared, _ = prepare(vectors, space, name="query vectors")
            unread = [0] * len(prepared)
        embedded = time.perf_counter() - started
        if not len(prepared):
            return []
        answers = self._engine.search(Request(prepared, count, tree))
        embed = embedded / len(answers)
        return [
            ranked(answer, space.metric, embed=embed, unread=tokens)
            for answer, tokens in zip(answers, unread, strict=True)
        ]

    @overload
    def get(self, ids: str | Iterable[str], *, vectors: Literal[False] = False) -> list[Document]: ...
    @overload
    def get(
        self, ids: str | Iterable[str], *, vectors: Literal[True]
    ) -> list[tuple[Document, NDArray[np.float32]]]: ...
    def get(
        self, ids: str | Iterable[str], *, vectors: bool = False
    ) -> list[Document] | list[tuple[Document, NDArray[np.float32]]]:
        """Documents by id, in the order asked; those that are not there are skipped.

        Args:
            vectors: give pairs of a document and its vector, (d,) float32, as it is stored.
        """
        found = self._engine.get(as_ids(ids))
        return found if vectors else [document for document, _ in found]

    @overload
    def documents(
        self,
        where: Where = None,
        *,
        limit: int | None = None,
        after: str = "",
        vectors: Literal[False] = False,
    ) -> Iterator[Document]: ...
    @overload
    def documents(
        self,
        where: Where = None,
        *,
        limit: int | None = None,
        after: str = "",
        vectors: Literal[True],
    ) -> Iterator[tuple[Document, NDArray[np.float32]]]: ...
    def documents(
        self,
        where: Where = None,
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

    def delete(self, ids: str | Iterable[str] | None = None, *, where: Where = None) -> int:
        """Delete documents by id (ids that are not there are fine), or those that pass a filter, in one commit.

        Returns:
            How many there were.

        Raises:
            InputError: neither or both are given, or a filter that lets everything pass: use `clear`.
        """
        if (ids is None) == (where is None):
            raise InputError("delete takes either ids or a filter (where)")
        if ids is not None:
            return self._engine.delete(as_ids(ids))
        tree = parse(where)
        if tree is None:
            raise InputError("the filter lets every document pass; use clear() to delete all")
        return self._engine.delete(tree)

    def clear(self) -> None:
        """Delete all documents. Metric, dimension and norms stay pinned."""
        self._engine.clear()

    def count(self, where: Where = None) -> int:
        """How many documents there are, or pass the filter."""
        return self._engine.count(parse(where))

    def warm(self, *fields: str) -> None:
        """Load what searching needs, and the columns of these metadata fields, so that no user waits for it."""
        self._engine.warm(fields)

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

    def _add(self, batch: list[Document], vectors: Any, offset: int, progress: Progress | None) -> None:
        ids = [document.id for document in batch]
        truncated: set[str] = set()
        embed = vectors is None
        if embed:
            vectors, truncated = self._encoder().documents(batch, progress)
        elif len(vectors) != len(batch):
            raise DocumentError(
                f"there are {offset + len(vectors)} vectors for more documents; the first without one is "
                f"{ids[len(vectors)]!r}. Nothing of this batch is stored",
                ids=ids[len(vectors) :],
            )
        prepared, space = prepare(vectors, self._engine.space, ids=ids)
        self._engine.add(batch, prepared, space, truncated=truncated)
        if progress is not None and not embed:
            progress(len(batch))

    def _encoder(self) -> Encoder:
        if self._encoding is None:
            raise ConfigError("there is no embedder: open the collection with embedder=, or pass vectors")
        return self._encoding

    def _between(self, ids: list[str]) -> NDArray[np.float64]:
        """The mean of some documents' vectors, (1, d)."""
        found = self._engine.get(ids)
        missing = sorted(set(ids) - {document.id for document, _ in found})
        if missing or not found:
            raise InputError(
                f"{len(missing)} of the {len(ids)} documents to search by are not in the collection"
                + (f", first {missing[0]!r}" if missing else "; name at least one"),
                ids=missing,
            )
        mean: NDArray[np.float64] = np.mean([vector for _, vector in found], axis=0, dtype=np.float64)
        if not mean.any() and self._engine.space.metric != "l2":
            raise InputError(f"the vectors of these {len(ids)} documents cancel out: there is nothing between them")
        if self._engine.space.norms == "unit":
            mean /= np.linalg.norm(mean)
        return mean[None]
