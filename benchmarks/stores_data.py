"""Data for the frameworks' stores: documents with vectors, questions and filters; and an embedder to look them up."""

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.data import CHUNK, Synthetic, metadata, texts
from benchmarks.truth import Floats, Mask
from theodolite.types import Vectors


@dataclass(frozen=True, slots=True)
class Rule:
    """A condition: a field must have a value."""

    field: str
    value: str | int


RULES = {"filter, 20 %": Rule("source", "policy"), "filter, 4 %": Rule("year", 2007)}


class Known:
    """Precomputed vectors. A text begins with its row number, a question with `q` and its number."""

    def __init__(self, rows: Floats, questions: Floats) -> None:
        self._rows = rows
        self._questions: list[list[float]] = questions.tolist()

    def of(self, text: str) -> list[float]:
        """Return the vector of a text."""
        word = text.split(" ", 1)[0]
        if word[:1] == "q" and word[1:].isdigit():
            return self._questions[int(word[1:])]
        if word.isdigit():
            row = self._rows[int(word)]
        else:  # of some other text: drawn, the same each time
            row = np.random.default_rng(zlib.crc32(text.encode())).standard_normal(self._rows.shape[1], np.float32)
        made: list[float] = row.tolist()
        return made


@dataclass(frozen=True, slots=True)
class Corpus:
    """Documents of a framework with their vectors, and questions with theirs."""

    documents: list[Any]
    vectors: Vectors
    questions: Vectors

    @property
    def known(self) -> Known:
        return Known(self.vectors, self.questions)

    def mask(self, rule: Rule | None) -> Mask:
        """Return the mask of the rows that match a rule."""
        if rule is None:
            return np.ones(len(self.vectors), np.bool_)
        return np.array([document.metadata[rule.field] == rule.value for document in self.documents], np.bool_)


def make(document: Callable[[int, str, dict[str, Any]], Any], rows: int, questions: int, dimension: int) -> Corpus:
    """Make clustered vectors, texts of 30 to 60 words, and four metadata fields; `document` builds a document."""
    source = Synthetic("clustered", rows, dimension)
    parts = [source.vectors(i, min(CHUNK, rows - start)) for i, start in enumerate(range(0, rows, CHUNK))]
    documents = [document(row, f"{row} {text}", {**metadata(row), "row": row}) for row, text in enumerate(texts(rows))]
    return Corpus(documents, Vectors(np.concatenate(parts)), source.queries(questions))
