"""The view of a collection that a search runs on (see `remote.source.Source`).

**Similarities.** Cosine and dot use pgvector's `<#>`, minus the inner product, of vectors as they were prepared; l2
uses `<->`. Both sum products of float32 in float32, in any order and with or without fused multiplication. With
u = 2⁻²⁴ and g(n) = nu / (1 − nu), the inner product x·q of d terms has an error of at most g(d) Σ|xᵢqᵢ| ≤ g(d) ‖x‖‖q‖
(Higham, Accuracy and Stability of Numerical Algorithms, section 3.1), plus d times the smallest float32 for products
that underflow. For l2 each difference has a relative error of u, so each square has three more, and the sum has
g(d + 3); the root halves it. Two more roundings are granted: the one of the root, and the one of `Metric.scores` to
float32.

The order is by `distance + 0`: the same numbers, and an expression that no approximate index answers.
"""

import math
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from theodolite.analysis.bm25 import BM25
from theodolite.analysis.query_terms import Phrase
from theodolite.engines import refusals
from theodolite.engines.postgres.approximate import ApproximateIndex
from theodolite.engines.postgres.binary import (
    BinaryArray,
    BinaryParameter,
    decode_vectors,
    encode_keys,
    encode_vector,
    vector_length,
)
from theodolite.engines.postgres.catalog import Collection, read_state
from theodolite.engines.postgres.codec import READ, decode_document
from theodolite.engines.postgres.connections import Connection, Connections
from theodolite.engines.postgres.field_tokens import scalar_key
from theodolite.engines.postgres.lexical import lexical_candidates
from theodolite.engines.postgres.reader import in_scope
from theodolite.engines.postgres.where import RANGE, Condition, all_of, compile_filter
from theodolite.engines.remote.escaping import unescape
from theodolite.engines.remote.field_tokens import (
    KINDS,
    element_kind_token,
    exists_tokens,
    kind_token,
    unreadable_token,
)
from theodolite.engines.remote.source import (
    Candidates,
    Doubles,
    Eligible,
    FieldValues,
    Keys,
    LexicalCandidates,
    StaleViewError,
    State,
    UnreadableDates,
)
from theodolite.filters import Filter, lookup
from theodolite.filters.summary import names
from theodolite.metadata import stored_metadata
from theodolite.protocols import Scope
from theodolite.types import Document, Field, FieldKind, Vectors
from theodolite.vectors.metrics import Metric, MetricName, get_metric

T = TypeVar("T")

_UNIT = 2.0**-24
_SMALLEST = 2.0**-149
_PAGE = 5_000
_SAMPLE = 100
_MOST_CACHED = 512
_MOST_VALUES = 100_000  # documents whose values are remembered, for each choice of fields


class CommitCache:
    """Values that are the same for all searches of one commit, such as counts."""

    def __init__(self) -> None:
        self._sequence = -1
        self._values: dict[Hashable, Any] = {}

    def get(self, sequence: int, key: Hashable, compute: Callable[[], T]) -> T:
        """Return a value, and compute it if the commit has none yet."""
        values = self._values
        if self._sequence != sequence or len(values) > _MOST_CACHED:
            self._sequence, self._values = sequence, (values := {})
        if key in values:
            found: T = values[key]
            return found
        values[key] = computed = compute()
        return computed


class SeenState(NamedTuple):
    """The collection's state, as far as a view has read it."""

    sequence: int
    live: int
    max_norm: float


def rounding_errors(
    similarities: Doubles, query: NDArray[np.float32], max_norm: float, *, by_distance: bool
) -> Doubles:
    """Return how far the server's similarities, (n,), may be from the true ones.

    Args:
        max_norm: no stored vector is longer.
    """
    terms = len(query)
    if by_distance:
        relative = _relative_error(terms + 8)
        return -similarities * (relative / (1 - relative)) + 2 * math.sqrt(terms * _SMALLEST)
    length = float(np.sqrt(np.square(query, dtype=np.float64).sum()))
    # The error of the sum, and the rounding of both results to float32.
    return np.full(
        len(similarities), _relative_error(terms + 4) * length * max_norm * (1 + 1e-9) + (terms + 2) * _SMALLEST
    )


def _relative_error(operations: int) -> float:
    return operations * _UNIT / (1 - operations * _UNIT)


