"""What a similarity is worth for a row: its relevance, times the row's factor.

For a row, a higher similarity is never worth less, so that bounds on similarities become bounds on what they are worth:
float64 products, clipping, sums and quotients with a constant are all monotone, since each is rounded to the nearest.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from theodolite.ranking.relevance import Relevance
from theodolite.types import Mask, Rows

Doubles = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class BoostedScore:
    """Boosts and thresholds, as an index sees them. Immutable.

    Attributes:
        factors: (rows,) in (0, 1], what multiplies the relevance of each row; of all 1 and without memory of their own
            with `np.broadcast_to(1.0, rows)`. A relevance of at most 0 stays as it is, so that what is not relevant
            keeps its order.
        relevance: similarities to relevance, at most 1.
        least: a row of less relevance, before its factor, is worth −inf, and not found at all.
    """

    factors: Doubles
    relevance: Relevance
    least: float = -np.inf
    _largest: dict[Any, Doubles] = field(default_factory=dict, init=False, repr=False)

    def of(self, similarities: NDArray[np.floating[Any]], rows: Rows) -> Doubles:
        """What similarities, (n,), are worth for these rows, (n,). Raises ConfigError for a bad relevance function."""
        return self._multiplied(self.relevance(similarities), self.factors[rows])

    def highest(self, similarities: Doubles, factors: Doubles | float) -> Doubles:
        """What similarities and factors are worth at most that are nowhere above these, (n,)."""
        relevance = self.relevance.bounds(similarities)
        return self._multiplied(np.where(np.isnan(relevance), 1.0, relevance), factors)

    def lowest(self, similarities: Doubles, factors: Doubles) -> Doubles:
        """What similarities and factors are worth at least that are nowhere below these, (n,)."""
        relevance = self.relevance.bounds(similarities)
        return self._multiplied(np.where(np.isnan(relevance), -np.inf, relevance), factors)

    def needed(self, threshold: float, factors: Doubles) -> Doubles:
        """The relevance, or a little less, that it takes to be worth `threshold` with these factors, (n,)."""
        needed = threshold / factors if threshold > 0 else np.full(len(factors), threshold)
        return np.maximum(needed, reached(self.least))

    def factor_needed(self, threshold: float, similarities: Doubles) -> Doubles:
        """The factor that it takes to be worth `threshold` with a similarity of at most this, (n,); 0 for any."""
        relevance = self.highest(similarities, 1.0)
        if threshold <= 0:
            return np.zeros(len(relevance))
        return np.divide(threshold, relevance, out=np.zeros(len(relevance)), where=relevance > 0)

    def largest(self, scan: Any, blocks: Any) -> Doubles:
        """The largest factor of each group of rows, (groups,), for a scan of these blocks; kept."""
        kept = self._largest.get(scan)
        if kept is None:
            parts = [_group_maxima(self.factors[block.start : block.stop], block.groups) for block in blocks]
            kept = self._largest[scan] = np.concatenate(parts)
        return kept

    def most(self, mask: Mask | None, stop: int) -> float:
        """The largest factor of the rows below `stop` where `mask` is True; 0 if there are none."""
        factors = self.factors[:stop]
        # A product with the mask takes a tenth of the time of picking by it.
        return float(np.maximum.reduce(factors if mask is None else factors * mask[:stop], initial=0.0))

    def _multiplied(self, relevance: Doubles, factors: Doubles | float) -> Doubles:
        out: Doubles = np.where(relevance > 0, relevance * factors, relevance)
        if self.least > -np.inf:
            out[relevance < self.least] = -np.inf
        return out


def reached(threshold: float) -> float:
    """A threshold for bounds, a little below one for what similarities are worth.

    Functions such as exp, in a relevance function of the caller's, are not monotone in their last bits.
    """
    return threshold - (1e-12 * abs(threshold) + 1e-15)


def _group_maxima(factors: Doubles, groups: int) -> Doubles:
    whole = len(factors) // groups * groups
    maxima: Doubles = np.maximum.reduce(factors[:whole].reshape(-1, groups), axis=0)
    rest = factors[whole:]
    np.maximum(maxima[: len(rest)], rest, out=maxima[: len(rest)])
    return maxima
