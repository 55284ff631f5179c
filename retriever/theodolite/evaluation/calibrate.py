"""Calibrate: search for judged questions, and keep what their scores say about answers."""

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from hashlib import sha256
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from theodolite.errors import ConfigError, InputError, JudgmentWarning, warn_caller
from theodolite.evaluation.calibration import (
    COVERAGES,
    LOST,
    STRONG,
    TELLS,
    Calibration,
    Separation,
    share_from,
    signal,
)
from theodolite.evaluation.conformal import rank_of
from theodolite.evaluation.documents_sample import DocumentsSample
from theodolite.evaluation.judgments import Judgments
from theodolite.evaluation.lists import Collection, unknown_names, value_of
from theodolite.evaluation.questions import Questions, is_synthetic
from theodolite.evaluation.score_model import auroc, brier_score, fit
from theodolite.filters import And, Ids
from theodolite.guards.embedder_guard import NOTE as CANARY
from theodolite.guards.notes import read_note
from theodolite.inputs import is_number
from theodolite.protocols import Engine
from theodolite.ranking.options import SearchOptions
from theodolite.ranking.search_settings import settings_of
from theodolite.types import Hits

_BATCH = 256  # questions searched at a time
_FEWEST = 5  # questions: with fewer, no probability can be cross-validated
_FEW = 30
_HARD, _EASY = "evidence taken out", "other questions"
_NOT_CALIBRATED = ("coverage", "diversity", "dedupe", "accept")

Floats = NDArray[np.float64]


def calibrate(
    collection: Collection,
    questions: Questions,
    judgments: Judgments,
    options: SearchOptions,
    *,
    unanswerable: Questions | None = None,
    by: str | None = None,
    max_hits: int = 100,
    unanswerable_share: float = 0.5,
    progress: Callable[[int], object] | None = None,
) -> Calibration:
    """Search for each question that has a relevant document in the collection. See `Retriever.calibrate`.

    Args:
        options: the options of the searches; their k is replaced.
    """
    if not is_number(unanswerable_share) or not 0 < unanswerable_share < 1:
        raise InputError(f"unanswerable_share is {unanswerable_share!r}; expected a share above 0 and below 1")
    options = _checked(options, max_hits)
    counted, notes = _answerable(collection, questions, judgments, options, by)
    chosen = questions.chosen(counted)
    lists = _Lists(chosen, judgments, by)
    _search(collection, options, chosen, progress, lists.add)
    easy: list[float] = []
    if unanswerable is not None:
        first = replace(options, k=1)
        _search(collection, first, unanswerable, progress, lambda hits: easy.append(_signal(hits)))
    groups = [np.array(lists.without_evidence), np.array(easy)]
    return _calibration(collection, options, lists, groups, float(unanswerable_share), [*notes, *judgments.notes])


class _Lists:
    """The scores and relevant hits in the lists of the questions.

    Attributes:
        gaps: for each question, the score of the first hit minus that of the best relevant one, or infinity.
        distances: for each question, the first hit's score minus each hit's.
        answered: for each question, the signal of its first hit; minus infinity where nothing is found.
        without_evidence: the same, without the relevant documents, where the list holds others.
    """

    def __init__(self, questions: Questions, judgments: Judgments, by: str | None) -> None:
        self.questions = questions.ids
        self._relevant = [
            {name for name, grade in judgments.grades[question].items() if grade} for question in questions.ids
        ]
        self._by = by
        self.gaps: list[float] = []
        self.distances: list[Floats] = []
        self.answered: list[float] = []
        self.without_evidence: list[float] = []
        self.unproven = 0

    def add(self, hits: Hits) -> None:
        relevant = self._relevant[len(self.gaps)]
        names = [hit.document.id if self._by is None else value_of(hit.document, self._by) for hit in hits]
        places = [place for place, name in enumerate(names) if name in relevant]
        first = hits[0].score if hits else 0.0
        self.gaps.append(first - hits[places[0]].score if places else math.inf)
        self.distances.append(first - np.array([hit.score for hit in hits]))
        self.answered.append(_signal(hits))
        self.unproven += not hits.trace.complete
        other = next((place for place, name in enumerate(names) if name not in relevant), None)
        if other is not None:
            self.without_evidence.append(signal(hits, other))
        elif not hits:
            self.without_evidence.append(-math.inf)


