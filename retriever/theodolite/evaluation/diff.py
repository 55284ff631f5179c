"""Diff: what changed between two collections, two settings, or a collection and its backup, and why."""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from inspect import signature
from typing import TYPE_CHECKING, Any, overload

from theodolite.engines.missing import MissingCollection
from theodolite.errors import InputError, closest, type_of
from theodolite.evaluation.causes import Explainer
from theodolite.evaluation.diff_result import CAUSES, Cause, Change, Diff
from theodolite.evaluation.judgments import Judgments, JudgmentsLike, as_judgments
from theodolite.evaluation.lists import Collection, count_values, value_of
from theodolite.evaluation.question_sets import QuestionSetDiff, compare_sets
from theodolite.evaluation.questions import Questions, QuestionsLike, as_questions, rows_of
from theodolite.evaluation.sides import Side
from theodolite.inputs import as_k
from theodolite.ranking.options import SearchOptions
from theodolite.types import Hit, Hits, VectorLike, VectorsLike

if TYPE_CHECKING:  # a layer above; it is passed in
    from theodolite.retriever import Retriever

_BATCH = 256  # questions searched at a time
_OPTIONS = tuple(name for name in signature(SearchOptions).parameters if name != "k")


@overload
def diff(
    a: "Retriever",
    b: "Retriever",
    questions: QuestionsLike,
    judgments: JudgmentsLike | None = None,
    *,
    k: int = 10,
    by: str | None = None,
    vectors: VectorsLike | Mapping[str, VectorLike] | None = None,
    vectors_b: VectorsLike | Mapping[str, VectorLike] | None = None,
    options_b: Mapping[str, Any] | None = None,
    questions_b: None = None,
    progress: Callable[[int], object] | None = None,
    **options: Any,
) -> Diff: ...
@overload
def diff(
    a: "Retriever",
    b: "Retriever",
    questions: QuestionsLike,
    judgments: None = None,
    *,
    k: int = 10,
    by: None = None,
    vectors: VectorsLike | Mapping[str, VectorLike] | None = None,
    vectors_b: VectorsLike | Mapping[str, VectorLike] | None = None,
    options_b: Mapping[str, Any] | None = None,
    questions_b: QuestionsLike,
    progress: Callable[[int], object] | None = None,
    **options: Any,
) -> QuestionSetDiff: ...
def diff(
    a: "Retriever",
    b: "Retriever",
    questions: QuestionsLike,
    judgments: JudgmentsLike | None = None,
    *,
    k: int = 10,
    by: str | None = None,
    vectors: VectorsLike | Mapping[str, VectorLike] | None = None,
    vectors_b: VectorsLike | Mapping[str, VectorLike] | None = None,
    options_b: Mapping[str, Any] | None = None,
    questions_b: QuestionsLike | None = None,
    progress: Callable[[int], object] | None = None,
    **options: Any,
) -> Diff | QuestionSetDiff:
    """Compare the hits of two collections or settings, A and B, and find the cause of each difference.

    Nothing is stored, and nothing counts as a search of a user.

    Args:
        a, b: two collections, scopes of one partition, or the same one twice with other `options_b`.
        questions: texts by id, or vectors by id; or a file, as `Retriever.evaluate` reads it.
        judgments: grades by question and document, or a file. With them, each cause has its effect on nDCG@k.
        k: the length of the lists.
        by: a metadata field that judgments name, such as "path", instead of ids of documents. A file ranks where its
            best passage does, among those in the list.
        vectors: the questions' vectors, in their order (n, d) or by id, so that nothing is embedded.
        vectors_b: the questions' vectors for B, if its model is another one. Default: `vectors`.
        options_b: search options of B that differ, such as `{"mode": "hybrid"}`.
        questions_b: other questions for B, with their vectors in `vectors_b`. Two sets of questions are compared by the
            distribution of what they find only, and the result says so: no hit has a cause.
        progress: called with the number of questions done since the last call.
        options: search options of both, as `Retriever.search` takes them.

    Raises:
        InputError: questions, vectors or judgments that cannot be read or do not belong together; neither collection
            has documents; a partitioned collection without a scope.
        CollectionNotFoundError: one of the collections does not exist.
        ConfigError: no vectors are given, and a collection has no embedder.
        TypeError: an unknown option.
    """
    shared = _checked_options(options, "diff")
    changed = _checked_options(options_b or {}, "options_b")
    both = SearchOptions(k=as_k(k), **shared)
    return diff_with(
        both,
        replace(both, **changed),  # what does not differ is the same object: a reranker, for example
        a,
        b,
        questions,
        judgments,
        by=by,
        questions_b=questions_b,
        vectors=vectors,
        vectors_b=vectors_b,
        progress=progress,
    )


