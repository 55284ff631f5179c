"""Rows of a Milvus collection as documents, read in pages."""

from collections.abc import Iterator, Sequence

import numpy as np

from theodolite.engines.milvus.conditions import all_of
from theodolite.engines.milvus.schema import id_of
from theodolite.engines.milvus.server import MilvusServer, Row
from theodolite.engines.remote.source import Candidates
from theodolite.errors import UnsupportedError
from theodolite.metadata import stored_metadata
from theodolite.types import Document, Vectors
from theodolite.vectors.metrics import Metric

MAX_COMPARED = 100_000
"""Maximum number of vectors compared here, in an exact search of a collection with an approximate index."""

_PAGE = 2000
_SHORT_PAGE = 200  # rows with texts, which may have 128 kB each


def document_of(row: Row) -> Document:
    """Return the document in a row with `pk`, `text` and `metadata`."""
    return Document(str(row["text"]), stored_metadata(row["metadata"]), id_of(row["pk"]))


def read_pages(
    server: MilvusServer, collection: str, expression: str, fields: Sequence[str], after: str = ""
) -> Iterator[list[Row]]:
    """Yield the rows that pass an expression, in the order of their primary keys, after one of these."""
    size = _SHORT_PAGE if {"text", "metadata", "vector"} & set(fields) else _PAGE
    while True:
        rest = expression if not after else all_of([expression, f'pk > "{after}"'])
        rows = server.query(collection, rest, list(dict.fromkeys(["pk", *fields])), limit=size)
        rows.sort(key=lambda row: row["pk"])
        if rows:
            yield rows
        if len(rows) < size:
            return
        after = str(rows[-1]["pk"])


def compare_all(
    server: MilvusServer, collection: str, metric: Metric, queries: Vectors, n: int, expression: str
) -> list[Candidates]:
    """Return the n rows nearest to each query, compared here: an approximate index cannot be bypassed.

    Raises:
        UnsupportedError: there are too many.
    """
    count = server.count(collection, expression)
    if count > MAX_COMPARED:
        raise UnsupportedError(
            f"an exact search of {count:,} documents needs the index 'flat': Milvus cannot bypass another one, and "
            f"at most {MAX_COMPARED:,} vectors are compared here"
        )
    best: list[list[tuple[float, Row]]] = [[] for _ in queries]
    others = [-np.inf] * len(queries)
    for page in read_pages(server, collection, expression, ["key", "text", "metadata", "vector"]):
        vectors = np.array([row["vector"] for row in page], np.float32)
        for number, query in enumerate(queries):
            scored = list(zip(metric.scores(query, vectors).tolist(), page, strict=True))
            ranked = sorted([*best[number], *scored], key=lambda pair: -pair[0])
            best[number] = ranked[:n]
            others[number] = max([others[number], *(score for score, _ in ranked[n:])])
    return [
        Candidates(
            np.array([row["key"] for _, row in ranked], np.int64),
            [id_of(row["pk"]) for _, row in ranked],
            np.array([score for score, _ in ranked], np.float64),
            0.0,
            ceiling,
            np.array([row["vector"] for _, row in ranked], np.float32).reshape(len(ranked), queries.shape[1]),
            [document_of(row) for _, row in ranked],
        )
        for ranked, ceiling in zip(best, others, strict=True)
    ]
