"""The BM25 score of a document, from the statistics of the documents that are searched.

For N documents with mean length L, and a term or phrase that n of them contain:

    idf = max(ln((N − n + 0.5) / (n + 0.5)), 1e-6)
    bm25 = Σ weight × idf × tf × (k1 + 1) / (tf + k1 × (1 − b + b × length / L))

where tf is its count in the document. A word that the query has qf times weighs qf × (k3 + 1) / (k3 + qf). Robertson
and Zaragoza, The Probabilistic Relevance Framework: BM25 and Beyond (2009). k1 = 1.2 and b = 0.75 by default, as in
SQLite's FTS5; for k3 see docs/ranking.md.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from theodolite.errors import ConfigError

K3 = 1.5
_HIGHEST_K1 = 1e6  # with this much, counts do not saturate; far more would overflow


@dataclass(frozen=True, slots=True)
class BM25:
    """The settings of BM25 that a collection is created with.

    Attributes:
        k1: how much it counts that a document repeats a word: 0 for not at all. The higher, the later it saturates.
        b: how much the length of a document counts against it, from 0 (not at all) to 1.

    Raises:
        ConfigError: a value out of range.
    """

    k1: float = 1.2
    b: float = 0.75

    def __post_init__(self) -> None:
        for name, most in (("k1", _HIGHEST_K1), ("b", 1.0)):
            value: Any = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= most:
                raise ConfigError(f"{name} is {value!r}; it must be a number from 0 to {most:,.0f}", **{name: value})
            object.__setattr__(self, name, float(value))

    def __str__(self) -> str:
        return f"k1={self.k1:g}, b={self.b:g}"

    def term_scores(
        self, weight: float, documents: int, mean: float, counts: NDArray[np.int64], lengths: NDArray[np.int32]
    ) -> NDArray[np.float64]:
        """Return the contribution of one term or phrase to the scores of the documents that contain it, (n,), n > 0.

        Args:
            weight: the weight of the term.
            documents: number of documents that are searched.
            mean: their mean length.
            counts: (n,) how often each of the n documents contains the term.
            lengths: (n,) how many words each has.
        """
        idf = max(math.log((documents - len(counts) + 0.5) / (len(counts) + 0.5)), 1e-6)
        norms = self.k1 * (1 - self.b + self.b * lengths / mean)
        scores: NDArray[np.float64] = weight * idf * (counts * (self.k1 + 1) / (counts + norms))
        return scores


def query_weight(count: float) -> float:
    """Return the weight of a word that the query has `count` times; weights up to 1 stay as they are."""
    return count if count <= 1 else count * (K3 + 1) / (K3 + count)
