"""The best of given rows, ruled out by float32 products first, are those of scoring every one."""

from typing import Any

import numpy as np
import pytest

from theodolite.errors import CorruptionError
from theodolite.indexes.flat.index import FlatIndex
from theodolite.testing.oracle import ArraySource
from theodolite.types import Space, Vectors
from theodolite.vectors.metrics import MetricName, get_metric
from theodolite.vectors.prepare import prepare

pytestmark = pytest.mark.usefixtures("code_bits")

SCALES = [1e-40, 1e-30, 1e-19, 1e-10, 1.0, 1e10, 1e17]


def check(vectors: Any, query: Any, metric: MetricName, k: int, seed: int) -> int:
    """Check against all similarities. Return the number of rows that were scored exactly."""
    index = FlatIndex(metric, vectors.shape[1]).grown(ArraySource(vectors), len(vectors))
    rows = np.flatnonzero(np.random.default_rng(seed).random(len(vectors)) < 0.7)
    found = index.search_rows(query, rows, k, ArraySource(vectors))
    scores = get_metric(metric).scores(query, vectors[rows])
    if metric == "cosine":
        scores = np.clip(scores, -1, 1)
    order = np.lexsort((rows, -scores))
    count = max(k, int(np.count_nonzero(scores >= scores[order[k - 1]])))  # with all that tie
    assert found.rows.tolist() == rows[order[:count]].tolist()
    assert found.scores.tolist() == scores[order[:count]].tolist()
    assert found.path == "rows"
    return found.scored


@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
@pytest.mark.parametrize("dimension", [1, 3, 64, 385])
def test_random_rows(metric: MetricName, dimension: int) -> None:
    for seed in range(12):
        draw = np.random.default_rng(seed)
        raw = draw.standard_normal((3000, dimension)) + draw.choice([0, 5]) * draw.standard_normal(dimension)
        raw[1500:2000] = raw[:500]  # ties
        space = Space(metric)
        vectors, query = prepare(raw, space)[0], prepare(draw.standard_normal((1, dimension)), space)[0][0]
        scored = check(vectors, query, metric, int(draw.integers(1, 40)), seed)
        assert scored < 1000 or metric == "l2" or dimension == 1


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("of_query", SCALES)
def test_lengths_of_all_sizes(scale: float, of_query: float) -> None:
    """Squares and products of small values underflow in float32."""
    draw = np.random.default_rng(1)
    for spread in (0, 3):
        lengths = scale * 10.0 ** draw.uniform(-spread, 0, (2000, 1))
        vectors = Vectors((draw.standard_normal((2000, 20)) * lengths).astype(np.float32))
        check(vectors, (draw.standard_normal(20) * of_query).astype(np.float32), "dot", 10, 2)


def test_rows_that_nearly_tie() -> None:
    """Differences that float32 products cannot resolve."""
    draw = np.random.default_rng(0)
    vectors = np.tile(draw.standard_normal(384), (2000, 1)).astype(np.float32)
    places = draw.integers(384, size=2000)
    vectors[np.arange(2000), places] = np.nextafter(vectors[np.arange(2000), places], np.float32(9))
    scored = check(Vectors(vectors), draw.standard_normal(384).astype(np.float32), "dot", 10, 3)
    assert scored > 1000


@pytest.mark.parametrize("damage", [np.nan, np.inf, -np.inf, 1e30, -1e30, 3.0])
def test_damaged_rows_are_reported(damage: float) -> None:
    vectors, _ = prepare(np.random.default_rng(0).standard_normal((2000, 32)), Space("cosine"))
    index = FlatIndex("cosine", 32).grown(ArraySource(vectors), 2000)
    damaged = vectors.copy()
    damaged[777] = vectors[5]
    damaged[777, 3] = damage
    with np.errstate(all="ignore"), pytest.raises(CorruptionError, match="first row 777"):
        index.search_rows(np.eye(32, dtype=np.float32)[3], np.arange(2000), 10, ArraySource(damaged))
