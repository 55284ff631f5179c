"""Why not: the reasons why a search does not find a document, in the order of the search's stages.

Conditions come first: whether the document is stored in the scope, is current, and passes the filter. They are asked
of the document alone, and all that fail are named. A document that meets them has a rank. The stages are then taken
off, and the reason is the first stage from which on the document is no longer among the k best.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from theodolite.errors import ConfigError
from theodolite.evaluation.lists import Collection
from theodolite.evaluation.sides import Side
from theodolite.filters import And, Filter, Ids, In, lookup, matches
from theodolite.filters.tree import fields as fields_of
from theodolite.filters.tree import to_dict
from theodolite.filters.values import MISSING
from theodolite.metadata import as_json
from theodolite.protocols import Engine, Request, Scope
from theodolite.ranking.options import SearchOptions
from theodolite.ranking.versions import Latest, Superseded, Valid, Versions
from theodolite.types import Document, Hits, VectorLike, Vectors, Version

DEEPEST = 10_000
"""Ranks beyond this one are not looked for."""

_STEP = 8  # the factor by which lists become longer until the document is among them
_SUCCESSORS = 5  # documents named that replace another

Kind = Literal[
    "absent",
    "asked",
    "version",
    "filter",
    "accept",
    "words",
    "threshold",
    "rank",
    "index",
    "boost",
    "rerank",
    "duplicate",
    "diversity",
]
"""`absent`: not stored in the collection or scope. `asked`: one of the documents to search by. `version`: not current.
`filter`, `accept`: a condition of the search fails. `words`: no word of the query is in its text. `threshold`: below
`min_relevance`. `rank`: k others are better before any further stage. The others: the stage that moved it out of the
list."""


@dataclass(frozen=True, slots=True)
class Reason:
    """One reason why a search does not find a document.

    Attributes:
        kind: see `Kind`.
        message: the reason in words.
        condition: the part of the filter that fails, as a dictionary (`filter`).
        values: the document's values of the fields in the condition; fields that it lacks are left out.
        documents: ids of the documents that stand in its place: newer versions, or the near-duplicate that was kept.
        rank, score: its place and score where the reason acts; None where it has none, or the rank is beyond `DEEPEST`.
        limit: what the score would have to reach: that of the last hit, or `min_relevance`.
    """

    kind: Kind
    message: str
    condition: Mapping[str, Any] | None = None
    values: Mapping[str, Any] | None = None
    documents: tuple[str, ...] = ()
    rank: int | None = None
    score: float | None = None
    limit: float | None = None


@dataclass(frozen=True, slots=True)
class WhyNot:
    """Why a search does not find a document: `print` it, or use `to_dict()`.

    Attributes:
        id: the document.
        rank: its place in the list, if the search finds it after all.
        reasons: the conditions that it does not meet, or else the one stage that keeps it out; empty if it is found.
    """

    id: str
    rank: int | None
    reasons: tuple[Reason, ...]

    @property
    def found(self) -> bool:
        """Whether the search finds the document."""
        return self.rank is not None

    def __str__(self) -> str:
        if self.rank is not None:
            return f"{self.id} is found, at rank {self.rank}"
        return "\n".join([f"{self.id} is not found:", *(f"  {each.kind}: {each.message}" for each in self.reasons)])

    def to_dict(self) -> dict[str, Any]:
        """Return the same as JSON values, dates as ISO-8601 strings."""
        reasons = [as_json(asdict(each)) for each in self.reasons]
        return {"id": self.id, "found": self.found, "rank": self.rank, "reasons": reasons}


def why_not(
    collection: Collection,
    name: str,
    options: SearchOptions,
    query: str | None = None,
    vector: VectorLike | None = None,
    like: str | Iterable[str] | None = None,
) -> WhyNot:
    """Search, and say why a document is not among the hits. See `Retriever.why_not`."""
    if options.coverage is not None:
        raise ConfigError("why_not explains lists of k hits, and coverage= has lists of any length: pass k= instead")
    side = Side("the search", collection, options)
    hits = side.ask(query, vector, like)
    rank = next((hit.rank for hit in hits if hit.document.id == name), None)
    if rank is not None:
        return WhyNot(name, rank, ())
    return WhyNot(name, None, tuple(_Search(collection, side, hits).reasons(name)))


class _Search:
    """A search that has not found a document."""

    def __init__(self, collection: Collection, side: Side, hits: Hits) -> None:
        self._engine, self._scope = collection.engine, collection.scope
        self._side, self._options, self._hits = side, side.options, hits

    def reasons(self, name: str) -> Iterator[Reason]:
        """Yield the reasons."""
        stored = self._engine.get([name], scope=self._scope) if self._side.space.dimension is not None else []
        if not stored:
            place = "collection" if self._scope is None else "scope"
            yield Reason("absent", f"the {place} has no document with this id")
            return
        ((document, vector),) = stored
        if name in self._side.left_out:
            yield Reason("asked", "the search is by this document, so it is no answer to it")
            return
        failed = [*self._version(document, vector), *self._conditions(document)]
        if failed and not self._may_substitute(failed):
            yield from failed
            return
        first = self._first(name)
        if first is None and failed:
            yield from failed
            return
        yield self._ranked(document, first)

    def _may_substitute(self, failed: list[Reason]) -> bool:
        """Whether a document that fails the filter may be found in place of one that passes it."""
        return self._options.superseded == "substitute" and all(each.kind == "filter" for each in failed)

    # ----- conditions

    def _version(self, document: Document, vector: NDArray[np.float32]) -> Iterator[Reason]:
        """Yield the reason if version rules leave the document out."""
        request = self._side.request
        if request is None or request.versions is None:
            return
        status = version_status(self._engine, self._scope, request.versions, document, vector)
        if not status.begun:
            yield Reason("version", "it has not begun yet: its date lies after the search's present")
            return
        version = status.version
        if version is None or version.current or request.versions.superseded == "show":
            return
        if version.ended:
            ends = [rule.end for rule in request.versions.rules if isinstance(rule, Valid) and rule.end is not None]
            at = ", ".join(f"{end} is {as_json(lookup(document.metadata, end))}" for end in ends)
            yield Reason("version", f"its period is over: {at}", documents=status.newer)
            return
        by = f" by {', '.join(map(repr, status.newer))}" if status.newer else ""
        keys = ", ".join(str(as_json(key)) for key in version.successors)
        yield Reason("version", f"it is replaced{by}{f' ({keys})' if keys else ''}", documents=status.newer)

    def _conditions(self, document: Document) -> Iterator[Reason]:
        """Yield the parts of the filter that the document does not pass."""
        for part in _parts(self._options.where):
            if matches(part, document.metadata, document.id):
                continue
            found = {field: lookup(document.metadata, field) for field in sorted(fields_of(part))}
            values = {field: as_json(value) for field, value in found.items() if value is not MISSING}
            told = ", ".join(
                f"{field} is {values[field]!r:.80}" if field in values else f"it has no {field}" for field in found
            )
            message = f"it does not pass {_shown(to_dict(part))}" + (f": {told}" if told else "")
            yield Reason("filter", message, to_dict(part), values)
        if self._options.accept is not None and not self._options.accept(document):
            yield Reason("accept", "the function `accept` refuses it")

    # ----- ranks

    @cached_property
    def _bare(self) -> SearchOptions:
        """The options without the stages that can be taken off."""
        return replace(self._options, boosts=(), min_relevance=None, rerank=None, diversity=None, dedupe=None)

    @cached_property
    def _deepest(self) -> int:
        """The longest list to look at. A longer one of a hybrid search has more of each arm, and other ranks."""
        options = self._options
        return max(options.candidates, options.fusion.depth) if options.arms == "hybrid" else DEEPEST

    def _first(self, name: str) -> "_Place | None":
        """Return the place in the list before all stages that can be taken off."""
        length = min(max(self._options.k * _STEP, 100), self._deepest)
        while True:
            place, count = self._place(self._bare, name, length, exact=True)
            if place is not None or count < length or length == self._deepest:
                return place
            length = min(length * _STEP, self._deepest)

    def _place(
        self, options: SearchOptions, name: str, length: int, *, exact: bool = False
    ) -> "tuple[_Place | None, int]":
        """Return the document's place in a list of some length, and how many hits the list has."""
        hits = self._side.search_again(replace(options, k=length), [0], exact=exact)[0]
        shown = hits[: self._options.k]
        last = shown[-1].score if shown else None
        places = (_Place(hit.rank, hit.score, last) for hit in hits if hit.document.id == name)
        return next(places, None), len(hits)

    def _ranked(self, document: Document, first: "_Place | None") -> Reason:
        """Return the stage that keeps a document out of the list, which meets all conditions."""
        options, name = self._options, document.id
        kept = next((hit for hit in self._hits if any(each.document.id == name for each in hit.duplicates)), None)
        if kept is not None:
            message = f"it is a near-duplicate of {kept.document.id!r}, which stands for it at rank {kept.rank}"
            return Reason("duplicate", message, documents=(kept.document.id,))
        if options.arms == "lexical" and first is None and not self._has_words(document):
            return Reason("words", "its text has no word of the query")
        if (limit := options.min_relevance) is not None:
            relevance = self._relevance(document)
            if relevance is not None and relevance < limit:
                message = f"its relevance of {relevance:.3g} is below the threshold of {limit:g}"
                return Reason("threshold", message, rank=_rank(first), score=relevance, limit=limit)
        stages = list(self._stages(name, first))
        at = len(stages) - 1
        while at > 0 and not self._is_shown(stages[at - 1][1]):
            at -= 1
        kind, place = stages[at]
        return Reason(
            kind,
            self._in_words(kind, stages),
            rank=_rank(place),
            score=None if place is None else place.score,
            limit=None if place is None else place.last,
        )

    def _stages(self, name: str, first: "_Place | None") -> "Iterator[tuple[Kind, _Place | None]]":
        """Yield the place of the document after each stage that the search has."""
        options, so_far = self._options, self._bare
        yield "rank", first
        length = max(options.candidates, options.k * 2, 0 if first is None else first.rank)
        if not self._hits.trace.complete:
            yield "index", self._place(so_far, name, length)[0]
        if options.boosts:
            so_far = replace(so_far, boosts=options.boosts)
            yield "boost", self._place(so_far, name, length)[0]
        if options.rerank is not None:
            length = max(options.rerank.candidates, options.k)  # a longer list would make it read more
            so_far = replace(so_far, rerank=options.rerank)
            yield "rerank", self._place(so_far, name, length)[0]
        if options.dedupe is not None:
            so_far = replace(so_far, dedupe=options.dedupe)
            yield "duplicate", self._place(so_far, name, length)[0]
        if options.diversity is not None:
            yield "diversity", None

    def _is_shown(self, place: "_Place | None") -> bool:
        return place is not None and place.rank <= self._options.k

    def _in_words(self, kind: Kind, stages: "list[tuple[Kind, _Place | None]]") -> str:
        """Return the document's way through the stages, with the one that decides named first."""
        way = []
        for stage, place in stages:
            if stage == "diversity":
                continue
            where = "not among the candidates" if place is None else f"rank {place.rank:,}"
            if place is None and stage == "rank":
                where = f"not among the first {self._deepest:,}"
            way.append(f"{_AFTER[stage].format(self._options.arms)} {where}")
        place = dict(stages)[kind]
        scores = ""
        if place is not None and place.last is not None:
            scores = f"; its score is {place.score:.4g}, that of the last hit {place.last:.4g}"
        return f"{_SAYS[kind].format(self._options.k)}: {', '.join(way)}{scores}"

    def _has_words(self, document: Document) -> bool:
        """Return whether the document has words of the query."""
        request = self._side.request
        if request is None:
            return False
        narrow = replace(
            request, mode="lexical", k=1, where=Ids(frozenset([document.id])), versions=None, boosts=(), relevance=None
        )
        (answer,) = self._engine.search(replace(narrow, vectors=Vectors(request.vectors[:1, :0]), with_vectors=False))
        return bool(answer.documents)

    def _relevance(self, document: Document) -> float | None:
        """Return the document's relevance to the query, as `min_relevance` compares it."""
        request = self._side.request
        if request is None or request.relevance is None:
            return None
        narrow = replace(
            request, k=1, where=Ids(frozenset([document.id])), versions=None, boosts=(), min_relevance=None, exact=True
        )
        (answer,) = self._engine.search(replace(narrow, relevance=None, with_vectors=False))
        return float(request.relevance.of_hits(answer.similarities)[0]) if answer.documents else None