class Views:
    """Opens views of one collection."""

    def __init__(
        self,
        connections: Connections,
        collection: Collection,
        metric: MetricName,
        partition: str | None,
        bm25: BM25,
        current_index: Callable[[], ApproximateIndex | None],
    ) -> None:
        self._connections = connections
        self._collection = collection
        self._metric = get_metric(metric)
        self._partition = partition
        self._bm25 = bm25
        self._current_index = current_index
        self._cache = CommitCache()

    def __call__(self, *, lasting: bool) -> AbstractContextManager["PostgresSource"]:
        index = self._current_index()  # before a connection is taken: this may need one
        return self._opened(index, None, lasting=lasting)

    def similarities(
        self, index: ApproximateIndex, queries: Vectors, k: int, ef: int | None
    ) -> list[NDArray[np.float64]]:
        """Return the similarities of the k documents nearest to each query, with one setting of an index."""
        with self._opened(index, ef, lasting=False) as source:
            listed = source.nearest(queries, k, Eligible(), exact=ef is None, with_vectors=False)
            return [candidates.similarities for candidates in listed]

    @contextmanager
    def _opened(self, index: ApproximateIndex | None, ef: int | None, *, lasting: bool) -> Iterator["PostgresSource"]:
        opened = self._connections.lasting() if lasting else self._connections.single()
        with opened as connection:
            yield PostgresSource(
                connection,
                self._collection,
                self._metric,
                self._partition,
                self._bm25,
                self._cache,
                index,
                ef,
                lasting=lasting,
            )


