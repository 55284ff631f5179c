"""Filters, compared with the predicate of llama-index-core, and the intended differences."""

import random
from collections.abc import Iterator
from datetime import UTC, date, datetime
from typing import Any

import pytest

pytest.importorskip("llama_index.core")

from llama_index.core.schema import TextNode
from llama_index.core.vector_stores.types import (
    FilterCondition,
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
)
from llama_index.core.vector_stores.utils import build_metadata_filter_fn
from tests.sampling import sampled

from llama_index_theodolite import TheodoliteVectorStore
from llama_index_theodolite.filters import as_where
from theodolite import F, FilterError

Op = FilterOperator
MISSING = object()

STORED: list[Any] = [
    *(MISSING, None, "", "a", "b", "abc", "ABC", "a%c", "a_c", "é", "10", "1", "2024", "2024-07-01", "2025-01-31", "z"),
    *(0, 1, 2, 10, -1, 0.0, 1.0, 0.5, 2.5, 2**60, 2**60 + 1, True, False),
    *(
        [],
        ["a"],
        ["a", "b"],
        ["abc"],
        [1],
        [1, 2],
        [1.0],
        [0.5],
        [True],
        [False, True],
        [None],
        ["a", 1],
        [["a"]],
        [""],
    ),
]
SCALARS: list[Any] = [value for value in STORED if isinstance(value, (str, int, float)) and not isinstance(value, bool)]
SCALARS += ["c", "bc", "B", "2024-07", "2024-07-02", "9999-12-31", "~", " ", 3, 1.5, float("inf"), float("nan")]
WANTED: list[Any] = [
    *SCALARS,
    *(None, [], ["a"], ["b", "a"], ["abc", "a", ""], [1], [1, 2], [0, 1], [0.5, 1.0], [1.0], ["2024-07-01", "b"]),
]
FIELDS = ("x", "y")


class Nodes:
    """Every stored value, in one collection, and llama-index-core's predicate on the same metadata."""

    def __init__(self, store: TheodoliteVectorStore) -> None:
        self.store = store
        draw = random.Random(7)
        self.metadata: dict[str, dict[str, Any]] = {}
        for number, value in enumerate(STORED * 3):
            other = draw.choice(STORED)
            entries = {"x": value, "y": other}
            self.metadata[f"n{number:03}"] = {key: item for key, item in entries.items() if item is not MISSING}
        store.add(
            [
                TextNode(id_=name, text=name, metadata=entries, embedding=[1.0])
                for name, entries in self.metadata.items()
            ]
        )

    def core(self, filters: MetadataFilters) -> dict[str, bool | None]:
        """Return the predicate's result for each node; None where it raises TypeError."""
        passes = build_metadata_filter_fn(lambda name: self.metadata[name], filters)
        found: dict[str, bool | None] = {}
        for name in self.metadata:
            try:
                found[name] = bool(passes(name))
            except TypeError:
                found[name] = None
        return found

    def ours(self, filters: MetadataFilters) -> set[str]:
        return {passage.id for passage in self.store.kb.documents(as_where(filters))}


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    with TheodoliteVectorStore() as store:
        yield Nodes(store)


def refused(one: MetadataFilter) -> bool:
    try:
        as_where(one)
    except FilterError:
        return True
    return False


def check(nodes: Nodes, filters: MetadataFilters) -> int:
    """Check equality wherever the predicate returns a bool; return the number of such nodes."""
    expected, found = nodes.core(filters), nodes.ours(filters)
    compared = {name: passes for name, passes in expected.items() if passes is not None}
    wrong = [(name, nodes.metadata[name], passes) for name, passes in compared.items() if passes != (name in found)]
    assert not wrong, (filters, wrong[:3])
    return len(compared)


@pytest.mark.parametrize("operator", list(Op))
def test_every_operator_on_every_value(nodes: Nodes, operator: FilterOperator) -> None:
    compared = used = 0
    for value in WANTED:
        one = MetadataFilter(key="x", value=value, operator=operator)
        if refused(one):
            continue
        used += 1
        compared += check(nodes, MetadataFilters(filters=[one]))
    assert used >= 8
    assert compared > 20 * used


def draw_filters(draw: random.Random) -> MetadataFilters:
    parts: list[Any] = []
    while len(parts) < draw.randint(1, 3):
        one = MetadataFilter(key=draw.choice(FIELDS), value=draw.choice(WANTED), operator=draw.choice(list(Op)))
        if not refused(one):
            parts.append(one)
    return MetadataFilters(filters=parts, condition=draw.choice([*FilterCondition, None]))


