"""Merge rankings by weighted reciprocal rank fusion."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from theodolite.types import Rows


@dataclass(frozen=True, slots=True, eq=False)
class Arm:
    """One ranking.

    Attributes:
        rows: (n,), best first. If a row occurs twice, its first place counts.
        scores: (n,), the scores the arm is ranked by, higher is better, or None. Rows with equal scores share the
            better rank (1, 2, 2, 4), so the fused score does not depend on the order of their ids.
        weight: at least 0; an arm of weight 0 contributes nothing.
    """

    rows: Rows
    scores: NDArray[np.floating] | None = None
    weight: float = 1.0


def fuse(arms: Sequence[Arm], constant: float = 60.0) -> tuple[Rows, NDArray[np.float64]]:
    """Merge rankings by weighted reciprocal rank fusion (see `theodolite.protocols.Fusion`).

    Rankings are merged by rank, because their scores have no common scale.

    The score of a row is the sum of weight / (constant + rank) over the arms that contain it, with ranks from 1.

    Returns:
        Rows, (n,), best first, and their scores, (n,) float64, higher is better. Equal scores are ordered by the place
        in the first arm, then in the second, and so on; a row that an arm does not contain comes after those it does.
    """
    arms = [arm for arm in arms if arm.weight > 0 and len(arm.rows)]
    if not arms:
        return np.empty(0, np.int64), np.empty(0, np.float64)
    rows = np.unique(np.concatenate([arm.rows for arm in arms]))
    scores = np.zeros(len(rows), np.float64)
    places = np.full((len(arms), len(rows)), np.iinfo(np.int64).max)
    for arm, place in zip(arms, places, strict=True):
        distinct, first = np.unique(arm.rows, return_index=True)
        at = np.searchsorted(rows, distinct)
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
