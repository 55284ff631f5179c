"""Writes to a Milvus collection: upserts only, since an insert of an id that exists makes two rows.

One call to the server is one write: a search sees all of it or, for a moment, none. Milvus has no transactions, so
a batch that is larger than one message is written in several calls. If one of them fails, the error says which
documents were written; adding the same documents again completes the batch.
"""

import threading
from collections.abc import Callable, Container, Mapping, Sequence
from typing import Any

import numpy as np

from theodolite.engines.milvus.catalog import Collection
from theodolite.engines.milvus.rows import read_pages
from theodolite.engines.milvus.schema import MAX_BYTES, id_of, make_rows, primary_key, row_bytes
from theodolite.engines.milvus.server import Row
from theodolite.engines.records import Record, check_all_found, make_records, updated_record
from theodolite.errors import EngineError
from theodolite.filters import Filter
from theodolite.forking import register_at_fork
from theodolite.protocols import Scope
from theodolite.scopes import partition_to_write
from theodolite.settings import Manifest
from theodolite.types import Document, EmbedderSpec, Space, Vectors

MESSAGE = 32 << 20
"""Bytes of one call to the server, which takes 64 MB by default."""

_STORED = ("pk", "text", "metadata", "truncated", "vector")
_KEYS = 2000  # primary keys in one call

Expression = Callable[[Scope | None, Filter | None], str]


class Writer:
    """Writes documents. The writes of one process come one after the other; Milvus has no lock for others."""

    def __init__(
        self, collection: Collection, partition: str | None, embedder: EmbedderSpec | None, expression: Expression
    ) -> None:
        """
        Args:
            expression: returns the expression that exactly the documents in a scope that pass a filter pass.
        """
        self._collection = collection
        self._partition = partition
        self._embedder = embedder
        self._expression = expression
        self._lock = threading.Lock()
        register_at_fork(self)

    def add(
        self,
        manifest: Callable[[], Manifest],
        documents: Sequence[Document],
        vectors: Vectors,
        space: Space,
        truncated: Container[int],
        scope: Scope | None,
    ) -> None:
        partition_to_write(scope, self._partition, ids=False)
        records, places = make_records(documents, truncated, self._partition, scope)
        if not records:
            return
        rows = make_rows(records, Vectors(vectors[places]))
        with self._lock:
            current = manifest()
            pinned = current.space == space and self._collection.has_rows
            embedder = None
            if self._embedder not in (None, current.embedder) and not self._count_all():
                embedder, pinned = self._embedder, False
            if not pinned:
                self._collection.settle(current, space, embedder)
            self._upsert(rows)

    def update(self, changes: Mapping[str, Mapping[str, Any]], scope: Scope | None, *, replace: bool) -> None:
        if not changes:
            return
        key = partition_to_write(scope, self._partition, ids=True)
        with self._lock:
            stored = {id_of(row["pk"]): row for row in self._rows([primary_key(name, key) for name in changes])}
            check_all_found(changes, stored)
            records = []
            for name, change in changes.items():
                row = stored[name]
                record = Record(name, row["text"], row["metadata"], bool(row["truncated"]), key)
                records.append(updated_record(record, change, self._partition, replace=replace))
            vectors = np.array([stored[record.id]["vector"] for record in records], np.float32)
            self._upsert(make_rows(records, Vectors(vectors)))

    def delete(self, which: Sequence[str] | Filter, scope: Scope | None) -> int:
        key = partition_to_write(scope, self._partition, ids=not isinstance(which, Filter))
        with self._lock:
            if not self._collection.has_rows:
                return 0
            if isinstance(which, Filter):
                pks = self._pks(self._expression(scope, which))
            else:
                wanted = [primary_key(name, key) for name in dict.fromkeys(which) if name]
                pks = [row["pk"] for row in self._rows(wanted, ["pk"])]
            self._delete(pks)
        return len(pks)

    def clear(self, scope: Scope | None) -> None:
        partition_to_write(scope, self._partition, ids=False)
        with self._lock:
            if self._collection.has_rows:
                self._delete(self._pks(self._expression(scope, None)))

    def _count_all(self) -> int:
        return self._collection.server.count(self._collection.name, "") if self._collection.has_rows else 0

    def _upsert(self, rows: Sequence[Row]) -> None:
        start, written = 0, 0
        server, name = self._collection.server, self._collection.name
        while start < len(rows):
            stop, size = start, 0
            while stop < len(rows) and (stop == start or size + row_bytes(rows[stop]) <= MESSAGE):
                size += row_bytes(rows[stop])
                stop += 1
            try:
                server.upsert(name, rows[start:stop])
            except EngineError as error:
                if not written:
                    raise
                first, last = id_of(rows[0]["pk"]), id_of(rows[start - 1]["pk"])
                raise EngineError(
                    f"{error.message} The first {written:,} of {len(rows):,} documents of the batch were written, "
                    f"{first!r} to {last!r}. Add the batch again to complete it",
                    written=written,
                ) from error
            start = written = stop

    def _delete(self, pks: Sequence[str]) -> None:
        server, name = self._collection.server, self._collection.name
        for start in range(0, len(pks), _KEYS):
            server.delete(name, _pk_in(pks[start : start + _KEYS]))
        if pks:
            server.count(name, "", "Strong")  # waits until the deletion is visible

    def _pks(self, expression: str) -> list[str]:
        pages = read_pages(self._collection.server, self._collection.name, expression, ["pk"])
        return [str(row["pk"]) for page in pages for row in page]

    def _rows(
        self, pks: Sequence[str], fields: Sequence[str] = ("pk", "text", "metadata", "truncated", "vector")
    ) -> list[Row]:
        if not self._collection.has_rows:
            return []
        found = []
        for start in range(0, len(pks), _KEYS // 10):
            part = [pk for pk in pks[start : start + _KEYS // 10] if len(pk) <= MAX_BYTES]
            if part:
                found += self._collection.server.query(self._collection.name, _pk_in(part), fields)
        return found


def _pk_in(pks: Sequence[str]) -> str:
    """Return the expression for primary keys: digits, letters a to f and dots."""
    return f"pk in [{','.join(f'{chr(34)}{pk}{chr(34)}' for pk in pks)}]"
