"""Any filter on any document: the documented meaning, the laws of logic, and round trips through JSON."""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.sampling import sampled
from tests.unit.filters.strategies import FIELDS, documents, means, operands, ordered, wheres

from theodolite.filters import And, Exists, F, In, Not, Or, fields, matches, parse, to_dict
from theodolite.metadata import decode, encode

relaxed = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
names = st.sampled_from(FIELDS)


def passes(where: Any, metadata: dict[str, Any]) -> bool:
    return matches(parse(where), metadata)


@settings(relaxed, max_examples=sampled(300))
@given(wheres(), st.lists(documents(), min_size=2, max_size=8))
def test_filters_mean_what_the_manual_says(where: Any, several: list[dict[str, Any]]) -> None:
    for metadata in several:
        assert passes(where, metadata) == means(where, metadata)
        assert passes(where, decode(encode(metadata))) == means(where, metadata)


@relaxed
@given(wheres())
def test_json_gives_the_same_tree(where: Any) -> None:
    tree = parse(where)
    again = parse(json.loads(json.dumps(to_dict(tree))))
    assert again == tree
    assert repr(again) == repr(tree)  # to Python, 1 and True are equal


@relaxed
@given(wheres(), wheres(), documents())
def test_joined_trees_survive_too(one: Any, other: Any, metadata: dict[str, Any]) -> None:
    trees = [parse(where) for where in (one, other)]
    first, second = (In("f", ()) if tree is None else tree for tree in trees)
    for tree in (first & second, first | second, ~first, ~(first & second) | first):
        again = parse(json.loads(json.dumps(to_dict(tree))))
        assert again == parse(tree)
        assert matches(again, metadata) == matches(tree, metadata)


@relaxed
@given(wheres(), wheres(), documents())
def test_logic(one: Any, other: Any, metadata: dict[str, Any]) -> None:
    first, second = passes(one, metadata), passes(other, metadata)
    assert passes({"$and": [one, other]}, metadata) == (first and second)
    assert passes({"$or": [one, other]}, metadata) == (first or second)
    assert passes({"$nor": [one, other]}, metadata) == passes({"$not": {"$or": [one, other]}}, metadata)
    assert passes({"$not": one}, metadata) != first
    assert passes({"$not": {"$not": one}}, metadata) == first
    # De Morgan.
    neither = {"$and": [{"$not": one}, {"$not": other}]}
    assert passes({"$not": {"$or": [one, other]}}, metadata) == passes(neither, metadata)
    not_both = {"$or": [{"$not": one}, {"$not": other}]}
    assert passes({"$not": {"$and": [one, other]}}, metadata) == passes(not_both, metadata)


@relaxed
@given(names, st.lists(operands, max_size=3), documents())
def test_equality_in_its_many_words(field: str, wanted: list[Any], metadata: dict[str, Any]) -> None:
    each = [passes({field: {"$eq": value}}, metadata) for value in wanted]
    assert passes({field: wanted}, metadata) == passes({field: {"$in": wanted}}, metadata) == any(each)
    assert passes({field: {"$nin": wanted}}, metadata) == (not any(each))
    assert passes({field: {"$all": wanted}}, metadata) == (bool(each) and all(each))
    for value, equal in zip(wanted, each, strict=True):
        assert passes({field: {"$ne": value}}, metadata) == (not equal)
        assert passes({field: {"$not": {"$eq": value}}}, metadata) == (not equal)
        assert passes(F(field) == value, metadata) == equal


@relaxed
@given(names, ordered, ordered, documents())
def test_order(field: str, low: Any, high: Any, metadata: dict[str, Any]) -> None:
    def side(operator: str, value: Any) -> bool:
        return passes({field: {operator: value}}, metadata)

    assert side("$between", [low, high]) == (side("$gte", low) and side("$lte", high))
    below, above = side("$lt", low), side("$gt", low)
    assert not (below and above)
    if side("$lte", low) or side("$gte", low):
        assert side("$lte", low) != above
        assert side("$gte", low) != below
        assert passes({field: {"$exists": True}}, metadata)
    else:
        assert not below
        assert not above


@relaxed
@given(names, operands, documents())
def test_presence(field: str, value: Any, metadata: dict[str, Any]) -> None:
    there = passes({field: {"$exists": True}}, metadata)
    if not there:
        assert passes({field: None}, metadata)
        assert passes({field: {"$empty": True}}, metadata)
        assert passes({field: {"$ne": value}}, metadata) == (value is not None)
        assert not passes({field: {"$contains": value}}, metadata)
    elif passes({field: {"$contains": value}}, metadata) and not isinstance(value, str):
        assert passes({field: value if not isinstance(value, list) else {"$eq": value}}, metadata)
    assert passes({field: {"$contains": value}}, metadata) != passes({field: {"$not_contains": value}}, metadata)


@relaxed
@given(wheres())
def test_fields_are_those_that_matter(where: Any) -> None:
    tree = parse(where)
    if tree is not None:
        named = fields(tree)
        assert named <= set(FIELDS)
        assert all(f"'{name}'" in repr(tree) for name in named)
        assert fields(~tree) == named


@pytest.mark.parametrize("levels", [1, 32, 63])
def test_the_deepest_filter_survives(levels: int) -> None:
    where: Any = {"f": 1}
    for _ in range(levels):
        where = {"$not": where}
    tree = parse(where)
    assert parse(json.loads(json.dumps(to_dict(tree)))) == tree
    assert matches(tree, {"f": 1}) == (levels % 2 == 0)


def test_trees_that_only_python_can_make() -> None:
    one = In("f", (1,))
    for tree, metadata in ((Or(()), {}), (And((one,)), {"f": 1}), (And((Or(()), one)), {"f": 1}), (Not(Not(one)), {})):
        written = json.loads(json.dumps(to_dict(tree)))
        assert matches(parse(written), metadata) == matches(tree, metadata)
    assert to_dict(None) == to_dict(And(())) == {}
    assert parse(And(())) is None
    assert to_dict(Exists("f")) == {"f": {"$exists": True}}
