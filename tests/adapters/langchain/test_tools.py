"""The search tool for agents: its schema, what it finds, and that nothing a model sends leads out of its scope."""

import asyncio
import json
from collections.abc import Iterator
from datetime import date
from typing import Any

import pytest

pytest.importorskip("langchain_core")
pytest.importorskip("langchain_tests")

from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool
from langchain_tests.integration_tests import ToolsIntegrationTests
from langchain_tests.unit_tests import ToolsUnitTests

from langchain_theodolite.tools import theodolite_tool
from theodolite import Authority, Document, InputError, Retriever
from theodolite.testing import HashingEmbedder

ACME = {"tenant": "acme"}


def passages(tenant: str) -> list[Document]:
    """Thirty days of a year, of two languages; the other tenant has words, fields and values of its own."""
    return [
        Document(
            f"Refunds of {tenant} take {n} days.",
            {
                "lang": "de" if n % 2 else "en",
                "year": 2000 + n,
                "published": f"2025-01-{n:02d}T12:00:00Z",
                "tags": ["refund", "money"][: n % 3],
                "author": {"name": f"{tenant}-{n}"},
                "draft": n % 5 == 0,
                "size": "large",
                "note": f"{tenant} secret" if n == 1 else "plain",
                **({"secret of bolt": "bolt's own"} if tenant == "bolt" else {}),
            },
            id=f"{tenant}-{n}",
        )
        for n in range(1, 31)
    ]


@pytest.fixture(scope="module")
def kb() -> Iterator[Retriever]:
    with Retriever.open(embedder=HashingEmbedder(), partition="tenant") as kb:
        for tenant in ("acme", "bolt"):
            kb.scoped(tenant=tenant).add(passages(tenant))
        yield kb


@pytest.fixture
def tool(kb: Retriever) -> BaseTool:
    return theodolite_tool(kb, scope=ACME, date_field="published")


def call(tool: BaseTool, **arguments: Any) -> ToolMessage:
    """As an agent calls it."""
    message = tool.invoke({"type": "tool_call", "id": "1", "name": tool.name, "args": arguments})
    assert isinstance(message, ToolMessage)
    return message


def ids(message: ToolMessage) -> list[str]:
    assert message.status == "success", message.content
    return [document.id for document in message.artifact]


def parameters(tool: BaseTool) -> dict[str, Any]:
    found: dict[str, Any] = convert_to_openai_tool(tool)["function"]["parameters"]
    return found


def test_the_schema_is_made_from_the_collection(tool: BaseTool) -> None:
    schema = parameters(tool)
    assert list(schema["properties"]) == ["query", "k", "since", "until", "filter"]
    assert schema["required"] == ["query"]
    assert (schema["properties"]["k"]["minimum"], schema["properties"]["k"]["maximum"]) == (1, 20)
    fields = schema["properties"]["filter"]["properties"]
    # What all have alike (size, tenant) tells nothing apart, and published has arguments of its own.
    assert sorted(fields) == ["author.name", "draft", "lang", "note", "tags", "year"]
    assert fields["lang"] == {
        "type": "array",
        "items": {"type": "string", "enum": ["de", "en"]},
        "description": "Any of these.",
    }
    assert fields["draft"]["items"] == {"type": "boolean", "enum": [False, True]}
    assert fields["tags"]["items"] == {"type": "string", "enum": ["refund", "money"]}
    assert fields["year"]["properties"] == {"min": {"type": "number"}, "max": {"type": "number"}}
    assert "2001 to 2030" in fields["year"]["description"]
    assert fields["author.name"]["items"] == {"type": "string"}


def test_the_schema_tells_nothing_of_others(kb: Retriever) -> None:
    """Neither fields nor values nor ranges: it is what it is in a collection without them."""
    beside = theodolite_tool(kb, scope=ACME, date_field="published")
    with Retriever.open(embedder=HashingEmbedder(), partition="tenant") as own:
        own.scoped(tenant="acme").add(passages("acme"))
        alone = theodolite_tool(own, scope=ACME, date_field="published")
        assert parameters(beside) == parameters(alone)
    assert "bolt" not in json.dumps(parameters(beside))


def test_fields_may_be_chosen(kb: Retriever) -> None:
    tool = theodolite_tool(kb, scope=ACME, fields=["size", "lang"])
    assert list(parameters(tool)["properties"]["filter"]["properties"]) == ["size", "lang"]
    message = call(tool, query="refunds", k=1, filter={"lang": ["de"]})
    assert '{"size": "large", "lang": "de"}' in message.content
    assert call(tool, query="refunds", filter={"year": 2001}).status == "error"
    assert "filter" not in parameters(theodolite_tool(kb, fields=[]))["properties"]
    with pytest.raises(InputError, match="no document has the field 'langg'; did you mean 'lang'"):
        theodolite_tool(kb, fields=["langg"])
    with pytest.raises(InputError, match="no document has the field 'date'"):
        theodolite_tool(kb, date_field="date")
    with pytest.raises(InputError, match="k is 0"):
        theodolite_tool(kb, k=0)


def test_an_empty_collection_has_a_tool() -> None:
    with Retriever.open(embedder=HashingEmbedder()) as kb:
        tool = theodolite_tool(kb)
        assert list(parameters(tool)["properties"]) == ["query", "k"]
        assert ids(call(tool, query="refunds")) == []


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
def test_what_is_sent_is_what_is_filtered(tool: BaseTool, kb: Retriever, sent: dict[str, Any], days: Any) -> None:
    wide = theodolite_tool(kb, scope=ACME, date_field="published", k=30)
    assert sorted(ids(call(wide, query="refunds", **sent))) == sorted(f"acme-{day}" for day in days)
    best = [hit.document.id for hit in kb.scoped(tenant="acme").search("refunds", k=30)]
    assert ids(call(tool, query="refunds", **sent)) == [name for name in best if int(name[5:]) in days][:4]


