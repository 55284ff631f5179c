"""The candidates of a boosted search: the rows that may be worth most, out of all.

A scan tells of each group of rows the best approximate similarity. With the largest factor of the group and the
largest error it bounds what the group's rows are worth. The most promising groups are opened row by row, and the k-th
largest lower bound among their rows is a threshold that no row of the top k can stay below; what reaches it is opened.
"""

import numpy as np
from numpy.typing import NDArray

from theodolite.indexes.scan import Scanned, kth_largest
from theodolite.indexes.worth import Worth, reached
from theodolite.types import Metric, Rows

Doubles = NDArray[np.float64]

_FIRST = 32  # groups that are opened to find a threshold, beside k
_STEPS = 256  # of similarities, at which it is seen how many are worth too little
_LOWEST = float(np.finfo(np.float64).min)


def candidates(scanned: Scanned, number: int, k: int, worth: Worth) -> tuple[Rows, Doubles, Doubles]:
    """Rows that may be among the k worth most for a query; as `Scanned.candidates`."""
    scan, metric = scanned.scan, scanned.scan.metric
    best = scanned.best(number)
    largest = worth.largest(scan, scan.blocks)
    high = worth.highest(_similarities(best + scanned.most(number), metric), largest)
    high[best == -np.inf] = -np.inf  # no row of it is eligible
    threshold = _LOWEST
    if len(high) > k + _FIRST:
        first = np.argpartition(-high, k + _FIRST)[: k + _FIRST]
        first = first[high[first] > -np.inf]
        rows, near, error = scanned.rows(number, first, scanned.errors(number, first), np.full(len(first), -np.inf))
        threshold = max(threshold, reached(kth_largest(lowest(worth, rows, near - error, metric), k)))
    groups = (high >= threshold).nonzero()[0]
    error = scanned.errors(number, groups)
    top = _similarities(best[groups] + error, metric)
    keep = (worth.highest(top, largest[groups]) >= threshold).nonzero()[0]
    groups, error, top = groups[keep], error[keep], top[keep]
    reach = _reach(top, largest[groups], threshold, worth, metric)
    rows, near, error = scanned.rows(number, groups, error, reach - error)
    threshold = max(threshold, reached(kth_largest(lowest(worth, rows, near - error, metric), k)))
    keep = (highest(worth, rows, near + error, metric) >= threshold).nonzero()[0]
    return rows[keep], near[keep], error[keep]


def highest(worth: Worth, rows: Rows, values: Doubles, metric: Metric) -> Doubles:
    """What these rows are worth at most, (n,), whose similarities are at most `values`: on the scan's scale."""
    return worth.highest(_similarities(values, metric), worth.factors[rows])


def lowest(worth: Worth, rows: Rows, values: Doubles, metric: Metric) -> Doubles:
    """What these rows are worth at least, (n,), whose similarities are at least `values`: on the scan's scale."""
    return worth.lowest(_similarities(values, metric), worth.factors[rows])


def _similarities(values: Doubles, metric: Metric) -> Doubles:
    """Values on the scan's scale, or bounds of some, as similarities in the metric's range.

    For L2 the root of a distance's square is the distance itself, so that bounds stay bounds.
    """
    if metric == "l2":
        return -np.sqrt(np.maximum(-values, 0.0))
    return np.clip(values, -1.0, 1.0) if metric == "cosine" else values


def _reach(top: Doubles, largest: Doubles, threshold: float, worth: Worth, metric: Metric) -> float:
    """On the scan's scale, what no similarity below reaches the threshold with; −inf if there is no telling."""
    if not len(top):
        return -np.inf
    high = float(top.max())
    steps = np.linspace(high - 2 * (high - float(top.min())), high, _STEPS)
    enough = worth.highest(steps, float(largest.max())) >= threshold
    first = int(enough.argmax()) if enough.any() else _STEPS
    if not first:
        return -np.inf
    below = float(steps[first - 1])
    return -below * below if metric == "l2" else below
