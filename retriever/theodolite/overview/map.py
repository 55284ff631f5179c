"""Map: documents in two dimensions by principal components, and clusters named by their most central passage."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from theodolite.overview.sample import evenly
from theodolite.plugins import optional
from theodolite.vectors.metrics import get_metric

SIDE = 65_535
"""The largest coordinate: coordinates are whole numbers of 16 bits."""

MAX_CLUSTERS = 8

_FITTED = 10_000  # rows that the components are computed from
_CLUSTERED = 5_000  # rows that the clusters are computed from
_BLOCK = 4096  # rows projected at a time


@dataclass(frozen=True, slots=True)
class Cluster:
    """A group of documents that are near one another.

    Attributes:
        count: how many documents it has.
        central: the row of the document nearest to its mean.
        x, y: the middle of its documents on the map.
    """

    count: int
    central: int
    x: float
    y: float


@dataclass(frozen=True, slots=True)
class Map:
    """n documents in two dimensions.

    Attributes:
        x, y: (n,) whole numbers from 0 to `SIDE`, on the same scale; y grows upwards.
        clusters: (n,) the number of each document's cluster, from 0.
        names: the clusters, the largest first.
        variance: (m,) the share of the variance that each principal component explains, the largest first.
        dimension: the dimension of the vectors.
        fitted: how many documents the components were computed from.
    """

    x: NDArray[np.uint16]
    y: NDArray[np.uint16]
    clusters: NDArray[np.int32]
    names: tuple[Cluster, ...]
    variance: tuple[float, ...] = field(default=())
    dimension: int = 0
    fitted: int = 0

    def components_for(self, share: float) -> int:
        """Return how many components explain this share of the variance."""
        explained = np.cumsum(self.variance)
        return min(int(np.searchsorted(explained, share - 1e-9)) + 1, len(self.variance))


def project(vectors: NDArray[np.float32], metric: str, *, clusters: int | None = None, seed: int = 0) -> Map:
    """Return the map of vectors, (n, d).

    Principal components are fitted on at most 10,000 evenly spaced rows, clusters (k-means) on 5,000. By cosine and dot
    product, vectors are compared by their directions.

    Args:
        clusters: how many at most. Default: the square root of half the number of documents, at most 8.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    count, dimension = vectors.shape
    if not count or not dimension:
        empty = np.zeros(count, np.uint16)
        return Map(empty, empty.copy(), np.zeros(count, np.int32), (), (), dimension, 0)
    with optional("report"):
        import sklearn  # noqa: F401 - the import says whether it is installed
        from threadpoolctl import threadpool_limits
    # More threads save little here, and where others keep the processors busy, they wait for one another.
    with threadpool_limits(1):
        return _project(vectors, not get_metric(metric).by_distance, clusters, seed)


def _project(vectors: NDArray[np.float32], by_direction: bool, clusters: int | None, seed: int) -> Map:
    from sklearn.cluster import KMeans

    count, dimension = vectors.shape
    rows = evenly(count, _FITTED)
    fitted = _read(vectors, rows, by_direction)
    wanted = clusters or min(MAX_CLUSTERS, round((count / 2) ** 0.5))
    clustered = _read(vectors, evenly(count, _CLUSTERED), by_direction).astype(np.float32)
    most = max(1, min(wanted, len(np.unique(clustered, axis=0))))
    grouped = KMeans(most, n_init=3, random_state=seed).fit(clustered)
    middle, components, variance = _components(fitted)
    places, labels = np.zeros((count, 2)), np.zeros(count, np.int32)
    nearest, central = np.full(most, np.inf), np.zeros(most, np.int64)
    for start in range(0, count, _BLOCK):
        here = np.arange(start, min(start + _BLOCK, count))
        part = _read(vectors, here, by_direction)
        places[here] = (part - middle) @ components.T
        distances = grouped.transform(part.astype(np.float32))
        labels[here] = distances.argmin(axis=1)
        least = distances.argmin(axis=0)
        closer = distances[least, np.arange(most)] < nearest
        nearest[closer], central[closer] = distances[least, np.arange(most)][closer], here[least][closer]
    x, y = _quantized(places)
    order = np.argsort(-np.bincount(labels, minlength=most), kind="stable").tolist()
    rank = np.empty(most, np.int32)
    rank[order] = np.arange(most)
    labels = rank[labels]
    names = []
    for number, old in enumerate(order):
        mine = labels == number
        if mine.any():
            names.append(Cluster(int(mine.sum()), int(central[old]), float(x[mine].mean()), float(y[mine].mean())))
    return Map(x, y, labels, tuple(names), variance, dimension, len(rows))


def _read(vectors: NDArray[np.float32], rows: NDArray[np.int64], by_direction: bool) -> NDArray[np.float64]:
    """Return rows as float64; with `by_direction`, scaled to unit length, except for zero vectors."""
    part = np.array(vectors[rows], np.float64)
    if by_direction:
        norms = np.linalg.norm(part, axis=1, keepdims=True)
        part /= np.where(norms > 0, norms, 1.0)
    return part


def _components(rows: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64], tuple[float, ...]]:
    """Return the mean (d,), two components (2, d), and the share of the variance of each component.

    Components that do not exist, because all rows lie on a line or in a point, are zero.
    """
    from sklearn.decomposition import PCA

    middle, dimension = rows.mean(axis=0), rows.shape[1]
    components = np.zeros((2, dimension))
    if len(rows) < 2 or np.ptp(rows, axis=0).max() <= 1e-9:
        return middle, components, ()
    solver = "covariance_eigh" if len(rows) > dimension else "full"
    found = PCA(svd_solver=solver).fit(rows)
    kept = min(2, len(found.components_))
    components[:kept] = found.components_[:kept]
    return found.mean_, components, tuple(np.clip(found.explained_variance_ratio_, 0, 1).tolist())


def _quantized(places: NDArray[np.float64]) -> tuple[NDArray[np.uint16], NDArray[np.uint16]]:
    """Return coordinates (n, 2) as whole numbers, on the same scale, in the middle of the map."""
    low, high = places.min(axis=0), places.max(axis=0)
    span = float((high - low).max())
    if span <= 0:
        half = np.full(len(places), SIDE // 2, np.uint16)
        return half, half.copy()
    scaled = np.rint((places - (low + high) / 2) / span * SIDE + SIDE / 2)
    whole = np.clip(scaled, 0, SIDE).astype(np.uint16)
    return whole[:, 0].copy(), whole[:, 1].copy()