def compare(nodes: Nodes, seed: int, cases: int) -> None:
    draw = random.Random(seed)
    compared = sum(check(nodes, draw_filters(draw)) for _ in range(cases))
    assert compared > 20 * cases


def test_random_filters_equal_the_predicate(nodes: Nodes) -> None:
    compare(nodes, 1, sampled(300))


@pytest.mark.slow
def test_ten_thousand_random_filters_equal_the_predicate(nodes: Nodes) -> None:
    compare(nodes, 2, 10_000)


REFUSED = [
    *((operator, value) for operator in (Op.GT, Op.GTE, Op.LT, Op.LTE) for value in (None, [1], [])),
    *((operator, value) for operator in (Op.IN, Op.NIN, Op.ANY, Op.ALL) for value in (None, 1, 0.5)),
    *((operator, "a" * 101) for operator in (Op.IN, Op.NIN)),
    *((operator, value) for operator in (Op.TEXT_MATCH, Op.TEXT_MATCH_INSENSITIVE) for value in (None, 1, ["a"])),
]


@pytest.mark.parametrize(("operator", "value"), REFUSED)
def test_values_that_an_operator_cannot_have_are_refused(operator: FilterOperator, value: Any) -> None:
    with pytest.raises(FilterError, match="takes a") as caught:
        as_where(MetadataFilters(filters=[MetadataFilter(key="x", value=value, operator=operator)]))
    assert (caught.value.field, caught.value.operator) == ("x", operator.value)


def test_only_these_are_refused() -> None:
    known = {(operator, repr(value)) for operator, value in REFUSED}
    for operator in Op:
        for value in [*WANTED, [1], [], 1, "abc"]:
            said = refused(MetadataFilter(key="x", value=value, operator=operator))
            kinds = {Op.GT, Op.GTE, Op.LT, Op.LTE}
            if operator in kinds:
                assert said == (value is None or isinstance(value, list))
            elif operator in (Op.TEXT_MATCH, Op.TEXT_MATCH_INSENSITIVE):
                assert said == (not isinstance(value, str))
            elif operator in (Op.IN, Op.NIN, Op.ANY, Op.ALL):
                assert said == (not isinstance(value, (list, str)))
            else:
                assert not said
    assert len(known) == len(REFUSED)


# Differences on purpose.


def passing(store: TheodoliteVectorStore, key: str, operator: str, value: Any) -> list[str]:
    where = as_where(MetadataFilters(filters=[MetadataFilter(key=key, value=value, operator=Op(operator))]))
    return [passage.id for passage in store.kb.documents(where)]


@pytest.fixture
def store() -> Iterator[TheodoliteVectorStore]:
    with TheodoliteVectorStore() as store:
        entries: dict[str, dict[str, Any]] = {
            "day": {"at": date(2024, 7, 1)},
            "instant": {"at": datetime(2024, 7, 1, 12, tzinfo=UTC)},
            "string": {"at": "2024-07-01T14:00:00+02:00"},
            "year": {"at": "2024"},
            "number": {"at": 2024},
            "nested": {"author": {"name": "Ada"}, "a.b": 1},
        }
        store.add([TextNode(id_=name, text=name, metadata=item, embedding=[1.0]) for name, item in entries.items()])
        yield store


def test_dates_are_instants(store: TheodoliteVectorStore) -> None:
    assert passing(store, "at", ">", "2024-07-01") == ["instant", "string"]
    assert passing(store, "at", "<=", "2024-07-01") == ["day", "year"]
    assert passing(store, "at", "==", "2024-07-01") == ["day"]
    assert passing(store, "at", "==", "2024-07-01T12:00:00") == ["instant"]
    assert passing(store, "at", "in", ["2024-07-01", "2024"]) == ["day", "year"]


def test_the_beginning_of_a_date_is_ordered_with_dates(store: TheodoliteVectorStore) -> None:
    assert passing(store, "at", ">=", "2024-07") == ["day", "instant", "string"]
    assert passing(store, "at", "<", "2024-08") == ["day", "instant", "string", "year"]
    assert passing(store, "at", ">", "~") == []
    assert passing(store, "at", "<", "~") == ["day", "instant", "string", "year"]


