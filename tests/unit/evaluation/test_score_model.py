"""Probabilities by the score of the first hit."""

import numpy as np
import pytest

from theodolite.evaluation.score_model import ScoreModel, auroc, brier_score, fit


def drawn(seed: int, mean: float, count: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.random.default_rng(seed).normal(mean, 1.0, count)


def test_probabilities_are_those_of_the_distributions_the_scores_come_from() -> None:
    model = fit(drawn(0, 2.0, 20_000), [drawn(1, 0.0, 20_000)], 0.5)
    # Two normal distributions of equal width have the log odds 2x - 2.
    for score in (-1.0, 0.0, 1.0, 2.0, 3.0):
        assert model(score) == pytest.approx(1 / (1 + np.exp(2 - 2 * score)), abs=0.01)


def test_the_assumed_share_shifts_the_odds_by_its_own() -> None:
    answered, others = drawn(0, 2.0, 20_000), [drawn(1, 0.0, 20_000)]
    half, tenth = fit(answered, others, 0.5), fit(answered, others, 0.1)
    assert tenth.intercept - half.intercept == pytest.approx(np.log(9), abs=0.2)
    assert tenth(1.0) > half(1.0)


def test_groups_weigh_equally_whatever_their_size() -> None:
    answered = drawn(0, 2.0, 2000)
    few, many = drawn(1, 0.0, 100), drawn(2, -3.0, 10_000)
    repeated = np.repeat(few, 100)
    first, second = fit(answered, [few, many], 0.5), fit(answered, [repeated, many], 0.5)
    assert first(1.0) == pytest.approx(second(1.0), abs=0.01)


@pytest.mark.parametrize(
    ("answered", "others"),
    [
        ([2.0, 3.0, 4.0, 5.0, 6.0], [-9.0, -8.0, -7.0, -6.0, -5.0]),  # fully separated
        ([1.0] * 6, [1.0] * 6),  # nothing to tell by
        ([0.0, 1.0, 2.0, 3.0, 4.0], [0.0, 1.0, 2.0, 3.0, 4.0]),
        ([1e6, 2e6, 3e6, 4e6, 5e6], [1e-3, 2e-3, 3e-3, 4e-3, 5e-3]),
    ],
)
def test_hard_cases_stay_finite_and_short_of_certainty(answered: list[float], others: list[float]) -> None:
    model = fit(np.array(answered), [np.array(others)], 0.5)
    for score in (*answered, *others):
        assert 0 < model(score) < 1
    assert np.mean([model(score) for score in answered]) >= np.mean([model(score) for score in others]) - 1e-9


def test_extreme_scores_do_not_overflow() -> None:
    assert ScoreModel(0.0, 1.0)(1e6) == 1.0
    assert ScoreModel(0.0, 1.0)(-1e6) == 0.0


def test_the_brier_score_of_useless_scores_is_that_of_the_share() -> None:
    answered, others = drawn(0, 0.0, 3000), [drawn(1, 0.0, 3000)]
    assert brier_score(answered, others, 0.5) == pytest.approx(0.25, abs=0.002)
    assert brier_score(answered, others, 0.2) == pytest.approx(0.16, abs=0.002)
    assert brier_score(answered + 4, others, 0.5) < 0.05


def test_auroc_counts_pairs_and_half_of_the_ties() -> None:
    first, second = np.array([1.0, 2.0, 2.0, 5.0]), np.array([0.0, 2.0, 3.0])
    pairs = [(a > b) + (a == b) / 2 for a in first for b in second]
    assert auroc(first, second) == pytest.approx(np.mean(pairs))
