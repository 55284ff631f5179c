"""The plan of a search with an approximate index: proposals where they are cheaper, the exact answer where not."""

import math
import threading
from dataclasses import dataclass

import numpy as np

from theodolite.forking import register_at_fork
from theodolite.indexes.ann.calibration import Calibration
from theodolite.indexes.ann.costs import Costs
from theodolite.indexes.flat.boosted_score import BoostedScore
from theodolite.indexes.flat.index import FlatIndex, Found, VectorSource, top
from theodolite.indexes.flat.workers import workers
from theodolite.protocols import Candidates
from theodolite.types import Mask, Rows, Vectors

_FILTERED = 0.8  # the share of eligible rows below which a filter reaches beyond the top
_WIDER = 4.0  # how many times more may be proposed in the next attempt


@dataclass(frozen=True, slots=True)
class _Plan:
    """How one query is to be answered with proposals.

    Attributes:
        need: eligible rows that have to be proposed.
        score: how many of them are scored.
        ask: proposals to begin with.
        most: seconds that may go into proposals before the exact answer is the better buy.
        costs: what it is reckoned with.
        shared: the part of the proposals' costs that one query bears.
    """

    need: int
    score: int
    ask: int
    most: float
    costs: Costs
    shared: float

    def cost(self, ask: int, score: int | None = None) -> float:
        """Seconds for so many proposals and what follows, where that is not as planned scoring `score` of them."""
        score = self.score if score is None else score
        return self.costs.propose(ask) * self.shared + self.costs.call + self.costs.score * score


@dataclass(frozen=True, slots=True)
class _Boosted:
    """What rows are worth, and the largest factor of the eligible rows up to the last that is indexed."""

    worth: BoostedScore
    most: float


