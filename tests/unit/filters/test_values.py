"""Equality of values, lookup of fields, and instants."""

import time
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from theodolite.filters import MISSING, instant, lookup, matches, parse
from theodolite.metadata import decode, encode

relaxed = settings(deadline=None)

EAST = timezone(timedelta(hours=2))


def passes(where: Mapping[str, Any] | None, metadata: Mapping[str, Any]) -> bool:
    """On the metadata as it is stored."""
    return matches(parse(where), decode(encode(metadata)))


NOON = datetime(2025, 3, 1, 12, tzinfo=UTC)

EQUAL: list[tuple[Any, Any]] = [
    ("en", "en"),
    ("", ""),
    (1, 1),
    (1, 1.0),
    (1.0, 1),
    (0.0, -0.0),
    (2**70, 2**70),
    (2**53, float(2**53)),
    (True, True),
    (False, False),
    (None, None),
    # One of a list's elements, or the whole list.
    (["en", "de"], "de"),
    ([1, 2], 2.0),
    ([None, 1], None),
    ([True], True),
    ([date(2025, 3, 1)], "2025-03-01"),
    ([1, 2], [1, 2]),
    ([1, True], [1.0, True]),
    ([[1, 2], 3], [1, 2]),
    ([], []),
    # Instants.
    (date(2025, 3, 1), date(2025, 3, 1)),
    (date(2025, 3, 1), "2025-03-01"),
    ("2025-03-01", date(2025, 3, 1)),
    (date(2025, 3, 1), datetime(2025, 3, 1, tzinfo=UTC)),
    (date(2025, 3, 1), datetime(2025, 3, 1)),  # noqa: DTZ001 - naive is UTC
    (date(2025, 3, 1), "2025-03-01T00:00:00Z"),
    (NOON, datetime(2025, 3, 1, 14, tzinfo=EAST)),
    (NOON, datetime(2025, 3, 1, 12)),  # noqa: DTZ001 - naive is UTC
    (NOON, "2025-03-01T12:00Z"),
    (NOON, "2025-03-01 12:00"),
    (NOON, "2025-03-01T14:00+02:00"),
    (NOON, "2025-03-01T07:00:00.000-05:00"),
    (NOON, "2025-03-01T12:00:00,0"),
    ("2025-03-01T14:00:00+02:00", NOON),
    (NOON.replace(microsecond=100_000), "2025-03-01T12:00:00.1"),
    ([[date(2025, 3, 1)]], ["2025-03-01"]),
    (date(2025, 3, 1), "2025-W09-6"),
    (date(2025, 3, 1), "2025-02-28T24:00"),
    (NOON, "20250301T1200Z"),
    (NOON, "2025-03-01T12:00:00.0000009+0000"),
]

DIFFERENT: list[tuple[Any, Any]] = [
    ("en", "EN"),
    ("en", "en "),
    ("é", "e\u0301"),
    ("1", 1),
    (1, "1"),
    (1, 2),
    (2**53 + 1, float(2**53)),
    # A bool is not a number.
    (True, 1),
    (1, True),
    (False, 0),
    (0.0, False),
    (True, "true"),
    (False, None),
    ([True], 1),
    ([1], True),
    ([1, True], [True, 1]),
    # None is nothing but None.
    (None, ""),
    (None, 0),
    (None, False),
    ("", None),
    ([], None),
    ([[None]], None),
    ({}, None),
    # Lists.
    ([], ""),
    ("en", ["en"]),
    ([1, 2], [2, 1]),
    ([1, 2], [1]),
    ([1], [1, 2]),
    ([[1, 2]], 1),
    # Mappings equal nothing.
    ({"a": 1}, "a"),
    ({"a": 1}, 1),
    # Two strings are compared exactly, also where both are dates.
    ("2025-03-01", "2025-03-01T00:00:00Z"),
    ("2025-03-01T12:00Z", "2025-03-01T12:00+00:00"),
    # Not an ISO 8601 date, or one that could be a number.
    (date(2025, 3, 1), "20250301"),
    (date(2025, 3, 1), "2025-3-1"),
    (date(2025, 3, 1), " 2025-03-01"),
    (date(2025, 3, 1), "2025-03-01\n"),
    (date(2025, 3, 2), "2025-02-30"),
    (date(2025, 3, 1), "\u0662\u0660\u0662\u0665-03-01"),
    (date(2025, 3, 1), "2025-03-01 00"),
    (date(2025, 3, 1), "2025W096"),
    (date(2025, 3, 1), "2025-02-28T24:00:00.000000001"),
    (NOON, "2025-03-01T12:00:00.0000000000"),
    (NOON, "20250301 120000"),
    (NOON, "2025-03-01T12:00+25:00"),
    (NOON, "2025-03-01T12:00:60"),
    (date(2025, 3, 1), 1740787200),
    (date(1970, 1, 1), 0),
    (date(1970, 1, 1), False),
    (date(1970, 1, 1), None),
    (NOON, date(2025, 3, 1)),
    (NOON, NOON + timedelta(microseconds=1)),
    (NOON, datetime(2025, 3, 1, 12, tzinfo=EAST)),
]


