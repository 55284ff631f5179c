"""Run a Request against one snapshot."""

import time
from collections.abc import Callable
from dataclasses import replace
from sqlite3 import Connection

import numpy as np
from numpy.typing import NDArray

from theodolite.analysis.bm25 import BM25
from theodolite.analysis.query_terms import query_terms
from theodolite.analysis.unspaced_scripts import needs_preparation, separate_runs
from theodolite.engines.local.derived.index_record import FLAT
from theodolite.engines.local.derived.snapshot import Snapshot, SnapshotManager
from theodolite.engines.local.search.documents import DocumentCache
from theodolite.engines.local.search.field_summary import Hints
from theodolite.engines.local.search.lexical import LexicalResult, LexicalSearch
from theodolite.engines.local.storage.lexical_table import OUTDATED, is_prepared
from theodolite.engines.local.storage.records import select_documents
from theodolite.errors import IndexWarning
from theodolite.frozen import frozen
from theodolite.indexes.flat.boosted import BoostedScore
from theodolite.indexes.flat.index import Found
from theodolite.protocols import Answer, Request
from theodolite.ranking.boosts import check_refusals
from theodolite.ranking.fusion import Arm, fuse
from theodolite.ranking.notes import NoteWarnings, no_match_note, request_dates
from theodolite.ranking.version_state import VersionState
from theodolite.ranking.versions import Versions
from theodolite.scopes import scope_filter
from theodolite.types import Mask, Rows, Trace

_LARGE = 10_000
"""Documents from which an index that is not used is worth a warning, and not only a note."""

Doubles = NDArray[np.float64]
RecordQuery = Callable[[Snapshot, Request], None]


@frozen(eq=False)
class EligibleRows:
    """The rows that a request may return.

    Attributes:
        live: number of documents in the collection, or in the scope.
        in_scope: (rows,) True for rows in the scope; None for all.
        mask: (rows,) True for eligible rows; None for all.
        count: number of eligible rows.
        version_state: the rules for versions, applied; None without rules.
        factors: (rows,) the factors of the boosts; None without boosts.
        notes: notes on the filter, the rules and the boosts (see `Trace.notes`).
    """

    live: int
    in_scope: Mask | None
    mask: Mask | None
    count: int
    version_state: VersionState | None
    factors: Doubles | None
    notes: tuple[str, ...] = ()


@frozen(eq=False)
class Matches:
    """The rows that match one query: the k best, plus all rows that tie with the last one.

    Attributes:
        rows: (n,).
        similarities: (n,); None in lexical mode.
        scores: (n,) the scores to rank by; None to rank by similarity.
        bm25: BM25 score by row, of the rows that lexical search returned.
        nearest: the result of the vector index; None in lexical mode.
        notes: notes on the lexical search (see `Trace.notes`).
    """

    rows: Rows
    similarities: NDArray[np.float32] | None
    scores: Doubles | None
    bm25: dict[int, float] | None = None
    nearest: Found | None = None
    notes: tuple[str, ...] = ()


