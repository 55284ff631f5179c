"""An approximate index in use: it proposes rows, the flat index beside it scores them, or answers by itself.

Rows that came after the index was built, the tail, are always searched exactly. Under a filter, or where rows have
died, more is proposed until as many eligible rows stand as the calibration asks for; where that would cost more than
the exact answer, the exact answer is given. So a list is never short, and the cost is bounded.
"""

import threading

import numpy as np

from theodolite.indexes.calibration import Calibration, calibrate, honest_queries
from theodolite.indexes.costs import Costs
from theodolite.indexes.flat import FlatIndex, Found, VectorSource
from theodolite.protocols import Candidates
from theodolite.types import Mask, Rows, Vectors

__all__ = ["Approximate", "Calibration", "calibrate", "honest_queries"]

_WIDER = 1.3  # more is asked for than the share of eligible rows says: near the query it may be smaller


class Approximate:
    """Immutable but for the costs, which are measured at the first search.

    Args:
        candidates: built, and never changed again.
        rows: sorted; label i of the candidates is row rows[i]. Later rows are the tail.
    """

    def __init__(self, candidates: Candidates, rows: Rows, calibration: Calibration) -> None:
        self.candidates = candidates
        self.rows = rows
        self.calibration = calibration
        self.stop = int(rows[-1]) + 1
        self._whole = self.stop == len(rows)  # labels are rows
        self._costs: Costs | None = None
        self._tail: tuple[FlatIndex, FlatIndex] | None = None
        self._lock = threading.Lock()

    def search(
        self, queries: Vectors, k: int, flat: FlatIndex, source: VectorSource, mask: Mask | None = None
    ) -> list[Found]:
        """As `FlatIndex.search`, with the recall that was calibrated; `mask` holds the living eligible rows."""
        costs = self._measured(flat, source)
        eligible = flat.rows if mask is None else int(np.count_nonzero(mask))
        late = flat.rows - self.stop if mask is None else int(np.count_nonzero(mask[self.stop :]))
        wanted, scored = self.calibration.needed(k)
        share = (eligible - late) / len(self.rows)
        first = wanted if share >= 1 else min(len(self.rows), int(wanted / max(share, 1e-9) * _WIDER) + 1)
        exact = costs.exact(eligible, len(queries))
        if eligible <= k or costs.proposals(first) * len(queries) >= exact:
            return flat.search(queries, k, source, mask)
        found = []
        for query in queries:
            one = Vectors(query[None])
            proposed = self._proposed(one, first, wanted, mask, exact / len(queries), costs)
            if proposed is None:
                found += flat.search(one, k, source, mask)
                continue
            rows, asked = proposed
            found.append(self._settled(one, k, rows[:scored], asked, flat, source, mask, late))
        return found

    def _proposed(
        self, query: Vectors, n: int, wanted: int, mask: Mask | None, budget: float, costs: Costs
    ) -> tuple[Rows, int] | None:
        """Enough eligible rows, nearest first, and how many were proposed; None if the exact answer costs less."""
        while True:
            rows = self.candidates.propose(query, n)
            if not self._whole:
                rows = self.rows[rows]
            proposed = len(rows)
            if mask is not None:
                rows = rows[mask[rows]]
            if len(rows) >= wanted:
                return rows, proposed
            if n >= len(self.rows) or proposed < n // 2:  # there is no more to be had
                return None
            budget -= costs.proposals(n)
            n = min(len(self.rows), int(n * min(8.0, max(1.5, _WIDER * wanted / max(len(rows), 1)))))
            if costs.proposals(n) > budget:
                return None

    def _settled(
        self,
        query: Vectors,
        k: int,
        rows: Rows,
        proposed: int,
        flat: FlatIndex,
        source: VectorSource,
        mask: Mask | None,
        late: int,
    ) -> Found:
        """The k best of the proposals and the tail."""
        scores = flat.score(query[0], rows, source)
        if late:
            tail_mask = np.zeros(flat.rows, np.bool_)
            tail_mask[self.stop :] = True if mask is None else mask[self.stop :]
            (tail,) = self._beside(flat).search(query, k, source, tail_mask)
            scored = len(rows) + tail.scored
            rows, scores = np.concatenate([rows, tail.rows]), np.concatenate([scores, tail.scores])
            return flat.pick(rows, scores, k, "index", scored=scored, proposed=proposed)
        return flat.pick(rows, scores, k, "index", proposed=proposed)

    def _beside(self, flat: FlatIndex) -> FlatIndex:
        """The flat index of the blocks that hold the tail."""
        held = self._tail
        if held is None or held[0] is not flat:
            self._tail = held = flat, flat.behind(self.stop)
        return held[1]

    def _measured(self, flat: FlatIndex, source: VectorSource) -> Costs:
        costs = self._costs
        if costs is None or flat.rows > 1.5 * costs.rows:
            with self._lock:
                costs = self._costs
                if costs is None or flat.rows > 1.5 * costs.rows:
                    wanted, _ = self.calibration.needed(self.calibration.k)
                    self._costs = costs = Costs.measure(flat, source, self.candidates, self.rows, wanted)
        return costs
