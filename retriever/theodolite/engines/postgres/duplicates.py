"""Near-duplicates: the vectors are read into memory and compared here, exactly (see `indexes.flat.pairs`)."""

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from theodolite.engines.postgres.binary import decode_vectors, encode_keys, vector_length
from theodolite.engines.postgres.catalog import Collection
from theodolite.engines.postgres.codec import READ, decode_document
from theodolite.engines.postgres.connections import Connection, Connections
from theodolite.engines.postgres.where import Condition
from theodolite.errors import UnsupportedError
from theodolite.types import Document, Duplicate, Rows

MAX_BYTES = 4 << 30
"""Maximum bytes of vectors in a search for duplicates: 2.8 million vectors of 384 dimensions."""

_PAGE = 10_000
_PAIRS = 500  # whose documents are read at a time


class _Vectors:
    """Vectors in memory, as `indexes.flat` reads them."""

    def __init__(self, vectors: NDArray[np.float32]) -> None:
        self._vectors = vectors

    def take(self, rows: Rows, out: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        return self._vectors[rows]

    def span(self, start: int, stop: int) -> NDArray[np.float32]:
        return self._vectors[start:stop]


def duplicates(
    connections: Connections,
    collection: Collection,
    condition: Condition,
    threshold: float,
    progress: Callable[[int], object] | None,
) -> Iterator[Duplicate]:
    """Implement `protocols.Duplicates.duplicates`. No connection is held while the caller handles a pair.

    Raises:
        UnsupportedError: the vectors would take more than `MAX_BYTES`.
    """
    from theodolite.indexes.flat.pairs import close_pairs  # few programs need it

    keys, vectors = connections.snapshot(lambda connection: _read_vectors(connection, collection, condition))
    for pairs in close_pairs(_Vectors(vectors), np.arange(len(keys)), threshold):
        for start in range(0, len(pairs.first), _PAIRS):
            page = slice(start, start + _PAIRS)
            first, second = keys[pairs.first[page]], keys[pairs.second[page]]
            documents = _read_documents(connections, collection, np.union1d(first, second))
            for one, other, cosine in zip(first.tolist(), second.tolist(), pairs.cosines[page].tolist(), strict=True):
                if one in documents and other in documents:  # not replaced or deleted meanwhile
                    yield Duplicate(documents[one], documents[other], cosine)
        if progress is not None:
            progress(pairs.compared)


def _read_vectors(
    connection: Connection, collection: Collection, condition: Condition
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the keys of documents, ascending, and their vectors."""
    keys: list[int] = []
    parts: list[NDArray[np.float32]] = []
    size = 0
    # In pages, so that the server's form of all vectors is never in memory at once.
    with connection.cursor("vectors", binary=True) as cursor:
        cursor.itersize = _PAGE
        cursor.execute(
            f"SELECT key, embedding FROM {collection.documents} WHERE {condition.sql} ORDER BY key".encode(),
            condition.parameters,
        )
        while rows := cursor.fetchmany(_PAGE):
            stored = [row[1] for row in rows]
            size += sum(map(len, stored))
            if size > MAX_BYTES:
                raise UnsupportedError(
                    f"{collection.shown}: the vectors take more than {MAX_BYTES >> 30} GiB, too much to compare in "
                    "memory. Narrow the search with where=, or by partition",
                    limit=MAX_BYTES,
                )
            keys += [row[0] for row in rows]
            parts.append(decode_vectors(stored, vector_length(stored)))
    vectors = np.concatenate(parts) if parts else np.empty((0, 1), np.float32)
    return np.array(keys, np.int64), vectors


def _read_documents(connections: Connections, collection: Collection, keys: NDArray[np.int64]) -> dict[int, Document]:
    def read(connection: Connection) -> dict[int, Document]:
        rows = connection.execute(
            f"SELECT key, {READ} FROM {collection.documents} WHERE key = ANY(%s::bigint[])".encode(),
            (encode_keys(keys),),
        )
        return {row[0]: decode_document(row[1:]) for row in rows}

    return connections.read(read)
