"""The engine contract: filters."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

from theodolite.filters import parse
from theodolite.testing.checks import check
from theodolite.testing.engine_writes import METADATA
from theodolite.testing.reference import EngineUnderTest, Pair, drawn, passages
from theodolite.types import Document

VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, 1.0, -0.0, 2, 2.5, 2**53 + 1, float(2**53), 2**70, 10**400, -(2**63), 1e300),
    *("", "en", "EN", "e%", "e\u0301n", "\u00e9n", "\0", "\U0001f600", "\uffff", "1", "true", "null"),
    *("2025-03-01", "2025-03-01T00:00:00Z", "2025-03-01 01:00+01:00", "2025-02-30", "2025", "20250301"),
    date(2025, 3, 1),
    datetime(2025, 3, 1),  # noqa: DTZ001 - naive on purpose
    datetime(2025, 3, 1, tzinfo=UTC),
    datetime(2025, 3, 1, 1, tzinfo=timezone(timedelta(hours=1))),
    datetime(2025, 3, 1, 0, 0, 0, 1, tzinfo=UTC),
    *([], [1, "en"], [None], [True], [date(2025, 3, 1)], [[1, 2]], [[]], [10**400, 2.5], {}, {"a": 1}),
)
"""Values that a field may hold: every kind, and pairs that are nearly or unexpectedly equal."""

NESTED: tuple[dict[str, Any], ...] = ({"a": {"b": 1}}, {"a.b": 1}, {"a.b": 2, "a": {"b": 1}}, {"a": {"b": [1]}})

EVERY = "m0 m1 m2 m3 m4 m5 m6"

PASSING: tuple[tuple[dict[str, Any], str], ...] = (
    # Missing and None.
    ({"none": None}, EVERY),
    ({"none": {"$exists": True}}, "m1"),
    ({"none": {"$empty": False}}, ""),
    ({"empty": {"$empty": True}}, EVERY),
    ({"empty": ""}, "m2"),
    ({"text": {"$ne": "x"}}, EVERY),
    ({"text": {"$nin": ["x", None]}}, "m1"),
    ({"text": {"$in": []}}, ""),
    ({"text": {"$nin": []}}, EVERY),
    # Numbers.
    ({"int": 1.0}, "m1"),
    ({"int": True}, ""),
    ({"bool": 1}, ""),
    ({"bool": True}, "m1"),
    ({"bool": {"$lte": 1}}, ""),
    ({"big": float(2**70)}, "m2"),
    ({"big": 2**70 + 1}, ""),
    ({"big": {"$gt": 2**70 - 1, "$lt": 2**70 + 1}}, "m2"),
    ({"big": {"$lt": 10**400}}, "m2"),
    ({"small": {"$gt": 0}}, "m2"),
    ({"negative": {"$between": [-1, 0]}}, "m2"),
    ({"int": {"$not": {"$gt": 1}}}, EVERY),
    # Text.
    ({"text": {"$gt": "z"}}, "m1"),
    ({"text": {"$lt": "\ud800"}}, "m1"),
    ({"text": {"$like": "_\u20ac%"}}, "m1"),
    ({"text": {"$like": "\u00c4%"}}, ""),
    ({"text": {"$ilike": "\u00c4%"}}, "m1"),
    ({"text": {"$contains": "\U0001f600"}}, "m1"),
    ({"text": {"$contains": "\ud83d"}}, ""),
    # Lists.
    ({"list": 1}, "m2"),
    ({"list": None}, EVERY),
    ({"list": {"$contains": None}}, "m2"),
    ({"list": {"$contains": [3]}}, "m2"),
    ({"list": 3}, ""),
    ({"list": {"$all": ["two", 1.0]}}, "m2"),
    ({"list": {"$eq": [1, "two", None, [3]]}}, "m2"),
    ({"list": {"$nin": ["two"]}}, "m0 m1 m3 m4 m5 m6"),
    ({"list": {"$not_contains": "two"}}, "m0 m1 m3 m4 m5 m6"),
    ({"list": {"$gt": 0}}, ""),
    ({"list": {"$like": "%"}}, ""),
    ({"list": {"$empty": False}}, "m2"),
    # Instants.
    ({"date": {"$gte": "2025-03-01", "$lt": "2025-03-02"}}, "m3"),
    ({"date": "2025-02-28T19:00-05:00"}, "m3"),
    ({"date": {"$gt": "2025"}}, ""),
    ({"date": {"$like": "2025%"}}, ""),
    ({"moment": {"$lte": datetime(2025, 3, 1, 9)}}, "m3"),  # noqa: DTZ001 - naive is UTC
    ({"naive": {"$gt": "2025-03-01T09:00Z"}}, "m4"),
    ({"zone": "2025-03-01T05:00"}, "m5"),
    ({"zone": {"$not": {"$gt": "2024-01-01"}}}, "m0 m1 m2 m3 m4 m6"),
    # Paths.
    ({"nested.deep.deeper": {"$exists": True}}, "m6"),
    ({"nested.deep": {"$empty": False}}, "m6"),
    ({"nested.deep.deeper.x": {"$exists": True}}, ""),
    ({"a.b": 1, "": 0, 'quo"te': "'"}, "m6"),
    ({"a": {"$exists": True}}, ""),
    # Ids.
    ({"$id": "m1"}, "m1"),
    ({"$id": ["m3", "none", "m1", "m3"]}, "m1 m3"),
    ({"$id": {"$ne": "m0"}, "int": None}, "m2 m3 m4 m5 m6"),
    ({"$id": []}, ""),
    ({"$or": [{"$id": "m4"}, {"int": 1}], "$not": {"$id": {"$nin": ["m1", "m2"]}}}, "m1"),
    # Logic.
    ({"$or": [{"int": 1}, {"date": {"$exists": True}}]}, "m1 m3"),
    ({"$nor": [{"int": 1}, {"date": {"$exists": True}}]}, "m0 m2 m4 m5 m6"),
    ({"$and": [{"int": None}, {"big": None}], "$not": {"date": {"$exists": True}}}, "m0 m4 m5 m6"),
    ({"$not": {"$or": [{"int": {"$gte": 0}}, {"big": {"$gte": 0}}]}}, "m0 m3 m4 m5 m6"),
    ({"$not": {}}, ""),
    ({}, EVERY),
)
"""Filters, and the documents with METADATA that pass them."""


class FiltersContract(EngineUnderTest):
    """Tests that every engine implements the same filter language."""

    def test_filters_pass_what_the_manual_says(self) -> None:
        with self.opened() as pair:
            pair.add([Document(f"text {i}", m, f"m{i}") for i, m in enumerate(METADATA)], drawn(1, len(METADATA)))
            for where, expected in PASSING:
                pair.check_contents(where)
                found = [document.id for document, _ in pair.engine.documents(parse(where))]
                check(found == expected.split(), f"{where} passes {found}, not {expected.split()}")

    def test_filters_agree_with_the_reference(self) -> None:
        with self.opened() as pair:
            pair.add([Document(f"{i}", {"f": v}, f"v{i:02}") for i, v in enumerate(VALUES)], drawn(1, len(VALUES)))
            pair.add(passages(["none"]), drawn(2, 1))
            pair.add([Document("", m, f"n{i}") for i, m in enumerate(NESTED)], drawn(3, len(NESTED)))
            wheres = [*_one_operator(), *_paths(), *_several()]
            for number, where in enumerate(wheres):
                _check_passing(pair, where)
                if number % 20 == 0:
                    pair.check_contents(where)
                    pair.check_search(drawn(4, 1), 3, where)
            # Repeat after the values have moved: no cached value may be stale.
            pair.update({f"v{i:02}": {"f": VALUES[i - 1]} for i in range(0, len(VALUES), 2)})
            pair.delete(["v01", "v05"])
            for where in wheres[::3]:
                _check_passing(pair, where)

    def test_no_filter_breaks_an_engine(self) -> None:
        """Check that every valid filter has an answer for any stored values."""
        with self.opened() as pair:
            pair.add([Document("", {"f": v}, f"v{i:02}") for i, v in enumerate(VALUES)], drawn(1, len(VALUES)))
            deep: Any = {"f": {"$gt": 1}}
            for _ in range(63):
                deep = {"$not": deep}
            nested: Any = [1]
            for _ in range(63):
                nested = [nested]
            odd: list[dict[str, Any]] = [deep, {"f": {"$eq": nested}}, {"f": {"$in": list(range(10_000))}}]
            odd += [{"$id": ["\0", "'", '"', "", "v01", *(f"v{number:05}" for number in range(10_000))]}]
            odd += [{"$or": [{f"f{number}": 1} for number in range(200)]}]
            for name in ("\0", '"', "'", "f'", "\\", "f.", ".f", "...", "f.a.b", "\U0001f600", "f" * 5000):
                odd += [{name: None}, {name: {"$ne": 1}}, {name: {"$exists": True}}]
            for pattern in ("%a" * 200, "\ud800%", "%\\%%", "%\0%", ".*", "(", "[", "%" * 3000 + "n", "_" * 3000):
                odd += [{"f": {"$like": pattern}}, {"f": {"$ilike": pattern}}]
            for where in odd:
                _check_passing(pair, where)


def _one_operator() -> Iterator[dict[str, Any]]:
    """Yield each operator on a field, with every value it accepts."""
    for value in (*VALUES, float("inf"), float("-inf"), "\ud800"):
        if isinstance(value, dict):
            continue
        for operator in ("$eq", "$ne", "$contains", "$not_contains"):
            yield {"f": {operator: value}}
        for operator in ("$in", "$nin", "$all"):
            yield {"f": {operator: [value, "en"]}}
        if isinstance(value, (int, float, str, date)) and not isinstance(value, bool):
            for operator in ("$gt", "$gte", "$lt", "$lte"):
                yield {"f": {operator: value}}
            yield {"f": {"$between": [value, value]}}
        if isinstance(value, str):
            for operator in ("$like", "$ilike"):
                yield from ({"f": {operator: pattern}} for pattern in (value, value + "%", "%" + value, f"_%{value}_"))
    for operator in ("$in", "$nin", "$all"):
        yield {"f": {operator: []}}
    for operator in ("$exists", "$empty"):
        yield from ({"f": {operator: flag}} for flag in (True, False))


def _paths() -> Iterator[dict[str, Any]]:
    for field in ("a.b", "a", "f.a", "", "unheard of", "a.b.c", "name"):
        for condition in (1, 2, None, {"$ne": 1}, {"$gt": 0}, {"$exists": True}, {"$empty": False}, {"$contains": 1}):
            yield {field: condition}


def _several() -> Iterator[dict[str, Any]]:
    one, other = {"f": {"$gte": 1}}, {"f": {"$ne": 2}}
    absent = {"a.b": {"$ne": 1}}
    yield from ({joined: [one, other, absent]} for joined in ("$and", "$or", "$nor"))
    yield {"$not": {"$and": [one, {"$not": {"$or": [other, absent]}}]}}
    yield {"$or": [{"$id": ["n1", "v09"]}, one], "a.b": None}
    yield {"$not": {"$id": ["v00", "v03", "n0"]}}
    yield {"f": {"$gt": 0, "$lt": 2, "$ne": 1}}
    yield {"f": {"$not": {"$gt": 0, "$lt": 2}}}
    yield {"f": {"$gt": "2025-01-01", "$not": {"$like": "%Z"}}, "a.b": None}
    yield {"f": 1, "a.b": 1}
    yield {"f": ["en", 1, None]}


def _check_passing(pair: Pair, where: dict[str, Any]) -> None:
    tree, expected = parse(where), pair.eligible(where)
    shown = f"{where!r:.300}"
    count = pair.engine.count(tree)
    check(count == len(expected), f"count({shown}) is {count}, not {len(expected)}")
    found = [document.id for document, _ in pair.engine.documents(tree)]
    check(found == expected, f"{shown} passes {found}, not {expected}")
