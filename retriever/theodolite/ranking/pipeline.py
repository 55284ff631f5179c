"""From what an engine has found to ranked hits: reranking, near-duplicates, diversity."""

import math
import time
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from theodolite.filters.dates import from_instant, instant
from theodolite.filters.values import MISSING, lookup
from theodolite.protocols import Answer, Boost
from theodolite.ranking.diversity import Scale, collapse, mmr, scaled
from theodolite.ranking.hits import ranked, scores_of
from theodolite.ranking.options import Accept, Ranking
from theodolite.ranking.steps import Stage, steps
from theodolite.types import Hit, Hits

if TYPE_CHECKING:  # imported where it is wanted
    from theodolite.rerankers.stage import Rerank


@dataclass(slots=True)
class _Candidates:
    """The documents of an answer on their way through the stages.

    Attributes:
        order: places in the answer, best first.
        scores: by place, what they are ordered by.
        parts: by place, all parts of the score.
        stages: what each stage has done.
        kind: of what scale the scores are (see `diversity.scaled`).
        part: the part of the score that is of this scale, where it is not the score itself.
        alike: for a place, those that it stands for.
        rerank, truncated: what became of the reranking, and how many passages were not read to their end.
    """

    answer: Answer
    order: list[int]
    scores: list[float]
    parts: list[dict[str, float]]
    kind: Scale
    stages: list[Stage] = field(default_factory=list)
    part: str | None = None
    alike: dict[int, list[int]] = field(default_factory=dict)
    rerank: str = ""
    truncated: int = 0
    timings: dict[str, float] = field(default_factory=dict)


def finish(
    answer: Answer,
    ranking: Ranking,
    *,
    k: int,
    text: str | None = None,
    candidates: int = 0,
    embed: float = 0.0,
    unread: int = 0,
    leave_out: Container[str] = (),
) -> Hits:
    """The k best hits of an answer, or fewer where there are no more.

    Args:
        text: the query, for the reranker.
        candidates: how many of the first the reranker reads.
        embed: seconds it took to embed the query.
        unread: tokens of the query that the embedder did not read.
        leave_out: ids of documents that are no hits.
    """
    order = [place for place, document in enumerate(answer.documents) if document.id not in leave_out]
    if ranking.plain:
        return ranked(answer, ranking.told, order[:k], embed=embed, unread=unread)
    found = _first(answer, ranking, order)
    if found.order:
        if ranking.rerank is not None:
            _rerank(found, ranking.rerank, text or "", max(candidates, k), ranking.boosts)
        if ranking.dedupe is not None and found.order:
            _dedupe(found, ranking.dedupe)
        if ranking.diversity and found.order:
            _diversify(found, ranking.diversity, k, ranking.pool)
    trace = replace(
        answer.trace,
        unread=unread,
        rerank=found.rerank,
        truncated=found.truncated,
        timings={"embed": embed, **answer.trace.timings, **found.timings},
    )
    return Hits(_hits(found, k), trace)


def accepted(answer: Answer, accept: Accept | None) -> Answer:
    """The answer without the documents that a function does not accept."""
    if accept is None:
        return answer
    places = [place for place, document in enumerate(answer.documents) if accept(document)]
    return replace(
        answer,
        documents=[answer.documents[place] for place in places],
        similarities=[answer.similarities[place] for place in places] if answer.similarities else [],
        scores=None if answer.scores is None else [answer.scores[place] for place in places],
        lexical=[answer.lexical[place] for place in places] if answer.lexical else (),
        versions=[answer.versions[place] for place in places] if answer.versions else (),
        vectors=None if answer.vectors is None else answer.vectors[places],
    )


def reach(answer: Answer, ranking: Ranking, k: int) -> int | None:
    """How many of the first documents of an answer hold k that are no near-duplicates; None if all of them do not."""
    if ranking.dedupe is None or answer.vectors is None:
        return min(k, len(answer.documents))
    kept, _ = collapse(answer.vectors, ranking.dedupe)
    return int(kept[k - 1]) + 1 if len(kept) >= k else None


