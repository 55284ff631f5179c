"""Split conformal prediction: how far down a list must go to hold a relevant passage for a share of questions.

Vovk, Gammerman and Shafer, Algorithmic Learning in a Random World (2005); Angelopoulos and Bates, A gentle
introduction to conformal prediction (2021).

A calibration question has a gap: the score of its first hit minus that of its best relevant one. A new question drawn
like n calibration questions has a gap of at most the k-th smallest with a probability of at least k / (n + 1), so
k = ⌈(n + 1) · coverage⌉ promises the coverage. That is an average over calibrations. The true coverage of one
calibration follows Beta(k, n + 1 − k).
"""

import math
from fractions import Fraction

import numpy as np

_STEPS = 60  # of a bisection, to the last bit of a float near 1
_LOW = 0.05


def rank_of(coverage: float, count: int) -> int:
    """Return k: the k-th smallest of `count` gaps promises this coverage. Above `count`, there are too few."""
    # As written in decimals: 0.55 * 100 is above 55 in floats, and one question more would be needed.
    return math.ceil((count + 1) * Fraction(repr(coverage)))


def questions_needed(coverage: float) -> int:
    """Return the smallest number of questions that can promise this coverage, if each has a relevant passage."""
    share = Fraction(repr(coverage))
    return math.ceil(share / (1 - share))


def highest_coverage(finite: int, count: int) -> float:
    """Return the highest coverage that `count` gaps can promise, of which this many are finite; rounded down."""
    return math.floor(1000 * Fraction(finite, count + 1)) / 1000


def low_coverage(rank: int, count: int) -> float:
    """Return the 5th percentile of the true coverage of calibrations: of Beta(rank, count + 1 - rank)."""
    # P(Beta(k, n + 1 - k) <= x) is the probability of at least k successes in n trials of probability x.
    successes = np.arange(rank, count + 1)
    ways = np.array([_log_binomial(count, int(each)) for each in successes])
    low, high = 0.0, 1.0
    for _ in range(_STEPS):
        middle = (low + high) / 2
        below = np.exp(ways + successes * math.log(middle) + (count - successes) * math.log1p(-middle)).sum()
        low, high = (middle, high) if below < _LOW else (low, middle)
    return low


def _log_binomial(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
