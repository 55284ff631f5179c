"""The exact answers, in float64, and the share of them that was found."""

import numpy as np
from numpy.typing import NDArray

from theodolite.types import Vectors

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Ids = NDArray[np.int64]
Mask = NDArray[np.bool_]

TOLERANCE = 2.0**-24  # scores are rounded to float32: below this, two rows tie
_STEP = 1 << 14


class Truth:
    """The k-th best similarity of each query, over all rows."""

    def __init__(self, vectors: Floats, queries: Vectors, k: int = 10) -> None:
        self.k = min(k, len(vectors))
        self._vectors = vectors
        self._queries = queries.astype(np.float64)
        best = np.full((len(queries), self.k), -np.inf)
        for start in range(0, len(vectors), _STEP):
            scores = self._queries @ vectors[start : start + _STEP].astype(np.float64).T
            best = -np.partition(-np.hstack([best, scores]), self.k - 1, axis=1)[:, : self.k]
        self._kth = best.min(axis=1)

    def hits(self, number: int, rows: Ids) -> int:
        """Count the rows in the top k of query `number`, including ties in float32."""
        chosen = np.unique(rows[rows >= 0])
        scores = self._vectors[chosen].astype(np.float64) @ self._queries[number]
        return min(self.k, int(np.count_nonzero(scores >= self._kth[number] - TOLERANCE)))

    def recall(self, numbers: range, found: list[Ids]) -> float:
        """Return the mean share of the true top k found for these queries."""
        return sum(map(self.hits, numbers, found)) / (self.k * len(numbers))


def similarities(vectors: Floats, queries: Floats) -> Doubles:
    """Return all similarities, (queries, rows)."""
    wide = queries.astype(np.float64)
    parts = [wide @ vectors[at : at + _STEP].astype(np.float64).T for at in range(0, len(vectors), _STEP)]
    return np.concatenate(parts, axis=1)


def eligible_hits(scores: Doubles, mask: Mask, rows: Ids, k: int) -> int:
    """Count the `rows` in the top k of the rows in `mask`, by the `scores`, (rows,), of one query."""
    among = scores[mask]
    k = min(k, len(among))
    if not k:
        return 0
    kth = -np.partition(-among, k - 1)[k - 1]
    chosen = np.unique(rows[rows >= 0])
    return min(k, int(np.count_nonzero(mask[chosen] & (scores[chosen] >= kth - TOLERANCE))))