def _first(answer: Answer, ranking: Ranking, order: list[int]) -> _Candidates:
    """What the engine has decided: similarity, words, boosts, fusion."""
    count = len(answer.documents)
    told = ranking.told
    parts: list[dict[str, float]] = [{} for _ in range(count)]
    for place, similarity in enumerate(answer.similarities):
        parts[place] = scores_of(similarity, told)
    scores = list(answer.similarities if answer.scores is None else answer.scores)
    kind: Scale = "open" if told is None else "relevance"
    stages = []
    if answer.similarities:
        stages.append(Stage("similarity", answer.similarities, None, _by(answer.similarities, order)))
    if answer.lexical:
        found = [place for place in order if answer.lexical[place] is not None]
        for place in found:
            parts[place]["lexical"] = answer.lexical[place] or 0.0
        stages.append(Stage("lexical", answer.lexical, None, _by([one or 0.0 for one in answer.lexical], found)))
        kind = "open"
    worth = [part.get("lexical" if ranking.mode == "lexical" else "relevance", 0.0) for part in parts]
    for boost in ranking.boosts:
        values = [lookup(document.metadata, boost.field) for document in answer.documents]
        given = [None if value is MISSING else value for value in values]
        before = _by(worth, order)
        asked = [_indexed(value) for value in given]
        for place, factor in enumerate(boost.factors(asked, ranking.now).tolist()):
            parts[place][boost.name] = factor
            worth[place] *= factor
        describe = getattr(boost, "describe", None)
        notes = () if describe is None else [describe(value, ranking.now) for value in given]
        factors = [part[boost.name] for part in parts]
        if ranking.mode == "hybrid":  # they act within each arm: what they move shows in the fused places only
            stages.append(Stage(boost.name, factors, None, (), notes))
        else:
            stages.append(Stage(boost.name, factors, before, _by(worth, order), notes))
    if ranking.mode == "hybrid":
        for part, score in zip(parts, scores, strict=True):
            part["fusion"] = score
        stages.append(Stage("fusion", scores[:], None, order))
        kind = "fusion"
    # Distances are no relevance; cosines are weighed as they are, below 0, too.
    weighed = "relevance" if kind == "relevance" and answer.scores is None and told and told.by_distance else None
    return _Candidates(answer, order, scores, parts, kind, stages, weighed)


def _rerank(found: _Candidates, stage: "Rerank", text: str, candidates: int, boosts: Sequence[Boost]) -> None:
    started = time.perf_counter()
    read = found.order[:candidates]
    documents = found.answer.documents
    result = stage.run(text, [documents[place].text for place in read])
    found.timings["rerank"] = time.perf_counter() - started
    found.rerank, found.truncated = result.status, result.truncated
    if result.scores is None or result.calibrated is None:
        return
    for place, raw, sure in zip(read, result.scores.tolist(), result.calibrated.tolist(), strict=True):
        part = found.parts[place]
        part["rerank"], part["rerank_relevance"] = raw, sure
        found.scores[place] = raw
        if boosts:
            found.scores[place] = sure * math.prod(part[boost.name] for boost in boosts)
    before = found.order
    # What it has not read has no place beside what it has.
    standing = {place: number for number, place in enumerate(read)}
    least = stage.min_relevance or 0.0
    kept = [place for place in read if found.parts[place]["rerank_relevance"] >= least]
    found.order = sorted(kept, key=lambda place: (-found.scores[place], -found.parts[place]["rerank"], standing[place]))
    values = [part.get("rerank") for part in found.parts]
    found.stages.append(Stage("rerank", values, before, found.order))
    found.kind = "relevance"
    found.part = None if boosts else "rerank_relevance"


def _dedupe(found: _Candidates, threshold: float) -> None:
    vectors = _vectors(found)
    kept, others = collapse(vectors, threshold)
    order = found.order
    found.alike = {
        order[place]: [order[other] for other in same] for place, same in zip(kept, others, strict=True) if len(same)
    }
    found.order = [order[place] for place in kept]
    values = [float(len(found.alike.get(place, ()))) for place in range(len(found.scores))]
    found.stages.append(Stage("dedupe", values, order, found.order))


def _diversify(found: _Candidates, diversity: float, k: int, pool: int | None) -> None:
    before = found.order = found.order if pool is None else found.order[: max(pool, k)]
    given = [found.parts[place][found.part] if found.part else found.scores[place] for place in before]
    values = scaled(np.array(given, np.float64), found.kind)
    chosen, nearest = mmr(values, _vectors(found), k, diversity)
    found.order = [before[place] for place in chosen.tolist()]
    near: list[float | None] = [None] * len(found.scores)
    for place, value in zip(found.order, nearest.tolist(), strict=True):
        near[place] = value
    found.stages.append(Stage("diversity", near, before, found.order))


def _vectors(found: _Candidates) -> NDArray[np.float32]:
    vectors = found.answer.vectors
    if vectors is None:
        raise ValueError("the engine has not given the vectors that it was asked for")
    return vectors[found.order]


def _hits(found: _Candidates, k: int) -> tuple[Hit, ...]:
    answer = found.answer
    taken = steps(len(answer.documents), found.stages)

    def hit(place: int, rank: int, alike: Sequence[int] = ()) -> Hit:
        others = tuple(hit(other, number) for number, other in enumerate(alike, start=1))
        version = answer.versions[place] if answer.versions else None
        score = found.scores[place]
        return Hit(answer.documents[place], score, rank, found.parts[place], version, others, taken[place])

    return tuple(hit(place, rank, found.alike.get(place, ())) for rank, place in enumerate(found.order[:k], start=1))


def _indexed(value: Any) -> Any:
    """A value as an engine's columns have it: what multiplied the score is the factor of this one."""
    match value:
        case Mapping():
            return {}
        case list():
            return [_indexed(item) for item in value]
        case float() if value.is_integer():
            return int(value)
        case date():
            return from_instant(instant(value) or 0)
    return value


def _by(values: Sequence[float], order: Sequence[int]) -> list[int]:
    """Places by falling value; of equal ones, as they stand."""
    return sorted(order, key=lambda place: -values[place])
