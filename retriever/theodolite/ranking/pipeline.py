"""From an engine's answers to ranked hits: reranking, near-duplicates, diversity, and the steps that explain them."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from theodolite.analysis.highlights import ByWords
from theodolite.filters.dates import from_instant, instant
from theodolite.filters.values import MISSING, lookup
from theodolite.origin import Origin
from theodolite.protocols import Answer, Boost, Request
from theodolite.ranking.diversity import MMR, Scale, choose_diverse, collapse, scaled
from theodolite.ranking.options import Accept, SearchOptions
from theodolite.ranking.relevance import Relevance
from theodolite.types import Hit, Hits, Step

if TYPE_CHECKING:  # imported where a search is reranked
    from theodolite.rerankers.stage import Rerank


@dataclass(frozen=True, slots=True, eq=False)
class Stage:
    """One stage of a search, over documents known by their positions from 0.

    Attributes:
        name: becomes `Step.stage`.
        values: the stage's value for each document, by position; None or NaN for documents it did not look at or find.
        before, after: positions in their order before and after the stage, best first. They may leave positions out,
            such as those that the stage dropped. `before` is None where the stage made the first order, as each arm of
            a hybrid search does.
        notes: the reasons for the values, by position; or empty.
    """

    name: str
    values: Sequence[float | None] | NDArray[np.floating]
    before: Sequence[int] | NDArray[np.integer] | None
    after: Sequence[int] | NDArray[np.integer]
    notes: Sequence[str] = ()


@dataclass(slots=True)
class _Candidates:
    """The documents of an answer on their way through the stages.

    Attributes:
        order: positions in the answer, best first.
        scores: by position, the values that order them.
        parts: by position, all parts of the score.
        kind: the scale of the scores (see `diversity.scaled`).
        stages: the stages so far.
        part: the part of the score that is on this scale, where it is not the score itself.
        duplicates: near-duplicates by the position of the hit that stands for them.
        rerank, truncated: the outcome of the reranking, and how many passages the reranker did not read to their end.
    """

    answer: Answer
    order: list[int]
    scores: list[float]
    parts: list[dict[str, float]]
    kind: Scale
    stages: list[Stage] = field(default_factory=list)
    part: str | None = None
    duplicates: dict[int, list[int]] = field(default_factory=dict)
    rerank: str = ""
    truncated: int = 0
    timings: dict[str, float] = field(default_factory=dict)


def plain_hits(
    answer: Answer,
    relevance: Relevance | None,
    k: int,
    *,
    embed: float = 0.0,
    truncated_tokens: int = 0,
    leave_out: frozenset[str] = frozenset(),
    text: str | None = None,
    origin: Origin | None = None,
) -> Hits:
    """Return the k best hits of an answer that similarity alone has ranked.

    Args:
        relevance: how similarity becomes relevance; None where it cannot.
        text: the query, for highlights.
        embed: seconds it took to embed the query.
        truncated_tokens: tokens of the query that the embedder did not read.
        leave_out: ids of documents that must not be hits.
        origin: where the hits come from.
    """
    documents, similarities, versions = answer.documents, answer.similarities, answer.versions
    order: Sequence[int] = range(min(k, len(documents)))
    if leave_out:
        order = [place for place, document in enumerate(documents) if document.id not in leave_out][:k]
    if relevance is None:
        parts = [{"similarity": similarity} for similarity in similarities]
    else:
        pairs = zip(similarities, relevance.of_hits(similarities), strict=True)
        parts = [{"similarity": similarity, "relevance": relevant} for similarity, relevant in pairs]
    highlighter = None if text is None else ByWords(text)
    hits = [
        Hit(
            documents[place],
            similarities[place],
            rank,
            parts[place],
            versions[place] if versions else None,
            highlighter=highlighter,
        )
        for rank, place in enumerate(order, start=1)
    ]
    timings = {"embed": embed, **answer.trace.timings}
    trace = replace(answer.trace, truncated_tokens=truncated_tokens, timings=timings)
    return Hits(tuple(hits), trace, origin)


def finish(
    answer: Answer,
    request: Request,
    options: SearchOptions,
    relevance: Relevance | None,
    *,
    text: str | None = None,
    candidates: int = 0,
    embed: float = 0.0,
    truncated_tokens: int = 0,
    leave_out: frozenset[str] = frozenset(),
    origin: Origin | None = None,
) -> Hits:
    """Return the k best hits of an answer after all stages, or fewer where there are no more.

    Args:
        relevance: how similarity becomes relevance; None where it cannot.
        text: the query, for the reranker and for highlights.
        candidates: how many of the first documents the reranker reads.
        embed: seconds it took to embed the query.
        truncated_tokens: tokens of the query that the embedder did not read.
        leave_out: ids of documents that must not be hits.
    """
    k = options.k
    if options.plain:
        return plain_hits(
            answer,
            relevance,
            k,
            embed=embed,
            truncated_tokens=truncated_tokens,
            leave_out=leave_out,
            text=text,
            origin=origin,
        )
    order = [place for place, document in enumerate(answer.documents) if document.id not in leave_out]
    found = _first(answer, request, relevance, order)
    if found.order:
        if options.rerank is not None:
            _rerank(found, options.rerank, text or "", max(candidates, k), options.boosts)
        if options.dedupe is not None and found.order:
            _dedupe(found, options.dedupe)
        if options.diversity is not None and found.order:
            _diversify(found, options.diversity, k)
    trace = replace(
        answer.trace,
        truncated_tokens=truncated_tokens,
        rerank=found.rerank,
        truncated=found.truncated,
        timings={"embed": embed, **answer.trace.timings, **found.timings},
    )
    return Hits(_hits(found, k, text), trace, origin)


def accepted(answer: Answer, accept: Accept | None) -> Answer:
    """Return the answer without the documents that a function rejects."""
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


def candidates_for_k(answer: Answer, options: SearchOptions) -> int | None:
    """Count how many of an answer's first documents hold k that are not near-duplicates; None if all hold fewer."""
    if options.dedupe is None or answer.vectors is None:
        return min(options.k, len(answer.documents))
    first, _ = collapse(answer.vectors, options.dedupe)
    return int(first[options.k - 1]) + 1 if len(first) >= options.k else None