def test_values_of_another_kind_do_not_pass(store: TheodoliteVectorStore) -> None:
    assert passing(store, "at", ">", 5) == ["number"]
    assert passing(store, "at", "text_match", "2024") == ["string", "year"]
    assert passing(store, "at", "contains", "2024") == ["string", "year"]


def test_fields_in_mappings_have_dotted_names(store: TheodoliteVectorStore) -> None:
    assert passing(store, "author.name", "==", "Ada") == ["nested"]
    assert passing(store, "a.b", "==", 1) == ["nested"]
    assert passing(store, "author", "contains", "name") == []


def test_lists_that_could_be_too_many_lists_are_refused(store: TheodoliteVectorStore) -> None:
    with pytest.raises(FilterError, match="more than 8 numbers"):
        passing(store, "at", "==", [0, 1] * 5)


def test_letters_beyond_ascii_ignore_case_as_regular_expressions_do() -> None:
    with TheodoliteVectorStore() as store:
        metadata = {"long": {"x": "Pa\N{LATIN SMALL LETTER LONG S}s"}, "short": {"x": "PASS"}}
        store.add([TextNode(id_=name, text=name, metadata=item, embedding=[1.0]) for name, item in metadata.items()])
        filters = MetadataFilters(filters=[MetadataFilter(key="x", value="pass", operator=Op.TEXT_MATCH_INSENSITIVE)])
        theirs = build_metadata_filter_fn(metadata.__getitem__, filters)
        assert [name for name in metadata if theirs(name)] == ["short"]
        assert passing(store, "x", "text_match_insensitive", "pass") == ["long", "short"]


# Filters within filters, and the empty ones.


def one(value: str) -> MetadataFilter:
    return MetadataFilter(key="x", value=value)


NESTED = [
    ((FilterCondition.AND, [one("a")]), {"a"}),
    ((FilterCondition.OR, [one("a"), one("b")]), {"a", "b"}),
    ((FilterCondition.NOT, [one("a"), one("b")]), {"c", "none"}),
    ((FilterCondition.AND, [(FilterCondition.NOT, [one("a")]), (FilterCondition.OR, [one("a"), one("b")])]), {"b"}),
    ((FilterCondition.NOT, [(FilterCondition.NOT, [one("a")])]), {"a"}),
    ((FilterCondition.OR, [(FilterCondition.AND, [one("a"), one("b")]), one("c")]), {"c"}),
    ((None, [one("a"), one("b")]), set()),
    ((FilterCondition.NOT, []), {"a", "b", "c", "none"}),
    ((FilterCondition.OR, []), {"a", "b", "c", "none"}),
    ((FilterCondition.OR, [one("a"), (FilterCondition.AND, [])]), {"a", "b", "c", "none"}),
    ((FilterCondition.NOT, [one("a"), (FilterCondition.AND, [])]), set()),
    ((FilterCondition.AND, [one("a"), (FilterCondition.OR, [])]), {"a"}),
]


def built(form: Any) -> Any:
    if isinstance(form, MetadataFilter):
        return form
    return MetadataFilters(filters=[built(part) for part in form[1]], condition=form[0])


@pytest.mark.parametrize(("form", "expected"), NESTED)
def test_filters_within_filters(form: Any, expected: set[str]) -> None:
    with TheodoliteVectorStore() as store:
        nodes = [TextNode(id_=name, text=name, metadata={"x": name}, embedding=[1.0]) for name in "abc"]
        store.add([*nodes, TextNode(id_="none", text="none", embedding=[1.0])])
        assert {node.node_id for node in store.get_nodes(filters=built(form))} == expected


@pytest.mark.parametrize("condition", FilterCondition)
def test_nesting_ends_at_64_levels(condition: FilterCondition) -> None:
    nested: Any = one("a")
    for level in range(1, 3001):
        nested = MetadataFilters.model_construct(filters=[nested], condition=condition)  # does not look inside
        if level == 64:  # of not, an even number
            assert as_where(nested) == as_where(one("a"))
        if level in (65, 3000):
            with pytest.raises(FilterError, match="nested deeper than 64 levels"):
                as_where(nested)


def test_filters_of_the_core_stay_what_they_are() -> None:
    tree = F("x") == "a"
    assert as_where(tree) is tree
    assert as_where({"x": "a"}) == {"x": "a"}
    assert as_where({}) is as_where(None) is None
