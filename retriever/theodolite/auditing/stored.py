"""The audit of a collection. Engines list documents, and an audit reads twice: the vectors are copied aside."""

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from theodolite.auditing.arrays import checked
from theodolite.auditing.audit import audit
from theodolite.auditing.findings import Audit, Recommendation
from theodolite.auditing.scan import Progress, directions, lengths, wide
from theodolite.errors import InputError
from theodolite.types import Document, Space
from theodolite.vectors.metrics import get_metric

Listing = Iterable[tuple[Document, NDArray[np.float32]]]


def audit_stored(
    listing: Listing, space: Space, *, queries: Any = None, seed: int = 0, progress: Progress | None = None
) -> Audit:
    """What `audit` says of listed documents; the progress counts each three times.

    Raises:
        InputError: there are none. VectorError: queries that do not fit.
    """
    normalizes = get_metric(space.metric).normalizes
    if queries is not None and normalizes:  # as the vectors, which are stored normalized
        raw = wide(checked(queries, "queries"), slice(None))
        queries = directions(raw, lengths(raw))
    with _copied(listing, progress) as (ids, vectors):
        found = audit(vectors, queries=queries, metric=space.metric, ids=ids, seed=seed, progress=progress)
    reason = "what the collection is pinned to"
    if normalizes:
        reason += "; it stores vectors normalized, so what their lengths were does not show here"
    return replace(found, recommended=Recommendation(space.metric, space.norms, reason))


@contextmanager
def _copied(listing: Listing, progress: Progress | None) -> Iterator[tuple[list[str], NDArray[np.float32]]]:
    """Ids and vectors, (n, d), of listed documents, in a temporary file.

    Raises:
        InputError: there are none.
    """
    ids: list[str] = []
    dimension = 0
    with tempfile.TemporaryFile() as file:
        for document, vector in listing:
            ids.append(document.id)
            dimension = len(vector)
            file.write(vector.tobytes())
            if progress is not None:
                progress(1)
        if not ids:
            raise InputError("the collection holds no documents: there is nothing to audit")
        file.flush()
        yield ids, np.memmap(file, np.float32, "r", shape=(len(ids), dimension))