class SearchExecutor:
    """Runs a Request against one snapshot.

    It keeps recently returned documents and the postings of recent query terms in memory.
    """

    def __init__(
        self, snapshots: SnapshotManager, hints: Hints, partition: str | None, bm25: BM25, record_query: RecordQuery
    ) -> None:
        """
        Args:
            record_query: called with each query on a collection that has an approximate index.
        """
        self._snapshots = snapshots
        self._hints = hints
        self._partition = partition
        self._record_query = record_query
        self._lexical_search = LexicalSearch(bm25)
        self._documents = DocumentCache()
        self._last_boosted: BoostedScore | None = None
        self._warnings = NoteWarnings()

    def answers(self, connection: Connection, snapshot: Snapshot, request: Request) -> list[Answer]:
        """Return one answer for each query, within the snapshot's transaction."""
        started = time.perf_counter()
        eligible = self._eligible_rows(connection, snapshot, request)
        if not eligible.live:
            commit = 0 if request.scope else snapshot.state.sequence
            trace = Trace("empty", 0, 0, 0, commit=commit, mode=request.mode)
            return [Answer([], [], trace) for _ in request.vectors]
        if request.mode != "lexical" or request.with_vectors:
            snapshot = self._snapshots.searchable(snapshot)

        depth = max(request.k, request.fusion.depth) if request.mode == "hybrid" else request.k
        nearest: list[Found] = []
        if request.mode != "lexical":
            boosted = self._boosted_score(request, eligible.factors) if request.relevance is not None else None
            if snapshot.approximate is None or request.exact:
                nearest = snapshot.flat.search(request.vectors, depth, snapshot.vectors, eligible.mask, boosted)
            else:
                nearest = snapshot.approximate.search(
                    request.vectors, depth, snapshot.flat, snapshot.vectors, eligible.mask, boosted
                )
            if snapshot.record is not None and not request.probe:
                self._record_query(snapshot, request)
                if nearest[0].path != "index" and _is_plain(request):
                    notes = self._index_notes(snapshot, depth)
                    eligible = replace(eligible, notes=(*eligible.notes, *notes))
        if request.mode == "dense":
            matches = [_dense_matches(result, request) for result in nearest]
        else:
            matches = [
                self._lexical_matches(connection, snapshot, request, text, depth, eligible) for text in request.texts
            ]
        if request.mode == "hybrid":
            matches = [
                _fused_matches(snapshot, request, number, result, lexical)
                for number, (result, lexical) in enumerate(zip(nearest, matches, strict=True))
            ]

        fetching = time.perf_counter()
        search_time = (fetching - started) / len(matches)
        answers = []
        for match in matches:
            answers.append(self._answer(connection, snapshot, request, eligible, match, search_time, fetching))
            fetching = time.perf_counter()
        return answers

    def _eligible_rows(self, connection: Connection, snapshot: Snapshot, request: Request) -> EligibleRows:
        live, scope = snapshot.state.live, request.scope
        in_scope = confined = None
        if scope is not None:
            confined = scope_filter(scope, self._partition)
            in_scope = self._snapshots.mask(snapshot, confined, connection)
            live = live if in_scope is None else int(np.count_nonzero(in_scope))
        if not live:
            return EligibleRows(0, in_scope, None, 0, None, None)
        passing = mask = in_scope
        if request.where is not None:
            passing = mask = self._snapshots.mask(snapshot, request.where, connection)
            if in_scope is not None and mask is not None:
                passing = mask = mask & in_scope
        version_state = None
        if request.versions is not None:
            version_state = self._version_state(connection, snapshot, request, request.versions, in_scope, passing)
            mask = version_state.mask
        count = live if mask is None else int(np.count_nonzero(mask))
        if count == snapshot.rows:
            mask = None
        elif mask is None:
            mask = snapshot.live
        factors = None
        if request.boosts and count:
            factors = self._boost_factors(connection, snapshot, request, in_scope, mask, count)
        notes: tuple[str, ...] = ()
        if request.where is not None or request.boosts or request.versions is not None:
            dates = request_dates(request)
            if request.where is not None or dates:
                notes = self._hints.notes(connection, snapshot, request.where, confined, matching=count, dates=dates)
        return EligibleRows(live, in_scope, mask, count, version_state, factors, notes)

    def _index_notes(self, snapshot: Snapshot, k: int) -> tuple[str, ...]:
        """Say why a search of all documents did not use the approximate index, and warn where that costs time."""
        record, index = snapshot.record, snapshot.approximate
        if record is None or record.spec == FLAT:
            return ()
        built = record.files > 0 and record.generation == snapshot.state.generation
        if not built:
            why = "it is not built yet"
        elif index is None:
            why = "its files cannot be loaded. Call reindex(), or see the log"
        else:
            why = index.why_exact(k, snapshot.flat, snapshot.vectors) or "exact search was cheaper for this query"
        note = f"The index {record.spec} was not used: {why}."
        if built and snapshot.rows >= _LARGE:
            self._warnings.warn([note], IndexWarning)
        return (note,)

    def _version_state(
        self,
        connection: Connection,
        snapshot: Snapshot,
        request: Request,
        versions: Versions,
        in_scope: Mask | None,
        passing: Mask | None,
    ) -> VersionState:
        return snapshot.version_states.at(
            versions,
            snapshot.state.sequence,
            lambda name: self._snapshots.column(snapshot, name, connection),
            lambda tree: self._snapshots.mask(snapshot, tree, connection),
            snapshot.live,
            in_scope,
            None if request.scope is None else request.scope.where,
            passing,
        )

    def _boost_factors(
        self,
        connection: Connection,
        snapshot: Snapshot,
        request: Request,
        in_scope: Mask | None,
        mask: Mask | None,
        count: int,
    ) -> Doubles:
        """Return the boosts' factors, (rows,). Raises ConfigError if a boost refuses the values of an eligible row."""

        def id_of(row: int) -> str:
            ((name,),) = select_documents(connection, "id", "row", [snapshot.keys.key(row)])
            return str(name)

        check_refusals(
            request.boosts,
            request.now,
            lambda tree: self._snapshots.mask(snapshot, tree, connection),
            mask,
            count,
            id_of,
        )
        return snapshot.boost_factors.product(
            request.boosts,
            request.now,
            lambda name: self._snapshots.column(snapshot, name, connection),
            snapshot.rows,
            in_scope,
        )

    def _boosted_score(self, request: Request, factors: Doubles | None) -> BoostedScore | None:
        """Return the score of the boosts and `min_relevance`.

        The last one is reused for the same boosts, because it learns the highest factor of groups of rows.
        """
        if factors is None or request.relevance is None:
            return None
        least = -np.inf if request.min_relevance is None else request.min_relevance
        last = self._last_boosted
        if last is None or last.factors is not factors or (last.relevance, last.least) != (request.relevance, least):
            self._last_boosted = last = BoostedScore(factors, request.relevance, least)
        return last

    def _lexical_matches(
        self, connection: Connection, snapshot: Snapshot, request: Request, text: str, k: int, eligible: EligibleRows
    ) -> Matches:
        prepared = is_prepared(connection)
        terms = query_terms(separate_runs(text) if prepared else text)
        result = self._lexical_search.search(
            connection,
            snapshot.state,
            terms,
            k,
            snapshot.live if eligible.in_scope is None else eligible.in_scope,
            eligible.mask,
            eligible.factors,
            prepared=prepared,
            keys=snapshot.keys,
        )
        notes = () if prepared else _outdated_note(text, result)
        if not len(result.rows) and eligible.count:
            notes = (no_match_note(request, has_terms=bool(terms), known=result.known), *notes)
        bm25 = dict(zip(result.rows.tolist(), result.bm25.tolist(), strict=True))
        return Matches(result.rows, None, result.boosted, bm25, notes=notes)

    def _answer(
        self,
        connection: Connection,
        snapshot: Snapshot,
        request: Request,
        eligible: EligibleRows,
        match: Matches,
        search_time: float,
        fetching: float,
    ) -> Answer:
        order = _ranked(connection, snapshot, match)[: request.k]
        rows = match.rows[order]
        documents = self._documents.documents(connection, snapshot.era, snapshot.keys_of(rows))
        scores = None if match.scores is None else match.scores[order].tolist()
        similarities = [] if match.similarities is None else match.similarities[order].tolist()
        bm25 = () if match.bm25 is None else [match.bm25.get(row) for row in rows.tolist()]
        state = eligible.version_state
        versions = () if state is None else [state.version(row) for row in rows.tolist()]
        vectors = snapshot.vectors.take(rows) if request.with_vectors else None
        timings = {"search": search_time, "fetch": time.perf_counter() - fetching}
        trace = _trace(snapshot, request, eligible, match, timings)
        return Answer(documents, similarities, trace, scores, bm25, versions, vectors)


