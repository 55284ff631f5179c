"""Measure vectors: a scan of all rows, and the angles, principal axes and nearest neighbors of a sample."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from theodolite.auditing.arrays import Matrix
from theodolite.vectors.metrics import Metric
from theodolite.vectors.prepare import UNIT_RANGE

Progress = Callable[[int], object]
Kind = Literal["given", "noise"]

FLOAT16_MAX = 65504.0
FLOAT16_NORMAL = 2.0**-14  # below, float16 loses digits

TOP = 10
MIN_ROWS = 2 * TOP  # of fewer, half or more are among the first ten by chance

_PART_VALUES = 1 << 20  # float64 values held at a time
_PAIRED = 1000  # rows whose pairwise cosines are computed
_SPREAD = 10_000  # maximum number of rows for the principal axes
_SAMPLE_VALUES = 1 << 22  # maximum number of values in that sample
_MAX_TESTED = 200  # queries tested
_HELD_OUT = 100  # rows whose neighbors are searched
_NOISE = 2.0  # length of the noise, relative to the row
_SAME = 0.999


@dataclass(frozen=True, slots=True)
class Scan:
    """The result of a scan of n rows.

    Attributes:
        norms: (n,) Euclidean lengths; NaN for rows that are not finite.
        low, high: (d,) the smallest and largest value of each dimension, over finite rows.
        energy: (d,) the mean square of each dimension, over rows scaled to unit length.
        beyond: number of rows with a value that becomes infinite in float16.
        faint: number of nonzero rows whose values are all below the normal range of float16.
        equal: (m, 2) rows equal to an earlier row, and that row.
        parallel: the same for rows that are equal after normalization to float32; includes those in `equal`.
    """

    norms: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    energy: NDArray[np.float64]
    beyond: int
    faint: int
    equal: NDArray[np.int64]
    parallel: NDArray[np.int64]

    @property
    def usable(self) -> NDArray[np.int64]:
        """The rows that are not zero and whose squares fit into a float64."""
        return np.flatnonzero(within(self.norms))


def scan(matrix: Matrix, progress: Progress | None = None) -> Scan:
    """Read all rows once, and those with equal hashes again."""
    count, dimension = matrix.shape
    norms = np.empty(count)
    hashes = np.empty((2, count), np.uint64)
    low, high = np.full(dimension, np.inf), np.full(dimension, -np.inf)
    energy = np.zeros(dimension)
    beyond = faint = 0
    for start, part in parts(matrix):
        here = slice(start, start + len(part))
        norms[here] = lengths(part)
        hashes[0, here] = _hashes(_stored(part, matrix))
        fine = norms[here] > 0
        with np.errstate(invalid="ignore"):
            unit = directions(part, norms[here])
        hashes[1, here] = _hashes(unit.astype(np.float32))
        finite = part if (norms[here] >= 0).all() else part[norms[here] >= 0]
        if len(finite):
            np.minimum(low, finite.min(axis=0), out=low)
            np.maximum(high, finite.max(axis=0), out=high)
            largest = np.maximum(finite.max(axis=1), -finite.min(axis=1))
            beyond += int(np.count_nonzero(largest > FLOAT16_MAX))
            faint += int(np.count_nonzero((largest < FLOAT16_NORMAL) & (largest > 0)))
        energy += np.einsum("ij,ij->j", unit[fine], unit[fine])
        if progress is not None:
            progress(len(part))
    fine = norms > 0
    energy /= max(1, int(np.count_nonzero(fine)))

    def stored(rows: NDArray[np.int64]) -> NDArray[np.floating[Any]]:
        return _stored(wide(matrix, rows), matrix)

    def normal(rows: NDArray[np.int64]) -> NDArray[np.floating[Any]]:
        return directions(wide(matrix, rows), norms[rows]).astype(np.float32)

    step = _step(matrix)
    equal, parallel = _repeats(hashes[0], fine, stored, step), _repeats(hashes[1], fine, normal, step)
    return Scan(norms, low, high, energy, beyond, faint, equal, parallel)


def parts(matrix: Matrix) -> Iterator[tuple[int, NDArray[np.float64]]]:
    """Yield blocks of consecutive rows as float64, each with the number of its first row."""
    step = _step(matrix)
    for start in range(0, matrix.shape[0], step):
        yield start, wide(matrix, slice(start, start + step))


def wide(matrix: Matrix, rows: slice | NDArray[np.int64]) -> NDArray[np.float64]:
    """Return rows as float64, C-contiguous."""
    return np.array(matrix[rows], np.float64, order="C")


def within(norms: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return a mask of the lengths that are safe to compute with."""
    return (norms > 1e-100) & (norms < 1e100)


