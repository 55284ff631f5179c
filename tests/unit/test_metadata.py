"""Stored metadata: round trips, and invalid values."""

import enum
import json
import sqlite3
import string
import uuid
from collections import OrderedDict, UserDict, defaultdict, namedtuple
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from theodolite.errors import DocumentError, type_of
from theodolite.metadata import MAX_DEPTH, decode, encode, stored_key


def same(one: Any, other: Any) -> bool:
    """Equal, and of the same types all the way down: to Python 1, 1.0 and True are equal, and so are 0.0 and -0.0."""
    if type(one) is not type(other):
        return False
    match one:
        case dict():
            return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
        case list():
            return len(one) == len(other) and all(map(same, one, other))
        case datetime():
            return bool(one == other) and one.utcoffset() == other.utcoffset()
        case float():
            return repr(one) == repr(other)
        case _:
            return bool(one == other)


relaxed = settings(deadline=None)

offsets = st.timedeltas(timedelta(hours=-24, microseconds=1), timedelta(hours=24, microseconds=-1)).map(timezone)
keys = st.text(max_size=8) | st.sampled_from(["$date", "$datetime", "$", "$$", "$$date", "$eq", "a.b", "", '"', "\\"])
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.dates()
    | st.datetimes(timezones=st.none() | offsets)
    | st.sampled_from(["2025-03-01", "$date", "null", "NaN", "\0", "\u2028", "\U0001f600", -0.0, 2**70, 1e308])
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4), max_leaves=12
)
mappings = st.dictionaries(keys, values, max_size=5)


@relaxed
@given(mappings)
def test_what_is_stored_comes_back(metadata: dict[str, Any]) -> None:
    for canonical in (False, True):
        text = encode(metadata, canonical=canonical)
        back = decode(text)
        if canonical:
            assert same(_sorted(back), _sorted(metadata))
        else:
            assert same(back, metadata)
        assert encode(back, canonical=canonical) == text


@relaxed
@given(mappings)
def test_it_is_json_that_others_read(metadata: dict[str, Any]) -> None:
    text = encode(metadata)
    read = json.loads(text)
    assert [stored_key(key) for key in metadata] == list(read)
    text.encode()
    # SQLite's `->` gives the raw text of one value; NUL ends its strings.
    if "\\u0000" not in text:
        assert sqlite3.connect(":memory:").execute("SELECT json_valid(?)", [text]).fetchone() == (1,)


@relaxed
@given(mappings)
def test_one_value_can_be_cut_out(metadata: dict[str, Any]) -> None:
    for value in metadata.values():
        whole = encode({"": value})
        assert whole.startswith('{"":')
        assert same(decode(whole[4:-1]), value)


@relaxed
@given(mappings, st.randoms())
def test_the_canonical_text_does_not_depend_on_the_order_of_keys(metadata: dict[str, Any], random: Any) -> None:
    assert encode(_shuffled(metadata, random), canonical=True) == encode(metadata, canonical=True)


@relaxed
@given(mappings, mappings)
def test_different_metadata_has_different_canonical_texts(one: dict[str, Any], other: dict[str, Any]) -> None:
    equal = encode(one, canonical=True) == encode(other, canonical=True)
    assert equal == same(_sorted(one), _sorted(other))


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    return [_sorted(item) for item in value] if isinstance(value, list) else value


def _shuffled(value: Any, random: Any) -> Any:
    if isinstance(value, dict):
        order = list(value)
        random.shuffle(order)
        return {key: _shuffled(value[key], random) for key in order}
    return [_shuffled(item, random) for item in value] if isinstance(value, list) else value


def test_keys_keep_their_order() -> None:
    assert encode({"b": 1, "a": 2}) == '{"b":1,"a":2}'
    assert encode({"b": 1, "a": 2}, canonical=True) == '{"a":2,"b":1}'
    assert encode({}) == "{}"


def test_what_comes_back_is_new() -> None:
    metadata: dict[str, Any] = {"list": [1, {"x": 2}]}
    text = encode(metadata)
    back = decode(text)
    back["list"][1]["x"] = 3
    assert metadata == {"list": [1, {"x": 2}]}
    assert decode(text) == metadata


