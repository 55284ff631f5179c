"""Answers: what a request finds in one snapshot."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from sqlite3 import Connection

import numpy as np
from numpy.typing import NDArray

from theodolite.engines.local.derived.columns.column import Column
from theodolite.engines.local.derived.snapshot import Snapshot, SnapshotManager
from theodolite.engines.local.derived.versions import VersionState
from theodolite.engines.local.search.document_cache import DocumentCache
from theodolite.engines.local.search.fusion import Arm, fuse
from theodolite.engines.local.search.hints import Hints
from theodolite.engines.local.search.lexical import Lexical, LexicalResult
from theodolite.engines.local.search.query_terms import words
from theodolite.engines.local.storage.lexical_table import OUTDATED, is_prepared
from theodolite.engines.local.storage.records import select_documents
from theodolite.engines.local.storage.scripts import needs_preparation, separated
from theodolite.filters import Filter
from theodolite.indexes.flat.boosted_score import BoostedScore
from theodolite.indexes.flat.index import Found
from theodolite.protocols import Answer, Request
from theodolite.ranking.boosts import Freshness
from theodolite.ranking.refusals import check_refusals
from theodolite.ranking.versions import dates_of
from theodolite.scopes import scope_filter
from theodolite.types import Mask, Rows, Trace

Doubles = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class EligibleRows:
    """What a request may find.

    Attributes:
        live: documents in the collection, or in the scope.
        inside: (rows,) which are in the scope; None for all.
        mask: (rows,) which are eligible; None for all.
        count: how many these are.
        version_state: what rules say of versions; None without rules.
        factors: (rows,) what boosts multiply by; None without boosts.
        notes: what should be known of the filter, the rules and the boosts.
    """

    live: int
    inside: Mask | None
    mask: Mask | None
    count: int
    version_state: VersionState | None
    factors: Doubles | None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Matches:
    """What was found for one query, all that tie with the last included.

    Attributes:
        rows: (n,).
        similarities: (n,); None in lexical mode.
        scores: (n,) what they are ordered by, if not by similarity.
        bm25: of the rows that words have found.
        found: what the index did; None in lexical mode.
        notes: what to say of the search by words (see `Trace.notes`).
    """

    rows: Rows
    similarities: NDArray[np.float32] | None
    scores: Doubles | None
    bm25: dict[int, float] | None = None
    found: Found | None = None
    notes: tuple[str, ...] = ()


class SearchExecutor:
    """Carries out requests."""

    def __init__(
        self,
        snapshots: SnapshotManager,
        hints: Hints,
        partition: str | None,
        record_query: Callable[[Snapshot, Request], None],
    ) -> None:
        """`record_query` is called with each query on a collection that has an approximate index."""
        self._snapshots = snapshots
        self._hints = hints
        self._record_query = record_query
        self._partition = partition
        self._index = Lexical()
        self._recent = DocumentCache()
        self._worth: BoostedScore | None = None

    def answers(self, connection: Connection, snapshot: Snapshot, request: Request) -> list[Answer]:
        """One answer for each query, within the snapshot's transaction."""
        started = time.perf_counter()
        eligible = self._eligible(connection, snapshot, request)
        if not eligible.live:
            commit = 0 if request.scope else snapshot.state.sequence
            trace = Trace("empty", 0, 0, 0, commit=commit, mode=request.mode)
            return [Answer([], [], trace) for _ in request.vectors]
        if request.mode != "lexical" or request.with_vectors:
            snapshot = self._snapshots.searchable(snapshot)
        matches = self._matches(connection, snapshot, request, eligible)
        searched = time.perf_counter()
        share = (searched - started) / len(matches)
        answers = []
        for match in matches:
            answers.append(self._answer(connection, snapshot, request, eligible, match, (share, searched)))
            searched = time.perf_counter()
        return answers

    def _eligible(self, connection: Connection, snapshot: Snapshot, request: Request) -> EligibleRows:
        live, scope = snapshot.state.live, request.scope
        inside = within = None
        if scope is not None:
            within = scope_filter(scope, self._partition)
            inside = self._snapshots.mask(snapshot, within, connection)
            live = live if inside is None else int(np.count_nonzero(inside))
        if not live:
            return EligibleRows(0, inside, None, 0, None, None)
        passed = mask = inside
        if request.where is not None:
            passed = mask = self._snapshots.mask(snapshot, request.where, connection)
            if inside is not None and mask is not None:
                passed = mask = mask & inside
        elif inside is None:
            mask = self._snapshots.mask(snapshot, None, connection)
        version_state = None

        def column(name: str) -> Column:
            return self._snapshots.column(snapshot, name, connection)

        def passing(tree: Filter) -> Mask:
            return self._snapshots.mask(snapshot, tree, connection)

        if request.versions is not None:
            version_state = snapshot.version_states.at(
                request.versions,
                snapshot.state.sequence,
                column,
                passing,
                snapshot.live,
                inside,
                None if scope is None else scope.where,
                passed,
            )
            mask = version_state.mask
        count = live if mask is None else int(np.count_nonzero(mask))
        if count == snapshot.rows:
            mask = None
        factors = None
        if request.boosts and count:
            check_refusals(
                request.boosts,
                request.now,
                passing,
                mask,
                count,
                lambda row: next(iter(select_documents(connection, "id", "row", [snapshot.keys.key(row)])))[0],
            )
            factors = snapshot.boost_factors.product(request.boosts, request.now, column, snapshot.rows, inside)
        dated = _dated(request)
        notes: tuple[str, ...] = ()
        if request.where is not None or dated:
            notes = self._hints.notes(connection, snapshot, request.where, within, found=count, dated=dated)
        return EligibleRows(live, inside, mask, count, version_state, factors, notes)

    def _matches(
        self, connection: Connection, snapshot: Snapshot, request: Request, eligible: EligibleRows
    ) -> list[Matches]:
        if request.mode == "dense":
            return [_dense(found, request) for found in self._found(snapshot, request, eligible, request.k)]
        if request.mode == "lexical":
            return [self._lexical(connection, snapshot, request, text, request.k, eligible) for text in request.texts]
        depth = max(request.k, request.fusion.depth)
        found = self._found(snapshot, request, eligible, depth)
        return [
            self._fused(
                snapshot, request, number, one, self._lexical(connection, snapshot, request, text, depth, eligible)
            )
            for number, (one, text) in enumerate(zip(found, request.texts, strict=True))
        ]

    def _found(self, snapshot: Snapshot, request: Request, eligible: EligibleRows, k: int) -> list[Found]:
        """What is near, and preferred by boosts."""
        worth = self._worthy(request, eligible.factors)
        vectors, mask = request.vectors, eligible.mask
        if snapshot.approximate is None or request.exact:
            found = snapshot.flat.search(vectors, k, snapshot.vectors, mask, worth)
        else:
            found = snapshot.approximate.search(vectors, k, snapshot.flat, snapshot.vectors, mask, worth)
        if snapshot.record is not None and not request.probe:
            self._record_query(snapshot, request)
        return found

    def _worthy(self, request: Request, factors: Doubles | None) -> BoostedScore | None:
        """What boosts and `min_relevance` make of similarities. The last one is kept: it learns of groups of rows."""
        if factors is None or request.relevance is None:
            return None
        least = -np.inf if request.min_relevance is None else request.min_relevance
        kept = self._worth
        if kept is None or kept.factors is not factors or (kept.relevance, kept.least) != (request.relevance, least):
            self._worth = kept = BoostedScore(factors, request.relevance, least)
        return kept

    def _lexical(
        self, connection: Connection, snapshot: Snapshot, request: Request, text: str, n: int, eligible: EligibleRows
    ) -> Matches:
        inside = snapshot.live if eligible.inside is None else eligible.inside
        prepared = is_prepared(connection)
        looked_for = words(separated(text) if prepared else text)
        found = self._index.search(
            connection,
            snapshot.state,
            looked_for,
            n,
            inside,
            eligible.mask,
            eligible.factors,
            prepared=prepared,
            keys=snapshot.keys,
        )
        notes = () if prepared else _outdated(text, found)
        if not len(found.rows) and eligible.count:
            notes = (_nothing_found(request, looked_for, found), *notes)
        bm25 = dict(zip(found.rows.tolist(), found.bm25.tolist(), strict=True))
        return Matches(found.rows, None, found.worths, bm25, notes=notes)

    def _fused(self, snapshot: Snapshot, request: Request, number: int, found: Found, words: Matches) -> Matches:
        fusion = request.fusion
        near = Arm(found.rows, found.scores if found.worths is None else found.worths, fusion.dense)
        rows, scores = fuse([near, Arm(words.rows, words.scores, fusion.lexical)], fusion.constant)
        known = dict(zip(found.rows.tolist(), found.scores.tolist(), strict=True))
        rest = np.array([row for row in rows.tolist() if row not in known], np.int64)
        if len(rest):
            more = snapshot.flat.score(request.vectors[number], rest, snapshot.vectors)
            known.update(zip(rest.tolist(), more.tolist(), strict=True))
        similarities = np.array([known[row] for row in rows.tolist()], np.float32)
        return Matches(rows, similarities, scores, words.bm25, found, words.notes)

    def _answer(
        self,
        connection: Connection,
        snapshot: Snapshot,
        request: Request,
        eligible: EligibleRows,
        match: Matches,
        times: tuple[float, float],
    ) -> Answer:
        order = _ordered(connection, snapshot, match)[: request.k]
        rows = match.rows[order]
        documents = self._recent.documents(connection, snapshot.era, snapshot.keys_of(rows))
        scores = None if match.scores is None else match.scores[order].tolist()
        similarities = [] if match.similarities is None else match.similarities[order].tolist()
        bm25 = () if match.bm25 is None else [match.bm25.get(row) for row in rows.tolist()]
        version_state = eligible.version_state
        versions = () if version_state is None else [version_state.version(row) for row in rows.tolist()]
        vectors = snapshot.vectors.take(rows) if request.with_vectors else None
        share, searched = times
        timings = {"search": share, "fetch": time.perf_counter() - searched}
        return Answer(
            documents,
            similarities,
            _trace(snapshot, request, eligible, match, timings),
            scores,
            bm25,
            versions,
            vectors,
        )


