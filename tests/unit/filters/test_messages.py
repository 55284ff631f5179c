"""Refused filters, and their messages."""

from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from tests.ids import stable

from theodolite.errors import FilterError
from theodolite.filters import OPERATORS, parse


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ({"a": {"eq": 1}}, r"unknown operator 'eq' on field 'a'; did you mean \$eq\?"),
        ({"a": {"$eqq": 1}}, r"unknown operator '\$eqq' on field 'a'; did you mean \$eq\?"),
        ({"a": {"$equals": 1}}, r"unknown operator '\$equals' on field 'a'; did you mean \$eq\?"),
        ({"a": {"in": [1]}}, r"unknown operator 'in' on field 'a'; did you mean \$in\?"),
        ({"a": {"$inn": [1]}}, r"unknown operator '\$inn' on field 'a'; did you mean \$in\?"),
        ({"a": {"$zzz": 1}}, r"unknown operator '\$zzz' on field 'a'; Known operators:"),
        ({"a": {"nested": {"$eq": 1}}}, "unknown operator 'nested' on field 'a'"),
        ({"a": {"$eq": 1, "b": 2}}, "unknown operator 'b' on field 'a'"),
        ({"a": {1: 2}}, "unknown operator 1 on field 'a'"),
        ({"$eqq": 1}, r"unknown operator '\$eqq'; did you mean \$eq\?"),
        ({"$xor": []}, r"unknown operator '\$xor'"),
        ({"$id": {"$gt": "a"}}, r"\$id takes an id, a list of ids, \$eq, \$ne, \$in or \$nin, not '\$gt'"),
        ({"$id": {}}, r"\$in on '\$id' takes a list of values, not {}"),
        ({"$id": None}, r"\$in on '\$id' takes a list of values, not None"),
        ({"$id": ["a", 7]}, r"\$in on \$id: 7 is an int; ids are strings"),
        ({"$id": {"$ne": "\ud800"}}, r"\$ne on \$id: .* contains a lone surrogate"),
        ({"a": {"$id": "b"}}, r"unknown operator '\$id' on field 'a'"),
        ({"a": {}}, "field 'a' has an empty condition"),
        ({1: 2}, "field 1 is an int"),
        ({None: 2}, "field None is None"),
        ({"a": {"$in": "abc"}}, r"\$in on 'a' takes a list of values"),
        ({"a": {"$in": b"abc"}}, r"\$in on 'a' takes a list of values"),
        ({"a": {"$in": {"b": 1}}}, r"\$in on 'a' takes a list of values"),
        ({"a": {"$in": 3}}, r"\$in on 'a' takes a list of values"),
        ({"a": {"$in": None}}, r"\$in on 'a' takes a list of values"),
        ({"a": {"$eq": {"b": 1}}}, "field 'a' is compared with a dict"),
        ({"a": {"$in": [{"b": 1}]}}, "field 'a' is compared with a dict"),
        ({"a": {"$eq": {1, 2}}}, "field 'a' is compared with a set"),
        ({"a": b"abc"}, "field 'a' is compared with a bytes"),
        ({"a": object()}, "field 'a' is compared with an object"),
        ({"a": np.ones(2)}, "field 'a' is compared with a ndarray"),
        ({"a": timedelta(1)}, "field 'a' is compared with a timedelta"),
        ([("a", 1)], "a filter is a mapping of fields to values, such as .*, not a list"),
        ("a", "a filter is a mapping of fields to values, such as .*, not a str"),
        (7, "a filter is a mapping of fields to values, such as .*, not an int"),
    ],
    ids=stable,
)
def test_refuses(where: Any, message: str) -> None:
    with pytest.raises(FilterError, match=message):
        parse(where)


def test_errors_say_where() -> None:
    with pytest.raises(FilterError) as error:
        parse({"a": {"$eqq": 1}})
    assert (error.value.operator, error.value.field) == ("$eqq", "a")


@pytest.mark.parametrize(
    ("operator", "hint"),
    [
        *((name, f"${name}") for name in ("eq", "ne", "gt", "gte", "lt", "lte", "in", "nin", "all", "like", "not")),
        *((name, "$eq") for name in ("=", "==", "$eqq", "equals", "$EQ")),
        *((name, "$ne") for name in ("!=", "<>", "neq", "$neq")),
        *((name, "$gte") for name in (">=", "$ge", "$GTE")),
        *((name, "$nin") for name in ("not_in", "$notin", "nin")),
        *((name, "$like") for name in ("$regex", "startswith", "endswith")),
        *((name, "$contains") for name in ("$contain", "$contians", "text_match", "CONTAINS")),
        *((name, "$exists") for name in ("$exist", "$exits")),
        ("$is_empty", "$empty"),
        ("$betwen", "$between"),
    ],
)
def test_did_you_mean(operator: str, hint: str) -> None:
    with pytest.raises(FilterError) as error:
        parse({"f": {operator: 1}})
    assert f"unknown operator {operator!r} on field 'f'; did you mean {hint}? Known operators: $eq" in str(error.value)