def steps(count: int, stages: Sequence[Stage]) -> list[tuple[Step, ...]]:
    """Return the steps of `count` documents, by position, each in the order of the stages.

    A document has no step where a stage has no value for it. Places count from 1, and are None where an order leaves
    the document out.
    """
    taken: list[list[Step]] = [[] for _ in range(count)]
    for stage in stages:
        before, after = _places(count, stage.before), _places(count, stage.after)
        notes = stage.notes or [""] * count
        for steps, value, first, then, note in zip(taken, stage.values, before, after, notes, strict=True):
            if value is not None and value == value:
                steps.append(Step(stage.name, float(value), first, then, note))
    return [tuple(steps) for steps in taken]


def _places(count: int, order: Sequence[int] | NDArray[np.integer] | None) -> list[int | None]:
    places: list[int | None] = [None] * count
    for place, position in enumerate(() if order is None else order, start=1):
        places[position] = place
    return places


def _first(answer: Answer, request: Request, relevance: Relevance | None, order: list[int]) -> _Candidates:
    """Collect the stages that the engine ran: similarity, words, boosts, fusion."""
    count = len(answer.documents)
    parts: list[dict[str, float]] = [{} for _ in range(count)]
    if answer.similarities:
        relevant = None if relevance is None else relevance.of_hits(answer.similarities)
        for place, similarity in enumerate(answer.similarities):
            parts[place]["similarity"] = similarity
            if relevant is not None:
                parts[place]["relevance"] = relevant[place]
    scores = list(answer.similarities if answer.scores is None else answer.scores)
    kind: Scale = "open" if relevance is None else "relevance"
    stages = []
    if answer.similarities:
        stages.append(Stage("similarity", answer.similarities, None, _by(answer.similarities, order)))
    if answer.lexical:
        matching = [place for place in order if answer.lexical[place] is not None]
        for place in matching:
            parts[place]["lexical"] = answer.lexical[place] or 0.0
        stages.append(Stage("lexical", answer.lexical, None, _by([one or 0.0 for one in answer.lexical], matching)))
        kind = "open"
    if request.boosts:
        stages += _boosted(answer, request, parts, order)
    if request.mode == "hybrid":
        for part, score in zip(parts, scores, strict=True):
            part["fusion"] = score
        stages.append(Stage("fusion", scores[:], None, order))
        kind = "fusion"
    # A distance is not on the scale of cosines, its relevance is. Cosines are weighed as they are, also below 0.
    distances = kind == "relevance" and answer.scores is None and relevance is not None and relevance.by_distance
    return _Candidates(answer, order, scores, parts, kind, stages, "relevance" if distances else None)


