"""The dictionary form: valid filters, and hostile ones that must not break it."""

import enum
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from types import MappingProxyType
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from theodolite.errors import FilterError
from theodolite.filters import OPERATORS, And, Compare, Contains, Empty, Exists, In, Like, Not, Or, matches, parse

NOON = datetime(2025, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize("nothing", [None, {}, MappingProxyType({})], ids=repr)
def test_nothing_to_filter(nothing: Any) -> None:
    assert parse(nothing) is None
    assert matches(None, {})


@pytest.mark.parametrize(
    ("where", "tree"),
    [
        ({"lang": "en"}, In("lang", ("en",))),
        ({"lang": {"$eq": "en"}}, In("lang", ("en",))),
        ({"lang": ["en", "de"]}, In("lang", ("en", "de"))),
        ({"lang": ("en", "de")}, In("lang", ("en", "de"))),
        ({"lang": {"$in": ["en", "de"]}}, In("lang", ("en", "de"))),
        ({"lang": {"en"}}, In("lang", ("en",))),
        ({"lang": frozenset({"en"})}, In("lang", ("en",))),
        ({"lang": []}, In("lang", ())),
        ({"lang": None}, In("lang", (None,))),
        ({"lang": {"$eq": ["en", "de"]}}, In("lang", (["en", "de"],))),
        ({"lang": {"$eq": ("en", ("de",))}}, In("lang", (["en", ["de"]],))),
        ({"a": 1, "b": 2}, And((In("a", (1,)), In("b", (2,))))),
        ({"a": {"$eq": 1, "$in": [1, 2]}}, And((In("a", (1,)), In("a", (1, 2))))),
        (MappingProxyType({"a": MappingProxyType({"$eq": 1})}), In("a", (1,))),
        ({"": 1}, In("", (1,))),
    ],
    ids=repr,
)
def test_parses(where: Any, tree: Any) -> None:
    assert parse(where) == tree


def test_numpy_scalars_are_plain_values() -> None:
    tree = parse({"a": [np.int64(1), np.float32(0.5), np.bool_(True), np.str_("x")]})
    assert isinstance(tree, In)
    assert tree.values == (1, 0.5, True, "x")
    assert [type(value) for value in tree.values] == [int, float, bool, str]
    assert matches(parse({"a": np.bool_(True)}), {"a": True})
    assert not matches(parse({"a": np.int64(1)}), {"a": True})


@pytest.mark.parametrize("moment", ["2025-03-01T12:00:00.000000000", "2025-03-01T12:00:00.000000"])
def test_times_of_numpy_are_times(moment: str) -> None:
    """Also in nanoseconds, as pandas has them: `item()` would give a bare number there."""
    tree = parse({"f": np.datetime64(moment)})
    assert matches(tree, {"f": "2025-03-01T12:00Z"})
    assert matches(tree, {"f": NOON})
    assert not matches(tree, {"f": int(np.datetime64(moment).astype(int))})


@pytest.mark.parametrize("value", [np.datetime64("NaT"), np.timedelta64(5, "ns"), np.timedelta64("NaT")], ids=repr)
def test_missing_times_and_spans_of_numpy_are_refused(value: Any) -> None:
    """NaT must not become None, which matches every document without the field."""
    for where in ({"f": value}, {"f": [1, value]}, {"f": {"$eq": value}}):
        with pytest.raises(FilterError):
            parse(where)


def test_a_filter_is_not_changed_by_what_happens_to_its_values() -> None:
    inner = [2]
    values = [1, inner]
    tree = parse({"a": {"$in": values}})
    inner.append(3)
    values.append(4)
    assert tree == In("a", (1, [2]))


OPERANDS: dict[str, tuple[Any, Any]] = {
    "$eq": (1, In("f", (1,))),
    "$ne": (1, Not(In("f", (1,)))),
    "$gt": (1, Compare("f", "$gt", 1)),
    "$gte": ("a", Compare("f", "$gte", "a")),
    "$lt": (date(2025, 3, 1), Compare("f", "$lt", date(2025, 3, 1))),
    "$lte": (float("inf"), Compare("f", "$lte", float("inf"))),
    "$in": ([1, None], In("f", (1, None))),
    "$nin": ([1], Not(In("f", (1,)))),
    "$all": ([1, 2], And((In("f", (1,)), In("f", (2,))))),
    "$between": ((1, 2), And((Compare("f", "$gte", 1), Compare("f", "$lte", 2)))),
    "$exists": (True, Exists("f")),
    "$empty": (False, Not(Empty("f"))),
    "$contains": ("a", Contains("f", "a")),
    "$not_contains": (None, Not(Contains("f", None))),
    "$like": ("a%", Like("f", "a%")),
    "$ilike": ("a%", Like("f", "a%", True)),
    "$not": ({"$gt": 1, "$ne": 2}, Not(And((Compare("f", "$gt", 1), Not(In("f", (2,))))))),
}
LOGICAL: dict[str, tuple[Any, Any]] = {
    "$and": ([{"a": 1}, {"b": 2}], And((In("a", (1,)), In("b", (2,))))),
    "$or": ([{"a": 1}, {"b": 2}], Or((In("a", (1,)), In("b", (2,))))),
    "$nor": ([{"a": 1}, {"b": 2}], Not(Or((In("a", (1,)), In("b", (2,)))))),
    "$not": ({"a": 1}, Not(In("a", (1,)))),
}


def test_every_operator_parses() -> None:
    assert set(OPERATORS) == OPERANDS.keys() | LOGICAL.keys()
    assert len(OPERATORS) == len(set(OPERATORS))
    for operator, (value, tree) in OPERANDS.items():
        assert parse({"f": {operator: value}}) == tree
    for operator, (value, tree) in LOGICAL.items():
        assert parse({operator: value}) == tree


def test_parts_are_joined_by_and() -> None:
    either = Or((In("a", (1,)), In("b", (2,))))
    assert parse({"$or": [{"a": 1}, {"b": 2}], "c": 3}) == And((either, In("c", (3,))))
    assert parse({"$and": [{"a": 1}]}) == parse({"$or": [{"a": 1}]}) == In("a", (1,))
    assert parse({"$and": [{}]}) is None
    assert parse({"$not": {}}) == Not(And(()))
    assert parse({"f": {"$all": []}}) == In("f", ())


@pytest.mark.parametrize("operator", ["$in", "$nin", "$all"])
def test_lists_of_all_kinds(operator: str) -> None:
    plain = parse({"f": {operator: [1]}})
    for values in ((1,), {1}, frozenset({1}), {1: "x"}.keys(), range(1, 2), np.array([1]), np.array([1.0])):
        assert parse({"f": {operator: values}}) == plain
    moments = np.array(["2025-03-01T12:00"], "datetime64[ns]")
    assert parse({"f": {operator: moments}}) == parse({"f": {operator: [NOON.replace(tzinfo=None)]}})


class Name(str):
    """A string, and not only that."""

    __slots__ = ("more",)

    def __str__(self) -> str:
        return "another"


class Color(str, enum.Enum):  # noqa: UP042 - whose str() is 'Color.RED'
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


class Moment(datetime):
    """As pandas' Timestamp is one."""


class Day(date):
    """A date of another library."""


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (Name("red"), "red"),
        (Color.RED, "red"),
        (Level.HIGH, 3),
        (np.float64(0.5), 0.5),
        (Moment(2025, 3, 1, 12, tzinfo=UTC), NOON),
        (Day(2025, 3, 1), date(2025, 3, 1)),
        ((Level.HIGH, [Color.RED]), [3, ["red"]]),
        ({"$date": "2025-03-01"}, date(2025, 3, 1)),
        ({"$datetime": "2025-03-01T14:00:00+02:00"}, NOON),
    ],
    ids=repr,
)
def test_values_become_plain(value: Any, plain: Any) -> None:
    for where in ({"f": {"$eq": value}}, {"f": {"$in": [value]}}, {"f": {"$contains": value}}):
        tree: Any = parse(where)
        found = tree.value if isinstance(tree, Contains) else tree.values[0]
        assert found == plain
        assert type(found) is type(plain)


