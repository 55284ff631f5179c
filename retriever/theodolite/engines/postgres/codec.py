"""Documents as rows of the table `documents_N`, and as binary data for COPY."""

import struct
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from theodolite.engines.postgres.binary import encode_vectors, sized, text_array
from theodolite.engines.postgres.field_tokens import encode_fields
from theodolite.engines.postgres.term_tokens import Terms
from theodolite.engines.records import Record
from theodolite.engines.remote.escaping import escape, unescape
from theodolite.errors import DocumentError
from theodolite.metadata import decode_stored, stored_metadata
from theodolite.types import Document

COLUMNS = "partition, id, text, metadata, tokens, fields, terms, words, length, truncated, embedding, digest"
"""The columns of a row, except for its key."""

READ = "id, text, metadata"
"""The columns of a document."""

MAX_ID = 2_600
"""Bytes of a document's id and partition together: an entry of PostgreSQL's index has at most 2,704."""

_HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_TRAILER = b"\xff\xff"
_COUNT = struct.pack(">h", 12)
_SHORT = struct.Struct(">h")
_INT = struct.Struct(">i")
_SIZE = _INT.pack


def encode_rows(records: Sequence[Record], terms: Sequence[Terms], vectors: NDArray[np.float32]) -> bytes:
    """Return records with their vectors, (n, d), as COPY BINARY takes them.

    Raises:
        DocumentError: an id is too long for an index.
    """
    parts = [_HEADER]
    encoded = encode_vectors(vectors)
    for number, (record, words, vector, stored) in enumerate(zip(records, terms, vectors, encoded, strict=True)):
        values = row_values(record, words, vector, stored)
        size = len(values[0]) + len(values[1])
        if size > MAX_ID:
            raise DocumentError(
                f"document {record.id!r:.80} (number {number} of the batch) cannot be stored: its id and partition "
                f"have {size:,} bytes; PostgreSQL indexes at most {MAX_ID:,}. Nothing was stored",
                ids=[record.id],
                index=number,
            )
        parts.append(_COUNT)
        for value in values:
            parts += (_SIZE(len(value)), value)
    parts.append(_TRAILER)
    return b"".join(parts)


def row_values(record: Record, words: Terms, vector: NDArray[np.float32], stored: bytes) -> tuple[bytes, ...]:
    """Return the values of one row in binary form, in the order of COLUMNS.

    Args:
        vector: (d,).
        stored: the same in binary form.
    """
    tokens, fields = encode_fields(decode_stored(record.metadata))
    return (
        escape(record.partition).encode(),
        escape(record.id).encode(),
        escape(record.text).encode(),
        record.metadata.encode(),
        tokens,
        b"\1" + fields.encode(),
        text_array([_sized_term(term) for term in words.distinct]),
        words.text.encode(),
        _SIZE(words.length),
        b"\1" if record.truncated else b"\0",
        stored,
        record.hash(vector),
    )


def read_rows(chunks: Iterable[bytes | bytearray | memoryview]) -> Iterator[tuple[bytes, ...]]:
    """Yield the rows of COPY BINARY output: the values of each, in binary form. There are no NULLs."""
    rest = b""
    start = len(_HEADER)
    for chunk in chunks:
        data = rest + bytes(chunk)
        while len(data) - start >= 2:
            (count,) = _SHORT.unpack_from(data, start)
            at = start + 2
            values: list[bytes] = []
            while len(values) < count and len(data) - at >= 4:
                (size,) = _INT.unpack_from(data, at)
                if len(data) - at - 4 < size:
                    break
                values.append(data[at + 4 : at + 4 + size])
                at += 4 + size
            if count < 0 or len(values) < count:  # the end, or the rest comes with the next chunk
                break
            yield tuple(values)
            start = at
        rest, start = data[start:], 0


@lru_cache(maxsize=1 << 16)
def _sized_term(term: str) -> bytes:
    return sized(term.encode())


def decode_document(row: Sequence[Any]) -> Document:
    """Return the document in a row with the columns READ, and maybe others behind them."""
    return Document(unescape(row[1]), stored_metadata(row[2]), unescape(row[0]))
