"""Synthetic questions: made from documents, to try an evaluation before there are real ones."""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

import numpy as np

from theodolite.analysis.sentences import sentences
from theodolite.errors import InputError, short_repr
from theodolite.evaluation.judged_questions import JudgedQuestions
from theodolite.evaluation.questions import SYNTHETIC
from theodolite.filters import Filter
from theodolite.protocols import Engine, Scope
from theodolite.types import Document

MakeQuestions = Callable[[Document], str | Iterable[str] | None]
"""Makes a question, several, or none from a document: a language model, for example."""

_SPARE = 3  # documents drawn for each question: not every document has a good sentence
_WORDS = 4  # the fewest words of a sentence


def make_questions(
    engine: Engine,
    count: int,
    *,
    make: MakeQuestions | None = None,
    where: Filter | None = None,
    scope: Scope | None = None,
    seed: int = 0,
) -> JudgedQuestions:
    """Make questions from documents, each answered by its document. See `Retriever.synthetic_questions`.

    A question that several of the drawn documents give is answered by all of them.
    """
    draw = np.random.default_rng(seed)
    found: dict[str, list[str]] = {}
    for document in _drawn(engine, count * _SPARE, draw, where, scope):
        if len(found) >= count:
            break
        made = _sentence(document, draw) if make is None else make(document)
        for question in _as_texts(made, document)[: count - len(found)]:
            answers = found.setdefault(question, [])
            if document.id not in answers:
                answers.append(document.id)
    if not found:
        raise InputError("no question could be made: there are no documents, or none has a sentence of a few words")
    names = {question: f"{SYNTHETIC}{number}" for number, question in enumerate(found, start=1)}
    return JudgedQuestions(
        {name: question for question, name in names.items()},
        {names[question]: dict.fromkeys(answers, 1) for question, answers in found.items()},
    )


def _drawn(
    engine: Engine, count: int, draw: np.random.Generator, where: Filter | None, scope: Scope | None
) -> Iterator[Document]:
    """Yield up to `count` documents in random order, drawn from all that pass the filter."""
    eligible = engine.count(where, scope=scope)
    places = np.sort(draw.choice(eligible, min(count, eligible), replace=False))
    listed, at, documents = engine.documents(where, scope=scope), 0, []
    for place in places.tolist():
        documents += [document for document, _ in islice(listed, place - at, place - at + 1)]
        at = place + 1
    yield from (documents[number] for number in draw.permutation(len(documents)))


def _sentence(document: Document, draw: np.random.Generator) -> str | None:
    """Return a random sentence of the document; None if it has none of at least four words."""
    texts = [" ".join(document.text[start:end].split()) for start, end in sentences(document.text)]
    # Scripts without spaces have no words to count: a sentence of some letters is as good.
    long = [text for text in texts if len(text.split()) >= _WORDS or (not text.isascii() and len(text) >= 3 * _WORDS)]
    return long[draw.integers(len(long))].lstrip("#>*-• ") if long else None


def _as_texts(made: Any, document: Document) -> list[str]:
    given = [] if made is None else [made] if isinstance(made, str) else list(made)
    for text in given:
        if not isinstance(text, str):
            raise InputError(
                f"make returned {short_repr(text)} for document {document.id!r}; expected a text, several, or None"
            )
    return [text.strip() for text in given if text.strip()]