@pytest.mark.parametrize(
    "metadata",
    [
        {"$date": "2025-03-01"},
        {"$datetime": "2025-03-01T09:00:00"},
        {"$$date": "2025-03-01"},
        {"x": {"$date": "2025-03-01"}},
        {"x": [{"$date": "no date"}, {"$datetime": None}]},
        {"$date": {"$date": {"$datetime": 1}}},
        {"$": 1, "$$": 2, "$$$": 3},
        {"$date": date(2025, 3, 1)},
    ],
    ids=repr,
)
def test_keys_that_look_like_tags_are_the_callers_own(metadata: dict[str, Any]) -> None:
    assert same(decode(encode(metadata)), metadata)


def test_dates_are_tagged() -> None:
    assert encode({"d": date(2025, 3, 1)}) == '{"d":{"$date":"2025-03-01"}}'
    assert encode({"d": datetime(2025, 3, 1, 9, tzinfo=UTC)}) == '{"d":{"$datetime":"2025-03-01T09:00:00+00:00"}}'
    assert encode({"$date": 1}) == '{"$$date":1}'


# Values that JSON does not have, and that come back as plain ones.


class Name(str):
    def __str__(self) -> str:
        return "not what it holds"


class Color(enum.StrEnum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


class Old(str, enum.Enum):  # noqa: UP042 - what users have
    VALUE = "value"


class Ratio(float):
    def __repr__(self) -> str:
        return "not a number at all"


class Count(int):
    def __repr__(self) -> str:
        return "not a number at all"


class Day(date):
    pass


class Moment(datetime):
    """As pandas' Timestamp."""

    nanosecond = 0


Point = namedtuple("Point", "x y")


@pytest.mark.parametrize(
    ("given_", "expected"),
    [
        ((1, 2), [1, 2]),
        ((), []),
        ([(1, (2,))], [[1, [2]]]),
        (Point(1, 2), [1, 2]),
        (Name("text"), "text"),
        (Color.RED, "red"),
        (Old.VALUE, "value"),
        (Level.HIGH, 3),
        (Count(4), 4),
        (Ratio(0.5), 0.5),
        (Day(2025, 3, 1), date(2025, 3, 1)),
        (Moment(2025, 3, 1, 9, tzinfo=UTC), datetime(2025, 3, 1, 9, tzinfo=UTC)),
        (OrderedDict(a=1), {"a": 1}),
        (defaultdict(list, a=[1]), {"a": [1]}),
        (UserDict(a=1), {"a": 1}),
        (MappingProxyType({"a": (1,)}), {"a": [1]}),
        (np.int64(5), 5),
        (np.uint8(5), 5),
        (np.float32(0.5), 0.5),
        (np.float64(0.1), 0.1),
        (np.float16(0.5), 0.5),
        (np.bool_(True), True),
        (np.str_("text"), "text"),
        (np.datetime64("2025-03-01"), date(2025, 3, 1)),
        (np.datetime64("2025-03-01T09:00:00.000001"), datetime(2025, 3, 1, 9, 0, 0, 1)),  # noqa: DTZ001
        ([np.int8(1), (np.float32(2),)], [1, [2.0]]),
    ],
    ids=repr,
)
def test_plain_values_come_back(given_: Any, expected: Any) -> None:
    assert same(decode(encode({"x": given_}))["x"], expected)


@pytest.mark.parametrize("key", [Name("text"), Color.RED, Old.VALUE, np.str_("text")], ids=repr)
def test_plain_keys_come_back(key: str) -> None:
    ((back, _),) = decode(encode({key: 1})).items()
    assert type(back) is str
    assert back == key


def test_mappings_of_any_kind_are_taken() -> None:
    for metadata in (MappingProxyType({"a": 1}), OrderedDict(a=1), UserDict(a=1)):
        assert encode(metadata) == '{"a":1}'


@pytest.mark.parametrize(
    "scalar",
    [
        np.datetime64("2025-03-01T09:00:00.000000000"),
        np.datetime64("2025-03-01T09:00:00.000000001"),
        np.array(["2025-03-01"], "datetime64[ns]")[0],
    ],
    ids=repr,
)
def test_nanoseconds_of_numpy_do_not_become_numbers(scalar: Any) -> None:
    """`item()` gives the bare count of nanoseconds. pandas' own dates are of this type."""
    try:
        back = decode(encode({"x": scalar}))["x"]
    except DocumentError:
        return
    assert isinstance(back, datetime)


@pytest.mark.parametrize(
    "scalar",
    [np.timedelta64(5, "ns"), np.timedelta64(5, "D"), np.timedelta64(5, "M"), np.datetime64("NaT")],
    ids=repr,
)
def test_spans_and_missing_times_of_numpy_are_refused(scalar: Any) -> None:
    with pytest.raises(DocumentError):
        encode({"x": scalar})


# Datetimes.


def test_a_zone_becomes_its_offset() -> None:
    try:
        berlin = ZoneInfo("Europe/Berlin")
    except ZoneInfoNotFoundError:
        pytest.skip("no time zones on this machine")
    moment = datetime(2025, 7, 1, 12, tzinfo=berlin)
    back = decode(encode({"x": moment}))["x"]
    assert back == moment
    assert back.tzinfo == timezone(timedelta(hours=2))
    # 2:30 comes twice in this night; `fold` tells which.
    texts = [encode({"x": datetime(2025, 10, 26, 2, 30, fold=fold, tzinfo=berlin)}) for fold in (0, 1)]
    assert [text[-8:-3] for text in texts] == ["02:00", "01:00"]
    first, second = (decode(text)["x"] for text in texts)
    assert second - first == timedelta(hours=1)


class Folding(tzinfo):
    """An hour less in the second fold."""

    def utcoffset(self, moment: datetime | None) -> timedelta:
        return timedelta(hours=2 - (moment.fold if moment else 0))

    def dst(self, moment: datetime | None) -> None: ...
    def tzname(self, moment: datetime | None) -> str:
        return "folding"


class Unsure(Folding):
    """A zone that knows no offset makes a naive datetime."""

    def utcoffset(self, moment: datetime | None) -> Any:
        return None


def test_folds_keep_their_instants() -> None:
    first, second = (
        decode(encode({"x": datetime(2025, 10, 26, 2, 30, fold=fold, tzinfo=Folding())}))["x"] for fold in (0, 1)
    )
    assert first == datetime(2025, 10, 26, 0, 30, tzinfo=UTC)
    assert second == datetime(2025, 10, 26, 1, 30, tzinfo=UTC)


def test_naive_stays_naive() -> None:
    naive = datetime(2025, 3, 1, 9)  # noqa: DTZ001 - on purpose
    for moment in (naive, naive.replace(fold=1), naive.replace(tzinfo=Unsure())):
        back = decode(encode({"x": moment}))["x"]
        assert back == naive
        assert back.tzinfo is None


class Nano(Moment):
    nanosecond = 1


class NotATime(datetime):
    """As pandas' NaT, which is a datetime by type only."""

    @property
    def year(self) -> Any:
        return float("nan")


class BrokenZone(Folding):
    def utcoffset(self, moment: datetime | None) -> Any:
        raise ValueError("no such time")


@pytest.mark.parametrize(
    "moment",
    [
        Nano(2025, 3, 1, tzinfo=UTC),
        NotATime(2025, 3, 1, tzinfo=UTC),
        datetime(2025, 3, 1, tzinfo=BrokenZone()),
    ],
    ids=["nanoseconds", "NaT", "broken zone"],
)
def test_what_is_no_datetime_to_the_microsecond_is_refused(moment: datetime) -> None:
    with pytest.raises(DocumentError, match="is not a datetime in whole microseconds") as error:
        encode({"x": [moment]})
    assert error.value.path == "metadata['x'][0]"


# Refused input.


@pytest.mark.parametrize(
    "value",
    [
        {1, 2},
        frozenset(),
        b"bytes",
        bytearray(b"bytes"),
        Decimal("1.5"),
        Fraction(1, 2),
        1j,
        uuid.UUID(int=1),
        Path("a"),
        time(9),
        timedelta(1),
        UTC,
        object(),
        Any,
        len,
        iter([1]),
        range(3),
        np.zeros(3),
        np.array(5),
        np.bytes_(b"x"),
        np.complex64(1),
    ],
    ids=lambda value: type(value).__name__,
)
def test_refuses_other_types(value: Any) -> None:
    for metadata, path in (
        ({"x": value}, "metadata['x']"),
        ({"a": {"b": [0, value]}}, "metadata['a']['b'][1]"),
    ):
        with pytest.raises(DocumentError) as error:
            encode(metadata)
        assert str(error.value).startswith((f"{path} is a ", f"{path} is an "))
        assert "metadata takes strings" in str(error.value)
        assert error.value.path == path


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), np.float32("nan"), np.float64("inf")])
def test_refuses_what_is_not_finite(value: Any) -> None:
    with pytest.raises(DocumentError, match=r"metadata\['a'\]\[0\] is -?(nan|inf).*use None") as error:
        encode({"a": [value]})
    assert error.value.path == "metadata['a'][0]"


