"""Values that each operator lets pass; equality and patterns have their own files."""

import itertools
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pytest
from tests.ids import stable

from theodolite.filters import matches, parse
from theodolite.metadata import decode, encode

EAST = timezone(timedelta(hours=2))
INF = float("inf")
ABSENT: Any = object()


def passes(condition: Any, value: Any = ABSENT) -> bool:
    """Whether the field passes, as it is stored."""
    metadata = {} if value is ABSENT else {"f": value}
    return matches(parse({"f": condition}), decode(encode(metadata)))


# Each row holds what is equal, and comes before the next.
NUMBERS: list[list[Any]] = [
    [-(10**400)],
    [-1e300],
    [-(2**70), -float(2**70)],
    [-(2**63) - 1],
    [-1, -1.0],
    [-5e-324],
    [0, 0.0, -0.0],
    [0.5],
    [1, 1.0],
    [2**53, float(2**53)],
    [2**53 + 1],
    [2**53 + 2, float(2**53 + 2)],
    [2**63, float(2**63)],
    [2**70, float(2**70)],
    [1e300],
    [10**400],
]
INSTANTS: list[list[Any]] = [
    ["0001-01-01T00:00+14:00"],
    [date(1, 1, 1), "0001-01-01", datetime(1, 1, 1, tzinfo=UTC)],
    ["1969-12-31T23:59:59.999999"],
    [date(1970, 1, 1), "1970-01-01"],
    ["2025-03-01T00:00+00:01", datetime(2025, 2, 28, 23, 59, tzinfo=UTC)],
    [
        date(2025, 3, 1),
        datetime(2025, 3, 1),  # noqa: DTZ001 - naive is UTC
        datetime(2025, 3, 1, 2, tzinfo=EAST),
        "2025-03-01",
        "2025-03-01T00:00",
        "2025-03-01 00:00:00",
        "2025-03-01T00:00:00.000000Z",
        "2025-03-01T02:00+02:00",
        "2025-02-28T14:00:00-10:00",
    ],
    [datetime(2025, 3, 1, 0, 0, 0, 1, tzinfo=UTC), "2025-03-01T00:00:00.000001"],
    ["2025-03-01T00:00:00.1", "2025-03-01T00:00:00,100Z"],
    ["2025-03-01T09:00"],
    [date(9999, 12, 31)],
    ["9999-12-31T23:59:59.999999-14:00"],
]
TEXTS: list[list[Any]] = [
    *([text] for text in ("", "\0", "\0a", " 2025-03-01", "1", "10", "2025", "2025-02-30", "2025-03-01\n")),
    *([text] for text in ("2025-03-01T25:00", "2025-3-1", "20250301", "9", "A", "Z", "a", "a ", "ab")),
    *([text] for text in ("e\u0301", "z", "\u00e9", "\u4e2d", "\ue000", "\uffff", "\U0001f600")),
]
KINDS: list[list[Any]] = [[value for row in rows for value in row] for rows in (NUMBERS, INSTANTS, TEXTS)]
UNORDERED: list[Any] = [None, True, False, [], {}, [1], ["a"], ["2025-03-01"], [date(2025, 3, 1)], {"a": 1}, ABSENT]


@pytest.mark.parametrize("rows", [NUMBERS, INSTANTS, TEXTS], ids=["numbers", "instants", "texts"])
def test_order(rows: list[list[Any]]) -> None:
    for (i, stored), (j, asked) in itertools.product(enumerate(rows), repeat=2):
        for value, wanted in itertools.product(stored, asked):
            found = [passes({operator: wanted}, value) for operator in ("$lt", "$lte", "$gt", "$gte")]
            assert found == [i < j, i <= j, i > j, i >= j], (value, wanted)


def test_nothing_is_ordered_beside_another_kind() -> None:
    for kind in KINDS:
        others = [value for other in KINDS if other is not kind for value in other]
        for wanted, value in itertools.product(kind, [*others, *UNORDERED]):
            for operator in ("$lt", "$lte", "$gt", "$gte"):
                assert not passes({operator: wanted}, value), (operator, wanted, value)


def test_infinities_are_beyond_all_numbers() -> None:
    for value in KINDS[0]:
        assert [passes({operator: INF}, value) for operator in ("$lt", "$lte", "$gt", "$gte")] == [1, 1, 0, 0]
        assert [passes({operator: -INF}, value) for operator in ("$lt", "$lte", "$gt", "$gte")] == [0, 0, 1, 1]
    for value in (*UNORDERED, "a", "2025-03-01"):
        assert not passes({"$between": [-INF, INF]}, value)


def test_lone_surrogates_have_their_place() -> None:
    assert passes({"$lt": "\ud800"}, "\ud7ff")
    assert passes({"$gt": "\ud800"}, "\ue000")
    assert not passes({"$contains": "\ud83d"}, "\U0001f600")


def test_between_has_both_ends() -> None:
    for low, high, i in itertools.product(range(len(INSTANTS)), repeat=3):
        ends = [INSTANTS[low][0], INSTANTS[high][-1]]
        assert passes({"$between": ends}, INSTANTS[i][-1]) == (low <= i <= high)


def test_between_ends_of_two_kinds_lies_nothing() -> None:
    every: list[Any] = [*itertools.chain(*KINDS), *UNORDERED]
    for value in every:
        assert not passes({"$between": ["", "9999-12-31"]}, value)
        assert not passes({"$between": [0, "z"]}, value)


