"""audit() against cases whose figures are known in closed form, and against numpy."""

import json
import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from theodolite import Audit, ConfigError, InputError, Retriever, VectorError, audit
from theodolite.auditing.measurements import angles, axes

D = 64


def gaussian(count: int, dimension: int = D, seed: int = 0) -> NDArray[np.float64]:
    return np.random.default_rng(seed).standard_normal((count, dimension))


def unit(rows: NDArray[Any]) -> NDArray[np.float64]:
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float64)


@pytest.mark.parametrize("dimension", [16, 64, 384])
def test_random_directions(dimension: int) -> None:
    found = audit(gaussian(4000, dimension).astype(np.float32))
    cosines = found["anisotropy"].values
    floor = 1 / math.sqrt(dimension)
    assert cosines["noise_floor"] == pytest.approx(floor)
    assert cosines["mean"] == pytest.approx(0, abs=0.1 * floor)
    assert cosines["std"] == pytest.approx(floor, rel=0.02)
    assert cosines["p95"] == pytest.approx(1.645 * floor, rel=0.05)
    axes_ = found["dimension"].values
    assert axes_["participation"] == pytest.approx(dimension, rel=0.02)
    assert axes_["components90"] == pytest.approx(0.9 * dimension, rel=0.12)
    assert found["anisotropy"].severity == found["outliers"].severity == "ok"


@pytest.mark.parametrize("offset", [0.5, 1.0, 3.0])
def test_a_common_offset(offset: float) -> None:
    # With x = g + c, the mean cosine of two rows is |c|² / (|c|² + d), but for terms of order 1 / d.
    rows = gaussian(3000, 256)
    rows[:, 7] += offset * 16  # |c|² = offset² d
    found = audit(rows)
    assert found["anisotropy"].values["mean"] == pytest.approx(offset**2 / (1 + offset**2), abs=0.01)
    assert found["outliers"].values["dimensions"] == [7]
    assert found["outliers"].values["share"] == pytest.approx(offset**2 / (1 + offset**2), abs=0.02)
    assert found["outliers"].severity == ("warning" if offset >= 1 else "note")


@pytest.mark.parametrize("rank", [1, 3, 10, 40])
def test_few_directions(rank: int) -> None:
    found = audit(gaussian(3000, rank) @ gaussian(rank, D, seed=1))
    values = found["dimension"].values
    assert values["participation"] <= 1.001 * rank
    assert values["components99"] <= rank
    orthonormal = np.linalg.qr(gaussian(D, rank, seed=2))[0].T
    equal = audit(gaussian(3000, rank) @ orthonormal)["dimension"]
    assert equal.values["participation"] == pytest.approx(rank, rel=0.02)
    assert equal.severity == ("warning" if rank < 3 else "note" if rank <= 32 else "ok")


def test_a_small_sample_is_corrected() -> None:
    # Uncorrected, a hundred isotropic rows of 64 dimensions would show about d / (1 + d / n) = 39.
    values = [axes(unit(gaussian(100, seed=seed))).participation for seed in range(20)]
    assert np.mean(values) == pytest.approx(D, rel=0.03)


def test_pairs_are_those_of_numpy() -> None:
    rows = unit(gaussian(50))
    pairs = [float(rows[i] @ rows[j]) for i in range(50) for j in range(i)]
    found = angles(rows)
    assert found.mean == pytest.approx(np.mean(pairs))
    assert found.std == pytest.approx(np.std(pairs))
    assert found.quantiles[3] == pytest.approx(np.median(pairs))


def test_norms() -> None:
    rows = unit(gaussian(1000)) * np.linspace(2, 4, 1000)[:, None]
    values = audit(rows)["norms"].values
    assert [values[name] for name in ("min", "p5", "p50", "p95", "max", "unit")] == pytest.approx(
        [2, 2.1, 3, 3.9, 4, 0], abs=1e-9
    )
    found = audit(unit(rows).astype(np.float16))
    assert found["norms"].severity == found["metric_disagreement"].severity == "ok"
    assert (found.recommended.metric, found.recommended.norms) == ("cosine", "unit")
    assert audit(rows).recommended.norms == "any"
    assert audit(unit(rows) * 7)["norms"].severity == "ok"