def lengths(wide: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return Euclidean lengths, (n,); NaN for rows that are not finite."""
    with np.errstate(all="ignore"):
        norms: NDArray[np.float64] = np.sqrt(np.einsum("ij,ij->i", wide, wide))
        odd = ~((norms > 1e-100) & (norms < 1e100))
        if odd.any():  # squares under- or overflow
            largest = np.abs(wide[odd]).max(axis=1)
            scaled = wide[odd] / np.where(largest > 0, largest, 1.0)[:, None]
            long = largest * np.sqrt(np.einsum("ij,ij->i", scaled, scaled))
            norms[odd] = np.where(np.isfinite(largest), np.minimum(long, np.finfo(np.float64).max), np.nan)
    return norms


def directions(wide: NDArray[np.float64], norms: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return rows scaled to unit length; zero rows stay as they are."""
    scale = np.where(norms > 0, norms, 1.0)
    if np.all(scale >= 1e-300):
        return wide / scale[:, None]
    return wide / np.sqrt(scale)[:, None] / np.sqrt(scale)[:, None]  # 1 / 5e-324 is infinite


def _step(matrix: Matrix) -> int:
    return max(1, _PART_VALUES // matrix.shape[1])


def _stored(wide: NDArray[np.float64], matrix: Matrix) -> NDArray[np.floating[Any]]:
    """Return the values in their own precision; float32 for float16, too."""
    return wide.astype(np.float32) if matrix.dtype in (np.float16, np.float32) else wide


def _hashes(values: NDArray[np.floating[Any]]) -> NDArray[np.uint64]:
    """Return a hash of each row: the sum of its 32-bit words with fixed odd weights. -0 and 0 are equal."""
    words = (values + 0.0).view(np.uint32).astype(np.uint64)
    weights = np.random.default_rng(0).integers(1 << 63, size=words.shape[1], dtype=np.uint64) * 2 + 1
    sums: NDArray[np.uint64] = words @ weights
    return sums


def _repeats(
    hashes: NDArray[np.uint64],
    fine: NDArray[np.bool_],
    read: Callable[[NDArray[np.int64]], NDArray[np.floating[Any]]],
    step: int,
) -> NDArray[np.int64]:
    """Return rows equal to an earlier row, and that row, (m, 2). Rows with equal hashes are compared by value."""
    rows = np.flatnonzero(fine)
    order = rows[np.argsort(hashes[rows], kind="stable")]
    same = np.flatnonzero(hashes[order][1:] == hashes[order][:-1])
    before, after = order[same], order[same + 1]
    for start in range(0, len(same), step):
        part = slice(start, start + step)
        differ = (read(before[part]) != read(after[part])).any(axis=1)
        after[part][differ] = -1
    first = np.arange(len(order))
    first[same[after >= 0] + 1] = 0  # equal to the row before: take its number
    np.maximum.accumulate(first, out=first)
    found = np.stack([order, order[first]], axis=1)[first < np.arange(len(order))]
    return found[np.argsort(found[:, 0])]


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
        rows: the size of the sample.
        participation: (Σ λ)² / Σ λ² of the covariance's eigenvalues, corrected for the size of the sample.
        for90, for99: components that explain 90 and 99 % of the variance.
    """

    rows: int
    participation: float
    for90: int
    for99: int


@dataclass(frozen=True, slots=True)
class Neighbors:
    """The nearest rows of held-out rows, and whether metrics agree on the results of queries.

    Attributes:
        rows: number of held-out rows.
        nearest: the median cosine of the nearest other row; `mean`: the mean cosine with all rows.
        close: the share of held-out rows with another row at a cosine of at least 0.999.
        queries: number of queries; `kind`: given, or made from rows by adding noise.
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
        """How much nearer the nearest row is than the average row, from 0 (no nearer) to 1 (identical)."""
        return (self.nearest - self.mean) / max(1 - self.mean, 1e-12)


@dataclass(frozen=True, slots=True)
class Measurements:
    """Everything an audit measures. `angles`, `axes` and `neighbors` are None if there are too few rows.

    Attributes:
        bits: number of bits of a value.
        query_norms: lengths of the given queries, NaN for those that are not finite; None without queries.
        ids: names of the rows, if known.
    """

    count: int
    dimension: int
    bits: int
    metric: Metric | None
    scan: Scan
    angles: Angles | None
    axes: Axes | None
    neighbors: Neighbors | None
    query_norms: NDArray[np.float64] | None
    ids: Sequence[str] | None

    @property
    def sizes(self) -> NDArray[np.float64]:
        """Lengths of the rows that are finite and not zero."""
        norms = self.scan.norms
        return norms[norms > 0]

    @property
    def unit(self) -> bool:
        """Whether all of these rows have unit length."""
        sizes = self.sizes
        return bool(len(sizes)) and bool(is_unit(sizes).all())


def is_unit(norms: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return a mask of the lengths that count as unit length."""
    low, high = UNIT_RANGE
    return (norms >= low) & (norms <= high)


def angles(unit: NDArray[np.float64]) -> Angles:
    """Measure the cosines between rows of unit length, at least two."""
    unit = unit[:_PAIRED]
    cosines = (unit @ unit.T)[np.triu_indices(len(unit), 1)]
    quantiles = np.quantile(cosines, (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99))
    return Angles(len(unit), float(cosines.mean()), float(cosines.std()), tuple(quantiles.tolist()))


def axes(unit: NDArray[np.float64]) -> Axes:
    """Measure the principal axes of rows of unit length, at least two."""
    count, dimension = unit.shape
    centered = unit - unit.mean(axis=0)
    small = centered @ centered.T if count < dimension else centered.T @ centered
    free = count - 1
    values = np.clip(np.linalg.eigvalsh(small)[::-1] / free, 0, None)
    total, squares = float(values.sum()), float(np.square(values).sum())
    if total <= 1e-12:  # all rows are the same
        return Axes(count, 0.0, 0, 0)
    # A small sample makes the eigenvalues look more unequal than they are. This is unbiased for normal rows.
    if free > 1:
        squares = (squares - total**2 / free) * free**2 / ((free - 1) * (free + 2))
    participation = min(total**2 / max(squares, 1e-300), float(min(dimension, free)))
    explained = np.cumsum(values) / total
    for90, for99 = (min(int(np.searchsorted(explained, share)) + 1, len(explained)) for share in (0.9, 0.99))
    return Axes(count, max(1.0, participation), for90, for99)


def sampled(matrix: Matrix, usable: NDArray[np.int64], seed: int) -> NDArray[np.float64]:
    """Return a random sample of at most 10,000 rows, scaled to unit length, in random order."""
    count = min(len(usable), _SPREAD, max(_PAIRED, _SAMPLE_VALUES // matrix.shape[1]))
    rows = np.random.default_rng(seed).choice(usable, count, replace=False)
    sample = wide(matrix, np.sort(rows))
    place = np.argsort(np.argsort(rows))
    return directions(sample, lengths(sample))[place]


def neighbors(
    matrix: Matrix,
    norms: NDArray[np.float64],
    usable: NDArray[np.int64],
    queries: NDArray[np.float64] | None,
    seed: int,
    progress: Progress | None = None,
) -> Neighbors:
    """Read all rows once and compare them with held-out rows and with queries.

    Args:
        queries: (m, d), finite and not zero. Default: made from held-out rows by adding noise.
    """
    draw = np.random.default_rng(seed)
    own = np.sort(draw.choice(usable, min(_MAX_TESTED, len(usable)), replace=False))
    held = wide(matrix, own)
    kind: Kind = "noise" if queries is None else "given"
    if queries is None:
        tested, excluded = _noisy(held, draw), own
    else:
        some = np.sort(draw.choice(len(queries), min(_MAX_TESTED, len(queries)), replace=False))
        tested, excluded = queries[some], np.full(len(some), -1)
    probes = draw.permutation(len(own))[:_HELD_OUT]
    held, own = directions(held[probes], norms[own][probes]), own[probes]

    best = [_Best(len(tested), by) for by in range(3)]
    nearest, sums = np.full(len(own), -np.inf), np.zeros(len(own))
    for start, part in parts(matrix):
        size = norms[start : start + len(part)]
        fine = np.flatnonzero(within(size))
        rows, part, size = fine + start, part[fine], size[fine]
        if len(fine):
            _update(nearest, sums, held @ part.T / size, rows, own)
            dots = tested @ part.T
            mine = np.flatnonzero((excluded >= rows[0]) & (excluded <= rows[-1]))
            dots[mine, np.searchsorted(rows, excluded[mine])] = np.nan
            for one in best:
                one.add(dots, rows, size)
        if progress is not None:
            progress(len(fine))
    return Neighbors(
        len(own),
        float(np.median(nearest)),
        float(sums.mean() / max(1, len(usable) - 1)),
        float(np.mean(nearest >= _SAME)),
        len(tested),
        kind,
        best[0].shared(best[1]),
        best[0].shared(best[2]),
        best[1].shared(best[2]),
    )


def _noisy(rows: NDArray[np.float64], draw: np.random.Generator) -> NDArray[np.float64]:
    """Make a query from each row by adding noise twice as long as the row. The row itself is too easy a query.

    The noise is nearly orthogonal to all rows, so it changes no ranking by its length. The sum is not scaled back to
    the row's length: for L2 the query would be too short.
    """
    noise = draw.standard_normal(rows.shape)
    noise *= (_NOISE * lengths(rows) / lengths(noise))[:, None]
    return rows + noise


def _update(
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
    """The ten best rows of each query by one metric, with the values that the other metrics need."""

    def __init__(self, queries: int, by: int) -> None:
        self._by = by
        self._dots, self._sizes = np.full((queries, TOP), np.nan), np.ones((queries, TOP))

    def add(self, dots: NDArray[np.float64], rows: NDArray[np.int64], sizes: NDArray[np.float64]) -> None:
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
        """Return the mean share of rows that the other metric ranks at least as high as its own tenth; ties count."""
        worst = other._worst(other._by)[:, None]
        scores = _scores(other._by, self._dots, self._sizes)
        slack = 1e-9 * (np.abs(worst) + np.abs(scores))
        return float(np.mean(scores >= worst - slack))

    def _worst(self, by: int) -> NDArray[np.float64]:
        scores = np.nan_to_num(_scores(by, self._dots, self._sizes), nan=-np.inf)
        worst: NDArray[np.float64] = scores.min(axis=1)
        return worst


def _scores(by: int, dots: NDArray[np.float64], sizes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return cosines, dot products or L2 distances, without the terms that do not change the ranking of a query."""
    if by == 0:
        return dots / sizes
    return dots if by == 1 else dots - sizes**2 / 2
