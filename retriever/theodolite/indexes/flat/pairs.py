"""Near-duplicate pairs: every pair of rows whose cosine reaches a threshold, found by products of int8 codes.

A row a is compared as x = a/‖a‖. With μ, the mean of a sample, v = x − μ is stored as a code c with the residual norm
r = ‖v − s·c‖. It is rotated first where a few outlier components would waste the code's range. One scale s serves all
rows; the few components beyond it are cut, and r accounts for that. Then

    x·y = v·w + β(x) + β(y),    β(x) = v·μ + ‖μ‖²/2
    v·w ≤ s²·(c·c') + r·N + H·r'

by Cauchy–Schwarz, where N is the largest ‖w‖ and H the largest ‖s·c‖. So the upper bound of a cosine is a product of
codes, plus a term of the one row, plus a term of the other: integers in units of s². A pair whose bound reaches the
threshold is decided in float64, from the vectors themselves.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from theodolite.errors import CorruptionError
from theodolite.indexes.flat.codes import has_outliers, pack, products, rotation
from theodolite.indexes.flat.sources import VectorSource
from theodolite.indexes.flat.workers import Workers, workers
from theodolite.types import Rows, Scores

BLOCK = 4096
"""Rows that are packed together: their codes fit the nearer caches."""

STRIP = 64
"""Rows whose products with a block are taken at once."""

_PART = 1024  # rows coded at a time
_MOST = 16  # strips between two results
_PLENTY = 1 << 16  # pairs: where there are more, the next result is of fewer strips
_SAMPLE = 4096  # rows from which the mean and the scale are computed
_CUT = 0.99  # the quantile of the rows' largest components that still fits the code
_FINEST = 2.0**-12  # of scales: sums in units of its square fit an int32
_CHUNK = 1 << 19  # float64 values held at a time
_SLACK = 2.0**-24 + 1e-9  # half the last place of a float32 near 1, and float64 rounding

Doubles = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Pairs:
    """A batch of pairs.

    Attributes:
        first, second: (n,) rows, first < second.
        cosines: (n,) computed in float64 and rounded once.
        compared: the number of pairs of rows that were compared to find these.
    """

    first: Rows
    second: Rows
    cosines: Scores
    compared: int


def close_pairs(source: VectorSource, rows: Rows, threshold: float, pool: Workers = workers) -> Iterator[Pairs]:
    """Yield every pair of these rows whose cosine is at least `threshold`, each once.

    Cosine and threshold are compared as float32. Rows of zeros have no cosine and belong to no pair. Memory: d + 24
    bytes a row, and about 100 MB.

    Args:
        rows: (n,) rising.
        threshold: above 0, at most 1.

    Returns:
        Batches of bounded size. Pairs are ordered by the block of `BLOCK` rows that holds their second row, then by
        their first row, then by their second row.

    Raises:
        CorruptionError: a vector is NaN or infinite.
    """
    rows, norms = _lengths(source, rows)
    if len(rows) < 2:
        return
    comparison = _Comparison(source, rows, norms, threshold, pool)
    width = 1
    for start in range(0, len(rows), BLOCK):
        block = comparison.block(start)
        strips = range(0, block.stop, STRIP)
        while strips:
            found: dict[int, Pairs] = {}
            pool.run(partial(comparison.compare, block, found), strips[:width])
            one = _joined([found[strip] for strip in strips[:width]])
            strips = strips[width:]
            width = min(2 * width, _MOST) if len(one.first) <= _PLENTY else max(1, width // 2)
            yield one


@dataclass(frozen=True, slots=True)
class _Block:
    """Rows to compare with all rows before them; `packed` holds their codes in the kernel's layout."""

    start: int
    stop: int
    packed: Any