def space_of(engine: Engine) -> dict[str, Any]:
    """Return what the scores of a collection depend on, as JSON values."""
    space = engine.space
    canary = read_note(engine, CANARY)
    return {
        "metric": space.metric,
        "dimension": space.dimension,
        "norms": space.norms,
        "transforms": [repr(transform.spec) for transform in space.transforms],
        "canary": None if canary is None else sha256(canary.encode()).hexdigest()[:16],
    }


def _checked(options: SearchOptions, max_hits: int) -> SearchOptions:
    """Return the options for lists of calibration. Raises ConfigError for those that cannot be calibrated."""
    if given := [name for name in _NOT_CALIBRATED if getattr(options, name) is not None]:
        raise ConfigError(f"calibrate() takes no {given[0]}=: scores are calibrated without it. Leave it out")
    stage = options.rerank
    if stage is None:
        return replace(options, k=max_hits)
    # Passages beyond `candidates` are not read, so a longer list would be of another search.
    return replace(options, k=min(max_hits, stage.candidates), rerank=replace(stage, on_error="raise"))


def _answerable(
    collection: Collection, questions: Questions, judgments: Judgments, options: SearchOptions, by: str | None
) -> tuple[list[int], list[str]]:
    """Return the positions of the questions with a relevant document in the collection, and notes on the others."""
    judged = [number for number, name in enumerate(questions.ids) if judgments.relevant(name)]
    relevant = {
        number: [name for name, grade in judgments.grades[questions.ids[number]].items() if grade] for number in judged
    }
    names = list(dict.fromkeys(name for each in relevant.values() for name in each))
    missing = _missing(collection, options, by, names)
    counted = [number for number in judged if not missing.issuperset(relevant[number])]
    notes = []
    if judged and not counted:
        kind = "relevant documents" if by is None else f"relevant values of {by!r}"
        raise InputError(
            f"none of the {len(names):,} {kind} is in the collection, or passes scope and filter; first: {names[0]!r}",
            count=len(names),
            first=names[0],
        )
    if len(counted) < _FEWEST:
        given = "one question has" if len(counted) == 1 else f"{len(counted)} questions have"
        raise InputError(
            f"{given} a relevant document in the collection; calibrate() needs at least {_FEWEST}, and coverage=0.9 at "
            "least 9. Judge more questions",
            questions=len(counted),
        )
    if left := len(questions.ids) - len(judged):
        notes.append(f"{left:,} questions left out: no document is judged relevant")
    if lost := [questions.ids[number] for number in judged if number not in set(counted)]:
        note = f"{len(lost):,} questions left out: their relevant documents are not there; first: {lost[0]!r}"
        warn_caller(note, JudgmentWarning)
        notes.append(note)
    if made := sum(is_synthetic(questions.ids[number]) for number in counted):
        notes.append(
            f"{made:,} of {len(counted):,} questions are synthetic, made from documents: real ones are harder, and the "
            "promise does not hold for them"
        )
    if len(counted) < _FEW:
        notes.append(f"{len(counted)} questions: too few to rely on these figures")
    return counted, notes


def _missing(collection: Collection, options: SearchOptions, by: str | None, names: Sequence[str]) -> set[str]:
    """Return the names that no eligible document has: as its id, or as the value of a field."""
    if by is not None:
        return set(unknown_names(collection, by, names))
    wanted = Ids(frozenset(names))
    tree = wanted if options.where is None else And((options.where, wanted))
    found = collection.engine.documents(tree, scope=collection.scope)
    return set(names) - {document.id for document, _ in found}


