"""The search tool for agents: its schema, its results, and its answers to wrong arguments."""

import json
from collections.abc import Iterator
from datetime import date
from typing import Any

import pytest
from tests.adapters.corpus import ACME, passages, two_tenants
from tests.adapters.shared.verbs import Adapter, Called

from theodolite import Authority, Document, EmbedderOptions, InputError, Retriever, TheodoliteError
from theodolite.testing import HashingEmbedder


@pytest.fixture(scope="module")
def kb() -> Iterator[Retriever]:
    with two_tenants() as kb:
        yield kb


@pytest.fixture
def tool(adapter: Adapter, kb: Retriever) -> Any:
    return adapter.tool(kb, scope=ACME, date_field="published")


def ids(called: Called) -> list[str | None]:
    assert not called.error, called.content
    return [one.id for one in called.found]


def test_the_schema_is_made_from_the_collection(adapter: Adapter, tool: Any) -> None:
    schema = adapter.parameters(tool)
    assert list(schema["properties"]) == ["query", "k", "since", "until", "filter"]
    assert schema["required"] == ["query"]
    assert (schema["properties"]["k"]["minimum"], schema["properties"]["k"]["maximum"]) == (1, 20)
    fields = schema["properties"]["filter"]["properties"]
    # Fields with one value (size, tenant) are no use as filters, and published has arguments of its own.
    assert sorted(fields) == ["author.name", "draft", "lang", "note", "tags", "year"]
    assert fields["lang"]["items"] == {"type": "string", "enum": ["de", "en"]}
    assert fields["lang"]["description"] == "Any of these."
    assert fields["draft"]["items"] == {"type": "boolean", "enum": [False, True]}
    assert fields["tags"]["items"] == {"type": "string", "enum": ["refund", "money"]}
    assert fields["year"]["properties"] == {"min": {"type": "number"}, "max": {"type": "number"}}
    assert "2001 to 2030" in fields["year"]["description"]
    assert fields["author.name"]["items"] == {"type": "string"}


def test_the_schema_tells_nothing_of_others(adapter: Adapter, kb: Retriever) -> None:
    """It shows no fields, values or ranges of others: it equals the schema of a collection without them."""
    beside = adapter.parameters(adapter.tool(kb, scope=ACME, date_field="published"))
    with Retriever.open(embedder=HashingEmbedder(), partition="tenant") as own:
        own.scoped(tenant="acme").add(passages("acme"))
        assert beside == adapter.parameters(adapter.tool(own, scope=ACME, date_field="published"))
    assert "bolt" not in json.dumps(beside)
    assert "bolt" in json.dumps(adapter.parameters(adapter.tool(kb)))


def test_fields_may_be_chosen(adapter: Adapter, kb: Retriever) -> None:
    tool = adapter.tool(kb, scope=ACME, fields=["size", "lang"])
    assert list(adapter.parameters(tool)["properties"]["filter"]["properties"]) == ["size", "lang"]
    called = adapter.call(tool, query="refunds", k=1, filter={"lang": ["de"]})
    assert '{"size": "large", "lang": "de"}' in called.content
    assert adapter.call(tool, query="refunds", filter={"year": 2001}).error
    assert "filter" not in adapter.parameters(adapter.tool(kb, fields=[]))["properties"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fields": ["langg"]}, "no document has the field 'langg'; did you mean 'lang'"),
        ({"fields": "lang"}, "fields is one str"),
        ({"date_field": "date"}, "no document has the field 'date'"),
        ({"k": 0}, "k is 0"),
        ({"rerank": 3}, "the reranker is an int"),
    ],
)
def test_what_is_wrong_shows_when_it_is_made(
    adapter: Adapter, kb: Retriever, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(TheodoliteError, match=message):
        adapter.tool(kb, **options)


def test_an_empty_collection_has_a_tool(adapter: Adapter) -> None:
    with Retriever.open(embedder=HashingEmbedder()) as kb:
        tool = adapter.tool(kb)
        assert list(adapter.parameters(tool)["properties"]) == ["query", "k"]
        assert ids(adapter.call(tool, query="refunds")) == []


@pytest.mark.parametrize(
    ("sent", "days"),
    [
        ({}, range(1, 31)),
        ({"filter": None, "since": None, "until": None}, range(1, 31)),
        ({"filter": {"lang": None, "year": {"min": None, "max": None}}}, range(1, 31)),
        ({"filter": {"lang": ["en"]}}, range(2, 31, 2)),
        ({"filter": {"lang": "en"}}, range(2, 31, 2)),
        ({"filter": {"lang": []}}, []),
        ({"filter": {"lang": ["en"], "year": {"min": 2010, "max": 2013}}}, [10, 12]),
        ({"filter": {"year": {"min": 2029}}}, [29, 30]),
        ({"filter": {"year": {"$gt": 2029}}}, [30]),
        ({"filter": {"tags": ["money"]}}, range(2, 31, 3)),
        ({"filter": {"draft": [True]}}, range(5, 31, 5)),
        ({"filter": {"author.name": ["acme-7"]}}, [7]),
        ({"since": "2025-01-29"}, [29, 30]),
        ({"until": "2025-01-02"}, [1, 2]),
        ({"until": "2025-01-02T11:59:59Z"}, [1]),
        ({"since": "2025-01-02T14:00:00+02:00", "until": "2025-01-02T12:00:00"}, [2]),
        ({"since": "2025-01-05", "until": "9999-12-31", "filter": {"year": {"max": 2006}}}, [5, 6]),
    ],
)
async def test_what_is_sent_is_what_is_filtered(
    adapter: Adapter, tool: Any, kb: Retriever, sent: dict[str, Any], days: Any
) -> None:
    wide = adapter.tool(kb, scope=ACME, date_field="published", k=30)
    found = ids(adapter.call(wide, query="refunds", **sent))
    assert sorted(map(str, found)) == sorted(f"acme-{day}" for day in days)
    best = [hit.document.id for hit in kb.scoped(tenant="acme").search("refunds", k=30)]
    nearest = [name for name in best if int(name[5:]) in days][:4]
    assert ids(adapter.call(tool, query="refunds", **sent)) == nearest
    assert ids(await adapter.acall(tool, query="refunds", **sent)) == nearest


def test_dates_in_filters_are_whole_days(adapter: Adapter, kb: Retriever) -> None:
    tool = adapter.tool(kb, scope=ACME)
    published = adapter.parameters(tool)["properties"]["filter"]["properties"]["published"]
    assert "2025-01-01 to 2025-01-30" in str(published)
    called = adapter.call(tool, query="refunds", filter={"published": {"min": "2025-01-03", "max": "2025-01-04"}})
    assert sorted(map(str, ids(called))) == ["acme-3", "acme-4"]
    assert "is not a date" in adapter.call(tool, query="x", filter={"published": {"min": "2025"}}).content
    assert "int is not a date" in adapter.call(tool, query="x", filter={"published": {"max": 2025}}).content


async def test_what_does_not_fit_comes_back_as_a_message(adapter: Adapter, tool: Any) -> None:
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"query": "x", "filter": {"lnag": "en"}}, "did you mean 'lang'?"),
        ({"query": "x", "tenant": "bolt"}, "tenant"),
        ({"query": "x", "k": 21}, "k"),
        ({"query": " "}, "query"),
        ({"query": "x", "filter": ["en"]}, "filter"),
        ({"query": "x", "since": "yesterday"}, "'yesterday' is not a date; write it as 2024-07-01"),
        ({"k": 1}, "query"),
        ({}, "query"),
    ]
    for sent, message in wrong:
        for called in (adapter.call(tool, **sent), await adapter.acall(tool, **sent)):
            assert called.error
            assert message in called.content


