"""The BM25 score of a document, from the statistics of the documents that are searched.

For N documents with mean length L, and a term or phrase that n of them contain:

    idf = max(ln((N − n + 0.5) / (n + 0.5)), 1e-6)
    bm25 = Σ weight × idf × tf × (k1 + 1) / (tf + k1 × (1 − b + b × length / L))

where tf is its count in the document. A word that the query has qf times weighs qf × (k3 + 1) / (k3 + qf). Robertson
and Zaragoza, The Probabilistic Relevance Framework: BM25 and Beyond (2009), with k1 = 1.2 and b = 0.75, as in SQLite's
FTS5; for k3 see docs/ranking.md.
"""

import math

import numpy as np
from numpy.typing import NDArray

K1, B, K3 = 1.2, 0.75, 1.5


def query_weight(count: float) -> float:
    """Return the weight of a word that the query has `count` times; weights up to 1 stay as they are."""
    return count if count <= 1 else count * (K3 + 1) / (K3 + count)


def term_scores(
    weight: float, documents: int, mean: float, counts: NDArray[np.int64], lengths: NDArray[np.int32]
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
    norms = K1 * (1 - B + B * lengths / mean)
    scores: NDArray[np.float64] = weight * idf * (counts * (K1 + 1) / (counts + norms))
    return scores
