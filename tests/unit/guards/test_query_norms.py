"""Lengths of queries, for dot products of vectors that are not unit."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from theodolite import ConfigError, DriftWarning, EmbedderOptions, Retriever, VectorError
from theodolite.embedders.options import OnDrift
from theodolite.guards.notes import read_note
from theodolite.guards.query_norms import NOTE

D = 8


def drawn(seed: int, n: int, low: float = 2.0, high: float = 6.0) -> NDArray[np.float64]:
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((n, D))
    vectors *= rng.uniform(low, high, (n, 1)) / np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def filled(folder: Path | None = None, metric: Any = "dot", on_drift: OnDrift = "refuse", **settings: Any) -> Retriever:
    kb = Retriever.open(folder, metric=metric, embedder=EmbedderOptions(on_drift=on_drift), **settings)
    if not len(kb):
        kb.add([str(i) for i in range(20)], vectors=drawn(0, 20))
    return kb


def test_a_query_of_unusual_length_is_refused(tmp_path: Path) -> None:
    with filled(tmp_path / "kb") as kb:
        for query in drawn(1, 40):
            kb.search(vector=query)
        for factor in (10, 0.1):
            with pytest.raises(
                VectorError, match=r"1 of 1 query vectors have unusual norms, first (40|0\.4): "
            ) as error:
                kb.search(vector=drawn(2, 1, 4, 4)[0] * factor)
            assert error.value.norms == pytest.approx([4 * factor])
        low, high = error.value.expected
        assert 2 <= low <= high <= 6
        assert len(kb.search(vector=drawn(3, 1)[0])) == 10
        mixed = np.concatenate([drawn(4, 3), drawn(5, 2) * 100])
        with pytest.raises(VectorError, match="2 of 5 query vectors"):
            kb.search_many(vectors=mixed)
    # Remembered by the next process.
    with filled(tmp_path / "kb", read_only=True) as kb, pytest.raises(VectorError, match=r"the first 32 queries had"):
        kb.search(vector=drawn(2, 1)[0] * 50)


def test_or_warned_about(tmp_path: Path) -> None:
    with filled(tmp_path / "kb", on_drift="warn") as kb:
        kb.search_many(vectors=drawn(1, 100))
        with pytest.warns(DriftWarning, match="normalization") as caught:
            assert len(kb.search(vector=drawn(2, 1)[0] * 50)) == 10
        assert caught[0].filename == __file__


def test_it_learns_from_the_first_only(tmp_path: Path) -> None:
    """Slow drift within the bounds does not move the bounds."""
    with filled(tmp_path / "kb") as kb:
        kb.search_many(vectors=drawn(1, 31))
        kb.search(vector=drawn(2, 1)[0] * 50)  # too early to tell
    with filled(tmp_path / "kb2") as kb:
        kb.search_many(vectors=drawn(1, 300, 4, 4))
        kb.search_many(vectors=drawn(1, 300, 11, 11))
        with pytest.raises(VectorError):
            kb.search_many(vectors=drawn(1, 1, 13, 13))


@pytest.mark.parametrize("metric", ["cosine", "l2"])
def test_where_length_does_not_matter_nothing_is_checked(metric: Any) -> None:
    with filled(metric=metric) as kb:
        kb.search_many(vectors=drawn(1, 300))
        assert len(kb.search(vector=drawn(2, 1)[0] * 1000)) == 10


@pytest.mark.thorough
def test_queries_of_no_length_tell_nothing() -> None:
    with filled() as kb:
        kb.search_many(vectors=np.zeros((300, D)))
        kb.search_many(vectors=drawn(1, 40))
        kb.search(vector=np.zeros(D))
        with pytest.raises(VectorError):
            kb.search(vector=drawn(2, 1)[0] * 50)


def test_another_model_after_clear(tmp_path: Path) -> None:
    with filled(tmp_path / "kb") as kb:
        kb.search_many(vectors=drawn(1, 40))
        kb.clear()
        kb.add(["a"], vectors=drawn(0, 1) * 100)
        assert kb.search(vector=drawn(2, 1)[0] * 100)
    with filled(tmp_path / "kb") as kb:
        assert kb.search(vector=drawn(2, 1)[0])


def test_no_search_waits_for_a_writer(tmp_path: Path) -> None:
    with filled(tmp_path / "kb", lock_timeout=20.0) as kb, filled(tmp_path / "kb") as other:
        with other._engine._store.write():  # type: ignore[attr-defined]  # the local engine's
            started = time.monotonic()
            kb.search_many(vectors=drawn(1, 40))
            assert time.monotonic() - started < 10
        assert read_note(kb._engine, NOTE) is None
        kb.search_many(vectors=drawn(2, 1))  # kept by the next that can
        assert read_note(kb._engine, NOTE) is not None


def test_a_setting_that_does_not_exist() -> None:
    with pytest.raises(ConfigError, match="on_drift"):
        EmbedderOptions(on_drift="maybe")  # type: ignore[arg-type]  # as a caller without a type checker may