def _search(
    collection: Collection,
    options: SearchOptions,
    questions: Questions,
    progress: Callable[[int], object] | None,
    take: Callable[[Hits], None],
) -> None:
    """Search for questions exactly, and pass on what each finds. So a calibration does not depend on an index."""
    texts = questions.texts if options.reads_text or questions.vectors is None else None
    for start in range(0, len(questions.ids), _BATCH):
        part = questions.chosen(list(range(start, min(start + _BATCH, len(questions.ids)))))
        vectors = None if options.arms == "lexical" else part.vectors
        prepared = collection.searcher.prepare(
            options, None if texts is None else part.texts, vectors, collection.scope, probe=True
        )
        for hits in collection.searcher.run(options, prepared.exactly()):
            take(hits)
        if progress is not None:
            progress(len(part.ids))


def _calibration(
    collection: Collection,
    options: SearchOptions,
    lists: _Lists,
    groups: Sequence[Floats],
    share: float,
    notes: list[str],
) -> Calibration:
    kinds = [(kind, group) for kind, group in zip((_HARD, _EASY), groups, strict=True) if len(group)]
    if not kinds:
        raise InputError(
            "every document found is relevant, so no unanswerable question can be made: pass unanswerable=, questions "
            "that the collection does not answer"
        )
    answered = np.array(lists.answered)
    found, others = answered[np.isfinite(answered)], [group[np.isfinite(group)] for _, group in kinds]
    if not len(found) or not any(map(len, others)):
        raise InputError("the questions find nothing, so there are no scores to calibrate. Check filter and scope")
    model = fit(found, others, share)
    ascending = np.sort(answered)
    count = len(answered)
    lost = math.floor(LOST * (count + 1))
    none_below = float(ascending[lost - 1]) if lost and math.isfinite(ascending[lost - 1]) else None
    passing = float(ascending[math.floor(LOST * count)])
    separations = tuple(
        Separation(kind, len(group), auroc(answered, group), share_from(np.sort(group).tolist(), passing))
        for kind, group in kinds
    )
    notes += [
        f"scores hardly tell answerable questions from the others: {each.kind}, AUROC {each.auroc:.2f}"
        for each in separations
        if each.auroc < TELLS
    ]
    if lists.unproven:
        notes.append(
            f"{lists.unproven:,} of {count:,} lists are not proven complete: what is missing counts as not found"
        )
    if not lost:
        notes.append(f"no verdict is `none`: that needs at least {math.ceil(1 / LOST) - 1} questions")
    gaps = sorted(gap for gap in lists.gaps if math.isfinite(gap))
    strong = math.log(STRONG / (1 - STRONG))
    return Calibration(
        questions=count,
        max_hits=options.k,
        gaps=tuple(gaps),
        lengths=_lengths(lists, gaps),
        separations=separations,
        brier=brier_score(found, others, share),
        unanswerable_share=share,
        none_below=none_below,
        strong_from=(strong - model.intercept) / model.slope if model.slope > 0 else None,
        model=model,
        empty=_empty(answered, [group for _, group in kinds], share),
        settings=json.loads(
            json.dumps(settings_of(options, collection.scope, collection.searcher.rules, collection.searcher.relevance))
        ),
        space=space_of(collection.engine),
        sample=DocumentsSample.draw(collection.engine, options.where, collection.scope),
        at=time.time(),
        notes=tuple(notes),
    )


def _lengths(lists: _Lists, gaps: Sequence[float]) -> dict[float, float]:
    """Return the median length of the calibration questions' lists, for each of the coverages that can be promised."""
    ranks = {each: rank_of(each, len(lists.gaps)) for each in COVERAGES}
    return {
        each: float(median(int(np.sum(one <= gaps[rank - 1])) for one in lists.distances))
        for each, rank in ranks.items()
        if rank <= len(gaps)
    }


def _empty(answered: Floats, groups: Sequence[Floats], share: float) -> float:
    """Return the probability of an answer where nothing is found, by how often that happens to each kind."""
    with_answer = (1 - share) * _empty_share(answered)
    without = share * sum(map(_empty_share, groups)) / len(groups)
    return with_answer / (with_answer + without)


def _empty_share(signals: Floats) -> float:
    return (float(np.sum(np.isinf(signals))) + 0.5) / (len(signals) + 1)


def _signal(hits: Hits) -> float:
    return signal(hits, 0) if hits else -math.inf
