"""Queries for a collection that has seen none."""

import numpy as np
from numpy.typing import NDArray

from theodolite.types import Space, Vectors
from theodolite.vectors.metrics import get_metric
from theodolite.vectors.prepare import prepare

_NOISE = 2.0  # its length, where that of the row is 1


def synthetic_queries(sample: NDArray[np.float32], space: Space, seed: int = 0) -> Vectors:
    """A query near each of a sample of rows, (m, d).

    A row is far too easy a query: it is found where real ones are missed. Here noise twice as long is added to
    each, which is harder than real questions. The result is as long as the row; for L2 lengths are taken from the
    sample's mean, so that it matters as little as it does to distances where zero is.
    """
    noise = np.random.default_rng(seed).standard_normal(sample.shape)
    rows = sample.astype(np.float64)
    center = rows.mean(axis=0) if get_metric(space.metric).by_distance else np.zeros(sample.shape[1])
    rows -= center
    length = np.sqrt(np.vecdot(rows, rows))[:, None]
    mixed = rows + noise * (_NOISE * length / np.sqrt(np.vecdot(noise, noise))[:, None])
    size = np.sqrt(np.vecdot(mixed, mixed))[:, None]
    mixed *= np.divide(length, size, out=np.ones_like(size), where=size > 0)
    return prepare(mixed + center, space)[0]
