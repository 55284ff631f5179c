"""Prepare vectors and write them with their documents; read vectors back to search with them."""

from collections.abc import Container, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from theodolite.errors import InputError, VectorError
from theodolite.protocols import Engine, Scope
from theodolite.types import Document, Vectors
from theodolite.vectors.metrics import get_metric
from theodolite.vectors.prepare import prepare


def store(
    engine: Engine, documents: Sequence[Document], vectors: Any, truncated: Container[int], scope: Scope | None
) -> Vectors:
    """Prepare vectors, (n, d), and add them with their documents; return them as they are stored.

    If another writer fixes the space in between, its dimension, norms and fitted transforms apply to these, too.

    Raises:
        VectorError, ConfigError, DocumentError, LockedError: see `vectors.prepare` and `Engine.add`.
    """
    ids = [document.id for document in documents]
    space = engine.space
    prepared, settled = prepare(vectors, space, ids=ids)
    try:
        engine.add(documents, prepared, settled, truncated=truncated, scope=scope)
    except VectorError:
        pinned = engine.space
        if space.dimension is not None or pinned in (space, settled):
            raise
        prepared, settled = prepare(vectors, pinned, ids=ids)
        engine.add(documents, prepared, settled, truncated=truncated, scope=scope)
    return prepared


def store_again(
    engine: Engine, documents: Sequence[Document], vectors: Sequence[NDArray[np.float32]], scope: Scope | None
) -> None:
    """Add documents with vectors, (d,) each, as `get` returns them: they are transformed, and not prepared again."""
    engine.add(documents, Vectors(np.stack(vectors)), engine.space, scope=scope)


def mean_vector(engine: Engine, ids: Sequence[str], scope: Scope | None) -> Vectors:
    """Return the mean of some documents' vectors, (1, d). Stored vectors are transformed already.

    Raises:
        InputError: documents that are missing, or whose vectors cancel out.
    """
    found = engine.get(ids, scope=scope)
    missing = sorted(set(ids) - {document.id for document, _ in found})
    if missing or not found:
        raise InputError(
            f"{len(missing)} of the {len(ids)} documents to search by are not in the collection"
            + (f", first {missing[0]!r}" if missing else "; name at least one"),
            ids=missing,
        )
    space = engine.space.stored
    mean: NDArray[np.float64] = np.mean([vector for _, vector in found], axis=0, dtype=np.float64)
    if not mean.any() and not get_metric(space.metric).by_distance:
        raise InputError(f"the vectors of these {len(ids)} documents cancel out, so their mean has no direction")
    if space.norms == "unit":
        mean /= np.linalg.norm(mean)
    return prepare(mean[None], space, name="query vectors")[0]
