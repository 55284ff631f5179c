"""Bootstrap intervals and paired tests of means over questions. All are seeded: the same values give the same result.

Efron and Tibshirani, An Introduction to the Bootstrap (1993); Smucker, Allan and Carterette, A comparison of
statistical significance tests for information retrieval evaluation (CIKM 2007).
"""

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_SEED = 0
_RESAMPLES = 2000
_PERMUTATIONS = 10_000
_CELLS = 1 << 21  # numbers drawn at a time, to bound memory
_EXACT = 13  # up to so many questions, all assignments of signs are tried
_LEVEL = 0.05
_QUANTILES = (_LEVEL / 2, 1 - _LEVEL / 2)
_FEWEST = 6  # questions: with five, random signs repeat any result in 1 of 16 cases
_POWER = 1.95996 + 0.84162  # z of a two-sided level of 5 %, and of a power of 80 %


def intervals(values: Floats) -> Floats:
    """Return the 95 % percentile bootstrap interval of the mean of each column, (columns, 2)."""
    draw, count = np.random.default_rng(_SEED), len(values)
    means = [
        draw.multinomial(count, np.full(count, 1 / count), size=size) @ values / count
        for size in _sizes(_RESAMPLES, count)
    ]
    found: Floats = np.quantile(np.concatenate(means), _QUANTILES, axis=0).T
    return found


def proportion_intervals(values: Floats) -> Floats:
    """Return `intervals` of values in [0, 1].

    Where all questions have the same value, a bootstrap has nothing to vary. The rule of three gives the interval
    then: what 3 of n questions could change (Hanley and Lippman-Hand, If nothing goes wrong, is everything all right?
    JAMA 1983).
    """
    found = intervals(values)
    same = np.ptp(values, axis=0) == 0
    margin = 3 / len(values)
    found[same] = values[0, same, None] + np.array([-margin, margin])
    return np.clip(found, 0.0, 1.0)


def permutation_test(differences: Floats) -> float:
    """Return the two-sided p-value of the mean of paired differences: how often random signs give as large a mean."""
    count = len(differences)
    least = abs(differences.sum()) - 1e-9 * max(1.0, np.abs(differences).sum())
    if count <= _EXACT:
        signs = 1 - 2 * ((np.arange(2**count)[:, None] >> np.arange(count)) & 1)
        return float(np.mean(np.abs(signs @ differences) >= least))
    draw, reached = np.random.default_rng(_SEED), 0
    for size in _sizes(_PERMUTATIONS, count):
        signs = 1 - 2 * draw.integers(2, size=(size, count), dtype=np.int8)
        reached += int(np.sum(np.abs(signs @ differences) >= least))
    return (1 + reached) / (1 + _PERMUTATIONS)


def detectable_difference(differences: Floats) -> float | None:
    """Return the difference of means that as many questions, varying as much, show in 80 % of all cases.

    None where no difference can be shown: there are fewer than six questions, or none of them differs.
    """
    count = len(differences)
    if count < _FEWEST or not np.any(differences):
        return None
    return float(_POWER * np.std(differences, ddof=1) / math.sqrt(count)) or None


def _sizes(total: int, width: int) -> Iterator[int]:
    step = max(1, _CELLS // max(1, width))
    for start in range(0, total, step):
        yield min(step, total - start)
