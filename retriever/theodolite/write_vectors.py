"""Vectors on their way into an engine, and those that come out of it to be searched with."""

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
    """Prepare vectors, (n, d), and add them with their documents; give them back as they are stored.

    Where another writer has settled the space in between, what it has settled and fitted holds for these, too.

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
    """Add documents with vectors, (d,) each, as `get` gives them: transformed already, so not prepared again."""
    engine.add(documents, Vectors(np.stack(vectors)), engine.space, scope=scope)


def between(engine: Engine, ids: Sequence[str], scope: Scope | None) -> Vectors:
    """The mean of the vectors of some documents, (1, d). They are stored transformed: it is not transformed again.

    Raises:
        InputError: documents that are not there, or whose vectors cancel out.
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
        raise InputError(f"the vectors of these {len(ids)} documents cancel out: there is nothing between them")
    if space.norms == "unit":
        mean /= np.linalg.norm(mean)
    return prepare(mean[None], space, name="query vectors")[0]
