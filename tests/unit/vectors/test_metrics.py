"""Metrics: their promises to indexes and ranking; no other code needs their names."""

import ast
import math
from pathlib import Path
from typing import Any, cast, get_args

import numpy as np
import pytest
from numpy.typing import NDArray

import theodolite
from theodolite import Candidates, ConfigError, Document, Freshness, Retriever
from theodolite.testing import brute_force
from theodolite.types import Space
from theodolite.vectors.metrics import METRICS, Doubles, Metric, MetricName, Numbers, get_metric
from theodolite.vectors.prepare import prepare

NAMES: tuple[MetricName, ...] = get_args(MetricName)


def drawn(seed: int, rows: int, dimension: int = 24) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal((rows, dimension)).astype(np.float32)


def test_each_name_has_its_metric() -> None:
    assert tuple(METRICS) == NAMES
    assert [get_metric(name).name for name in NAMES] == list(NAMES)


@pytest.mark.parametrize(
    ("asked", "meant"),
    [
        ("cosin", "cosine"),
        ("Cosine", "cosine"),
        ("inner product", "dot"),
        ("ip", "dot"),
        ("L2", "l2"),
        ("euclidean", "l2"),
        ("Euclidean-Distance", "l2"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest_one(asked: str, meant: str) -> None:
    with pytest.raises(ConfigError, match=rf"^metric is '{asked}'; .*Did you mean '{meant}'\?$"):
        get_metric(asked)


@pytest.mark.parametrize("asked", ["", "zzzz", None, 2, ["cosine"]])
def test_any_other_value_is_refused_with_the_known_names(asked: Any) -> None:
    with pytest.raises(ConfigError, match=r"expected one of cosine, dot, l2\.$"):
        get_metric(asked)


@pytest.mark.parametrize("name", NAMES)
def test_scores_are_exact_and_depend_on_no_other_row(name: MetricName) -> None:
    rows, _ = prepare(drawn(1, 300), Space(name))
    query = prepare(drawn(2, 1), Space(name))[0][0]
    scores = get_metric(name).scores(query, rows)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, brute_force(query, rows, name), rtol=1e-6, atol=1e-7)
    alone = [get_metric(name).scores(query, rows[place : place + 1])[0] for place in range(len(rows))]
    assert scores.tobytes() == np.array(alone, np.float32).tobytes()


@pytest.mark.parametrize("name", NAMES)
def test_scores_of_many_rows_are_computed_in_parts(name: MetricName) -> None:
    rows, _ = prepare(drawn(3, 3000, 400), Space(name))  # more values than are held at a time
    query = prepare(drawn(4, 1, 400), Space(name))[0][0]
    whole = get_metric(name).scores(query, rows)
    assert whole[2500:].tobytes() == get_metric(name).scores(query, rows[2500:]).tobytes()


@pytest.mark.parametrize("name", NAMES)
def test_the_scale_of_scans_keeps_the_order_and_leads_back(name: MetricName) -> None:
    metric = get_metric(name)
    low, high = (max(-50.0, metric.score_range[0]), min(50.0, metric.score_range[1]))
    scores = np.linspace(low, high, 1000)
    values = metric.to_scan(scores)
    assert (np.diff(values) > 0).all()
    np.testing.assert_allclose(metric.from_scan(values), scores, rtol=1e-12, atol=1e-12)
    beyond = metric.from_scan(np.array([-1e4, 1e4]))
    assert beyond[0] >= metric.score_range[0]
    assert beyond[1] <= metric.score_range[1]


@pytest.mark.parametrize("metric", [metric for metric in METRICS.values() if metric.has_relevance], ids=str)
def test_relevance_rises_with_the_score_and_is_at_most_one(metric: Metric) -> None:
    scores = np.linspace(max(-1e6, metric.score_range[0]), metric.score_range[1], 1000)
    relevance = metric.relevance(scores)
    assert (np.diff(relevance) >= 0).all()
    assert relevance[-1] == 1
    assert [metric.relevance(score) for score in scores.tolist()] == relevance.tolist()


def test_only_metrics_names_them() -> None:
    """Comparing names elsewhere would be wrong for the next metric."""
    root = Path(theodolite.__file__).parent
    # The names of hnswlib's and rabitqlib's spaces, and a key in the header of our FAISS files.
    own_vocabulary = {root / "indexes" / f"{name}.py" for name in ("hnsw", "symqg", "faiss")}
    found = []
    for path in root.rglob("*.py"):
        if path == root / "vectors" / "metrics.py" or path.is_relative_to(root / "testing") or path in own_vocabulary:
            continue
        text = path.read_text("utf-8")
        if not any(f'"{name}"' in text for name in NAMES):
            continue
        found += [
            f"{path.relative_to(root)}:{node.lineno}"
            for node in ast.walk(ast.parse(text))
            if isinstance(node, ast.Constant) and node.value in NAMES
        ]
    assert found == []


class SquaredL2(Metric):
    """Minus the squared Euclidean distance: all it takes to add a metric."""

    name = cast(MetricName, "squared-l2")
    by_distance = True
    score_range = (-math.inf, 0.0)

    def _wide_scores(self, query: Doubles, vectors: Doubles) -> Doubles:
        squares: Doubles = np.square(vectors - query).sum(axis=1)
        return -squares

    def relevance(self, score: Numbers) -> Numbers:
        return 1.0 / (1.0 - score)

    def to_scan(self, scores: NDArray[np.floating[Any]]) -> Doubles:
        return scores.astype(np.float64)

    def from_scan(self, values: Doubles) -> Doubles:
        return np.minimum(values, 0.0)


@pytest.fixture
def squared(monkeypatch: pytest.MonkeyPatch) -> MetricName:
    metric = SquaredL2()
    monkeypatch.setitem(METRICS, metric.name, metric)
    return metric.name


def test_another_metric_is_one_class(tmp_path: Path, squared: MetricName) -> None:
    rows, queries = drawn(5, 3000), drawn(6, 5)
    distances = np.square(rows[None].astype(np.float64) - queries[:, None]).sum(axis=2)
    with Retriever.open(tmp_path / "kb", metric=squared) as kb:
        kb.add([Document("x", {"day": "2024-01-01"}, id=str(row)) for row in range(len(rows))], vectors=rows)
        assert kb.metric == squared
    with Retriever.open(tmp_path / "kb") as kb:  # the name is stored
        found = kb.search_many(vectors=queries, k=10, min_relevance=0.0)
        for hits, row_distances in zip(found, distances, strict=True):
            best = np.sort(row_distances)[:10]
            assert hits.trace.complete
            np.testing.assert_allclose([hit.score for hit in hits], -best, rtol=1e-6)
            np.testing.assert_allclose([hit.scores["relevance"] for hit in hits], 1 / (1 + best), rtol=1e-6)
        boosted = kb.search(vector=queries[0], k=10, boosts=[Freshness("day", half_life="30d")])
        assert [hit.document.id for hit in boosted] == [hit.document.id for hit in found[0]]
        few = kb.search(vector=queries[0], k=1, where={"$id": {"$in": ["7", "8"]}})
        assert few[0].score == pytest.approx(-min(distances[0, 7:9]))


def test_approximate_indexes_serve_another_metric(squared: MetricName) -> None:
    pytest.importorskip("hnswlib")
    from theodolite.indexes.registry import make_index

    rows, _ = prepare(drawn(7, 500), Space(squared))
    query, _ = prepare(drawn(8, 1), Space(squared))
    index: Candidates = make_index("hnsw")
    index.build(rows, Space(squared, rows.shape[1]))
    nearest = int(np.argmax(get_metric(squared).scores(query[0], rows)))
    assert nearest in index.propose(query, 50)
