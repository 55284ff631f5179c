"""Freshness and authority, against their formulas in plain Python."""

import copy
import math
import pickle
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from theodolite.errors import ConfigError, InputError
from theodolite.filters import matches
from theodolite.protocols import Boost
from theodolite.ranking.boosts import Authority, Freshness, as_boosts, duration
from theodolite.testing import BoostContract

NOW = datetime(2025, 11, 20, tzinfo=UTC)
NOON = NOW.timestamp() + 43_200
LEVELS = {"policy": 1.0, "wiki": 0.6, "chat": 0.2}


class TestFreshness(BoostContract):
    def boost(self) -> Boost:
        return Freshness("published", "180d", weight=0.9, grace="7d", missing="oldest")

    def values(self) -> Sequence[Any]:
        return ["2025-03-01", date(1969, 1, 1), NOW, "2400-01-01T00:00+14:00", "", "soon", 2025, 1.7e9, [NOW], {}, True]


class TestAuthority(BoostContract):
    def boost(self) -> Boost:
        return Authority("source", {**LEVELS, 1: 0.9, None: 0.5}, weight=0.9)

    def values(self) -> Sequence[Any]:
        return ["policy", "Policy", "", 1, 1.0, True, ["chat", "wiki"], [], [["policy"]], {"a": 1}, date(2025, 1, 1)]


def one(boost: Any, value: Any, now: datetime = NOW) -> float:
    return float(boost.factors([value], now.timestamp())[0])


shares = st.floats(0, 1)
spans = st.timedeltas(timedelta(microseconds=1), timedelta(days=20_000))
moments = st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


@given(moments, moments, spans, spans, st.floats(0, 0.99), shares)
def test_the_formula(
    now: datetime, when: datetime, half_life: timedelta, grace: timedelta, weight: float, floor: float
) -> None:
    age = (now - when).total_seconds() - grace.total_seconds()
    good = floor + (1 - floor) * 2.0 ** (-max(0.0, age) / half_life.total_seconds())
    factor = one(Freshness("d", half_life, weight, floor, grace), when, now)
    # Seconds since 1970, as a float, hold the present to a microsecond only.
    assert math.isclose(factor, 1 - weight * (1 - good), rel_tol=1e-9, abs_tol=1e-5 / half_life.total_seconds())
    assert 1 - weight <= factor <= 1


@given(st.lists(moments, min_size=2, max_size=20), spans, st.floats(0, 0.99), shares)
def test_what_is_newer_never_has_a_lower_factor(
    when: list[datetime], half_life: timedelta, weight: float, floor: float
) -> None:
    factors = Freshness("d", half_life, weight, floor).factors(sorted(when), NOW.timestamp())
    assert (np.diff(factors) >= 0).all()


@pytest.mark.parametrize(
    ("boost", "value", "factor"),
    [
        (Freshness("d", "100d", 0.5), NOW, 1.0),
        (Freshness("d", "100d", 0.5), NOW - timedelta(days=100), 0.75),
        (Freshness("d", "100d", 0.5, floor=0.4), NOW - timedelta(days=100), 0.85),
        (Freshness("d", "100d", 0.5, grace="100d"), NOW - timedelta(days=100), 1.0),
        (Freshness("d", "100d", 0.5, grace="100d"), NOW - timedelta(days=300), 0.625),
        (Freshness("d", "1y", 0.5), NOW - timedelta(days=365.25), 0.75),
        (Freshness("d", "1s", 0.5, floor=1.0), "0001-01-01", 1.0),
        (Freshness("d", "1s", 1.0, floor=0.25), "0001-01-01", 0.25),
        (Freshness("d", "1d", 0.0), "0001-01-01", 1.0),
    ],
)
def test_values_worked_out_by_hand(boost: Freshness, value: Any, factor: float) -> None:
    assert one(boost, value) == pytest.approx(factor, abs=1e-12)


