"""Retriever: the one class most users touch. Documents and questions in, ranked passages out."""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import replace
from os import PathLike
from typing import TYPE_CHECKING, Any, Self

from theodolite.asynchronous import Asynchronous, in_thread
from theodolite.embedders.encoder import Encoder, OnTruncate, Progress, check_dimension, check_policy, name_of
from theodolite.embedders.resolve import resolve
from theodolite.engines.local import LocalEngine
from theodolite.engines.local.storage.paths import MONITOR
from theodolite.errors import ConfigError, DocumentError, InputError
from theodolite.filters import Where
from theodolite.guards.drift import EmbedderCheck
from theodolite.guards.embedder_guard import EmbedderGuard, When, check_watch
from theodolite.guards.query_norms import OnDrift, QueryNorms
from theodolite.inputs import DocumentLike, as_document, as_folder, as_vectors, check_lengths, taker
from theodolite.protocols import Embedder, Engine
from theodolite.ranking.options import told_relevance
from theodolite.ranking.stored_rules import keep, standing
from theodolite.ranking.versions import Rule
from theodolite.scopes import narrowed, placed
from theodolite.settings import CollectionSettings
from theodolite.types import Document, Norms, Transform
from theodolite.vectors.metrics import MetricName
from theodolite.write_vectors import store

if TYPE_CHECKING:  # imported where it is wanted
    from theodolite.monitoring.monitor import Monitor


