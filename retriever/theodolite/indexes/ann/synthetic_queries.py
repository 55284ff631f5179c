"""Queries for a collection that has logged none."""

import numpy as np
from numpy.typing import NDArray

from theodolite.types import Space, Vectors
from theodolite.vectors.metrics import get_metric
from theodolite.vectors.prepare import prepare

_NOISE = 2.0  # the length of the noise, relative to the row


def synthetic_queries(sample: NDArray[np.float32], space: Space, seed: int = 0) -> Vectors:
    """Return a query near each of a sample of rows, (m, d).

    A row itself is far too easy a query: it is found where real queries are missed. So noise of twice its length is
    added, which makes queries that are harder than real ones. The result has the length of the row. For metrics by
    distance lengths are measured from the mean of the sample, because distances do not depend on the origin.
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