def _dated(request: Request) -> list[str]:
    """The fields that rules and boosts read as dates."""
    fields = [boost.field for boost in request.boosts if isinstance(boost, Freshness)]
    for rule in () if request.versions is None else request.versions.rules:
        fields += dates_of(rule)
    return fields


def _dense(found: Found, request: Request) -> Matches:
    match = Matches(found.rows, found.scores, found.worths, None, found)
    if request.min_relevance is None or request.relevance is None or found.worths is not None:
        return match
    keep = request.relevance(found.scores) >= request.min_relevance
    return Matches(found.rows[keep], found.scores[keep], None, None, found)


def _trace(
    snapshot: Snapshot, request: Request, eligible: EligibleRows, match: Matches, timings: dict[str, float]
) -> Trace:
    found = match.found
    # Which way is taken, and at what cost, depends on what lies outside a scope as well.
    if request.scope is not None:
        path, scored, proposed = "scope", 0, 0
    elif found is None:
        path, scored, proposed = "lexical", 0, 0
    else:
        path, scored, proposed = found.path, found.scored, found.proposed
    if not eligible.count:
        path, scored, proposed = "empty", 0, 0
    return Trace(
        path,
        eligible.live,
        eligible.count,
        scored,
        proposed=proposed,
        complete=True if found is None else found.complete,
        timings=timings,
        commit=snapshot.state.sequence if request.scope is None else 0,
        mode=request.mode,
        superseded=0 if eligible.version_state is None else eligible.version_state.superseded,
        notes=(*eligible.notes, *match.notes),
    )


