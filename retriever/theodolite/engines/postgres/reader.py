"""Reads: get, documents and fields."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from theodolite.engines.postgres.binary import decode_vectors, vector_length
from theodolite.engines.postgres.catalog import Collection, read_state
from theodolite.engines.postgres.codec import READ, decode_document
from theodolite.engines.postgres.connections import Connection, Connections
from theodolite.engines.postgres.where import Condition, all_of, compile_filter
from theodolite.engines.remote.escaping import escape
from theodolite.filters import Filter
from theodolite.filters.summary import summarize_documents
from theodolite.metadata import stored_metadata
from theodolite.protocols import Scope
from theodolite.scopes import key_within
from theodolite.types import Document, Field

Pair = tuple[Document, NDArray[np.float32]]

_PAGE = 2_000


def in_scope(scope: Scope | None, field: str | None) -> list[Condition]:
    """Return a scope as conditions. Raises ConfigError if it names a partition and the collection has none."""
    if scope is None:
        return []
    conditions = []
    if scope.partition is not None:
        conditions.append(Condition("partition = %s", (escape(key_within(scope, field)),)))
    if scope.where is not None:
        conditions.append(compile_filter(scope.where))
    return conditions


def matching(where: Filter | None, scope: Scope | None, field: str | None) -> Condition:
    """Return the condition of documents in a scope that pass a filter. Raises the errors of `in_scope`."""
    conditions = in_scope(scope, field)
    return all_of(conditions if where is None else [*conditions, compile_filter(where)])


class Reader:
    """Reads documents. The methods are those of `protocols.Engine`."""

    def __init__(self, connections: Connections, collection: Collection, partition: str | None) -> None:
        self._connections = connections
        self._collection = collection
        self._partition = partition

    def get(self, ids: Sequence[str], scope: Scope | None) -> list[Pair]:
        key = key_within(scope, self._partition)
        named = Condition(
            "partition = %s AND id = ANY(%s::text[])", (escape(key), list(map(escape, dict.fromkeys(ids))))
        )
        within = [] if scope is None or scope.where is None else [compile_filter(scope.where)]
        condition = all_of([named, *within])
        pairs = self._connections.read(lambda connection: self._pairs(connection, condition))
        found = {pair[0].id: pair for pair in pairs}
        if len(found) == len(ids):
            return [found[name] for name in ids]
        taken: set[str] = set()
        result = []
        for name in ids:
            if name in found:
                document, vector = found[name]
                if name in taken:  # asked for twice: nothing mutable is shared
                    document, vector = Document(document.text, dict(document.metadata), name), vector.copy()
                taken.add(name)
                result.append((document, vector))
        return result

    def documents(self, where: Filter | None, after: str, limit: int | None, scope: Scope | None) -> Iterator[Pair]:
        conditions = [matching(where, scope, self._partition)]
        order = "id, partition"
        if self._partition is None:
            conditions.append(Condition("partition = ''"))
            order = "id"
        elif scope is not None and scope.partition is not None:
            order = "id"
        start = Condition("id > %s", (escape(after),))
        remaining = limit
        while remaining is None or remaining > 0:
            size = _PAGE if remaining is None else min(_PAGE, remaining)
            condition = all_of([*conditions, start])
            tail = f" ORDER BY {order} LIMIT {size}"
            rows = self._connections.read(lambda connection: self._rows(connection, condition, tail))  # noqa: B023
            yield from _decoded([row[:4] for row in rows])
            if len(rows) < size:
                return
            last_id, last_partition = rows[-1][0], rows[-1][4]
            start = Condition("(id, partition) > (%s, %s)", (last_id, last_partition))
            if order == "id":
                start = Condition("id > %s", (last_id,))
            if remaining is not None:
                remaining -= len(rows)

    def live(self) -> int:
        """Return the number of documents."""
        return self._connections.read(lambda connection: read_state(connection, self._collection).live)

    def fields(self, where: Filter | None, values: int, scope: Scope | None) -> dict[str, Field]:
        condition = matching(where, scope, self._partition)

        def read(connection: Connection) -> dict[str, Field]:
            with connection.cursor("fields") as cursor:  # pages: all metadata may not fit into memory
                cursor.itersize = 2_000
                cursor.execute(
                    f"SELECT metadata FROM {self._collection.documents} WHERE {condition.sql}", condition.parameters
                )
                return summarize_documents((stored_metadata(row[0]) for row in cursor), values)

        return self._connections.snapshot(read)

    def _pairs(self, connection: Connection, condition: Condition) -> list[Pair]:
        return _decoded([row[:4] for row in self._rows(connection, condition, "")])

    def _rows(self, connection: Connection, condition: Condition, tail: str) -> list[Any]:
        with connection.cursor(binary=True) as cursor:
            cursor.execute(
                f"SELECT {READ}, embedding, partition FROM {self._collection.documents} "
                f"WHERE {condition.sql}{tail}".encode(),
                condition.parameters,
            )
            return cursor.fetchall()


def _decoded(rows: Sequence[Sequence[Any]]) -> list[Pair]:
    if not rows:
        return []
    stored = [row[3] for row in rows]
    vectors = decode_vectors(stored, vector_length(stored))
    return [(decode_document(row), vector) for row, vector in zip(rows, vectors, strict=True)]
