"""A source without documents, for a collection before its first batch."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from theodolite.analysis.query_terms import Phrase
from theodolite.engines.remote.source import (
    Candidates,
    Eligible,
    FieldValues,
    Keys,
    LexicalCandidates,
    State,
    UnreadableDates,
)
from theodolite.protocols import Scope
from theodolite.types import Document, Field, Vectors


class EmptySource:
    """See `Source`."""

    limit = None

    def state(self, scope: Scope | None) -> State:
        return State(0)

    def count(self, eligible: Eligible) -> int:
        return 0

    def keys(self, eligible: Eligible) -> Keys:
        return np.empty(0, np.int64)

    def first_id(self, eligible: Eligible) -> str:
        raise LookupError("there are no documents")

    def nearest(
        self,
        queries: Vectors,
        n: int,
        eligible: Eligible,
        *,
        exact: bool,
        probe: bool = False,
        with_vectors: bool = True,
        with_documents: bool = False,
    ) -> list[Candidates]:
        vectors = np.empty((0, queries.shape[1]), np.float32)
        return [Candidates(np.empty(0, np.int64), [], np.empty(0), 0.0, -np.inf, vectors, []) for _ in queries]

    def lexical(self, phrases: Mapping[Phrase, float], n: int, eligible: Eligible) -> LexicalCandidates:
        return LexicalCandidates(np.empty(0, np.int64), [], np.empty(0), exhausted=True, known=False)

    def vectors(self, keys: Keys) -> NDArray[np.float32]:
        return np.empty((0, 0), np.float32)

    def documents(self, keys: Keys) -> list[Document]:
        return []

    def values(self, keys: Keys, fields: Sequence[str]) -> FieldValues:
        return FieldValues(keys, {name: [] for name in fields})

    def scan(self, eligible: Eligible, fields: Sequence[str]) -> Iterator[FieldValues]:
        return iter(())

    def summaries(self, scope: Scope | None, fields: Sequence[str]) -> Mapping[str, Field]:
        return {}

    def sample_names(self, scope: Scope | None) -> set[str]:
        return set()

    def unreadable_dates(self, scope: Scope | None, fields: Sequence[str]) -> Mapping[str, UnreadableDates]:
        return {}