@pytest.mark.parametrize(
    "value",
    [
        date(2025, 11, 10),
        datetime(2025, 11, 10),  # noqa: DTZ001 - naive is UTC
        datetime(2025, 11, 10, 2, tzinfo=timezone(timedelta(hours=2))),
        "2025-11-10",
        "2025-11-10 00:00",
        "2025-11-10T00:00Z",
        "2025-11-09T19:00-05:00",
    ],
)
def test_one_instant_has_one_factor_however_it_is_written(value: Any) -> None:
    assert one(Freshness("d", "10d", 0.5), value) == 0.75


def test_a_leap_day_is_a_day() -> None:
    boost = Freshness("d", "2d", 0.5)
    assert one(boost, "2024-02-28", datetime(2024, 3, 1, tzinfo=UTC)) == 0.75
    assert one(boost, "2024-02-29", datetime(2024, 3, 2, tzinfo=UTC)) == 0.75
    assert one(boost, "2025-02-29", datetime(2025, 3, 2, tzinfo=UTC)) == 1.0  # there is no such day


@pytest.mark.parametrize(
    "value", [None, "", "2025", "March 2025", "2025-3-1", 2025, 1.7e9, True, [NOW], ["2025-01-01"], {}]
)
def test_what_is_no_date_is_missing(value: Any) -> None:
    assert one(Freshness("d", "1d", 0.5), value) == 1.0
    assert one(Freshness("d", "1d", 0.5, floor=0.2, missing="oldest"), value) == pytest.approx(0.6)
    refuses = Freshness("d", "1d", missing="error").refuses(NOON)
    assert refuses is not None
    assert matches(refuses, {} if value is None else {"d": value})
    assert matches(refuses, {"d": value})


@pytest.mark.parametrize(
    "value", ["0001-01-01T00:00+14:00", "2025-01-01", date(2025, 1, 1), "2025-11-20T12:00", "9999-12-31T23:59"]
)
def test_dates_are_refused_only_when_they_are_to_come(value: Any) -> None:
    undated = Freshness("d", "1d", missing="error").refuses(NOON)
    later = Freshness("d", "1d", future="error").refuses(NOON)
    either = Freshness("d", "1d", missing="error", future="error").refuses(NOON)
    assert undated is not None
    assert later is not None
    assert either is not None
    assert not matches(undated, {"d": value})
    is_later = str(value) > "2026"
    assert [matches(later, {"d": value}), matches(either, {"d": value})] == [is_later, is_later]
    assert [matches(later, {}), matches(either, {})] == [False, True]


def test_without_policies_nothing_is_refused() -> None:
    assert Freshness("d", "1d", missing="oldest").refuses(NOON) is None


