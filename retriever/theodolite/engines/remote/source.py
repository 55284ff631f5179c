"""The interface between a remote store and its search: `Source`, which lists documents and never ranks them.

`RemoteSearch` runs a Request on a Source. They divide the work like this:

- A source filters, lists the documents nearest to a vector, lists documents by their words, and reads documents by key.
  It runs on the server as far as possible.
- `RemoteSearch` computes every similarity that leaves the engine, in float64 from the stored float32 vectors, proves
  that the list is complete, breaks ties, applies boosts and version rules, fuses arms, and writes the trace.

**Keys.** A source identifies documents by a key, an int64. Within one view, a key means one document, and a document
has one key. Arrays of keys are (n,) int64.

**Scores.** All similarities are in the direction of `vectors.metrics`, higher is better: the cosine, the dot product,
minus the Euclidean distance. The *true* similarity is the value that `Metric.scores` computes from the stored vector.
"""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from theodolite.analysis.query_terms import Phrase
from theodolite.filters import Filter
from theodolite.protocols import Scope
from theodolite.types import Document, Field, Vectors

Keys = NDArray[np.int64]
Doubles = NDArray[np.float64]


class StaleViewError(Exception):
    """A source cannot answer this call about the commit it has shown so far. The search begins again on a new view."""


@dataclass(frozen=True, slots=True)
class State:
    """The state of the collection in a view.

    Attributes:
        live: the number of documents in the scope; in the collection, without one.
        sequence: the number of the commit, for `Trace.commit`; 0 for stores that do not count commits.
        version: equal for equal contents of the whole collection, and different after every commit: the key of caches.
            It names the collection, too, such as `(uid, sequence)`. None if the store cannot tell: nothing is cached.
    """

    live: int
    sequence: int = 0
    version: Hashable | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Eligible:
    """The documents that a call may return: all conditions hold.

    Attributes:
        scope: the scope of the request; None for the whole collection.
        where: the filter; None for all.
        included: keys, ascending and distinct: only these documents. None for all.
        excluded: keys, ascending and distinct: not these documents. None for no such condition. At most one of
            `included` and `excluded` is given. Version rules give whichever is shorter; it may have millions of keys.
    """

    scope: Scope | None = None
    where: Filter | None = None
    included: Keys | None = None
    excluded: Keys | None = None

    @property
    def is_whole_scope(self) -> bool:
        """Whether all documents of the scope are eligible."""
        return self.where is None and self.included is None and self.excluded is None


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """Eligible documents near a query, in any order, each once.

    Attributes:
        keys: (n,).
        ids: the ids of the documents, n.
        similarities: (n,) float64, as the store computed them.
        errors: (n,) float64, or one number: |similarity - true similarity| is at most this. inf if unknown.
        ceiling: no eligible document that is *not* listed has a true similarity above this. For a list that the store
            has ordered: the lowest listed similarity, plus the error bound of a similarity there. -inf if every
            eligible document is listed; +inf if the list is approximate, so that nothing is known.
        vectors: (n, d) float32, the stored vectors; None if not requested.
        documents: the documents, n; None if not requested.
        proposed: how many documents an approximate index looked at, if it tells; for the trace.
    """

    keys: Keys
    ids: Sequence[str]
    similarities: Doubles
    errors: Doubles | float
    ceiling: float
    vectors: NDArray[np.float32] | None = None
    documents: Sequence[Document] | None = None
    proposed: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class LexicalCandidates:
    """Eligible documents with at least one of the terms, best first.

    Attributes:
        keys: (n,).
        ids: the ids of the documents, n.
        scores: (n,) float64, falling, above 0. Documents with equal terms and lengths have equal scores.
        exhausted: whether every eligible document with a term is listed. Otherwise the others score at most
            `scores[-1]`.
        known: whether any document of the scope has a term, eligible or not.
    """

    keys: Keys
    ids: Sequence[str]
    scores: Doubles
    exhausted: bool
    known: bool


