"""One side of a comparison: a collection with search options, its lists, and what it knows about single documents."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from theodolite.analysis.bm25 import BM25
from theodolite.errors import InputError
from theodolite.evaluation.lists import Collection
from theodolite.evaluation.questions import Questions
from theodolite.filters import Ids, matches
from theodolite.protocols import Request
from theodolite.ranking.options import SearchOptions
from theodolite.settings import DEFAULT_BM25
from theodolite.types import Document, Hits, Space, VectorLike, Vectors

if TYPE_CHECKING:  # a layer above; it is passed in
    from theodolite.searcher import Prepared

Stored = tuple[Document, NDArray[np.float32]]
"""A document with its stored vector, (d,)."""


class Side:
    """One side of a comparison.

    Attributes:
        name: A or B.
        options: the options of its searches.
        space: the collection's space.
        bm25: the settings of its lexical search.
        count: how many documents it has.
    """

    def __init__(self, name: str, collection: Collection, options: SearchOptions) -> None:
        """
        Raises:
            InputError: its documents cannot be told apart by their ids.
        """
        engine, scope = collection.engine, collection.scope
        if engine.partition is not None and (scope is None or scope.partition is None):
            raise InputError(
                f"{name} is partitioned by {engine.partition!r}, so an id may name several documents. Compare one "
                f"partition: pass kb.scoped({engine.partition}=...)"
            )
        self.name, self.options = name, options
        self.space: Space = engine.space
        self.bm25: BM25 = getattr(engine, "bm25", DEFAULT_BM25)
        self._collection = collection
        self._prepared: Prepared | None = None
        self.count = engine.count(scope=scope)
        info = engine.info()
        self._origin = getattr(engine, "uid", None)
        self._commits = info.get("commits")
        self._location = info.get("location")

    def __str__(self) -> str:
        place = self._location or "a collection in memory"
        noun = "document" if self.count == 1 else "documents"
        scoped = "" if self._collection.scope is None else " in the scope"
        return f"{place}, {self.count:,} {noun}{scoped}, {self.space.metric}, {self.options.arms} search"

    @property
    def conditions(self) -> tuple[Any, ...]:
        """The conditions that documents must meet: the filter, that of the scope, and `accept`."""
        scope = self._collection.scope
        return self.options.where, None if scope is None else scope.where, self.options.accept

    @property
    def request(self) -> Request | None:
        """The request of the searches; None before the first one, and in a collection without documents."""
        return None if self._prepared is None else self._prepared.request

    @property
    def left_out(self) -> frozenset[str]:
        """The documents to search by, which are no hits."""
        return frozenset() if self._prepared is None else self._prepared.leave_out

    @property
    def has_rules(self) -> bool:
        """Whether version rules leave documents out."""
        request = self.request
        return request is not None and request.versions is not None and request.versions.superseded != "show"

    @property
    def rules(self) -> tuple[Any, ...]:
        """How versions are judged: the rules, the present, and what happens to documents that are not current."""
        request = self.request
        versions = None if request is None else request.versions
        return () if versions is None else (versions.rules, versions.superseded, self.options.as_of)

    def is_behind(self, other: "Side") -> bool:
        """Return whether the other is a copy of this collection with more commits."""
        return (
            self._origin is not None
            and self._origin == other._origin
            and self._commits is not None
            and other._commits is not None
            and self._commits < other._commits
        )

    def search(self, questions: Questions) -> list[Hits]:
        """Search for some questions. Later calls name them by position."""
        options, searcher = self.options, self._collection.searcher
        texts = questions.texts if options.reads_text or questions.vectors is None else None
        vectors = None if options.arms == "lexical" else questions.vectors
        self._prepared = searcher.prepare(options, texts, vectors, self._collection.scope, probe=True)
        return searcher.run(options, self._prepared)

    def ask(self, query: str | None, vector: VectorLike | None, like: str | Iterable[str] | None) -> Hits:
        """Search for one query: a text, a vector, or ids of documents to search by. Later calls name it 0."""
        searcher, scope = self._collection.searcher, self._collection.scope
        self._prepared = searcher.prepare_one(self.options, query, vector, like, scope, probe=True)
        return searcher.run(self.options, self._prepared)[0]

    def search_again(self, options: SearchOptions, numbers: Sequence[int], *, exact: bool = False) -> list[Hits]:
        """Search for some of the questions with other options of the same mode and versions."""
        assert self._prepared is not None  # noqa: S101  # after search()
        prepared = self._collection.searcher.some_of(self._prepared, options, numbers)
        return self._collection.searcher.run(options, prepared.exactly() if exact else prepared)

    def vector(self, number: int) -> NDArray[np.float32] | None:
        """Return a question's vector as it is compared, (d,); None in lexical mode and in an empty collection."""
        request = self.request
        return None if request is None or self.options.arms == "lexical" else request.vectors[number]

    def stored(self, ids: Iterable[str]) -> dict[str, Stored]:
        """Return documents by id, whatever the filter of the scope says."""
        scope = self._collection.scope
        whole = None if scope is None else replace(scope, where=None)
        found = self._collection.engine.get(list(ids), scope=whole) if self.space.dimension is not None else []
        return {document.id: (document, vector) for document, vector in found}

    def passes(self, document: Document) -> bool:
        """Return whether a document passes the filters of options and scope."""
        where, scoped, accept = self.conditions
        return (
            matches(where, document.metadata, document.id)
            and matches(scoped, document.metadata, document.id)
            and (accept is None or bool(accept(document)))
        )

    def current(self, number: int, ids: Iterable[str]) -> set[str]:
        """Return which of the documents version rules let a question find."""
        names = frozenset(ids)
        request = self.request
        if request is None or request.versions is None or not names:
            return set(names)
        narrow = replace(
            request,
            vectors=Vectors(request.vectors[number : number + 1]),
            texts=request.texts[number : number + 1],
            k=len(names),
            where=Ids(names),
            boosts=(),
            exact=True,
            min_relevance=None,
            versions=replace(request.versions, superseded="hide"),
        )
        (answer,) = self._collection.engine.search(narrow)
        return {document.id for document in answer.documents}


def differing_fields(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Return the names of metadata fields whose values differ."""
    return sorted(
        name for name in one.keys() | other.keys() if name not in one or name not in other or one[name] != other[name]
    )
