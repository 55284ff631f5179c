"""The candidates of a boosted search: the rows that may be worth most, out of all.

A scan tells of each group of rows the best approximate similarity. With the largest factor of the group and the
largest error it bounds what the group's rows are worth. The most promising groups are opened row by row, and the k-th
largest lower bound among their rows is a threshold that no row of the top k can stay below. Only groups that reach it
are opened, and of their rows only those looked at whose factor and similarity can.
"""

import numpy as np
from numpy.typing import NDArray

from theodolite.indexes.flat.boosted_score import BoostedScore, reached
from theodolite.indexes.flat.scan import Scanned, kth_largest
from theodolite.types import Rows
from theodolite.vectors.metrics import Metric

Doubles = NDArray[np.float64]

_FIRST = 32  # groups that are opened first, beside k
_MORE = 8  # so many times more are opened next
_STEPS = 256  # similarities whose relevance is looked at
_LOWEST = float(np.finfo(np.float64).min)


def candidates(scanned: Scanned, number: int, k: int, worth: BoostedScore) -> tuple[Rows, Doubles, Doubles]:
    """Rows that may be among the k worth most for a query; as `Scanned.candidates`."""
    scan, metric = scanned.scan, scanned.scan.metric
    best = scanned.best(number)
    alive = best > -np.inf  # some row of it is eligible
    largest = worth.largest(scan, scan.blocks)
    top = metric.from_scan(best + scanned.most(number))
    high = np.where(alive, worth.highest(top, largest), -np.inf)
    reach = _Reach(float(top.max()), float(top.min(where=alive, initial=np.inf)), worth, metric)
    threshold = _LOWEST
    parts = []
    lows = np.empty(0)
    if len(high) > k + _FIRST:
        # The most similar rows of the most promising groups do to begin with; they are looked at again.
        first = np.argpartition(-high, k + _FIRST)[: k + _FIRST]
        first = first[alive[first]]
        least = np.full(len(first), best[first].min(initial=np.inf))
        rows, near, error = scanned.rows(number, first, scanned.errors(number, first), least)
        threshold = max(threshold, reached(kth_largest(lowest(worth, rows, near - error, metric), k)))
    for size in (k + _FIRST, _MORE * (k + _FIRST), len(high)):
        groups = (high >= threshold).nonzero()[0]
        if len(groups) > max(size, _MORE * (k + _FIRST)):  # so many that a better threshold pays
            groups = groups[np.argpartition(-high[groups], size)[:size]]
        high[groups] = -np.inf
        error = scanned.errors(number, groups)
        top = metric.from_scan(best[groups] + error)
        keep = (worth.highest(top, largest[groups]) >= threshold).nonzero()[0]
        if not len(keep):
            continue
        groups, error, top = groups[keep], error[keep], top[keep]
        least = reach.of(worth.needed(threshold, largest[groups])) - error
        factor = worth.factor_needed(threshold, top)
        rows, near, error = scanned.rows(number, groups, error, least, (worth.factors, factor))
        low = lowest(worth, rows, near - error, metric)
        parts.append((rows, near, error))
        lows = np.concatenate([lows, low])
        threshold = max(threshold, reached(kth_largest(lows, k)))
    if not parts:
        return np.empty(0, np.int64), np.empty(0), np.empty(0)
    rows, near, error = (np.concatenate(part) for part in zip(*parts, strict=True))
    keep = (highest(worth, rows, near + error, metric) >= threshold).nonzero()[0]
    return rows[keep], near[keep], error[keep]


def highest(worth: BoostedScore, rows: Rows, values: Doubles, metric: Metric) -> Doubles:
    """What these rows are worth at most, (n,), whose similarities are at most `values`: on the scan's scale."""
    return worth.highest(metric.from_scan(values), worth.factors[rows])


def lowest(worth: BoostedScore, rows: Rows, values: Doubles, metric: Metric) -> Doubles:
    """What these rows are worth at least, (n,), whose similarities are at least `values`: on the scan's scale."""
    return worth.lowest(metric.from_scan(values), worth.factors[rows])


class _Reach:
    """What similarity it takes to have some relevance, from a table of those below `high`, the highest there is."""

    def __init__(self, high: float, low: float, worth: BoostedScore, metric: Metric) -> None:
        self._metric = metric
        # Denser near the top, and beyond `low`, as even less similar rows may have the larger factors.
        span = 2 * (high - low) + abs(high)
        self._steps: Doubles = high - span * np.square(np.linspace(1, 0, _STEPS))
        self._relevance = np.maximum.accumulate(worth.highest(self._steps, 1.0))

    def of(self, relevance: Doubles) -> Doubles:
        """Similarities, (n,), below which none has this relevance, on the scan's scale; −inf where that is unknown."""
        places = self._relevance.searchsorted(relevance)
        below = np.concatenate([[-np.inf], self._steps])[places]
        return self._metric.to_scan(below)
