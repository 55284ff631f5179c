"""How many proposals give the recall that is wanted: measured against the exact answer."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from theodolite.indexes.flat import FlatIndex, VectorSource
from theodolite.protocols import Candidates
from theodolite.types import Mask, Rows, Space, Vectors
from theodolite.vectors import prepare

Kind = Literal["given", "logged", "noise"]

_QUERIES = 400  # of them at most are measured
_Z = 1.645  # one-sided 95 %
_LADDER = (1.0, 1.5, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
_DEEP = (0.1, 0.2, 0.4, 0.6, 1.0, 2.0, 4.0, 8.0)  # multiples of k that are scored beyond the first k
_LOSS = 0.0005  # recall that scoring fewer than all proposals may cost


@dataclass(frozen=True, slots=True)
class Calibration:
    """What was measured.

    Attributes:
        target_recall: recall@k that was wanted.
        k: for that many hits; for more, the numbers grow with k.
        proposed: so many eligible rows must be proposed,
        scored: and the first so many of them be scored exactly.
        recall: the mean recall@k measured so, and the lower end of its confidence interval, `lowest` (95 %).
        queries: how many were measured, and of which `kind`: `given`, `logged`, or rows with `noise`, which are
            harder than real ones.
        reached: whether `lowest` is the target or above.
        ladder: proposals and the mean recall of each rung.
    """

    target_recall: float
    k: int
    proposed: int
    scored: int
    recall: float
    lowest: float
    queries: int
    kind: str
    reached: bool
    ladder: Sequence[Sequence[float]]

    def needed(self, k: int) -> tuple[int, int]:
        """How many eligible proposals k hits need, and how many of them to score."""
        share = max(1.0, k / self.k)
        return max(k, round(self.proposed * share)), max(k, round(self.scored * share))


def calibrate(
    candidates: Candidates,
    rows: Rows,
    flat: FlatIndex,
    source: VectorSource,
    mask: Mask | None,
    queries: Vectors,
    *,
    k: int = 10,
    target_recall: float = 0.99,
    kind: Kind = "given",
) -> Calibration:
    """Find the least effort whose recall@k, by the lower end of its confidence interval, reaches the target.

    Args:
        rows: label i of the candidates is row rows[i].
        mask: (flat.rows,) living rows, or None for all.
        queries: (n, d); the first 400 are used.
    """
    eligible = np.zeros(flat.rows, np.bool_)
    eligible[rows] = True if mask is None else mask[rows]
    queries = Vectors(queries[:_QUERIES])
    k = min(k, max(1, int(np.count_nonzero(eligible))))
    exact = flat.search(queries, k, source, eligible)
    most = len(rows)
    ladder: list[tuple[float, float]] = []
    found: list[NDArray[np.bool_]] = []
    n, spread = k, np.zeros(len(queries))
    for step in _LADDER:
        n = min(most, round(k * step))
        found = []
        for query, best in zip(queries, exact, strict=True):
            proposed = rows[candidates.propose(Vectors(query[None]), n)]
            proposed = proposed[eligible[proposed]]
            # A row that ties with the last of the k best is as good.
            found.append(np.isin(proposed, best.rows))
        spread = np.array(
            [min(k, int(hits.sum())) / min(k, len(best.rows)) for hits, best in zip(found, exact, strict=True)]
        )
        ladder.append((n, float(spread.mean())))
        if _lowest(spread) >= target_recall or n == most:
            break
    recall = float(spread.mean())
    scored = _depth(found, k, recall)
    lowest = _lowest(spread)
    return Calibration(
        target_recall, k, n, min(n, scored), recall, lowest, len(queries), kind, lowest >= target_recall, ladder
    )


def honest_queries(source: VectorSource, rows: Rows, space: Space, *, count: int = _QUERIES, seed: int = 0) -> Vectors:
    """Queries where there are no real ones: rows moved by noise twice as long as they are.

    Rows themselves are far too easy: a graph finds them with a tenth of the effort that real questions take. These
    are a little too hard, so what is measured with them is kept. For L2 a row's length is that of its difference to
    the mean row.
    """
    draw = np.random.default_rng(seed)
    chosen = np.sort(draw.choice(rows, min(count, len(rows)), replace=False))
    vectors = source.take(chosen).astype(np.float64)
    center = vectors.mean(axis=0) if space.metric == "l2" else 0.0
    noise = draw.standard_normal(vectors.shape)
    noise /= np.linalg.norm(noise, axis=1, keepdims=True)
    moved = vectors + 2 * np.linalg.norm(vectors - center, axis=1, keepdims=True) * noise
    if space.norms == "unit":
        moved /= np.linalg.norm(moved, axis=1, keepdims=True)
    return prepare(moved, space, name="queries to calibrate with")[0]


def _lowest(recalls: NDArray[np.float64]) -> float:
    return float(recalls.mean() - _Z * recalls.std() / np.sqrt(len(recalls)))


def _depth(found: list[Any], k: int, recall: float) -> int:
    """How many of the proposals, nearest first, hold what all of them hold."""
    most = max(map(len, found), default=k)
    for extra in _DEEP:
        depth = k + max(2, round(k * extra))
        if depth >= most:
            break
        held = np.mean([min(k, int(hits[:depth].sum())) / k for hits in found])
        if held >= recall - _LOSS:
            return depth
    return most
