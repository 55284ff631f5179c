"""Hits: the documents of an answer with their scores and places."""

from collections.abc import Sequence
from dataclasses import replace

from theodolite.protocols import Answer
from theodolite.ranking.relevance import Relevance
from theodolite.types import Hit, Hits


def ranked(
    answer: Answer, told: Relevance | None, order: Sequence[int], *, embed: float = 0.0, unread: int = 0
) -> Hits:
    """Documents of an answer as hits, in the order of these places.

    Args:
        told: how similarity is told as relevance, if it can be.
        embed: seconds it took to embed the query.
        unread: tokens of the query that the embedder did not read.
    """
    documents, similarities, versions = answer.documents, answer.similarities, answer.versions
    hits = tuple(
        Hit(
            documents[place],
            similarities[place],
            rank,
            scores_of(similarities[place], told),
            versions[place] if versions else None,
        )
        for rank, place in enumerate(order, start=1)
    )
    return Hits(hits, replace(answer.trace, unread=unread, timings={"embed": embed, **answer.trace.timings}))


def scores_of(similarity: float, told: Relevance | None) -> dict[str, float]:
    """The parts that every hit with a similarity has."""
    if told is None:
        return {"similarity": similarity}
    return {"similarity": similarity, "relevance": max(0.0, told.of_one(similarity))}
