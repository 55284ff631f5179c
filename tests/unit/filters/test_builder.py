"""`F`, and the operators that combine filters."""

import operator
from collections.abc import Callable
from datetime import date
from typing import Any

import numpy as np
import pytest
from tests.ids import stable

from theodolite.errors import FilterError
from theodolite.filters import And, F, Filter, In, Not, Or, parse

ANY: Any = F  # lets wrong types through
A, B, C, D = (F(name) == 1 for name in "abcd")


@pytest.mark.parametrize(
    ("built", "where"),
    [
        (F("f") == 1, {"f": 1}),
        (F("f") == None, {"f": None}),  # noqa: E711
        (F("f") == [1, 2], {"f": {"$eq": [1, 2]}}),
        (F("f") != 1, {"f": {"$ne": 1}}),
        (F("f") > 1, {"f": {"$gt": 1}}),
        (F("f") >= date(2025, 3, 1), {"f": {"$gte": date(2025, 3, 1)}}),
        (F("f") < "b", {"f": {"$lt": "b"}}),
        (F("f") <= 1, {"f": {"$lte": 1}}),
        (1 == F("f"), {"f": 1}),  # noqa: SIM300
        (1 < F("f"), {"f": {"$gt": 1}}),  # noqa: SIM300
        (np.int64(1) >= F("f"), {"f": {"$lte": 1}}),
        (F("f").isin([1, None]), {"f": {"$in": [1, None]}}),
        (F("f").isin(value for value in (1, 2)), {"f": {"$in": [1, 2]}}),
        (F("f").isin({1}), {"f": {"$in": [1]}}),
        (F("f").isin(np.array([1, 2])), {"f": {"$in": [1, 2]}}),
        (F("f").isin([]), {"f": []}),
        (F("f").notin(range(2)), {"f": {"$nin": [0, 1]}}),
        (F("f").all(["a", "b"]), {"f": {"$all": ["a", "b"]}}),
        (F("f").between(1, 2), {"f": {"$between": [1, 2]}}),
        (F("f").exists(), {"f": {"$exists": True}}),
        (F("f").exists(False), {"f": {"$exists": False}}),
        (F("f").empty(), {"f": {"$empty": True}}),
        (F("f").empty(False), {"f": {"$empty": False}}),
        (F("f").contains("a"), {"f": {"$contains": "a"}}),
        (~F("f").contains("a"), {"f": {"$not_contains": "a"}}),
        (F("f").like("a%"), {"f": {"$like": "a%"}}),
        (F("f").ilike("a%"), {"f": {"$ilike": "a%"}}),
        (F("a.b") == 1, {"a.b": 1}),
        (F.ids("a"), {"$id": "a"}),
        (F.ids(name for name in "ab"), {"$id": ["b", "a"]}),
        (~F.ids({"a"}), {"$id": {"$ne": "a"}}),
        (F.ids(["a", "b"]) & (F("f") == 1), {"$id": {"$in": ["a", "b"]}, "f": 1}),
        (F("") == 1, {"": 1}),
    ],
    ids=stable,
)
def test_builds_what_the_dictionary_says(built: Any, where: Any) -> None:
    assert built == parse(where)
    assert parse(built) is built


def test_parts_are_joined_flat() -> None:
    assert A & B & C == And((A, B, C)) == A & (B & C)
    assert A | B | C == Or((A, B, C)) == A | (B | C)
    assert Or((And((A, B)), And((C, D)))) == A & B | C & D
    assert And((Or((A, B)), C)) == (A | B) & C
    assert And((A, Not(And((B, C))))) == A & ~(B & C)
    assert ~~(A & B) == A & B
    assert ~(F("a") != 1) == A
    assert And((A, A)) == A & A


