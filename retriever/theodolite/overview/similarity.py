"""How similar documents are to one another, beside directions that have nothing to do with each other."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from theodolite.auditing.measurements import directions, lengths, within

NEAR = 0.95
"""The cosine from which two documents count as near-duplicates."""

_PROBES = 1000  # documents compared with all others
_BINS, _FEW_BINS, _FEW = 80, 30, 500  # fewer bins for fewer documents
_BLOCK = 8192  # rows compared at a time


@dataclass(frozen=True, slots=True)
class Histogram:
    """Shares of values between edges: `len(edges)` is one more than `len(shares)`."""

    edges: tuple[float, ...]
    shares: tuple[float, ...]

    @classmethod
    def of(cls, values: NDArray[np.floating[Any]], low: float, high: float, bins: int) -> "Histogram":
        """Count values; those outside of the range count at its ends."""
        counts, edges = np.histogram(np.clip(values, low, high), bins, (low, high))
        return cls(tuple(edges.tolist()), tuple((counts / max(1, len(values))).tolist()))


@dataclass(frozen=True, slots=True)
class Similarities:
    """Cosines between documents, whatever the collection's metric.

    Attributes:
        probes: how many random documents were compared.
        pairs: cosines of pairs of them; `mean` and `std` describe them.
        nearest: the cosine of each with its nearest other document; `median` is the middle one.
        noise: the standard deviation of the cosine of random directions, 1 / √d: differences below it mean little.
        near: the share of them with a near-duplicate, a cosine of at least `NEAR`.
        questions: the cosine of each question with its nearest document; None without questions.
    """

    probes: int
    pairs: Histogram
    nearest: Histogram
    mean: float
    std: float
    median: float
    noise: float
    near: float
    questions: Histogram | None = None


def compare(
    vectors: NDArray[np.float32], questions: NDArray[np.float32] | None = None, *, seed: int = 0
) -> Similarities | None:
    """Compare 1,000 random documents with all of `vectors`, (n, d). None if fewer than two have a direction.

    Cosines are computed in float32: they are off by some 1e-7.
    """
    count, dimension = vectors.shape
    rows = np.sort(np.random.default_rng(seed).choice(count, min(count, _PROBES), replace=False))
    probes = _directions(vectors[rows])
    rows, probes = rows[probes.any(axis=1)], probes[probes.any(axis=1)]
    if len(rows) < 2:
        return None
    asked = np.empty((0, dimension), np.float32) if questions is None else _directions(questions)
    asked = asked[asked.any(axis=1)]
    nearest, best = np.full(len(rows), -1.0), np.full(len(asked), -1.0)
    for start in range(0, count, _BLOCK):
        part = _directions(vectors[start : start + _BLOCK])
        usable = part.any(axis=1)
        cosines = probes @ part.T
        mine = np.flatnonzero((rows >= start) & (rows < start + len(part)))
        cosines[mine, rows[mine] - start] = -1.0
        cosines[:, ~usable] = -1.0
        np.maximum(nearest, cosines.max(axis=1), out=nearest)
        if len(asked):
            np.maximum(best, np.where(usable, asked @ part.T, -1.0).max(axis=1), out=best)
    pairs = (probes @ probes.T)[np.triu_indices(len(rows), 1)]
    bins = _BINS if len(rows) >= _FEW else _FEW_BINS
    low = float(np.floor(10 * min(pairs.min(), nearest.min(), -0.2)) / 10)
    return Similarities(
        len(rows),
        Histogram.of(pairs, low, 1.0, bins),
        Histogram.of(nearest, low, 1.0, bins),
        float(pairs.mean()),
        float(pairs.std()),
        float(np.median(nearest)),
        dimension**-0.5,
        float(np.mean(nearest >= NEAR)),
        Histogram.of(best, low, 1.0, bins) if len(best) else None,
    )


def _directions(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return rows of unit length; rows without a direction become zero."""
    wide = np.array(rows, np.float64)
    norms = lengths(wide)
    usable = within(norms)
    out = np.zeros_like(rows, np.float32)
    out[usable] = directions(wide[usable], norms[usable])
    return out