def _is_plain(request: Request) -> bool:
    """Return whether an index should answer: one query of all documents. Other searches are often cheaper exactly."""
    narrowed = request.where is not None or request.scope is not None or request.versions is not None
    return len(request.vectors) == 1 and not (narrowed or request.boosts or request.exact)


def _dense_matches(nearest: Found, request: Request) -> Matches:
    rows, similarities, scores = nearest.rows, nearest.scores, nearest.boosted
    # With boosts the index has applied min_relevance already.
    if request.min_relevance is not None and request.relevance is not None and scores is None:
        relevant = request.relevance(similarities) >= request.min_relevance
        rows, similarities = rows[relevant], similarities[relevant]
    return Matches(rows, similarities, scores, None, nearest)


def _fused_matches(snapshot: Snapshot, request: Request, number: int, nearest: Found, lexical: Matches) -> Matches:
    """Fuse the results for query `number`, and score the rows that only lexical search returned."""
    fusion = request.fusion
    dense = Arm(nearest.rows, nearest.scores if nearest.boosted is None else nearest.boosted, fusion.dense)
    rows, scores = fuse([dense, Arm(lexical.rows, lexical.scores, fusion.lexical)], fusion.constant)
    similarity_of = dict(zip(nearest.rows.tolist(), nearest.scores.tolist(), strict=True))
    unscored = np.array([row for row in rows.tolist() if row not in similarity_of], np.int64)
    if len(unscored):
        similarities = snapshot.flat.score(request.vectors[number], unscored, snapshot.vectors)
        similarity_of.update(zip(unscored.tolist(), similarities.tolist(), strict=True))
    similarities = np.array([similarity_of[row] for row in rows.tolist()], np.float32)
    return Matches(rows, similarities, scores, lexical.bm25, nearest, lexical.notes)


