"""What the LangChain stores are given: documents, questions, filters, and an embedder that costs next to nothing."""

import uuid
import zlib
from dataclasses import dataclass

import numpy as np
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings

from benchmarks.data import CHUNK, Synthetic, metadata, texts
from benchmarks.truth import Floats, Mask
from theodolite.types import Vectors


@dataclass(frozen=True, slots=True)
class Rule:
    """A field that must have a value."""

    field: str
    value: str | int


RULES = {"filter, 20 %": Rule("source", "policy"), "filter, 4 %": Rule("year", 2007)}


class Given(Embeddings):
    """Vectors that are there already: a text's first word is the number of its row, `q` stands before a question's."""

    def __init__(self, rows: Floats, questions: Floats) -> None:
        self._rows = rows
        self._questions: list[list[float]] = questions.tolist()

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [self._of(text) for text in texts]

    def embed_query(self, text: str) -> list[float]:
        return self._of(text)

    def _of(self, text: str) -> list[float]:
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
    """Documents with their vectors, and questions with theirs."""

    documents: list[Document]
    vectors: Vectors
    questions: Vectors

    @property
    def embedding(self) -> Given:
        return Given(self.vectors, self.questions)

    def mask(self, rule: Rule | None) -> Mask:
        """Which rows a rule admits."""
        if rule is None:
            return np.ones(len(self.vectors), np.bool_)
        return np.array([document.metadata[rule.field] == rule.value for document in self.documents], np.bool_)


def make(rows: int, questions: int, dimension: int) -> Corpus:
    """Clustered vectors, generated texts of 30 to 60 words, four fields of metadata; ids that every store takes."""
    source = Synthetic("clustered", rows, dimension)
    parts = [source.vectors(i, min(CHUNK, rows - start)) for i, start in enumerate(range(0, rows, CHUNK))]
    documents = [
        Document(f"{row} {text}", metadata={**metadata(row), "row": row}, id=str(uuid.UUID(int=row)))
        for row, text in enumerate(texts(rows))
    ]
    return Corpus(documents, Vectors(np.concatenate(parts)), source.queries(questions))
