"""LangChain's filters: dictionaries, functions on documents, structured queries."""

import itertools
import re
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from typing import Any

import pytest

pytest.importorskip("langchain_core")

from langchain_core.documents import Document
from langchain_core.structured_query import (
    Comparator,
    Comparison,
    FilterDirective,
    Operation,
    Operator,
    StructuredQuery,
)

from langchain_theodolite.filters import TheodoliteTranslator, split_filter
from langchain_theodolite.vectorstores import TheodoliteVectorStore
from theodolite import Document as Passage
from theodolite import F, FilterError, Retriever
from theodolite.testing import HashingEmbedder

METADATA: list[dict[str, Any]] = [
    {"source": "policy", "year": 2025, "tags": ["refund", "money"], "day": "2025-03-01", "title": "Refunds, 100 %"},
    {"source": "wiki", "year": 2023, "tags": ["money"], "day": date(2024, 7, 1), "title": "Returning goods"},
    {"source": "chat", "year": 2023.5, "tags": [], "day": "2024-07-01T12:00:00+02:00", "title": ""},
    {"source": "wiki", "year": None, "day": datetime(2023, 1, 1, 8, tzinfo=UTC), "author": {"name": "Ada"}},
    {},
]


@pytest.fixture(scope="module")
def kb() -> Iterator[Retriever]:
    with Retriever.open(embedder=HashingEmbedder()) as kb:
        kb.add([Passage(f"passage {number}", entries, str(number)) for number, entries in enumerate(METADATA)])
        yield kb


# Filters, and values that are not filters


@pytest.mark.parametrize("nothing", [None, {}])
def test_no_filter(nothing: Any) -> None:
    assert split_filter(nothing) == (None, None)


@pytest.mark.parametrize("where", [{"year": {"$gt": 2023}}, F("year") > 2023], ids=["a dictionary", "built"])
def test_what_the_core_reads_is_handed_on(kb: Retriever, where: Any) -> None:
    found, predicate = split_filter(where)
    assert predicate is None
    assert [document.id for document in kb.documents(found)] == ["0", "2"]


def test_what_is_no_filter_is_refused_by_the_core(kb: Retriever) -> None:
    where, _ = split_filter("year > 2023")
    with pytest.raises(FilterError, match="a filter is a mapping"):
        kb.count(where)


def test_a_function_is_given_the_document() -> None:
    where, predicate = split_filter(lambda document: document.metadata["year"] > 2023 and document.id == "a")
    assert where is None
    assert predicate is not None
    assert predicate(Document("text", metadata={"year": 2024}, id="a")) is True
    assert predicate(Document("text", metadata={"year": 2022}, id="a")) is False
    assert predicate(Document("text", metadata={"year": 2024}, id="b")) is False


def test_what_a_function_gives_is_taken_for_true_or_false() -> None:
    _, predicate = split_filter(lambda document: document.metadata.get("tags"))
    assert predicate is not None
    assert predicate(Document("text", metadata={"tags": ["a"]})) is True
    assert predicate(Document("text")) is False


@pytest.mark.parametrize(
    "function",
    [
        lambda metadata: metadata["year"] > 2023,
        lambda metadata: metadata.get("year") == 2023,
        lambda metadata: "year" in metadata,
    ],
    ids=["key", "get", "in"],
)
def test_a_function_written_for_faiss_gets_an_explanation(function: Callable[[Any], bool]) -> None:
    _, predicate = split_filter(function)
    assert predicate is not None
    with pytest.raises(FilterError, match=re.escape("write document.metadata['field']")):
        predicate(Document("text", metadata={"year": 2024}))


@pytest.mark.parametrize(
    ("function", "error"),
    [
        (lambda document: document.metadata["month"], KeyError),
        (lambda document: document.metadata["year"] > "2", TypeError),
        (lambda document: document.metadata["year"].upper(), AttributeError),
    ],
)
def test_other_errors_of_a_function_are_its_own(function: Callable[[Any], bool], error: type[Exception]) -> None:
    _, predicate = split_filter(function)
    assert predicate is not None
    with pytest.raises(error) as raised:
        predicate(Document("text", metadata={"year": 2024}))
    assert type(raised.value) is error


