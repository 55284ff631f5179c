"""Writes: add, update, delete and clear, each one transaction.

Writers lock the collection's row, so they run one after the other, and each commit has a number. Readers never wait.
"""

import json
from collections.abc import Container, Mapping, Sequence
from typing import Any

import numpy as np

from theodolite.engines.postgres.binary import decode_vectors
from theodolite.engines.postgres.catalog import Collection, CollectionState, leaf_tables, read_state
from theodolite.engines.postgres.codec import COLUMNS, check_sizes, encode_rows
from theodolite.engines.postgres.connections import Connection, Connections
from theodolite.engines.postgres.term_tokens import TermEncoder
from theodolite.engines.postgres.where import Condition, all_of, compile_filter
from theodolite.engines.records import Record, check_all_found, make_records, updated_record
from theodolite.engines.remote.escaping import escape, unescape
from theodolite.filters import Filter
from theodolite.protocols import Scope
from theodolite.scopes import key_within, partition_to_write
from theodolite.types import Document, EmbedderSpec, Space, Vectors

_INLINE = 1536
"""Maximum dimension of vectors stored within their row. The rest of the row needs room in the page of 8 kB.

By default PostgreSQL moves a vector of 384 dimensions to another table, and a scan that fetches it from there takes
several times as long.
"""

_PAGE = 8_168  # bytes for the rows of a page
_POINTER = 4  # bytes of each row
_TEXTS = 496  # bytes of a row with short texts, without its vector
_DEFAULT = 2_032


