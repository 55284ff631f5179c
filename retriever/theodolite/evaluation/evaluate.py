"""Evaluate: search for judged questions, and measure the lists."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from theodolite.errors import EngineError, InputError, JudgmentWarning, warn_caller
from theodolite.evaluation.judgments import Judgments, digest
from theodolite.evaluation.lists import Collection, Lists, count_values, field_with, unknown_names
from theodolite.evaluation.measures import measure, names
from theodolite.evaluation.questions import Questions, is_synthetic
from theodolite.evaluation.recall import Recall
from theodolite.evaluation.recall import measure as measure_index
from theodolite.evaluation.resampling import proportion_intervals
from theodolite.evaluation.result import Evaluation, Ranked
from theodolite.ranking.options import SearchOptions
from theodolite.types import Vectors

_BATCH = 256  # questions searched at a time
_INDEX = 200  # questions that the index is measured with, evenly spaced
_FEW = 30  # questions below which bootstrap intervals are too narrow
_TRIED = 20  # names that a better field is looked for with

Grades = Sequence[Mapping[str, int]]

__all__ = ["Collection", "evaluate"]


def evaluate(
    collection: Collection,
    questions: Questions,
    judgments: Judgments,
    options: SearchOptions,
    k: Sequence[int],
    *,
    by: str | None = None,
    index: bool = True,
    progress: Callable[[int], object] | None = None,
) -> Evaluation:
    """Search for each question that has a relevant document, and measure the lists. See `Retriever.evaluate`.

    Args:
        options: the options of the searches; their k is replaced.
        k: the lengths of list to measure, ascending.
    """
    counted = [number for number, name in enumerate(questions.ids) if judgments.relevant(name)]
    if not counted:
        raise _nothing_relevant(questions, judgments)
    measure([], [], k)  # raises if its package is missing, before anything is embedded
    chosen, length = questions.chosen(counted), k[-1]
    grades = [judgments.grades[name] for name in chosen.ids]
    enough = length if by is None else count_values(collection, options, by, length)
    lists = Lists()
    for start in range(0, len(counted), _BATCH):
        part = chosen.chosen(list(range(start, min(start + _BATCH, len(counted)))))
        lists.search(collection, options, part, by=by, length=length, enough=enough)
        if progress is not None:
            progress(len(part.ids))
    unknown = _check_known(collection, by, grades, lists.found)
    values = measure([[each.id for each in found] for found in lists.found], grades, k)
    columns, bounds = names(k), proportion_intervals(values)
    found, problem = _measure_index(collection, options, k, lists.vectors) if index else (None, "")
    synthetic = sum(map(is_synthetic, chosen.ids))
    return Evaluation(
        metrics=dict(zip(columns, map(float, values.mean(0)), strict=True)),
        intervals={name: (float(low), float(high)) for name, (low, high) in zip(columns, bounds, strict=True)},
        per_question={
            name: dict(zip(columns, map(float, row), strict=True)) for name, row in zip(chosen.ids, values, strict=True)
        },
        judged={each: _share_judged(lists.found, grades, each) for each in k},
        left_out=len(questions.ids) - len(counted),
        unanswered=sum(not each for each in lists.found),
        synthetic=synthetic,
        k=tuple(k),
        by=by,
        mode=options.arms,
        judgments=sum(map(len, grades)),
        unknown=tuple(unknown),
        notes=(
            *_about_questions(questions, judgments, len(counted), synthetic, lists),
            *judgments.notes,
            *_about_unknown(unknown, by, grades),
            *_about_values(lists, by),
            *([problem] if problem else []),
        ),
        digest=digest(dict(zip(chosen.ids, grades, strict=True))),
        index=found,
        run=dict(zip(chosen.ids, lists.found, strict=True)),
    )


def _check_known(
    collection: Collection, by: str | None, grades: Grades, found: Sequence[Sequence[Ranked]]
) -> list[str]:
    """Return the judged names that the collection lacks. Raises InputError if it lacks all of them."""
    judged = list(dict.fromkeys(name for graded in grades for name in graded))
    seen = {each.id for listed in found for each in listed}
    unknown = unknown_names(collection, by, [name for name in judged if name not in seen])
    if len(unknown) < len(judged):
        return unknown
    if not collection.engine.count(scope=collection.scope):
        raise InputError("the collection has no documents: there is nothing to evaluate")
    kind = "judged documents is in the collection" if by is None else f"judged values of {by!r} is in the collection"
    field = field_with(collection, unknown[:_TRIED])
    hint = " Judgments name the ids of documents, or the values of a field: pass by="
    if field is not None and field != by:
        hint = f" They are values of the field {field!r}: pass by={field!r}"
    raise InputError(
        f"none of the {len(judged):,} {kind}; first: {unknown[0]!r}.{hint}", count=len(unknown), first=unknown[0]
    )


def _measure_index(
    collection: Collection, options: SearchOptions, k: Sequence[int], vectors: Sequence[Vectors]
) -> tuple[Recall | None, str]:
    """Return the recall of the index, or None and the reason as a note; no reason if there is nothing to measure."""
    if not vectors or collection.scope is not None:
        return None, ""
    rows = np.concatenate(vectors)
    rows = np.ascontiguousarray(rows[:: -(-len(rows) // _INDEX)])
    try:
        return measure_index(collection.engine, Vectors(rows), k, options.where), ""
    except (EngineError, InputError) as error:  # the figures of the lists are worth more than these
        return None, f"the recall of the index was not measured: {error}"


def _share_judged(found: Sequence[Sequence[Ranked]], grades: Grades, length: int) -> float:
    """Return the share of the first hits that are judged; 1 if there are no hits."""
    hits = judged = 0
    for listed, graded in zip(found, grades, strict=True):
        hits += len(listed[:length])
        judged += sum(each.id in graded for each in listed[:length])
    return judged / hits if hits else 1.0


def _about_questions(
    questions: Questions, judgments: Judgments, counted: int, synthetic: int, lists: Lists
) -> list[str]:
    notes = []
    asked = set(questions.ids)
    if others := [name for name in judgments.grades if name not in asked]:
        note = f"{len(others):,} judged {_are(others, 'question')} not among the questions; first: {others[0]!r}"
        warn_caller(note[0].upper() + note[1:], JudgmentWarning)
        notes.append(note)
    if left := [name for name in questions.ids if not judgments.relevant(name)]:
        notes.append(
            f"{len(left):,} {_are(left, 'question')} left out: no document is judged relevant; first: {left[0]!r}"
        )
    if unanswered := sum(not each for each in lists.found):
        notes.append(f"{unanswered:,} of the questions found nothing, and count 0")
    if synthetic:
        notes.append(f"{synthetic:,} of {counted:,} questions are synthetic, made from documents: real ones are harder")
    if counted < _FEW:
        few = "one question" if counted == 1 else f"{counted} questions"
        notes.append(f"{few}: too few to rely on these figures, or on their intervals")
    return notes


def _about_unknown(unknown: Sequence[str], by: str | None, grades: Grades) -> list[str]:
    if not unknown:
        return []
    missing = set(unknown)
    relevant = {name for graded in grades for name, grade in graded.items() if grade and name in missing}
    kind = "document" if by is None else f"value of {by!r}"
    note = (
        f"{len(unknown):,} judged {_are(unknown, kind)} not in the collection; first: {unknown[0]!r}. "
        f"{len(relevant):,} of them relevant: these count as missed"
    )
    warn_caller(note, JudgmentWarning)
    return [note]


def _about_values(lists: Lists, by: str | None) -> list[str]:
    if not lists.loose:
        return []
    first = min(lists.loose)
    return [
        f"{len(lists.loose):,} {_are(lists.loose, 'passage')} found without the field {by!r}; first: {first!r}. Each "
        "takes a place of its own"
    ]


def _nothing_relevant(questions: Questions, judgments: Judgments) -> InputError:
    judged = [name for name in questions.ids if judgments.grades.get(name)]
    if judged:
        return InputError(
            f"no document is judged relevant: all grades of the {len(judged):,} judged questions are 0 or less. "
            "Relevant documents have grades of 1 and more"
        )
    first = next(iter(judgments.grades))
    return InputError(
        f"none of the {len(questions.ids):,} questions is judged: the first question is {questions.ids[0]!r}, the "
        f"first judged one {first!r}. Use the same ids in both"
    )


def _are(items: object, noun: str) -> str:
    count = len(items)  # type: ignore[arg-type]  # a collection
    if count == 1:
        return f"{noun} is"
    return f"values{noun.removeprefix('value')} are" if noun.startswith("value") else f"{noun}s are"