def test_what_is_to_come_counts_as_now() -> None:
    boost = Freshness("d", "1s", 0.5)
    assert one(boost, NOW + timedelta(seconds=1)) == one(boost, "9999-12-31") == 1.0


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("180d", timedelta(days=180)),
        ("12h", timedelta(hours=12)),
        ("30m", timedelta(minutes=30)),
        ("2w", timedelta(weeks=2)),
        ("90s", timedelta(seconds=90)),
        ("1y", timedelta(days=365.25)),
        ("1.5d", timedelta(hours=36)),
        ("P180D", timedelta(days=180)),
        ("P1Y2W3DT4H5M6S", timedelta(days=365.25 + 17, hours=4, minutes=5, seconds=6)),
        ("PT12H", timedelta(hours=12)),
        (timedelta(days=3), timedelta(days=3)),
    ],
)
def test_durations(given: Any, expected: timedelta) -> None:
    assert duration(given, "half_life") == expected


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (180, "a number has no unit: did you mean '180d'?"),
        (1.5, "'1.5d'"),
        (True, "timedelta"),
        (None, "timedelta"),
        ("180", "such as '180d'"),
        ("180 days", "Did you mean '180d'?"),
        ("12 Hours", "Did you mean '12h'?"),
        ("90 seconds", "Did you mean '90s'?"),
        ("30min", "Did you mean '30m'?"),
        ("6mo", "did you mean '180d'?"),
        ("6 months", "did you mean '180d'?"),
        ("6M", "such as '180d'"),
        ("P6M", "such as '180d'"),
        ("P", "such as '180d'"),
        ("P1DT", "such as '180d'"),
        ("-1d", "such as '180d'"),
        ("٣d", "such as '180d'"),
        (timedelta(-1), "negative"),
        ("99999999999999d", "too long"),
        (np.timedelta64(1, "D"), "timedelta"),
    ],
)
def test_what_is_no_duration(given: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=r"half_life is ") as caught:
        Freshness("d", given)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"half_life": "0d"}, "half_life is '0d'; it must be above 0"),
        ({"half_life": "0.0000001s"}, "above 0"),
        ({"grace": 7}, "grace is 7; a number has no unit"),
        ({"grace": "7"}, "grace is '7'"),
        ({"weight": 1.0}, "a factor could be 0"),
        ({"weight": 1.0, "floor": 1e-300}, "a factor could be 0"),
        ({"weight": -0.1}, "weight is -0.1"),
        ({"weight": 1.1, "floor": 0.5}, "weight is 1.1"),
        ({"weight": math.nan}, "weight is nan"),
        ({"weight": True, "floor": 0.5}, "weight is True"),
        ({"weight": "0.2"}, "weight is '0.2'"),
        ({"floor": 1.5}, "floor is 1.5"),
        ({"missing": "neutrl"}, "Did you mean 'neutral'?"),
        ({"missing": None}, "it must be one of 'neutral', 'oldest', 'error'"),
        ({"future": "neutral"}, "it must be one of 'now', 'error'"),
        ({"field": ""}, "field is ''"),
        ({"field": ["a"]}, "field is ['a']"),
        ({"name": ""}, "name is ''"),
    ],
)
def test_freshness_within_its_bounds(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Freshness(**{"field": "d", "half_life": "1d", **settings})
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"levels": {}}, "levels is {}"),
        ({"levels": ["policy"]}, "levels is ['policy']"),
        ({"levels": {"policy": 1.2}}, "the level of 'policy' is 1.2"),
        ({"levels": {"policy": math.nan}}, "the level of 'policy' is nan"),
        ({"levels": {"policy": "high"}}, "the level of 'policy' is 'high'"),
        ({"levels": {("a", "b"): 1.0}}, "levels has the key ('a', 'b')"),
        ({"levels": {math.nan: 1.0}}, "levels has the key nan"),
        ({"levels": {date(2025, 1, 1): 1.0}}, "levels has the key datetime.date"),
        ({"default": 2}, "default is 2"),
        ({"default": 0.0, "weight": 1.0}, "a factor could be 0"),
        ({"levels": {"chat": 0.0}, "weight": 1}, "a factor could be 0"),
        ({"weight": 1.01}, "weight is 1.01"),
        ({"field": None}, "field is None"),
    ],
)
def test_authority_within_its_bounds(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Authority(**{"field": "source", "levels": LEVELS, **settings})
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("value", "level"),
    [
        ("policy", 1.0),
        ("chat", 0.2),
        ("Policy", 0.2),
        ("blog", 0.2),
        (None, 0.2),
        (3, 0.9),
        (3.0, 0.9),
        (True, 0.2),
        (1, 0.8),
        (False, 0.7),
        (0, 0.2),
        ("2025-01-01", 0.3),
        (date(2025, 1, 1), 0.3),
        ("2025-01-01T00:00", 0.2),
        (["chat", "wiki"], 0.6),
        (["blog", "wiki"], 0.6),
        (["blog"], 0.2),
        ([], 0.2),
        ([["policy"]], 0.2),
        ({"policy": 1}, 0.2),
    ],
)
def test_levels_are_looked_up_as_filters_compare(value: Any, level: float) -> None:
    boost = Authority("source", {**LEVELS, 3: 0.9, 1: 0.8, False: 0.7, "2025-01-01": 0.3}, weight=0.5)
    assert one(boost, value) == 1 - 0.5 * (1 - level)


def test_a_default_is_for_what_is_not_named() -> None:
    boost = Authority("source", LEVELS, default=0.5, weight=0.5)
    assert boost.factors(["blog", None, [], ["blog", "chat"], "chat"], 0.0).tolist() == [0.75, 0.75, 0.75, 0.6, 0.6]
    named = Authority("source", {**LEVELS, None: 0.9}, default=0.5, weight=0.5)
    assert named.factors([None, [None], "blog"], 0.0).tolist() == pytest.approx([0.95, 0.95, 0.75])


