"""Documents as rows of the database: checked, encoded and hashed; and the keys that name them."""

import re
import sqlite3
from collections.abc import Container, Iterator, Sequence
from hashlib import blake2b
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from theodolite.errors import MALFORMED, CorruptionError, DocumentError, type_of
from theodolite.metadata import MAX_DEPTH, decode, encode_to_store
from theodolite.protocols import Scope
from theodolite.scopes import key_within, partition_key
from theodolite.types import Document, Rows

_MAX_PARAMETERS = 500  # of one statement; old SQLites take 999


class Record(NamedTuple):
    """A document as it is stored."""

    id: str
    text: str
    metadata: str
    truncated: bool = False
    partition: str = ""

    def hash(self, vector: NDArray[np.float32]) -> bytes:
        """Return a hash of 16 bytes over the record and its vector, (d,)."""
        parts = self.id.encode(), self.text.encode(), self.metadata.encode(), self.partition.encode()
        lengths = b"%d %d %d %d %d " % (*map(len, parts), self.truncated)
        # Vectors are stored, and hashed, as little-endian: the byte order of every platform numpy has wheels for.
        result = blake2b(b"".join((lengths, *parts)), digest_size=16)
        result.update(vector.data)
        return result.digest()

    def document(self) -> Document:
        """Return the document. Raises CorruptionError if the record is damaged."""
        if not isinstance(self.id, str) or not isinstance(self.text, str):
            raise CorruptionError(f"a stored document is damaged: its id is {self.id!r:.80}. Run verify()")
        return Document(self.text, stored_metadata(self.metadata), self.id)


def decode_stored(metadata: str) -> Any:
    """Decode stored metadata, or one value of it. Raises CorruptionError if it is damaged."""
    try:
        return decode(metadata)
    except MALFORMED as error:
        raise _damaged(metadata, error) from error


def stored_metadata(metadata: str) -> dict[str, Any]:
    """Decode the stored metadata of a document. Raises CorruptionError if it is damaged."""
    # Each hit of a search comes through here: few calls.
    if metadata.count("{") + metadata.count("[") > _DEEPEST:
        check_depth(metadata)
    try:
        decoded = decode(metadata)
    except MALFORMED as error:
        raise _damaged(metadata, error) from error
    if not isinstance(decoded, dict):
        raise CorruptionError(f"stored metadata is damaged: it is not a mapping: {metadata!r:.80}")
    return decoded


def check_depth(metadata: str) -> None:
    """Raise CorruptionError for JSON nested more deeply than we ever store: decoding it would recurse."""
    if metadata.count("{") + metadata.count("[") <= _DEEPEST:
        return
    depth = 0
    for mark in _MARKS.findall(metadata):
        depth += (mark in "[{") - (mark in "]}")
        if depth > _DEEPEST:
            raise CorruptionError(f"stored metadata is damaged: it is nested too deeply: {metadata!r:.80}")


def _damaged(metadata: str, error: Exception) -> CorruptionError:
    return CorruptionError(f"stored metadata is damaged ({error}): {metadata!r:.80}. Restore the folder from a copy")


_DEEPEST = MAX_DEPTH + 1  # a date is stored as a mapping
_MARKS = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{}]')


def make_records(
    documents: Sequence[Document],
    truncated: Container[int] = (),
    field: str | None = None,
    scope: Scope | None = None,
) -> tuple[list[Record], list[int]]:
    """Return the records to store, and the place of each in the batch. Of equal ids in a partition, the last is stored.

    Args:
        truncated: places of documents whose text the embedder did not read to its end.
        field: the field that partitions the collection.
        scope: a partition that all documents must belong to.

    Raises:
        DocumentError: a document cannot be stored. The error names the first.
    """
    for index, document in enumerate(documents):
        if not isinstance(document.id, str):
            raise _refusal(document, index, f"the id is {type_of(document.id)}, not a string")
    batch = [_record(document, index, truncated, field) for index, document in enumerate(documents)]
    if scope is not None:
        key = key_within(scope, field)
        for index, record in enumerate(batch):
            if record.partition != key:
                raise _refusal(documents[index], index, f"it belongs to another {field} than {scope.partition!r}")
    last = {(record.id, record.partition): index for index, record in enumerate(batch)}
    places = sorted(last.values())
    return [batch[index] for index in places], places


