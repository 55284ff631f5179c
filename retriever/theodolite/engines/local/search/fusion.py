"""Fusion: several rankings made one, by ranks alone, since their scores share no scale."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from theodolite.types import Rows


@dataclass(frozen=True, slots=True, eq=False)
class Arm:
    """One ranking.

    Attributes:
        rows: (n,), best first. Of a row that is in it twice, the first place counts.
        scores: (n,), what the arm is ordered by, higher is better, or None. Rows of equal scores share the better
            rank (1, 2, 2, 4), so that which of two equal documents has the lower id decides nothing here.
        weight: at least 0; an arm of weight 0 contributes nothing.
    """

    rows: Rows
    scores: NDArray[np.floating] | None = None
    weight: float = 1.0


def fuse(arms: Sequence[Arm], constant: float = 60.0) -> tuple[Rows, NDArray[np.float64]]:
    """Weighted reciprocal rank fusion (see `theodolite.protocols.Fusion`).

    A row's score is the sum of weight / (constant + rank) over the arms it is in, ranks from 1.

    Returns:
        Rows, (n,), best first, and their scores, (n,) float64, higher is better. Where scores tie, the place in the
        first arm decides, then in the second, and so on; a row that is not in an arm comes after those that are.
    """
    arms = [arm for arm in arms if arm.weight > 0 and len(arm.rows)]
    if not arms:
        return np.empty(0, np.int64), np.empty(0, np.float64)
    rows = np.unique(np.concatenate([arm.rows for arm in arms]))
    scores = np.zeros(len(rows), np.float64)
    places = np.full((len(arms), len(rows)), np.iinfo(np.int64).max)
    for arm, place in zip(arms, places, strict=True):
        found, first = np.unique(arm.rows, return_index=True)
        at = np.searchsorted(rows, found)
        place[at] = first
        scores[at] += arm.weight / (constant + _ranks(arm)[first])
    order = np.lexsort((*places[::-1], -scores))
    return rows[order], scores[order]


def _ranks(arm: Arm) -> NDArray[np.int64]:
    ranks = np.arange(1, len(arm.rows) + 1)
    if arm.scores is not None:
        ranks[1:][arm.scores[1:] == arm.scores[:-1]] = 0
        np.maximum.accumulate(ranks, out=ranks)
    return ranks
