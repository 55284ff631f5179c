"""Searcher: one search, from queries to ranked hits."""

import itertools
import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from weakref import ref

import numpy as np

from theodolite.analysis.highlights import ByWords, Found, Highlight
from theodolite.analysis.sentences import sentences
from theodolite.embedders.encoder import Awaited
from theodolite.engines.missing import MissingCollection
from theodolite.errors import ConfigError, InputError
from theodolite.filters import instant
from theodolite.guards.query_norms import QueryNorms
from theodolite.inputs import as_batch, as_ids, as_vectors, check_questions
from theodolite.origin import Origin
from theodolite.protocols import Answer, Engine, Request, Scope
from theodolite.ranking.options import SearchOptions
from theodolite.ranking.pipeline import accepted, candidates_for_k, finish, plain_hits
from theodolite.ranking.relevance import Relevance
from theodolite.ranking.versions import Rule, Versions
from theodolite.text_encoder import TextEncoder
from theodolite.types import Document, Hits, Trace, VectorLike, Vectors, VectorsLike
from theodolite.vectors.metrics import get_metric
from theodolite.vectors.prepare import prepare
from theodolite.verdicts import Promised, Verdicts
from theodolite.write_vectors import mean_vector

if TYPE_CHECKING:  # imported where searches are monitored or judged, or their hits put into a prompt
    from theodolite.citing.context import Context
    from theodolite.citing.window import Expand
    from theodolite.evaluation.feedback import FeedbackLog
    from theodolite.monitoring.monitor import Monitor

_WIDER = 4  # factor by which more candidates are fetched where too few are left


@dataclass(slots=True)
class Prepared:
    """Queries that are checked and embedded, ready to run.

    Attributes:
        request: the request to the engine; None if nothing was ever added to the collection.
        count: the number of queries.
        texts: the queries as texts, if there are any.
        truncated_tokens: how many tokens of each query the embedder did not read.
        started: when embedding started, by `time.perf_counter`.
        monitored: whether the monitor records the search.
        leave_out: ids of documents that must not be hits.
        promised: with `coverage=`, the options to search with, and how far down the lists go.
    """

    request: Request | None
    count: int
    texts: Sequence[str]
    truncated_tokens: Sequence[int]
    started: float
    monitored: bool = True
    leave_out: frozenset[str] = frozenset()
    promised: Promised | None = None

    def exactly(self) -> "Prepared":
        """Return the queries for a search that bypasses an approximate index."""
        return self if self.request is None else replace(self, request=replace(self.request, exact=True))