def test_what_is_joined_does_not_change() -> None:
    both = A & B
    assert (both & C, both | C, ~both) == (And((A, B, C)), Or((And((A, B)), C)), Not(And((A, B))))
    assert both == And((A, B))


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: A and B,  # type: ignore[unreachable]  # as mypy says, too
        lambda: A or B,  # type: ignore[unreachable]
        lambda: not A,
        lambda: 1 < F("f") < 3,
        lambda: F("f") == 1 == F("g"),
        lambda: bool(~A),
        lambda: [A for _ in "x" if A & B],
        lambda: F("f") in [1, 2],
    ],
)
def test_a_filter_is_neither_true_nor_false(wrong: Callable[[], Any]) -> None:
    with pytest.raises(TypeError, match=r"combine filters with & \| ~, and use between\(\) for ranges"):
        wrong()


@pytest.mark.parametrize("join", [operator.and_, operator.or_])
@pytest.mark.parametrize("other", [None, True, 1, {"b": 1}, F("b"), "b"], ids=type)
def test_filters_join_only_filters(join: Callable[[Any, Any], Any], other: Any) -> None:
    kind = type(other).__name__
    with pytest.raises(TypeError, match=f"a filter can be combined with a filter, not with a {kind}"):
        join(A, other)
    with pytest.raises(TypeError):
        join(other, A)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: F("a") == F("b"), "field 'a' is compared with a F; use a string"),
        (lambda: F("a") > F("b"), "field 'a' is compared with a F; use a string"),
        (lambda: F("a") == {"b": 1}, "field 'a' is compared with a dict"),
        (lambda: F("a") > None, r"\$gt on 'a' takes a number"),
        (lambda: F("a") <= True, r"\$lte on 'a' takes a number"),
        (lambda: F("a") == float("nan"), r"\$eq on 'a': nothing equals NaN"),
        (lambda: F("a").isin("abc"), r"\$in on 'a' takes a list of values, not 'abc'"),
        (lambda: F("a").isin(b"abc"), r"\$in on 'a' takes a list of values"),
        (lambda: ANY("a").isin(5), r"\$in on 'a' takes a list of values, not 5"),
        (lambda: ANY("a").isin(None), r"\$in on 'a' takes a list of values, not None"),
        (lambda: F("a").isin({"b": 1}), r"\$in on 'a' takes a list of values, not \{'b': 1\}"),
        (lambda: F("a").isin(np.array(1)), r"\$in on 'a' takes a list of values"),
        (lambda: ANY("a").isin(F("b")), r"\$in on 'a' takes a list of values"),
        (lambda: F("a").notin("abc"), r"\$nin on 'a' takes a list of values"),
        (lambda: F("a").all("abc"), r"\$all on 'a' takes a list of values"),
        (lambda: F("a").between(1, None), r"\$between on 'a' takes a number"),
        (lambda: ANY("a").exists(1), r"\$exists on 'a' takes True or False, not 1"),
        (lambda: ANY("a").empty("no"), r"\$empty on 'a' takes True or False, not 'no'"),
        (lambda: F("a").contains({}), "field 'a' is compared with a dict"),
        (lambda: ANY("a").like(5), r"\$like on 'a' takes a string, not 5"),
        (lambda: F("a").ilike("\\"), r"\$ilike on 'a': the pattern ends in a single"),
        (lambda: F("$or"), r"field '\$or': field names do not begin with \$"),
        (lambda: F("\ud800"), r"field '\\ud800' contains a lone surrogate"),
        (lambda: ANY(5), "field 5 is an int; field names are strings"),
        (lambda: parse(ANY("a")), "a filter is a mapping of fields to values, such as .*, not a F"),
    ],
)
def test_refuses(wrong: Callable[[], Any], message: str) -> None:
    with pytest.raises(FilterError, match=message):
        wrong()


def test_a_field_has_no_hash() -> None:
    with pytest.raises(TypeError, match="unhashable"):
        hash(F("a"))


def test_a_tree_is_no_deeper_than_a_dictionary() -> None:
    def grown(levels: int) -> Filter:
        tree: Filter = In("a", (1,))
        for level in range(levels - 1):
            tree = tree & B if level % 2 else tree | C
        return tree

    assert parse(grown(64)) == grown(64)
    for levels in (65, 10_000):
        with pytest.raises(FilterError, match="nested deeper than 64 levels"):
            parse(grown(levels))
    wide = In("a", (1,)) & B
    for _ in range(1000):
        wide = wide & C
    assert parse(wide) is wide