def diff_with(
    options: SearchOptions,
    options_b: SearchOptions,
    a: "Retriever",
    b: "Retriever",
    questions: QuestionsLike,
    judgments: JudgmentsLike | None = None,
    *,
    by: str | None = None,
    questions_b: QuestionsLike | None = None,
    vectors: VectorsLike | Mapping[str, VectorLike] | None = None,
    vectors_b: VectorsLike | Mapping[str, VectorLike] | None = None,
    progress: Callable[[int], object] | None = None,
) -> Diff | QuestionSetDiff:
    """`diff`, with ready-made options for A and B that have the same k."""
    if by is not None and judgments is None:
        raise InputError("by= names the field that judgments use: pass judgments, or leave it out")
    asked = as_questions(questions, vectors)
    collections = _collection(a, "a"), _collection(b, "b")
    for collection in collections:
        if isinstance(collection.engine, MissingCollection):
            collection.engine.refuse()
    sides = Side("A", collections[0], options), Side("B", collections[1], options_b)
    if questions_b is not None:
        if judgments is not None:
            raise InputError(
                "two sets of questions are compared by their distribution, without judgments. Measure each with "
                "kb.evaluate(questions, judgments)"
            )
        return compare_sets(*sides, asked, as_questions(questions_b, vectors_b), progress)
    asked_b = asked if vectors_b is None else replace(asked, vectors=rows_of(vectors_b, asked.ids))
    judged = None if judgments is None else as_judgments(judgments)
    if by is not None:
        for side, collection in zip(sides, collections, strict=True):
            count_values(collection, side.options, by, 1)  # raises if no document has the field
    return compare(*sides, asked, asked_b, judged, progress, by=by)


def compare(
    a: Side,
    b: Side,
    questions: Questions,
    questions_b: Questions,
    judgments: Judgments | None,
    progress: Callable[[int], object] | None = None,
    *,
    by: str | None = None,
) -> Diff:
    """Compare two sides. See `diff`.

    Args:
        questions_b: the same questions with the vectors of B.
    """
    _check_comparable(a, b, questions, questions_b)
    changes: list[Change] = []
    tally = _Effects(judgments, a.options.k, by)
    hits = 0
    for start in range(0, len(questions.ids), _BATCH):
        numbers = list(range(start, min(start + _BATCH, len(questions.ids))))
        part, part_b = questions.chosen(numbers), questions_b.chosen(numbers)
        found = a.search(part), b.search(part_b)
        hits += sum(len({*_ids(ours), *_ids(theirs)}) for ours, theirs in zip(*found, strict=True))
        new = [change for each in Explainer(a, b, part, found).changes() for change in each]
        tally.add(part.ids, found, new)
        changes += new
        if progress is not None:
            progress(len(numbers))
    return Diff(
        questions=len(questions.ids),
        hits=hits,
        changes=tuple(changes),
        causes=_ranked(changes, tally),
        k=a.options.k,
        judged=tally.judged,
        metrics=tally.metrics(),
        places=(str(a), str(b)),
        notes=tuple(_notes(a, b, changes, questions, judgments)),
    )