def _nothing_found(request: Request, looked_for: Mapping[str, float], found: LexicalResult) -> str:
    """Why a search by words has found no document."""
    if not looked_for:
        said = "The question has no words"
    elif found.known:
        said = "The question's words are only in documents that the filter or the rules for versions leave out"
    else:
        said = f"No document{'' if request.scope is None else ' in the scope'} has any of the question's words"
    return f"{said}{', so only similarity ranks the hits' if request.mode == 'hybrid' else ''}."


def _outdated(text: str, found: LexicalResult) -> tuple[str, ...]:
    """Said where an index of plain texts may miss what a question asks for."""
    return (OUTDATED,) if needs_preparation(text) or not len(found.rows) else ()


def _ordered(connection: Connection, snapshot: Snapshot, match: Matches) -> NDArray[np.int64]:
    """Places of the matches: by score, then by similarity, then by id."""
    keys = [key for key in (match.similarities, match.scores) if key is not None]
    order: NDArray[np.int64] = np.lexsort([-key for key in keys])
    tied = np.ones(max(len(order) - 1, 0), np.bool_)
    for key in keys:
        tied &= key[order[1:]] == key[order[:-1]]
    if not tied.any():
        return order
    keys_of_matches = snapshot.keys_of(match.rows)
    names: dict[int, str] = dict(select_documents(connection, "row, id", "row", keys_of_matches))
    groups = np.concatenate([[0], np.cumsum(~tied)]).tolist()
    places = sorted(
        zip(groups, order.tolist(), strict=True), key=lambda one: (one[0], names.get(keys_of_matches[one[1]], ""))
    )
    return np.array([place for _, place in places], np.int64)