def test_a_zone_becomes_its_offset() -> None:
    """In the hour that comes twice Python finds times of two zones never equal."""
    for fold, hours in ((0, 2), (1, 1)):
        tree = parse({"f": {"$gt": datetime(2025, 10, 26, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"), fold=fold)}})
        assert tree == Compare("f", "$gt", datetime(2025, 10, 26, 2, 30, tzinfo=timezone(timedelta(hours=hours))))


class Broken(tzinfo):
    def utcoffset(self, _when: datetime | None) -> Any:
        return 5

    def dst(self, _when: datetime | None) -> None:
        return None

    def tzname(self, _when: datetime | None) -> str:
        return "broken"


def test_a_time_whose_zone_is_broken_is_refused() -> None:
    with pytest.raises(FilterError, match=r"the value for 'f' is .*, which is not a datetime"):
        parse({"f": datetime(2025, 3, 1, tzinfo=Broken())})


# Hostile input.


def nested(levels: int, wrap: Callable[[Any], Any], inner: Any) -> Any:
    for _ in range(levels):
        inner = wrap(inner)
    return inner


@pytest.mark.parametrize(
    "wrap",
    [
        lambda inner: {"$not": inner},
        lambda inner: {"$and": [inner]},
        lambda inner: {"$or": [{"a": 1}, inner]},
        lambda inner: {"$nor": (inner,)},
    ],
)
def test_nesting_ends_at_64_levels(wrap: Callable[[Any], Any]) -> None:
    parse(nested(63, wrap, {"a": 1}))
    for levels in (64, 65, 10_000):
        with pytest.raises(FilterError, match="nested deeper than 64 levels"):
            parse(nested(levels, wrap, {"a": 1}))


def test_nesting_inside_a_field_ends_at_64_levels() -> None:
    parse({"a": nested(63, lambda inner: {"$not": inner}, {"$eq": 1})})
    parse({"a": {"$eq": nested(64, lambda inner: [inner], 1)}})
    for levels in (65, 10_000):
        for where in (
            {"a": nested(levels, lambda inner: {"$not": inner}, {"$eq": 1})},
            {"a": {"$eq": nested(levels, lambda inner: [inner], 1)}},
            {"a": {"$contains": nested(levels, lambda inner: (inner,), 1)}},
        ):
            with pytest.raises(FilterError, match="nested deeper than 64 levels"):
                parse(where)


def test_what_holds_itself_is_refused() -> None:
    mapping: dict[str, Any] = {}
    mapping["$not"] = mapping
    values: list[Any] = []
    values.append(values)
    for where in (mapping, {"f": {"$eq": values}}, {"f": values}, {"$and": values}):
        with pytest.raises(FilterError):
            parse(where)


@pytest.mark.parametrize(
    "inner",
    [
        nested(10_000, lambda inner: [inner], 1),
        nested(10_000, lambda inner: {"a": inner}, 1),
        nested(10_000, lambda inner: (inner,), 1),
        10 ** (sys.get_int_max_str_digits() + 1),
        [10 ** (sys.get_int_max_str_digits() + 1)],
        "x" * 1_000_000,
        "\ud800",
        list(range(100_000)),
    ],
    ids=["lists", "mappings", "tuples", "int", "ints", "text", "surrogate", "many"],
)
def test_no_value_breaks_a_message(inner: Any) -> None:
    wheres: list[Any] = [{"$and": inner}, {"$nope": inner}, inner, {"f": {"nope": inner}}]
    wheres += [{"f": {operator: inner}} for operator in OPERATORS] + [{operator: inner} for operator in OPERATORS]
    if isinstance(inner, (int, str)):
        wheres += [{inner: {}}, {"f": {inner: 1}}]
    messages = []
    for where in wheres:
        try:
            parse(where)
        except FilterError as error:
            messages.append(str(error))
    assert len(messages) > len(wheres) / 3
    assert max(map(len, messages)) < 500