def _boosted(answer: Answer, request: Request, parts: list[dict[str, float]], order: list[int]) -> list[Stage]:
    """Return a stage for each boost, and put its factors into the parts of the scores."""
    stages = []
    boosted = [part.get("lexical" if request.mode == "lexical" else "relevance", 0.0) for part in parts]
    for boost in request.boosts:
        found = [lookup(document.metadata, boost.field) for document in answer.documents]
        values = [None if value is MISSING else value for value in found]
        before = _by(boosted, order)
        indexed = [_indexed(value) for value in values]
        for place, factor in enumerate(boost.factors(indexed, request.now).tolist()):
            parts[place][boost.name] = factor
            boosted[place] *= factor
        describe = getattr(boost, "describe", None)
        notes = () if describe is None else [describe(value, request.now) for value in values]
        factors = [part[boost.name] for part in parts]
        if request.mode == "hybrid":  # boosts act within each arm: their moves show in the fused places only
            stages.append(Stage(boost.name, factors, None, (), notes))
        else:
            stages.append(Stage(boost.name, factors, before, _by(boosted, order), notes))
    return stages


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
    # Drop the passages that were not reranked: they cannot be compared with the others.
    number_of = {place: number for number, place in enumerate(read)}
    least = stage.min_relevance or 0.0
    kept = [place for place in read if found.parts[place]["rerank_relevance"] >= least]
    found.order = sorted(
        kept, key=lambda place: (-found.scores[place], -found.parts[place]["rerank"], number_of[place])
    )
    values = [part.get("rerank") for part in found.parts]
    found.stages.append(Stage("rerank", values, before, found.order))
    found.kind = "relevance"
    found.part = None if boosts else "rerank_relevance"


def _dedupe(found: _Candidates, threshold: float) -> None:
    vectors = _vectors(found)
    first, others = collapse(vectors, threshold)
    order = found.order
    found.duplicates = {
        order[place]: [order[other] for other in same] for place, same in zip(first, others, strict=True) if len(same)
    }
    found.order = [order[place] for place in first]
    values = [float(len(found.duplicates.get(place, ()))) for place in range(len(found.scores))]
    found.stages.append(Stage("dedupe", values, order, found.order))


def _diversify(found: _Candidates, mmr: MMR, k: int) -> None:
    before = found.order = found.order if mmr.pool is None else found.order[: max(mmr.pool, k)]
    given = [found.parts[place][found.part] if found.part else found.scores[place] for place in before]
    values = scaled(np.array(given, np.float64), found.kind)
    chosen, nearest = choose_diverse(values, _vectors(found), k, mmr.diversity)
    found.order = [before[place] for place in chosen.tolist()]
    near: list[float | None] = [None] * len(found.scores)
    for place, value in zip(found.order, nearest.tolist(), strict=True):
        near[place] = value
    found.stages.append(Stage("diversity", near, before, found.order))


def _vectors(found: _Candidates) -> NDArray[np.float32]:
    vectors = found.answer.vectors
    if vectors is None:
        raise ValueError("the engine did not return the vectors that the request asked for")
    return vectors[found.order]


def _hits(found: _Candidates, k: int, text: str | None) -> tuple[Hit, ...]:
    answer = found.answer
    highlighter = None if text is None else ByWords(text)
    taken = steps(len(answer.documents), found.stages)

    def hit(place: int, rank: int, duplicates: Sequence[int] = ()) -> Hit:
        others = tuple(hit(other, number) for number, other in enumerate(duplicates, start=1))
        version = answer.versions[place] if answer.versions else None
        score = found.scores[place]
        document, parts = answer.documents[place], found.parts[place]
        return Hit(document, score, rank, parts, version, others, taken[place], highlighter)

    return tuple(
        hit(place, rank, found.duplicates.get(place, ())) for rank, place in enumerate(found.order[:k], start=1)
    )


def _indexed(value: Any) -> Any:
    """Return a value as an engine's columns hold it: its factor is the one that multiplied the score."""
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
    """Sort positions by descending value; ties keep their order."""
    return sorted(order, key=lambda place: -values[place])