def test_dates_in_filters_are_whole_days(kb: Retriever) -> None:
    tool = theodolite_tool(kb, scope=ACME)
    assert "2025-01-01 to 2025-01-30" in str(parameters(tool)["properties"]["filter"]["properties"]["published"])
    found = call(tool, query="refunds", filter={"published": {"min": "2025-01-03", "max": "2025-01-04"}})
    assert sorted(ids(found)) == ["acme-3", "acme-4"]
    assert "is no date" in call(tool, query="x", filter={"published": {"min": "2025"}}).content
    assert "A int is no date" in call(tool, query="x", filter={"published": {"max": 2025}}).content


def test_passages_are_numbered_and_the_artifact_has_all(tool: BaseTool, kb: Retriever) -> None:
    message = call(tool, query="Refunds take 7 days", k=2)
    hits = kb.scoped(tenant="acme").search("Refunds take 7 days", k=2)
    first = hits[0].document
    shown = {name: first.metadata[name] for name in ("draft", "lang", "note", "tags", "year", "published")}
    shown = dict(sorted({**shown, "author.name": first.metadata["author"]["name"]}.items()))
    shown["published"] = shown.pop("published")
    assert str(message.content).split("\n\n")[0] == f"[1] {first.id} {json.dumps(shown)}\n{first.text}"
    assert str(message.content).split("\n\n")[1].startswith("[2] ")
    for document, hit in zip(message.artifact, hits, strict=True):
        assert (document.page_content, document.id) == (hit.document.text, hit.document.id)
        assert document.metadata == {**hit.document.metadata, "theodolite": {"score": hit.score, "rank": hit.rank}}


def test_options_of_the_search_are_kept(kb: Retriever) -> None:
    words = theodolite_tool(kb, scope=ACME, mode="lexical", k=1)
    assert ids(call(words, query="seventeen 17")) == ["acme-17"]
    assert ids(call(words, query="nothing alike")) == []
    boost = Authority("author.name", {"acme-9": 1.0}, default=0.1, weight=0.9)
    trusting = theodolite_tool(kb, scope=ACME, boosts=boost, k=1)
    assert ids(call(trusting, query="Refunds take 7 days")) == ["acme-9"] != ids(call(words, query="7"))


def test_dates_of_all_kinds_are_shown() -> None:
    with Retriever.open(embedder=HashingEmbedder()) as kb:
        kb.add([Document("Open on Monday.", {"on": date(2025, 1, n)}, id=str(n)) for n in (1, 2)])
        tool = theodolite_tool(kb, date_field="on")
        assert call(tool, query="open", until="2025-01-01").content == '[1] 1 {"on": "2025-01-01"}\nOpen on Monday.'


def test_async_calls_give_the_same(tool: BaseTool) -> None:
    sent = {"type": "tool_call", "id": "1", "name": tool.name, "args": {"query": "refunds", "filter": {"lang": "en"}}}
    message = asyncio.run(tool.ainvoke(sent))
    assert message == tool.invoke(sent)
    wrong = asyncio.run(tool.ainvoke({**sent, "args": {"query": "refunds", "filter": {"lnag": "en"}}}))
    assert (wrong.status, "did you mean 'lang'?" in wrong.content) == ("error", True)


class TestStandardUnit(ToolsUnitTests):
    @pytest.fixture(autouse=True)
    def _kb(self, kb: Retriever) -> None:
        self.kb = kb

    @property
    def tool_constructor(self) -> BaseTool:
        return theodolite_tool(self.kb, scope=ACME, date_field="published")

    @property
    def tool_invoke_params_example(self) -> dict[str, Any]:
        return {"query": "refunds", "k": 2, "since": "2025-01-02", "filter": {"lang": ["en"]}}


class TestStandardIntegration(ToolsIntegrationTests):
    @pytest.fixture(autouse=True)
    def _kb(self, kb: Retriever) -> None:
        self.kb = kb

    @property
    def tool_constructor(self) -> BaseTool:
        return theodolite_tool(self.kb, scope=ACME, date_field="published")

    @property
    def tool_invoke_params_example(self) -> dict[str, Any]:
        return {"query": "refunds", "k": 2, "since": "2025-01-02", "filter": {"lang": ["en"]}}


def test_an_agent_corrects_itself(tool: BaseTool) -> None:
    agents = pytest.importorskip("langchain.agents")
    from langchain_core.language_models.fake_chat_models import GenericFakeChatModel

    class Model(GenericFakeChatModel):
        def bind_tools(self, tools: Any, **options: Any) -> Any:
            assert [one.name for one in tools] == ["search_documents"]
            return self

    def asks(number: int, **arguments: Any) -> AIMessage:
        return AIMessage(
            "", tool_calls=[{"name": "search_documents", "args": arguments, "id": str(number), "type": "tool_call"}]
        )

    model = Model(
        messages=iter(
            [
                asks(1, query="refunds", filter={"language": "en"}),
                asks(2, query="refunds", filter={"lang": ["en"]}, k=1),
                AIMessage("Some days."),
            ]
        )
    )
    agent = agents.create_agent(model, tools=[tool])
    messages = agent.invoke({"messages": [{"role": "user", "content": "How long do refunds take?"}]})["messages"]
    first, second = (message for message in messages if isinstance(message, ToolMessage))
    assert (first.status, "lang" in first.content) == ("error", True)
    assert [document.metadata["lang"] for document in second.artifact] == ["en"]
    assert messages[-1].content == "Some days."
