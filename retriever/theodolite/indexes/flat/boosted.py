"""Boosted search: the boosted score of a row, and the rows that may have the highest boosted scores, out of all rows.

The boosted score is the relevance of a row's similarity, times the row's factor. For a given row, a higher similarity
never has a lower boosted score, so bounds on similarities become bounds on boosted scores. This holds in floating
point, too: products, clipping, sums and quotients with a constant are monotone, since each is rounded to the nearest
number.

A scan yields the best approximate similarity of each group of rows. Together with the group's largest factor and
largest error it bounds the boosted scores of the group's rows. The groups with the highest bounds are opened row by
row. The k-th largest lower bound of their rows is a threshold that every row of the top k reaches. Only groups whose
bound reaches it are opened, and in these only rows whose factor and similarity can reach it are looked at.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from theodolite.indexes.flat.scan import Exact, ScanResult, kth_largest
from theodolite.ranking.relevance import Relevance
from theodolite.types import Mask, Rows
from theodolite.vectors.metrics import Metric

Doubles = NDArray[np.float64]

_FIRST = 32  # groups opened first, in addition to k
_GROWTH = 8  # factor by which the number of opened groups grows
_STEPS = 256  # similarities in the table of relevance
_LOWEST = float(np.finfo(np.float64).min)


@dataclass(frozen=True, slots=True, eq=False)
class BoostedScore:
    """Boosts and a relevance threshold, as an index applies them. Immutable.

    Attributes:
        factors: (rows,) in (0, 1], each row's factor. `np.broadcast_to(1.0, rows)` means no boost, without memory. A
            relevance of at most 0 is not multiplied, so that irrelevant rows keep their order.
        relevance: maps similarities to relevance, at most 1.
        least: rows whose relevance is below this, before the factor, score −inf and are never returned.
    """

    factors: Doubles
    relevance: Relevance
    least: float = -np.inf
    _maxima: dict[Any, Doubles] = field(default_factory=dict, init=False, repr=False)

    def score(self, similarities: NDArray[np.floating[Any]], rows: Rows) -> Doubles:
        """Return the scores of rows, (n,), with these similarities, (n,).

        Raises:
            ConfigError: the caller's relevance function returns values that are not a relevance.
        """
        return self._multiplied(self.relevance(similarities), self.factors[rows])

    def upper_bound(self, similarities: Doubles, factors: Doubles | float) -> Doubles:
        """Return the highest scores, (n,), that similarities and factors up to these can have."""
        relevance = self.relevance.bounds(similarities)
        return self._multiplied(np.where(np.isnan(relevance), 1.0, relevance), factors)

    def lower_bound(self, similarities: Doubles, factors: Doubles) -> Doubles:
        """Return the lowest scores, (n,), that similarities and factors from these upwards can have."""
        relevance = self.relevance.bounds(similarities)
        return self._multiplied(np.where(np.isnan(relevance), -np.inf, relevance), factors)

    def needed_relevance(self, threshold: float, factors: Doubles) -> Doubles:
        """Return the relevance, or slightly less, that reaches a score of `threshold` with these factors, (n,)."""
        needed = threshold / factors if threshold > 0 else np.full(len(factors), threshold)
        return np.maximum(needed, lowered(self.least))

    def needed_factor(self, threshold: float, similarities: Doubles) -> Doubles:
        """Return the factor that reaches a score of `threshold` with similarities up to these, (n,); 0 if any does."""
        relevance = self.upper_bound(similarities, 1.0)
        if threshold <= 0:
            return np.zeros(len(relevance))
        return np.divide(threshold, relevance, out=np.zeros(len(relevance)), where=relevance > 0)

    def group_factors(self, scan: Any, blocks: Any) -> Doubles:
        """Return the largest factor in each group of rows, (groups,), for a scan of these blocks. Cached by scan."""
        maxima = self._maxima.get(scan)
        if maxima is None:
            parts = [_group_maxima(self.factors[block.start : block.stop], block.groups) for block in blocks]
            maxima = self._maxima[scan] = np.concatenate(parts)
        return maxima

    def max_factor(self, mask: Mask | None, stop: int) -> float:
        """Return the largest factor of the rows below `stop` where `mask` is True; 0 if there are none."""
        factors = self.factors[:stop]
        # Multiplying by the mask takes a tenth of the time of indexing with it.
        return float(np.maximum.reduce(factors if mask is None else factors * mask[:stop], initial=0.0))

    def _multiplied(self, relevance: Doubles, factors: Doubles | float) -> Doubles:
        out: Doubles = np.where(relevance > 0, relevance * factors, relevance)
        if self.least > -np.inf:
            out[relevance < self.least] = -np.inf
        return out


def lowered(threshold: float) -> float:
    """Return a threshold for bounds, slightly below a threshold for scores.

    A caller's relevance function may use functions such as exp, which are not monotone in their last bits.
    """
    return threshold - (1e-12 * abs(threshold) + 1e-15)


def _group_maxima(factors: Doubles, groups: int) -> Doubles:
    whole = len(factors) // groups * groups
    maxima: Doubles = np.maximum.reduce(factors[:whole].reshape(-1, groups), axis=0)
    rest = factors[whole:]
    np.maximum(maxima[: len(rest)], rest, out=maxima[: len(rest)])
    return maxima


def boosted_candidates(
    result: ScanResult, number: int, k: int, boost: BoostedScore, exact: Exact
) -> tuple[Rows, Doubles, Doubles]:
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
        low = lower_bound(boost, rows, near - error, metric)
        if scan.any_narrow and len(rows) > k:  # their errors are large
            sure = np.argpartition(-upper_bound(boost, rows, near, metric), min(len(rows) - 1, k + _FIRST))
            sure = sure[: k + _FIRST]
            rows = rows[sure]
            low = lower_bound(boost, rows, exact(rows, near[sure], error[sure]), metric)
        threshold = max(threshold, lowered(kth_largest(low, k)))
    for size in (k + _FIRST, _GROWTH * (k + _FIRST), len(high)):
        groups = (high >= threshold).nonzero()[0]
        if len(groups) > max(size, _GROWTH * (k + _FIRST)):  # many enough that a better threshold pays
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