@pytest.mark.parametrize(
    ("where", "hint"),
    [
        ({"a": {"author": "x"}}, r"on field 'a'; did you mean the field 'a\.author'\?"),
        ({"a": {"b": {"$gt": 1}}}, r"did you mean the field 'a\.b'\?"),
        ({"a": {"name": "x"}}, r"did you mean \$ne or the field 'a\.name'\?"),
        ({"a": {"exits": True}}, r"did you mean \$exists or the field 'a\.exits'\?"),
        ({"$eq": 1}, r"\$eq'; it belongs to a field: \{'field': \{'\$eq': ...\}\}"),
        ({"f": {"$and": [{"$gt": 1}]}}, r"on field 'f'; it joins whole filters: \{'\$and': \[\{'f': ...\}, ...\]\}"),
        ({"or": [{"a": 1}, {"b": 2}]}, r"Did you mean \$or\?"),
        ({"AND": [{"a": 1}]}, r"Did you mean \$and\?"),
        ({"not": {"a": 1}}, r"on field 'not'; did you mean \$not\?"),
        ({"$Or": [{"a": 1}]}, r"unknown operator '\$Or'; did you mean \$or\?"),
        ({"$ids": ["a"]}, r"unknown operator '\$ids'; did you mean \$id\?"),
        ({"$ID": "a"}, r"unknown operator '\$ID'; did you mean \$id\?"),
        ({"f": {"$not": 5}}, r"\$not on 'f' takes operators, such as \{'\$gt': 5\}; use \$ne for a value"),
        ({"f": {"$not": {}}}, r"\$not on 'f' takes operators"),
        ({"f": {"$not": {"$date": "2025-03-01"}}}, r"\$not on 'f' takes operators"),
        ({"a": 1, "b.\udfff": None}, r"field 'b\.\\udfff' contains a lone surrogate, which is not valid text"),
        ({"$not": [{"a": 1}]}, "a filter is a mapping of fields to values, such as .*, not a list"),
        ({"f": {"$like": "50\\"}}, r"the pattern ends in a single \\"),
        ({"f": float("nan")}, r"\$eq on 'f': nothing equals NaN; use None"),
        ({"f": [1, np.float32("nan")]}, r"\$in on 'f': nothing equals NaN"),
    ],
    ids=stable,
)
def test_hints(where: Any, hint: str) -> None:
    with pytest.raises(FilterError, match=hint):
        parse(where)


NOT_FOR: dict[str, tuple[Any, ...]] = {
    "$gt": (None, True, [], [1], float("nan"), {"a": 1}, b"x", {1}, np.bool_(True), {"$date": 5}, {"$date": "x"}),
    "$in": (None, 1, "abc", b"abc", {"a": 1}, np.array(1), [{}], [b"x"], [object()], iter([1])),
    "$between": (None, 1, "ab", [], [1], [1, 2, 3], {1, 2}, {1: 1, 2: 2}.keys(), [1, None], [[1], 2], [True, 2]),
    "$exists": (None, 1, 0, "true", "", [], np.int64(1)),
    "$contains": ({"a": 1}, {1}, b"x", object(), np.ones(2), float("nan"), np.longdouble(1), np.complex64(1)),
    "$like": (None, 1, b"x", ["x"], "\\", "a\\\\\\"),
    "$not": (None, 1, "x", [], {}, [{"$gt": 1}]),
}
NOT_FOR |= dict.fromkeys(("$gte", "$lt", "$lte"), NOT_FOR["$gt"]) | dict.fromkeys(("$nin", "$all"), NOT_FOR["$in"])
NOT_FOR |= dict.fromkeys(("$eq", "$ne", "$not_contains"), NOT_FOR["$contains"])
NOT_FOR |= {"$empty": NOT_FOR["$exists"], "$ilike": NOT_FOR["$like"]}


@pytest.mark.parametrize("operator", NOT_FOR)
def test_errors_know_their_operator_and_field(operator: str) -> None:
    for value in NOT_FOR[operator]:
        with pytest.raises(FilterError) as error:
            parse({"a": 1, "$or": [{"b.c": {operator: value}}]})
        assert (error.value.operator, error.value.field) == (operator, "b.c")
        assert len(str(error.value)) < 400


@pytest.mark.parametrize("operator", ["$and", "$or", "$nor"])
def test_logical_operators_take_lists_of_filters(operator: str) -> None:
    refused: tuple[Any, ...] = (None, 1, "a", b"a", {}, {"a": 1}, [], (), iter([{"a": 1}]), {1})
    for value in refused:
        with pytest.raises(FilterError, match="takes a list of at least one filter") as error:
            parse({operator: value})
        assert error.value.operator == operator
    for value in ([None], [1], ["a"], [[{"a": 1}]], [{"a": 1}, None]):
        with pytest.raises(FilterError, match=r"a filter is a mapping of fields to values.*, not (an? |None)"):
            parse({operator: value})


def test_every_operator_was_tried() -> None:
    assert NOT_FOR.keys() | {"$and", "$or", "$nor"} == set(OPERATORS)