class Retriever(Asynchronous):
    """A collection of documents that can be searched. Open one with `Retriever.open`.

    It is a context manager, may be shared by threads, and several processes may have the same folder open: one
    writes at a time, readers never wait. `asearch`, `aadd` and the like are the same for async programs.
    """

    def __init__(
        self,
        engine: Engine,
        embedder: Embedder | None = None,
        *,
        on_truncate: OnTruncate = "warn",
        query_cache: int = 1024,
        on_drift: OnDrift = "refuse",
        canary: When = "open",
        canary_noise: bool = True,
        expect: Iterable[Any] | None = None,
        monitor: "Monitor | None" = None,
        relevance: Any = None,
        versions: Rule | Iterable[Rule] | None = None,
    ) -> None:
        check_watch(on_drift, canary)
        told_relevance(engine.space.metric, relevance, needed=False)
        self._engine, self._monitor = engine, monitor
        self._relevance, self._rules = relevance, standing(engine, versions)
        self._norms = QueryNorms(engine, on_drift)
        self._seen = None if monitor is None else monitor.norms
        self._encoding: Encoder | None = None
        if embedder is not None:
            check_dimension(embedder, engine.space)
            self._encoding = Encoder(
                embedder,
                lambda: engine.space,
                on_truncate=on_truncate,
                query_cache=query_cache,
                seen=self._seen,
            )
            name = name_of(embedder, embedder)
            self._watch = EmbedderGuard(
                engine, embedder, name, on_drift=on_drift, when=canary, noise=canary_noise, expect=expect
            )
        elif expect is not None:
            raise ConfigError("known answers (expect) are questions in words: open the collection with embedder=")

    @classmethod
    def open(
        cls,
        location: str | PathLike[str] | None = None,
        *,
        embedder: Any = None,
        metric: MetricName | None = None,
        norms: Norms = "auto",
        partition: str | None = None,
        transforms: Sequence[Transform] = (),
        index: str | None = None,
        create: bool = True,
        read_only: bool = False,
        lock_timeout: float = 5.0,
        trust_index: bool = False,
        compact_at: float | None = 1 / 3,
        on_truncate: OnTruncate = "warn",
        query_cache: int = 1024,
        on_drift: OnDrift = "refuse",
        canary: When = "open",
        canary_noise: bool = True,
        expect: Iterable[Any] | None = None,
        monitor: "bool | Monitor" = False,
        relevance: Any = None,
        versions: Rule | Iterable[Rule] | None = None,
    ) -> Self:
        """Open the collection in a folder, or make one where there is none.

        Args:
            location: a folder; None keeps the collection in a temporary one until it is closed.
            embedder: a model's name or local path, an object that fits `protocols.Embedder`, a pair of callables
                (for queries, for documents), or None where the caller brings vectors.
            metric: `cosine` (the default), `dot` or `l2`. Pinned when the collection is made.
            norms: `unit` refuses batches with norms outside [0.98, 1.02]; `any` does not look; `auto` takes
                `unit` when the metric is dot and the first batch is of unit length. Pinned by the first batch.
            partition: a metadata field that every document has, such as a tenant. Ids are then unique within its
                value, and `scoped` gives a view of one. Pinned when the collection is made.
            transforms: what vectors pass before they are stored, and questions before they are searched: `Truncate`,
                `Pca`, `Center`, `Whiten`. Pinned when the collection is made, and fitted by the first batch unless
                they are already; none given takes what is pinned.
            index: `flat` is exact; `auto`, as None, leaves it as it is, and `info()` recommends another where that
                would pay; a name such as `hnsw` makes a new collection build that in the background once it is large
                enough. `reindex` builds one at once.
            create: whether to make the collection where there is none.
            read_only: never write; works on folders that cannot be written to.
            lock_timeout: seconds to wait for another writer.
            trust_index: load the approximate index even if this user has not built it on this machine and its library
                cannot check the file, as FAISS cannot: for folders of one's own that were built elsewhere. Without it
                such a collection is searched exactly, with a warning (see docs/safety.md).
            compact_at: the share of dead rows, left by documents that were replaced or deleted, beyond which the
                collection is compacted in the background (from 1,000 dead rows on); None leaves that to `compact()`.
            on_truncate: what to do about texts longer than the embedder reads: `warn`, `error` or `ignore`.
                `info()` counts them, and a search's `trace` tells.
            query_cache: how many queries' vectors to keep.
            on_drift: what to do about an embedder that does not give what it gave when the collection was built:
                `refuse` or `warn`. The same goes for queries of unusual length, where the metric is dot.
            canary: when to compare: on `open`; on `first_use`, for embedders that are slow or paid; or `off`.
            canary_noise: whether to measure, when the first documents are added, how much the embedder's vectors of the
                same text differ, in three further calls for questions and three for passages; False saves those of a
                paid service, and takes it that they hardly do. An embedder whose noise would change results is refused.
            expect: known answers, (query, document id, lowest similarity, highest) each. They are kept with the
                collection and asked whenever the embedder is compared; None leaves those that are kept.
            monitor: whether to watch searches for changes for the worse (see `quality.Monitor`, which may be given to
                say how); `kb.monitor` tells what was seen.
            relevance: how similarity is told as relevance, which boosts and thresholds act on: None takes the cosine,
                or 1 / (1 + distance); a number is the cosine of unrelated texts (`kb.audit().typical_cosine`), above
                which relevance begins; a function maps arrays of similarities to at most 1, as dot products need.
            versions: rules for what is current (`Latest`, `Valid`, `Superseded`), kept with the collection: each search
                follows them, unless it is given others. None takes those that are kept; `keep_versions` changes them.

        Raises:
            InputError: `location` is no path that can be opened.
            EmbedderDriftError: the embedder has changed, or known answers do not hold.
            ManifestError: the folder holds something else, half a collection, or one of a newer version; or
                nothing, and none is to be made.
            MetricMismatchError, ConfigError: an argument contradicts what the collection is pinned to.
            MissingExtraError: the embedder's package is not installed.
            CorruptionError: stored data is damaged. Nothing is changed.
            EngineError: the folder cannot be read or written.
        """
        if isinstance(location, str) and "://" in location:
            raise ConfigError(f"{location!r}: only folders can be opened in this version", location=location)
        folder = None if location is None else as_folder(location)
        check_policy(on_truncate)
        check_watch(on_drift, canary)
        settings = CollectionSettings(metric, norms, partition, transforms, index=index)
        if folder is not None and embedder is not None:  # before a model is loaded, which takes seconds
            LocalEngine.check(folder, settings, create=create, lock_timeout=lock_timeout)
        found = resolve(embedder)
        engine = LocalEngine.open(
            folder,
            settings if found is None else replace(settings, embedder=name_of(embedder, found)),
            create=create,
            read_only=read_only,
            lock_timeout=lock_timeout,
            trust_index=trust_index,
            compact_at=compact_at,
        )
        try:
            watch = _monitor() if monitor is True else monitor or None
            kb = cls(
                engine,
                found,
                on_truncate=on_truncate,
                query_cache=query_cache,
                on_drift=on_drift,
                canary=canary,
                canary_noise=canary_noise,
                expect=expect,
                monitor=watch,
                relevance=relevance,
                versions=versions,
            )
            if watch is not None:  # last: what could not be opened is not watched
                watch.attach(engine, None if folder is None or read_only else folder / MONITOR)
            return kb
        except BaseException:
            engine.close()
            raise

    @property
    def embedder(self) -> Embedder | None:
        """What embeds texts here; None where the caller brings vectors."""
        return None if self._encoding is None else self._encoding.embedder

    def check_embedder(self) -> EmbedderCheck:
        """Compare the embedder with what it gave when the collection was built; for a health endpoint, say.

        Nothing is raised for what has changed: look at `ok`, `message()` and `to_dict()` of the result.

        Raises:
            ConfigError: there is no embedder.
        """
        self._check_whole("check_embedder()")
        self._encoder()
        return self._watch.check()

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
            EmbedderDriftError: the collection is empty, and the embedder's vectors of the same text differ too much.
            ConfigError: neither vectors nor an embedder.
            LockedError, EngineError: the store cannot be written.
        """
        batches, ids = self._batches(documents, vectors, batch_size), list[str]()
        for batch, given in batches:
            self._add(batch, given, len(ids), progress)
            ids += [document.id for document in batch]
        return ids

    async def aadd(
        self,
        documents: Iterable[DocumentLike],
        *,
        vectors: Any = None,
        batch_size: int | None = 1024,
        progress: Progress | None = None,
    ) -> list[str]:
        """`add`, awaited: on a thread of a pool that the process shares.

        An embedder that can be awaited is, batch by batch, and what is cancelled ends with the batch it is at.
        """
        if vectors is not None or not self._awaits("document"):
            return await in_thread(self.add, documents, vectors=vectors, batch_size=batch_size, progress=progress)
        batches, ids = self._batches(documents, None, batch_size), list[str]()
        while (taken := await in_thread(next, batches, None)) is not None:
            batch, _ = taken
            texts = [document.text for document in batch if isinstance(document.text, str) and document.text.strip()]
            async with self._embedded("document", texts if len(texts) == len(batch) else []):
                await in_thread(self._add, batch, None, len(ids), progress)
            ids += [document.id for document in batch]
        return ids

    def _batches(
        self, documents: Iterable[DocumentLike], vectors: Any, batch_size: int | None
    ) -> Iterator[tuple[list[Document], Any]]:
        """What `add` was given, batch by batch, with the vectors if there are any. Raises what `add` does of it."""
        self._check_writable()
        if isinstance(documents, (str, bytes, Mapping, Document)):
            raise DocumentError(f"add takes an iterable of documents, not one {type(documents).__name__}")
        if batch_size is not None and batch_size < 1:
            raise InputError(f"batch_size is {batch_size}; it must be at least 1, or None for one commit")
        if vectors is None:
            self._encoder()
        else:
            check_lengths(documents, as_vectors(vectors, "vectors"))
        source, take = iter(documents), taker(vectors)
        count = 0
        while batch := [
            as_document(item, count + i, self._place) for i, item in enumerate(itertools.islice(source, batch_size))
        ]:
            yield batch, take(len(batch))
            count += len(batch)
        if vectors is not None and len(take(1)):
            raise DocumentError(
                f"there are more vectors than the {count} documents; those documents are stored",
                count=count,
            )

    def clear(self) -> None:
        """Delete all documents. Metric, dimension and norms stay pinned."""
        super().clear()
        if self._scope is None:
            self._norms.forget()  # other documents may be of another model

    def keep_versions(self, versions: Rule | Iterable[Rule]) -> None:
        """Make these the collection's rules for what is current, for all who open it from now on; none for no rules.

        Raises:
            ConfigError: they are no rules. LockedError, EngineError: the store cannot be written.
        """
        self._check_whole("keep_versions()")
        self._rules = keep(self._engine, versions)

    def scoped(self, where: Where = None, /, **fields: Any) -> Self:
        """A view of a part of the collection: what is outside it is, for the view, not there.

        A scope of exactly one partition, `kb.scoped(tenant="acme")` where the collection was made with
        `partition="tenant"`, can be written to: `add` fills the field in, and ids are its own. Any other scope is
        read-only. Scopes of scopes only narrow.

        Args:
            where: a filter;
            fields: and fields with their values, as in a filter.

        Raises:
            FilterError: no filter. InputError: nothing that would narrow the view.
        """
        view = copy(self)
        view._scope, view._writable = narrowed(self._scope, self._engine.partition, where, fields)
        view._writable &= self._writable
        return view

    def _place(self, document: Document) -> Document:
        """The document, in the partition of the scope."""
        field, scope = self._engine.partition, self._scope
        return document if field is None or scope is None else placed(document, field, scope.partition)

    def _add(self, batch: list[Document], vectors: Any, offset: int, progress: Progress | None) -> None:
        ids = [document.id for document in batch]
        truncated: set[int] = set()
        embed = vectors is None
        if embed:
            self._watch.ready(adding=True)
            vectors, truncated = self._encoder().documents(batch, progress)
        elif len(vectors) != len(batch):
            raise DocumentError(
                f"there are {offset + len(vectors)} vectors for more documents; the first without one is "
                f"{ids[len(vectors)]!r}. Nothing of this batch is stored",
                ids=ids[len(vectors) :],
            )
        prepared = store(self._engine, batch, vectors, truncated, self._scope)
        if embed:
            self._watch.added(batch, prepared)
        if progress is not None and not embed:
            progress(len(batch))


def _monitor() -> "Monitor":
    from theodolite.monitoring.monitor import Monitor

    return Monitor()
