"""Retriever: the one class most users touch. Documents and queries in, ranked passages out."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import fields, replace
from functools import partial
from inspect import signature
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, cast, overload

import numpy as np
from numpy.typing import NDArray

from theodolite.async_pool import in_thread
from theodolite.embedders.encoder import Awaited, Encoder, Progress
from theodolite.embedders.options import RECORDED, EmbedderLike, EmbedderOptions, Recorded, as_options
from theodolite.embedders.resolve import resolve
from theodolite.embedders.spec import spec_of
from theodolite.engines.missing import MissingCollection
from theodolite.engines.refusals import read_only
from theodolite.engines.registry import engine_for
from theodolite.errors import (
    DocumentError,
    EngineError,
    InputError,
    MetadataWarning,
    UnsupportedError,
    closest,
    type_of,
    warn_caller,
)
from theodolite.filters import Where, parse
from theodolite.inputs import (
    DocumentLike,
    as_count,
    as_document,
    as_folder,
    as_ids,
    as_k,
    as_threshold,
    as_vectors,
    check_lengths,
    taker,
)
from theodolite.maintenance_reports import Compaction, Verification
from theodolite.protocols import (
    Boost,
    Duplicates,
    Embedder,
    EmbedsTexts,
    Engine,
    Fusion,
    Indexing,
    Maintenance,
    Notes,
    RerankerLike,
    Scope,
    folder_of,
    require,
)
from theodolite.ranking.diversity import MMR
from theodolite.ranking.options import Accept, SearchOptions
from theodolite.ranking.relevance import Relevance, RelevanceLike
from theodolite.ranking.versions import Rule, SupersededPolicy, write_rules
from theodolite.scopes import misspelled_partition, narrowed, placed, read_only_scope
from theodolite.searcher import Searcher
from theodolite.session import Session
from theodolite.settings import DEFAULT_BM25, CollectionSettings
from theodolite.types import (
    Document,
    Duplicate,
    Field,
    Hits,
    Instant,
    Mode,
    Norms,
    Transform,
    VectorLike,
    VectorsLike,
)
from theodolite.vectors.metrics import MetricName
from theodolite.vectors.prepare import prepare
from theodolite.write_vectors import store
from theodolite.wrong_calls import explain_wrong_calls

if TYPE_CHECKING:  # imported by the few programs that use them
    from theodolite.auditing.findings import Audit
    from theodolite.copying import Copy
    from theodolite.evaluation.calibration import Calibration
    from theodolite.evaluation.judged_questions import JudgedQuestions
    from theodolite.evaluation.judgments import JudgmentsLike
    from theodolite.evaluation.questions import QuestionsLike
    from theodolite.evaluation.recall import Recall
    from theodolite.evaluation.result import Evaluation
    from theodolite.evaluation.synthetic import MakeQuestions
    from theodolite.evaluation.why_not import WhyNot
    from theodolite.guards.drift import EmbedderCheck
    from theodolite.monitoring.monitor import Monitor
    from theodolite.reporting.report import Report
    from theodolite.rerankers.stage import Rerank

_CONSTRUCTOR = (
    "Retriever(engine) wraps an engine that is open already. Open a collection with Retriever.open('kb', embedder=...)"
)


@explain_wrong_calls(_CONSTRUCTOR)
class Retriever:
    """A collection of documents that can be searched. Open one with `Retriever.open`.

    It is a context manager (`with`, `async with`) and may be shared by threads. Several processes may open the same
    folder: one writes at a time, readers never wait.

    Async programs use `asearch`, `aadd` and the like: each takes the arguments of the method without the `a`, and
    returns and raises the same. They run on a pool of threads that the process shares, so an event loop never waits;
    an embedder that can be awaited is awaited first. Cancelling drops a call that has not started. One that has started
    runs to its end, so a write is stored whole or not at all.
    """

    def __init__(
        self,
        engine: Engine,
        embedder: EmbedderLike | EmbedderOptions | Recorded | None = RECORDED,
        *,
        versions: Rule | Iterable[Rule] | None = None,
        relevance: RelevanceLike = None,
        monitor: "Monitor | None" = None,
    ) -> None:
        """Wrap an engine that is open already. See `open` for the arguments."""
        if not hasattr(engine, "space"):  # usually a path, or an embedder
            raise TypeError(_CONSTRUCTOR)
        options = _resolved(as_options(embedder))
        self._session = Session(engine, options, versions=versions, relevance=relevance, monitor=monitor)
        self._scope: Scope | None = None
        self._writable = True

    @classmethod
    def open(
        cls,
        location: str | PathLike[str] | None = None,
        *,
        embedder: EmbedderLike | EmbedderOptions | Recorded | None = RECORDED,
        metric: MetricName | None = None,
        norms: Norms = "auto",
        partition: str | None = None,
        transforms: Sequence[Transform] = (),
        index: str | None = None,
        k1: float | None = None,
        b: float | None = None,
        create: bool | None = None,
        read_only: bool = False,
        versions: Rule | Iterable[Rule] | None = None,
        relevance: RelevanceLike = None,
        monitor: "bool | Monitor" = False,
        **engine: Any,
    ) -> Self:
        """Open the collection in a folder; or a new one, which the first `add` creates.

        Args:
            location: a folder, or a URL whose scheme names the engine (`file://` is a folder, too); None keeps the
                collection in a temporary folder until it is closed.
            embedder: a model's name or folder, an object that fits `protocols.Embedder`, a function from texts to
                vectors, a pair of functions (for queries, for documents), or None if you bring vectors;
                `EmbedderOptions(...)` for an embedder with options. Default: the embedder that the collection records.
                It is made, and compared with the collection, when a text is first searched or added; nothing else loads
                it. Only names are recorded, so an object of your own must be passed each time.
            metric: `cosine` (the default), `dot` or `l2`. Pinned when the collection is created.
            norms: `unit` refuses batches with norms outside [0.98, 1.02]; `any` accepts all norms; `auto` becomes
                `unit` if the metric is dot and the first batch is of unit length. Pinned by the first batch.
            partition: a metadata field that every document has, such as a tenant. Ids are then unique within each of
                its values, and `scoped` returns a view of one. Pinned when the collection is created.
            transforms: applied to vectors before they are stored, and to queries: `Truncate`, `Pca`, `Center`,
                `Whiten`. Pinned when the collection is created, and fitted by the first batch unless they are already.
                Without any, the pinned ones are used.
            index: `flat` for exact search; `auto` or None leaves the index as it is, and `info()` recommends another
                one if it would pay off; a name such as `hnsw` makes a new collection build that index in the background
                once it is large enough. `reindex` builds one at once.
            k1, b: the settings of BM25 for keyword search: how much repeating a word counts (default 1.2), and how much
                the length of a document (0.75). Pinned when the collection is created.
            create: None waits for the first `add` to create a collection that does not exist: until then nothing is
                found, with a warning and a note in `hits.trace`. True creates it at once; False raises an error.
            read_only: never write; works on folders that cannot be written to. The collection must exist.
            versions: version rules (`Latest`, `Valid`, `Superseded`). They are stored with the collection,
                and each search follows them unless it is given others. None uses the stored ones; `keep_versions`
                changes them.
            relevance: how similarity becomes relevance, which boosts and thresholds act on. None: the cosine, or
                1 / (1 + distance). A number: the cosine of unrelated texts (`kb.audit().typical_cosine`), where
                relevance starts. A function: maps arrays of similarities to at most 1, as dot products need.
            monitor: watch searches and alert when they get worse: True, or a `Monitor` with other settings.
                `kb.monitor` returns its reports.
            engine: options of the engine. A folder has `lock_timeout` (5.0): seconds to wait for another writer;
                `trust_index` (False): load an approximate index that this user did not build on this machine, even if
                its library cannot check the file (see docs/safety.md); `compact_at` (1/3): compact in the background
                when this share of the rows is dead, from 1,000 dead rows on; None leaves that to `compact()`.

        Raises:
            InputError: `location` is not a path that can be opened.
            EmbedderDriftError: the embedder has changed, or known answers do not hold.
            CollectionNotFoundError: there is no collection, and `create` is False or `read_only` is set.
            ManifestError: the folder holds something else, half a collection, or a collection of a newer version.
            MetricMismatchError, ConfigError: an argument contradicts the collection's pinned settings.
            MissingExtraError: the embedder's package is not installed.
            CorruptionError: stored data is damaged. Nothing is changed.
            EngineError: the folder cannot be read or written.
            TypeError: an unknown option.
        """
        opener = engine_for(location, engine)
        _check_engine_options(engine, opener.declared)
        options = as_options(embedder)
        settings = CollectionSettings(metric, norms, partition, transforms, index=index, k1=k1, b=b)
        if options.is_given:  # before a model is loaded, which takes seconds
            opener.check(settings, create=create is not False)
        given, options = options.embedder, _resolved(options)
        if options.is_given:
            settings = replace(settings, embedder=spec_of(given, cast("Embedder", options.embedder)))
        opened = opener.open(settings, create=create, read_only=read_only)
        try:
            kb = cls.__new__(cls)
            kb._session = Session(
                opened,
                options,
                versions=versions,
                relevance=relevance,
                monitor=_monitor() if monitor is True else monitor or None,
                later=opener.later(settings) if isinstance(opened, MissingCollection) else None,
            )
            kb._scope, kb._writable = None, True
            return kb
        except BaseException:
            opened.close()
            raise

    @property
    def _engine(self) -> Engine:
        return self._session.parts.engine

    @property
    def _searcher(self) -> Searcher:
        return self._session.parts.searcher

    @property
    def location(self) -> Path | None:
        """The collection's folder; None if it is temporary."""
        self._engine.info()  # raises if it is closed
        return folder_of(self._engine)

    @property
    def metric(self) -> MetricName:
        """The metric of similarity: cosine, dot or l2."""
        return self._engine.space.metric

    @property
    def relevance(self) -> Relevance | None:
        """The function from similarities, (n,), to relevance; None for dot products without `relevance=`."""
        return self._searcher.relevance

    @property
    def dimension(self) -> int | None:
        """The length of the vectors that `add` and `search` take; None before the first."""
        return self._engine.space.raw_dimension

    @property
    def partition(self) -> str | int | None:
        """The partition that this scope is confined to, as a value of the field; None if it is not."""
        return None if self._scope is None else self._scope.partition

    @property
    def writable(self) -> bool:
        """Whether documents can be added and deleted. Not if opened read-only, and not in most scopes."""
        return self._writable and not self._engine.info().get("read_only", False)

    @property
    def embedder(self) -> Embedder | None:
        """The embedder; None if the caller brings vectors, or none is recorded. Loads a recorded one."""
        texts = self._session.parts.texts
        return texts.encoder.embedder if texts.is_made or texts.spec is not None else None

    @property
    def monitor(self) -> "Monitor | None":
        """The monitor, if there is one. It reports all searches, so scopes have none."""
        self._check_whole("monitor")
        return self._session.monitor

    # ----- add

    def add(
        self,
        documents: Iterable[DocumentLike],
        *,
        vectors: VectorsLike | None = None,
        batch_size: int | None = 1024,
        progress: Progress | None = None,
    ) -> list[str]:
        """Store documents; a document with a stored id replaces it. Each batch is one durable, atomic commit.

        Args:
            documents: any iterable, read batch by batch. A document without an id gets one from its text and metadata,
                so adding it again replaces it.
            vectors: (n, d) or an iterable of n vectors, one for each document; None to embed the texts.
            batch_size: documents per commit; None makes the whole call one commit.
            progress: called with the number of documents embedded since the last call (or stored, if vectors are
                given).

        Returns:
            The documents' ids, in their order.

        Raises:
            DocumentError: empty text to embed, or a document that cannot be stored. Earlier batches stay stored;
                nothing of this batch is.
            VectorError: vectors that do not fit, or more or fewer than documents.
            EmbedderDriftError: the collection is empty, and the embedder's vectors of one text differ too much.
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
        vectors: VectorsLike | None = None,
        batch_size: int | None = 1024,
        progress: Progress | None = None,
    ) -> list[str]:
        """`add`, awaited. Cancelling stops after the batch that is being stored."""
        encoder = None if vectors is not None else await (await self._session.aparts()).texts.aencoder()
        if encoder is None or not encoder.awaits("document"):
            return await in_thread(self.add, documents, vectors=vectors, batch_size=batch_size, progress=progress)
        batches, ids = self._batches(documents, None, batch_size), list[str]()
        while (taken := await in_thread(next, batches, None)) is not None:
            batch, _ = taken
            texts = [document.text for document in batch if isinstance(document.text, str) and document.text.strip()]
            awaited = await encoder.adocuments(texts) if len(texts) == len(batch) else None  # else _add refuses
            await in_thread(self._add, batch, None, len(ids), progress, awaited)
            ids += [document.id for document in batch]
        return ids

    def update(self, ids: str | Iterable[str], metadata: Mapping[str, Any], *, replace: bool = False) -> None:
        """Merge `metadata` into the documents' own, or replace it, in one commit. Nothing is embedded again.

        Raises:
            DocumentError: ids that are not stored, or metadata that cannot be; nothing is updated.
        """
        self._check_writable()
        field = self._engine.partition
        if replace and field is not None and self._scope is not None and isinstance(metadata, Mapping):
            metadata = {field: self._scope.partition, **metadata}
        self._engine.update(dict.fromkeys(as_ids(ids), metadata), replace=replace, scope=self._scope)

    async def aupdate(self, ids: str | Iterable[str], metadata: Mapping[str, Any], *, replace: bool = False) -> None:
        """`update`, awaited."""
        await in_thread(self.update, ids, metadata, replace=replace)

    def delete(self, ids: str | Iterable[str] | None = None, *, where: Where = None) -> int:
        """Delete documents by id (unknown ids are fine), or those that pass a filter, in one commit.

        Returns:
            How many documents were deleted.

        Raises:
            InputError: neither or both are given, or a filter that every document passes: use `clear`.
        """
        self._check_writable()
        if (ids is None) == (where is None):
            raise InputError("delete takes either ids or a filter (where)")
        if ids is not None:
            return self._engine.delete(as_ids(ids), scope=self._scope)
        tree = parse(where)
        if tree is None:
            raise InputError("every document passes the filter; use clear() to delete all")
        return self._engine.delete(tree, scope=self._scope)

    async def adelete(self, ids: str | Iterable[str] | None = None, *, where: Where = None) -> int:
        """`delete`, awaited."""
        return await in_thread(self.delete, ids, where=where)

    def clear(self) -> None:
        """Delete all documents. Metric, dimension and norms stay pinned."""
        self._check_writable()
        self._engine.clear(scope=self._scope)
        if self._scope is None:
            self._session.parts.norms.reset()  # the next documents may be of another model

    async def aclear(self) -> None:
        """`clear`, awaited."""
        await in_thread(self.clear)

    def keep_versions(self, versions: Rule | Iterable[Rule]) -> None:
        """Store version rules with the collection, for every program that opens it; an empty list for none.

        Raises:
            ConfigError: not rules for versions. LockedError, EngineError: the store cannot be written.
        """
        self._check_whole("keep_versions()")
        parts = self._session.create()
        parts.searcher.rules = write_rules(parts.engine, versions)

    # ----- search

    def search(
        self,
        query: str | None = None,
        *,
        vector: VectorLike | None = None,
        like: str | Iterable[str] | None = None,
        k: int | None = None,
        where: Where = None,
        mode: Mode | Fusion = "dense",
        boosts: Boost | Iterable[Boost] = (),
        versions: Rule | Iterable[Rule] | None = None,
        as_of: Instant | None = None,
        superseded: SupersededPolicy = "hide",
        min_relevance: float | None = None,
        rerank: "RerankerLike | Rerank | None" = None,
        diversity: float | MMR | None = None,
        dedupe: float | None = None,
        accept: Accept | None = None,
        coverage: float | None = None,
    ) -> Hits:
        """Return the k best passages for a query, best first. By default: exactly the nearest ones.

        The stages act in this order: scope, versions, filter, boosts (within each arm), fusion, `min_relevance`,
        reranking (boosts also act on its score), near-duplicates, diversity. `SearchOptions` describes each option in
        full.

        Args:
            query: the text to search for.
            vector: one vector, (d,), instead of a text; or beside it, if words or a reranker need the text.
            like: ids of stored documents: search near the mean of their vectors, without finding these documents.
            k: the number of hits. Default: 10.
            where: a filter on metadata.
            mode: `dense` (by similarity), `lexical` (by words, BM25), `hybrid` (both, fused by rank), or `Fusion(...)`
                for hybrid with other weights.
            boosts: bounded factors on relevance, such as `Freshness` and `Authority`.
            versions: version rules to use instead of the collection's own; an empty list for none.
            as_of: the present, for versions and boosts. Default: now.
            superseded: documents that are no longer current: `hide` them, `show` them marked, or `substitute`
                successors that fail the filter for documents that pass it.
            min_relevance: leave out passages of lower relevance, before boosts; in dense mode.
            rerank: a reranker, its name, or `Rerank(...)` with options.
            diversity: from 0 to 1: how much similarity to earlier hits counts against a hit; or `MMR(...)`.
            dedupe: a cosine, such as 0.97: of hits at least this similar, only the best stays; it lists the others.
            accept: a function of documents, for conditions that no filter can express.
            coverage: instead of k: as many hits as it takes that a relevant passage is in the list for this share of
                answerable questions. Needs `calibrate`.

        Raises:
            InputError: none or several of query, vector and like; an empty query; ids in `like` that are not stored;
                an option out of range.
            ConfigError: options that contradict each other, or would do nothing; a coverage that cannot be promised.
            VectorError, FilterError: the vector or the filter is invalid.
        """
        options = SearchOptions(
            k=k,
            where=where,
            mode=mode,
            boosts=boosts,
            versions=versions,
            as_of=as_of,
            superseded=superseded,
            min_relevance=min_relevance,
            rerank=rerank,
            diversity=diversity,
            dedupe=dedupe,
            accept=accept,
            coverage=coverage,
        )
        prepared = self._searcher.prepare_one(options, query, vector, like, self._scope)
        return self._searcher.run(options, prepared)[0]

    async def asearch(
        self,
        query: str | None = None,
        *,
        vector: VectorLike | None = None,
        like: str | Iterable[str] | None = None,
        k: int | None = None,
        where: Where = None,
        mode: Mode | Fusion = "dense",
        boosts: Boost | Iterable[Boost] = (),
        versions: Rule | Iterable[Rule] | None = None,
        as_of: Instant | None = None,
        superseded: SupersededPolicy = "hide",
        min_relevance: float | None = None,
        rerank: "RerankerLike | Rerank | None" = None,
        diversity: float | MMR | None = None,
        dedupe: float | None = None,
        accept: Accept | None = None,
        coverage: float | None = None,
    ) -> Hits:
        """`search`, awaited."""
        options = await _make_options(
            k=k,
            where=where,
            mode=mode,
            boosts=boosts,
            versions=versions,
            as_of=as_of,
            superseded=superseded,
            min_relevance=min_relevance,
            rerank=rerank,
            diversity=diversity,
            dedupe=dedupe,
            accept=accept,
            coverage=coverage,
        )
        return await self.asearch_with(options, query, vector=vector, like=like)

    def search_with(
        self,
        options: SearchOptions,
        query: str | None = None,
        *,
        vector: VectorLike | None = None,
        like: str | Iterable[str] | None = None,
    ) -> Hits:
        """Search with ready-made options, for programs that use the same ones again and again."""
        return self._search(_checked(options), query, vector, like)

    async def asearch_with(
        self,
        options: SearchOptions,
        query: str | None = None,
        *,
        vector: VectorLike | None = None,
        like: str | Iterable[str] | None = None,
    ) -> Hits:
        """`search_with`, awaited."""
        texts = None if query is None or vector is not None or like is not None else [query]
        parts = await self._session.aparts()
        awaited = await parts.searcher.await_queries(_checked(options), texts)
        return await in_thread(self._search, options, query, vector, like, awaited)

    def search_many(
        self,
        queries: Sequence[str] | None = None,
        *,
        vectors: VectorsLike | None = None,
        k: int | None = None,
        where: Where = None,
        mode: Mode | Fusion = "dense",
        boosts: Boost | Iterable[Boost] = (),
        versions: Rule | Iterable[Rule] | None = None,
        as_of: Instant | None = None,
        superseded: SupersededPolicy = "hide",
        min_relevance: float | None = None,
        rerank: "RerankerLike | Rerank | None" = None,
        diversity: float | MMR | None = None,
        dedupe: float | None = None,
        accept: Accept | None = None,
        coverage: float | None = None,
    ) -> list[Hits]:
        """Run one `search` for each of several queries, or of `vectors` (n, d), or both, in one pass over the index."""
        options = SearchOptions(
            k=k,
            where=where,
            mode=mode,
            boosts=boosts,
            versions=versions,
            as_of=as_of,
            superseded=superseded,
            min_relevance=min_relevance,
            rerank=rerank,
            diversity=diversity,
            dedupe=dedupe,
            accept=accept,
            coverage=coverage,
        )
        return self._search_many(options, queries, vectors)

    async def asearch_many(
        self,
        queries: Sequence[str] | None = None,
        *,
        vectors: VectorsLike | None = None,
        k: int | None = None,
        where: Where = None,
        mode: Mode | Fusion = "dense",
        boosts: Boost | Iterable[Boost] = (),
        versions: Rule | Iterable[Rule] | None = None,
        as_of: Instant | None = None,
        superseded: SupersededPolicy = "hide",
        min_relevance: float | None = None,
        rerank: "RerankerLike | Rerank | None" = None,
        diversity: float | MMR | None = None,
        dedupe: float | None = None,
        accept: Accept | None = None,
        coverage: float | None = None,
    ) -> list[Hits]:
        """`search_many`, awaited."""
        options = await _make_options(
            k=k,
            where=where,
            mode=mode,
            boosts=boosts,
            versions=versions,
            as_of=as_of,
            superseded=superseded,
            min_relevance=min_relevance,
            rerank=rerank,
            diversity=diversity,
            dedupe=dedupe,
            accept=accept,
            coverage=coverage,
        )
        return await self.asearch_many_with(options, queries, vectors=vectors)

    def search_many_with(
        self, options: SearchOptions, queries: Sequence[str] | None = None, *, vectors: VectorsLike | None = None
    ) -> list[Hits]:
        """Search for several queries with ready-made options."""
        return self._search_many(_checked(options), queries, vectors)

    async def asearch_many_with(
        self, options: SearchOptions, queries: Sequence[str] | None = None, *, vectors: VectorsLike | None = None
    ) -> list[Hits]:
        """`search_many_with`, awaited."""
        parts = await self._session.aparts()
        awaited = await parts.searcher.await_queries(_checked(options), None if vectors is not None else queries)
        return await in_thread(self._search_many, options, queries, vectors, awaited)

    def why_not(
        self,
        document_id: str,
        query: str | None = None,
        *,
        vector: VectorLike | None = None,
        like: str | Iterable[str] | None = None,
        options: SearchOptions | None = None,
    ) -> "WhyNot":
        """Search, and say why a document is not among the hits: the filter, a newer version, its rank, and so on.

        Args:
            document_id: the document that was expected.
            query, vector, like: the query, as for `search`.
            options: the options of the search. Default: those of `search` without arguments.

        Raises:
            InputError: the same as `search`; or ids that may name several documents, in a partitioned collection.
        """
        from theodolite.evaluation.lists import Collection  # imported by the few programs that ask
        from theodolite.evaluation.why_not import why_not

        collection = Collection(self._searcher, self._engine, self._scope)
        asked = SearchOptions() if options is None else _checked(options)
        return why_not(collection, document_id, asked, query, vector, like)

    def highlight(self, hits: Hits, query: str | None = None) -> Hits:
        """Return the hits with `highlights` by meaning: their sentences, ranked by the similarity of their vectors.

        By default `Hit.highlights` goes by words, which costs nothing until it is read. This embeds every sentence of
        the hits, so it takes about as long as adding them.

        Args:
            query: the text to compare with; None for the one that found the hits.

        Raises:
            InputError: the hits were found by a vector, and there is no query.
            ConfigError: there is no embedder.
        """
        return self._searcher.highlight(hits, query)

    async def ahighlight(self, hits: Hits, query: str | None = None) -> Hits:
        """`highlight`, awaited."""
        return await in_thread(self.highlight, hits, query)

    def scoped(self, where: Where = None, /, **fields: Any) -> Self:
        """Return a view of a part of the collection. For the view, nothing outside of it exists.

        A scope of exactly one partition, `kb.scoped(tenant="acme")` if the collection was created with
        `partition="tenant"`, can be written to: `add` fills in the field, and ids are its own. Any other scope is
        read-only. A scope of a scope is narrower.

        Args:
            where: a filter;
            fields: and fields with their values, as in a filter.

        Raises:
            FilterError: not a filter. InputError: nothing that would narrow the view.

        Warns (MetadataWarning) if the scope is empty and names a field that looks like the partition's, misspelled.
        """
        view = copy(self)
        view._scope, view._writable = narrowed(self._scope, self._engine.partition, where, fields)
        view._writable &= self._writable
        if (hint := misspelled_partition(view._scope, self._engine.partition)) and not view.count():
            warn_caller(f"The scope is empty{hint}", MetadataWarning)
        return view

    # ----- read

    @overload
    def get(self, ids: str | Iterable[str], *, vectors: Literal[False] = False) -> list[Document]: ...
    @overload
    def get(
        self, ids: str | Iterable[str], *, vectors: Literal[True]
    ) -> list[tuple[Document, NDArray[np.float32]]]: ...
    def get(
        self, ids: str | Iterable[str], *, vectors: bool = False
    ) -> list[Document] | list[tuple[Document, NDArray[np.float32]]]:
        """Return documents by id, in the order of the ids; ids that are not stored are skipped.

        Args:
            vectors: return pairs of a document and its vector, (d,) float32, as stored: normalized for cosine, and
                transformed. With transforms, do not pass it to `add` or `search` again.
        """
        found = self._engine.get(as_ids(ids), scope=self._scope)
        return found if vectors else [document for document, _ in found]

    @overload
    async def aget(self, ids: str | Iterable[str], *, vectors: Literal[False] = False) -> list[Document]: ...
    @overload
    async def aget(
        self, ids: str | Iterable[str], *, vectors: Literal[True]
    ) -> list[tuple[Document, NDArray[np.float32]]]: ...
    async def aget(
        self, ids: str | Iterable[str], *, vectors: bool = False
    ) -> list[Document] | list[tuple[Document, NDArray[np.float32]]]:
        """`get`, awaited."""
        return await in_thread(self.get, ids, vectors=vectors)

    def neighbors(self, document_id: str, size: int = 1) -> list[Document]:
        """Return a passage among those before and after it in its text, in their order; empty if it is not stored.

        Passages of one text have the same `path`, and a number in `chunk` or `position`. Others are placed by their
        ids: `guide.md`, `guide.md#2`, `guide.md#3`.

        Args:
            size: maximum passages on each side, up to 10,000.

        Raises:
            InputError: another size; or the collection is partitioned, so that an id may name several documents.
        """
        from theodolite.citing.around import read_around  # imported by the programs that read on

        (name,) = as_ids(document_id)
        if isinstance(size, bool) or not isinstance(size, int) or not 0 <= size <= 10_000:
            raise InputError(f"size is {size!r}; expected a whole number from 0 to 10,000")
        if self._engine.partition is not None and self.partition is None:
            raise InputError(
                f"the collection is partitioned by {self._engine.partition!r}, so an id may name several documents. "
                f"Read one partition: kb.scoped({self._engine.partition}=...)"
            )
        return read_around(self._engine, name, size, self._scope)

    async def aneighbors(self, document_id: str, size: int = 1) -> list[Document]:
        """`neighbors`, awaited."""
        return await in_thread(self.neighbors, document_id, size)

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
            limit: list at most this many.
            after: start after this id.
            vectors: return pairs of a document and its vector, (d,) float32, as stored: normalized for cosine, and
                transformed.
        """
        (begin,) = as_ids([after])
        listed = self._engine.documents(parse(where), after=begin, limit=limit, scope=self._scope)
        return listed if vectors else (document for document, _ in listed)

    def count(self, where: Where = None) -> int:
        """Count the documents, or those that pass a filter."""
        return self._engine.count(parse(where), scope=self._scope)

    async def acount(self, where: Where = None) -> int:
        """`count`, awaited."""
        return await in_thread(self.count, where)

    def fields(self, where: Where = None, *, values: int = 20) -> dict[str, Field]:
        """Summarize each metadata field, by name: how many documents have it, kinds of values, values, ranges.

        For a form or a tool that filters, and for facets: with a filter, only the documents that pass it count. A scope
        summarizes its own documents only. Fields within mappings have dotted names, as in filters; names of more than
        four parts are left out. The first call reads all metadata, which takes seconds for a million documents with
        some fields; later calls read only changes.

        Args:
            where: a filter.
            values: list the values of fields with at most this many different ones, and how many documents have each.

        Raises:
            InputError: `values` is negative. FilterError.
        """
        return self._engine.fields(parse(where), values=as_count(values, "values"), scope=self._scope)

    async def afields(self, where: Where = None, *, values: int = 20) -> dict[str, Field]:
        """`fields`, awaited."""
        return await in_thread(self.fields, where, values=values)

    def duplicates(
        self,
        threshold: float = 0.92,
        *,
        where: Where = None,
        progress: Callable[[int], object] | None = None,
    ) -> Iterator[Duplicate]:
        """Find near-duplicates: every pair of documents with a cosine of at least `threshold`, lazily.

        No pair is missed and none comes twice, for every metric; the cosine is exact. n equal documents make
        n·(n - 1)/2 pairs: stop when you have enough. 100,000 documents of 384 dimensions take about ten seconds
        on two cores, ten times as many a hundred times as long.

        The pairs are of the commit at which the first one is asked for. Documents that are deleted or replaced
        meanwhile are left out, except for some hundred pairs that have been read ahead. Pairs among the 4,096 oldest
        documents come first, then those with one of the next 4,096, and so on. Outside of scopes, documents of
        different partitions are paired, too.

        Args:
            threshold: above 0, at most 1. The cosine of two versions of one text depends on the model: look at a few.
            where: a filter, for both documents.
            progress: called with the number of pairs compared since the last call: n·(n - 1)/2 for n documents.

        Raises:
            InputError: a threshold out of range. FilterError.
            CorruptionError: stored vectors are damaged.
        """
        limit = as_threshold(threshold)
        engine = require(self._engine, Duplicates, "duplicates()")
        return engine.duplicates(limit, parse(where), scope=self._scope, progress=progress)

    def info(self) -> dict[str, Any]:
        """Return documents, dimension, metric, sizes and the like, as JSON values; in a scope only its own."""
        space, bm25 = self._engine.space, getattr(self._engine, "bm25", DEFAULT_BM25)
        pinned = {
            "metric": space.metric,
            "dimension": space.dimension,
            "norms": space.norms,
            "transforms": [repr(transform.spec) for transform in space.transforms],
            "raw_dimension": space.raw_dimension,
            "partition": self._engine.partition,
            "embedder": None,
            "k1": bm25.k1,
            "b": bm25.b,
        }
        own = self._engine.info()
        info = {**own, **{name: value for name, value in pinned.items() if name not in own}}
        if calibrations := self._searcher.verdicts.listed(self._scope):
            info["calibrations"] = calibrations
        if self._scope is None:
            return info
        shared = (
            *("metric", "dimension", "norms", "transforms", "raw_dimension", "embedder", "index", "k1", "b"),
            "calibrations",
        )
        return {"documents": self.count(), **{name: info[name] for name in shared if name in info}}

    # ----- maintain

    def check_embedder(self) -> "EmbedderCheck":
        """Compare the embedder with the vectors the collection was built with; for a health endpoint, for example.

        A change raises nothing: look at `ok`, `message()` and `to_dict()` of the result.

        Raises:
            ConfigError: there is no embedder.
        """
        self._check_whole("check_embedder()")
        return self._session.parts.texts.guard.check()

    def reindex(
        self,
        index: str,
        *,
        target_recall: float = 0.99,
        queries: Sequence[str] | VectorsLike | None = None,
        progress: Callable[[int], object] | None = None,
    ) -> None:
        """Build an approximate index beside the exact one and use it; or return to exact search with `flat`.

        Searches continue meanwhile. The index is rebuilt in the background when 15 % of its rows are new or deleted. If
        a build of `hnsw` or `faiss` is interrupted, the next call resumes it; `symqg` starts again.

        Args:
            index: `auto` (the recommended one that is installed), `symqg`, `hnsw`, `hnsw:M=32,ef_construction=400`, or
                `faiss:` and a factory string.
            target_recall: the recall@10 that the effort of each search is tuned for, by measuring.
            queries: texts or vectors (n, d) to measure with: some hundred real ones, if you have them.
            progress: called with the number of rows built since the last call.

        Raises:
            ConfigError, MissingExtraError, LockedError: the index cannot be built, needs a package, or is being built.
            EngineError: the memory or the disk is too small for it.
        """
        self._check_whole("reindex()")
        engine = require(self._session.create().engine, Indexing, "reindex()")
        if not 0 < target_recall <= 1:
            raise InputError(f"target_recall is {target_recall!r}; it must be above 0 and at most 1")
        # Queries must not fix the dimension: documents do.
        known = queries is not None and self._engine.space.dimension is not None
        prepared = self._searcher.as_vectors(queries) if queries is not None and known else None
        engine.reindex(index, target_recall=target_recall, queries=prepared, progress=progress)

    def evaluate(
        self,
        questions: "QuestionsLike",
        judgments: "JudgmentsLike",
        *,
        k: int | Sequence[int] = 10,
        by: str | None = None,
        vectors: VectorsLike | Mapping[str, VectorLike] | None = None,
        where: Where = None,
        mode: Mode | Fusion = "dense",
        boosts: Boost | Iterable[Boost] = (),
        versions: Rule | Iterable[Rule] | None = None,
        as_of: Instant | None = None,
        superseded: SupersededPolicy = "hide",
        min_relevance: float | None = None,
        rerank: "RerankerLike | Rerank | None" = None,
        diversity: float | MMR | None = None,
        dedupe: float | None = None,
        accept: Accept | None = None,
        index: bool = True,
        progress: Callable[[int], object] | None = None,
    ) -> "Evaluation":
        """Measure the quality of searches with judged questions: nDCG, MRR, MAP, recall, precision and success at k.

        Questions without a relevant document are left out and counted; those that find nothing count 0. Nothing that
        is measured counts as a search of a user.

        Args:
            questions: texts by id, or vectors by id; or a file: JSON Lines with `id` (or `_id`) and `text`, lines of an
                id and a text separated by a tab, or topics of TREC.
            judgments: grades by question and document, whole numbers; above 0 is relevant. Or a file: TREC's four
                columns, or BEIR's three.
            k: the length of the lists, or several.
            by: a metadata field that judgments name, such as "path", instead of ids of documents. A file then ranks
                where its best passage does.
            vectors: the questions' vectors, in their order (n, d) or by id, so that nothing is embedded.
            index: measure the recall of the index against exact search, and latencies, with up to 200 of the questions.
                Not in a scope, and not in lexical mode.
            progress: called with the number of questions done since the last call.

        The other arguments are those of `search`.

        Raises:
            InputError: questions or judgments that cannot be read, do not belong together, or have no relevant
                document; a field that no document has.
            MissingExtraError: ir-measures is not installed: the extra `evaluate`.

        Warns (JudgmentWarning) about judged documents that are not in the collection: relevant ones count as missed.
        """
        options = SearchOptions(
            where=where,
            mode=mode,
            boosts=boosts,
            versions=versions,
            as_of=as_of,
            superseded=superseded,
            min_relevance=min_relevance,
            rerank=rerank,
            diversity=diversity,
            dedupe=dedupe,
            accept=accept,
        )
        return self.evaluate_with(
            options, questions, judgments, k=k, by=by, vectors=vectors, index=index, progress=progress
        )

    def evaluate_with(
        self,
        options: SearchOptions,
        questions: "QuestionsLike",
        judgments: "JudgmentsLike",
        *,
        k: int | Sequence[int] = 10,
        by: str | None = None,
        vectors: VectorsLike | Mapping[str, VectorLike] | None = None,
        index: bool = True,
        progress: Callable[[int], object] | None = None,
    ) -> "Evaluation":
        """`evaluate`, with ready-made options; `k` says how long the lists are, not the options."""
        from theodolite.evaluation.evaluate import Collection, evaluate  # imported by the few programs that evaluate
        from theodolite.evaluation.judgments import as_judgments
        from theodolite.evaluation.questions import as_questions

        lengths = sorted({as_k(length) for length in (k if isinstance(k, Iterable) else (k,))})
        if not lengths:
            raise InputError("k is empty; name a length of list to measure, such as 10")
        return evaluate(
            Collection(self._searcher, self._engine, self._scope),
            as_questions(questions, vectors),
            as_judgments(judgments),
            _checked(options),
            lengths,
            by=by,
            index=index,
            progress=progress,
        )

    def calibrate(
        self,
        questions: "QuestionsLike",
        judgments: "JudgmentsLike",
        unanswerable: "QuestionsLike | None" = None,
        *,
        by: str | None = None,
        max_hits: int = 100,
        unanswerable_share: float = 0.5,
        vectors: VectorsLike | Mapping[str, VectorLike] | None = None,
        where: Where = None,
        mode: Mode | Fusion = "dense",
        boosts: Boost | Iterable[Boost] = (),
        versions: Rule | Iterable[Rule] | None = None,
        as_of: Instant | None = None,
        superseded: SupersededPolicy = "hide",
        min_relevance: float | None = None,
        rerank: "RerankerLike | Rerank | None" = None,
        progress: Callable[[int], object] | None = None,
    ) -> "Calibration":
        """Learn from judged questions what scores say about answers, for `hits.verdict` and `search(coverage=...)`.

        The result is stored with the collection, for every program that opens it. It is for searches with the same
        options and scope, and replaces an earlier one for these. It is withdrawn once more than 20 % of the documents
        have changed, the embedder is another one, or the monitor finds a drift. It is made with exact searches, and
        those with `coverage` are exact, so an approximate index changes nothing about it.

        Args:
            questions: texts by id, vectors by id, or a file, as for `evaluate`; some hundred real ones.
            judgments: grades by question and document, or a file, as for `evaluate`.
            unanswerable: questions that the collection does not answer, such as those of another one. The calibration
                questions without their relevant documents count as unanswerable in any case.
            by: a metadata field that judgments name, such as "path", instead of ids of documents.
            max_hits: the length of list in which a relevant passage must be; longer lists count as without one.
            unanswerable_share: the share of questions without an answer to assume for probabilities.
            vectors: the questions' vectors, in their order (n, d) or by id.
            progress: called with the number of questions done since the last call.

        The other arguments are those of `search`.

        Raises:
            InputError: questions or judgments that cannot be read or do not belong together; fewer than five questions
                with a relevant document in the collection.
            ConfigError: options that contradict each other.
            EngineError: the collection is opened read-only. UnsupportedError: the engine cannot store notes.
        """
        options = SearchOptions(
            where=where,
            mode=mode,
            boosts=boosts,
            versions=versions,
            as_of=as_of,
            superseded=superseded,
            min_relevance=min_relevance,
            rerank=rerank,
        )
        return self.calibrate_with(
            options,
            questions,
            judgments,
            unanswerable,
            by=by,
            max_hits=max_hits,
            unanswerable_share=unanswerable_share,
            vectors=vectors,
            progress=progress,
        )

    async def acalibrate(
        self,
        questions: "QuestionsLike",
        judgments: "JudgmentsLike",
        unanswerable: "QuestionsLike | None" = None,
        *,
        by: str | None = None,
        max_hits: int = 100,
        unanswerable_share: float = 0.5,
        vectors: VectorsLike | Mapping[str, VectorLike] | None = None,
        where: Where = None,
        mode: Mode | Fusion = "dense",
        boosts: Boost | Iterable[Boost] = (),
        versions: Rule | Iterable[Rule] | None = None,
        as_of: Instant | None = None,
        superseded: SupersededPolicy = "hide",
        min_relevance: float | None = None,
        rerank: "RerankerLike | Rerank | None" = None,
        progress: Callable[[int], object] | None = None,
    ) -> "Calibration":
        """`calibrate`, awaited."""
        return await in_thread(
            self.calibrate,
            questions,
            judgments,
            unanswerable,
            by=by,
            max_hits=max_hits,
            unanswerable_share=unanswerable_share,
            vectors=vectors,
            where=where,
            mode=mode,
            boosts=boosts,
            versions=versions,
            as_of=as_of,
            superseded=superseded,
            min_relevance=min_relevance,
            rerank=rerank,
            progress=progress,
        )

    def calibrate_with(
        self,
        options: SearchOptions,
        questions: "QuestionsLike",
        judgments: "JudgmentsLike",
        unanswerable: "QuestionsLike | None" = None,
        *,
        by: str | None = None,
        max_hits: int = 100,
        unanswerable_share: float = 0.5,
        vectors: VectorsLike | Mapping[str, VectorLike] | None = None,
        progress: Callable[[int], object] | None = None,
    ) -> "Calibration":
        """`calibrate`, with ready-made options; `max_hits` says how long the lists are, not their k."""
        from theodolite.evaluation.calibrate import calibrate  # imported by the few programs that calibrate
        from theodolite.evaluation.judgments import as_judgments
        from theodolite.evaluation.lists import Collection
        from theodolite.evaluation.questions import as_questions

        engine = require(self._engine, Notes, "calibrate()")
        if self._engine.info().get("read_only", False):  # before anything is embedded
            raise read_only(self._engine.info().get("location"))
        calibration = calibrate(
            Collection(self._searcher, cast("Engine", engine), self._scope),
            as_questions(questions, vectors),
            as_judgments(judgments),
            _checked(options),
            unanswerable=None if unanswerable is None else as_questions(unanswerable),
            by=by,
            max_hits=as_k(max_hits, "max_hits"),
            unanswerable_share=unanswerable_share,
            progress=progress,
        )
        self._searcher.verdicts.keep(calibration)
        return calibration

    def synthetic_questions(
        self, count: int = 100, *, make: "MakeQuestions | None" = None, where: Where = None, seed: int = 0
    ) -> "JudgedQuestions":
        """Make questions from random documents, each answered by its document: `kb.evaluate(*questions)`.

        Such questions are easier than real ones, so they show that something broke rather than how good it is. Their
        ids begin with `synthetic:`, and every result, table and file that names them says so.

        Args:
            count: how many questions at most.
            make: a function from a document to a question, several, or None: a language model, for example. Default: a
                sentence of the document.
            where: a filter on the documents.
            seed: draws other documents.

        Raises:
            InputError: no question could be made.
        """
        from theodolite.evaluation.synthetic import make_questions  # imported by the few programs that evaluate

        if as_count(count, "count") < 1:
            raise InputError("count is 0; ask for at least one question")
        return make_questions(self._engine, count, make=make, where=parse(where), scope=self._scope, seed=seed)

    def feedback(self, hits: Hits, document_id: str, grade: int, *, question: str | None = None) -> None:
        """Keep a judgment of hits: how well a document answers the question, from 0 (not at all).

        It is stored in a file of its own, `judgments.sqlite` in the collection's folder, with the question's text.
        Nothing else is. The latest judgment of a question and a document counts. `hits.feedback` does the same.

        Args:
            hits: what a search of this collection found.
            document_id: a hit, or another document of the collection that should have been found.
            grade: a whole number, such as 0 to 3.
            question: the question's text; needed if the query was a vector.

        Raises:
            InputError: there is no such document, the grade is invalid, or there is no question.
            EngineError: the collection is opened read-only, or the file cannot be written.
            UnsupportedError: the collection is on a server.
        """
        if not isinstance(hits, Hits):
            raise InputError(f"hits is {type_of(hits)}; pass the Hits that a search returned")
        origin = None if hits.origin is None else hits.origin.collection()
        if origin is not None and origin is not self._searcher:
            raise InputError("these hits are from another collection; give feedback there")
        self._searcher.feedback(hits, document_id, grade, question, self._scope)

    async def afeedback(self, hits: Hits, document_id: str, grade: int, *, question: str | None = None) -> None:
        """`feedback`, awaited."""
        await in_thread(self.feedback, hits, document_id, grade, question=question)

    def export_judgments(self, *, by: str | None = None) -> "JudgedQuestions":
        """Return all judgments that `feedback` kept, with their questions: `kb.evaluate(*kb.export_judgments())`.

        `write` of the result writes files that `evaluate` reads. A scope returns its own judgments only.

        Args:
            by: name documents by this metadata field, such as "path", instead of by id. A file has the grade of its
                best passage. Documents that are no longer stored are left out, with a JudgmentWarning.

        Raises:
            InputError: the collection is partitioned, and this is not a scope of one partition.
            EngineError: the file cannot be read. UnsupportedError: the collection is on a server.
        """
        from theodolite.evaluation.feedback import export  # imported by the few programs that evaluate

        log = self._searcher.feedback_log("export_judgments()")
        return export(self._engine, log, self._scope, by)

    def recall(
        self,
        queries: Sequence[str] | VectorsLike | None = None,
        *,
        k: Sequence[int] = (1, 5, 10),
        where: Where = None,
        progress: Callable[[int], object] | None = None,
    ) -> "Recall":
        """Measure the recall of the index and the time of a search, with the index and exactly, one query at a time.

        Args:
            queries: texts or vectors (n, d), some hundred real ones; None makes 500 from stored rows with added noise,
                which are harder than most real ones.
            k: the lengths of list to measure.
            where: a filter, for all queries.
            progress: called with the number of queries done since the last call.

        Raises:
            InputError: no queries, no eligible document, a k below 1. VectorError, FilterError, ConfigError.
            UnsupportedError: in a scope.
        """
        from theodolite.evaluation.recall import measure

        self._check_whole("recall()")
        lengths = sorted({as_k(length) for length in k})
        if not lengths:
            raise InputError("k is empty; name the lengths of list to measure, such as (1, 5, 10)")
        tree = parse(where)
        known = queries is not None and self._engine.space.dimension is not None
        prepared = self._searcher.as_vectors(queries) if queries is not None and known else None
        return measure(self._engine, prepared, lengths, tree, progress)

    def audit(
        self,
        *,
        queries: VectorsLike | None = None,
        seed: int = 0,
        progress: Callable[[int], object] | None = None,
    ) -> "Audit":
        """Examine the stored vectors (in a scope, its own) as `theodolite.audit` does, with the collection's metric.

        They are copied to a temporary file first. For cosine they are stored normalized, so their original lengths can
        only be audited before `add`.

        Args:
            queries: (m, d), vectors of real queries, as the embedder returns them.
            progress: called with the number of documents read since the last call; it adds up to three times their
                number.

        Raises:
            InputError: there are no documents. VectorError: queries that do not fit.
        """
        from theodolite.auditing.audit import audit_stored

        listing = self._engine.documents(scope=self._scope)
        return audit_stored(listing, self._engine.space, queries=queries, seed=seed, progress=progress)

    def report(
        self,
        *,
        questions: "QuestionsLike | None" = None,
        judgments: "JudgmentsLike | None" = None,
        by: str | None = None,
        vectors: VectorsLike | Mapping[str, VectorLike] | None = None,
        color: str | None = None,
        where: Where = None,
        title: str | None = None,
        sample: int = 100_000,
        seed: int = 0,
    ) -> "Report":
        """Make a report: a map of the documents, their similarities, and what all checks say, with cause and cure.

        `report.write("report.html")` writes one page that loads nothing and runs no script. Of more than `sample`
        documents, evenly spaced ones are drawn, and the report says so. Nothing that is measured counts as a search of
        a user.

        Args:
            questions: texts or vectors by id, or a file, as for `evaluate`: a heat map of questions and documents.
            judgments: grades by question and document, or a file, as for `evaluate`: an evaluation with its intervals.
            by: a metadata field that judgments name, such as "path", instead of ids of documents.
            vectors: the questions' vectors, in their order (n, d) or by id, so that nothing is embedded.
            color: a metadata field to color the map by; None for clusters.
            where: a filter; only documents that match are reported on.
            title: the heading. Default: the name of the collection's folder.
            sample: how many documents are drawn at most.
            seed: of random samples: the same collection gives the same report.

        Raises:
            InputError: questions or judgments that cannot be read or do not belong together, a field that no document
                has, a sample below 1.
            MissingExtraError: the extra `report` is not installed, or for judgments the extra `evaluate`.
        """
        from theodolite.evaluation.judgments import as_judgments  # imported by the few programs that report
        from theodolite.evaluation.questions import as_questions
        from theodolite.overview.overview import examine
        from theodolite.reporting.report import Report

        if judgments is not None and questions is None:
            raise InputError("judgments need their questions: pass questions=, too")
        if as_count(sample, "sample") < 1:
            raise InputError("sample is 0; at least one document must be drawn")
        overview = examine(
            self,
            questions=None if questions is None else as_questions(questions, vectors),
            judgments=None if judgments is None else as_judgments(judgments),
            by=by,
            color=color,
            where=parse(where),
            count=sample,
            seed=seed,
        )
        return Report(overview, title)

    async def areport(self, **options: Any) -> "Report":
        """`report`, awaited."""
        return await in_thread(partial(self.report, **options))

    def warm(self, *fields: str) -> None:
        """Load what searches need, and the columns of these metadata fields, so that no user waits for it."""
        if isinstance(self._engine, Indexing):  # others have nothing to load
            self._engine.warm(fields)

    def verify(self, *, progress: Callable[[int], object] | None = None) -> Verification:
        """Check everything stored: documents, vectors, data derived from them, the change log, the files.

        Args:
            progress: called with the number of rows, documents or index entries checked since the last call.

        Returns:
            How much was checked, and warnings: files that nothing needs, rows that an index cannot reach.

        Raises:
            CorruptionError: there is damage. Its `verification` lists all of it.
        """
        self._check_whole("verify()")
        return require(self._engine, Maintenance, "verify()").verify(progress)

    def repair(self, *, progress: Callable[[int], object] | None = None) -> Verification:
        """Rebuild damaged data that can be derived: codes, columns, indexes; remove files that nothing needs.

        Documents, vectors and the change log are never touched: if these are damaged, nothing is changed at all.

        Returns:
            What `verify` finds afterwards, and what was repaired.
        """
        self._check_whole("repair()")
        return require(self._engine, Maintenance, "repair()").repair(progress)

    def compact(self, *, progress: Callable[[int], object] | None = None) -> Compaction:
        """Free the disk space of documents that were replaced, updated or deleted, while others read and write.

        No search result and no score changes. It also runs in the background when a third of the rows are dead (see
        `compact_at` of `Retriever.open`). An approximate index is built again; until then searches are exact. If
        interrupted, the collection is as before.

        Args:
            progress: called with the number of documents copied since the last call.

        Returns:
            How many dead rows were removed, and the folder's size before and after.

        Raises:
            EngineError: the disk has not enough room (`needed` and `free` say how much), or the collection is opened
                read-only.
            LockedError: another process or thread is compacting, or building an index.
            CorruptionError: stored vectors are damaged; nothing is changed.
            UnsupportedError: in a scope.
        """
        self._check_whole("compact()")
        return require(self._engine, Maintenance, "compact()").compact(progress)

    def backup(self, location: str | PathLike[str], *, progress: Callable[[int], object] | None = None) -> None:
        """Copy the collection as of one commit to a new folder, while others may write. The copy appears whole.

        Args:
            location: a folder that does not exist, or is empty.
            progress: called with the number of bytes copied since the last call.

        Raises:
            ConfigError: the folder is not empty.
            CorruptionError: vectors are damaged; there is no copy then.
            EngineError: it cannot be written.
        """
        self._check_whole("backup()")
        require(self._engine, Maintenance, "backup()").backup(as_folder(location), progress)

    def copy_to(
        self, location: str | PathLike[str], *, progress: Callable[[int], object] | None = None, **engine: Any
    ) -> "Copy":
        """Copy the collection to another folder or server, without embedding anything again.

        Copies documents, vectors, pinned settings, version rules and the notes of the guards. Then both collections are
        compared: every document, and 200 exact searches. An interrupted copy is marked, and resumes when it is
        copied again. Programs may write to this collection until the comparison; their writes are copied, too.

        Args:
            location: a folder or URL, as `open` takes it. It must not hold documents, except those of an unfinished
                copy of this collection.
            progress: called with the number of documents copied or compared since the last call: twice the number of
                documents in all.
            engine: options of the target's engine, as for `open`.

        Raises:
            ConfigError: the target holds other documents.
            EngineError: programs kept writing to this collection, the target cannot be written, or it answers
                differently.
            UnsupportedError: in a scope.
        """
        self._check_whole("copy_to()")
        from theodolite.copying import copy_collection  # imported by the few programs that copy

        opener = engine_for(location, engine)
        _check_engine_options(engine, opener.declared)
        return copy_collection(self._engine, opener, progress=progress)

    def close(self) -> None:
        """Release files and memory. Closing twice is fine; closing a scope leaves the collection open."""
        if self._scope is None:
            self._session.close()

    async def aclose(self) -> None:
        """`close`, awaited. `async with` does it."""
        await in_thread(self.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __len__(self) -> int:
        # Without a warning: `if not len(kb)` and `if kb` ask whether there is something yet.
        return 0 if isinstance(self._engine, MissingCollection) else self.count()

    def to_dict(self) -> dict[str, Any]:
        """Return `info()`."""
        return self.info()

    def __repr__(self) -> str:
        try:
            info = self.info()
        except EngineError as error:  # closed, for example; a repr must not raise
            return f"<Retriever: {error}>"
        place = "scope" if self._scope is not None else info.get("location") or "in memory"
        noun = "document" if info["documents"] == 1 else "documents"
        return f"<Retriever {place}: {info['documents']:,} {noun}, {self.metric}>"

    def _repr_html_(self) -> str:
        from theodolite.display import html_table  # imported in notebooks

        try:
            info = self.info()
        except EngineError:
            return html_table(repr(self), (), [])
        rows = [
            (name.replace("_", " "), value)
            for name, value in info.items()
            if value is not None and not isinstance(value, (list, dict))
        ]
        return html_table("Retriever", (), rows)

    def _search(
        self,
        options: SearchOptions,
        query: str | None,
        vector: VectorLike | None,
        like: str | Iterable[str] | None,
        awaited: Awaited | None = None,
    ) -> Hits:
        prepared = self._searcher.prepare_one(options, query, vector, like, self._scope, awaited)
        return self._searcher.run(options, prepared)[0]

    def _search_many(
        self,
        options: SearchOptions,
        queries: Sequence[str] | None,
        vectors: VectorsLike | None,
        awaited: Awaited | None = None,
    ) -> list[Hits]:
        if queries is None and vectors is None:
            raise InputError("search_many takes either queries or vectors")
        if vectors is not None:
            given = as_vectors(vectors, "vectors")
            vectors = given if hasattr(given, "__len__") else list(given)
        if isinstance(queries, str):
            raise InputError("search_many takes a list of queries; use search for one")
        return self._searcher.run(options, self._searcher.prepare(options, queries, vectors, self._scope, awaited))

    def _batches(
        self, documents: Iterable[DocumentLike], vectors: VectorsLike | None, batch_size: int | None
    ) -> Iterator[tuple[list[Document], Any]]:
        """Yield batches of documents with their vectors, if there are any. Raises the same errors as `add`."""
        self._check_writable()
        if isinstance(documents, (str, bytes, Mapping, Document)):
            raise DocumentError(f"add takes an iterable of documents, not one {type(documents).__name__}")
        if batch_size is not None and batch_size < 1:
            raise InputError(f"batch_size is {batch_size}; it must be at least 1, or None for one commit")
        if vectors is None:
            self._session.parts.texts.check_available(adding=True)
        else:
            check_lengths(documents, as_vectors(vectors, "vectors"))
        source, take = iter(documents), taker(vectors)
        # Not for each document: until the collection exists, `_engine` looks for it in its folder.
        place = partial(placed, self._scope, self._engine.partition)
        count = 0
        while batch := [
            as_document(item, count + i, place) for i, item in enumerate(itertools.islice(source, batch_size))
        ]:
            yield batch, take(len(batch))
            count += len(batch)
        if vectors is not None and len(take(1)):
            raise DocumentError(
                f"there are more vectors than the {count} documents; those documents are stored",
                count=count,
            )

    def _add(
        self,
        batch: list[Document],
        vectors: Any,
        offset: int,
        progress: Progress | None,
        awaited: Awaited | None = None,
    ) -> None:
        """Embed a batch unless it has vectors, and store it. `offset` documents came before."""
        ids = [document.id for document in batch]
        truncated: set[int] = set()
        if isinstance(self._engine, MissingCollection):  # what cannot be stored does not create it
            if vectors is None:
                Encoder.check_documents(batch)
            elif len(vectors) == len(batch):
                prepare(vectors, self._engine.space, ids=ids)
        parts = self._session.create()
        if vectors is None and parts.texts.on_server:
            Encoder.check_documents(batch)
            require(parts.engine, EmbedsTexts, "add()").add_texts(batch, scope=self._scope)
            if progress is not None:
                progress(len(batch))
            return
        guard = parts.texts.guard if vectors is None else None
        if guard is not None:
            guard.ensure_checked(adding=True)
            if awaited is not None and awaited.vectors and guard.needs_async_check("document"):
                guard.check_async("document", *next(iter(awaited.vectors.items())))
            vectors, truncated = parts.texts.encoder.documents(batch, progress, awaited)
        elif len(vectors) != len(batch):
            raise DocumentError(
                f"there are {offset + len(vectors)} vectors for more documents; the first without one is "
                f"{ids[len(vectors)]!r}. Nothing of this batch is stored",
                ids=ids[len(vectors) :],
            )
        prepared = store(parts.engine, batch, vectors, truncated, self._scope)
        if guard is not None:
            guard.after_add(batch, prepared)
        elif progress is not None:
            progress(len(batch))

    def _check_writable(self) -> None:
        if not self._writable:
            raise read_only_scope(self._scope, self._engine.partition)

    def _check_whole(self, what: str) -> None:
        if self._scope is not None:
            raise UnsupportedError(f"{what} concerns the whole collection: call it outside of scopes")


def _resolved(options: EmbedderOptions) -> EmbedderOptions:
    """Return the options with their embedder resolved."""
    given = options.embedder
    return options if given is RECORDED else replace(options, embedder=resolve(given))


async def _make_options(**options: Any) -> SearchOptions:
    """Return the options of a search; on a thread if a reranker may have to be loaded."""
    if options["rerank"] is None:
        return SearchOptions(**options)
    return await in_thread(SearchOptions, **options)


def _checked(options: SearchOptions) -> SearchOptions:
    if not isinstance(options, SearchOptions):
        raise InputError(f"options is {options!r:.80} ({type(options).__name__}); pass SearchOptions(...)")
    return options


def _check_engine_options(given: Iterable[str], declared: Sequence[str] | None) -> None:
    """Raise TypeError for options that the engine does not declare; None: it takes any."""
    if declared is None:
        return
    embedders = {field.name for field in fields(EmbedderOptions)}
    for name in given:
        if name in declared:
            continue
        close = closest(name, [*declared, *signature(Retriever.open).parameters], cutoff=0.7)
        if name in embedders:
            meant = f"pass embedder=EmbedderOptions(..., {name}=...)"
        elif close is not None:
            meant = f"did you mean {close!r}?"
        else:
            meant = f"the engine takes {', '.join(declared)}" if declared else "the engine has no options"
        raise TypeError(f"Retriever.open has no argument {name!r}; {meant}")


def _monitor() -> "Monitor":
    from theodolite.monitoring.monitor import Monitor

    return Monitor()