def _ranked(connection: Connection, snapshot: Snapshot, match: Matches) -> NDArray[np.int64]:
    """Return the places of the matches, ranked by score, then by similarity, then by id."""
    values = [value for value in (match.similarities, match.scores) if value is not None]
    order: NDArray[np.int64] = np.lexsort([-value for value in values])
    tied = np.ones(max(len(order) - 1, 0), np.bool_)
    for value in values:
        tied &= value[order[1:]] == value[order[:-1]]
    if not tied.any():
        return order
    keys = snapshot.keys_of(match.rows)
    id_of: dict[int, str] = dict(select_documents(connection, "row, id", "row", keys))
    groups = np.concatenate([[0], np.cumsum(~tied)]).tolist()
    places = sorted(zip(groups, order.tolist(), strict=True), key=lambda pair: (pair[0], id_of.get(keys[pair[1]], "")))
    return np.array([place for _, place in places], np.int64)


def _trace(
    snapshot: Snapshot, request: Request, eligible: EligibleRows, match: Matches, timings: dict[str, float]
) -> Trace:
    nearest = match.nearest
    if request.scope is not None:  # the path and its cost depend on documents outside the scope, too
        path, scored, proposed = "scope", 0, 0
    elif nearest is None:
        path, scored, proposed = "lexical", 0, 0
    else:
        path, scored, proposed = nearest.path, nearest.scored, nearest.proposed
    if not eligible.count:
        path, scored, proposed = "empty", 0, 0
    return Trace(
        path,
        eligible.live,
        eligible.count,
        scored,
        proposed=proposed,
        complete=True if nearest is None else nearest.complete,
        timings=timings,
        commit=snapshot.state.sequence if request.scope is None else 0,
        mode=request.mode,
        superseded=0 if eligible.version_state is None else eligible.version_state.superseded,
        notes=(*eligible.notes, *match.notes),
    )


def _outdated_note(text: str, result: LexicalResult) -> tuple[str, ...]:
    """Warn if an index of unprepared texts may miss matches."""
    return (OUTDATED,) if needs_preparation(text) or not len(result.rows) else ()
