"""ReferenceSearch: a simple, slow implementation of search over plain documents, one stage after the other."""

import math
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from theodolite.analysis.bm25 import BM25
from theodolite.protocols import Answer, Request
from theodolite.settings import DEFAULT_BM25
from theodolite.testing.ranking import Eligible, check_refused, factors, reciprocal_ranks, relevant, worth
from theodolite.types import Document, Trace, Version
from theodolite.vectors.metrics import MetricName, get_metric

Stored = tuple[Document, NDArray[np.float32]]
Values = dict[int, float]  # keyed by position among the eligible documents

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class ReferenceSearch:
    """A search over documents with their vectors. Each stage is a method."""

    def __init__(
        self, stored: Sequence[Stored], metric: MetricName, partition: str | None = None, settings: BM25 = DEFAULT_BM25
    ) -> None:
        self.documents = [document for document, _ in stored]
        self.vectors = {id(document): vector for document, vector in stored}
        self.metric = metric
        self.partition = partition
        self.settings = settings

    def answers(self, request: Request) -> list[Answer]:
        eligible = self.eligible(request)
        self.refuse(eligible, request)
        return [self.answer(request, number, eligible) for number in range(len(request.vectors))]

    def answer(self, request: Request, number: int, eligible: Eligible) -> Answer:
        found = eligible.documents
        near: Values = {}
        bm25: Values = {}
        if request.mode != "lexical":
            near = self.similar(request.vectors[number], found)
        if request.mode != "dense":
            bm25 = self.bm25(request.texts[number], eligible)
        scores = self.scores(request, found, near, bm25)
        places = self.order(scores, near, found)[: request.k]
        documents = [found[place] for place in places]
        trace = Trace(
            "scan" if request.scope is None else "scope",
            len(eligible.inside),
            len(found),
            0,
            mode=request.mode,
            superseded=eligible.superseded,
        )
        return Answer(
            documents,
            [near[place] for place in places] if near else [],
            trace,
            None if request.mode == "dense" and not request.boosts else [scores[place] for place in places],
            [bm25.get(place) for place in places] if request.mode != "dense" else (),
            [_as_engine_version(eligible.version(one)) for one in documents] if request.versions is not None else (),
            np.array([self.vectors[id(one)] for one in documents]) if request.with_vectors else None,
        )

    def eligible(self, request: Request) -> Eligible:
        return Eligible(self.documents, request, self.partition)

    def refuse(self, eligible: Eligible, request: Request) -> None:
        check_refused(eligible.documents, request.boosts, request.now)

    def order(self, scores: Values, near: Values, found: Sequence[Document]) -> list[int]:
        return sorted(scores, key=lambda place: (-scores[place], -near.get(place, 0.0), found[place].id))

    def scores(self, request: Request, found: Sequence[Document], near: Values, bm25: Values) -> Values:
        """Return the scores that order the documents found."""
        words = self.boosted(request, found, bm25) if request.boosts else bm25
        if request.mode == "lexical":
            return words
        arm = near
        if request.relevance is not None:
            relevance = self.relevant(near, request)
            arm = {place: near[place] for place in relevance}
            if request.boosts:
                arm = self.boosted(request, found, relevance)
        return arm if request.mode == "dense" else self.fused(request, arm, words)

    def relevant(self, near: Values, request: Request) -> Values:
        """Return the relevance of the documents that reach `min_relevance`."""
        if request.relevance is None:
            raise ValueError("there is no relevance")
        values = relevant(np.array(list(near.values())), request.relevance).tolist()
        least = -np.inf if request.min_relevance is None else request.min_relevance
        return {place: value for place, value in zip(near, values, strict=True) if value >= least}

    def boosted(self, request: Request, found: Sequence[Document], values: Values) -> Values:
        product = factors([found[place] for place in values], request.boosts, request.now)
        return dict(zip(values, worth(np.array(list(values.values())), product).tolist(), strict=True))

    def similar(self, query: NDArray[np.float32], found: Sequence[Document]) -> Values:
        vectors = np.array([self.vectors[id(one)] for one in found], np.float32).reshape(len(found), len(query))
        return dict(enumerate(get_metric(self.metric).scores(query, vectors).tolist()))

    def bm25(self, text: str, eligible: Eligible) -> Values:
        """Return BM25 as textbooks have it, with the statistics of the scope. Each word of the text counts once."""
        inside = [self.words(document.text) for document in self.counted(eligible)]
        mean = sum(map(len, inside)) / max(1, len(inside))
        k1, b = self.settings.k1, self.settings.b
        scores: Values = {}
        for word in dict.fromkeys(self.words(text)):
            having = sum(word in words for words in inside)
            for place, document in enumerate(eligible.documents):
                words = self.words(document.text)
                if count := words.count(word):
                    part = count * (k1 + 1) / (count + k1 * (1 - b + b * len(words) / mean))
                    rarity = max(math.log((len(inside) - having + 0.5) / (having + 0.5)), 1e-6)
                    scores[place] = scores.get(place, 0.0) + part * rarity
        return scores

    def words(self, text: str) -> list[str]:
        """Split a text at spaces. Split scripts without spaces into pairs of letters."""
        words: list[str] = []
        for part in re.findall(r"[\u3000-\uffff]+|[^\s\u3000-\uffff]+", text.lower()):
            words += map("".join, pairwise(part)) if part > "\u3000" else [part]
        return words

    def counted(self, eligible: Eligible) -> Sequence[Document]:
        """Return the documents that determine the rarity of a word."""
        return eligible.inside

    def fused(self, request: Request, dense: Values, lexical: Values) -> Values:
        depth = max(request.k, request.fusion.depth)
        return reciprocal_ranks([_first(dense, depth), _first(lexical, depth)], request.fusion)


def _first(scores: Values, depth: int) -> Values:
    """Return the best `depth` scores, plus all that tie with the last one."""
    best = sorted(scores.values(), reverse=True)[:depth]
    return {place: score for place, score in scores.items() if score >= best[-1]}


def _as_engine_version(version: Version | None) -> Version | None:
    """Convert a version to an engine's form: the reference represents dates and booleans differently."""
    if version is None:
        return None
    return replace(
        version,
        successors=tuple(map(_value, version.successors)),
        absent=tuple(map(_value, version.absent)),
        substitutes=tuple(map(_value, version.substitutes)),
    )


def _value(plain: Any) -> Any:
    if not isinstance(plain, tuple):
        return plain
    kind, value = plain
    return value if kind == "bool" else _EPOCH + timedelta(microseconds=value)