@given(shares, shares, st.floats(0, 0.99), st.floats(1e-6, 1), st.floats(1e-6, 1))
def test_no_gap_above_the_weight_is_overturned(a: float, b: float, weight: float, better: float, worse: float) -> None:
    boost = Authority("source", {"a": a, "b": b}, weight=weight)
    if worse < better * (1 - weight) * (1 - 1e-12):
        assert better * one(boost, "a") > worse * one(boost, "b")


def test_equal_boosts_are_equal_and_hash_alike() -> None:
    for make in (lambda: Freshness("d", "1d"), lambda: Authority("s", {"a": 1.0, "b": 0})):
        assert make() == make()
        assert hash(make()) == hash(make())
    assert Authority("s", {"a": 1, "b": 0}) == Authority("s", {"b": 0.0, "a": 1.0})
    assert Authority("s", {1: 1.0, 2: 0.0}) != Authority("s", {True: 1.0, 2: 0.0})
    assert Freshness("d", "1d") != Freshness("d", "1d", missing="oldest")


def test_a_table_is_copied() -> None:
    levels = {"a": 1.0, "b": 0.0}
    boost = Authority("s", levels, weight=0.5)
    levels["b"] = 1.0
    assert boost.levels == {"a": 1.0, "b": 0.0}
    assert boost.factors(["a", "b"], 0.0).tolist() == [1.0, 0.5]


@pytest.mark.parametrize("boost", [Freshness("d", "1d", grace="2d"), Authority("s", {"a": 1.0, None: 0.5})])
def test_boosts_can_be_copied_and_pickled(boost: Any) -> None:
    values = ["2020-01-01", "a", None]
    for other in (copy.deepcopy(boost), pickle.loads(pickle.dumps(boost))):  # noqa: S301
        assert other == boost
        assert hash(other) == hash(boost)
        assert (other.factors(values, NOON) == boost.factors(values, NOON)).all()


def test_in_words() -> None:
    fresh, now = Freshness("published", "180d", 0.5, grace="7d"), NOW.timestamp()
    assert fresh.describe("2025-03-01", now) == "published 2025-03-01, 264 days old"
    assert fresh.describe(date(2025, 11, 19), now) == "published 2025-11-19, 1 day old, as good as new"
    assert fresh.describe(NOW + timedelta(hours=5), now).endswith("5 hours ahead, as good as new")
    assert fresh.describe(NOW, now).endswith("less than a minute old, as good as new")
    assert fresh.describe(2025, now) == "no date in published, left as it is"
    assert Freshness("d", "1d", missing="oldest").describe(None, now) == "no date in d, the oldest"
    authority = Authority("source", LEVELS)
    assert authority.describe("wiki", now) == "source 'wiki', level 0.6"
    assert authority.describe("blog", now) == "source 'blog', level 0.2 by default"
    assert authority.describe(None, now) == "no source, level 0.2 by default"


@pytest.mark.parametrize("now", [math.nan, math.inf, 1e30, -1e30])
def test_a_present_without_a_date_is_refused(now: float) -> None:
    with pytest.raises(InputError, match="seconds since 1970"):
        Freshness("d", "1d").factors([NOW], now)


def test_as_boosts() -> None:
    fresh, authority = Freshness("d", "1d"), Authority("s", LEVELS)
    assert as_boosts(fresh) == (fresh,)
    assert as_boosts(iter([fresh, authority])) == (fresh, authority)
    assert as_boosts([]) == ()
    assert len(as_boosts([fresh, Freshness("e", "1d", name="edited")])) == 2


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("freshness", "expected a list"),
        ({"freshness": 1}, "expected a list"),
        (3, "expected a list"),
        ([Freshness], "is not a Boost"),
        (["freshness"], "is not a Boost"),
        ([Freshness("d", "1d"), Freshness("e", "1d")], "the name 'freshness' of Freshness(field='e'"),
        ([Authority("s", LEVELS, name="similarity")], "is taken"),
    ],
)
def test_what_are_no_boosts(given: Any, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        as_boosts(given)
    assert words in str(caught.value)
