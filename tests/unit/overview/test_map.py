"""The map: components, clusters and coordinates, also of degenerate collections."""

import numpy as np
import pytest
from numpy.typing import NDArray

from theodolite.overview.map import SIDE, project


def groups(count: int, dimension: int = 24) -> NDArray[np.float32]:
    """Three groups around directions that have nothing in common."""
    rng = np.random.default_rng(0)
    centers = 4 * np.eye(3, dimension)
    return (centers[np.arange(count) % 3] + rng.normal(0, 0.1, (count, dimension))).astype(np.float32)


def test_clusters_are_the_groups_and_central_passages_belong_to_them() -> None:
    vectors = groups(300)
    found = project(vectors, "cosine", clusters=3)
    for start in range(3):
        assert len(np.unique(found.clusters[start::3])) == 1
    assert [cluster.count for cluster in found.names] == [100, 100, 100]
    for number, cluster in enumerate(found.names):
        assert found.clusters[cluster.central] == number
    assert found.components_for(0.9) == 2
    assert sum(found.variance) == pytest.approx(1)


def test_components_are_those_of_the_covariance() -> None:
    vectors = groups(90, 6)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    values = np.sort(np.linalg.eigvalsh(np.cov(unit.T.astype(np.float64))))[::-1]
    assert np.allclose(project(vectors, "cosine").variance, values / values.sum(), atol=1e-6)


def test_distances_keep_their_proportions() -> None:
    vectors = np.array([[0, 0, 1], [4, 0, 1], [0, 2, 1]], np.float32)
    found = project(vectors, "l2", clusters=1)
    places = np.stack([found.x, found.y], axis=1).astype(np.float64)
    lengths = [np.linalg.norm(places[0] - places[other]) for other in (1, 2)]
    assert lengths[0] / lengths[1] == pytest.approx(2, rel=1e-3)
    assert np.ptp(places, axis=0).max() == pytest.approx(SIDE, abs=1)


@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
@pytest.mark.parametrize("vectors", [np.ones((5, 4)), np.zeros((3, 4)), np.eye(1, 4), np.eye(2, 4), np.eye(4, 1)])
def test_degenerate_collections_have_a_map(vectors: NDArray[np.float64], metric: str) -> None:
    found = project(vectors.astype(np.float32), metric)
    assert len(found.x) == len(found.y) == len(found.clusters) == len(vectors)
    assert sum(cluster.count for cluster in found.names) == len(vectors)


def test_an_empty_collection_has_an_empty_map() -> None:
    assert project(np.empty((0, 0), np.float32), "cosine").names == ()


def test_the_same_vectors_have_the_same_map() -> None:
    first, second = project(groups(200), "cosine", seed=3), project(groups(200), "cosine", seed=3)
    assert first.x.tolist() == second.x.tolist()
    assert first.clusters.tolist() == second.clusters.tolist()
