"""Run a Request on a remote store. The answers are those of the local engine."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from theodolite.engines.remote.boosts import check_refusals, factors_by_key
from theodolite.engines.remote.lexical import LexicalMatches, RemoteLexicalSearch
from theodolite.engines.remote.nearest import Boosting, Nearest, NearestSearch
from theodolite.engines.remote.notes import RemoteNotes
from theodolite.engines.remote.source import Doubles, Eligible, Keys, OpenView, Source, StaleViewError, State
from theodolite.engines.remote.versions import RemoteVersions, RemoteVersionState
from theodolite.protocols import Answer, Request
from theodolite.ranking.fusion import Arm, fuse
from theodolite.ranking.notes import no_match_note, request_dates
from theodolite.scopes import scope_filter
from theodolite.types import Document, Trace
from theodolite.vectors.metrics import MetricName, get_metric


@dataclass(frozen=True, slots=True, eq=False)
class _EligibleDocuments:
    """The documents that a request may return.

    Attributes:
        eligible: the conditions by which a source finds them.
        count: the number of documents.
        versions: the version rules, applied; None without rules.
        notes: notes on the filter, the rules and the boosts.
    """

    eligible: Eligible
    count: int
    versions: RemoteVersionState | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class _Matches:
    """The documents that match one query: the k best, plus all that tie with the last one. In any order.

    Attributes:
        similarities: (n,) float32; None in lexical mode.
        scores: (n,) the scores to rank by; None to rank by similarity.
        bm25: by key, of the documents that lexical search returned; None in dense mode.
        vectors: (n, d) float32, if already loaded.
        documents: n, if already loaded.
        nearest: the result of the search by vector; None in lexical mode.
        lexical: the result of the search by words; None in dense mode.
    """

    keys: Keys
    ids: Sequence[str]
    similarities: NDArray[np.float32] | None
    scores: Doubles | None
    bm25: dict[int, float] | None = None
    vectors: NDArray[np.float32] | None = None
    documents: Sequence[Document] | None = None
    nearest: Nearest | None = None
    lexical: LexicalMatches | None = None


class RemoteSearch:
    """Runs requests over a `Source` (see `source` for who does what). Thread-safe."""

    def __init__(self, views: OpenView, metric: MetricName, partition: str | None) -> None:
        """
        Args:
            partition: the field that partitions the collection, or None.
        """
        self._views = views
        self._metric = get_metric(metric)
        self._partition = partition
        self._versions = RemoteVersions(partition)
        self._lexical = RemoteLexicalSearch()
        self.notes = RemoteNotes()

    def search(self, request: Request) -> list[Answer]:
        """Return one answer for each query (see `Engine.search`)."""
        if request.scope is not None:
            scope_filter(request.scope, self._partition)  # raises if the collection has no partitions
        if request.mode == "dense" and not request.boosts and request.versions is None:
            try:
                with self._views(lasting=False) as source:
                    return self._answers(source, request, single=True)
            except StaleViewError:
                pass
        with self._views(lasting=True) as source:
            return self._answers(source, request, single=False)

    def _answers(self, source: Source, request: Request, *, single: bool) -> list[Answer]:
        """Run the request on one view. With `single`, the first call lists documents, and may be the only one."""
        started = time.perf_counter()
        nearest: list[Nearest] | None = None
        if single:
            eligible = Eligible(request.scope, request.where)
            search = NearestSearch(
                source,
                self._metric,
                request.k,
                eligible,
                lambda: source.count(eligible),
                exact=request.exact,
                probe=request.probe,
                with_documents=True,
            )
            nearest = search.run(request.vectors)
        state = source.state(request.scope)
        if not state.live:
            commit = 0 if request.scope else state.sequence
            trace = Trace("empty", 0, 0, 0, commit=commit, mode=request.mode)
            return [Answer([], [], trace) for _ in request.vectors]
        found = self._eligible(source, state, request)
        if nearest is None:
            matches = self._matches(source, request, found)
        else:
            matches = [_dense_matches(result, request) for result in nearest]
        search_time = (time.perf_counter() - started) / max(1, len(matches))
        return [self._answer(source, state, request, found, match, search_time) for match in matches]

    def _eligible(self, source: Source, state: State, request: Request) -> _EligibleDocuments:
        eligible, versions, count = Eligible(request.scope, request.where), None, None
        if request.versions is not None:
            versions = self._versions.at(source, state, request, request.versions)
            eligible, count = versions.eligible, versions.count
        if count is None:
            count = state.live if eligible.is_whole_scope else source.count(eligible)
        if request.boosts and count:
            check_refusals(source, request, eligible, count)
        notes: tuple[str, ...] = ()
        dates = request_dates(request)
        if request.where is not None or dates:
            notes = self.notes.notes(source, request.where, request.scope, matching=count, dates=dates)
        return _EligibleDocuments(eligible, count, versions, notes)

    def _matches(self, source: Source, request: Request, found: _EligibleDocuments) -> list[_Matches]:
        factors = factors_by_key(source, request) if request.boosts else None
        depth = max(request.k, request.fusion.depth) if request.mode == "hybrid" else request.k
        nearest: list[Nearest] = []
        if request.mode != "lexical":
            nearest = self._nearest(source, request, found, depth, factors)
        if request.mode == "dense":
            return [_dense_matches(result, request) for result in nearest]
        if found.count:
            lexical = [self._lexical.search(source, text, depth, found.eligible, factors) for text in request.texts]
        else:
            lexical = [LexicalMatches.empty()] * len(request.texts)
        if request.mode == "lexical":
            return [_lexical_matches(result) for result in lexical]
        return [
            self._fused(source, request, number, *arms)
            for number, arms in enumerate(zip(nearest, lexical, strict=True))
        ]

    def _nearest(
        self,
        source: Source,
        request: Request,
        found: _EligibleDocuments,
        k: int,
        factors: Callable[[Keys], Doubles] | None,
    ) -> list[Nearest]:
        if not found.count:
            none = np.empty(0, np.int64)
            empty = Nearest(none, [], np.empty(0, np.float32), np.empty((0, request.vectors.shape[1]), np.float32))
            return [empty] * len(request.vectors)
        boosting = None
        if factors is not None and request.relevance is not None:
            least = -np.inf if request.min_relevance is None else request.min_relevance
            boosting = Boosting(factors, request.relevance, least)
        search = NearestSearch(
            source, self._metric, k, found.eligible, lambda: found.count, exact=request.exact, probe=request.probe
        )
        return search.run(request.vectors, boosting)

    def _fused(
        self, source: Source, request: Request, number: int, nearest: Nearest, lexical: LexicalMatches
    ) -> _Matches:
        """Fuse the arms of query `number`, and score the documents that only lexical search returned."""
        fusion = request.fusion
        dense = Arm(nearest.keys, nearest.similarities if nearest.boosted is None else nearest.boosted, fusion.dense)
        order = np.argsort(-dense.scores, kind="stable") if dense.scores is not None else np.arange(len(dense.rows))
        dense = Arm(dense.rows[order], None if dense.scores is None else dense.scores[order], fusion.dense)
        keys, scores = fuse([dense, Arm(lexical.keys, lexical.boosted, fusion.lexical)], fusion.constant)
        similarity_of = dict(zip(nearest.keys.tolist(), nearest.similarities.tolist(), strict=True))
        unscored = np.array([key for key in keys.tolist() if key not in similarity_of], np.int64)
        if len(unscored):
            similarities = self._metric.scores(request.vectors[number], source.vectors(unscored))
            similarity_of.update(zip(unscored.tolist(), similarities.tolist(), strict=True))
        id_of = dict(zip(nearest.keys.tolist(), nearest.ids, strict=True))
        id_of.update(zip(lexical.keys.tolist(), lexical.ids, strict=True))
        return _Matches(
            keys,
            [id_of[key] for key in keys.tolist()],
            np.array([similarity_of[key] for key in keys.tolist()], np.float32),
            scores,
            _bm25(lexical),
            nearest=nearest,
            lexical=lexical,
        )

    def _answer(
        self,
        source: Source,
        state: State,
        request: Request,
        found: _EligibleDocuments,
        match: _Matches,
        search_time: float,
    ) -> Answer:
        fetching = time.perf_counter()
        order = _ranked(match)[: request.k]
        keys = match.keys[order]
        if match.documents is not None:
            documents = [match.documents[place] for place in order]
        else:
            documents = source.documents(keys) if len(keys) else []
        similarities = [] if match.similarities is None else match.similarities[order].tolist()
        scores = None if match.scores is None else match.scores[order].tolist()
        bm25 = () if match.bm25 is None else [match.bm25.get(key) for key in keys.tolist()]
        versions = () if found.versions is None else [found.versions.version(key) for key in keys.tolist()]
        vectors = None
        if request.with_vectors:
            vectors = match.vectors[order] if match.vectors is not None else source.vectors(keys)
        timings = {"search": search_time, "fetch": time.perf_counter() - fetching}
        trace = _trace(state, request, found, match, timings)
        return Answer(documents, similarities, trace, scores, bm25, versions, vectors)


def _dense_matches(nearest: Nearest, request: Request) -> _Matches:
    keep = np.arange(len(nearest.keys))
    # With boosts, min_relevance has been applied already.
    if request.min_relevance is not None and request.relevance is not None and nearest.boosted is None:
        keep = np.flatnonzero(request.relevance(nearest.similarities) >= request.min_relevance)
    documents = nearest.documents
    return _Matches(
        nearest.keys[keep],
        [nearest.ids[place] for place in keep.tolist()],
        nearest.similarities[keep],
        None if nearest.boosted is None else nearest.boosted[keep],
        vectors=nearest.vectors[keep],
        documents=None if documents is None else [documents[place] for place in keep.tolist()],
        nearest=nearest,
    )


def _lexical_matches(lexical: LexicalMatches) -> _Matches:
    return _Matches(lexical.keys, lexical.ids, None, lexical.boosted, _bm25(lexical), lexical=lexical)


def _bm25(lexical: LexicalMatches) -> dict[int, float]:
    return dict(zip(lexical.keys.tolist(), lexical.bm25.tolist(), strict=True))


def _ranked(match: _Matches) -> list[int]:
    """Return the places of the matches, ranked by score, then by similarity, then by id."""
    ranks: list[list[float]] = [
        (-values).tolist() for values in (match.scores, match.similarities) if values is not None
    ]
    return [place for *_, place in sorted(zip(*ranks, match.ids, range(len(match.ids)), strict=True))]


def _trace(
    state: State, request: Request, found: _EligibleDocuments, match: _Matches, timings: dict[str, float]
) -> Trace:
    nearest, lexical = match.nearest, match.lexical
    notes = found.notes
    if request.scope is not None:  # the path and its cost depend on documents outside the scope, too
        path, scored, proposed = "scope", 0, 0
    elif nearest is None:
        path, scored, proposed = "lexical", 0, 0
    else:
        path, scored, proposed = nearest.path, nearest.scored, nearest.proposed
        notes += nearest.notes
    if not found.count:
        path, scored, proposed = "empty", 0, 0
    if lexical is not None and not len(lexical.keys) and found.count:
        notes += (no_match_note(request, has_terms=lexical.has_terms, known=lexical.known),)
    return Trace(
        path,
        state.live,
        found.count,
        scored,
        proposed=proposed,
        complete=(nearest is None or nearest.complete) and (lexical is None or lexical.complete),
        timings=timings,
        commit=state.sequence if request.scope is None else 0,
        mode=request.mode,
        superseded=0 if found.versions is None else found.versions.superseded,
        notes=notes,
    )
