"""Calibration: how many proposals a recall needs, measured against exact search, with real or synthetic queries.

The number that is chosen is the least whose estimated recall, minus its standard error, reaches the target. So any
number of queries is enough to choose. What they prove is said apart: `lower` bounds the mean recall, at every look.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from theodolite.errors import CorruptionError
from theodolite.indexes.flat.index import FlatIndex
from theodolite.indexes.flat.sources import VectorSource
from theodolite.indexes.flat.workers import workers
from theodolite.protocols import Candidates
from theodolite.types import Mask, Rows, Space, Vectors
from theodolite.vectors.metrics import get_metric
from theodolite.vectors.prepare import prepare

Kind = Literal["given", "logged", "noise"]

LADDER = (1, 1.5, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 400)
"""The numbers of proposals to try, in multiples of k."""

_SYNTHETIC = 500  # queries, if none are given
_DOUBT = 0.05  # the probability that a lower bound is ever wrong
_STAKES = np.array([0.1, 0.2, 0.4, 0.6, 0.8, 0.95])  # shares of the largest bet (see `lower_bound`)
_LONGER = 10  # lists this many times as long are measured, too
_TENTH = 10  # the tested filter passes one row in ten
_FILTERED = 100  # queries with that filter
_MOST = 1 << 40  # proposals
_CHANCE = 0.01  # the sampling error that the mean of so few queries may have
_LOSS = 0.1  # the share of the misses that the target allows, which scoring fewer proposals may add
_NOISE = 2.0  # the length of the noise, relative to the row


@dataclass(frozen=True, slots=True)
class Rung:
    """The recall with n proposals.

    Attributes:
        recall: the mean over queries.
        lower: its lower bound (see `lower_bound`).
        found: how many queries found 0, 1, … k of their true top k. Empty in records of earlier versions.
    """

    n: int
    recall: float
    lower: float
    found: tuple[int, ...] = ()

    @classmethod
    def of(cls, n: int, found: NDArray[np.int64]) -> "Rung":
        """Return the rung of counts, (k + 1,), of queries by how many of their true top k were found."""
        return cls(n, float(_shares(found) @ found / found.sum()), lower_bound(found), tuple(found.tolist()))

    @property
    def stderr(self) -> float:
        """The standard error of the mean recall."""
        found = np.array(self.found, np.float64)
        variance = float(found @ np.square(_shares(found) - self.recall)) / max(1.0, found.sum() - 1)
        return math.sqrt(variance / found.sum())

    def reaches(self, target: float) -> bool:
        """Whether the estimated recall, minus its standard error, is at least `target`."""
        return self.recall - self.stderr >= target


@dataclass(frozen=True, slots=True)
class Calibration:
    """How many proposals to request, and the recall they reach.

    Attributes:
        target_recall: the recall the caller requested.
        k: the length of the lists it was measured with.
        n: the number of proposed eligible rows.
        rescored: how many of the proposals, the first ones, are scored exactly.
        recall: the mean share of the true top k that was found.
        lower: its lower bound, with 95 % confidence. Below `target_recall` the recall is estimated, and not proven.
        queries: the number of queries it was measured with.
        kind: `given` by the caller, `logged` from real searches, or `noise`: synthetic, and harder than real ones.
        ladder: every n that was tried, rising, with all of its proposals scored.
        longer: (k, n, rescored) for lists ten times as long; None if there are too few rows.
        filtered: the mean recall under a filter that passes a tenth of the rows, with ten times as many proposals. None
            if it was not measured.
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
    longer: tuple[int, int, int] | None = None
    filtered: float | None = None

    @property
    def proven(self) -> bool:
        """Whether the index reaches its target with 95 % confidence."""
        return self.lower >= self.target_recall

    @property
    def filters(self) -> bool:
        """Whether proposals reach the target under a filter. Some graphs are good only near the top."""
        return self.filtered is None or self.filtered >= self.target_recall - _CHANCE

    def needed(self, k: int) -> tuple[int, int]:
        """Return how many proposals to request, and how many of them to score, for lists of length k."""
        if k <= self.k:
            return self.n, self.rescored
        far, n, rescored = self.longer or (self.k, self.n, self.rescored)
        if k >= far:
            return math.ceil(n * k / far), math.ceil(rescored * k / far)
        # Interpolate by the logarithm of k, since proposals grow more slowly than k.
        way = math.log(k / self.k) / math.log(far / self.k)
        ask = math.ceil(self.n + way * (n - self.n))
        # The number to score grows in proportion to k.
        way = (k - self.k) / (far - self.k)
        return ask, min(ask, math.ceil(self.rescored + way * (rescored - self.rescored)))

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        longer = None if self.longer is None else list(self.longer)
        return asdict(self) | {"ladder": [asdict(rung) for rung in self.ladder], "longer": longer}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "Calibration":
        """Read the output of `to_dict`. Raises CorruptionError for anything else."""
        try:
            ladder = tuple(Rung(**rung | {"found": tuple(rung.get("found", ()))}) for rung in data["ladder"])
            k, n, rescored = longer = data.get("longer") or (data["k"], data["n"], data["rescored"])
            made = cls(**data | {"ladder": ladder, "longer": data.get("longer") and tuple(longer)})
            counts = (made.k, made.rescored, made.n, k, rescored, n)
            whole = all(type(each) is int and each < _MOST for each in counts)
            measured = (made.target_recall, made.recall, made.lower, 0.0 if made.filtered is None else made.filtered)
            shares = all(isinstance(each, (int, float)) for each in measured)
            shares &= all(type(count) is int and 0 <= count < _MOST for rung in ladder for count in rung.found)
            if whole and shares and 1 <= made.k <= made.rescored <= made.n and made.k <= k <= rescored <= n:
                return made
        except (TypeError, KeyError, ValueError, AttributeError):
            pass
        raise CorruptionError(f"the calibration of the index is damaged: {data}")


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
    before: Calibration | None = None,
    progress: Callable[[int], object] | None = None,
) -> Calibration:
    """Measure the fewest proposals with which the index reaches `target_recall`.

    Tries more proposals until the mean recall, minus its standard error, reaches the target. If no number does, the
    best one is taken.

    Args:
        rows: label i of the candidates is row rows[i], sorted.
        flat: the index for exact search.
        mask: (flat.rows,) True where a row is alive; None if all are.
        queries: (m, d), real ones if possible. None takes `synthetic_queries` near 500 rows.
        kind: where the queries come from.
        before: a calibration of the same index with other queries of this kind, which count, too.
        progress: called with each n that was tried. An exception that it raises ends the calibration.
    """
    if queries is None:
        queries, kind = _synthetic(rows, flat, source, mask), "noise"
    indexed = np.zeros(flat.rows, np.bool_)
    indexed[rows] = True
    if mask is not None:
        indexed &= mask
    eligible = int(np.count_nonzero(indexed))
    if not len(queries) or not eligible:
        return Calibration(target_recall, k, k, k, 0.0, 0.0, len(queries), kind)
    measure = _Measure(candidates, rows, flat, source, indexed, queries)
    k = min(k, eligible)
    if before is not None and (before.kind, before.k, before.target_recall) != (kind, k, target_recall):
        before = None
    climb = measure.climb(k, target_recall, progress, before)
    longer = None if before is None else before.longer
    if eligible >= _LONGER * _LONGER * k and (longer is None or longer[1] < climb.best.n):
        far = measure.climb(_LONGER * k, target_recall, progress, least=climb.best.n)
        longer = (_LONGER * k, far.best.n, far.rescored)
    if longer is not None and longer[2] < climb.rescored:
        longer = (*longer[:2], climb.rescored)
    return Calibration(
        target_recall,
        k,
        climb.best.n,
        climb.rescored,
        climb.best.recall,
        climb.best.lower,
        sum(climb.best.found),
        kind,
        ladder=climb.ladder,
        longer=longer,
        filtered=measure.filtered(k, climb.best.n),
    )


