"""Diversity against its definitions, one passage at a time."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tests.sampling import sampled

from theodolite.ranking.diversity import Doubles, choose_diverse, collapse, scaled

Floats = NDArray[np.float32]


def cosine(one: Floats, other: Floats) -> float:
    norms = np.linalg.norm(one.astype(np.float64)) * np.linalg.norm(other.astype(np.float64))
    return float(one.astype(np.float64) @ other.astype(np.float64) / norms) if norms else 0.0


def chosen(values: Doubles, vectors: Floats, k: int, diversity: float) -> list[int]:
    """Maximal marginal relevance as retrieval frameworks have it: the best, then lambda against redundancy."""
    order = [int(np.argmax(values))]
    while len(order) < min(k, len(values)):
        left = [i for i in range(len(values)) if i not in order]
        redundancy = {i: max(cosine(vectors[i], vectors[j]) for j in order) for i in left}
        order.append(max(left, key=lambda i: (1 - diversity) * values[i] - diversity * redundancy[i]))
    return order


def drawn(seed: int, n: int, d: int) -> tuple[Doubles, Floats]:
    """Values, descending, that are cosines to a query, and vectors of all lengths in a few clusters."""
    draw = np.random.default_rng(seed)
    centers = draw.normal(size=(3, d))
    rows = centers[draw.integers(0, 3, n)] + 0.5 * draw.normal(size=(n, d))
    vectors = (rows * draw.uniform(0.1, 9, (n, 1))).astype(np.float32)
    query = draw.normal(size=d).astype(np.float32)
    values = np.array([cosine(query, row) for row in vectors])
    order = np.argsort(-values, kind="stable")
    return values[order], vectors[order]


@settings(deadline=None, max_examples=sampled(60))
@given(
    st.integers(0, 1 << 32),
    st.integers(1, 25),
    st.integers(2, 40),
    st.integers(1, 30),
    st.sampled_from([0.1, 0.3, 0.5, 0.9, 1.0]),
)
def test_mmr(seed: int, n: int, d: int, k: int, diversity: float) -> None:
    values, vectors = drawn(seed, n, d)
    order, nearest = choose_diverse(values, vectors, k, diversity)
    assert order.tolist() == chosen(values, vectors, k, diversity)
    for turn, similarity in enumerate(nearest.tolist()):
        before = [cosine(vectors[order[turn]], vectors[j]) for j in order[:turn]]
        assert similarity == pytest.approx(max(before, default=0.0), abs=1e-12)


def test_without_diversity_the_order_stays_whatever_the_values() -> None:
    values, vectors = drawn(1, 9, 4)
    assert choose_diverse(values[::-1].copy(), vectors, 5, 0.0)[0].tolist() == [0, 1, 2, 3, 4]


def test_equal_passages_come_in_the_given_order() -> None:
    """Where BLAS sums, the same rows differ in the last bit, and chance orders them."""
    draw = np.random.default_rng(3)
    vectors = draw.normal(size=(5, 383)).astype(np.float32)[np.arange(997) % 5]
    order = choose_diverse(np.ones(997), vectors, 200, 0.5)[0]
    for number in range(5):
        places = [int(place) for place in order if place % 5 == number]
        assert places == list(range(number, 997, 5))[: len(places)]


def test_mmr_takes_zero_vectors_for_unlike_anything() -> None:
    vectors = np.array([[1, 0], [1, 0], [0, 0], [0, 0]], np.float32)
    order, nearest = choose_diverse(np.array([0.9, 0.8, 0.7, 0.6]), vectors, 4, 0.5)
    assert order.tolist() == [0, 2, 3, 1]
    assert nearest.tolist() == [0.0, 0.0, 0.0, 1.0]


def test_mmr_of_nothing() -> None:
    order, nearest = choose_diverse(np.empty(0), np.empty((0, 3), np.float32), 5, 0.5)
    assert order.shape == nearest.shape == (0,)


def going_down(vectors: Floats, threshold: float) -> dict[int, list[int]]:
    """Each kept one with those it stands for."""
    stands: dict[int, list[int]] = {}
    for place, vector in enumerate(vectors):
        first = next((i for i in stands if np.float32(cosine(vectors[i], vector)) >= np.float32(threshold)), None)
        if first is None:
            stands[place] = []
        else:
            stands[first].append(place)
    return stands


@settings(deadline=None, max_examples=sampled(60))
@given(
    st.integers(0, 1 << 32), st.integers(0, 40), st.integers(1, 12), st.sampled_from([0.05, 0.7, 0.9, 0.97, 0.995, 1.0])
)
def test_collapse(seed: int, n: int, d: int, threshold: float) -> None:
    _, vectors = drawn(seed, max(n, 1), d)
    vectors = vectors[np.random.default_rng(seed).integers(0, len(vectors), n)]  # some of them twice
    kept, collapsed = collapse(vectors, threshold)
    assert {place: same.tolist() for place, same in zip(kept.tolist(), collapsed, strict=True)} == going_down(
        vectors, threshold
    )


@pytest.mark.parametrize("d", [3, 31, 384, 1040])
def test_equal_vectors_collapse_at_threshold_one(d: int) -> None:
    """Of unit vectors in float32 the product with themselves may be 0.99999994."""
    draw = np.random.default_rng(d)
    rows = draw.normal(size=(200, d)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    assert (np.vecdot(rows, rows) < 1).any()
    kept, collapsed = collapse(np.concatenate([rows, rows, 3 * rows]), 1.0)
    assert kept.tolist() == list(range(200))
    assert [same.tolist() for same in collapsed] == [[i + 200, i + 400] for i in range(200)]


def test_zero_vectors_do_not_collapse() -> None:
    assert collapse(np.zeros((3, 2), np.float32), 0.5)[0].tolist() == [0, 1, 2]


def test_scaled() -> None:
    scores = np.array([3.0, 2.0, -1.0])
    assert scaled(scores, "relevance").tolist() == [3.0, 2.0, -1.0]
    assert scaled(np.array([0.5, 0.25]), "fusion").tolist() == [1.0, 0.5]
    assert scaled(scores, "open").tolist() == [1.0, 0.75, 0.0]
    assert scaled(np.array([2.0, 2.0]), "open").tolist() == [1.0, 1.0]
    assert scaled(np.empty(0), "open").tolist() == []
