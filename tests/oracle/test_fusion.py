"""Fusion against a dict."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from theodolite.ranking.fusion import Arm, fuse

Drawn = tuple[list[int], list[float], float]


@st.composite
def drawn_arms(draw: st.DrawFn) -> Drawn:
    """Distinct rows, their scores in descending order, many of them equal, and a weight."""
    rows = draw(st.lists(st.integers(0, 12), unique=True, max_size=10))
    scores = sorted(draw(st.lists(st.integers(0, 4), min_size=len(rows), max_size=len(rows))), reverse=True)
    return rows, [float(score) for score in scores], draw(st.sampled_from([0.0, 0.5, 1.0, 2.0]))


def expected(arms: list[Drawn], constant: float) -> dict[int, float]:
    """By definition: the rank is one more than the number of rows that score higher."""
    sums: dict[int, float] = {}
    for rows, scores, weight in arms:
        for row, score in zip(rows, scores, strict=True):
            rank = 1 + sum(other > score for other in scores)
            if weight:
                sums[row] = sums.get(row, 0.0) + weight / (constant + rank)
    return sums


def arm(drawn: Drawn) -> Arm:
    rows, scores, weight = drawn
    return Arm(np.array(rows, np.int64), np.array(scores), weight)


@settings(deadline=None)
@given(st.lists(drawn_arms(), max_size=4), st.sampled_from([0.0, 1.0, 60.0]))
def test_scores_and_order(arms: list[Drawn], constant: float) -> None:
    sums = expected(arms, constant)
    rows, scores = fuse([arm(drawn) for drawn in arms], constant)
    assert dict(zip(rows.tolist(), scores.tolist(), strict=True)) == sums
    active = [rows for rows, _, weight in arms if weight]

    def key(row: int) -> tuple[float, ...]:
        return (-sums[row], *(rows.index(row) if row in rows else 99 for rows in active))

    assert rows.tolist() == sorted(sums, key=key)


@settings(deadline=None)
@given(drawn_arms())
def test_one_arm_keeps_its_order(drawn: Drawn) -> None:
    rows, scores = fuse([Arm(np.array(drawn[0], np.int64))])
    assert rows.tolist() == drawn[0]
    assert scores.tolist() == [1 / (60 + rank) for rank in range(1, len(rows) + 1)]


def test_equal_scores_share_the_better_rank() -> None:
    rows, scores = fuse([Arm(np.array([7, 3, 9, 1]), np.array([0.9, 0.5, 0.5, 0.1]))], constant=0)
    assert rows.tolist() == [7, 3, 9, 1]
    assert scores.tolist() == [1, 1 / 2, 1 / 2, 1 / 4]


def test_a_row_found_twice_counts_once() -> None:
    rows, scores = fuse([Arm(np.array([5, 2, 5]))], constant=0)
    assert dict(zip(rows.tolist(), scores.tolist(), strict=True)) == {5: 1.0, 2: 0.5}


@pytest.mark.parametrize("arms", [[], [Arm(np.empty(0, np.int64))], [Arm(np.array([1]), weight=0.0)]])
def test_nothing_to_fuse(arms: list[Arm]) -> None:
    rows, scores = fuse(arms)
    assert rows.shape == scores.shape == (0,)
    assert rows.dtype == np.int64
