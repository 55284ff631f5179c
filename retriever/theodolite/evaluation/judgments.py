"""Judgments: which documents answer which questions, and how well. Their files and their checks."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import numpy as np

from theodolite.errors import InputError, short_repr, type_of
from theodolite.evaluation.text_files import PathOf, numbered, read_text, write_text

JudgmentsLike = Mapping[str, Mapping[str, int]] | PathOf
"""Grades by question and document, or a file of them: TREC's four columns, or BEIR's three."""

HIGHEST = 1000
"""The highest grade. Measures count how often each grade occurs, so their memory grows with it."""

_HEADER = ("query-id", "corpus-id", "score")
_HEADS = {"score", "grade", "relevance", "rel", "label"}  # of the column with the grades
_RUN_COLUMNS = 6


@dataclass(frozen=True, slots=True)
class Judgments:
    """Checked judgments.

    Attributes:
        grades: the grades by question and document, none below 0.
        notes: sentences that a reader of the results should know.
    """

    grades: Mapping[str, Mapping[str, int]]
    notes: tuple[str, ...] = ()

    def relevant(self, question: str) -> bool:
        """Return whether a question has a relevant document."""
        return any(self.grades.get(question, {}).values())


def as_judgments(given: JudgmentsLike) -> Judgments:
    """Check judgments, or read them from a file.

    Raises:
        InputError: they are not judgments, are empty, or contain grades that are not whole numbers.
    """
    if not isinstance(given, Mapping):
        if not hasattr(given, "__fspath__") and not isinstance(given, str):
            raise InputError(
                f"judgments is {type_of(given)}; expected {{question: {{document: grade}}}}, or a file of TREC or BEIR"
            )
        given = read_judgments(given)
    grades: dict[str, dict[str, int]] = {}
    unreadable: list[str] = []
    negative: list[str] = []
    for question, documents in given.items():
        if not isinstance(documents, Mapping):
            raise InputError(
                f"the judgments of question {short_repr(question)} are {type_of(documents)}; expected "
                "{document: grade}"
            )
        kept = grades.setdefault(as_name(question, "question"), {})
        for document, grade in documents.items():
            number = _whole(grade)
            place = f"{short_repr(grade)} for question {short_repr(question)}, document {short_repr(document)}"
            if number is None or number > HIGHEST:
                unreadable.append(place)
                continue
            if number < 0:
                negative.append(place)
            kept[as_name(document, "document")] = max(0, number)
    if unreadable:
        raise InputError(
            f"{_count(unreadable, 'grade')} not a whole number up to {HIGHEST:,}; first: {unreadable[0]}. "
            "Scale grades to whole numbers, such as 0 to 3",
            first=unreadable[0],
            count=len(unreadable),
        )
    if not any(grades.values()):
        raise InputError("there are no judgments; pass {question: {document: grade}}")
    notes = (f"{_count(negative, 'grade')} below zero (first: {negative[0]}): not relevant, as 0",) if negative else ()
    return Judgments(grades, notes)


def as_name(given: Any, what: str) -> str:
    """Return the id of a question or a document. Raises InputError for one that is not a string or a whole number.

    Files hold whole numbers as strings, so 17 and "17" are the same id.
    """
    if isinstance(given, (int, np.integer)) and not isinstance(given, bool):
        return str(given)
    if not isinstance(given, str) or not given:
        raise InputError(f"the id of a {what} is {short_repr(given)}; ids are strings that are not empty")
    try:
        given.encode()
    except UnicodeEncodeError:
        raise InputError(f"the id of a {what}, {given!r}, holds a lone surrogate, which is not text") from None
    return given


def digest(grades: Mapping[str, Mapping[str, int]]) -> str:
    """Return a digest of judgments, whatever their order."""
    listed = [[question, sorted(documents.items())] for question, documents in sorted(grades.items())]
    return sha256(json.dumps(listed, ensure_ascii=False).encode()).hexdigest()[:32]


def read_judgments(path: PathOf) -> dict[str, dict[str, int]]:
    """Read judgments from a file: TREC (question, 0, document, grade) or BEIR (question, document, grade; a header).

    Columns are separated by tabs, or else by spaces.

    Raises:
        InputError: the file cannot be read or is something else, or judges a document twice with different grades.
    """
    grades: dict[str, dict[str, int]] = {}
    differing: list[str] = []
    for number, line in numbered(read_text(path, "judgments")):
        cells = _cells(line)
        if number == 1 and cells[-1].casefold() in _HEADS:
            continue
        question, document, grade = _judgment(cells, f"line {number} of {path}")
        known = grades.setdefault(question, {}).setdefault(document, grade)
        if known != grade:
            differing.append(f"question {question!r}, document {document!r} has {known} and, in line {number}, {grade}")
    if differing:
        raise InputError(
            f"{path}: {_count(differing, 'judgment')} given twice with different grades; first: {differing[0]}. "
            "Keep one of them",
            path=str(path),
            count=len(differing),
        )
    if not grades:
        raise InputError(f"{path} is empty: it contains no judgments", path=str(path))
    return grades


def write_judgments(path: PathOf, grades: Mapping[str, Mapping[str, int]]) -> None:
    """Write judgments in BEIR's format. The file appears whole.

    Raises:
        InputError: an id contains a tab or a line break.
        EngineError: the file cannot be written.
    """
    write_text(path, list(_lines(grades)))


def check_storable(names: Iterable[str]) -> None:
    """Raise InputError for ids that cannot stand in a file of judgments."""
    for name in names:
        if any(mark in name for mark in "\t\n\r"):
            raise InputError(f"the id {name!r} contains a tab or a line break: a file of judgments cannot hold it")


def _lines(grades: Mapping[str, Mapping[str, int]]) -> Iterator[str]:
    yield "\t".join(_HEADER) + "\n"
    for question, documents in grades.items():
        check_storable([question, *documents])
        for document, grade in documents.items():
            yield f"{question}\t{document}\t{grade}\n"


def _cells(line: str) -> list[str]:
    return [cell.strip(" \r") for cell in line.split("\t")] if "\t" in line else line.split()


def _judgment(cells: list[str], name: str) -> tuple[str, str, int]:
    if len(cells) == _RUN_COLUMNS:
        raise InputError(
            f"{name} has six columns, as a run of TREC (question, Q0, document, rank, score, tag). Judgments have four "
            "(question, 0, document, grade), or three (question, document, grade)"
        )
    if len(cells) not in (3, 4) or not all(cells):
        raise InputError(
            f"{name} is not a judgment; expected question, 0, document and grade (TREC), or question, document and "
            "grade (BEIR), separated by tabs or spaces"
        )
    grade = _whole(cells[-1])
    if grade is None:
        raise InputError(f"{name}: the grade is {short_repr(cells[-1])}; grades are whole numbers, such as 0 to 3")
    return cells[0], cells[-2], grade


def _whole(grade: Any) -> int | None:
    """Return a grade as an int; None if it is not a whole number."""
    try:
        number = float(grade)
    except (TypeError, ValueError, OverflowError):
        return None
    return int(number) if number.is_integer() and abs(number) < 2**53 else None


def _count(items: list[str], noun: str) -> str:
    return f"{len(items):,} {noun} is" if len(items) == 1 else f"{len(items):,} {noun}s are"
