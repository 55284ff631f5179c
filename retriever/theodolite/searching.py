"""Searching: questions in, ranked passages out."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from theodolite.collection import Collection
from theodolite.embedders.encoder import Encoder
from theodolite.errors import ConfigError, InputError
from theodolite.filters import Filter, Where, parse
from theodolite.guards.embedder_guard import EmbedderGuard
from theodolite.guards.query_norms import QueryNorms
from theodolite.inputs import as_batch, as_ids, as_k, as_vectors, check_questions
from theodolite.protocols import Answer, Boost, Fusion, Request
from theodolite.ranking.options import Accept, Ranking, ranking
from theodolite.ranking.pipeline import accepted, finish, reach
from theodolite.ranking.versions import Rule, as_rules
from theodolite.types import Hits, Mode, Trace, Vectors
from theodolite.vectors.metrics import get_metric
from theodolite.vectors.prepare import prepare
from theodolite.write_vectors import between

_WIDER = 4  # how many times more candidates are asked for where too few are left


class Searching(Collection):
    """Documents in an engine that can be searched. `Retriever` opens one, and adds to it."""

    _encoding: Encoder | None
    _watch: EmbedderGuard
    _norms: QueryNorms
    _seen: Callable[[Any], None] | None
    _relevance: Any
    _rules: tuple[Rule, ...]

    def search(
        self,
        query: str | None = None,
        *,
        vector: Any = None,
        like: str | Iterable[str] | None = None,
        k: int = 10,
        where: Where = None,
        mode: Mode = "dense",
        boosts: Boost | Iterable[Boost] = (),
        versions: Rule | Iterable[Rule] | None = None,
        as_of: Any = None,
        include_superseded: bool = False,
        substitute: bool = False,
        now: Any = None,
        min_relevance: float | None = None,
        fusion: Fusion | None = None,
        rerank: Any = None,
        diversity: float = 0.0,
        dedupe: float | None = None,
        pool: int | None = None,
        accept: Accept | None = None,
    ) -> Hits:
        """The k best passages for a question, best first. By itself: exactly those nearest to it.

        What else is asked for acts in this order: scope, versions, filter, boosts (within each arm), fusion,
        `min_relevance`, reranking (boosts act on its score, too), near-duplicates, diversity.

        Args:
            query: the question, which is embedded; or looked for in words.
            vector: or one vector, (d,), in its place; or beside it, where words or a reranker need the text;
            like: or ids of stored documents: what is near the mean of their vectors, but not these themselves.
            k: how many hits; fewer come only where fewer are eligible (or `min_relevance` leaves fewer).
            where: a filter on metadata (see `theodolite.filters`).
            mode: `dense` goes by similarity, `lexical` by words (BM25), `hybrid` by both, fused by rank.
            boosts: what else matters, such as `Freshness` and `Authority`: bounded factors on relevance.
            versions: rules for what is current (`Latest`, `Valid`, `Superseded`), in place of the collection's own; an
                empty list for none.
            as_of: the instant to be current at, a date, datetime or ISO-8601 string; now, by default.
            include_superseded: also find what is no longer current, marked (`Hit.version`).
            substitute: find a successor that fails the filter in place of a document that passes it, marked.
            now: what boosts take for the present; by default `as_of`, or the time, to the minute.
            min_relevance: leave out passages of less relevance than that, whatever boosts say; in dense mode.
            fusion: weights of the arms, in hybrid mode.
            rerank: a reranker, its name, or `Rerank(...)` with options: it reads the first 50 and orders them.
            diversity: from 0 to 1: how much a hit's likeness to those before it counts against it (MMR).
            dedupe: a cosine, 0.97 say: of hits that are at least so alike the best stays, with the others on it.
            pool: how many of the first diversity chooses from; five times k, at least 50, by default.
            accept: a function on documents, for what no filter can say: only those it is true of are hits, and come
                before reranking. More and more documents are read until there are enough of them, so a filter is
                quicker.

        Raises:
            InputError: k below 1; none or several of query, vector and like; an empty query; ids in `like` that
                are not there; options that are none.
            ConfigError: options that do not fit together, or would do nothing.
            VectorError, FilterError.
        """
        if (query is not None or vector is not None) == (like is not None):
            raise InputError("search takes either a query, a vector, or ids of documents (like)")
        how, count, tree = (
            self._ranking(
                mode=mode,
                boosts=boosts,
                versions=versions,
                as_of=as_of,
                include_superseded=include_superseded,
                substitute=substitute,
                now=now,
                min_relevance=min_relevance,
                fusion=fusion,
                rerank=rerank,
                diversity=diversity,
                dedupe=dedupe,
                pool=pool,
                accept=accept,
            ),
            as_k(k),
            parse(where),
        )
        if like is None:
            texts = None if query is None else [query]
            given = None if vector is None else as_batch(as_vectors(vector, "vector"))
            return self._search(texts, given, count, tree, how)[0]
        if how.mode != "dense" or how.rerank is not None:
            raise InputError("documents to search by (like) have no question in words: use dense mode, without rerank")
        names = list(dict.fromkeys(as_ids(like)))
        started = time.perf_counter()
        mean = between(self._engine, names, self._scope)
        return self._ranked(mean, (), [0], started, count, tree, how, watched=False, leave_out=frozenset(names))[0]

    def search_many(
        self,
        queries: Sequence[str] | None = None,
        *,
        vectors: Any = None,
        k: int = 10,
        where: Where = None,
        mode: Mode = "dense",
        boosts: Boost | Iterable[Boost] = (),
        versions: Rule | Iterable[Rule] | None = None,
        as_of: Any = None,
        include_superseded: bool = False,
        substitute: bool = False,
        now: Any = None,
        min_relevance: float | None = None,
        fusion: Fusion | None = None,
        rerank: Any = None,
        diversity: float = 0.0,
        dedupe: float | None = None,
        pool: int | None = None,
        accept: Accept | None = None,
    ) -> list[Hits]:
        """One `search` for each of several queries, or of `vectors` (n, d), or both; in one pass over the index."""
        if queries is None and vectors is None:
            raise InputError("search_many takes either queries or vectors")
        if vectors is not None:
            given = as_vectors(vectors, "vectors")
            vectors = given if hasattr(given, "__len__") else list(given)
        if isinstance(queries, str):
            raise InputError("search_many takes a list of queries; use search for one")
        how = self._ranking(
            mode=mode,
            boosts=boosts,
            versions=versions,
            as_of=as_of,
            include_superseded=include_superseded,
            substitute=substitute,
            now=now,
            min_relevance=min_relevance,
            fusion=fusion,
            rerank=rerank,
            diversity=diversity,
            dedupe=dedupe,
            pool=pool,
            accept=accept,
        )
        return self._search(queries, vectors, as_k(k), parse(where), how)

    def _ranking(self, *, versions: Any, **options: Any) -> Ranking:
        rules = self._rules if versions is None else as_rules(versions)
        return ranking(self._engine.space.metric, rules=rules, relevance=self._relevance, **options)

    def _search(
        self, texts: Sequence[str] | None, vectors: Any, k: int, where: Filter | None, how: Ranking
    ) -> list[Hits]:
        started = time.perf_counter()
        if texts is None and (how.mode != "dense" or how.rerank is not None):
            what = f"{how.mode} mode" if how.mode != "dense" else "a reranker"
            raise InputError(f"{what} needs the question in words: pass query= beside the vector")
        if texts is not None and vectors is not None:
            if how.mode == "dense" and how.rerank is None:
                raise InputError(
                    "a search takes either a query or a vector: both only where words are read, too, in hybrid mode or "
                    "by a reranker"
                )
            if len(texts) != len(vectors):
                raise InputError(f"there are {len(texts)} queries and {len(vectors)} vectors; each query needs one")
        embeds = vectors is None and how.mode != "lexical"
        encoder = self._encoder() if embeds else None
        if texts is not None:
            check_questions(texts)
        if encoder is not None:
            self._watch.ready()
        count = len(vectors if texts is None else texts)
        space = self._engine.space
        if space.dimension is None:  # nothing has ever been added
            return [Hits((), Trace("empty", 0, 0, 0, mode=how.mode))] * count
        unread = [0] * count
        if how.mode == "lexical":
            prepared = Vectors(np.empty((count, 0), np.float32))
        elif encoder is not None:
            prepared, unread = encoder.queries(texts or ())
        else:
            prepared, _ = prepare(vectors, space, name="query vectors", seen=self._seen)
        if how.mode != "lexical" and space.norms == "any" and get_metric(space.metric).grows_with_norm:
            self._norms.check(prepared)
        return self._ranked(prepared, texts or (), unread, started, k, where, how, watched=True)

    def _ranked(
        self,
        vectors: Vectors,
        texts: Sequence[str],
        unread: Sequence[int],
        started: float,
        k: int,
        where: Filter | None,
        how: Ranking,
        *,
        watched: bool,
        leave_out: frozenset[str] = frozenset(),
    ) -> list[Hits]:
        """Hits for prepared queries. `started` is when embedding began; `watched`: the monitor is told."""
        if not len(vectors):
            return []
        embedded = time.perf_counter() - started
        request = Request(
            vectors,
            how.wanted(k) + len(leave_out),
            where,
            self._scope,
            texts=texts if how.mode != "dense" else (),
            mode=how.mode,
            boosts=how.boosts,
            now=how.now,
            versions=how.versions,
            relevance=how.relevance,
            min_relevance=how.min_relevance,
            fusion=how.fusion,
            with_vectors=how.with_vectors,
        )
        answers = self._engine.search(request)
        if watched and self._monitor is not None and how.mode == "dense" and not how.boosts:
            self._monitor.searched(request, answers, (time.perf_counter() - started) / len(answers))
        found = []
        for number, found_first in enumerate(answers):
            wide, more = request, len(found_first.documents) == request.k
            answer = accepted(found_first, how.accept)
            candidates = 0 if how.rerank is None else how.rerank.candidates
            while True:
                if more and len(answer.documents) < request.k:  # of those that are accepted
                    answer, wide, more = self._wider(wide, request, number, how.accept)
                    continue
                if how.rerank is not None and how.dedupe is not None:
                    # Found out before anything is scored, so that the reranker reads once, and in its time.
                    enough = reach(answer, how, k)
                    if enough is None and more:
                        answer, wide, more = self._wider(wide, request, number, how.accept)
                        continue
                    candidates = max(candidates, enough or len(answer.documents))
                hits = finish(
                    answer,
                    how,
                    k=k,
                    text=texts[number] if texts else None,
                    candidates=candidates,
                    embed=embedded / len(answers),
                    unread=unread[number],
                    leave_out=leave_out,
                )
                if not how.widens or len(hits) == k:
                    break
                # What is alike has left too few: go on as long as there is more to find, or to read.
                if not more and (hits.trace.rerank != "ok" or candidates >= len(answer.documents)):
                    break
                candidates *= _WIDER
                if more:
                    answer, wide, more = self._wider(wide, request, number, how.accept)
            found.append(hits)
        return found

    def _wider(
        self, asked: Request, request: Request, number: int, accept: Accept | None
    ) -> tuple[Answer, Request, bool]:
        """More candidates for one of a request's queries than were `asked` for last.

        Returns:
            Those that are accepted, what is asked for now, and whether there may be more still.
        """
        wide = replace(
            request,
            vectors=Vectors(request.vectors[number : number + 1]),
            texts=request.texts[number : number + 1],
            k=asked.k * _WIDER,
            probe=True,
        )
        (answer,) = self._engine.search(wide)
        return accepted(answer, accept), wide, len(answer.documents) == wide.k

    def _as_queries(self, queries: Any) -> Vectors:
        """Texts or vectors, (n, d), prepared."""
        if len(queries) and isinstance(queries[0], str):
            encoder = self._encoder()
            check_questions(queries)
            self._watch.ready()
            return encoder.queries(queries)[0]
        return prepare(queries, self._engine.space, name="query vectors")[0]

    def _encoder(self) -> Encoder:
        if self._encoding is None:
            raise ConfigError("there is no embedder: open the collection with embedder=, or pass vectors")
        return self._encoding