@pytest.mark.parametrize("key", [1, 1.5, None, True, (1, 2), b"x", date(2025, 3, 1), np.int64(3)], ids=repr)
def test_refuses_keys_that_are_not_strings(key: Any) -> None:
    with pytest.raises(DocumentError, match="keys are strings") as error:
        encode({key: 1})
    assert error.value.path == "metadata"
    with pytest.raises(DocumentError, match=type(key).__name__) as error:
        encode({"a": [{key: 1}]})
    assert error.value.path == "metadata['a'][0]"


@pytest.mark.parametrize(
    "metadata", [{"x": "\ud800"}, {"\udfff": 1}, {"x": ["a", {"y": "ok \udc80 not"}]}, {"x": {"\ud83d": None}}]
)
def test_refuses_lone_surrogates(metadata: dict[str, Any]) -> None:
    for canonical in (False, True):
        with pytest.raises(DocumentError, match="lone surrogate"):
            encode(metadata, canonical=canonical)


@pytest.mark.parametrize("metadata", [None, [], [("a", 1)], "a", 5, {1, 2}], ids=repr)
def test_refuses_what_is_not_a_mapping(metadata: Any) -> None:
    with pytest.raises(DocumentError, match=f"metadata is {type_of(metadata)}, not a mapping"):
        encode(metadata)


