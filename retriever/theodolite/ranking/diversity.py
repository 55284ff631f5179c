"""Diversity: fewer hits that repeat each other.

Similarity is the cosine of stored vectors, whatever their norms; a zero vector is similar to none. It is computed in
float64, each row in an order that depends on d alone (a matrix product of BLAS would choose one by the number of
rows), so equal vectors are equally similar to any third.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from theodolite.errors import ConfigError, InputError
from theodolite.inputs import is_number

Doubles = NDArray[np.float64]

Scale = Literal["relevance", "fusion", "open"]
"""The scale of scores: cosines, relevance or calibrated scores; sums of reciprocal ranks; or unbounded (BM25)."""


@dataclass(frozen=True, slots=True)
class MMR:
    """Diversity by maximal marginal relevance: hits that are relevant and unlike each other.

    Attributes:
        diversity: how much a hit's similarity to earlier hits counts against it, from 0 (not at all) to 1.
        pool: how many of the best candidates to choose from. Default: max(5 * k, 50).

    Raises:
        InputError: a value outside these bounds. ConfigError: a pool without diversity.
    """

    diversity: float
    pool: int | None = None

    def __post_init__(self) -> None:
        if not is_number(self.diversity) or not 0 <= self.diversity <= 1:
            raise InputError(f"diversity is {self.diversity!r}; expected a number from 0 to 1")
        if self.pool is None:
            return
        if not self.diversity:
            raise ConfigError("pool would do nothing without diversity. Pass a diversity above 0, or leave pool out")
        if isinstance(self.pool, bool) or not isinstance(self.pool, int) or self.pool < 1:
            raise InputError(f"pool is {self.pool!r}; expected a whole number of at least 1")


def choose_diverse(
    values: Doubles, vectors: NDArray[np.float32], k: int, diversity: float
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Choose k documents by maximal marginal relevance: one after the other, each time the one with the highest
    (1 - diversity) * value - diversity * (its largest similarity to those chosen already).

    Carbonell and Goldstein, The Use of MMR, Diversity-Based Reranking for Reordering Documents and Producing
    Summaries (SIGIR 1998), with lambda = 1 - diversity.

    Args:
        values: (n,), best first, higher is better, on the scale of cosines (see `scaled`).
        vectors: (n, d).
        k: how many to choose; fewer where n is less.
        diversity: in [0, 1]. 0 leaves the given order; 1 starts with the best value, then looks at similarity alone.

    Returns:
        Positions in the order of choice, (k,), and the largest similarity of each to those before it, (k,); 0 for
        the first. Ties keep the given order.
    """
    if not diversity:
        values = -np.arange(len(values), dtype=np.float64)  # the order alone, whatever the values are
    gain = (1.0 - diversity) * values
    units = _units(vectors)
    similar = np.full(len(values), -np.inf)
    order = np.arange(min(k, len(values)))
    nearest = np.zeros(len(order), np.float64)
    for turn in range(len(order)):
        chosen = int(np.argmax(gain - diversity * similar if turn else values))
        order[turn] = chosen
        nearest[turn] = similar[chosen] if turn else 0.0
        gain[chosen] = -np.inf
        np.maximum(similar, np.vecdot(units, units[chosen]), out=similar)
    return order, nearest


def collapse(vectors: NDArray[np.float32], threshold: float) -> tuple[NDArray[np.int64], list[NDArray[np.int64]]]:
    """Group near-duplicates: going down a list, each vector joins the first one before it that is similar enough.

    Cosines are rounded to float32 before they are compared, as everywhere. So a threshold of 1.0 finds equal vectors
    and equal directions, although their cosine in float64 may be slightly less.

    Args:
        vectors: (n, d), in the order of the list, best first.
        threshold: the lowest cosine of near-duplicates, in (0, 1].

    Returns:
        Positions of the first of each group, ascending; and for each the positions of the others, ascending.
    """
    units = _units(vectors)
    left = np.ones(len(units), np.bool_)
    kept: list[int] = []
    collapsed: list[NDArray[np.int64]] = []
    for place in range(len(units)):
        if left[place]:
            cosines = np.vecdot(units[place + 1 :], units[place]).astype(np.float32)
            same = place + 1 + np.flatnonzero((cosines >= np.float32(threshold)) & left[place + 1 :])
            left[same] = False
            kept.append(place)
            collapsed.append(same)
    return np.array(kept, np.int64), collapsed


def scaled(scores: Doubles, scale: Scale) -> Doubles:
    """Scale scores so that they can be weighed against cosines; the order stays. (n,) float64.

    - `relevance`: unchanged. With a floor of relevance, differences count for more.
    - `fusion`: divided by the largest. Reciprocal ranks lie close together (with a constant of 60 the tenth has
      87 % of the first), so diversity acts more strongly than on cosines.
    - `open`: from 0 for the lowest to 1 for the highest; all 1 where they are equal. The other scores of the list are
      the only scale there is.
    """
    if scale == "relevance" or not len(scores):
        return scores
    top = scores.max()
    if scale == "fusion":
        shares: Doubles = scores / top
        return shares
    below: Doubles = top - scores
    spread = below.max()
    return 1.0 - below / spread if spread else np.ones_like(scores)


def _units(vectors: NDArray[np.float32]) -> Doubles:
    wide = vectors.astype(np.float64)
    norms = np.sqrt(np.vecdot(wide, wide))
    norms[norms == 0.0] = 1.0
    wide /= norms[:, None]
    return wide
