"""Questions by id: checked, or read from JSON Lines, tab-separated lines or topics of TREC."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from theodolite.errors import InputError, short_repr, type_of
from theodolite.evaluation.judgments import as_name
from theodolite.evaluation.text_files import PathOf, numbered, read_text
from theodolite.types import VectorLike, VectorsLike

QuestionsLike = Mapping[str, str] | Mapping[str, VectorLike] | PathOf
"""Questions by id, as texts or vectors, or a file of texts."""

SYNTHETIC = "synthetic:"
"""How the ids of questions made from documents begin, so that every file and table that names them says so."""

_IDS = ("_id", "id", "query_id", "query-id", "qid")
_TEXTS = ("text", "query", "question")
_TOPIC = re.compile(r"<top>(.*?)(?=<top>|\Z)", re.DOTALL | re.IGNORECASE)
_NUMBER = re.compile(r"<num>\s*(?:Number:)?\s*([^\s<]+)", re.IGNORECASE)
_TITLE = re.compile(r"<title>\s*(?:Topic:)?\s*([^<]*)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Questions:
    """Checked questions.

    Attributes:
        ids: their ids.
        texts: their texts; None if they are vectors only.
        vectors: their vectors, in the order of the ids; None if they are texts only.
    """

    ids: list[str]
    texts: list[str] | None
    vectors: Any = None

    def chosen(self, numbers: list[int]) -> "Questions":
        """Return some of the questions, by position."""
        if len(numbers) == len(self.ids):
            return self
        vectors = self.vectors
        if vectors is not None:
            vectors = vectors[np.array(numbers, int)] if hasattr(vectors, "dtype") else [vectors[n] for n in numbers]
        texts = None if self.texts is None else [self.texts[n] for n in numbers]
        return Questions([self.ids[n] for n in numbers], texts, vectors)


def as_questions(given: QuestionsLike, vectors: "VectorsLike | Mapping[str, VectorLike] | None" = None) -> Questions:
    """Check questions, or read them from a file.

    Args:
        vectors: the questions' vectors: (n, d) in the order of the questions, or by id.

    Raises:
        InputError: they are not questions, are empty, or their vectors do not fit.
    """
    if not isinstance(given, Mapping):
        if not hasattr(given, "__fspath__") and not isinstance(given, str):
            raise InputError(f"questions is {type_of(given)}; expected {{id: text}}, or a file of questions")
        given = read_questions(given)
    ids = [as_name(name, "question") for name in given]
    if not ids:
        raise InputError("there are no questions; pass {id: text}")
    if len(set(ids)) < len(ids):
        raise InputError("two questions have the same id; ids that are whole numbers are the same as strings")
    values = list(given.values())
    if not any(isinstance(value, str) for value in values):
        if vectors is not None:
            raise InputError("the questions are vectors already: leave vectors= out, or pass texts")
        return Questions(ids, None, values)
    for name, value in zip(ids, values, strict=True):
        if not isinstance(value, str) or not value.strip():
            raise InputError(f"question {name!r} is {short_repr(value)}; expected a text that is not blank")
    texts = [str(value) for value in values]
    return Questions(ids, texts, None if vectors is None else rows_of(vectors, ids, list(given)))


def rows_of(vectors: Any, ids: Sequence[str], names: Sequence[Any] = ()) -> Any:
    """Return the vectors of questions, given in their order or by id.

    Args:
        names: the ids as the caller wrote them, whole numbers for example, if they differ.

    Raises:
        InputError: a question has no vector.
    """
    if isinstance(vectors, Mapping):
        names = names or ids
        missing = [name for name in names if name not in vectors]
        if missing:
            raise InputError(f"{len(missing):,} of {len(ids):,} questions have no vector; first: {missing[0]!r}")
        return [vectors[name] for name in names]
    rows = vectors if hasattr(vectors, "__len__") else list(vectors)
    if len(rows) != len(ids):
        raise InputError(f"there are {len(ids):,} questions and {len(rows):,} vectors; each question needs one")
    return rows


def read_questions(path: PathOf) -> dict[str, str]:
    """Read questions from a file.

    JSON Lines with `_id` or `id` and `text` (BEIR), lines of an id and a text separated by a tab, or topics of TREC.

    Raises:
        InputError: the file cannot be read or is something else, or has two questions of one id.
    """
    text = read_text(path, "questions")
    if text.lstrip()[:1] == "{":
        found = [_of_json(line, f"line {number} of {path}") for number, line in numbered(text)]
    elif "<top>" in text.lower():
        found = [_of_topic(topic, str(path)) for topic in _TOPIC.findall(text)]
    else:
        found = [_of_line(line, f"line {number} of {path}") for number, line in numbered(text)]
        if found[0][0].casefold() in _IDS and found[0][1].casefold() in _TEXTS:
            found = found[1:]
    questions: dict[str, str] = {}
    for name, question in found:
        if questions.setdefault(name, question) != question:
            raise InputError(f"{path} has two questions with the id {name!r}; each needs its own", path=str(path))
    if not questions:
        raise InputError(f"{path} is empty: it contains no questions", path=str(path))
    return questions


def is_synthetic(question: str) -> bool:
    """Return whether a question was made from a document, by its id."""
    return question.startswith(SYNTHETIC)


def _of_json(line: str, name: str) -> tuple[str, str]:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{name} is not JSON: {error}") from error
    if not isinstance(record, dict):
        raise InputError(f'{name} is {type_of(record)}; expected an object with "id" and "text"')
    number = next((record[field] for field in _IDS if field in record), None)
    text = next((record[field] for field in _TEXTS if field in record), None)
    if number is None or not isinstance(text, str) or not text.strip():
        raise InputError(f'{name} is not a question; expected an object with "id" (or "_id") and "text"')
    return as_name(number, "question"), text


def _of_line(line: str, name: str) -> tuple[str, str]:
    number, tab, text = line.partition("\t")
    if not tab or not number.strip() or not text.strip():
        raise InputError(
            f"{name} is not a question; expected an id, a tab and a text, JSON Lines with id and text, or topics of "
            "TREC"
        )
    return number.strip(), text.strip()


def _of_topic(topic: str, name: str) -> tuple[str, str]:
    number, title = _NUMBER.search(topic), _TITLE.search(topic)
    if number is None or title is None or not title[1].strip():
        raise InputError(f"{name}: a topic has no <num> or no <title>: {short_repr(topic.strip())}", path=name)
    return number[1], " ".join(title[1].split())
