"""A simple, slow computation of the exact answer: the reference for every index and engine.

It is independent of `theodolite.indexes`, so that a mistake there is not repeated here. `ArraySource` gives an
index the vectors of an array.
"""

from typing import Any, assert_never

import numpy as np
from numpy.typing import NDArray

from theodolite.types import Mask, Rows
from theodolite.vectors.metrics import MetricName


def brute_force(query: Any, vectors: Any, metric: MetricName) -> NDArray[np.float64]:
    """Return the similarity of `query`, (d,), to each of `vectors`, (n, d), in float64, shape (n,).

    Higher is better: the cosine (0 for a vector of zeros), the dot product, or minus the Euclidean distance. Vectors
    need not be prepared. Equal vectors have equal scores.
    """
    q = np.asarray(query, np.float64)
    x = np.ascontiguousarray(vectors, np.float64)
    match metric:
        case "l2":
            distances: NDArray[np.float64] = np.sqrt(np.square(x - q).sum(axis=1))
            return -distances
        case "dot":
            return _products(x, q)
        case "cosine":
            lengths = np.sqrt(_products(x, x) * np.square(q).sum())
            products = _products(x, q)
            cosines = np.divide(products, lengths, out=np.zeros_like(products), where=lengths > 0)
            bounded: NDArray[np.float64] = np.clip(cosines, -1.0, 1.0)
            return bounded
        case _:
            assert_never(metric)


def top_k(
    query: Any, vectors: Any, metric: MetricName, k: int, mask: Mask | None = None
) -> tuple[Rows, NDArray[np.float64]]:
    """Return the k best rows where `mask` is True, and their scores, by descending score, then ascending row."""
    scores = brute_force(query, vectors, metric)
    rows: Rows = np.arange(len(scores)) if mask is None else np.flatnonzero(mask)
    best = rows[np.lexsort((rows, -scores[rows]))[:k]]
    return best, scores[best]


class ArraySource:
    """An array as a `VectorSource`."""

    def __init__(self, vectors: NDArray[np.float32]) -> None:
        self._vectors = vectors

    def take(self, rows: Rows, out: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        return self._vectors[rows]

    def span(self, start: int, stop: int) -> NDArray[np.float32]:
        return self._vectors[start:stop]


def _products(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    # Avoid `@`: BLAS may sum equal rows in different orders, which breaks ties.
    products: NDArray[np.float64] = (x * y).sum(axis=1)
    return products
