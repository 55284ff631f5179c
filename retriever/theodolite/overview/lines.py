"""Lines: what charts show of an overview, as points."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from theodolite.overview.similarity import Histogram, Similarities

Line = list[tuple[float, float]]


def similarity_lines(found: Similarities) -> dict[str, Line]:
    """Return distributions of cosines by name: pairs, nearest neighbors, questions, and random directions."""
    lines = {
        "two random documents": histogram_line(found.pairs),
        "a document and its nearest": histogram_line(found.nearest),
    }
    if found.questions is not None:
        lines["a question and its nearest"] = histogram_line(found.questions)
    middles = [middle for middle, _ in lines["two random documents"]]
    heights = np.exp(-0.5 * (np.array(middles) / found.noise) ** 2)
    lines["random directions"] = list(zip(middles, (heights / heights.sum()).tolist(), strict=True))
    return lines


def histogram_line(histogram: Histogram) -> Line:
    """Return the share of each bin at its middle."""
    middles = ((low + high) / 2 for low, high in pairwise(histogram.edges))
    return list(zip(middles, histogram.shares, strict=True))


def variance_line(variance: Sequence[float]) -> Line:
    """Return the share of the variance that the first components explain together, by their number."""
    return [(float(number), min(share, 1.0)) for number, share in enumerate(np.cumsum(variance).tolist(), start=1)]
