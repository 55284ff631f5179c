"""Collection: what can be done with stored documents without an embedder."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, overload

import numpy as np
from numpy.typing import NDArray

from theodolite.errors import InputError, UnsupportedError
from theodolite.filters import Where, parse
from theodolite.inputs import as_count, as_folder, as_ids, as_k, as_threshold
from theodolite.protocols import Engine, Scope
from theodolite.types import Compaction, Document, Duplicate, Field, Vectors, Verification
from theodolite.vectors.metrics import MetricName

if TYPE_CHECKING:  # what few programs use is imported when they do
    from theodolite.auditing.findings import Audit
    from theodolite.evaluation.recall import Recall
    from theodolite.monitoring.monitor import Monitor


class Collection:
    """Documents in an engine. `Retriever` adds texts in and ranked passages out."""

    _engine: Engine
    _monitor: "Monitor | None" = None
    _scope: Scope | None = None
    _writable = True

    @property
    def location(self) -> Path | None:
        """The collection's folder; None where it is kept in memory."""
        folder = self._engine.info().get("location")
        return None if folder is None else Path(folder)

    @property
    def metric(self) -> MetricName:
        """What similarity is: cosine, dot or l2."""
        return self._engine.space.metric

    @property
    def dimension(self) -> int | None:
        """The length of the vectors that `add` and `search` take; None before the first."""
        return self._engine.space.raw_dimension

    @property
    def partition(self) -> str | int | None:
        """The partition that this scope is confined to, as a value of the field; None where it is to none."""
        return None if self._scope is None else self._scope.partition

    @property
    def writable(self) -> bool:
        """Whether documents can be added and deleted: not where it was opened read-only, nor in most scopes."""
        return self._writable and not self._engine.info().get("read_only", False)

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
            vectors: give pairs of a document and its vector, (d,) float32, as it is stored: normalised for cosine,
                and transformed. Where there are transforms, `add` and `search` must not be given it again.
        """
        found = self._engine.get(as_ids(ids), scope=self._scope)
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
            vectors: give pairs of a document and its vector, (d,) float32, as it is stored: normalised for cosine, and
                transformed.
        """
        (begin,) = as_ids([after])
        listed = self._engine.documents(parse(where), after=begin, limit=limit, scope=self._scope)
        return listed if vectors else (document for document, _ in listed)

    def duplicates(
        self,
        threshold: float = 0.92,
        *,
        where: Where = None,
        progress: Callable[[int], object] | None = None,
    ) -> Iterator[Duplicate]:
        """Find near-duplicates: every pair of documents whose vectors' cosine is at least `threshold`, lazily.

        Nothing is missed and each pair comes once, for every metric; the cosine is exact. Of n equal documents come
        n·(n − 1)/2 pairs: stop when it is enough. 100,000 documents of 384 dimensions take some ten seconds
        on two cores, ten times as many a hundred times as long.

        The pairs are of the commit at which the first is asked for. Documents that are deleted or written again
        meanwhile are left out, but for some hundred pairs that have been read ahead. First come the pairs among the
        4,096 documents that were written first, then those with one of the next 4,096, and so on. Outside of scopes
        documents of different partitions are paired, too.

        Args:
            threshold: above 0, at most 1. What two versions of one text have depends on the model: look at a few.
            where: a filter, for both documents.
            progress: called with the number of pairs compared since the last call: of n documents n·(n − 1)/2.

        Raises:
            InputError: a threshold out of range. FilterError.
            CorruptionError: stored vectors are damaged.
        """
        limit = as_threshold(threshold)
        return self._engine.duplicates(limit, parse(where), scope=self._scope, progress=progress)

    def update(self, ids: str | Iterable[str], metadata: Mapping[str, Any], *, replace: bool = False) -> None:
        """Merge `metadata` into the documents' own, or replace it, in one commit. Nothing is embedded again.

        Raises:
            DocumentError: ids that are not there, or metadata that cannot be stored; nothing is updated.
        """
        self._check_writable()
        field = self._engine.partition
        if replace and field is not None and self._scope is not None and isinstance(metadata, Mapping):
            metadata = {field: self._scope.partition, **metadata}
        self._engine.update(dict.fromkeys(as_ids(ids), metadata), replace=replace, scope=self._scope)

    def delete(self, ids: str | Iterable[str] | None = None, *, where: Where = None) -> int:
        """Delete documents by id (ids that are not there are fine), or those that pass a filter, in one commit.

        Returns:
            How many there were.

        Raises:
            InputError: neither or both are given, or a filter that lets everything pass: use `clear`.
        """
        self._check_writable()
        if (ids is None) == (where is None):
            raise InputError("delete takes either ids or a filter (where)")
        if ids is not None:
            return self._engine.delete(as_ids(ids), scope=self._scope)
        tree = parse(where)
        if tree is None:
            raise InputError("the filter lets every document pass; use clear() to delete all")
        return self._engine.delete(tree, scope=self._scope)

    def clear(self) -> None:
        """Delete all documents. Metric, dimension and norms stay pinned."""
        self._check_writable()
        self._engine.clear(scope=self._scope)

    def count(self, where: Where = None) -> int:
        """How many documents there are, or pass the filter."""
        return self._engine.count(parse(where), scope=self._scope)

    def fields(self, *, values: int = 20) -> dict[str, Field]:
        """What documents hold in each field of their metadata, by name: how many have it, kinds, values, ranges.

        For a form or a tool that filters. In a scope it tells of the scope's documents only. Fields in mappings have
        dotted names, as in filters; names of more than four parts are left out. The first call reads all metadata,
        seconds for a million documents and some fields; later ones what has changed since.

        Args:
            values: of fields with at most so many different values, these are told, with how many hold each.

        Raises:
            InputError: `values` is negative.
        """
        return self._engine.fields(values=as_count(values, "values"), scope=self._scope)

    def warm(self, *fields: str) -> None:
        """Load what searching needs, and the columns of these metadata fields, so that no user waits for it."""
        self._engine.warm(fields)

    def verify(self, *, progress: Callable[[int], object] | None = None) -> Verification:
        """Check all that is stored: documents, vectors, what is derived from them, the change log, the files.

        Args:
            progress: called with the number of rows, documents or index entries checked since the last call.

        Returns:
            How much was checked, and warnings: files that nothing needs, rows an index cannot reach.

        Raises:
            CorruptionError: there is damage. Its `verification` lists all of it.
        """
        self._check_whole("verify()")
        return self._engine.verify(progress)

    def audit(self, *, queries: Any = None, seed: int = 0, progress: Callable[[int], object] | None = None) -> "Audit":
        """Look at the stored vectors (in a scope, at its own): see `theodolite.audit`, with the collection's metric.

        They are copied to a temporary file for it. For cosine they are stored normalised, so what their lengths say
        can only be seen before `add`.

        Args:
            queries: (m, d), vectors of real questions, as the embedder gives them.
            progress: called with the number of documents read since the last call; three times as many as there are.

        Raises:
            InputError: there are no documents. VectorError: queries that do not fit.
        """
        from theodolite.auditing.stored import audit_stored

        listing = self._engine.documents(scope=self._scope)
        return audit_stored(listing, self._engine.space, queries=queries, seed=seed, progress=progress)

    def repair(self, *, progress: Callable[[int], object] | None = None) -> Verification:
        """Make anew what is damaged and derived: codes, columns, indexes; remove files that nothing needs.

        Documents, vectors and the change log are never touched: where these are damaged, nothing is changed at all.

        Returns:
            What `verify` finds afterwards, and what was done.
        """
        self._check_whole("repair()")
        return self._engine.repair(progress)

    def compact(self, *, progress: Callable[[int], object] | None = None) -> Compaction:
        """Give back the disk space of documents that were replaced, updated or deleted, while others read and write.

        It changes nothing that is found, and no score. It happens by itself in the background, too, when a third of
        the rows are dead (see `compact_at` of `Retriever.open`). An approximate index is built again; until then
        searches are exact. Interrupted, the collection is as before.

        Args:
            progress: called with the number of documents copied since the last call.

        Returns:
            How many dead rows were removed, and the folder's size before and after.

        Raises:
            EngineError: there is not enough room on the disk (its `needed` and `free` say how much), or the collection
                is opened read-only.
            LockedError: another process or thread is compacting, or building an index.
            CorruptionError: stored vectors are damaged; nothing is changed.
            UnsupportedError: in a scope.
        """
        self._check_whole("compact()")
        return self._engine.compact(progress)

    def backup(self, location: str | PathLike[str], *, progress: Callable[[int], object] | None = None) -> None:
        """Copy the collection as of one commit to a new folder, while others may write. It is there whole, or not.

        Args:
            location: a folder that does not exist, or is empty.
            progress: called with the number of bytes copied since the last call.

        Raises:
            ConfigError: something is there already.
            CorruptionError: vectors are damaged; there is no copy then.
            EngineError: it cannot be written.
        """
        self._check_whole("backup()")
        self._engine.backup(as_folder(location), progress)

    def info(self) -> dict[str, Any]:
        """Documents, dimension, metric, sizes and the like, as JSON values; in a scope only what concerns it."""
        told = self._engine.info()
        if self._scope is None:
            return told
        shared = ("metric", "dimension", "norms", "transforms", "raw_dimension", "embedder", "index")
        return {"documents": self.count(), **{name: told[name] for name in shared if name in told}}

    def reindex(
        self,
        index: str,
        *,
        target_recall: float = 0.99,
        queries: Any = None,
        progress: Callable[[int], object] | None = None,
    ) -> None:
        """Build an approximate index beside the exact one and use it, or go back to exact search with `flat`.

        Searches go on meanwhile. Later it is built again by itself when 15 % of its rows are new or gone. Interrupted,
        the next call goes on where it was.

        Args:
            index: `hnsw`, `hnsw:M=32,ef_construction=400`, or `faiss:` and a factory string.
            target_recall: recall@10 that the effort of each search is chosen for, by measuring.
            queries: what to measure with, texts or vectors (n, d): some hundred real ones, if there are any.
            progress: called with the number of rows built since the last call.

        Raises:
            ConfigError, MissingExtraError, LockedError.
        """
        self._check_whole("reindex()")
        if not 0 < target_recall <= 1:
            raise InputError(f"target_recall is {target_recall!r}; it must be above 0 and at most 1")
        # Queries must not settle what documents will.
        given = None if queries is None or self._engine.space.dimension is None else self._as_queries(queries)
        self._engine.reindex(index, target_recall=target_recall, queries=given, progress=progress)

    def recall(
        self,
        queries: Any = None,
        *,
        k: Sequence[int] = (1, 5, 10),
        where: Where = None,
        progress: Callable[[int], object] | None = None,
    ) -> "Recall":
        """What the index finds of the exact answer, and what either takes: each query is asked of both, alone.

        Args:
            queries: texts or vectors (n, d), some hundred real ones; None makes 500 of stored rows with noise added,
                which are harder than most real ones.
            k: the lengths of list to measure.
            where: a filter, for all of them.
            progress: called with the number of queries done since the last call.

        Raises:
            InputError: no queries, nothing that is eligible, a k below 1. VectorError, FilterError, ConfigError.
            UnsupportedError: in a scope.
        """
        from theodolite.evaluation.recall import measure

        self._check_whole("recall()")
        lengths = sorted({as_k(length) for length in k})
        if not lengths:
            raise InputError("k is empty; name the lengths of list to measure, such as (1, 5, 10)")
        tree = parse(where)
        given = None if queries is None or self._engine.space.dimension is None else self._as_queries(queries)
        return measure(self._engine, given, lengths, tree, progress)

    @property
    def monitor(self) -> "Monitor | None":
        """What watches the searches, if anything does. It tells of all of them, and so nothing to scopes."""
        self._check_whole("monitor")
        return self._monitor

    def close(self) -> None:
        """Release files and memory. Closing twice is fine; closing a scope leaves the collection open."""
        if self._scope is None:
            if self._monitor is not None:
                self._monitor.close()
            self._engine.close()

    def _as_queries(self, queries: Any) -> Vectors:
        """Texts, or vectors (n, d), prepared."""
        raise NotImplementedError

    def _check_writable(self) -> None:
        if not self._writable:
            raise UnsupportedError(
                "this scope is read-only: only a scope of exactly one partition, scoped(<partition field>=value), can "
                "be written to"
            )

    def _check_whole(self, what: str) -> None:
        if self._scope is not None:
            raise UnsupportedError(f"{what} concerns the whole collection: call it outside of scopes")

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
        place = "scope" if self._scope is not None else info["location"] or "in memory"
        return f"<Retriever {place}: {info['documents']} documents, {info['metric']}>"