def _row_size(dimension: int) -> int:
    """Return the size, in bytes, down to which texts are compressed and moved out of a row.

    By default it is a quarter of a page, so every text beside a vector of 512 dimensions or more would be moved.
    """
    rows = max(1, _PAGE // (4 * dimension + _TEXTS))
    return max(_DEFAULT, (_PAGE // rows - _POINTER) // 8 * 8)


class Writer:
    """Changes a collection. The methods are those of `protocols.Engine`."""

    def __init__(
        self, connections: Connections, collection: Collection, partition: str | None, embedder: EmbedderSpec | None
    ) -> None:
        self._connections = connections
        self._collection = collection
        self._partition = partition
        self._embedder = embedder
        self._terms = TermEncoder()

    def add(
        self,
        documents: Sequence[Document],
        vectors: Vectors,
        space: Space,
        truncated: Container[int],
        scope: Scope | None,
    ) -> None:
        self._connections.check_writable()
        partition_to_write(scope, self._partition, ids=False)
        records, places = make_records(documents, truncated, self._partition, scope)
        if not records:
            return
        chosen = vectors if len(places) == len(vectors) else Vectors(vectors[places])
        check_sizes(records)

        def write(connection: Connection) -> None:
            state = read_state(connection, self._collection, lock=True)
            self._settle(connection, state, space)
            self._store(connection, state, records, chosen, empty=not state.live)

        self._connections.write(write)

    def update(self, changes: Mapping[str, Mapping[str, Any]], scope: Scope | None, *, replace: bool) -> None:
        self._connections.check_writable()
        key = partition_to_write(scope, self._partition, ids=True)
        if not changes:
            return

        def write(connection: Connection) -> None:
            state = read_state(connection, self._collection, lock=True)
            names = list(changes)
            with connection.cursor(binary=True) as cursor:
                cursor.execute(
                    f"SELECT id, text, metadata, truncated, embedding FROM {self._collection.documents} "
                    "WHERE partition = %s AND id = ANY(%s::text[])",
                    (escape(key), list(map(escape, names))),
                )
                stored = {unescape(row[0]): row for row in cursor}
            check_all_found(changes, stored)
            records = []
            for name, change in changes.items():
                _, text, metadata, truncated, _ = stored[name]
                record = Record(name, unescape(text), metadata, truncated, key)
                records.append(updated_record(record, change, self._partition, replace=replace))
            dimension = state.manifest.space.dimension or 0
            vectors = Vectors(decode_vectors([stored[name][4] for name in names], dimension))
            self._store(connection, state, records, vectors, empty=False)

        self._connections.write(write)

    def delete(self, which: Sequence[str] | Filter, scope: Scope | None) -> int:
        self._connections.check_writable()
        key = partition_to_write(scope, self._partition, ids=not isinstance(which, Filter))
        if isinstance(which, Filter):
            conditions = [compile_filter(which)]
            if scope is not None:
                conditions.append(Condition("partition = %s", (escape(key_within(scope, self._partition)),)))
            return self._delete(all_of(conditions))
        ids = list(map(escape, dict.fromkeys(which)))
        return self._delete(Condition("partition = %s AND id = ANY(%s::text[])", (escape(key), ids)))

    def clear(self, scope: Scope | None) -> None:
        self._connections.check_writable()
        partition_to_write(scope, self._partition, ids=False)
        key = None if scope is None else escape(key_within(scope, self._partition))
        # Not TRUNCATE: a reader that has not touched the table yet would see it empty in an older commit.
        self._delete(Condition("TRUE") if key is None else Condition("partition = %s", (key,)))

    def _delete(self, condition: Condition) -> int:
        def write(connection: Connection) -> int:
            read_state(connection, self._collection, lock=True)
            row = connection.execute(
                f"WITH gone AS (DELETE FROM {self._collection.documents} WHERE {condition.sql} RETURNING truncated) "
                "SELECT count(*), count(*) FILTER (WHERE truncated) FROM gone",
                condition.parameters,
            ).fetchone()
            gone, truncated = row or (0, 0)
            if gone:
                self._commit(connection, -gone, -truncated)
            return int(gone)

        return self._connections.write(write)

    def _settle(self, connection: Connection, state: CollectionState, space: Space) -> None:
        """Pin the space of the first batch, or check that a later one fits. Raises VectorError."""
        settled = state.manifest.settled(space, None if state.live else self._embedder)
        if settled == state.manifest:
            return
        connection.execute(
            f"UPDATE {self._collection.collections} SET manifest = %s WHERE number = %s",
            (settled.to_json(), self._collection.number),
        )
        dimension = settled.space.dimension
        if state.manifest.space.dimension is None and dimension is not None:
            table = self._collection.documents
            connection.execute(f"ALTER TABLE {table} ALTER COLUMN embedding TYPE vector({int(dimension)})".encode())
            if dimension <= _INLINE:
                connection.execute(f"ALTER TABLE {table} ALTER COLUMN embedding SET STORAGE PLAIN".encode())
                target = _row_size(dimension)
                for leaf in leaf_tables(connection, self._collection):
                    connection.execute(f"ALTER TABLE {leaf} SET (toast_tuple_target = {target})".encode())

    def _store(
        self,
        connection: Connection,
        state: CollectionState,
        records: Sequence[Record],
        vectors: Vectors,
        *,
        empty: bool,
    ) -> None:
        """Insert rows, and replace those of the same ids.

        Rows go straight into the table: the collection's row is locked, so no one else adds the same ids. Under
        row-level security PostgreSQL has no COPY, so that they take a detour.

        Args:
            empty: the collection has no documents.
        """
        replaced, truncated = (0, 0) if empty else self._remove_replaced(connection, records)
        table, target = self._collection.documents, self._collection.documents
        if state.row_security:
            target = "pg_temp.theodolite_rows"
            rows = f"SELECT {COLUMNS} FROM {table} WITH NO DATA"
            connection.execute(f"CREATE TEMPORARY TABLE theodolite_rows ON COMMIT DROP AS {rows}".encode())
        with connection.cursor().copy(f"COPY {target} ({COLUMNS}) FROM STDIN (FORMAT BINARY)".encode()) as copy:
            for piece in encode_rows(records, self._terms, vectors):
                copy.write(piece)
        if state.row_security:
            connection.execute(f"INSERT INTO {table} ({COLUMNS}) SELECT {COLUMNS} FROM {target}".encode())
        norm = float(np.sqrt(np.square(vectors, dtype=np.float64).sum(axis=1)).max())
        truncated = sum(record.truncated for record in records) - truncated
        self._commit(connection, len(records) - replaced, truncated, norm=norm)

    def _remove_replaced(self, connection: Connection, records: Sequence[Record]) -> tuple[int, int]:
        """Delete the rows that records replace. Return how many there were, and how many of them were truncated."""
        table = self._collection.documents
        row = connection.execute(
            # LIMIT keeps the planner from reading the whole table: each id is one lookup.
            f"WITH gone AS (DELETE FROM {table} WHERE key = ANY(ARRAY("
            "SELECT old.key FROM ROWS FROM (json_array_elements_text(%s::json), json_array_elements_text(%s::json)) "
            "AS new(partition, id), LATERAL ("
            f"SELECT key FROM {table} AS d WHERE (d.partition, d.id) = (new.partition, new.id) LIMIT 1) AS old"
            ")) RETURNING truncated) SELECT count(*), count(*) FILTER (WHERE truncated) FROM gone",
            (
                json.dumps([escape(record.partition) for record in records], ensure_ascii=False),
                json.dumps([escape(record.id) for record in records], ensure_ascii=False),
            ),
        ).fetchone()
        return (0, 0) if row is None else (row[0], row[1])

    def _commit(self, connection: Connection, documents: int, truncated: int, *, norm: float = 0.0) -> None:
        """Count a commit."""
        connection.execute(
            f"UPDATE {self._collection.collections} SET sequence = sequence + 1, live = live + %s, "
            "truncated = truncated + %s, max_norm = greatest(max_norm, %s) WHERE number = %s",
            (documents, truncated, norm, self._collection.number),
        )