@dataclass(frozen=True, slots=True, eq=False)
class FieldValues:
    """The values of some fields in some documents.

    Attributes:
        keys: (n,).
        values: by field name, n values: the stored values as Python has them, as `filters.lookup` finds them; MISSING
            where a document has none. Lists and mappings are complete.
    """

    keys: Keys
    values: Mapping[str, Sequence[Any]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class UnreadableDates:
    """Strings in a field that look like dates but are not (`filters.dates.is_unreadable`).

    Attributes:
        count: how many documents have one.
        total: how many documents have the field.
        example: one of the strings.
    """

    count: int
    total: int
    example: str


class Source(Protocol):
    """One view of a store: all answers are about the same commit.

    The methods are called from one thread, in any order and any number of times. They raise the errors of an engine
    (EngineError and so on), and UnsupportedError for a filter that the store cannot evaluate. A scope's documents alone
    decide all results: documents outside do not exist.
    """

    @property
    def limit(self) -> int | None:
        """The largest n that `nearest` and `lexical` take; None without a limit."""
        ...

    def state(self, scope: Scope | None) -> State:
        """Return the state of the collection in this view."""
        ...

    def count(self, eligible: Eligible) -> int:
        """Count the eligible documents. Worth caching by `State.version`: it is called for most searches."""
        ...

    def keys(self, eligible: Eligible) -> Keys:
        """Return the keys of all eligible documents, in any order."""
        ...

    def first_id(self, eligible: Eligible) -> str:
        """Return the id of an eligible document, the same one each time. There is at least one."""
        ...

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
        """Return about n documents near each query, (queries, d).

        Fewer than n only if no more are eligible, or if the list is approximate. More are allowed.

        Args:
            n: at least 1. Plain searches request slightly more than k.
            exact: list the documents with the n highest similarities, up to the error bounds. Otherwise the store may
                use an approximate index, if it has one; it then sets `ceiling` to +inf.
            probe: see `Request.probe`.
            with_vectors: return the stored vectors. Without them, large n must be cheap: boosts request thousands.
            with_documents: return the documents, too, in the same call to the server.
        """
        ...

    def lexical(self, phrases: Mapping[Phrase, float], n: int, eligible: Eligible) -> LexicalCandidates:
        """Return the n documents with the highest lexical scores, plus all that tie with the last one if possible.

        Statistics (how many documents have a term, the mean length) are those of the scope, so that nothing is learned
        of other documents.

        Args:
            phrases: terms as `analysis.query_terms.Tokenizer` makes them from texts prepared by
                `analysis.unspaced_scripts`, with their weights. Several terms must follow one another. A single letter
                of a script without spaces (`unspaced_scripts.is_letter`) stands for every term that begins with it.
        """
        ...

    def vectors(self, keys: Keys) -> NDArray[np.float32]:
        """Return the stored vectors, (n, d), in the order of `keys`, all of which exist."""
        ...

    def documents(self, keys: Keys) -> list[Document]:
        """Return the documents, in the order of `keys`, all of which exist."""
        ...

    def values(self, keys: Keys, fields: Sequence[str]) -> FieldValues:
        """Return the values of some fields, in the order of `keys`. Boosts read them, for thousands of keys."""
        ...

    def scan(self, eligible: Eligible, fields: Sequence[str]) -> Iterator[FieldValues]:
        """Yield the values of some fields of all eligible documents, in pages, in any order. Version rules read them.

        The results are kept by `State.version`, so a collection is scanned once per commit, rules and scope filter.
        """
        ...

    def summaries(self, scope: Scope | None, fields: Sequence[str]) -> Mapping[str, Field]:
        """Return the kinds of values (`Field.count`, `kinds` and `elements`) of those fields that documents have.

        It is called if a filter matches nothing, to say why.
        """
        ...

    def sample_names(self, scope: Scope | None) -> set[str]:
        """Return the dotted field names of a sample of the documents, to suggest one for a misspelled name."""
        ...

    def unreadable_dates(self, scope: Scope | None, fields: Sequence[str]) -> Mapping[str, UnreadableDates]:
        """Return the fields that have unreadable dates, of the given ones. Worth caching: date filters call it.

        A store that would have to read every document remembers, when it writes a document, which fields have them.
        """
        ...


class OpenView(Protocol):
    """Opens views of a store."""

    def __call__(self, *, lasting: bool) -> AbstractContextManager[Source]:
        """Return a context manager that yields a view.

        Args:
            lasting: whether the search needs several calls, such as REPEATABLE READ gives. If False, the search expects
                one call of `nearest` (with documents) to be enough. The source may then remember the state that the
                same statement has read, and answer `state` and `count` from it and from caches. For a call that it
                cannot answer about the same commit it raises StaleViewError; the search then opens a lasting view.
        """
        ...
