"""An engine's search over plain documents, one stage after the other, the slow and obvious way."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from theodolite.protocols import Answer, Request
from theodolite.similarity import similarities
from theodolite.testing.ranking import Eligible, check_refused, factors, reciprocal_ranks, relevant, worth
from theodolite.types import Document, Metric, Trace

Stored = tuple[Document, NDArray[np.float32]]
Named = dict[str, float]


class Ranked:
    """Answers requests. Ids must be distinct: of a partitioned collection one partition is asked."""

    def __init__(self, stored: Sequence[Stored], metric: Metric, partition: str | None = None) -> None:
        self.documents = [document for document, _ in stored]
        self.vectors = {id(document): vector for document, vector in stored}
        self.metric = metric
        self.partition = partition

    def answers(self, request: Request) -> list[Answer]:
        eligible = self.eligible(request)
        self.refuse(eligible, request)
        return [self._answer(request, number, eligible) for number in range(len(request.vectors))]

    def _answer(self, request: Request, number: int, eligible: Eligible) -> Answer:
        found = {document.id: document for document in eligible.documents}
        bm25: Named = {}
        near: Named = {}
        if request.mode != "lexical":
            near = self.similar(request.vectors[number], found)
        if request.mode != "dense":
            bm25 = self.bm25(request.texts[number], eligible.inside)
        scores = self.scores(request, found, near, {name: score for name, score in bm25.items() if name in found})
        names = sorted(scores, key=lambda name: (-scores[name], -near.get(name, 0.0), name))[: request.k]
        vectors = [self.vectors[id(found[name])] for name in names]
        return Answer(
            [found[name] for name in names],
            [near[name] for name in names] if near else [],
            Trace(
                "scan",
                len(eligible.inside),
                len(found),
                0,
                mode=request.mode,
                superseded=eligible.superseded,
            ),
            None if scores is near else [scores[name] for name in names],
            [bm25.get(name) for name in names] if request.mode != "dense" else (),
            [eligible.version(found[name]) for name in names] if request.versions is not None else (),
            np.array(vectors, np.float32) if request.with_vectors else None,
        )

    def eligible(self, request: Request) -> Eligible:
        return Eligible(self.documents, request, self.partition)

    def refuse(self, eligible: Eligible, request: Request) -> None:
        check_refused(eligible.documents, request.boosts, request.now)

    def scores(self, request: Request, found: Mapping[str, Document], near: Named, bm25: Named) -> Named:
        """What the documents that are found are ordered by."""
        if request.mode == "lexical":
            return self.boosted(request, found, bm25) if request.boosts else bm25
        arm = near
        if request.relevance is not None:
            relevance = dict(
                zip(near, relevant(np.array(list(near.values())), request.relevance).tolist(), strict=True)
            )
            if request.min_relevance is not None:
                relevance = {name: value for name, value in relevance.items() if value >= request.min_relevance}
                arm = {name: near[name] for name in relevance}
            if request.boosts:
                arm = self.boosted(request, found, relevance)
        if request.mode == "dense":
            return arm
        return self.fused(request, arm, self.boosted(request, found, bm25) if request.boosts else bm25)

    def boosted(self, request: Request, found: Mapping[str, Document], values: Named) -> Named:
        product = factors([found[name] for name in values], request.boosts, request.now)
        return dict(zip(values, worth(np.array(list(values.values())), product).tolist(), strict=True))

    def similar(self, query: NDArray[np.float32], found: Mapping[str, Document]) -> Named:
        vectors = np.array([self.vectors[id(one)] for one in found.values()], np.float32)
        near = similarities(query, vectors.reshape(len(found), len(query)), self.metric)
        return dict(zip(found, near.tolist(), strict=True))

    def bm25(self, text: str, inside: Sequence[Document]) -> Named:
        """Of documents in the scope that have a word of the text, what they have of it: rare words count for more."""
        held = {document.id: document.text.lower().replace(".", " ").split() for document in inside}
        scores: Named = {}
        for word in dict.fromkeys(text.lower().split()):
            having = [name for name, words in held.items() if word in words]
            for name in having:
                share = held[name].count(word) / (1 + len(held[name]))
                scores[name] = scores.get(name, 0.0) + share * np.log(1 + len(held) / len(having)).item()
        return scores

    def fused(self, request: Request, dense: Named, lexical: Named) -> Named:
        depth = max(request.k, request.fusion.depth)
        return reciprocal_ranks([best(dense, depth), best(lexical, depth)], request.fusion)


def best(scores: Named, depth: int) -> Named:
    """The first so many, and all that tie with the last."""
    least = sorted(scores.values(), reverse=True)[:depth]
    return {name: score for name, score in scores.items() if score >= least[-1]}
