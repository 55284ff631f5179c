"""How many proposals a recall needs, measured against the exact answer."""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from theodolite.errors import CorruptionError
from theodolite.indexes.flat import FlatIndex, VectorSource
from theodolite.indexes.workers import workers
from theodolite.protocols import Candidates
from theodolite.types import Mask, Rows, Space, Vectors
from theodolite.vectors import prepare

Kind = Literal["given", "logged", "noise"]

LADDER = (1, 1.5, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 400)
"""The numbers of proposals that are tried, in multiples of k."""

_MADE = 500  # queries, where none are given
_NOISE = 2.0  # its length, where that of the row is 1
_ONE_SIDED_95 = 1.645


@dataclass(frozen=True, slots=True)
class Rung:
    """What n proposals have achieved: the mean recall, and its lower confidence bound."""

    n: int
    recall: float
    lower: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """How many proposals to ask for, and what that is worth.

    Attributes:
        target_recall: what was asked for.
        k: the length of the lists it was measured with.
        n: proposals, of eligible rows.
        rescored: how many of them, the first, are scored exactly.
        recall: the mean share of the true top k that was found.
        lower: its lower bound, at 95 % confidence. Below `target_recall` if the index did not reach that.
        queries: how many it was measured with.
        kind: `given` by the caller, `logged` from real searches, or `noise`: made from rows, harder than real ones.
        ladder: every n that was tried, with all of its proposals scored.
    """

    target_recall: float
    k: int
    n: int
    rescored: int
    recall: float
    lower: float
    queries: int
    kind: Kind
    ladder: tuple[Rung, ...] = ()

    @property
    def reached(self) -> bool:
        """Whether the index is known to reach its target."""
        return self.lower >= self.target_recall

    def needed(self, k: int) -> tuple[int, int]:
        """Proposals to ask for, and how many of them to score, for lists of length k."""
        if k <= self.k:
            return self.n, self.rescored
        return math.ceil(self.n * k / self.k), math.ceil(self.rescored * k / self.k)

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self) | {"ladder": [asdict(rung) for rung in self.ladder]}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "Calibration":
        """From what `to_dict` gave. Raises CorruptionError for anything else."""
        try:
            made = cls(**data | {"ladder": tuple(Rung(**rung) for rung in data["ladder"])})
            if 1 <= made.k <= made.rescored <= made.n:
                return made
        except (TypeError, KeyError):
            pass
        raise CorruptionError(f"this is no calibration: {data}")


def calibrate(
    candidates: Candidates,
    rows: Rows,
    flat: FlatIndex,
    source: VectorSource,
    mask: Mask | None,
    queries: Vectors | None = None,
    *,
    k: int = 10,
    target_recall: float = 0.99,
    kind: Kind = "given",
    progress: Callable[[int], object] | None = None,
) -> Calibration:
    """The fewest proposals with which the index reaches `target_recall`, as far as these queries can tell.

    More are tried until the lower bound of the mean recall reaches the target: with few queries the bound is low, and
    fewer than about 150 cannot prove 0.99. If it is never reached, the best is taken.

    Args:
        rows: label i of the candidates is row rows[i], sorted.
        flat: gives the exact answers.
        mask: (flat.rows,) True where a row is alive, or None: all are.
        queries: (m, d), real ones if possible. None: `honest_queries` of 500 rows.
        kind: what the queries are.
        progress: called after each n that was tried, with it. What it raises ends the calibration.
    """
    if queries is None:
        queries, kind = _made(rows, flat, source, mask), "noise"
    indexed = np.zeros(flat.rows, np.bool_)
    indexed[rows] = True
    if mask is not None:
        indexed &= mask
    eligible = int(np.count_nonzero(indexed))
    if not len(queries) or not eligible:
        return Calibration(target_recall, k, k, k, 0.0, 0.0, len(queries), kind)
    k = min(k, eligible)
    truth = [found.rows for found in flat.search(queries, k, source, indexed)]
    tried = []
    for n in sorted({min(math.ceil(k * step), len(rows)) for step in LADDER}):
        places = _places(candidates, rows, indexed, queries, truth, n, k)
        recall, lower = _recall(places < n)
        tried.append((Rung(n, recall, lower), places))
        if progress is not None:
            progress(n)
        if lower >= target_recall:
            break
    best, places = max(tried, key=lambda one: (one[0].lower, -one[0].n))
    rescored = _rescored(places, best, k, min(target_recall, best.lower))
    recall, lower = _recall(places < rescored)
    ladder = tuple(rung for rung, _ in tried)
    return Calibration(target_recall, k, best.n, rescored, recall, lower, len(queries), kind, ladder)


def honest_queries(sample: NDArray[np.float32], space: Space, seed: int = 0) -> Vectors:
    """Queries for a collection that has seen none, from a sample of its rows, (m, d).

    A row is far too easy a query: it is found where real ones are missed. Here noise twice as long is added to
    each, which is harder than real questions. The result is as long as the row; for L2 lengths are taken from the
    sample's mean, so that it matters as little as it does to distances where zero is.
    """
    noise = np.random.default_rng(seed).standard_normal(sample.shape)
    rows = sample.astype(np.float64)
    center = rows.mean(axis=0) if space.metric == "l2" else np.zeros(sample.shape[1])
    rows -= center
    length = np.sqrt(np.vecdot(rows, rows))[:, None]
    mixed = rows + noise * (_NOISE * length / np.sqrt(np.vecdot(noise, noise))[:, None])
    size = np.sqrt(np.vecdot(mixed, mixed))[:, None]
    mixed *= np.divide(length, size, out=np.ones_like(size), where=size > 0)
    return prepare(mixed + center, space)[0]


def _made(rows: Rows, flat: FlatIndex, source: VectorSource, mask: Mask | None) -> Vectors:
    alive = rows if mask is None else rows[mask[rows]]
    picked = np.random.default_rng(0).choice(alive, min(_MADE, len(alive)), replace=False)
    return honest_queries(source.take(np.sort(picked)), Space(flat.metric, flat.dimension, "any"))


def _places(
    candidates: Candidates, rows: Rows, indexed: Mask, queries: Vectors, truth: list[Rows], n: int, k: int
) -> NDArray[np.float64]:
    """(m, k): at which places among n proposals rows of the true top k are; infinity for those that are not.

    Rows that tie with the k-th are as good as it.
    """
    places = np.full((len(queries), k), np.inf)

    def one(number: int) -> None:
        proposed = rows[candidates.propose(Vectors(queries[number : number + 1]), n)]
        right = np.flatnonzero(np.isin(proposed[indexed[proposed]], truth[number]))[:k]
        places[number, : len(right)] = right

    workers.run(one, range(len(queries)))
    return places


def _recall(found: NDArray[np.bool_]) -> tuple[float, float]:
    """The mean recall over queries, and its lower confidence bound.

    The bound is that of the queries and one more of which half was found: a sample without a miss does not prove that
    there are none.
    """
    each = found.mean(axis=1)
    more = np.append(each, 0.5)
    lower = more.mean() - _ONE_SIDED_95 * more.std(ddof=1) / math.sqrt(len(more))
    return float(each.mean()), max(0.0, float(lower))


def _rescored(places: NDArray[np.float64], best: Rung, k: int, least: float) -> int:
    """How many of the first proposals have to be scored for a lower bound of `least`."""
    for step in LADDER:
        first = min(math.ceil(k * step), best.n)
        if first == best.n or _recall(places < first)[1] >= least:
            return first
    return best.n
