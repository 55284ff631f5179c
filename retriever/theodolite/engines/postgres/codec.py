"""Documents as rows of the table `documents_N`, and as binary data for COPY."""

import struct
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from theodolite.engines.postgres.field_tokens import encode_fields
from theodolite.engines.postgres.term_tokens import Terms
from theodolite.engines.postgres.text import escape, unescape
from theodolite.engines.postgres.vectors import encode_vectors
from theodolite.engines.records import Record
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
_SIZE = struct.Struct(">i").pack
_TEXT_ARRAY = struct.Struct(">iiIii").pack
_TEXT = 25  # the number of the type text
_EMPTY_ARRAY = struct.pack(">iiI", 0, 0, _TEXT)


def encode_rows(records: Sequence[Record], terms: Sequence[Terms], vectors: NDArray[np.float32]) -> bytes:
    """Return records with their vectors, (n, d), as COPY BINARY takes them.

    Raises:
        DocumentError: an id is too long for an index.
    """
    parts = [_HEADER]
    for number, (record, words, vector, stored) in enumerate(
        zip(records, terms, vectors, encode_vectors(vectors), strict=True)
    ):
        key, name = escape(record.partition).encode(), escape(record.id).encode()
        if len(key) + len(name) > MAX_ID:
            raise DocumentError(
                f"document {record.id!r:.80} (number {number} of the batch) cannot be stored: its id and partition "
                f"have {len(key) + len(name):,} bytes; PostgreSQL indexes at most {MAX_ID:,}. Nothing was stored",
                ids=[record.id],
                index=number,
            )
        metadata = decode_stored(record.metadata)
        tokens, fields = encode_fields(metadata)
        parts.append(_COUNT)
        for value in (
            key,
            name,
            escape(record.text).encode(),
            record.metadata.encode(),
            _text_array(tokens),
            b"\1" + fields.encode(),
            _text_array(words.distinct),
            words.text.encode(),
            _SIZE(words.length),
            b"\1" if record.truncated else b"\0",
            stored,
            record.hash(vector),
        ):
            parts += (_SIZE(len(value)), value)
    parts.append(_TRAILER)
    return b"".join(parts)


def decode_document(row: Sequence[Any]) -> Document:
    """Return the document in a row with the columns READ, and maybe others behind them."""
    return Document(unescape(row[1]), stored_metadata(row[2]), unescape(row[0]))


def _text_array(values: Iterable[str]) -> bytes:
    encoded = [value.encode() for value in values]
    if not encoded:
        return _EMPTY_ARRAY
    parts = [_TEXT_ARRAY(1, 0, _TEXT, len(encoded), 1)]
    for value in encoded:
        parts += (_SIZE(len(value)), value)
    return b"".join(parts)
