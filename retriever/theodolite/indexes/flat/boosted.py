"""Candidates of a boosted search: the rows that may have the highest boosted scores, out of all rows.

A scan yields the best approximate similarity of each group of rows. Together with the group's largest factor and
largest error it bounds the boosted scores of the group's rows. The groups with the highest bounds are opened row by
row. The k-th largest lower bound of their rows is a threshold that every row of the top k reaches. Only groups whose
bound reaches it are opened, and in these only rows whose factor and similarity can reach it are looked at.
"""

import numpy as np
from numpy.typing import NDArray

from theodolite.indexes.flat.boosted_score import BoostedScore, lowered
from theodolite.indexes.flat.scan import ScanResult, kth_largest
from theodolite.types import Rows
from theodolite.vectors.metrics import Metric

Doubles = NDArray[np.float64]

_FIRST = 32  # groups opened first, in addition to k
_MORE = 8  # times as many groups are opened next
_STEPS = 256  # similarities in the table of relevance
_LOWEST = float(np.finfo(np.float64).min)


def boosted_candidates(result: ScanResult, number: int, k: int, boost: BoostedScore) -> tuple[Rows, Doubles, Doubles]:
    """Return the rows that may have one of the k highest boosted scores, as `ScanResult.candidates` does."""
    scan, metric = result.scan, result.scan.metric
    best = result.group_best(number)
    alive = best > -np.inf  # the group has an eligible row
    factors = boost.group_factors(scan, scan.blocks)
    top = metric.from_scan(best + result.max_error(number))
    high = np.where(alive, boost.upper_bound(top, factors), -np.inf)
    table = _RelevanceTable(float(top.max()), float(top.min(where=alive, initial=np.inf)), boost, metric)
    threshold = _LOWEST
    parts = []
    lows = np.empty(0)
    if len(high) > k + _FIRST:
        # The most similar rows of the groups with the highest bounds give a first threshold. They are opened again.
        first = np.argpartition(-high, k + _FIRST)[: k + _FIRST]
        first = first[alive[first]]
        least = np.full(len(first), best[first].min(initial=np.inf))
        rows, near, error = result.rows(number, first, result.group_errors(number, first), least)
        threshold = max(threshold, lowered(kth_largest(lower_bound(boost, rows, near - error, metric), k)))
    for size in (k + _FIRST, _MORE * (k + _FIRST), len(high)):
        groups = (high >= threshold).nonzero()[0]
        if len(groups) > max(size, _MORE * (k + _FIRST)):  # many enough that a better threshold pays
            groups = groups[np.argpartition(-high[groups], size)[:size]]
        high[groups] = -np.inf
        error = result.group_errors(number, groups)
        top = metric.from_scan(best[groups] + error)
        keep = (boost.upper_bound(top, factors[groups]) >= threshold).nonzero()[0]
        if not len(keep):
            continue
        groups, error, top = groups[keep], error[keep], top[keep]
        least = table.similarities(boost.needed_relevance(threshold, factors[groups])) - error
        factor = boost.needed_factor(threshold, top)
        rows, near, error = result.rows(number, groups, error, least, (boost.factors, factor))
        low = lower_bound(boost, rows, near - error, metric)
        parts.append((rows, near, error))
        lows = np.concatenate([lows, low])
        threshold = max(threshold, lowered(kth_largest(lows, k)))
    if not parts:
        return np.empty(0, np.int64), np.empty(0), np.empty(0)
    rows, near, error = (np.concatenate(part) for part in zip(*parts, strict=True))
    keep = (upper_bound(boost, rows, near + error, metric) >= threshold).nonzero()[0]
    return rows[keep], near[keep], error[keep]


def upper_bound(boost: BoostedScore, rows: Rows, values: Doubles, metric: Metric) -> Doubles:
    """Return the highest boosted scores, (n,), that rows can have whose scan values are at most `values`."""
    return boost.upper_bound(metric.from_scan(values), boost.factors[rows])


def lower_bound(boost: BoostedScore, rows: Rows, values: Doubles, metric: Metric) -> Doubles:
    """Return the lowest boosted scores, (n,), that rows can have whose scan values are at least `values`."""
    return boost.lower_bound(metric.from_scan(values), boost.factors[rows])


class _RelevanceTable:
    """Finds the similarity that a relevance takes in a table of similarities up to `high`, the highest possible."""

    def __init__(self, high: float, low: float, boost: BoostedScore, metric: Metric) -> None:
        self._metric = metric
        # Denser near the top. It reaches below `low`, since less similar rows may have larger factors.
        span = 2 * (high - low) + abs(high)
        self._steps: Doubles = high - span * np.square(np.linspace(1, 0, _STEPS))
        self._relevance = np.maximum.accumulate(boost.upper_bound(self._steps, 1.0))

    def similarities(self, relevance: Doubles) -> Doubles:
        """Return scan values, (n,), below which no row has this relevance; −inf where that is unknown."""
        places = self._relevance.searchsorted(relevance)
        below = np.concatenate([[-np.inf], self._steps])[places]
        return self._metric.to_scan(below)
