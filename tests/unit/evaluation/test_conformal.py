"""The ranks, bounds and percentiles of split conformal prediction, against oracles."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from theodolite.evaluation.conformal import highest_coverage, low_coverage, questions_needed, rank_of

stats = pytest.importorskip("scipy.stats")

coverages = st.integers(1, 999).map(lambda n: n / 1000)


@given(coverages, st.integers(1, 2000))
def test_the_rank_is_the_smallest_that_promises_the_coverage(coverage: float, count: int) -> None:
    rank = rank_of(coverage, count)
    exact = Fraction(round(coverage * 1000), 1000)
    assert Fraction(rank, count + 1) >= exact
    assert Fraction(rank - 1, count + 1) < exact


@given(coverages, st.integers(20, 400), st.integers(0, 2**32))
def test_the_rank_is_that_of_numpys_quantile_with_one_infinite_gap_more(coverage: float, count: int, seed: int) -> None:
    gaps = np.sort(np.random.default_rng(seed).random(count))
    rank = rank_of(coverage, count)
    # Just below: where (n + 1) * coverage is whole, floats may lie above it.
    expected = np.quantile(np.append(gaps, math.inf), coverage - 1e-7, method="inverted_cdf")
    assert (gaps[rank - 1] if rank <= count else math.inf) == expected


@given(coverages)
def test_one_question_fewer_than_needed_cannot_promise_it(coverage: float) -> None:
    needed = questions_needed(coverage)
    assert rank_of(coverage, needed) <= needed
    assert needed == 1 or rank_of(coverage, needed - 1) > needed - 1


@given(st.integers(5, 500), st.data())
def test_the_highest_coverage_can_be_promised_and_a_higher_one_cannot(count: int, data: st.DataObject) -> None:
    finite = data.draw(st.integers(1, count))
    highest = highest_coverage(finite, count)
    assert highest == 0 or rank_of(highest, count) <= finite
    assert rank_of(round(highest + 0.001, 3), count) > finite


@given(st.integers(1, 3000), st.data())
def test_the_low_coverage_is_the_fifth_percentile_of_the_beta_distribution(count: int, data: st.DataObject) -> None:
    rank = data.draw(st.integers(1, count))
    assert low_coverage(rank, count) == pytest.approx(stats.beta.ppf(0.05, rank, count + 1 - rank), abs=1e-9)


@pytest.mark.parametrize(("count", "expected"), [(9, 0.72), (100, 0.85)])
def test_low_coverages_of_the_documentation(count: int, expected: float) -> None:
    assert round(low_coverage(rank_of(0.9, count), count), 2) == expected


def test_decimals_are_taken_as_they_are_written() -> None:
    assert 0.55 * 100 > 55  # as floats
    assert rank_of(0.55, 99) == 55
