"""Comparing two evaluations: paired tests, intervals, and what cannot be compared."""

import json
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest

from theodolite import Evaluation, InputError
from theodolite.evaluation.resampling import (
    detectable_difference,
    intervals,
    permutation_test,
    proportion_intervals,
)


def evaluation(values: Any, **changes: Any) -> Evaluation:
    given = np.asarray(values, float)
    made = Evaluation(
        metrics={"nDCG@10": float(given.mean())},
        intervals={"nDCG@10": (0.0, 1.0)},
        per_question={f"q{n}": {"nDCG@10": float(value)} for n, value in enumerate(given)},
        judged={10: 1.0},
        left_out=0,
        unanswered=0,
        synthetic=0,
        k=(10,),
        by=None,
        mode="dense",
        judgments=9,
        unknown=(),
        notes=(),
        digest="same",
    )
    return replace(made, **changes)


def drawn(seed: int, count: int) -> Any:
    return np.random.default_rng(seed).random(count)


def test_a_clear_difference_is_shown() -> None:
    first = drawn(1, 100) * 0.8
    found = evaluation(first).compare(evaluation(first + 0.1 + 0.05 * drawn(2, 100))).metrics["nDCG@10"]
    low, high = found.interval
    assert low < found.difference < high
    assert found.difference == pytest.approx(found.second - found.first)
    assert (found.better, found.worse, found.verdict) == (100, 0, "higher")
    assert found.p_value < 0.001
    assert found.detectable is not None
    assert found.detectable < 0.01
    back = evaluation(first + 0.1).compare(evaluation(first)).metrics["nDCG@10"]
    assert (back.verdict, back.worse) == ("lower", 100)


def test_noise_is_not_shown_as_a_difference() -> None:
    found = evaluation(drawn(1, 50)).compare(evaluation(drawn(2, 50)))
    one = found.metrics["nDCG@10"]
    assert one.verdict == "not shown"
    assert one.detectable is not None
    assert abs(one.difference) < one.detectable
    assert "not shown" in str(found)
    assert json.loads(json.dumps(found.to_dict()))["metrics"]["nDCG@10"]["p_value"] == one.p_value


def test_equal_results_are_equal() -> None:
    same = evaluation(drawn(1, 20))
    found = same.compare(same).metrics["nDCG@10"]
    assert (found.difference, found.p_value, found.detectable, found.verdict) == (0.0, 1.0, None, "equal")
    assert found.interval == (0.0, 0.0)


def test_few_questions_can_show_nothing() -> None:
    found = evaluation([0.0] * 5).compare(evaluation([1.0] * 5)).metrics["nDCG@10"]
    assert (found.verdict, found.detectable) == ("not shown", None)
    assert found.p_value == 2 / 2**5


@pytest.mark.parametrize("count", [1, 2, 7, 10])
def test_few_questions_are_tested_with_all_signs(count: int) -> None:
    differences = drawn(count, count) - 0.3
    sums = [
        abs(sum(s * d for s, d in zip(signs, differences, strict=True))) for signs in product((-1, 1), repeat=count)
    ]
    expected = np.mean(np.array(sums) >= abs(differences.sum()) - 1e-9)
    assert permutation_test(differences) == pytest.approx(expected)


def test_random_signs_agree_with_all_signs() -> None:
    differences = drawn(5, 16) - 0.4
    signs = 1 - 2 * ((np.arange(2**16)[:, None] >> np.arange(16)) & 1)
    exact = np.mean(np.abs(signs @ differences) >= abs(differences.sum()) - 1e-9)
    assert permutation_test(differences) == pytest.approx(exact, abs=0.02)


def test_the_test_rejects_as_often_as_it_says() -> None:
    """Of differences with mean 0, about one in twenty has a p-value below 0.05."""
    draw = np.random.default_rng(3)
    rejected = sum(permutation_test(draw.standard_normal(12)) < 0.05 for _ in range(400))
    assert 8 <= rejected <= 36


def test_the_detectable_difference_is_shown_in_most_cases() -> None:
    draw = np.random.default_rng(4)
    noise = draw.standard_normal((200, 40))
    detectable = float(np.mean([detectable_difference(each) or 0.0 for each in noise]))
    shown = np.mean([permutation_test(each + detectable) < 0.05 for each in noise[:100]])
    assert 0.65 < shown < 0.92, "about 80 %"


def test_intervals_cover_the_mean() -> None:
    draw = np.random.default_rng(5)
    covered = 0
    for _ in range(100):
        ((low, high),) = intervals(draw.random((60, 1)))
        covered += low <= 0.5 <= high
    assert covered >= 85


def test_equal_values_do_not_make_an_interval_of_no_width() -> None:
    assert proportion_intervals(np.ones((60, 1))).tolist() == [[0.95, 1.0]]
    assert proportion_intervals(np.zeros((300, 1))).tolist() == [[0.0, 0.01]]


def test_results_do_not_change_from_call_to_call() -> None:
    values = drawn(6, 400)[:, None]
    assert intervals(values).tolist() == intervals(values).tolist()
    assert permutation_test(values[:, 0] - 0.45) == permutation_test(values[:, 0] - 0.45)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (evaluation([0.5, 0.5], digest="new", judgments=10), r"the judgments have changed .* \(9 and 10\)"),
        (evaluation([0.5]), "1 questions are only in one of the two evaluations; first: 'q1'"),
        (evaluation([0.5, 0.5], by="path"), "judges documents, the second the field 'path'"),
        (evaluation([0.5, 0.5], metrics={"nDCG@5": 0.5}), "no metric in common: nDCG@10 and nDCG@5"),
        ("before.json", "not with str"),
    ],
)
def test_what_cannot_be_compared(other: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        evaluation([0.5, 0.6]).compare(other)
