"""Hits: the documents of an answer with their scores and places."""

from collections.abc import Container
from dataclasses import replace

from theodolite.protocols import Answer
from theodolite.types import Hit, Hits, Metric


def ranked(answer: Answer, metric: Metric, *, embed: float = 0.0, unread: int = 0) -> Hits:
    """An answer as hits.

    Args:
        embed: seconds it took to embed the query.
        unread: tokens of the query that the embedder did not read.
    """
    hits = tuple(
        Hit(document, similarity, rank, scores(similarity, metric))
        for rank, (document, similarity) in enumerate(zip(answer.documents, answer.similarities, strict=True), start=1)
    )
    return Hits(hits, replace(answer.trace, unread=unread, timings={"embed": embed, **answer.trace.timings}))


def without(hits: Hits, ids: Container[str], k: int) -> Hits:
    """The k best of the hits on other documents than these."""
    kept = [hit for hit in hits if hit.document.id not in ids][:k]
    return Hits(tuple(replace(hit, rank=rank) for rank, hit in enumerate(kept, start=1)), hits.trace)


def scores(similarity: float, metric: Metric) -> dict[str, float]:
    """Relevance: cosine clamped at 0; 1 / (1 + distance) for L2; dot products have none."""
    match metric:
        case "cosine":
            return {"similarity": similarity, "relevance": max(0.0, similarity)}
        case "l2":
            return {"similarity": similarity, "relevance": 1.0 / (1.0 - similarity)}
        case "dot":
            return {"similarity": similarity}
