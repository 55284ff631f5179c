"""Series: moments and quantiles against numpy."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from theodolite.monitoring.histograms import Moments, Series

FLOATS = st.floats(-1e6, 1e6).filter(lambda value: value == 0 or abs(value) > 1e-6)


@given(st.lists(FLOATS, min_size=1, max_size=60), st.lists(FLOATS, max_size=60))
def test_quantiles_and_moments(some: list[float], more: list[float]) -> None:
    series, other = Series(), Series()
    series.add(some)
    other.add(more)
    series.merge(other)
    both = np.array(some + more)
    assert series.moments.count == len(both)
    assert series.moments.mean == pytest.approx(both.mean(), rel=1e-9, abs=1e-6)
    for q in (0.0, 0.5, 0.95, 0.99, 1.0):
        wanted = float(np.quantile(both, q, method="lower"))
        assert series.quantile(q) == pytest.approx(wanted, rel=0.0102, abs=0)


@given(st.lists(FLOATS, max_size=60))
def test_bytes_and_back(values: list[float]) -> None:
    series = Series()
    series.add(values)
    again = Series.of_bins(series.moments, series.bins())
    assert again == series


def test_what_is_very_large_or_small_has_the_last_bin() -> None:
    series = Series()
    series.add([1e-300, 1e300, -1e300])
    assert len(series.counts) == 3
    for q, size in ((0.5, 3e-10), (1.0, 3e9), (0.0, -3e9)):
        assert series.quantile(q) == pytest.approx(size, rel=0.2)


def test_variance_is_unbiased() -> None:
    values = np.random.default_rng(0).normal(0.7, 0.1, 50).tolist()
    assert Moments.of(values).variance == pytest.approx(np.var(values, ddof=1))
    assert Moments.of(values[:1]).variance == Moments().variance == 0
    assert Moments.of([1.0] * 9).variance == 0
    assert (Moments.of(values) - Moments.of(values[:20])).mean == pytest.approx(np.mean(values[20:]))


def test_logarithms() -> None:
    series = Series()
    series.add([1.0, math.e], logarithms=True)
    assert series.moments.mean == pytest.approx(0.5)
    assert series.quantile(1) == pytest.approx(math.e, rel=0.01)


def test_nothing_has_no_quantile() -> None:
    assert Series().quantile(0.5) is None


@pytest.mark.parametrize("pairs", [[1], [1, 2, 3], [1, -1], [99999, 1], [-99999, 1]])
def test_what_is_no_histogram_is_refused(pairs: list[int]) -> None:
    with pytest.raises(ValueError, match=r"histogram|shape"):
        Series.of_bins(Moments(), np.array(pairs).tobytes())
    with pytest.raises(ValueError, match="multiple"):
        Series.of_bins(Moments(), b"12345")
