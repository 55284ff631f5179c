"""Pairs of rows against the float64 oracle: every one that reaches the threshold, once, with its exact cosine."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tests.oracle.test_flat import draw_rows
from tests.sampling import sampled

from theodolite.errors import CorruptionError
from theodolite.indexes.flat import pairs as module
from theodolite.indexes.flat.pairs import close_pairs
from theodolite.indexes.flat.workers import Workers
from theodolite.testing import brute_force
from theodolite.testing.oracle import ArraySource
from theodolite.types import Rows

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Cosines = dict[tuple[int, int], float]

TRAITS = ("duplicates", "near", "offset", "outliers", "lengths", "zeros", "clusters", "extreme", "sparse")
CLOSE = 1e-12  # of a cosine: what the order of a float64 sum may decide
ALONE = Workers(1)

bounded = settings(max_examples=sampled(150), deadline=None, suppress_health_check=[HealthCheck.too_slow])


def all_cosines(vectors: Floats) -> Doubles:
    """(n, n)."""
    return np.array([brute_force(vector, vectors, "cosine") for vector in vectors]).reshape(len(vectors), len(vectors))


def found_among(vectors: Floats, threshold: float, rows: Rows | None = None, pool: Workers = ALONE) -> Cosines:
    """Return the pairs, checked for their form; no pair appears twice."""
    rows = np.arange(len(vectors)) if rows is None else rows
    found: Cosines = {}
    for one in close_pairs(ArraySource(vectors), rows, threshold, pool):
        assert one.cosines.dtype == np.float32
        listed = list(zip(one.first.tolist(), one.second.tolist(), strict=True))
        new = dict(zip(listed, one.cosines.tolist(), strict=True))
        assert len(new) == len(listed)
        assert not found.keys() & new.keys()
        found |= new
    assert all(first < second for first, second in found)
    return found


def check_found(vectors: Floats, threshold: float, rows: Rows | None = None) -> Cosines:
    found = found_among(vectors, threshold, rows)
    exact = all_cosines(vectors)
    # Half a place of a float32 below the threshold rounds to it.
    t = np.float32(threshold)
    edge = (float(t) + float(np.nextafter(t, np.float32(0)))) / 2
    inside = np.zeros(len(vectors), np.bool_)
    inside[np.arange(len(vectors)) if rows is None else rows] = True
    inside &= vectors.any(axis=1)
    allowed = np.triu(inside[:, None] & inside, 1)
    for first, second in np.argwhere(allowed & (exact >= edge + CLOSE)).tolist():
        assert (first, second) in found
    for (first, second), cosine in found.items():
        assert allowed[first, second]
        assert exact[first, second] >= edge - CLOSE
        assert abs(np.float64(cosine) - exact[first, second]) <= 2.0**-25 + CLOSE
    return found


@bounded
@given(
    n=st.one_of(st.integers(0, 60), st.integers(0, 400)),
    d=st.sampled_from((1, 2, 3, 8, 33, 64, 127, 384)),
    traits=st.sets(st.sampled_from(TRAITS), max_size=3),
    threshold=st.sampled_from((1e-3, 0.3, 0.7, 0.92, 0.99, 1 - 1e-6, 1.0)),
    share=st.sampled_from((1.0, 1.0, 0.5)),
    seed=st.integers(0, 2**32 - 1),
)
def test_every_pair_is_found(n: int, d: int, traits: set[str], threshold: float, share: float, seed: int) -> None:
    draw = np.random.default_rng(seed)
    vectors = draw_rows(n, d, traits, draw).astype(np.float32)
    rows = np.flatnonzero(draw.random(n) < share)
    check_found(vectors, threshold, rows)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.thorough
def test_several_blocks_and_strips(threads: int) -> None:
    draw = np.random.default_rng(threads)
    n = 2 * module.BLOCK + module.STRIP + 7
    vectors = draw.standard_normal((n, 4)).astype(np.float32)
    vectors[[5, 4095, 4096, n - 1]] = 2 * vectors[3]
    gone = np.array([7, 4097])
    rows = np.delete(np.arange(n), gone)
    found = found_among(vectors, 0.998, rows, Workers(threads))
    unit = vectors.astype(np.float64)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    exact = unit @ unit.T
    exact[gone] = exact[:, gone] = 0
    sure = {(i, j) for i, j in np.argwhere(np.triu(exact >= 0.998 + 1e-7, 1)).tolist()}
    assert len(sure) > 1000
    assert sure <= found.keys()
    assert all(exact[pair] >= 0.998 - 1e-7 for pair in found)
    assert {(3, 5), (3, 4095), (4095, 4096), (5, n - 1)} <= found.keys()


def test_the_order_is_by_the_blocks_of_the_second_then_by_first_and_second() -> None:
    n = module.BLOCK + 300
    vectors = np.random.default_rng(1).standard_normal((n, 2)).astype(np.float32)
    listed = [
        pair
        for one in close_pairs(ArraySource(vectors), np.arange(n), 0.99999)
        for pair in zip(one.first.tolist(), one.second.tolist(), strict=True)
    ]
    assert len(listed) > 1000
    assert listed == sorted(listed, key=lambda pair: (pair[1] // module.BLOCK, pair))


@pytest.mark.parametrize(
    ("threshold", "one", "other"),
    [
        (0.6, [1, 0], [3, 4]),  # float32(0.6) is above 0.6,
        (0.8, [1, 0], [4, 3]),
        (0.5, [1, 1, 0, 0], [1, 0, 1, 0]),
        (0.28, [1, 0], [7, 24]),
        (0.96, [1, 0], [24, 7]),
        (0.7, [1, 0, 0, 0, 0], [7, 5, 5, 1, 0]),  # and float32(0.7) below 0.7
        (1.0, [0.1, 0.2, 0.3], [0.1, 0.2, 0.3]),
    ],
)
def test_a_cosine_at_the_threshold_reaches_it(threshold: float, one: list[float], other: list[float]) -> None:
    pair = np.zeros((2, 40), np.float32)
    pair[0, : len(one)], pair[1, : len(other)] = one, other
    assert found_among(pair, threshold) == {(0, 1): float(np.float32(threshold))}
    above = float(np.nextafter(np.float32(threshold), np.float32(2)))
    assert found_among(pair, above) == {}


@pytest.mark.thorough
def test_pieces_stay_small_where_all_rows_are_equal() -> None:
    n = 6000
    vectors = np.tile(np.random.default_rng(1).standard_normal(4), (n, 1)).astype(np.float32)
    sizes = []
    for one in close_pairs(ArraySource(vectors), np.arange(n), 1.0):
        sizes.append(len(one.first))
        assert (one.cosines == 1).all()
    assert sum(sizes) == n * (n - 1) // 2
    assert sizes[0] <= module.STRIP * module.BLOCK  # it comes soon
    assert max(sizes) <= 16 * module.STRIP * module.BLOCK


def test_progress_counts_every_pair_once() -> None:
    for n in (0, 1, 2, 63, 64, 65, 1000):
        vectors = np.random.default_rng(n).standard_normal((n, 8)).astype(np.float32)
        compared = sum(one.compared for one in close_pairs(ArraySource(vectors), np.arange(n), 0.9))
        assert compared == n * (n - 1) // 2


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_damaged_vectors_are_refused(value: float) -> None:
    vectors = np.ones((9, 4), np.float32)
    vectors[6, 1] = value
    with pytest.raises(CorruptionError, match=r"1 of 8 .*first row 6"):
        list(close_pairs(ArraySource(vectors), np.arange(1, 9), 0.9))


@pytest.mark.parametrize("alive", [0, 1])
def test_nothing_to_compare(alive: int) -> None:
    vectors = np.zeros((5, 4), np.float32)
    vectors[:alive] = 1
    for count in (0, 1, 5):
        assert list(close_pairs(ArraySource(vectors), np.arange(count), 0.9)) == []


def test_codes_leave_little_to_decide(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows with a common part, with outlying components or without: the bounds are near the cosines."""
    decided = []
    real = module._Comparison._cosines

    def counted(self: module._Comparison, first: Rows, second: Rows) -> NDArray[np.float32]:
        decided.append(len(first))
        return real(self, first, second)

    monkeypatch.setattr(module._Comparison, "_cosines", counted)
    for traits, threshold in ((set[str](), 0.5), ({"offset"}, 0.95), ({"outliers"}, 0.97)):
        draw = np.random.default_rng(3)
        vectors = draw_rows(1500, 384, traits, draw).astype(np.float32)
        decided.clear()
        found = found_among(vectors, threshold)
        assert sum(decided) - len(found) < 0.002 * 1500 * 1499 / 2, traits