class Searcher:
    """Searches an engine: embeds queries, lets the guards check them, and ranks the hits of the engine.

    Attributes:
        rules: the collection's own rules for versions, which a search follows unless it has others.
        verdicts: judges hits, where searches are calibrated.
    """

    def __init__(
        self,
        engine: Engine,
        texts: TextEncoder,
        norms: QueryNorms,
        *,
        rules: tuple[Rule, ...] = (),
        relevance: Relevance | None = None,
        monitor: "Monitor | None" = None,
    ) -> None:
        self._engine = engine
        self._texts = texts
        self._norms = norms
        self._monitor = monitor
        self._seen = None if monitor is None else monitor.norms
        self._self = ref(self)
        self.relevance = relevance
        self._norms_matter = get_metric(engine.space.metric).grows_with_norm
        self.rules = rules
        self.verdicts = Verdicts(engine, texts, monitor)

    def prepare(
        self,
        options: SearchOptions,
        texts: Sequence[str] | None,
        vectors: VectorsLike | None,
        scope: Scope | None,
        awaited: Awaited | None = None,
        *,
        probe: bool = False,
    ) -> Prepared:
        """Check and embed queries.

        Args:
            texts: the queries; or `vectors`, or both, where the options read texts beside vectors.
            awaited: the result of the encoder's `aqueries` for the texts.
            probe: whether this is a measurement: neither the engine nor the monitor learns from it.

        Raises:
            InputError, ConfigError, VectorError, EmbedderDriftError.
        """
        started = time.perf_counter()
        versions, now = self._check(options)
        if texts is None and options.reads_text:
            what = f"{options.arms} mode" if options.arms != "dense" else "a reranker"
            raise InputError(f"{what} needs the query as a text: pass query= beside the vector")
        embeds = vectors is None and options.arms != "lexical"
        if texts is not None and vectors is not None:
            _check_both(options, texts, vectors)
        if texts is not None:
            if embeds:
                self._texts.check_available()
            check_questions(texts)
        count = len(vectors if texts is None else texts)  # type: ignore[arg-type]  # one of them is given, with a length
        space = self._engine.space
        if space.dimension is None:
            return Prepared(None, count, texts or (), (), started)
        on_server = embeds and self._texts.on_server
        if texts is not None and embeds and not on_server:
            self._ready(awaited)
        cut: Sequence[int] = ()
        if options.arms == "lexical" or on_server:
            prepared = Vectors(np.empty((count, 0), np.float32))
        elif vectors is None:
            prepared, cut = self._texts.encoder.queries(texts or (), awaited)
        else:
            prepared, _ = prepare(vectors, space, name="query vectors", seen=None if probe else self._seen)
        if self._norms_matter and space.norms == "any" and prepared.shape[1]:
            self._norms.check(prepared)
        promised = None
        if options.coverage is not None:
            promised = self.verdicts.promise(options, scope, self.rules, self.relevance)
            options = promised.options
        request = self._request(options, prepared, texts or (), scope, versions, now)
        if on_server:
            request = replace(request, texts=list(texts or ()))
        if probe:
            request = replace(request, probe=True)
        if promised is not None:  # calibrated with exact lists: what an index misses would break the promise
            request = replace(request, exact=True)
        return Prepared(request, count, texts or (), cut, started, monitored=not probe, promised=promised)

    def prepare_one(
        self,
        options: SearchOptions,
        query: str | None,
        vector: VectorLike | None,
        like: str | Iterable[str] | None,
        scope: Scope | None,
        awaited: Awaited | None = None,
        *,
        probe: bool = False,
    ) -> Prepared:
        """Check and embed one query: a text, a vector, or ids of documents to search by. See `prepare`."""
        if (query is not None or vector is not None) == (like is not None):
            raise InputError("search takes either a query, a vector, or ids of documents (like)")
        if like is not None:
            return self._prepare_like(options, like, scope, probe=probe)
        texts = None if query is None else [query]
        vectors = None if vector is None else as_batch(as_vectors(vector, "vector"))
        return self.prepare(options, texts, vectors, scope, awaited, probe=probe)

    def _prepare_like(
        self, options: SearchOptions, like: str | Iterable[str], scope: Scope | None, *, probe: bool
    ) -> Prepared:
        if options.reads_text:
            raise InputError("like= searches by documents, without a text: use dense mode, and no reranker")
        if options.coverage is not None:
            raise ConfigError("coverage= is calibrated with questions, and like= searches by documents: pass k=")
        versions, now = self._check(options)
        ids = list(dict.fromkeys(as_ids(like)))
        started = time.perf_counter()
        mean = mean_vector(self._engine, ids, scope)
        request = replace(self._request(options, mean, (), scope, versions, now, more=len(ids)), probe=probe)
        return Prepared(request, 1, (), (), started, monitored=False, leave_out=frozenset(ids))

    def some_of(self, prepared: Prepared, options: SearchOptions, numbers: Sequence[int]) -> Prepared:
        """Return some prepared queries, by number, for a search with options of the same mode, filter and versions."""
        old = prepared.request
        if old is None:
            return replace(prepared, count=len(numbers))
        texts = [prepared.texts[number] for number in numbers] if prepared.texts else ()
        cut = [prepared.truncated_tokens[number] for number in numbers] if prepared.truncated_tokens else ()
        vectors = Vectors(old.vectors[list(numbers)])
        request = self._request(options, vectors, texts, old.scope, old.versions, old.now)
        return replace(
            prepared,
            request=replace(request, probe=old.probe),
            count=len(numbers),
            texts=texts,
            truncated_tokens=cut,
        )

    def run(self, options: SearchOptions, prepared: Prepared) -> list[Hits]:
        """Search with prepared queries."""
        promised = prepared.promised
        options = options if promised is None else promised.options
        found = self._run(options, prepared)
        if prepared.request is None or prepared.request.probe:
            return found
        if prepared.leave_out:
            return self.verdicts.attach_unknown(found, "the search was by documents, not by a question")
        return self.verdicts.attach(found, options, prepared.request.scope, self.rules, self.relevance, promised)

    def _run(self, options: SearchOptions, prepared: Prepared) -> list[Hits]:
        request = prepared.request
        if request is None and not prepared.count:
            return []
        if request is None:
            notes = (self._engine.notice(),) if isinstance(self._engine, MissingCollection) else ()
            trace = Trace("empty", 0, 0, 0, mode=options.arms, notes=notes)
            return [Hits((), trace, Origin(self._self, None))] * prepared.count
        if not len(request.vectors):
            return []
        embed = (time.perf_counter() - prepared.started) / prepared.count
        answers = self._engine.search(request)
        if self._monitor is not None and prepared.monitored and options.arms == "dense" and not options.boosts:
            self._monitor.searched(request, answers, (time.perf_counter() - prepared.started) / prepared.count)
        # An engine that embeds texts says itself how much of them was not read.
        cut = prepared.truncated_tokens or [answer.trace.truncated_tokens for answer in answers]
        if options.plain and options.accept is None:
            return [
                plain_hits(
                    answer,
                    self.relevance,
                    options.k,
                    embed=embed,
                    truncated_tokens=tokens,
                    leave_out=prepared.leave_out,
                    text=prepared.texts[number] if prepared.texts else None,
                    origin=self._origin(options, prepared, request, number),
                )
                for number, (answer, tokens) in enumerate(zip(answers, cut, strict=True))
            ]
        return [
            self._ranked(options, prepared, request, number, answer, embed) for number, answer in enumerate(answers)
        ]

    def highlight(self, hits: Hits, query: str | None) -> Hits:
        """Return the hits with sentences ranked by the similarity of their vectors to the query's."""
        if not hits:
            return hits
        if query is None:
            finder = hits[0].highlighter
            if not isinstance(finder, (ByWords, Found)):
                raise InputError("these hits were found by a vector: pass the text to compare with as query")
            query = finder.query
        self._texts.check_available()
        check_questions([query])
        spans = [sentences(hit.document.text) for hit in hits]
        parts = [[hit.document.text[start:end] for start, end in each] for hit, each in zip(hits, spans, strict=True)]
        distinct = list(dict.fromkeys(itertools.chain.from_iterable(parts)))
        if not distinct:
            return hits
        self._ready()
        encoder, space = self._texts.encoder, self._engine.space
        (vector,) = encoder.queries([query])[0]
        given, _ = encoder.documents([Document(text, id=text) for text in distinct])
        vectors, _ = prepare(given, space, name="vectors of sentences")
        scores = get_metric(space.metric).scores(vector, vectors).tolist()
        score_of = dict(zip(distinct, scores, strict=True))
        items = []
        for hit, places, texts in zip(hits, spans, parts, strict=True):
            found = [Highlight(*span, text, score_of[text]) for span, text in zip(places, texts, strict=True)]
            found.sort(key=lambda each: -each.score)
            items.append(replace(hit, highlighter=Found(query, tuple(found))))
        return Hits(tuple(items), hits.trace, hits.origin, hits.verdict)

    def feedback(self, hits: Hits, document_id: str, grade: int, question: str | None, scope: Scope | None) -> None:
        """Keep a judgment of hits. See `Retriever.feedback`."""
        from theodolite.evaluation import feedback  # imported by the few programs that give feedback

        log = self.feedback_log("feedback()")
        log.record([feedback.judge(self._engine, hits, document_id, grade, question, scope)])

    def feedback_log(self, call: str) -> "FeedbackLog":
        """Return the log of judgments, for a call of this name. Raises UnsupportedError if the engine has none."""
        from theodolite.evaluation.feedback import log_of

        return self.__dict__.setdefault("_log", log_of(self._engine, call))  # type: ignore[no-any-return]  # a log

    def context(self, hits: Hits, tokens: int, expand: "Expand", count: "Callable[[str], int] | None") -> "Context":
        """Make a context of hits. See `Hits.context`."""
        from theodolite.citing.context import each_counted, make_context  # imported by the programs that make one

        counts = self._texts.count_tokens if count is None else each_counted(count)
        return make_context(self._engine, hits, tokens, expand, counts)

    def as_vectors(self, queries: Sequence[str] | VectorsLike) -> Vectors:
        """Prepare queries given as texts or as vectors, (n, d)."""
        given: Any = queries if hasattr(queries, "__len__") else list(queries)  # type: ignore[arg-type]  # an iterable
        if not len(given) or not isinstance(given[0], str):
            return prepare(given, self._engine.space, name="query vectors")[0]
        self._texts.check_available()
        check_questions(given)
        self._ready()
        return self._texts.encoder.queries(given)[0]

    async def await_queries(self, options: SearchOptions, texts: Sequence[str] | None) -> Awaited | None:
        """Await the vectors of queries for `prepare`, if the embedder can be awaited and they are needed.

        It raises nothing about the queries: `prepare` does.
        """
        if options.arms == "lexical" or not isinstance(texts, (list, tuple)):
            return None
        if not all(isinstance(text, str) and text.strip() for text in texts) or self._engine.space.dimension is None:
            return None
        encoder = await self._texts.aencoder()
        return await encoder.aqueries(texts) if encoder is not None and encoder.awaits("query") else None

    def _origin(self, options: SearchOptions, prepared: Prepared, request: Request, number: int) -> Origin:
        return Origin(
            self._self,
            prepared.texts[number] if prepared.texts else None,
            request.scope,
            where=request.where,
            accept=options.accept,
            versions=request.versions,
        )

    def _ready(self, awaited: Awaited | None = None) -> None:
        """Let the guard check the embedder before its first use, and its coroutines against its plain methods, once."""
        guard = self._texts.guard
        guard.ensure_checked()
        if awaited is not None and awaited.vectors and guard.needs_async_check("query"):
            guard.check_async("query", *next(iter(awaited.vectors.items())))

    def _check(self, options: SearchOptions) -> tuple[Versions | None, float]:
        """Check options that depend on the collection; return the rules for versions, and the present for boosts.

        Raises:
            ConfigError: options that would do nothing here, or that need a scale of relevance that is missing.
        """
        if self.relevance is None and options.needs_relevance:
            Relevance(self._engine.space.metric)  # which refuses
        rules = self.rules if options.versions is None else options.versions
        if not rules:
            idle = [] if options.as_of is None or options.boosts else ["as_of"]
            idle += [] if options.superseded == "hide" else [f"superseded={options.superseded!r}"]
            if idle:
                raise ConfigError(
                    f"{' and '.join(idle)} would do nothing: there are no rules for versions. Pass versions=, to "
                    "open() or to the search"
                )
            if not options.boosts:
                return None, 0.0
        moment = int(time.time() * 1e6) if options.as_of is None else instant(options.as_of) or 0
        # In full minutes, so that the factors of a million dates serve more than one search.
        now = math.ceil(moment / 60e6) * 60.0
        return Versions(tuple(rules), moment, options.superseded) if rules else None, now

    def _request(
        self,
        options: SearchOptions,
        vectors: Vectors,
        texts: Sequence[str],
        scope: Scope | None,
        versions: Versions | None,
        now: float,
        more: int = 0,
    ) -> Request:
        if options.plain:
            return Request(
                vectors,
                options.k + more,
                options.where,
                scope,
                versions=versions,
                relevance=None if options.min_relevance is None else self.relevance,
                min_relevance=options.min_relevance,
            )
        return Request(
            vectors,
            options.candidates + more,
            options.where,
            scope,
            texts=texts if options.arms != "dense" else (),
            mode=options.arms,
            boosts=options.boosts,
            now=now,
            versions=versions,
            relevance=self.relevance if options.needs_relevance else None,
            min_relevance=options.min_relevance,
            fusion=options.fusion,
            with_vectors=options.with_vectors,
        )

    def _ranked(
        self, options: SearchOptions, prepared: Prepared, request: Request, number: int, first: Answer, embed: float
    ) -> Hits:
        """Rank one query's candidates, and fetch more while stages leave too few of them."""
        cut = prepared.truncated_tokens[number] if prepared.truncated_tokens else first.trace.truncated_tokens
        wide, more = request, len(first.documents) == request.k
        answer = accepted(first, options.accept)
        candidates = 0 if options.rerank is None else options.rerank.candidates
        while True:
            if more and len(answer.documents) < request.k:  # accepted ones
                answer, wide, more = self._wider(options, wide, request, number)
                continue
            if options.rerank is not None and options.dedupe is not None:
                # Before anything is scored, so that the reranker reads once, and within its deadline.
                enough = candidates_for_k(answer, options)
                if enough is None and more:
                    answer, wide, more = self._wider(options, wide, request, number)
                    continue
                candidates = max(candidates, enough or len(answer.documents))
            hits = finish(
                answer,
                request,
                options,
                self.relevance,
                text=prepared.texts[number] if prepared.texts else None,
                candidates=candidates,
                embed=embed,
                truncated_tokens=cut,
                leave_out=prepared.leave_out,
                origin=self._origin(options, prepared, request, number),
            )
            if not options.widens or len(hits) == options.k:
                return hits
            # Near-duplicates have left too few: go on while there is more to find, or to read.
            if not more and (hits.trace.rerank != "ok" or candidates >= len(answer.documents)):
                return hits
            candidates *= _WIDER
            if more:
                answer, wide, more = self._wider(options, wide, request, number)

    def _wider(
        self, options: SearchOptions, last: Request, request: Request, number: int
    ) -> tuple[Answer, Request, bool]:
        """Fetch more candidates for one query of a request than `last` did.

        Returns:
            The accepted ones, the request that was made, and whether there may be more.
        """
        wide = replace(
            request,
            vectors=Vectors(request.vectors[number : number + 1]),
            texts=request.texts[number : number + 1],
            k=last.k * _WIDER,
            probe=True,
        )
        (answer,) = self._engine.search(wide)
        return accepted(answer, options.accept), wide, len(answer.documents) == wide.k


def _check_both(options: SearchOptions, texts: Sequence[str], vectors: VectorsLike) -> None:
    """Raise InputError where texts beside vectors would do nothing, or do not match them."""
    if not options.reads_text:
        raise InputError(
            "search takes either a query or a vector. Pass both only where the text is read, too: in hybrid mode, or "
            "by a reranker"
        )
    count = len(vectors)  # type: ignore[arg-type]  # it has been given a length
    if len(texts) != count:
        raise InputError(f"there are {len(texts)} queries and {count} vectors; each query needs one")
