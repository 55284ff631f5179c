"""A Milvus collection as a `Source`: expressions where they are exact, everything else evaluated here.

Milvus has no snapshots. A view that needs several calls may see writes that happen between them. A plain search without
a filter that has to be evaluated here is one call, which sees the collection as of one moment.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from theodolite.analysis.query_terms import Phrase
from theodolite.engines.milvus.conditions import (
    FALSE,
    MAX_TOKENS,
    TRUE,
    Condition,
    all_of,
    any_of,
    compile_filter,
    has_token,
    negated,
)
from theodolite.engines.milvus.indexes import FLAT, IndexSetting
from theodolite.engines.milvus.rows import compare_all, document_of, read_pages
from theodolite.engines.milvus.schema import id_of, metric_type
from theodolite.engines.milvus.server import MAX_LISTED, MilvusServer, Row
from theodolite.engines.remote.field_tokens import (
    KINDS,
    element_kind_token,
    exists_tokens,
    kind_token,
    unreadable_token,
)
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
from theodolite.errors import EngineError, UnsupportedError
from theodolite.filters import Filter, lookup, matches
from theodolite.filters.summary import names
from theodolite.metadata import stored_metadata
from theodolite.protocols import Scope
from theodolite.scopes import key_of, within
from theodolite.types import Document, Field, Space, Vectors
from theodolite.vectors.metrics import get_metric

MAX_EVALUATED = 50_000
"""Maximum number of documents to evaluate a filter on here."""

_UNIT = 2.0**-24  # half the distance of 1 to the next float32
_SAMPLE = 500
_KEYS = 1000  # per call
_LARGEST_UNIT = 1.03  # vectors called unit have norms up to 1.02


@dataclass
class LargestNorm:
    """An upper bound of the norms of all vectors that searches have found."""

    largest: float = 1.0


class MilvusSource:
    """One view of a collection (see `remote.source.Source`).

    Args:
        index: the index on the vectors.
        norms: shared by the views of an open collection.
    """

    def __init__(
        self,
        server: MilvusServer,
        collection: str,
        space: Space,
        partition: str | None,
        index: IndexSetting,
        norms: LargestNorm,
    ) -> None:
        self._server = server
        self._collection = collection
        self._space = space
        self._metric = get_metric(space.metric)
        self._partition = partition
        self._index = index
        self._norms = norms
        self._expressions: dict[tuple[int, int], tuple[Eligible, str]] = {}  # by identity: the objects are kept

    @property
    def limit(self) -> int | None:
        return MAX_LISTED

    def state(self, scope: Scope | None) -> State:
        return State(self.count(Eligible(scope)))

    def count(self, eligible: Eligible) -> int:
        return self._server.count(self._collection, self.expression(eligible))

    def keys(self, eligible: Eligible) -> Keys:
        pages = self._pages(self.expression(eligible), ["key"])
        return np.array([row["key"] for page in pages for row in page], np.int64)

    def first_id(self, eligible: Eligible) -> str:
        (row,) = self._server.query(self._collection, self.expression(eligible), ["pk"], limit=1)
        return id_of(str(row["pk"]))

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
        expression = self.expression(eligible)
        if exact and self._index.name != FLAT:
            return compare_all(self._server, self._collection, self._metric, queries, n, expression)
        fields = ["pk", "key"] + ["vector"] * with_vectors + ["text", "metadata"] * with_documents
        found, largest = self._search(queries, n, expression, fields)
        return [
            self._candidates(query, rows, n, largest, with_vectors, with_documents)
            for query, rows in zip(queries, found, strict=True)
        ]

    def lexical(self, phrases: Mapping[Phrase, float], n: int, eligible: Eligible) -> LexicalCandidates:
        raise UnsupportedError("lexical search is not supported by the engine MilvusEngine")

    def vectors(self, keys: Keys) -> NDArray[np.float32]:
        rows = self._of_keys(keys, ["vector"])
        empty = np.empty((0, self._space.dimension or 1), np.float32)
        return np.array([row["vector"] for row in rows], np.float32) if rows else empty

    def documents(self, keys: Keys) -> list[Document]:
        return [document_of(row) for row in self._of_keys(keys, ["pk", "text", "metadata"])]

    def values(self, keys: Keys, fields: Sequence[str]) -> FieldValues:
        return _field_values(self._of_keys(keys, ["key", "metadata"]), fields)

    def scan(self, eligible: Eligible, fields: Sequence[str]) -> Iterator[FieldValues]:
        for page in self._pages(self.expression(eligible), ["key", "metadata"]):
            yield _field_values(page, fields)

    def summaries(self, scope: Scope | None, fields: Sequence[str]) -> Mapping[str, Field]:
        summaries = {}
        for name in fields:
            count = self._count_tokens(scope, exists_tokens(name))
            if count:
                kinds = {kind: self._count_tokens(scope, [kind_token(name, kind)]) for kind in KINDS}
                elements = {kind: self._count_tokens(scope, [element_kind_token(name, kind)]) for kind in KINDS}
                summaries[name] = Field(count, _present(kinds), elements=_present(elements))
        return summaries

    def sample_names(self, scope: Scope | None) -> set[str]:
        rows = self._server.query(self._collection, self.expression(Eligible(scope)), ["metadata"], limit=_SAMPLE)
        return {name for row in rows for name in names(stored_metadata(row["metadata"]))}

    def unreadable_dates(self, scope: Scope | None, fields: Sequence[str]) -> Mapping[str, UnreadableDates]:
        result = {}
        for name in fields:
            expression = all_of([self.expression(Eligible(scope)), has_token(unreadable_token(name))])
            count = self._server.count(self._collection, expression)
            if count:
                (row,) = self._server.query(self._collection, expression, ["metadata"], limit=1)
                example = lookup(stored_metadata(row["metadata"]), name)
                result[name] = UnreadableDates(count, self._count_tokens(scope, exists_tokens(name)), example)
        return result

    def expression(self, eligible: Eligible) -> str:
        """Return the expression that exactly the eligible documents pass.

        Raises:
            UnsupportedError: too many documents would have to be evaluated here, or be listed.
        """
        known = self._expressions.get((id(eligible.scope), id(eligible.where)))
        if known is None:
            known = eligible, self._filtered(eligible.scope, eligible.where)
            self._expressions[id(eligible.scope), id(eligible.where)] = known
        parts = [known[1]]
        if eligible.included is not None:
            parts.append(_keys_in(eligible.included.tolist()))
        if eligible.excluded is not None and len(eligible.excluded):
            parts.append(negated(_keys_in(eligible.excluded.tolist())))
        return all_of(parts)

    def _filtered(self, scope: Scope | None, where: Filter | None) -> str:
        tree = within(None if scope is None else Scope(None, scope.where), self._partition, where)
        inside = TRUE
        if scope is not None and scope.partition is not None:
            inside = f'tenant == "{key_of(scope.partition).encode().hex()}"'
        condition = compile_filter(tree)
        if condition.exact:
            return all_of([inside, condition.must])
        return all_of([inside, self._evaluated(inside, condition, tree)])

    def _evaluated(self, inside: str, condition: Condition, tree: Filter | None) -> str:
        """Evaluate a filter here for the documents that the server cannot decide."""
        unknown = all_of([inside, condition.may, negated(condition.must)])
        count = self._server.count(self._collection, unknown)
        if count > MAX_EVALUATED:
            raise UnsupportedError(
                f"Milvus cannot evaluate patterns, substrings, the order of texts or dates in lists, and {count:,} "
                f"documents are too many to evaluate them here (at most {MAX_EVALUATED:,}). Add a condition that "
                "Milvus can evaluate, such as equality or a range of numbers or dates"
            )
        passing: list[int] = []
        failing: list[int] = []
        for page in self._pages(unknown, ["pk", "key", "metadata"]):
            for row in page:
                passes = matches(tree, stored_metadata(row["metadata"]), id_of(row["pk"]))
                (passing if passes else failing).append(int(row["key"]))
        if len(passing) <= len(failing):
            return any_of([condition.must, all_of([condition.may, _keys_in(passing)])])
        return all_of([condition.may, negated(_keys_in(failing))]) if failing else condition.may

    def _search(
        self, queries: Vectors, n: int, expression: str, fields: Sequence[str]
    ) -> tuple[list[list[Row]], float]:
        """Return the rows nearest to each query, and a bound of the norms of all eligible vectors.

        Where vectors keep their length, the error of a similarity depends on the longest one. So rows within a bound
        are searched, and then the longer ones are counted: if there are any, the bound was too low.
        """
        parameters = {"metric_type": metric_type(self._space.metric), "params": self._index.parameters(n)}
        unit = self._metric.normalizes or (self._space.norms == "unit" and not self._space.transforms)
        while True:
            largest = _LARGEST_UNIT if unit else self._norms.largest
            bounded = expression if unit else all_of([expression, f"norm <= {largest!r}"])
            found = self._server.search(self._collection, list(queries), n, bounded, fields, parameters)
            if unit:
                return found, largest
            longer = all_of([expression, f"norm > {largest!r}"])
            norms = [row["norm"] for row in self._server.query(self._collection, longer, ["norm"], limit=MAX_LISTED)]
            if not norms:
                return found, largest
            self._norms.largest = 2 * max(norms)

    def _candidates(
        self,
        query: NDArray[np.float32],
        rows: Sequence[Row],
        n: int,
        largest: float,
        with_vectors: bool,
        with_documents: bool,
    ) -> Candidates:
        distances = np.array([row["distance"] for row in rows], np.float64)
        length = float(np.linalg.norm(query.astype(np.float64)))
        # The error of a sum of d products in float32, in any order, and of a few operations more.
        unit = (len(query) + 8) * _UNIT
        if self._metric.by_distance:
            # Squared distances; for several queries at once, servers compute them as |x|^2 + |q|^2 - 2 q x.
            error = 2 * unit * (length + largest) ** 2
            low, high = np.sqrt(np.maximum(distances - error, 0)), np.sqrt(np.maximum(distances, 0) + error)
            similarities = -np.sqrt(np.maximum(distances, 0))
            errors: NDArray[np.float64] = np.maximum(high + similarities, -similarities - low)
            ceiling = float(-low.max(initial=0))
        else:
            similarities = distances
            errors = np.full(len(rows), unit * length * largest)
            ceiling = float((similarities + errors).min(initial=np.inf))
        if self._index.name != FLAT:
            ceiling = np.inf
        elif len(rows) < n:
            ceiling = -np.inf
        keys = np.array([row["key"] for row in rows], np.int64)
        _check_distinct(keys)
        return Candidates(
            keys,
            [id_of(row["pk"]) for row in rows],
            similarities,
            errors,
            ceiling,
            np.array([row["vector"] for row in rows], np.float32).reshape(len(rows), len(query))
            if with_vectors
            else None,
            list(map(document_of, rows)) if with_documents else None,
            len(rows) if ceiling == np.inf else 0,
        )

    def _of_keys(self, keys: Keys, fields: Sequence[str]) -> list[Row]:
        """Return the rows with these keys, in their order."""
        listed = keys.tolist()
        row_of: dict[int, Row] = {}
        for start in range(0, len(listed), _KEYS):
            part = listed[start : start + _KEYS]
            rows = self._server.query(self._collection, _keys_in(part), ["key", *fields])
            _check_distinct(np.array([row["key"] for row in rows], np.int64))
            row_of.update((int(row["key"]), row) for row in rows)
        missing = [key for key in listed if key not in row_of]
        if missing:
            raise StaleViewError
        return [row_of[key] for key in listed]

    def _pages(self, expression: str, fields: Sequence[str]) -> Iterator[list[Row]]:
        return read_pages(self._server, self._collection, expression, fields)

    def _count_tokens(self, scope: Scope | None, tokens: Sequence[str]) -> int:
        expression = all_of([self.expression(Eligible(scope)), has_token(*tokens)])
        return self._server.count(self._collection, expression)


def _keys_in(keys: Sequence[int]) -> str:
    if not keys:
        return FALSE
    if len(keys) > MAX_TOKENS:
        raise UnsupportedError(
            f"this search would have to send {len(keys):,} documents to Milvus, and at most {MAX_TOKENS:,} can be "
            "sent. Narrow it with a scope or a filter"
        )
    return f"key in [{','.join(map(str, keys))}]"


def _check_distinct(keys: Keys) -> None:
    if len(np.unique(keys)) != len(keys):
        raise EngineError("two documents in Milvus have the same key and cannot be distinguished. Add one again")


def _field_values(rows: Sequence[Row], fields: Sequence[str]) -> FieldValues:
    metadata = [stored_metadata(row["metadata"]) for row in rows]
    keys = np.array([row["key"] for row in rows], np.int64)
    return FieldValues(keys, {name: [lookup(each, name) for each in metadata] for name in fields})


def _present(counts: Mapping[Any, int]) -> dict[Any, int]:
    return {kind: count for kind, count in counts.items() if count}
