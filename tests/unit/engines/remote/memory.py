"""An engine in memory whose searches run over a `Source`, with the faults that real stores have."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from theodolite.analysis.bm25 import BM25
from theodolite.analysis.query_terms import Phrase, Tokenizer
from theodolite.analysis.unspaced_scripts import is_letter, prepare_text
from theodolite.engines.remote.search import RemoteSearch
from theodolite.engines.remote.source import (
    Candidates,
    Eligible,
    FieldValues,
    Keys,
    LexicalCandidates,
    StaleViewError,
    State,
    UnreadableDates,
)
from theodolite.filters import MISSING, Filter, lookup, matches
from theodolite.filters.dates import is_unreadable
from theodolite.filters.summary import names, summarize_documents
from theodolite.metadata import decode
from theodolite.protocols import Answer, Request, Scope
from theodolite.scopes import within
from theodolite.settings import DEFAULT_BM25, CollectionSettings
from theodolite.testing import DictEngine
from theodolite.testing.dict_engine import Contents, Stored
from theodolite.types import Document, Field, Vectors
from theodolite.vectors.metrics import get_metric

UNIT = 2.0**-24  # half the distance of 1 to the next float32


@dataclass(frozen=True)
class Traits:
    """How a store lists documents.

    Attributes:
        noise: added to similarities, at most this share of |query| × |vector|.
        found: the share of documents that its approximate index finds; 1 for no index.
        short: the most documents that the index lists.
        page: documents on a page of `scan`.
        limit: the most documents that one list has.
        forgets: whether a view that is not lasting answers nothing but one list.
    """

    noise: float = 0.0
    found: float = 1.0
    short: int = 1 << 30
    page: int = 1 << 30
    limit: int | None = None
    forgets: bool = False


class Commit:
    """The documents of one commit, read once for all views."""

    tokenizer = Tokenizer()

    def __init__(self, stored: Mapping[tuple[str, str], Stored], partition: str | None, number: int) -> None:
        rows = sorted(stored.items())
        self.stored, self.partition, self.number = stored, partition, number
        self.documents = [Document(kept.text, decode(kept.metadata), key[0]) for key, kept in rows]
        # Keys are in no order, and neighbors lie far apart.
        self.keys = (np.arange(len(rows), dtype=np.int64) * 7919 + 11) % 10_000_019
        self.place_of = {key: place for place, key in enumerate(self.keys.tolist())}
        self.matrix = np.array([kept.vector for _, kept in rows], np.float32)
        self._passing: dict[str, NDArray[np.int64]] = {}

    @cached_property
    def terms(self) -> list[list[str]]:
        return self.tokenizer.terms([prepare_text(document.text) for document in self.documents])

    def passing(self, scope: Scope | None, where: Filter | None) -> NDArray[np.int64]:
        """Return the places of the documents in a scope that pass a filter."""
        key = repr((scope, where))
        if key not in self._passing:
            tree = within(scope, self.partition, where)
            found = [place for place, one in enumerate(self.documents) if matches(tree, one.metadata, one.id)]
            self._passing[key] = np.array(found, np.int64)
        return self._passing[key]


class MemorySource:
    """One view of a collection in a dictionary. Similarities are computed in float32, as many servers do."""

    def __init__(
        self, commit: Commit, metric: str, traits: Traits, *, bm25: BM25 = DEFAULT_BM25, lasting: bool = True
    ) -> None:
        self._commit = commit
        self._metric = get_metric(metric)
        self._traits = traits
        self._bm25 = bm25
        self._forgets = traits.forgets and not lasting
        self._keys, self._documents, self._matrix = commit.keys, commit.documents, commit.matrix
        self._place_of = commit.place_of
        self.calls: list[tuple[str, int]] = []
        self.asked: list[Eligible] = []
        self.scanned = 0

    @property
    def limit(self) -> int | None:
        return self._traits.limit

    def state(self, scope: Scope | None) -> State:
        return State(self.count(Eligible(scope)), self._commit.number, ("memory", self._commit.number))

    def count(self, eligible: Eligible) -> int:
        return len(self._places(eligible))

    def keys(self, eligible: Eligible) -> Keys:
        self._check_lasting()
        return self._keys[self._places(eligible)]

    def first_id(self, eligible: Eligible) -> str:
        return self._documents[int(self._places(eligible)[0])].id

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
        assert self.limit is None or n <= self.limit
        self.calls.append(("exact" if exact else "nearest", n))
        self.asked.append(eligible)
        return [self._nearest(query, n, eligible, exact, with_vectors, with_documents) for query in queries]

    def _nearest(
        self,
        query: NDArray[np.float32],
        n: int,
        eligible: Eligible,
        exact: bool,
        with_vectors: bool,
        with_documents: bool,
    ) -> Candidates:
        places = self._places(eligible)
        matrix = self._matrix[places].reshape(len(places), len(query))
        products = matrix @ query
        sizes = np.linalg.norm(matrix.astype(np.float64), axis=1) * np.linalg.norm(query.astype(np.float64))
        if self._metric.by_distance:
            differences = matrix - query
            products = -np.sqrt((differences * differences).sum(axis=1, dtype=np.float32))
            sizes = np.abs(products).astype(np.float64)
        noise = self._traits.noise
        draw = np.random.default_rng(len(places))
        similarities = products.astype(np.float64) + draw.uniform(-noise, noise, len(places)) * sizes
        errors = (noise * (1 + 1e-9) + (len(query) + 4) * UNIT) * sizes + 1e-30
        order = np.argsort(-similarities, kind="stable")
        approximate = not exact and self._traits.found < 1
        if approximate:
            order = order[draw.random(len(order)) < self._traits.found][: self._traits.short]
        listed = order[:n]
        others = order[n:] if not approximate else order[:0]
        ceiling = np.inf if approximate else float((similarities[others] + errors[others]).max(initial=-np.inf))
        draw.shuffle(listed)
        return Candidates(
            self._keys[places[listed]],
            [self._documents[place].id for place in places[listed].tolist()],
            similarities[listed],
            errors[listed],
            ceiling,
            matrix[listed] if with_vectors else None,
            [deepcopy(self._documents[place]) for place in places[listed].tolist()] if with_documents else None,
            len(listed) if approximate else 0,
        )

    def lexical(self, phrases: Mapping[Phrase, float], n: int, eligible: Eligible) -> LexicalCandidates:
        self._check_lasting()
        inside = self._places(Eligible(eligible.scope))
        terms = [self._commit.terms[place] for place in inside.tolist()]
        lengths = np.array(list(map(len, terms)), np.int32)
        scores = np.zeros(len(inside))
        for phrase, weight in phrases.items():
            counts = np.array([_count(phrase, words) for words in terms], np.int64)
            holding = np.flatnonzero(counts)
            if len(holding):
                mean = int(lengths.sum()) / len(inside)
                scores[holding] += self._bm25.term_scores(weight, len(inside), mean, counts[holding], lengths[holding])
        chosen = np.isin(inside, self._places(eligible)) & (scores > 0)
        places, found = inside[chosen], scores[chosen]
        order = np.argsort(-found, kind="stable")
        listed = order[:n]
        return LexicalCandidates(
            self._keys[places[listed]],
            [self._documents[place].id for place in places[listed].tolist()],
            found[listed],
            len(listed) == len(order),
            bool(scores.any()),
        )

    def vectors(self, keys: Keys) -> NDArray[np.float32]:
        self._check_lasting()
        return self._matrix[np.array([self._place_of[key] for key in keys.tolist()], np.int64)]

    def documents(self, keys: Keys) -> list[Document]:
        self._check_lasting()
        return [deepcopy(self._documents[self._place_of[key]]) for key in keys.tolist()]

    def values(self, keys: Keys, fields: Sequence[str]) -> FieldValues:
        self._check_lasting()
        metadata = [self._documents[self._place_of[key]].metadata for key in keys.tolist()]
        return FieldValues(keys, {name: [lookup(each, name) for each in metadata] for name in fields})

    def scan(self, eligible: Eligible, fields: Sequence[str]) -> Iterator[FieldValues]:
        keys = self.keys(eligible)
        self.scanned += 1
        for start in range(0, len(keys), self._traits.page):
            yield self.values(keys[start : start + self._traits.page], fields)

    def summaries(self, scope: Scope | None, fields: Sequence[str]) -> Mapping[str, Field]:
        self._check_lasting()
        summary = summarize_documents(self._metadata(scope), 0)
        return {name: field for name, field in summary.items() if name in fields}

    def sample_names(self, scope: Scope | None) -> set[str]:
        return {name for metadata in self._metadata(scope) for name in names(metadata)}

    def unreadable_dates(self, scope: Scope | None, fields: Sequence[str]) -> Mapping[str, UnreadableDates]:
        self._check_lasting()
        result = {}
        for name in fields:
            values = [lookup(metadata, name) for metadata in self._metadata(scope)]
            unreadable = [value for value in values if isinstance(value, str) and is_unreadable(value)]
            if unreadable:
                total = sum(value is not MISSING for value in values)
                result[name] = UnreadableDates(len(unreadable), total, unreadable[0])
        return result

    def _check_lasting(self) -> None:
        if self._forgets:
            raise StaleViewError

    def _metadata(self, scope: Scope | None) -> list[Mapping[str, Any]]:
        return [self._documents[place].metadata for place in self._places(Eligible(scope)).tolist()]

    def _places(self, eligible: Eligible) -> NDArray[np.int64]:
        places = self._commit.passing(eligible.scope, eligible.where)
        if eligible.included is not None:
            places = places[np.isin(self._keys[places], eligible.included)]
        if eligible.excluded is not None:
            places = places[~np.isin(self._keys[places], eligible.excluded)]
        return places


def _count(phrase: Phrase, words: Sequence[str]) -> int:
    """Count how often a phrase occurs among the words of a document."""
    if len(phrase) == 1:
        term = phrase[0]
        return sum(word.startswith(term) for word in words) if is_letter(term) else words.count(term)
    return sum(tuple(words[at : at + len(phrase)]) == phrase for at in range(len(words)))


class MemoryEngine(DictEngine):
    """A DictEngine that searches with `RemoteSearch`."""

    traits = Traits()

    def __init__(self, contents: Contents, *args: Any, **options: Any) -> None:
        super().__init__(contents, *args, **options)
        self._commit: Commit | None = None
        self.sources: list[MemorySource] = []
        self._remote = RemoteSearch(self._view, self.space.metric, self.partition)

    def search(self, request: Request) -> list[Answer]:
        return self._remote.search(request)

    @contextmanager
    def _view(self, *, lasting: bool) -> Iterator[MemorySource]:
        stored = self._check_open()
        commit = self._commit
        if commit is None or commit.stored is not stored:
            number = 1 if commit is None else commit.number + 1
            self._commit = commit = Commit(stored, self.partition, number)
        source = MemorySource(commit, self.space.metric, self.traits, bm25=self.bm25, lasting=lasting)
        self.sources = [*self.sources[-9:], source]
        yield source


def open_memory(settings: CollectionSettings, traits: Traits = Traits()) -> MemoryEngine:
    """Return a new, empty engine."""
    engine = MemoryEngine.open(None, settings)
    assert isinstance(engine, MemoryEngine)
    engine.traits = traits
    return engine