class PostgresSource:
    """One view of a collection: a transaction, or a single statement that has also read the collection's state."""

    limit = None

    def __init__(
        self,
        connection: Connection,
        collection: Collection,
        metric: Metric,
        partition: str | None,
        bm25: BM25,
        cache: CommitCache,
        index: ApproximateIndex | None,
        ef: int | None,
        *,
        lasting: bool,
    ) -> None:
        self._connection = connection
        self._collection = collection
        self._metric = metric
        self._bm25 = bm25
        self._partition = partition
        self._cache = cache
        self._index = index
        self._ef = ef
        self._lasting = lasting
        self._state: SeenState | None = None
        self._compiled: tuple[Filter | None, Condition] = (None, all_of([]))  # the last filter
        if lasting:
            state = read_state(connection, collection)
            self._state = SeenState(state.sequence, state.live, state.max_norm)

    def state(self, scope: Scope | None) -> State:
        state = self._seen()
        live = state.live if scope is None else self.count(Eligible(scope))
        return State(live, state.sequence, (self._collection.uid, state.sequence))

    def count(self, eligible: Eligible) -> int:
        state = self._seen()
        if eligible.scope is None and eligible.is_whole_scope:
            return state.live
        return self._count(self._condition(eligible))

    def keys(self, eligible: Eligible) -> Keys:
        condition = self._condition(eligible)
        rows = self._rows(f"SELECT key FROM {self._table} WHERE {condition.sql}", condition.parameters)
        return np.array([row[0] for row in rows], np.int64)

    def first_id(self, eligible: Eligible) -> str:
        condition = self._condition(eligible)
        (row,) = self._rows(
            f"SELECT id FROM {self._table} WHERE {condition.sql} ORDER BY key LIMIT 1", condition.parameters
        )
        return unescape(row[0])

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
        condition = self._condition(eligible)
        index = None if exact else self._index
        if index is not None:
            self._set_scan(self._ef or index.ef(n))
        columns = "key, " + (READ if with_documents else "id") + (", embedding" if with_vectors else "")
        return [
            self._nearest(query, n, condition, columns, index, documents=with_documents, vectors=with_vectors)
            for query in queries
        ]

    def _nearest(
        self,
        query: NDArray[np.float32],
        n: int,
        condition: Condition,
        columns: str,
        index: ApproximateIndex | None,
        *,
        documents: bool,
        vectors: bool,
    ) -> Candidates:
        operator = "<->" if self._metric.by_distance else "<#>"
        vector = encode_vector(query)
        distance, order = f"(embedding {operator} %s::vector) + 0", "distance"
        ordered: tuple[BinaryParameter, ...] = ()
        if index is not None:
            half = f"::halfvec({index.dimension})" if index.is_half else ""
            distance = f"embedding {operator} %s::vector"
            order, ordered = f"embedding{half} {operator} %s::vector{half}", (vector,)
        source = f"FROM {self._table} WHERE {condition.sql} ORDER BY {order} LIMIT {n}"
        near = f"SELECT {distance} AS distance, {columns} {source}"
        if documents or vectors:  # sort keys, and read the rows afterwards: a sort copies whole rows
            keys = f"SELECT {distance} AS distance, key {source}"
            near = f"SELECT distance, {columns} FROM ({keys}) AS listed JOIN {self._table} USING (key)"
        # The state is read by the same statement, so that it is of the same commit.
        rows = self._rows(
            f"SELECT s.sequence, s.live, s.max_norm, near.* FROM {self._collection.collections} AS s LEFT JOIN "
            f"({near}) AS near ON TRUE WHERE s.number = %s",
            (vector, *condition.parameters, *ordered, self._collection.number),
        )
        if not rows:
            raise refusals.deleted(self._collection.shown)
        state = SeenState(*rows[0][:3])
        if self._state is not None and self._state.sequence != state.sequence:
            raise StaleViewError
        self._state = state
        found = [row for row in rows if row[3] is not None]
        similarities = -np.array([row[3] for row in found], np.float64)
        errors = rounding_errors(similarities, query, state.max_norm, by_distance=self._metric.by_distance)
        ceiling = -np.inf if len(found) < n else float((similarities + errors).min())
        return Candidates(
            np.array([row[4] for row in found], np.int64),
            [unescape(row[5]) for row in found],
            similarities,
            errors,
            ceiling if index is None else np.inf,
            decode_vectors([row[-1] for row in found], len(query)) if vectors else None,
            [decode_document(row[5:8]) for row in found] if documents else None,
            proposed=0 if index is None else len(found),
        )

    def _set_scan(self, ef: int) -> None:
        """Let index scans look at `ef` documents at a time, and go on until enough pass the filter."""
        self._rows(
            "SELECT set_config('hnsw.ef_search', %s, %s), set_config('hnsw.iterative_scan', 'relaxed_order', %s)",
            (str(ef), self._lasting, self._lasting),
        )

    def lexical(self, phrases: Mapping[Phrase, float], n: int, eligible: Eligible) -> LexicalCandidates:
        state = self._lasting_state()
        scope = all_of(in_scope(eligible.scope, self._partition))

        def statistics() -> tuple[int, int]:
            ((documents, words),) = self._rows(
                f"SELECT count(*), coalesce(sum(length), 0)::bigint FROM {self._table} WHERE {scope.sql}",
                scope.parameters,
            )
            return documents, words

        counted = self._cache.get(state.sequence, ("lexical", scope.key), statistics)
        rest = self._condition(Eligible(None, eligible.where, eligible.included, eligible.excluded))
        return lexical_candidates(self._rows, self._table, self._bm25, phrases, n, scope, rest, *counted)

    def vectors(self, keys: Keys) -> NDArray[np.float32]:
        self._lasting_state()
        rows = self._by_key("embedding", keys)
        stored = [rows[key][1] for key in keys.tolist()]
        return decode_vectors(stored, vector_length(stored))

    def documents(self, keys: Keys) -> list[Document]:
        self._lasting_state()
        rows = self._by_key(READ, keys)
        return [decode_document(rows[key][1:]) for key in keys.tolist()]

    def values(self, keys: Keys, fields: Sequence[str]) -> FieldValues:
        state, listed, names = self._lasting_state(), keys.tolist(), tuple(fields)
        # Boosted searches read the values of the same documents again and again.
        known: dict[int, tuple[Any, ...]] = self._cache.get(state.sequence, ("values", names), dict)
        found = {key: known[key] for key in listed if key in known}
        if len(found) < len(listed):
            missing = keys[[key not in found for key in listed]]
            rows = self._by_key("metadata", missing)
            found.update(zip(rows, _values([row[1] for row in rows.values()], names), strict=True))
            if len(known) < _MOST_VALUES:
                known.update(found)
        return FieldValues(keys, {name: [found[key][place] for key in listed] for place, name in enumerate(names)})

    def scan(self, eligible: Eligible, fields: Sequence[str]) -> Iterator[FieldValues]:
        self._lasting_state()
        condition = self._condition(eligible)
        last = 0
        while True:
            page = all_of([condition, Condition("key > %s", (last,))])
            rows = self._rows(
                f"SELECT key, metadata FROM {self._table} WHERE {page.sql} ORDER BY key LIMIT {_PAGE}", page.parameters
            )
            if not rows:
                return
            last = rows[-1][0]
            yield _field_values(np.array([row[0] for row in rows], np.int64), [row[1] for row in rows], fields)

    def summaries(self, scope: Scope | None, fields: Sequence[str]) -> Mapping[str, Field]:
        found = {}
        for name in fields:
            kinds = self._kinds(scope, name, kind_token)
            if kinds:
                found[name] = Field(sum(kinds.values()), kinds, elements=self._kinds(scope, name, element_kind_token))
        return found

    def sample_names(self, scope: Scope | None) -> set[str]:
        self._lasting_state()
        condition = self._condition(Eligible(scope))
        rows = self._rows(
            f"SELECT metadata FROM {self._table} WHERE {condition.sql} LIMIT {_SAMPLE}", condition.parameters
        )
        return {name for (metadata,) in rows for name in names(stored_metadata(metadata))}

    def unreadable_dates(self, scope: Scope | None, fields: Sequence[str]) -> Mapping[str, UnreadableDates]:
        counts = {name: self._count_tokens(scope, [unreadable_token(name)]) for name in fields}
        return {name: self._unreadable(scope, name, count) for name, count in counts.items() if count}

    def _unreadable(self, scope: Scope | None, name: str, count: int) -> UnreadableDates:
        self._lasting_state()
        condition = all_of(
            [*in_scope(scope, self._partition), Condition("tokens && %s::text[]", ([unreadable_token(name)],))]
        )
        ((example,),) = self._rows(
            f"SELECT fields->>%s FROM {self._table} WHERE {condition.sql} ORDER BY key LIMIT 1",
            (scalar_key("s", name), *condition.parameters),
        )
        return UnreadableDates(count, self._count_tokens(scope, exists_tokens(name)), unescape(example))

    def _kinds(self, scope: Scope | None, name: str, token: Callable[[str, FieldKind], str]) -> dict[FieldKind, int]:
        counts = {kind: self._count_tokens(scope, [token(name, kind)]) for kind in KINDS}
        return dict(sorted(((kind, n) for kind, n in counts.items() if n), key=lambda one: (-one[1], one[0])))

    def _count_tokens(self, scope: Scope | None, tokens: Sequence[str]) -> int:
        has_token = Condition("tokens && %s::text[]", (list(tokens),))
        return self._count(all_of([*in_scope(scope, self._partition), has_token]))

    def _count(self, condition: Condition) -> int:
        sql = f"SELECT count(*) FROM {self._table} WHERE {condition.sql}"
        return self._cache.get(
            self._seen().sequence, ("count", condition.key), lambda: int(self._scalar(sql, condition.parameters))
        )

    @property
    def _table(self) -> str:
        return self._collection.documents

    def _condition(self, eligible: Eligible) -> Condition:
        conditions = in_scope(eligible.scope, self._partition)
        if eligible.where is not None:
            if eligible.where is not self._compiled[0]:
                self._compiled = eligible.where, compile_filter(eligible.where)
            conditions.append(self._compiled[1])
        if eligible.included is not None:
            conditions.append(Condition("key = ANY(%s::bigint[])", (encode_keys(eligible.included),)))
        if eligible.excluded is not None:
            conditions.append(Condition("key <> ALL(%s::bigint[])", (encode_keys(eligible.excluded),)))
        return all_of(conditions)

    def _by_key(self, columns: str, keys: Keys) -> dict[int, Sequence[Any]]:
        rows = self._rows(
            f"SELECT key, {columns} FROM {self._table} WHERE key = ANY(%s::bigint[])", (encode_keys(keys),)
        )
        return {row[0]: row for row in rows}

    def _seen(self) -> SeenState:
        if self._state is None:
            raise StaleViewError
        return self._state

    def _lasting_state(self) -> SeenState:
        if not self._lasting:
            raise StaleViewError
        return self._seen()

    def _scalar(self, sql: str, parameters: Sequence[Any]) -> Any:
        """Return one value. Outside a transaction, the statement also reads which commit it sees."""
        if self._lasting:
            return self._rows(sql, parameters)[0][0]
        ((value, sequence),) = self._rows(
            f"SELECT ({sql}), (SELECT sequence FROM {self._collection.collections} WHERE number = %s)",
            (*parameters, self._collection.number),
        )
        if sequence != self._seen().sequence:
            raise StaleViewError
        return value

    def _rows(self, sql: str, parameters: Sequence[Any]) -> list[Any]:
        planned = RANGE in sql or any(isinstance(value, BinaryArray) for value in parameters)
        with self._connection.cursor(binary=True) as cursor:
            cursor.execute(sql.encode(), parameters, prepare=False if planned else None)
            return cursor.fetchall()


def _field_values(keys: Keys, stored: Sequence[str], fields: Sequence[str]) -> FieldValues:
    values = list(zip(*_values(stored, fields), strict=True)) or [()] * len(fields)
    return FieldValues(keys, dict(zip(fields, values, strict=True)))


def _values(stored: Sequence[str], fields: Sequence[str]) -> list[tuple[Any, ...]]:
    """Return the values of some fields for each document's metadata."""
    return [tuple([lookup(metadata, name) for name in fields]) for metadata in map(stored_metadata, stored)]