@pytest.mark.parametrize(("value", "wanted"), EQUAL, ids=repr)
def test_equal(value: Any, wanted: Any) -> None:
    assert passes({"f": {"$eq": wanted}}, {"f": value})
    assert passes({"f": {"$in": ["other", wanted]}}, {"f": value})
    if not isinstance(wanted, list):
        assert passes({"f": wanted}, {"f": value})


@pytest.mark.parametrize(("value", "wanted"), DIFFERENT, ids=repr)
def test_different(value: Any, wanted: Any) -> None:
    assert not passes({"f": {"$eq": wanted}}, {"f": value})
    assert not passes({"f": {"$in": [wanted, "other"]}}, {"f": value})


def test_what_cannot_be_stored_equals_nothing() -> None:
    stored: tuple[Any, ...] = (None, 0, 1e308, -1e308, 2**70, "", "\ufffd", [], {}, [1.5])
    for wanted in ("\ud800", float("inf"), float("-inf")):
        for value in stored:
            assert not passes({"f": {"$in": [wanted]}}, {"f": value})
            assert passes({"f": {"$ne": wanted}}, {"f": value})


def test_negated_equality_is_the_rest() -> None:
    for value, wanted in EQUAL:
        assert not passes({"f": {"$ne": wanted}}, {"f": value})
        assert not passes({"f": {"$nin": ["other", wanted]}}, {"f": value})
    for value, wanted in DIFFERENT:
        assert passes({"f": {"$ne": wanted}}, {"f": value})
        assert passes({"f": {"$nin": ["other", wanted]}}, {"f": value})
        assert passes({"f": {"$ne": wanted}}, {}) == (wanted is not None)


def test_missing_fields() -> None:
    assert passes({"f": None}, {})
    assert passes({"f": [None, 1]}, {})
    assert passes({"f": {"$eq": None}}, {"g": 1})
    others: tuple[Any, ...] = ("", 0, False, "MISSING", "None", [])
    for wanted in others:
        assert not passes({"f": {"$eq": wanted}}, {})


def test_in_of_nothing_matches_nothing() -> None:
    stored: tuple[dict[str, Any], ...] = ({}, {"f": None}, {"f": []}, {"f": 1})
    for metadata in stored:
        assert not passes({"f": []}, metadata)
        assert not passes({"f": {"$in": []}}, metadata)


def test_all_parts_must_hold() -> None:
    where = {"a": 1, "b": ["x", "y"], "c": {"$eq": 1, "$in": [1, 2]}}
    assert passes(where, {"a": 1, "b": "y", "c": 1})
    assert not passes(where, {"a": 2, "b": "y", "c": 1})
    assert not passes(where, {"a": 1, "b": "z", "c": 1})
    assert not passes(where, {"a": 1, "b": "y", "c": 2})
    # Each part may be met by another element.
    assert passes({"c": {"$eq": 1, "$in": [2, 3]}}, {"c": [1, 2]})