def test_conditions_on_one_field_all_hold() -> None:
    assert passes({"$gt": 1, "$lt": 3, "$ne": 2.5}, 2)
    others: tuple[Any, ...] = (1, 3, 2.5, [2], "2")
    for value in others:
        assert not passes({"$gt": 1, "$lt": 3, "$ne": 2.5}, value)


FULL: list[Any] = [" ", "\0", 0, 0.0, False, True, {}, [None], [""], [[]], {"a": None}, date(2025, 3, 1)]
EXISTING: list[tuple[Any, bool, bool]] = [
    # value, exists, empty
    (ABSENT, False, True),
    (None, True, True),
    ("", True, True),
    ([], True, True),
    *((value, True, False) for value in FULL),
]


@pytest.mark.parametrize(("value", "exists", "empty"), EXISTING, ids=stable)
def test_exists_and_empty(value: Any, exists: bool, empty: bool) -> None:
    assert passes({"$exists": True}, value) is exists
    assert passes({"$exists": False}, value) is not exists
    assert passes({"$empty": True}, value) is empty
    assert passes({"$empty": False}, value) is not empty


CONTAINED: list[tuple[Any, Any]] = [
    ("refund policy", "fund"),
    ("refund", ""),
    ("", ""),
    ("a\0b", "\0"),
    ("2025-03-01", "03"),
    ("2025-03-01", "2025-03-01"),
    (["a", "b"], "b"),
    ([1, 2], 2.0),
    ([None], None),
    ([True], True),
    ([[1, 2]], [1, 2]),
    ([[]], []),
    ([date(2025, 3, 1)], "2025-03-01T00:00Z"),
    (["2025-03-01"], datetime(2025, 3, 1, 2, tzinfo=EAST)),
]
NOT_CONTAINED: list[tuple[Any, Any]] = [
    ("refund", "Fund"),
    ("\u00e9", "e"),
    ("\u00e9", "\u0301"),
    ("12", 1),
    (12, 1),
    (12, "1"),
    (1, 1),
    (None, None),
    (ABSENT, None),
    (True, True),
    (["refund"], "fund"),
    (["ab"], "a"),
    ([1], True),
    ([True], 1),
    ([1], [1]),
    ([], []),
    ([[1]], 1),
    ([], None),
    ([{"a": 1}], "a"),
    ({"a": 1}, "a"),
    ({"a": 1}, 1),
    (date(2025, 3, 1), "2025"),
    (date(2025, 3, 1), date(2025, 3, 1)),
    ("2025-03-01", date(2025, 3, 1)),
    ("2025-03-01", "2025-03-01T00:00"),
]


def test_contains() -> None:
    for value, wanted in CONTAINED:
        assert passes({"$contains": wanted}, value), (value, wanted)
        assert not passes({"$not_contains": wanted}, value), (value, wanted)
    for value, wanted in NOT_CONTAINED:
        assert not passes({"$contains": wanted}, value), (value, wanted)
        assert passes({"$not_contains": wanted}, value), (value, wanted)


def test_all() -> None:
    assert passes({"$all": ["a", 1]}, [True, 1.0, "b", "a"])
    assert passes({"$all": [date(2025, 3, 1), "x"]}, ["x", "2025-03-01T00:00"])
    assert passes({"$all": ["a", "a"]}, "a")
    assert passes({"$all": [[1, 2], 3]}, [3, [1, 2]])
    assert passes({"$all": [None]})
    assert not passes({"$all": ["a", "b"]}, ["a"])
    assert not passes({"$all": ["a", "b"]}, "ab")
    assert not passes({"$all": [1]}, [True])
    for value in (*UNORDERED, "a"):
        assert not passes({"$all": []}, value)


def test_not() -> None:
    others: list[Any] = [1, *UNORDERED]
    for value in others:
        assert passes({"$not": {"$gt": 1}}, value)
        assert passes({"$not": {"$gt": 1, "$lt": 3}}, value)
        assert not passes({"$not": {"$not": {"$gt": 1}}}, value)
    assert not passes({"$not": {"$gt": 1, "$lt": 3}}, 2)


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ({"$and": [{"a": 1}, {"b": 2}]}, "ab"),
        ({"$or": [{"a": 1}, {"b": 2}]}, "a b ab"),
        ({"$nor": [{"a": 1}, {"b": 2}]}, "none"),
        ({"$not": {"a": 1, "b": 2}}, "none a b"),
        ({"$not": {}}, ""),
        ({"$nor": [{}]}, ""),
        ({"$or": [{}, {"a": 7}]}, "none a b ab"),
        ({"$or": [{"a": 1}, {"b": 2}], "a": {"$ne": 1}}, "b"),
        ({"$and": [{"$or": [{"a": 1}, {"b": 2}]}, {"$not": {"a": 1, "b": 2}}]}, "a b"),
    ],
    ids=stable,
)
def test_logic(where: Mapping[str, Any], expected: str) -> None:
    documents: dict[str, dict[str, Any]] = {"none": {}, "a": {"a": 1}, "b": {"b": 2}, "ab": {"a": 1, "b": 2}}
    tree = parse(where)
    assert [name for name, metadata in documents.items() if matches(tree, metadata)] == expected.split()
