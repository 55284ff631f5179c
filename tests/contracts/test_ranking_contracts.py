"""The contracts of rerankers and boosts: right ones pass, and each of their tests can fail."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from theodolite.protocols import Boost, Reranker
from theodolite.testing import BoostContract, RerankerContract

Doubles = NDArray[np.float64]


class Overlap:
    """A toy reranker: counts the words of the query in the text."""

    def score(self, query: str, texts: Sequence[str], /) -> Doubles:
        words = set(query.lower().split())
        return np.array([float(len(words & set(text.lower().split()))) for text in texts], np.float64)

    def calibrate(self, scores: NDArray[np.floating[Any]], /) -> NDArray[np.floating[Any]]:
        return 0.5 + 0.5 * np.tanh(scores.astype(np.float64))


class Table:
    """A toy boost: a factor from a table."""

    name = "authority"
    field = "source"

    def factors(self, values: Sequence[Any], now: float, /) -> Doubles:
        table = {"policy": 1.0, "wiki": 0.5}
        return np.array([table.get(value, 0.8) if isinstance(value, str) else 0.8 for value in values], np.float64)


class Age:
    """A toy boost: halves with every year."""

    name = "freshness"
    field = "published"

    def factors(self, values: Sequence[Any], now: float, /) -> Doubles:
        ages = [max(0.0, now - value) if isinstance(value, (int, float)) else 0.0 for value in values]
        return np.array(0.1 + 0.9 * 0.5 ** (np.array(ages, np.float64) / 31_557_600))


class TestOverlap(RerankerContract):
    def reranker(self) -> Reranker:
        return Overlap()


class TestTable(BoostContract):
    def boost(self) -> Boost:
        return Table()

    def values(self) -> list[Any]:
        return ["policy", "wiki", "unheard of", "", 3, ["policy"]]


class TestAge(BoostContract):
    def boost(self) -> Boost:
        return Age()

    def values(self) -> list[Any]:
        return [0, 1.6e9, 5e9, "not a number"]


class NoCalibrate:
    def score(self, query: str, texts: Sequence[str], /) -> Doubles:
        return np.zeros(len(texts))


class Columns(Overlap):
    """Gives (n, 1), as many models do."""

    def score(self, query: str, texts: Sequence[str], /) -> Doubles:
        return super().score(query, texts)[:, None]


class Infinite(Overlap):
    def score(self, query: str, texts: Sequence[str], /) -> Doubles:
        return super().score(query, texts) + np.where(np.arange(len(texts)), 0, np.inf)


class PlainList(Overlap):
    def score(self, query: str, texts: Sequence[str], /) -> Any:
        return super().score(query, texts).tolist()


class Whole(Overlap):
    def score(self, query: str, texts: Sequence[str], /) -> Any:
        return super().score(query, texts).astype(np.int64)


class OneWhenEmpty(Overlap):
    def score(self, query: str, texts: Sequence[str], /) -> Doubles:
        return super().score(query, texts or [""])


class Backwards(Overlap):
    def calibrate(self, scores: NDArray[np.floating[Any]], /) -> NDArray[np.floating[Any]]:
        return 1 - super().calibrate(scores)


class Uncalibrated(Overlap):
    def calibrate(self, scores: NDArray[np.floating[Any]], /) -> NDArray[np.floating[Any]]:
        return scores


class Overflowing(Overlap):
    """The naive logistic function, in a form that loses its limits."""

    def calibrate(self, scores: NDArray[np.floating[Any]], /) -> NDArray[np.floating[Any]]:
        with np.errstate(all="ignore"):
            powers = np.exp(scores)
            return np.asarray(powers / (1 + powers))


class NoField:
    name = "x"

    def factors(self, values: Sequence[Any], now: float, /) -> Doubles:
        return np.ones(len(values))


class Nameless(Table):
    name = ""


class TrippedByNone(Table):
    def factors(self, values: Sequence[Any], now: float, /) -> Doubles:
        return np.array([1.0 / (1 + len(value)) for value in values])


class Short(Table):
    def factors(self, values: Sequence[Any], now: float, /) -> Doubles:
        return super().factors([value for value in values if value is not None], now)


class Single(Table):
    def factors(self, values: Sequence[Any], now: float, /) -> Any:
        return super().factors(values, now).astype(np.float32)


class Draining(Table):
    def factors(self, values: Sequence[Any], now: float, /) -> Doubles:
        factors = super().factors(values, now)
        if isinstance(values, list):
            values.clear()
        return factors


class Zero(Table):
    def factors(self, values: Sequence[Any], now: float, /) -> Doubles:
        return super().factors(values, now) * [value is not None for value in values]


class Praising(Table):
    def factors(self, values: Sequence[Any], now: float, /) -> Doubles:
        return super().factors(values, now) * 1.2


class Undefined(Table):
    def factors(self, values: Sequence[Any], now: float, /) -> Doubles:
        return np.where([value is None for value in values], np.nan, super().factors(values, now))


class FromTheFuture(Age):
    """Documents newer than the clock are worth more than 1."""

    def factors(self, values: Sequence[Any], now: float, /) -> Doubles:
        ages = [now - value if isinstance(value, (int, float)) else 0.0 for value in values]
        return np.array(0.5 ** (np.array(ages, np.float64) / 31_557_600))


class Relative(Table):
    """Scales by the best of the list."""

    def factors(self, values: Sequence[Any], now: float, /) -> Doubles:
        factors = super().factors(values, now)
        return factors / factors.max() if len(factors) else factors


class Ordered(Table):
    def factors(self, values: Sequence[Any], now: float, /) -> Doubles:
        return np.sort(super().factors(values, now))


BROKEN_RERANKERS: list[tuple[Callable[[], Any], str]] = [
    (NoCalibrate, "test_fits_the_protocol"),
    (Columns, "test_one_finite_score_for_each_text"),
    (Infinite, "test_one_finite_score_for_each_text"),
    (PlainList, "test_one_finite_score_for_each_text"),
    (Whole, "test_one_finite_score_for_each_text"),
    (OneWhenEmpty, "test_no_texts_give_no_scores"),
    (Backwards, "test_calibrated_scores_keep_the_order"),
    (Uncalibrated, "test_calibrated_scores_lie_between_0_and_1"),
    (Overflowing, "test_calibrated_scores_lie_between_0_and_1"),
]

BROKEN_BOOSTS: list[tuple[Callable[[], Any], str]] = [
    (NoField, "test_fits_the_protocol"),
    (Nameless, "test_fits_the_protocol"),
    (TrippedByNone, "test_one_factor_for_each_value"),
    (Short, "test_one_factor_for_each_value"),
    (Single, "test_one_factor_for_each_value"),
    (Draining, "test_one_factor_for_each_value"),
    (Zero, "test_factors_lie_above_0_and_up_to_1"),
    (Praising, "test_factors_lie_above_0_and_up_to_1"),
    (Undefined, "test_factors_lie_above_0_and_up_to_1"),
    (FromTheFuture, "test_factors_lie_above_0_and_up_to_1"),
    (Relative, "test_a_factor_depends_on_its_own_value_only"),
    (Ordered, "test_a_factor_depends_on_its_own_value_only"),
]


class RerankerUnderTest(RerankerContract):
    def __init__(self, make: Callable[[], Any]) -> None:
        self.make = make

    def reranker(self) -> Any:
        return self.make()


class BoostUnderTest(BoostContract):
    def __init__(self, make: Callable[[], Any]) -> None:
        self.make = make

    def boost(self) -> Any:
        return self.make()

    def values(self) -> list[Any]:
        return ["wiki", "unheard of", "policy", 2e9]


@pytest.mark.parametrize(("broken", "test"), BROKEN_RERANKERS)
def test_a_broken_reranker_fails(broken: Callable[[], Any], test: str) -> None:
    with pytest.raises(AssertionError):
        getattr(RerankerUnderTest(broken), test)()


@pytest.mark.parametrize(("broken", "test"), BROKEN_BOOSTS)
def test_a_broken_boost_fails(broken: Callable[[], Any], test: str) -> None:
    with pytest.raises(AssertionError):
        getattr(BoostUnderTest(broken), test)()


def test_every_test_of_the_contracts_can_fail() -> None:
    for contract, broken in ((RerankerContract, BROKEN_RERANKERS), (BoostContract, BROKEN_BOOSTS)):
        assert {test for _, test in broken} == {name for name in dir(contract) if name.startswith("test_")}
