"""The boosted score of a row: the relevance of its similarity, times the row's factor.

For a given row, a higher similarity never has a lower boosted score, so bounds on similarities become bounds on boosted
scores. This holds in floating point, too: products, clipping, sums and quotients with a constant are monotone, since
each is rounded to the nearest number.
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
    """Boosts and a relevance threshold, as an index applies them. Immutable.

    Attributes:
        factors: (rows,) in (0, 1], each row's factor. `np.broadcast_to(1.0, rows)` is no boost, and takes no memory. A
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