def _record(document: Document, index: int, truncated: Container[int], field: str | None) -> Record:
    if not isinstance(document.text, str):
        raise _refusal(document, index, f"the text is {type_of(document.text)}, not a string")
    for name, value in (("id", document.id), ("text", document.text)):
        if not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError:
                raise _refusal(
                    document,
                    index,
                    f"the {name} holds a lone surrogate, which is not text; decode the source with errors='replace'",
                ) from None
    if not document.id:
        raise _refusal(document, index, "it has no id")
    try:
        metadata = encode_to_store(document.metadata)
        key = partition_key(field, document.metadata)
        return Record(document.id, document.text, metadata, index in truncated, key)
    except DocumentError as error:
        raise _refusal(document, index, str(error)) from error


def _refusal(document: Document, index: int, why: str) -> DocumentError:
    return DocumentError(
        f"document {document.id!r} (number {index} of the batch) cannot be stored: {why}. Nothing was stored",
        ids=[document.id],
        index=index,
    )


def select_documents(
    connection: sqlite3.Connection, columns: str, key: str, values: Sequence[object], partition: str | None = None
) -> Iterator[Any]:
    """Yield columns of the documents whose `key` is one of `values`, in any order.

    Args:
        partition: only look in this partition.
    """
    condition, parameters = ("", ()) if partition is None else (" AND partition = ?", (partition,))

    def rows(start: int) -> Iterator[Any]:
        part = values[start : start + _MAX_PARAMETERS]
        marks = ",".join("?" * len(part))
        return connection.execute(
            f"SELECT {columns} FROM documents WHERE {key} IN ({marks}){condition}",  # noqa: S608 - names are ours
            (*part, *parameters),
        )

    return chain.from_iterable(map(rows, range(0, len(values), _MAX_PARAMETERS)))


def read_records(connection: sqlite3.Connection, keys: Sequence[int]) -> dict[int, Record]:
    """Return the records of the documents with these keys; keys without a document are left out."""
    rows = select_documents(connection, "row, id, text, metadata", "row", keys)
    return {key: Record(*rest) for key, *rest in rows}


class Keys:
    """Maps rows of one generation's vector file to `documents.row`, the keys. Immutable; keys rise with the rows.

    A document has one key for life, and no key is used twice. The database knows keys only. The vector file, and
    everything derived from it, counts rows from 0, without gaps where a compaction has removed dead rows. Until the
    first compaction keys and rows are the same.

    Attributes:
        first: (n,) the keys of the rows that a compaction has kept.
        shift: key minus row, of every later row.
    """

    __slots__ = ("first", "shift")

    def __init__(self, first: Rows | None = None, shift: int = 0) -> None:
        self.first = np.empty(0, np.int64) if first is None else first
        self.shift = shift

    def of(self, rows: Rows) -> Rows:
        """Return the keys of rows, (m,)."""
        if not self.shift:
            return rows
        keys = rows + self.shift
        old = rows < len(self.first)
        keys[old] = self.first[rows[old]]
        return keys

    def key(self, row: int) -> int:
        """Return the key of one row, or the key that the next row will have."""
        return int(self.first[row]) if row < len(self.first) else row + self.shift

    def rows(self, keys: Rows) -> Rows:
        """Return the rows of keys, (m,).

        Raises:
            CorruptionError: a key belongs to no row.
        """
        if not self.shift:
            return keys
        rows = self.find(keys)
        if len(rows) and rows.min() < 0:
            raise CorruptionError(f"the database names a row that is not there: {keys[rows < 0][0]}")
        return rows

    def find(self, keys: Rows) -> Rows:
        """Return the rows of keys, (m,), -1 for a row that a compaction has removed."""
        if not self.shift:
            return keys
        rows = keys - self.shift
        old = rows < len(self.first)
        if old.any():
            places = np.searchsorted(self.first, keys[old])
            places[places == len(self.first)] = 0
            exists = self.first[places] == keys[old] if len(self.first) else np.zeros(len(places), np.bool_)
            rows[old] = np.where(exists, places, -1)
        return rows


IDENTITY = Keys()
"""The keys of a generation that no compaction has made."""