def test_a_coroutine_function_is_refused() -> None:
    async def passes(document: Document) -> bool:
        return False

    with pytest.raises(FilterError, match="passes has to be awaited"):
        split_filter(passes)


def test_a_function_whose_result_must_be_awaited_is_refused() -> None:
    class Passes:
        async def __call__(self, document: Document) -> bool:
            return False

    for function in (Passes(), lambda document: Passes()(document)):
        _, predicate = split_filter(function)
        assert predicate is not None
        with pytest.raises(FilterError, match="has to be awaited"):
            predicate(Document("text"))


# Structured queries


def instant(value: Any) -> datetime | None:
    """Return a date of the test data as an instant."""
    match value:
        case {"type": kind, **written}:
            value = written[kind]
        case datetime():
            return value
        case date():
            value = value.isoformat()
    if not isinstance(value, str) or not re.match(r"\d{4}-\d\d-\d\d", value):
        return None
    found = datetime.fromisoformat(value)
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def meaning(comparison: Comparison, metadata: dict[str, Any]) -> bool:
    """A second implementation of a comparison, as the oracle."""
    stored, value = metadata.get(comparison.attribute), comparison.value
    elements = stored if isinstance(stored, list) else [stored]
    if instant(value) is not None and instant(stored) is not None:
        stored, value = instant(stored), instant(value)
        elements = [stored]
    match comparison.comparator:
        case Comparator.EQ:
            return value in elements
        case Comparator.NE:
            return value not in elements
        case Comparator.IN:
            return any(element in value for element in elements)
        case Comparator.NIN:
            return not any(element in value for element in elements)
        case Comparator.CONTAIN:
            return isinstance(stored, (str, list)) and value in stored
        case Comparator.LIKE:
            pattern = re.escape(value).replace("%", ".*").replace("_", ".")
            return isinstance(stored, str) and re.fullmatch(pattern, stored, re.DOTALL) is not None
    kinds = (int, float) if isinstance(value, (int, float)) else type(value)
    if stored is None or not isinstance(stored, kinds):
        return False
    match comparison.comparator:
        case Comparator.GT:
            return bool(stored > value)
        case Comparator.GTE:
            return bool(stored >= value)
        case Comparator.LT:
            return bool(stored < value)
        case _:
            return bool(stored <= value)


DAY, NOON = {"date": "2024-07-01", "type": "date"}, {"datetime": "2024-07-01T10:00:00", "type": "datetime"}
ORDERS = [Comparator.GT, Comparator.GTE, Comparator.LT, Comparator.LTE]
EQUAL = [Comparator.EQ, Comparator.NE]

COMPARISONS = [
    *(Comparison(one, "year", value) for one in [*EQUAL, *ORDERS] for value in (2023, 2023.5, 2025)),
    *(Comparison(one, "source", value) for one in [*EQUAL, *ORDERS] for value in ("wiki", "nobody")),
    *(Comparison(one, "day", value) for one in [*EQUAL, *ORDERS] for value in (DAY, NOON)),
    *(Comparison(one, "tags", "money") for one in [*EQUAL, Comparator.CONTAIN]),
    *(Comparison(one, "source", ["wiki", "chat"]) for one in (Comparator.IN, Comparator.NIN)),
    *(Comparison(one, "tags", ["refund"]) for one in (Comparator.IN, Comparator.NIN)),
    *(Comparison(Comparator.CONTAIN, "title", value) for value in ("ref", "Ref", "ing", "")),
    *(Comparison(Comparator.LIKE, "title", value) for value in ("Re%", "%goods", "Refund", "_efunds%", "%")),
]


def translated(directive: FilterDirective) -> Any:
    query, arguments = TheodoliteTranslator().visit_structured_query(StructuredQuery("words", directive))
    assert query == "words"
    assert list(arguments) == ["filter"]
    return arguments["filter"]


def test_all_comparators_and_operators_are_allowed_and_tested() -> None:
    assert set(TheodoliteTranslator.allowed_comparators) == set(Comparator)
    assert set(TheodoliteTranslator.allowed_operators) == set(Operator)
    assert {comparison.comparator for comparison in COMPARISONS} == set(Comparator)