class _Comparison:
    """The codes of rows, and the bounds that follow from their products. Rows are numbered by their place in `rows`.

    Attributes:
        codes: (n, d) int8.
        of_first, of_second: (n,) a row's term of the bound as the first and as the second row, in units of s².
        least: the bound a pair must reach.
    """

    def __init__(self, source: VectorSource, rows: Rows, norms: Doubles, threshold: float, pool: Workers) -> None:
        self.rows = rows
        self.norms = norms
        self._source = source
        self._threshold = np.float32(threshold)
        n = len(rows)
        sample = self._directions(np.linspace(0, n - 1, min(n, _SAMPLE)).astype(np.int64))
        d = sample.shape[1]
        mean: Doubles = sample.mean(axis=0)
        turn = rotation(d).T.astype(np.float64) if has_outliers(sample, mean) else None
        sample -= mean
        largest = np.abs(sample if turn is None else sample @ turn).max(axis=1)
        scale = max(float(np.quantile(largest, _CUT)) / 127, _FINEST)
        self.codes = np.empty((n, d), np.int8)
        beta, residual, coded, length = np.empty((4, n))

        def encode(start: int) -> None:
            part = slice(start, start + _PART)
            v = self._directions(np.arange(start, min(start + _PART, n)))
            v -= mean
            beta[part] = v @ mean
            v = v if turn is None else v @ turn
            levels = np.clip(np.rint(v / scale), -127, 127)
            self.codes[part] = levels
            levels *= scale
            length[part], coded[part] = _norms(v), _norms(levels)
            levels -= v
            residual[part] = _norms(levels)

        pool.run(encode, range(0, n, _PART))
        beta += mean @ mean / 2
        unit = scale**2
        self.of_first = np.ceil((beta + residual * length.max()) / unit).astype(np.int32)
        self.of_second = np.ceil((beta + residual * coded.max()) / unit).astype(np.int32)
        # A rotation in float32 changes products by 2^-24·√d of the lengths, which are 2 at most.
        slack = _SLACK if turn is None else _SLACK + 2.0**-21 * math.sqrt(d)
        self.least = math.floor((float(self._threshold) - slack) / unit)

    def block(self, start: int) -> _Block:
        codes = self.codes[start : start + BLOCK]
        return _Block(start, start + len(codes), pack(codes))

    def compare(self, block: _Block, found: dict[int, Pairs], start: int) -> None:
        """Compare a strip of rows with the rows of the block that follow them; store the pairs in `found[start]`."""
        stop = min(start + STRIP, block.stop)
        bound = np.asarray(products(self.codes[start:stop], block.packed))
        bound += self.of_second[block.start : block.stop]
        reach = self.least - self.of_first[start:stop, None]
        first, second = np.divmod(np.flatnonzero(bound >= reach), block.stop - block.start)
        first += start
        second += block.start
        if stop > block.start:  # within the block, a pair appears twice, and each row meets itself
            ahead = second > first
            first, second = first[ahead], second[ahead]
        cosines = self._cosines(first, second)
        near = cosines >= self._threshold
        rows = np.arange(start, stop)
        compared = int((block.stop - np.maximum(rows + 1, block.start)).sum())
        found[start] = Pairs(self.rows[first[near]], self.rows[second[near]], cosines[near], compared)

    def _cosines(self, first: Rows, second: Rows) -> Scores:
        """Return exact cosines, summed in an order that depends on d alone, as scores are."""
        out = np.empty(len(first), np.float32)
        step = max(1, _CHUNK // self.codes.shape[1])
        for start in range(0, len(first), step):
            one, other = first[start : start + step], second[start : start + step]
            terms = self._source.take(self.rows[one]).astype(np.float64)
            terms *= self._source.take(self.rows[other])
            exact = np.add.reduce(terms, axis=1) / (self.norms[one] * self.norms[other])
            out[start : start + step] = np.clip(exact, -1.0, 1.0)
        return out

    def _directions(self, places: Rows) -> Doubles:
        """Return the rows at these places, normalized, (n, d)."""
        wide = self._source.take(self.rows[places]).astype(np.float64)
        wide /= self.norms[places, None]
        return wide


def _lengths(source: VectorSource, rows: Rows) -> tuple[Rows, Doubles]:
    """Return the rows that are not zero, and their lengths. Raises CorruptionError for NaN and infinity."""
    norms = np.empty(len(rows))
    for start in range(0, len(rows), _PART):
        wide = source.take(rows[start : start + _PART]).astype(np.float64)
        norms[start : start + _PART] = _norms(wide)
    broken = ~np.isfinite(norms)
    if broken.any():
        raise CorruptionError(
            f"{np.count_nonzero(broken)} of {len(rows)} stored vectors hold NaN or infinity, first row "
            f"{rows[np.argmax(broken)]}: they are damaged. Run verify()",
            rows=rows[broken].tolist(),
        )
    return rows[norms > 0], norms[norms > 0]


def _norms(rows: Doubles) -> Doubles:
    norms: Doubles = np.sqrt(np.vecdot(rows, rows))
    return norms


def _joined(parts: list[Pairs]) -> Pairs:
    return Pairs(
        np.concatenate([part.first for part in parts]),
        np.concatenate([part.second for part in parts]),
        np.concatenate([part.cosines for part in parts]),
        sum(part.compared for part in parts),
    )