def _synthetic(rows: Rows, flat: FlatIndex, source: VectorSource, mask: Mask | None) -> Vectors:
    alive = rows if mask is None else rows[mask[rows]]
    picked = np.random.default_rng(0).choice(alive, min(_SYNTHETIC, len(alive)), replace=False)
    return synthetic_queries(source.take(np.sort(picked)), Space(flat.metric.name, flat.dimension, "any"))


@dataclass(frozen=True, slots=True)
class _Climb:
    """The rungs that were tried, the chosen one, and how many of its proposals to score."""

    ladder: tuple[Rung, ...]
    best: Rung
    rescored: int


class _Measure:
    """Compares proposals with exact results, for some queries."""

    def __init__(
        self,
        candidates: Candidates,
        rows: Rows,
        flat: FlatIndex,
        source: VectorSource,
        indexed: Mask,
        queries: Vectors,
    ) -> None:
        self._candidates = candidates
        self._rows = rows
        self._flat = flat
        self._source = source
        self._indexed = indexed
        self._queries = queries

    def climb(
        self,
        k: int,
        target: float,
        progress: Callable[[int], object] | None,
        before: Calibration | None = None,
        least: int = 0,
    ) -> _Climb:
        """Try rising n until the target is reached. Queries of an earlier calibration of the same k count, too."""
        truth = [result.rows for result in self._flat.search(self._queries, k, self._source, self._indexed)]
        steps = sorted({min(max(least, math.ceil(k * step)), len(self._rows)) for step in LADDER})
        known = {} if before is None else {rung.n: rung for rung in before.ladder if len(rung.found) == k + 1}
        if before is not None and before.n in known and before.n in steps:
            steps = steps[max(0, steps.index(before.n) - 1) :]  # one step down: less may be enough by now
        places: dict[int, NDArray[np.float64]] = {}
        for n in steps:
            places[n] = self._places(self._queries, truth, self._indexed, n, k)
            found = np.bincount(np.count_nonzero(places[n] < n, axis=1), minlength=k + 1)
            known[n] = Rung.of(n, found + (known[n].found if n in known else 0))
            if progress is not None:
                progress(n)
            if known[n].reaches(target):
                break
        reached = [n for n in places if known[n].reaches(target)]
        best = reached[0] if reached else max(places, key=lambda n: (known[n].recall, -n))
        enough = float((places[best] < best).mean()) - _LOSS * (1 - target)
        first = before.rescored if before is not None and before.n == best else k
        scored = (min(max(first, math.ceil(k * step)), best) for step in LADDER)
        rescored = next((n for n in scored if (places[best] < n).mean() >= enough), best)
        return _Climb(tuple(known[n] for n in sorted(known)), known[best], rescored)

    def filtered(self, k: int, n: int) -> float | None:
        """Return the mean recall if only a tenth of the rows is eligible; None if it cannot be measured."""
        ask = _TENTH * n
        if ask > len(self._rows) // 2:
            return None  # exact search is cheaper
        few = Vectors(self._queries[:_FILTERED])
        mask = self._indexed & (np.random.default_rng(0).random(len(self._indexed)) < 1 / _TENTH)
        truth = [result.rows for result in self._flat.search(few, k, self._source, mask)]
        if min(map(len, truth)) < k:
            return None
        return float((self._places(few, truth, mask, ask, k) < ask).mean())

    def _places(self, queries: Vectors, truth: list[Rows], mask: Mask, n: int, k: int) -> NDArray[np.float64]:
        """Return the places of the true top k among n proposals, (m, k); infinity for rows that were not proposed.

        A row that ties with the k-th counts like it.
        """
        places = np.full((len(queries), k), np.inf)

        def one(number: int) -> None:
            proposed = self._rows[self._candidates.propose(Vectors(queries[number : number + 1]), n)]
            right = np.flatnonzero(np.isin(proposed[mask[proposed]], truth[number]))[:k]
            places[number, : len(right)] = right

        workers.run(one, range(len(queries)))
        return places