class _Effects:
    """The metrics of judged questions, and the share of each cause in their difference."""

    def __init__(self, judgments: Judgments | None, k: int, by: str | None) -> None:
        self._judgments, self._k, self._by = judgments, k, by
        self.judged = 0
        self._ndcg, self._recall = [0.0, 0.0], [0.0, 0.0]
        self._effects: dict[str, float] = {}

    def add(self, ids: Sequence[str], found: tuple[Sequence[Hits], Sequence[Hits]], changes: Sequence[Change]) -> None:
        """Add some questions with their changes."""
        if self._judgments is None:
            return
        by_question: dict[str, dict[str, str]] = {}
        for change in changes:
            by_question.setdefault(change.question, {})[change.document] = change.cause
        for question, *lists in zip(ids, *found, strict=True):
            if not self._judgments.relevant(question):
                continue
            self.judged += 1
            grades = self._judgments.grades[question]
            best = sorted(grades.values(), reverse=True)[: self._k]
            ideal = sum(grade / math.log2(rank + 1) for rank, grade in enumerate(best, start=1))
            relevant = sum(grade > 0 for grade in grades.values())
            causes = by_question.get(question, {})
            # A hit that keeps its order has another rank because of the hits that changed.
            main = Counter(causes.values()).most_common(1)
            for side, hits in enumerate(lists):
                for rank, (name, hit) in enumerate(self._named(hits).items(), start=1):
                    grade = grades.get(name, 0)
                    gain = grade / math.log2(rank + 1) / ideal
                    self._ndcg[side] += gain
                    self._recall[side] += (grade > 0) / relevant
                    if main:
                        cause = causes.get(hit.document.id, main[0][0])
                        self._effects[cause] = self._effects.get(cause, 0.0) + (gain if side else -gain)

    def _named(self, hits: Hits) -> dict[str, Hit]:
        """Return the hits by the name that judgments use; the best one of each."""
        named: dict[str, Hit] = {}
        for hit in hits:
            value = hit.document.id if self._by is None else value_of(hit.document, self._by)
            named.setdefault(hit.document.id if value is None else value, hit)
        return named

    def metrics(self) -> dict[str, tuple[float, float]]:
        """Return the means in A and in B."""
        if not self.judged:
            return {}
        return {
            f"{name}@{self._k}": (sums[0] / self.judged, sums[1] / self.judged)
            for name, sums in (("nDCG", self._ndcg), ("recall", self._recall))
        }

    def of(self, cause: str) -> float | None:
        """Return a cause's share in the difference of nDCG, B minus A."""
        return self._effects.get(cause, 0.0) / self.judged if self.judged else None


def _ranked(changes: Sequence[Change], effects: _Effects) -> tuple[Cause, ...]:
    """Return the causes, the most frequent first."""
    hits = Counter(change.cause for change in changes)
    also = Counter(name for change in changes for name in change.also)
    names = sorted(
        hits.keys() | also.keys(), key=lambda name: (-(hits[name] + also[name]), -hits[name], list(CAUSES).index(name))
    )
    found = []
    for name in names:
        concerned = [change for change in changes if name == change.cause] or [
            change for change in changes if name in change.also
        ]
        questions = {change.question for change in changes if name == change.cause or name in change.also}
        # A hit that differs in itself shows more than one that moved because of others.
        example = next((change for change in concerned if "because of other" not in change.detail), concerned[0])
        found.append(Cause(name, hits[name], also[name], len(questions), effects.of(name), example))
    return tuple(found)


def _notes(a: Side, b: Side, changes: Sequence[Change], questions: Questions, judgments: Judgments | None) -> list[str]:
    notes = []
    named = {name for change in changes for name in (change.cause, *change.also)}
    if a.count != b.count:
        notes.append(f"A has {a.count:,} documents, B has {b.count:,}")
    if a.space.metric != b.space.metric and "metric" not in named:
        notes.append(f"the metrics differ ({a.space.metric} and {b.space.metric}), without an effect on these lists")
    if judgments is not None:
        unjudged = [name for name in questions.ids if not judgments.relevant(name)]
        if unjudged:
            notes.append(f"{len(unjudged):,} questions have no relevant document and do not count in the metrics")
        notes += judgments.notes
    return notes


def _ids(hits: Hits) -> list[str]:
    return [hit.document.id for hit in hits]


def _checked_options(given: Mapping[str, Any], what: str) -> Mapping[str, Any]:
    if not isinstance(given, Mapping):
        raise InputError(f'{what} is {type_of(given)}; expected search options by name, such as {{"mode": "hybrid"}}')
    for name in given:
        if name not in _OPTIONS:
            close = closest(str(name), _OPTIONS)
            hint = f"it takes {', '.join(_OPTIONS)}" if close is None else f"did you mean {close!r}?"
            raise TypeError(f"{what} has no search option {name!r}; {hint}")
    return given


def _collection(kb: Any, name: str) -> Collection:
    if not hasattr(type(kb), "_searcher"):
        raise InputError(f"{name} is {type_of(kb)}; pass two open collections: Retriever.open('kb')")
    return Collection(kb._searcher, kb._engine, kb._scope)


def _check_comparable(a: Side, b: Side, questions: Questions, questions_b: Questions) -> None:
    if not a.count and not b.count:
        raise InputError("neither collection has documents: there is nothing to compare")
    if questions.vectors is not None and questions_b is questions and "lexical" not in (a.options.arms, b.options.arms):
        sizes = a.space.raw_dimension, b.space.raw_dimension
        if None not in sizes and sizes[0] != sizes[1]:
            raise InputError(
                f"A takes vectors of {sizes[0]} numbers, and B of {sizes[1]}: one vector for each question cannot be "
                "searched in both. Pass vectors_b= with those of B's model, or texts"
            )