class Approximate:
    """A built approximate index beside the flat one. Immutable.

    Label i of the candidates is row rows[i]. Rows beyond the last of them are the tail: they are always searched
    exactly.

    Args:
        candidates: built or loaded; not empty.
        rows: (len(candidates),) sorted. Whatever is eligible up to the last must be among them: all rows that were
            alive when the index was built.
        calibration: of these candidates.
        costs: measured at the first search unless given.
    """

    def __init__(
        self, candidates: Candidates, rows: Rows, calibration: Calibration, costs: Costs | None = None
    ) -> None:
        if not len(candidates) or len(rows) != len(candidates):
            raise ValueError(f"{len(candidates)} candidates stand for {len(rows)} rows")
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

    def costs(self, flat: FlatIndex, source: VectorSource) -> Costs:
        """Of this machine, measured once."""
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
        worth: BoostedScore | None = None,
    ) -> list[Found]:
        """The k best rows for each of `queries`, (m, d), among those where `mask` (flat.rows,) is True.

        As many as `flat.search` gives, with the same scores; `Found.complete` says whether they are proven to be the
        best. They are not where rows were proposed; where that would cost more than the exact answer, or too few are,
        the flat index gives it. With `worth`, too few are proposed as long as the next most similar row, if it had the
        largest factor there is, could be worth more than the k-th.
        """
        plan = self._plan(len(queries), k, flat, source, mask)
        if plan is None:
            return flat.search(queries, k, source, mask, worth)
        boosted = None if worth is None else _Boosted(worth, worth.most(mask, self._stop))
        beyond = self._beyond(queries, k, flat, source, mask, worth)
        if len(queries) == 1:
            best = self._propose(queries, k, plan, flat, source, mask, None if beyond is None else beyond[0], boosted)
            return [best] if best else flat.search(queries, k, source, mask, worth)
        found: list[Found | None] = [None] * len(queries)

        def one(number: int) -> None:
            query = Vectors(queries[number : number + 1])
            found[number] = self._propose(
                query, k, plan, flat, source, mask, None if beyond is None else beyond[number], boosted
            )

        workers.run(one, range(len(queries)))
        left = [number for number, answer in enumerate(found) if answer is None]
        if left:
            exact = flat.search(Vectors(queries[left]), k, source, mask, worth)
            for number, full in zip(left, exact, strict=True):
                found[number] = full
        return [answer for answer in found if answer is not None]

    def _plan(self, queries: int, k: int, flat: FlatIndex, source: VectorSource, mask: Mask | None) -> _Plan | None:
        """None where the exact answer is cheaper, or the only one."""
        if mask is not None:
            eligible = int(np.count_nonzero(mask))
            here = eligible if flat.rows == self._stop else int(np.count_nonzero(mask[: self._stop]))
            return self._reckoned(queries, k, flat, source, eligible, here)
        usual = self._usual
        if usual is None or usual[0] is not flat or usual[1] != queries or usual[2] != k:
            plan = None if self._gaps else self._reckoned(queries, k, flat, source, flat.rows, self._stop)
            self._usual = usual = (flat, queries, k, plan)
        return usual[3]

    def _reckoned(
        self, queries: int, k: int, flat: FlatIndex, source: VectorSource, eligible: int, here: int
    ) -> _Plan | None:
        """The plan for so many eligible rows, of which `here` are not in the tail."""
        if not queries or here <= flat.few:
            return None
        share = here / len(self.rows)
        if share < _FILTERED and not self.calibration.filters:
            return None
        need, score = self.calibration.needed(min(k, here))
        if need >= here:
            return None
        # Of the eligible, so many more as chance may leave out.
        ask = min(len(self.rows), math.ceil((need + 2 * math.sqrt(need * (1 - share))) / share))
        costs = self.costs(flat, source)
        most = costs.exact(flat, eligible, queries)
        if share < 1:
            most /= 2  # the filter may exclude just what is near, and the exact answer be needed after all
        if queries > 1:
            most *= 0.75  # how much threads help the one and the other varies
        plan = _Plan(need, score, ask, most, costs, costs.shared if queries > 1 else 1.0)
        return plan if plan.cost(ask) <= most else None

    def _propose(
        self,
        query: Vectors,
        k: int,
        plan: _Plan,
        flat: FlatIndex,
        source: VectorSource,
        mask: Mask | None,
        beyond: Found | None,
        boosted: _Boosted | None,
    ) -> Found | None:
        """The answer from proposals; None if they are too few or become too dear."""
        ask, asked, spent = plan.ask, 0, 0.0
        while True:
            labels = self.candidates.propose(query, ask)
            if len(labels) < ask:
                return None  # it does not get to all that was asked for: others may be beyond its reach, too
            rows = self.rows[labels] if self._gaps else labels
            if mask is not None:
                rows = rows[mask[rows]]
            asked += len(labels)
            wider, score = 1.2 * plan.need / max(len(rows), 1), plan.score
            if len(rows) >= plan.need:
                found, enough = self._settle(query, rows, k, plan, flat, source, beyond, boosted, asked)
                if enough or ask == len(self.rows):
                    return found
                spent += plan.costs.score * len(rows)
                wider = _WIDER
            if ask == len(self.rows):
                return None
            spent += plan.costs.propose(ask) * plan.shared
            wider = min(_WIDER, wider)
            if boosted is not None:
                score = math.ceil(len(rows) * wider)
            ask = min(len(self.rows), math.ceil(ask * wider))
            if spent + plan.cost(ask, score) > plan.most:
                return None

    def _settle(
        self,
        query: Vectors,
        rows: Rows,
        k: int,
        plan: _Plan,
        flat: FlatIndex,
        source: VectorSource,
        beyond: Found | None,
        boosted: _Boosted | None,
        asked: int,
    ) -> tuple[Found, bool]:
        """The best of proposed rows and of the tail's, and whether no row that is less similar could be among them."""
        rows = rows if boosted else rows[: plan.score]
        scores = flat.score(query[0], rows, source)
        worths = None if boosted is None else boosted.worth.of(scores, rows)
        scored, lowest = len(rows), float(scores.min())
        if beyond is not None and len(beyond.rows):
            rows, scores = np.concatenate([rows, beyond.rows]), np.concatenate([scores, beyond.scores])
            if worths is not None and beyond.worths is not None:
                worths = np.concatenate([worths, beyond.worths])
            scored += beyond.scored
        rows, scores, worths = top(rows, scores, k, worths)
        found = Found(rows, scores, scored, "index", asked, complete=False, worths=worths)
        if boosted is None or worths is None:
            return found, True
        (bound,) = boosted.worth.highest(np.array([lowest]), boosted.most)
        return found, bool((worths[k - 1] if len(worths) >= k else -np.inf) >= bound)

    def _beyond(
        self,
        queries: Vectors,
        k: int,
        flat: FlatIndex,
        source: VectorSource,
        mask: Mask | None,
        worth: BoostedScore | None,
    ) -> list[Found] | None:
        """The exact answers over the tail, if there is one."""
        if flat.rows <= self._stop:
            return None
        tail = self._tail
        if tail is None or tail[0] is not flat:
            self._tail = tail = (flat, flat.tail(self._stop))
        return tail[1].search(queries, k, source, mask, worth)