def mean_and_stderr(recalls: Sequence[float] | NDArray[np.float64]) -> tuple[float, float]:
    """Return the mean and the standard error of some recalls, and of one more that is 0.5.

    Without the extra one, a sample without a miss would prove that there are none.
    """
    more = np.append(np.asarray(recalls, np.float64), 0.5)
    return float(more.mean()), float(more.std(ddof=1)) / math.sqrt(len(more))


def lower_bound(found: NDArray[np.int64]) -> float:
    """Return a lower bound of the mean recall. With probability 0.95 it holds each time one looks, however often.

    Imagine a gambler who bets that the mean exceeds m: a query of recall x multiplies the stake by 1 + λ(x − m), with
    0 ≤ λ < 1/m. If the mean is m or less, the stake is not expected to grow, so the probability that it ever reaches
    20 times the first is at most 1/20 (Ville's inequality; Waudby-Smith and Ramdas, Estimating means of bounded random
    variables by betting, 2024). Each m for which it has done so is ruled out. The stake is spread over several λ that
    are fixed beforehand, so the order of the queries does not matter.

    Args:
        found: (k + 1,) how many queries found 0, 1, … k of their true top k.
    """
    shares = _shares(found)
    low, high = 0.0, float(shares @ found / max(1, found.sum()))
    for _ in range(30):
        middle = (low + high) / 2
        growth = np.log1p(_STAKES[:, None] * (shares - middle) / middle) @ found if middle > 0 else np.zeros(1)
        if np.log(np.mean(np.exp(growth - growth.max()))) + growth.max() >= -math.log(_DOUBT):
            low = middle
        else:
            high = middle
    return low


def _shares(found: NDArray[Any]) -> NDArray[np.float64]:
    """Return the recalls 0, 1/k, … 1 that counts of queries belong to."""
    return np.linspace(0.0, 1.0, len(found))


def synthetic_queries(sample: NDArray[np.float32], space: Space, seed: int = 0) -> Vectors:
    """Return a query near each of a sample of rows, (m, d), for a collection that has logged no queries.

    A row itself is far too easy a query: it is found where real queries are missed. So noise of twice its length is
    added, which makes queries that are harder than real ones. The result has the length of the row. For metrics by
    distance lengths are measured from the mean of the sample, because distances do not depend on the origin.
    """
    noise = np.random.default_rng(seed).standard_normal(sample.shape)
    rows = sample.astype(np.float64)
    center = rows.mean(axis=0) if get_metric(space.metric).by_distance else np.zeros(sample.shape[1])
    rows -= center
    length = np.sqrt(np.vecdot(rows, rows))[:, None]
    mixed = rows + noise * (_NOISE * length / np.sqrt(np.vecdot(noise, noise))[:, None])
    size = np.sqrt(np.vecdot(mixed, mixed))[:, None]
    mixed *= np.divide(length, size, out=np.ones_like(size), where=size > 0)
    return prepare(mixed + center, space)[0]