def test_a_part_that_was_not_normalized() -> None:
    rows = unit(gaussian(1000))
    rows[700:] *= np.linspace(40, 80, 300)[:, None]
    found = audit(rows)["norms"]
    assert (found.severity, found.rows[0], len(found.rows)) == ("warning", 700, 100)
    assert "70 % are of unit length, 300 are not" in found.found
    assert audit(rows, metric="dot")["norms"].severity == "error"
    assert not audit(rows).ok


def test_lengths_around_one_are_not_a_mixture() -> None:
    rows = unit(gaussian(2000)) * np.random.default_rng(1).normal(1, 0.015, (2000, 1))
    assert audit(rows)["norms"].severity == "note"


def test_duplicates() -> None:
    rows = gaussian(1000).astype(np.float32)
    rows[500] = rows[3]
    rows[501] = rows[500]
    rows[900] = rows[10] * 4
    found = audit(rows)["duplicates"]
    assert (found.values["exact"], found.values["normalized"]) == (2, 3)
    assert (found.severity, found.rows) == ("note", (500, 501, 900))
    assert "row 500 = row 3, row 501 = row 3" in found.found
    rows[600:] = rows[:400]
    assert audit(rows)["duplicates"].severity == "warning"
    assert audit(gaussian(1000))["duplicates"].severity == "ok"


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_nearly_equal_is_not_equal(dtype: type[np.floating[Any]]) -> None:
    rows = gaussian(90).astype(dtype)
    rows[80] = rows[40]
    rows[80, -1] = np.nextafter(rows[80, -1], dtype(9))
    values = audit(rows)["duplicates"].values
    assert values["exact"] == 0
    assert values["near_share"] > 0
    rows[81, :2], rows[41] = (0, -0.0), rows[81]
    rows[41, :2] = (-0.0, 0)
    assert audit(rows)["duplicates"].values["exact"] == 1, "0 and -0 are the same value"


def test_equal_hashes_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    from theodolite.auditing import measurements

    rows = gaussian(200)
    rows[150] = rows[20]
    monkeypatch.setattr(measurements, "_hashes", lambda values: np.zeros(len(values), np.uint64))
    assert audit(rows)["duplicates"].values["exact"] == 0, "the two are not neighbors in this order"
    rows[21] = rows[20]
    assert audit(rows)["duplicates"].rows == (21,)


def test_near_duplicates() -> None:
    rows = gaussian(400)
    rows[200:] = rows[:200] + 1e-4 * gaussian(200, seed=1)
    found = audit(rows)["duplicates"]
    assert found.values["near_share"] == 1
    assert found.severity == "warning"


def test_broken_rows() -> None:
    rows = gaussian(500).astype(np.float32)
    rows[[5, 400], 2] = np.nan, np.inf
    rows[[7, 8]] = 0
    found = audit(rows, ids=[f"doc-{i}" for i in range(500)])
    assert (found["finite"].severity, found["finite"].rows) == ("error", (5, 400))
    assert found["finite"].found.endswith(": doc-5, doc-400")
    assert found["finite"].ids == ("doc-5", "doc-400")
    assert (found["zero"].severity, found["zero"].rows) == ("error", (7, 8))
    assert audit(rows, metric="dot")["zero"].severity == "warning"
    assert found["duplicates"].severity == "ok"
    clean = np.delete(rows, [5, 7, 8, 400], axis=0)
    assert found["norms"].values == audit(clean)["norms"].values
    assert found.severity == "error"


def test_constant_dimensions() -> None:
    rows = gaussian(300)
    rows[:, [3, 9]] = 0.25, 0
    found = audit(rows)["constant"]
    assert (found.severity, found.values["dimensions"]) == ("note", [3, 9])
    assert audit(np.tile(rows[:1], (300, 1)))["constant"].severity == "error"


def test_float16() -> None:
    rows = gaussian(300)
    assert audit(rows)["float16"].severity == "ok"
    rows[4] *= 1e6
    rows[5] *= 1e-9
    found = audit(rows)["float16"]
    assert (found.severity, found.values) == ("note", {"overflow": 1, "faint": 1})
    with pytest.raises(KeyError):
        audit(gaussian(300).astype(np.float16))["float16"]


