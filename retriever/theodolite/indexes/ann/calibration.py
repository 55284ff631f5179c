"""How many proposals a recall needs, measured against the exact answer."""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from theodolite.errors import CorruptionError
from theodolite.indexes.ann.confidence import mean_and_stderr
from theodolite.indexes.ann.synthetic_queries import synthetic_queries
from theodolite.indexes.flat.index import FlatIndex, VectorSource
from theodolite.indexes.flat.workers import workers
from theodolite.protocols import Candidates
from theodolite.types import Mask, Rows, Space, Vectors

Kind = Literal["given", "logged", "noise"]

LADDER = (1, 1.5, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 400)
"""The numbers of proposals that are tried, in multiples of k."""

_MADE = 500  # queries, where none are given
_ONE_SIDED_95 = 1.645
_LONGER = 10  # how many times longer lists are measured, too
_TENTH = 10  # one row in so many passes the filter that is tried
_SOME = 100  # queries for that
_MOST = 1 << 40  # proposals
_CHANCE = 0.01  # what the mean of so few may be off


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
        longer: the same for lists ten times as long, where there are rows enough: (k, n, rescored).
        filtered: the mean recall under a filter that admits a tenth of the rows, for which ten times as many are
            proposed. None where it was not measured.
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
    def reached(self) -> bool:
        """Whether the index is known to reach its target."""
        return self.lower >= self.target_recall

    @property
    def filters(self) -> bool:
        """Whether proposals can be trusted under a filter. A graph of inner products may be good at the top only."""
        return self.filtered is None or self.filtered >= self.target_recall - _CHANCE

    def needed(self, k: int) -> tuple[int, int]:
        """Proposals to ask for, and how many of them to score, for lists of length k."""
        if k <= self.k:
            return self.n, self.rescored
        far, n, rescored = self.longer or (self.k, self.n, self.rescored)
        if k >= far:
            return math.ceil(n * k / far), math.ceil(rescored * k / far)
        # Between the two in proportion to the logarithm: they grow more slowly than k.
        way = math.log(k / self.k) / math.log(far / self.k)
        ask = math.ceil(self.n + way * (n - self.n))
        # What is scored grows like k itself.
        way = (k - self.k) / (far - self.k)
        return ask, min(ask, math.ceil(self.rescored + way * (rescored - self.rescored)))

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        longer = None if self.longer is None else list(self.longer)
        return asdict(self) | {"ladder": [asdict(rung) for rung in self.ladder], "longer": longer}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "Calibration":
        """From what `to_dict` gave. Raises CorruptionError for anything else."""
        try:
            ladder = tuple(Rung(**rung) for rung in data["ladder"])
            k, n, rescored = longer = data.get("longer") or (data["k"], data["n"], data["rescored"])
            made = cls(**data | {"ladder": ladder, "longer": data.get("longer") and tuple(longer)})
            counts = (made.k, made.rescored, made.n, k, rescored, n)
            whole = all(type(each) is int and each < _MOST for each in counts)
            measured = (made.target_recall, made.recall, made.lower, 0.0 if made.filtered is None else made.filtered)
            shares = all(isinstance(each, (int, float)) for each in measured)
            if whole and shares and 1 <= made.k <= made.rescored <= made.n and made.k <= k <= rescored <= n:
                return made
        except (TypeError, KeyError, ValueError, AttributeError):
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
        queries: (m, d), real ones if possible. None: `synthetic_queries` of 500 rows.
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
    measure = _Measure(candidates, rows, flat, source, indexed, queries)
    k = min(k, eligible)
    tried, best, rescored = measure.climb(k, target_recall, progress)
    recall, lower = _recall(tried[best] < rescored)
    longer = None
    if eligible >= _LONGER * _LONGER * k:
        _, n, scored = measure.climb(_LONGER * k, target_recall, progress, least=best)
        longer = (_LONGER * k, n, scored)
    return Calibration(
        target_recall,
        k,
        best,
        rescored,
        recall,
        lower,
        len(queries),
        kind,
        ladder=tuple(Rung(n, *_recall(places < n)) for n, places in tried.items()),
        longer=longer,
        filtered=measure.filtered(k, best),
    )


def _made(rows: Rows, flat: FlatIndex, source: VectorSource, mask: Mask | None) -> Vectors:
    alive = rows if mask is None else rows[mask[rows]]
    picked = np.random.default_rng(0).choice(alive, min(_MADE, len(alive)), replace=False)
    return synthetic_queries(source.take(np.sort(picked)), Space(flat.metric.name, flat.dimension, "any"))


class _Measure:
    """Proposals to some queries against the exact answers."""

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
        self, k: int, target: float, progress: Callable[[int], object] | None, least: int = 0
    ) -> tuple[dict[int, NDArray[np.float64]], int, int]:
        """Where the true top k are among n proposals, for each n up to what is enough; the best n; what to score."""
        truth = [found.rows for found in self._flat.search(self._queries, k, self._source, self._indexed)]
        tried: dict[int, NDArray[np.float64]] = {}
        lower: dict[int, float] = {}
        for n in sorted({min(max(least, math.ceil(k * step)), len(self._rows)) for step in LADDER}):
            tried[n] = self._places(self._queries, truth, self._indexed, n, k)
            lower[n] = _recall(tried[n] < n)[1]
            if progress is not None:
                progress(n)
            if lower[n] >= target:
                break
        best = max(tried, key=lambda n: (lower[n], -n))
        enough = min(target, lower[best])
        for step in LADDER:
            rescored = min(math.ceil(k * step), best)
            if rescored == best or _recall(tried[best] < rescored)[1] >= enough:
                break
        return tried, best, rescored

    def filtered(self, k: int, n: int) -> float | None:
        """The mean recall where only every tenth row is eligible."""
        ask = _TENTH * n
        if ask > len(self._rows) // 2:
            return None  # the exact answer is cheaper
        few = Vectors(self._queries[:_SOME])
        mask = self._indexed & (np.random.default_rng(0).random(len(self._indexed)) < 1 / _TENTH)
        truth = [found.rows for found in self._flat.search(few, k, self._source, mask)]
        if min(map(len, truth)) < k:
            return None
        return _recall(self._places(few, truth, mask, ask, k) < ask)[0]

    def _places(self, queries: Vectors, truth: list[Rows], mask: Mask, n: int, k: int) -> NDArray[np.float64]:
        """(m, k): at which places among n proposals rows of the true top k are; infinity for those that are not.

        Rows that tie with the k-th are as good as it.
        """
        places = np.full((len(queries), k), np.inf)

        def one(number: int) -> None:
            proposed = self._rows[self._candidates.propose(Vectors(queries[number : number + 1]), n)]
            right = np.flatnonzero(np.isin(proposed[mask[proposed]], truth[number]))[:k]
            places[number, : len(right)] = right

        workers.run(one, range(len(queries)))
        return places


def _recall(found: NDArray[np.bool_]) -> tuple[float, float]:
    """The mean recall over queries, and its lower confidence bound.

    The bound is that of the queries and one more of which half was found.
    """
    each = found.mean(axis=1)
    mean, error = mean_and_stderr(each)
    return float(each.mean()), max(0.0, mean - _ONE_SIDED_95 * error)
