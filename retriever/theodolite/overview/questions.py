"""Questions beside documents: which document is how similar to which question, and which were found."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from theodolite.evaluation.judgments import Judgments
from theodolite.evaluation.lists import Collection, value_of
from theodolite.evaluation.questions import Questions
from theodolite.overview.sample import evenly
from theodolite.ranking.options import SearchOptions
from theodolite.vectors.metrics import get_metric

MAX_QUESTIONS, MAX_DOCUMENTS = 40, 60
"""The size of a heat map; of more questions, evenly spaced ones are shown."""


@dataclass(frozen=True, slots=True)
class HeatMap:
    """Similarities of questions and documents.

    Attributes:
        questions: the names of m questions: their texts, or their ids if they are vectors.
        documents: the ids of n documents, those found for the first questions first.
        similarities: (m, n), by the collection's metric.
        ranks: (m, n) the rank of a document among the first `k` hits of a question; 0 if it is not among them.
        relevant: (m, n) whether a document is judged relevant.
        total: how many questions there are.
        k: the length of the lists.
        metric: the metric's name.
    """

    questions: tuple[str, ...]
    documents: tuple[str, ...]
    similarities: NDArray[np.float32]
    ranks: NDArray[np.int64]
    relevant: NDArray[np.bool_]
    total: int
    k: int
    metric: str


def heat_map(
    collection: Collection,
    questions: Questions,
    options: SearchOptions,
    judgments: Judgments | None = None,
    by: str | None = None,
) -> tuple[HeatMap | None, NDArray[np.float32] | None]:
    """Search for at most 40 questions, and compare them with the documents that rank first for them.

    Returns:
        The heat map (None if nothing was found), and the vectors of these questions.
    """
    chosen = questions.chosen(evenly(len(questions.ids), MAX_QUESTIONS).tolist())
    texts = chosen.texts if chosen.vectors is None else None
    prepared = collection.searcher.prepare(options, texts, chosen.vectors, collection.scope, probe=True)
    if prepared.request is None:
        return None, None
    asked = prepared.request.vectors
    # The vectors of hits come with the answer: in a partitioned collection, ids alone do not name documents.
    answers = collection.engine.search(replace(prepared.request, with_vectors=True))
    found: dict[str, NDArray[np.float32]] = {}
    names: dict[str, str | None] = {}
    first: dict[str, int] = {}  # the first ranks of all questions come before the second ones
    for answer in answers:
        rows = np.empty((0, 0), np.float32) if answer.vectors is None else answer.vectors
        for rank, (document, row) in enumerate(zip(answer.documents, rows, strict=False)):
            found.setdefault(document.id, row)
            names.setdefault(document.id, document.id if by is None else value_of(document, by))
            first[document.id] = min(rank, first.get(document.id, rank))
    if not found:
        return None, asked
    kept = set(sorted(found, key=lambda name: first[name])[:MAX_DOCUMENTS])
    columns = [name for name in found if name in kept]
    place = {name: number for number, name in enumerate(columns)}
    metric = get_metric(collection.engine.space.metric)
    vectors = np.array([found[name] for name in columns])
    ranks = np.zeros((len(chosen.ids), len(columns)), np.int64)
    for number, answer in enumerate(answers):
        for rank, document in enumerate(answer.documents, start=1):
            if document.id in place:
                ranks[number, place[document.id]] = rank
    graded: list[Mapping[str, int]] = [
        {} if judgments is None else judgments.grades.get(question, {}) for question in chosen.ids
    ]
    relevant = np.array([[grades.get(names[name] or "", 0) > 0 for name in columns] for grades in graded])
    labels = chosen.texts or chosen.ids
    similarities = np.array([metric.scores(vector, vectors) for vector in asked])
    return (
        HeatMap(
            tuple(labels), tuple(columns), similarities, ranks, relevant, len(questions.ids), options.k, metric.name
        ),
        asked,
    )