def overlap(left: NDArray[np.int64], right: NDArray[np.int64]) -> float:
    return float(np.mean([len(set(a) & set(b)) / 10 for a, b in zip(left.tolist(), right.tolist(), strict=True)]))


def test_the_overlap_is_that_of_full_sorts() -> None:
    rows = gaussian(5000) * np.random.default_rng(1).lognormal(0, 0.3, (5000, 1))
    queries = 3 * gaussian(150, seed=2)
    norms = np.linalg.norm(rows, axis=1)
    dots = queries @ rows.T
    cosine, dot, l2 = (np.argsort(-score, axis=1)[:, :10] for score in (dots / norms, dots, dots - norms**2 / 2))
    values = audit(rows, queries=queries)["metric_disagreement"].values
    assert values["cosine_dot"] == pytest.approx(overlap(cosine, dot))
    assert values["cosine_l2"] == pytest.approx(overlap(cosine, l2))
    assert values["dot_l2"] == pytest.approx(overlap(dot, l2))
    assert (values["queries"], values["kind"]) == (150, "given")
    made_up = audit(rows)["metric_disagreement"].values
    assert (made_up["queries"], made_up["kind"]) == (200, "noise")
    assert made_up["cosine_dot"] == pytest.approx(values["cosine_dot"], abs=0.1)


def test_contrast_is_that_of_full_sorts() -> None:
    rows = unit(gaussian(90, 8))
    cosines = rows @ rows.T
    np.fill_diagonal(cosines, np.nan)
    values = audit(rows)["contrast"].values
    assert values["rows"] == 90
    assert values["nearest"] == pytest.approx(np.median(np.nanmax(cosines, axis=1)))
    assert values["mean"] == pytest.approx(np.nanmean(cosines))
    flat = audit(np.eye(300) + 1e-6 * gaussian(300, 300))["contrast"]
    assert flat.severity == "warning"
    assert flat.values["contrast"] == pytest.approx(0, abs=0.01)


def test_lengths_turn_the_ranking() -> None:
    rows = unit(gaussian(2000)) * np.random.default_rng(1).lognormal(0, 0.6, (2000, 1))
    found = audit(rows)["metric_disagreement"]
    assert found.severity == "warning"
    assert "most of their results would be wrong" in found.meaning
    assert audit(rows, metric="dot")["metric_disagreement"].severity == "warning"
    assert audit(rows, metric="cosine")["metric_disagreement"].severity == "ok"
    assert audit(rows, metric="l2")["metric_disagreement"].values == found.values
    slight = unit(rows) * np.random.default_rng(1).lognormal(0, 0.05, (2000, 1))
    assert audit(slight)["metric_disagreement"].severity == "note"


def test_queries_of_another_length() -> None:
    rows = unit(gaussian(500))
    found = audit(rows, queries=50 * unit(gaussian(40, seed=1)), metric="dot")["queries"]
    assert (found.severity, found.values["p50"]) == ("warning", pytest.approx(50))
    queries = unit(gaussian(40, seed=1))
    assert audit(rows, queries=queries)["queries"].severity == "ok"
    queries[3] = np.nan
    found = audit(rows, queries=queries)["queries"]
    assert (found.severity, found.rows) == ("error", (3,))
    assert audit(rows, queries=queries)["metric_disagreement"].values["queries"] == 39


def test_the_same_vectors_give_the_same_audit() -> None:
    rows = gaussian(1500)
    calls: list[int] = []
    assert audit(rows, progress=calls.append) == audit(rows)
    assert sum(calls) == 3000
    assert audit(rows, seed=1)["anisotropy"] != audit(rows)["anisotropy"]


def test_it_can_be_read_and_kept() -> None:
    rows = gaussian(300)
    rows[3] = 0
    found = audit(rows)
    reported = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert reported["severity"] == "error"
    assert reported["findings"][0]["name"] == "zero"
    assert reported["recommended"]["metric"] == "cosine"
    assert len(repr(found).splitlines()) == 1
    assert "300 vectors, 64 dimensions, float64" in str(found)
    assert all(len(line) <= 100 for line in str(found).splitlines())
    with pytest.raises(KeyError):
        found["nothing"]


