"""Diversity: fewer passages in a list that say the same.

Similarity is the cosine of stored vectors, whatever their norms; a vector of length zero is similar to none. It is
computed in float64, each row in an order that depends on d alone (BLAS's product of a matrix would choose one by the
number of rows), so equal vectors are equally similar to any third.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]

Scale = Literal["relevance", "fusion", "open"]
"""Of scores: cosines, relevance or calibrated scores; sums of reciprocal ranks; or without bounds, such as BM25."""


def mmr(
    values: Doubles, vectors: NDArray[np.float32], k: int, diversity: float
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Maximal marginal relevance: choose one after the other, each time by
    (1 - diversity) * value - diversity * (its largest similarity to what is chosen already).

    Carbonell and Goldstein, The Use of MMR, Diversity-Based Reranking for Reordering Documents and Producing
    Summaries (SIGIR 1998), with lambda = 1 - diversity.

    Args:
        values: (n,), best first, higher is better, on the scale of cosines (see `scaled`).
        vectors: (n, d).
        k: how many to choose; fewer where n is less.
        diversity: in [0, 1]. 0 leaves the given order; 1 starts with the best value, then looks at similarity alone.

    Returns:
        Positions in the order of choice, (k,), and of each the largest similarity to those before it, (k,); 0 for
        the first. Ties are decided by the given order.
    """
    if not diversity:
        values = -np.arange(len(values), dtype=np.float64)  # the order alone, whatever the values are
    worth = (1.0 - diversity) * values
    units = _units(vectors)
    similar = np.full(len(values), -np.inf)
    order = np.arange(min(k, len(values)))
    nearest = np.zeros(len(order), np.float64)
    for turn in range(len(order)):
        chosen = int(np.argmax(worth - diversity * similar if turn else values))
        order[turn] = chosen
        nearest[turn] = similar[chosen] if turn else 0.0
        worth[chosen] = -np.inf
        np.maximum(similar, np.vecdot(units, units[chosen]), out=similar)
    return order, nearest


def collapse(vectors: NDArray[np.float32], threshold: float) -> tuple[NDArray[np.int64], list[NDArray[np.int64]]]:
    """Leave out near-duplicates: going down a list, what is similar to one that is kept already.

    Cosines are rounded to float32 before they are compared, as everywhere: so a threshold of 1.0 finds equal vectors,
    and equal directions, although their cosine in float64 may be a little less.

    Args:
        vectors: (n, d), in the order of the list, best first.
        threshold: the least cosine of near-duplicates, in (0, 1].

    Returns:
        Positions of what is kept, ascending; and for each the positions that it stands for, ascending: of several
        that are similar enough, the first that is kept stands for a passage.
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
    """Scores on a scale that can be weighed against cosines, in the same order, (n,) float64.

    - `relevance`: unchanged. With a floor below relevance, differences count for more.
    - `fusion`: divided by the largest. Reciprocal ranks lie close together (with a constant of 60 the tenth has
      87 % of the first), so diversity acts more strongly than on cosines.
    - `open`: from 0 for the least to 1 for the largest of these; all 1 where they are equal. What else is in the list
      then decides what a score is worth, as there is nothing else to compare it with.
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