def test_the_query_is_searched_for_as_it_was_sent(adapter: Adapter) -> None:
    asked: list[str] = []

    class Noting(HashingEmbedder):
        def encode_query(self, texts: Any, /) -> Any:
            asked.extend(texts)
            return super().encode_query(texts)

    with Retriever.open(embedder=EmbedderOptions(Noting(), canary="off")) as kb:
        kb.add(passages("acme"))
        adapter.call(adapter.tool(kb), query=" cats ")
    assert asked == ["cats"]


def test_passages_are_numbered_and_come_with_their_documents(adapter: Adapter, tool: Any, kb: Retriever) -> None:
    called = adapter.call(tool, query="Refunds take 7 days", k=2)
    hits = kb.scoped(tenant="acme").search("Refunds take 7 days", k=2)
    first = hits[0].document
    shown = {name: first.metadata[name] for name in ("draft", "lang", "note", "tags", "year")}
    shown = dict(sorted({**shown, "author.name": first.metadata["author"]["name"]}.items()))
    shown["published"] = first.metadata["published"]
    one, other = called.content.split("\n\n")
    assert one == f"[1] {first.id} {json.dumps(shown)}\n{first.text}"
    assert other.startswith("[2] ")
    for found, hit in zip(called.found, hits, strict=True):
        assert (found.text, found.id, found.score) == (hit.document.text, hit.document.id, hit.score)
        assert hit.document.metadata.items() <= found.metadata.items()
    assert "No passages fit" in adapter.call(tool, query="x", filter={"lang": []}).content


def test_options_of_the_search_are_kept(adapter: Adapter, kb: Retriever) -> None:
    words = adapter.tool(kb, scope=ACME, mode="lexical", k=1)
    assert ids(adapter.call(words, query="seventeen 17")) == ["acme-17"]
    assert ids(adapter.call(words, query="nothing alike")) == []
    boost = Authority("author.name", {"acme-9": 1.0}, default=0.1, weight=0.9)
    trusting = adapter.tool(kb, scope=ACME, boosts=boost, k=1)
    assert ids(adapter.call(trusting, query="Refunds take 7 days")) == ["acme-9"]


def test_dates_of_all_kinds_are_shown(adapter: Adapter) -> None:
    with Retriever.open(embedder=HashingEmbedder()) as kb:
        kb.add([Document("Open on Monday.", {"on": date(2025, 1, n)}, id=str(n)) for n in (1, 2)])
        called = adapter.call(adapter.tool(kb, date_field="on"), query="open", until="2025-01-01")
        assert called.content == '[1] 1 {"on": "2025-01-01"}\nOpen on Monday.'


def test_a_tool_of_something_else_is_refused(adapter: Adapter) -> None:
    anything: Any = "kb"
    with pytest.raises(InputError, match=r"takes a theodolite Retriever or .*, not str"):
        adapter.tool(anything)
