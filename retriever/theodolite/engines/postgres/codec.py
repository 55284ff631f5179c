"""Documents as rows of the table `documents_N`, and as binary data for COPY."""

import struct
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from theodolite.engines.postgres.binary import encode_vectors, sized
from theodolite.engines.postgres.field_tokens import encode_fields
from theodolite.engines.postgres.term_tokens import TermEncoder, Terms
from theodolite.engines.records import Record
from theodolite.engines.remote.escaping import escape, unescape
from theodolite.errors import DocumentError
from theodolite.metadata import decode_stored, stored_metadata
from theodolite.types import Document

COLUMNS = "partition, id, text, metadata, tokens, fields, words, length, truncated, embedding, digest"
"""The columns of a row, except for its key."""

READ = "id, text, metadata"
"""The columns of a document."""

MAX_ID = 2_600
"""Bytes of a document's id and partition together: an entry of PostgreSQL's index has at most 2,704."""

_SAFE = MAX_ID // 8  # characters that cannot have more bytes: an escaped one has three, others up to four
_PIECE = 100_000  # bytes
_TEXTS = 500  # bytes of a row beside its vector
_HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_TRAILER = b"\xff\xff"
_COUNT = struct.pack(">h", 11)
_SHORT = struct.Struct(">h")
_INT = struct.Struct(">i")
_SIZE = _INT.pack
_DIGEST = _SIZE(16)
_FALSE, _TRUE = sized(b"\0"), sized(b"\1")


def check_sizes(records: Sequence[Record]) -> None:
    """Raise DocumentError if an id is too long for an index."""
    for number, record in enumerate(records):
        if len(record.id) + len(record.partition) <= _SAFE:
            continue
        size = len(escape(record.id).encode()) + len(escape(record.partition).encode())
        if size > MAX_ID:
            raise DocumentError(
                f"document {record.id!r:.80} (number {number} of the batch) cannot be stored: its id and partition "
                f"have {size:,} bytes; PostgreSQL indexes at most {MAX_ID:,}. Nothing was stored",
                ids=[record.id],
                index=number,
            )


def encode_rows(records: Sequence[Record], terms: TermEncoder, vectors: NDArray[np.float32]) -> Iterator[bytes]:
    """Yield records with their vectors, (n, d), as COPY BINARY takes them, in pieces.

    A piece is smaller than the buffer of the connection. So the server stores one while the next one is encoded.
    """
    size = max(1, _PIECE // (4 * vectors.shape[1] + _TEXTS))
    yield _HEADER
    for start in range(0, len(records), size):
        part = slice(start, start + size)
        words = terms.terms([record.text for record in records[part]])
        yield b"".join(map(_encoded_row, records[part], words, vectors[part], encode_vectors(vectors[part])))
    yield _TRAILER


def row_values(record: Record, words: Terms, vector: NDArray[np.float32], stored: bytes) -> tuple[bytes, ...]:
    """Return the values of one row in binary form, in the order of COLUMNS.

    Args:
        vector: (d,).
        stored: the same in binary form.
    """
    return next(read_rows([_HEADER + _encoded_row(record, words, vector, stored)]))


def _encoded_row(record: Record, words: Terms, vector: NDArray[np.float32], stored: bytes) -> bytes:
    name, text = escape(record.id).encode(), escape(record.text).encode()
    return b"".join(
        (
            _COUNT,
            _encoded_partition(record.partition),
            _SIZE(len(name)),
            name,
            _SIZE(len(text)),
            text,
            _encoded_metadata(record.metadata),
            _SIZE(len(words.words)),
            words.words,
            _SIZE(4),
            _SIZE(words.length),
            _TRUE if record.truncated else _FALSE,
            _SIZE(len(stored)),
            stored,
            _DIGEST,
            record.hash(vector),
        )
    )


@lru_cache(maxsize=1 << 12)  # documents of one source often have the same
def _encoded_metadata(metadata: str) -> bytes:
    """Return the columns `metadata`, `tokens` and `fields`."""
    return b"".join(map(sized, (metadata.encode(), *encode_fields(decode_stored(metadata)))))


@lru_cache(maxsize=1 << 10)
def _encoded_partition(partition: str) -> bytes:
    return sized(escape(partition).encode())


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


def decode_document(row: Sequence[Any]) -> Document:
    """Return the document in a row with the columns READ, and maybe others behind them."""
    return Document(unescape(row[1]), stored_metadata(row[2]), unescape(row[0]))