@pytest.mark.parametrize(
    "rows",
    [
        np.ones((1, 4)),
        np.zeros((1, 1)),
        np.zeros((50, 4)),
        np.full((50, 4), np.nan),
        np.full((50, 4), np.inf),
        np.ones((50, 1)),
        np.linspace(-1, 1, 60)[:, None],
        np.ones((2, 3)),
        np.full((40, 3), 1e-320),
        np.full((40, 3), 1e300),
        np.full((40, 3), 1e308) * np.linspace(1, 1.7, 40)[:, None],
        np.logspace(-323, 308, 40)[:, None] * np.ones(3),
        np.full((40, 3), 3e-45, np.float32),
        np.full((40, 3), np.finfo(np.float32).max),
        np.arange(200, dtype=np.int32).reshape(50, 4),
        np.asfortranarray(gaussian(50, 3)),
        gaussian(50, 3).astype(">f4"),
        gaussian(25, 6)[:, ::2],
        [[1.0, 2.0], [3.0, 4.0]],
    ],
    ids=str,
)
def test_odd_vectors_are_audited(rows: Any) -> None:
    found = audit(rows)
    json.dumps(found.to_dict(), allow_nan=False)
    assert str(found)
    assert len(rows) >= 100 or found["rows"].severity in ("note", "error")
    assert isinstance(found, Audit)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (np.zeros((0, 4)), r"shape \(0, 4\): there are no vectors to audit"),
        (np.zeros((4, 0)), "there are no vectors to audit"),
        (np.zeros(4), "wrap a single vector in a list"),
        (np.zeros((2, 3, 4)), r"expected \(n, dimension\)"),
        (np.array([["a"]], object), "dtype object"),
        (np.array([["a"]]), "dtype <U1"),
        (np.zeros((3, 4), np.int8), "8-bit integers"),
        (np.zeros((3, 4), np.complex128), "dtype complex128"),
        ([[1, 2], [3]], "ragged"),
        ("vectors", "are a str"),
        (None, "are None"),
    ],
    ids=str,
)
def test_what_holds_no_vectors_is_refused(rows: Any, message: str) -> None:
    with pytest.raises(VectorError, match=message):
        audit(rows)


def test_arguments_that_do_not_fit() -> None:
    with pytest.raises(ConfigError, match="metric is 'angle'"):
        audit(gaussian(3), metric="angle")  # type: ignore[arg-type]  # on purpose
    with pytest.raises(VectorError, match="queries have dimension 3, the vectors 64"):
        audit(gaussian(3), queries=gaussian(3, 3))
    with pytest.raises(VectorError, match="3 vectors and 2 ids"):
        audit(gaussian(3), ids=["a", "b"])


@pytest.mark.parametrize("metric", ["cosine", "dot"])
def test_of_a_collection(metric: Any) -> None:
    rows = gaussian(400).astype(np.float32)
    rows[20] = rows[19]
    with Retriever.open(metric=metric) as kb:
        with pytest.raises(InputError, match="no documents"):
            kb.audit()
        kb.add([{"id": f"{i:03}", "text": "x", "metadata": {"half": i % 2}} for i in range(400)], vectors=rows)
        calls: list[int] = []
        found = kb.audit(progress=calls.append)
        assert sum(calls) == 1200
        assert found.metric == metric
        assert found.rows == 400
        assert found["norms"].values["unit"] == (metric == "cosine")
        assert (found.recommended.metric, found.recommended.norms) == (metric, "any")
        assert found["duplicates"].values["exact"] == 1
        assert "020 = 019" in found["duplicates"].found
        assert found["duplicates"].ids == ("020",)
        given = kb.audit(queries=5 * gaussian(30, seed=1))
        assert given["metric_disagreement"].values["kind"] == "given"
        assert given["queries"].severity == "ok"
        assert kb.scoped({"half": 1}).audit().rows == 200
        kb.delete("020")
        assert kb.audit()["duplicates"].severity == "ok"
