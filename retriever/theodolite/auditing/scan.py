"""Scan all rows once: lengths, invalid values, the range of each dimension, and equal rows."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from theodolite.auditing.arrays import Matrix

Progress = Callable[[int], object]

FLOAT16_MAX = 65504.0
FLOAT16_NORMAL = 2.0**-14  # below, float16 loses digits

_VALUES = 1 << 20  # float64 values held at a time


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
    """Blocks of consecutive rows as float64, each with the number of its first row."""
    step = _step(matrix)
    for start in range(0, matrix.shape[0], step):
        yield start, wide(matrix, slice(start, start + step))


def wide(matrix: Matrix, rows: slice | NDArray[np.int64]) -> NDArray[np.float64]:
    """Rows as float64, C-contiguous."""
    return np.array(matrix[rows], np.float64, order="C")


def within(norms: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which lengths are safe to compute with."""
    return (norms > 1e-100) & (norms < 1e100)


def lengths(wide: NDArray[np.float64]) -> NDArray[np.float64]:
    """Euclidean lengths, (n,); NaN for rows that are not finite."""
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
    """Rows scaled to unit length; zero rows stay as they are."""
    scale = np.where(norms > 0, norms, 1.0)
    if np.all(scale >= 1e-300):
        return wide / scale[:, None]
    return wide / np.sqrt(scale)[:, None] / np.sqrt(scale)[:, None]  # 1 / 5e-324 is infinite


def _step(matrix: Matrix) -> int:
    return max(1, _VALUES // matrix.shape[1])


def _stored(wide: NDArray[np.float64], matrix: Matrix) -> NDArray[np.floating[Any]]:
    """The values in their own precision; float32 for float16, too."""
    return wide.astype(np.float32) if matrix.dtype in (np.float16, np.float32) else wide


def _hashes(values: NDArray[np.floating[Any]]) -> NDArray[np.uint64]:
    """A hash of each row: the sum of its 32-bit words with fixed odd weights. -0 and 0 are equal."""
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
    """Rows equal to an earlier row, and the first such row, (m, 2). Rows with equal hashes are compared by value."""
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
