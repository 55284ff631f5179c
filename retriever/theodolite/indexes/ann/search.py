"""Search with an approximate index: score its proposals if that is cheaper than exact search."""

import math
import threading
from dataclasses import dataclass, replace

import numpy as np

from theodolite.forking import register_at_fork
from theodolite.indexes.ann.calibration import LADDER, Calibration
from theodolite.indexes.ann.costs import Costs
from theodolite.indexes.flat.boosted import BoostedScore
from theodolite.indexes.flat.index import FlatIndex, Found, top
from theodolite.indexes.flat.sources import VectorSource
from theodolite.indexes.flat.workers import workers
from theodolite.protocols import Candidates
from theodolite.types import Mask, Rows, Vectors

_FILTERED = 0.8  # below this share of eligible rows a filter needs proposals from far beyond the top
_WIDER = 4.0  # the next attempt requests at most this many times more proposals


@dataclass(frozen=True, slots=True)
class _Plan:
    """The plan of a search by proposals, for one query.

    Attributes:
        need: the number of eligible rows that must be proposed.
        score: how many of them are scored.
        proposals: the number of proposals to start with.
        max_cost: the seconds of proposals above which exact search is cheaper.
        costs: the costs of the steps.
        shared: the share of the proposals' costs that one query takes.
    """

    need: int
    score: int
    proposals: int
    max_cost: float
    costs: Costs
    shared: float

    def cost(self, proposals: int, score: int | None = None) -> float:
        """Return the seconds for `proposals` and for scoring `score` of them (default: as planned)."""
        score = self.score if score is None else score
        return self.costs.propose(proposals) * self.shared + self.costs.call + self.costs.score * score


@dataclass(frozen=True, slots=True)
class _Boosted:
    """Boosted scores, and the largest factor of the eligible rows that are not in the tail."""

    boost: BoostedScore
    max_factor: float