@dataclass(frozen=True, slots=True)
class VersionStatus:
    """How version rules judge a document.

    Attributes:
        version: as of a hit; None if it is simply current.
        begun: whether it has begun; else it does not exist yet.
        newer: ids of stored documents that replace it.
    """

    version: Version | None = None
    begun: bool = True
    newer: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Place:
    """A document's place in a list, and the score of the last hit that would be shown."""

    rank: int
    score: float
    last: float | None


_SAYS: Mapping[str, str] = {
    "rank": "not among the first {}",
    "index": "the approximate index misses it, exact search finds it",
    "boost": "the boosts move it below the first {}",
    "rerank": "the reranker moves it below the first {}",
    "duplicate": "leaving out near-duplicates moves it below the first {}",
    "diversity": "it is too similar to hits before it",
}
"""The deciding stage or condition, by the kind of reason."""

_AFTER: Mapping[str, str] = {
    "rank": "by {} search",
    "index": "with the index",
    "boost": "with boosts",
    "rerank": "after reranking",
    "duplicate": "without near-duplicates",
}
"""The stage after which a place is given."""


def version_status(
    engine: Engine, scope: Scope | None, versions: Versions, document: Document, vector: NDArray[np.float32]
) -> VersionStatus:
    """Return how version rules judge a stored document."""
    shown = replace(versions, superseded="show")
    alone = Ids(frozenset([document.id]))
    one = Request(Vectors(vector.reshape(1, -1)), 1, alone, scope, exact=True, probe=True, versions=shown)
    (answer,) = engine.search(one)
    if not answer.documents:
        return VersionStatus(begun=False)
    version = answer.versions[0] if answer.versions else None
    if version is None:
        return VersionStatus()
    found: dict[str, None] = {}
    for rule in versions.rules if version.successors else ():
        match rule:
            case Latest(per=per, by=by):
                tree: Filter = And((In(per, (lookup(document.metadata, per),)), In(by, version.successors)))
            case Superseded(key=key):
                tree = In(key, version.successors)
            case _:
                continue
        several = engine.documents(tree, limit=_SUCCESSORS, scope=scope)
        found |= dict.fromkeys(other.id for other, _ in several if other.id != document.id)
    return VersionStatus(version, newer=tuple(found)[:_SUCCESSORS])


def _rank(place: _Place | None) -> int | None:
    return None if place is None else place.rank


def _parts(tree: Filter | None) -> Iterator[Filter]:
    """Yield the conditions that a filter joins with "and"."""
    if isinstance(tree, And):
        for part in tree.parts:
            yield from _parts(part)
    elif tree is not None:
        yield tree


def _shown(condition: Mapping[str, Any]) -> str:
    text = repr(dict(condition))
    return text if len(text) <= 200 else f"{text[:199]}…"