@pytest.mark.parametrize("comparison", COMPARISONS, ids=lambda one: f"{one.comparator.value} {one.attribute}")
def test_a_comparison_means_what_it_says(kb: Retriever, comparison: Comparison) -> None:
    found = [int(document.id) for document in kb.documents(translated(comparison))]
    assert found == [number for number, metadata in enumerate(METADATA) if meaning(comparison, metadata)]


def test_operations_join_what_they_join(kb: Retriever) -> None:
    for one, other in itertools.product(COMPARISONS[::5], COMPARISONS[1::7]):
        holds = [(meaning(one, metadata), meaning(other, metadata)) for metadata in METADATA]
        nested = Operation(Operator.OR, [Operation(Operator.NOT, [one]), Operation(Operator.AND, [one, other])])
        for operation, expected in [
            (Operation(Operator.AND, [one, other]), [a and b for a, b in holds]),
            (Operation(Operator.OR, [one, other]), [a or b for a, b in holds]),
            (nested, [not a or b for a, b in holds]),
        ]:
            found = {int(document.id) for document in kb.documents(translated(operation))}
            assert found == {number for number, holding in enumerate(expected) if holding}


def test_a_single_value_for_in_and_dates_in_lists() -> None:
    assert translated(Comparison(Comparator.IN, "lang", "en")) == {"lang": {"$in": ["en"]}}
    assert translated(Comparison(Comparator.NIN, "day", [DAY])) == {"day": {"$nin": [{"$date": "2024-07-01"}]}}


def test_not_of_several_conditions_is_refused() -> None:
    several = Operation(Operator.NOT, [COMPARISONS[0], COMPARISONS[1]])
    with pytest.raises(FilterError, match=re.escape("not takes one condition, and there are 2")):
        translated(several)
    with pytest.raises(FilterError, match="and has no conditions"):
        translated(Operation(Operator.AND, []))


def test_no_filter_and_a_limit() -> None:
    translator = TheodoliteTranslator()
    assert translator.visit_structured_query(StructuredQuery("words", None)) == ("words", {})
    assert translator.visit_structured_query(StructuredQuery("words", None, 3)) == ("words", {"k": 3})


@pytest.mark.parametrize(
    "hostile",
    [
        Comparison(Comparator.EQ, "source", {"$exists": True}),
        Comparison(Comparator.EQ, "$or", "wiki"),
        Comparison(Comparator.GT, "year", {"date": "tomorrow", "type": "date"}),
        Comparison(Comparator.GT, "year", {"date": "2024-01-01", "type": "date", "$exists": True}),
    ],
)
def test_values_are_no_operators(kb: Retriever, hostile: Comparison) -> None:
    with pytest.raises(FilterError):
        kb.count(translated(hostile))


def test_self_query_retriever(kb: Retriever) -> None:
    pytest.importorskip("langchain_classic")
    pytest.importorskip("lark")
    from langchain_classic.chains.query_constructor.schema import AttributeInfo
    from langchain_classic.retrievers.self_query.base import SelfQueryRetriever
    from langchain_core.language_models import FakeListChatModel

    answers = [
        '```json\n{"query": "passage", "filter": "and(in(\\"source\\", [\\"wiki\\", \\"chat\\"]), '
        'gte(\\"day\\", \\"2024-01-01\\"))", "limit": 1}\n```',
        '```json\n{"query": "passage", "filter": "not(contain(\\"tags\\", \\"money\\"))"}\n```',
        '```json\n{"query": "passage", "filter": "NO_FILTER"}\n```',
    ]
    retriever = SelfQueryRetriever.from_llm(
        FakeListChatModel(responses=answers),
        TheodoliteVectorStore.from_retriever(kb),
        "Passages of a handbook",
        [AttributeInfo(name=name, description=f"the {name}", type="string") for name in ("source", "day", "tags")],
        structured_query_translator=TheodoliteTranslator(),
        enable_limit=True,
    )
    (one,) = retriever.invoke("one passage of the wiki or the chat since 2024")
    assert one.id in ("1", "2")
    assert {document.id for document in retriever.invoke("nothing about money")} == {"2", "3", "4"}
    assert len(retriever.invoke("any passage")) == 4