class Approximate:
    """Search with a built approximate index and the flat index. Immutable.

    Label i of the candidates is row rows[i]. Rows after the last of them are the tail, which is always searched
    exactly.

    Args:
        candidates: built or loaded; not empty.
        rows: (len(candidates),) sorted: all rows that were alive when the index was built. Every eligible row up to the
            last one must be among them.
        calibration: the calibration of these candidates.
        costs: measured at the first search if None.
    """

    def __init__(
        self, candidates: Candidates, rows: Rows, calibration: Calibration, costs: Costs | None = None
    ) -> None:
        if not len(candidates) or len(rows) != len(candidates):
            raise ValueError(f"there are {len(candidates)} candidates for {len(rows)} rows")
        self.candidates = candidates
        self.rows = rows
        self.calibration = calibration
        self._stop = int(rows[-1]) + 1
        self._gaps = self._stop != len(rows)
        self._costs = costs
        self._usual: tuple[FlatIndex, int, int, _Plan | None] | None = None  # the last plan without a mask
        self._tail: tuple[FlatIndex, FlatIndex] | None = None
        self._lock = threading.Lock()
        register_at_fork(self)

    def efforts(self, k: int) -> list[int]:
        """Return numbers of proposals for lists of length k, ascending, up to half of the rows."""
        tried = {math.ceil(step * k) for step in LADDER} | {self.calibration.needed(k)[0]}
        return sorted(n for n in tried if k <= n <= len(self.rows) // 2)

    def with_effort(self, k: int, proposals: int) -> "Approximate":
        """Return the same index with another number of proposals for lists of length k; all of them are scored."""
        calibration = replace(self.calibration, k=k, n=proposals, rescored=proposals, longer=None)
        made = Approximate(self.candidates, self.rows, calibration, self._costs)
        made._tail = self._tail
        return made

    def costs(self, flat: FlatIndex, source: VectorSource) -> Costs:
        """Return the costs on this machine, measured once."""
        if self._costs is None:
            with self._lock:
                if self._costs is None:
                    self._costs = Costs.measure(flat, source, self.candidates)
        return self._costs

    def search(
        self,
        queries: Vectors,
        k: int,
        flat: FlatIndex,
        source: VectorSource,
        mask: Mask | None = None,
        boost: BoostedScore | None = None,
    ) -> list[Found]:
        """Return the k best rows for each of `queries`, (m, d), among those where `mask` (flat.rows,) is True.

        The result has as many rows as that of `flat.search`, with the same scores. `Found.complete` is False for rows
        that were proposed. If proposals would cost more than exact search, or too few rows are proposed, the flat index
        searches. With `boost`, more rows are proposed until a less similar row cannot have a higher boosted score than
        the k-th, even with the largest factor.
        """
        plan = self._plan(len(queries), k, flat, source, mask)
        if plan is None:
            return flat.search(queries, k, source, mask, boost)
        boosted = None if boost is None else _Boosted(boost, boost.max_factor(mask, self._stop))
        tail = self._search_tail(queries, k, flat, source, mask, boost)
        if len(queries) == 1:
            best = self._propose(queries, k, plan, flat, source, mask, None if tail is None else tail[0], boosted)
            return [best] if best else flat.search(queries, k, source, mask, boost)
        found: list[Found | None] = [None] * len(queries)

        def one(number: int) -> None:
            query = Vectors(queries[number : number + 1])
            found[number] = self._propose(
                query, k, plan, flat, source, mask, None if tail is None else tail[number], boosted
            )

        workers.run(one, range(len(queries)))
        left = [number for number, answer in enumerate(found) if answer is None]
        if left:
            exact = flat.search(Vectors(queries[left]), k, source, mask, boost)
            for number, full in zip(left, exact, strict=True):
                found[number] = full
        return [answer for answer in found if answer is not None]

    def why_exact(self, k: int, flat: FlatIndex, source: VectorSource) -> str:
        """Say why searches for k of all documents are exact; empty if they use the index."""
        here = min(flat.rows, self._stop)
        if here <= flat.max_direct:
            return "exact search of so few documents is faster"
        need, score = self.calibration.needed(min(k, here))
        if need >= here:
            return f"it would have to propose nearly all documents for lists of {k:,}"
        costs = self.costs(flat, source)
        cost, exact = costs.propose(need) + costs.call + costs.score * score, costs.exact(flat, flat.rows, 1)
        if cost <= exact:
            return ""
        return (
            f"for a recall of {self.calibration.target_recall:g} it needs {need:,} proposals, which take "
            f"{1e3 * cost:.2g} ms, and exact search {1e3 * exact:.2g} ms. Call reindex() with a lower target_recall or "
            "another index"
        )

    def _plan(self, queries: int, k: int, flat: FlatIndex, source: VectorSource, mask: Mask | None) -> _Plan | None:
        """Return None if exact search is cheaper, or the only way."""
        if mask is not None:
            eligible = int(np.count_nonzero(mask))
            here = eligible if flat.rows == self._stop else int(np.count_nonzero(mask[: self._stop]))
            return self._planned(queries, k, flat, source, eligible, here)
        usual = self._usual
        if usual is None or usual[0] is not flat or usual[1] != queries or usual[2] != k:
            plan = None if self._gaps else self._planned(queries, k, flat, source, flat.rows, self._stop)
            self._usual = usual = (flat, queries, k, plan)
        return usual[3]

    def _planned(
        self, queries: int, k: int, flat: FlatIndex, source: VectorSource, eligible: int, here: int
    ) -> _Plan | None:
        """Return the plan for `eligible` eligible rows, `here` of them before the tail."""
        if not queries or here <= flat.max_direct:
            return None
        share = here / len(self.rows)
        if share < _FILTERED and not self.calibration.filters:
            return None
        need, score = self.calibration.needed(min(k, here))
        if need >= here:
            return None
        # Request more, since by chance fewer of the proposals may be eligible.
        proposals = min(len(self.rows), math.ceil((need + 2 * math.sqrt(need * (1 - share))) / share))
        costs = self.costs(flat, source)
        max_cost = costs.exact(flat, eligible, queries)
        if share < 1:
            max_cost /= 2  # the filter may exclude the nearest rows, and exact search be needed after all
        if queries > 1:
            max_cost *= 0.75  # it varies how much threads speed up either way
        plan = _Plan(need, score, proposals, max_cost, costs, costs.shared if queries > 1 else 1.0)
        return plan if plan.cost(proposals) <= max_cost else None

    def _propose(
        self,
        query: Vectors,
        k: int,
        plan: _Plan,
        flat: FlatIndex,
        source: VectorSource,
        mask: Mask | None,
        tail: Found | None,
        boosted: _Boosted | None,
    ) -> Found | None:
        """Return the result by proposals; None if there are too few, or if they become too expensive."""
        proposals, requested, spent = plan.proposals, 0, 0.0
        while True:
            labels = self.candidates.propose(query, proposals)
            if len(labels) < proposals:
                return None  # some rows cannot be reached through the index, perhaps good ones
            rows = self.rows[labels] if self._gaps else labels
            if mask is not None:
                rows = rows[mask[rows]]
            requested += len(labels)
            factor, score = 1.2 * plan.need / max(len(rows), 1), plan.score
            if len(rows) >= plan.need:
                found, enough = self._scored(query, rows, k, plan, flat, source, tail, boosted, requested)
                if enough or proposals == len(self.rows):
                    return found
                spent += plan.costs.score * len(rows)
                factor = _WIDER
            if proposals == len(self.rows):
                return None
            spent += plan.costs.propose(proposals) * plan.shared
            factor = min(_WIDER, factor)
            if boosted is not None:
                score = math.ceil(len(rows) * factor)
            proposals = min(len(self.rows), math.ceil(proposals * factor))
            if spent + plan.cost(proposals, score) > plan.max_cost:
                return None

    def _scored(
        self,
        query: Vectors,
        rows: Rows,
        k: int,
        plan: _Plan,
        flat: FlatIndex,
        source: VectorSource,
        tail: Found | None,
        boosted: _Boosted | None,
        requested: int,
    ) -> tuple[Found, bool]:
        """Return the best of the proposed rows and of the tail, and whether no less similar row can be among them."""
        rows = rows if boosted else rows[: plan.score]
        scores = flat.score(query[0], rows, source)
        boosted_scores = None if boosted is None else boosted.boost.score(scores, rows)
        scored, lowest = len(rows), float(scores.min())
        if tail is not None and len(tail.rows):
            rows, scores = np.concatenate([rows, tail.rows]), np.concatenate([scores, tail.scores])
            if boosted_scores is not None and tail.boosted is not None:
                boosted_scores = np.concatenate([boosted_scores, tail.boosted])
            scored += tail.scored
        rows, scores, boosted_scores = top(rows, scores, k, boosted_scores)
        found = Found(rows, scores, scored, "index", requested, complete=False, boosted=boosted_scores)
        if boosted is None or boosted_scores is None:
            return found, True
        (bound,) = boosted.boost.upper_bound(np.array([lowest]), boosted.max_factor)
        return found, bool((boosted_scores[k - 1] if len(boosted_scores) >= k else -np.inf) >= bound)

    def _search_tail(
        self,
        queries: Vectors,
        k: int,
        flat: FlatIndex,
        source: VectorSource,
        mask: Mask | None,
        boost: BoostedScore | None,
    ) -> list[Found] | None:
        """Search the tail exactly; None if there is no tail."""
        if flat.rows <= self._stop:
            return None
        tail = self._tail
        if tail is None or tail[0] is not flat:
            self._tail = tail = (flat, flat.tail(self._stop))
        return tail[1].search(queries, k, source, mask, boost)