def test_dotted_paths() -> None:
    nested = {"a": {"b": {"c": 1}, "d.e": 2}, "x": [{"y": 1}]}
    assert passes({"a.b.c": 1}, nested)
    assert passes({"a.d.e": 2}, nested)
    assert passes({"a.b.x": None}, nested)
    assert passes({"a.b.c.d": None}, nested)
    assert not passes({"b.c": 1}, nested)
    assert not passes({"x.y": 1}, nested)
    assert not passes({"x.0": None}, {"x.0": 1})


def test_a_literal_key_with_a_dot_wins() -> None:
    both = {"a.b": 1, "a": {"b": 2}}
    assert passes({"a.b": 1}, both)
    assert not passes({"a.b": 2}, both)
    # Also if what it holds is None.
    assert passes({"a.b": None}, {"a.b": None, "a": {"b": 2}})
    assert not passes({"a.b": 2}, {"a.b": None, "a": {"b": 2}})


def test_lookup() -> None:
    assert lookup({"a": {"b": None}}, "a.b") is None
    assert lookup({"a": {"b": None}}, "a.c") is MISSING
    assert lookup({"a": 1}, "a.b") is MISSING
    assert lookup({"": {"": 1}}, ".") == 1
    assert lookup({"a": {"": 1}}, "a.") == 1
    assert lookup([], "a") is MISSING
    assert repr(MISSING) == "MISSING"


offsets = st.integers(-23 * 60, 23 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@relaxed
@given(st.datetimes(timezones=st.none() | offsets))
def test_instants_are_microseconds_since_1970(value: datetime) -> None:
    offset = value.utcoffset() or timedelta()
    expected = (value.replace(tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC) - offset) // timedelta(microseconds=1)
    assert instant(value) == expected
    assert instant(value.isoformat()) == expected
    assert instant(value.isoformat(" ")) == expected


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="needs tzset")
def test_naive_is_utc_wherever_the_machine_is(monkeypatch: pytest.MonkeyPatch) -> None:
    naive = datetime(2025, 3, 1, 12)  # noqa: DTZ001 - on purpose
    try:
        with monkeypatch.context() as patch:
            patch.setenv("TZ", "FAR+11")
            time.tzset()
            assert naive.astimezone(UTC) != NOON, "the zone has not changed"
            for value in (naive, naive.isoformat(), NOON, NOON.isoformat()):
                assert instant(value) == 1_740_830_400_000_000
            assert instant(naive.date()) == instant("2025-03-01") == 1_740_787_200_000_000
    finally:
        time.tzset()


@relaxed
@given(st.dates())
def test_instants_of_dates(value: date) -> None:
    midnight = datetime(value.year, value.month, value.day, tzinfo=UTC)
    assert instant(value) == instant(value.isoformat()) == instant(midnight) == instant(midnight.isoformat())


@pytest.mark.parametrize(
    "edge",
    [
        datetime.min.replace(tzinfo=timezone(timedelta(hours=14))),
        datetime.max.replace(tzinfo=timezone(timedelta(hours=-12))),
        "0001-01-01T00:00+14:00",
        "9999-12-31T23:59:59.999999-12:00",
    ],
    ids=repr,
)
def test_instants_beyond_the_calendar_in_utc(edge: Any) -> None:
    assert isinstance(instant(edge), int)


@pytest.mark.parametrize("other", [None, 5, 5.0, True, "", "today", "0000-01-01", "2025-13-01", [], {}, b"2025-03-01"])
def test_what_is_no_instant(other: Any) -> None:
    assert instant(other) is None


@relaxed
@given(st.text(max_size=30))
def test_no_text_trips_instant(text: str) -> None:
    assert instant(text) is None or isinstance(instant(text), int)


scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.dates()


@relaxed
@given(scalars, scalars)
def test_equality_has_no_sides(one: Any, other: Any) -> None:
    assert matches(parse({"f": {"$eq": one}}), {"f": other}) == matches(parse({"f": {"$eq": other}}), {"f": one})


@relaxed
@given(scalars | st.lists(scalars))
def test_everything_equals_itself(value: Any) -> None:
    assert matches(parse({"f": {"$eq": value}}), {"f": value})
