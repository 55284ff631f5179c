"""How vectors lie: what a sample's angles, its principal axes and its neighbours say."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from theodolite.auditing.arrays import Matrix
from theodolite.auditing.scan import Progress, directions, lengths, parts, wide, within

TOP = 10
FEWEST = 2 * TOP  # rows; of fewer, half or more are among the first ten by chance

_PAIRED = 1000  # rows whose cosines with one another are taken
_SPREAD = 10_000  # rows the principal axes are found from, at most
_VALUES = 1 << 22  # values of that sample, at most
_ASKED = 200  # queries
_HELD_OUT = 100  # rows whose neighbours are looked for
_NOISE = 2.0  # its length, where that of the row is 1
_SAME = 0.999

Kind = Literal["given", "noise"]


@dataclass(frozen=True, slots=True)
class Angles:
    """Cosines between pairs of a sample: quantiles at 1, 5, 25, 50, 75, 95 and 99 %."""

    rows: int
    mean: float
    std: float
    quantiles: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Axes:
    """The principal axes of a sample, of rows scaled to length one.

    Attributes:
        rows: how many it has.
        participation: (Σ λ)² / Σ λ² of the covariance's eigenvalues, corrected for the size of the sample.
        for90, for99: components that hold 90 and 99 % of the variance.
    """

    rows: int
    participation: float
    for90: int
    for99: int


@dataclass(frozen=True, slots=True)
class Neighbours:
    """What is found near held-out rows, and whether metrics agree about queries.

    Attributes:
        rows: held-out rows that were asked for their nearest other row.
        nearest: the median of the cosines found; `mean`: of their cosines with all rows.
        close: the share of them with another row at a cosine of at least 0.999.
        queries: how many queries; `kind`: given, or made from rows with noise.
        cosine_dot, cosine_l2, dot_l2: the mean overlap of the first ten by two metrics.
    """

    rows: int
    nearest: float
    mean: float
    close: float
    queries: int
    kind: Kind
    cosine_dot: float
    cosine_l2: float
    dot_l2: float

    @property
    def contrast(self) -> float:
        """How far the nearest is from the average row, towards equal: 0 no nearer, 1 the same."""
        return (self.nearest - self.mean) / max(1 - self.mean, 1e-12)


def angles(unit: NDArray[np.float64]) -> Angles:
    """Of at least two rows of length one."""
    unit = unit[:_PAIRED]
    cosines = (unit @ unit.T)[np.triu_indices(len(unit), 1)]
    quantiles = np.quantile(cosines, (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99))
    return Angles(len(unit), float(cosines.mean()), float(cosines.std()), tuple(quantiles.tolist()))


def axes(unit: NDArray[np.float64]) -> Axes:
    """Of at least two rows of length one."""
    count, dimension = unit.shape
    centred = unit - unit.mean(axis=0)
    small = centred @ centred.T if count < dimension else centred.T @ centred
    free = count - 1
    values = np.clip(np.linalg.eigvalsh(small)[::-1] / free, 0, None)
    total, squares = float(values.sum()), float(np.square(values).sum())
    if total <= 1e-12:  # all rows are the same
        return Axes(count, 0.0, 0, 0)
    # A small sample makes directions look less equal than they are. Unbiased for normally distributed rows.
    if free > 1:
        squares = (squares - total**2 / free) * free**2 / ((free - 1) * (free + 2))
    participation = min(total**2 / max(squares, 1e-300), float(min(dimension, free)))
    held = np.cumsum(values) / total
    for90, for99 = (min(int(np.searchsorted(held, share)) + 1, len(held)) for share in (0.9, 0.99))
    return Axes(count, max(1.0, participation), for90, for99)


def sampled(matrix: Matrix, usable: NDArray[np.int64], seed: int) -> NDArray[np.float64]:
    """Rows of length one, in random order, at most some ten thousand."""
    count = min(len(usable), _SPREAD, max(_PAIRED, _VALUES // matrix.shape[1]))
    rows = np.random.default_rng(seed).choice(usable, count, replace=False)
    sample = wide(matrix, np.sort(rows))
    place = np.argsort(np.argsort(rows))
    return directions(sample, lengths(sample))[place]


def neighbours(
    matrix: Matrix,
    norms: NDArray[np.float64],
    usable: NDArray[np.int64],
    queries: NDArray[np.float64] | None,
    seed: int,
    progress: Progress | None = None,
) -> Neighbours:
    """Read all rows once, and compare them with held-out rows and with queries.

    Args:
        queries: (m, d), finite and not zero; None makes them from held-out rows, with noise.
    """
    draw = np.random.default_rng(seed)
    own = np.sort(draw.choice(usable, min(_ASKED, len(usable)), replace=False))
    held = wide(matrix, own)
    kind: Kind = "noise" if queries is None else "given"
    if queries is None:
        asked, excluded = _honest(held, draw), own
    else:
        some = np.sort(draw.choice(len(queries), min(_ASKED, len(queries)), replace=False))
        asked, excluded = queries[some], np.full(len(some), -1)
    probes = draw.permutation(len(own))[:_HELD_OUT]
    held, own = directions(held[probes], norms[own][probes]), own[probes]

    best = [_Best(len(asked), by) for by in range(3)]
    nearest, sums = np.full(len(own), -np.inf), np.zeros(len(own))
    for start, part in parts(matrix):
        size = norms[start : start + len(part)]
        fine = np.flatnonzero(within(size))
        rows, part, size = fine + start, part[fine], size[fine]
        if len(fine):
            _see(nearest, sums, held @ part.T / size, rows, own)
            dots = asked @ part.T
            mine = np.flatnonzero((excluded >= rows[0]) & (excluded <= rows[-1]))
            dots[mine, np.searchsorted(rows, excluded[mine])] = np.nan
            for one in best:
                one.see(dots, rows, size)
        if progress is not None:
            progress(len(fine))
    return Neighbours(
        len(own),
        float(np.median(nearest)),
        float(sums.mean() / max(1, len(usable) - 1)),
        float(np.mean(nearest >= _SAME)),
        len(asked),
        kind,
        best[0].shared(best[1]),
        best[0].shared(best[2]),
        best[1].shared(best[2]),
    )


def _honest(rows: NDArray[np.float64], draw: np.random.Generator) -> NDArray[np.float64]:
    """A query near each row, with noise twice as long as the row: a row itself is far too easy a query.

    The noise is across nearly all rows and changes no length that matters: it is not taken off again, or L2 would see
    a query that is too short.
    """
    noise = draw.standard_normal(rows.shape)
    noise *= (_NOISE * lengths(rows) / lengths(noise))[:, None]
    return rows + noise


def _see(
    nearest: NDArray[np.float64],
    sums: NDArray[np.float64],
    cosines: NDArray[np.float64],
    rows: NDArray[np.int64],
    own: NDArray[np.int64],
) -> None:
    mine = np.flatnonzero((own >= rows[0]) & (own <= rows[-1]))
    at = np.searchsorted(rows, own[mine])
    sums += cosines.sum(axis=1)
    sums[mine] -= cosines[mine, at]
    cosines[mine, at] = -np.inf
    np.maximum(nearest, cosines.max(axis=1), out=nearest)


class _Best:
    """The ten best rows of each query by one metric, with what the other metrics are computed from."""

    def __init__(self, queries: int, by: int) -> None:
        self._by = by
        self._dots, self._sizes = np.full((queries, TOP), np.nan), np.ones((queries, TOP))

    def see(self, dots: NDArray[np.float64], rows: NDArray[np.int64], sizes: NDArray[np.float64]) -> None:
        new = _scores(self._by, dots, sizes)
        worst = self._worst(self._by)
        for query in np.flatnonzero((new > worst[:, None]).any(axis=1)).tolist():
            better = np.flatnonzero(new[query] > worst[query])
            all_dots = np.concatenate([self._dots[query], dots[query, better]])
            all_sizes = np.concatenate([self._sizes[query], sizes[better]])
            scores = np.nan_to_num(_scores(self._by, all_dots, all_sizes), nan=-np.inf)
            kept = np.argpartition(-scores, TOP - 1)[:TOP]
            self._dots[query], self._sizes[query] = all_dots[kept], all_sizes[kept]

    def shared(self, other: "_Best") -> float:
        """The mean share of its rows that the other ranks no worse than its own tenth; ties count as shared."""
        worst = other._worst(other._by)[:, None]
        scores = _scores(other._by, self._dots, self._sizes)
        slack = 1e-9 * (np.abs(worst) + np.abs(scores))
        return float(np.mean(scores >= worst - slack))

    def _worst(self, by: int) -> NDArray[np.float64]:
        scores = np.nan_to_num(_scores(by, self._dots, self._sizes), nan=-np.inf)
        worst: NDArray[np.float64] = scores.min(axis=1)
        return worst


def _scores(by: int, dots: NDArray[np.float64], sizes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cosine, dot product or L2, but for what does not change a query's ranking."""
    if by == 0:
        return dots / sizes
    return dots if by == 1 else dots - sizes**2 / 2