def test_refuses_integers_too_long_to_print() -> None:
    long = 10**4000
    assert decode(encode({"x": long})) == {"x": long}
    with pytest.raises(DocumentError, match="cannot be written as JSON"):
        encode({"x": [10**5000]})


NESTS: dict[str, Callable[[Any], Any]] = {
    "mappings": lambda inner: {"x": inner},
    "lists": lambda inner: [inner],
    "tuples": lambda inner: (inner,),
    "proxies": lambda inner: MappingProxyType({"x": inner}),
}


def nested(levels: int, around: Callable[[Any], Any], inside: Any = 1) -> Mapping[str, Any]:
    """Return metadata with this many levels, including the outermost."""
    for _ in range(levels - 1):
        inside = around(inside)
    return {"top": inside}


@pytest.mark.parametrize("around", NESTS.values(), ids=NESTS)
def test_depth(around: Callable[[Any], Any]) -> None:
    text = encode(nested(MAX_DEPTH, around))
    assert encode(decode(text)) == text
    for levels in (MAX_DEPTH + 1, 2 * MAX_DEPTH, 50_000):
        with pytest.raises(DocumentError, match="nested deeper than 64 levels") as error:
            encode(nested(levels, around))
        assert len(str(error.value)) < 200
        assert len(error.value.path) <= 80


def test_empty_levels_count_too() -> None:
    empties: tuple[Any, ...] = ({}, [])
    for empty in empties:
        encode(nested(MAX_DEPTH - 1, NESTS["lists"], empty))
        with pytest.raises(DocumentError, match="nested deeper"):
            encode(nested(MAX_DEPTH, NESTS["lists"], empty))


def test_refuses_cycles() -> None:
    itself: dict[str, Any] = {}
    itself["me"] = itself
    ring: list[Any] = []
    ring.append({"ring": [ring]})
    for cycle in (itself, {"x": ring}):
        with pytest.raises(DocumentError, match="or holds itself"):
            encode(cycle)


def test_what_occurs_twice_is_no_cycle() -> None:
    shared = [1]
    assert decode(encode({"a": shared, "b": [shared, shared]})) == {"a": [1], "b": [[1], [1]]}


@relaxed
@given(st.dictionaries(st.text(string.printable, max_size=3), st.integers(), max_size=3), st.sampled_from([{1}, 1j]))
def test_a_refusal_changes_nothing(metadata: dict[str, Any], bad: Any) -> None:
    before = dict(metadata)
    with pytest.raises(DocumentError):
        encode({**metadata, "bad": bad})
    assert metadata == before


def test_stored_keys() -> None:
    assert [stored_key(key) for key in ("a", "$a", "$$a", "", "a$")] == ["a", "$$a", "$$$a", "", "a$"]


def test_space_around_it_is_fine_and_more_behind_it_is_not() -> None:
    assert decode(' \t{"a": {"$date": "2025-03-01"}}\r\n') == {"a": date(2025, 3, 1)}
    for more in ('{"a": 1} {"b": 2}', '{"a": 1}x', "", "{", "\N{NO-BREAK SPACE}{}"):
        with pytest.raises(ValueError):  # noqa: PT011 - as json says it
            decode(more)
