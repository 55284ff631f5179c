"""The exact similarity of a query to rows: the one place where a score is computed."""

import numpy as np
from numpy.typing import NDArray

from theodolite.types import Metric, Scores

_CHUNK = 1 << 19  # float64 values held at a time


def similarities(query: NDArray[np.float32], vectors: NDArray[np.float32], metric: Metric) -> Scores:
    """Similarities of `query` (d,) to `vectors` (n, d), shape (n,), higher is better.

    Computed in float64 and rounded once. Products are summed row by row in an order that depends on d alone (BLAS
    would choose one by the number of rows), so equal rows score equally on every path. L2 is taken from the
    difference, which does not cancel as ‖x‖² + ‖q‖² − 2q·x does. A cosine may exceed 1 by the rounding of unit vectors.
    """
    wide = query.astype(np.float64)
    step = max(1, _CHUNK // max(1, len(wide)))
    if len(vectors) <= step:
        return _rounded(_wide(wide, vectors, metric))
    out = np.empty(len(vectors), np.float32)
    for start in range(0, len(vectors), step):
        out[start : start + step] = _rounded(_wide(wide, vectors[start : start + step], metric))
    return out


def _rounded(scores: NDArray[np.float64]) -> Scores:
    rounded = scores.astype(np.float32)
    rounded += 0.0  # -0.0 equals 0.0 but does not look it
    return rounded


def _wide(query: NDArray[np.float64], vectors: NDArray[np.float32], metric: Metric) -> NDArray[np.float64]:
    part = vectors.astype(np.float64)
    if metric == "l2":
        part -= query
        np.square(part, out=part)
        distances: NDArray[np.float64] = np.sqrt(np.add.reduce(part, axis=1))
        return -distances
    part *= query
    products: NDArray[np.float64] = np.add.reduce(part, axis=1)
    return products
