"""The search tool for LlamaIndex's agents: its messages, tools of retrievers and stores, and an agent."""

import gc
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("llama_index.core")

from llama_index.core.agent.workflow import FunctionAgent, ToolCallResult
from llama_index.core.base.llms.types import ChatMessage, ToolCallBlock
from llama_index.core.llms.mock import MockFunctionCallingLLM
from llama_index.core.schema import TextNode
from llama_index.core.tools import FunctionTool, ToolOutput
from llama_index.core.tools.calling import acall_tool, call_tool
from tests.adapters.corpus import ACME, two_tenants
from tests.adapters.hostile import ARGUMENTS, FILTERS
from tests.adapters.hostile import two_tenants as hostile_tenants

from llama_index_theodolite import TheodoliteRetriever, TheodoliteVectorStore, as_tool
from theodolite import Authority, InputError, Latest, Retriever
from theodolite.testing import HashingEmbedder


@pytest.fixture(scope="module")
def kb() -> Iterator[Retriever]:
    with two_tenants() as kb:
        yield kb


@pytest.fixture
def tool(kb: Retriever) -> FunctionTool:
    return as_tool(kb, scope=ACME, date_field="published")


def ids(output: ToolOutput) -> list[str]:
    assert not output.is_error, output.content
    return [one.node.node_id for one in output.raw_output]


def parameters(tool: FunctionTool) -> dict[str, Any]:
    """Return the schema that is sent to a chat model."""
    found: dict[str, Any] = tool.metadata.to_openai_tool()["function"]["parameters"]
    return found


async def test_what_does_not_fit_comes_back_as_a_message(tool: FunctionTool) -> None:
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"query": "x", "filter": {"lnag": "en"}}, "There is no field 'lnag' to filter by; did you mean 'lang'?"),
        ({"query": "x", "tenant": "bolt"}, "There is no argument 'tenant'"),
        ({"query": "x", "k": 21}, "k must be a whole number from 1 to 20."),
        ({"query": " "}, "query must be a text of 1 to 8192 characters."),
        ({"query": "x", "filter": ["en"]}, "filter must be an object"),
        ({"query": "x", "since": "yesterday"}, "'yesterday' is not a date; write it as 2024-07-01"),
        ({"k": 1}, "query must be a text"),
        ({}, "query must be a text"),
    ]
    for sent, message in wrong:
        for output in (call_tool(tool, sent), await acall_tool(tool, sent), tool.call(**sent)):
            assert output.is_error
            assert output.content.startswith(message)
            assert isinstance(output.exception, InputError)
            assert output.raw_input == {"args": (), "kwargs": sent}


def test_a_retrievers_options_are_the_tools(kb: Retriever) -> None:
    boost = Authority("author.name", {"acme-9": 1.0}, default=0.1, weight=0.9)
    retriever = TheodoliteRetriever(
        kb, scope=ACME, similarity_top_k=1, filters={"lang": "de"}, boosts=boost, versions=Latest(per="size", by="year")
    )
    latest = as_tool(retriever)
    assert ids(call_tool(latest, {"query": "x"})) == ["acme-29"]  # of those that are in German
    assert parameters(latest)["properties"]["k"]["default"] == 1
    assert "lang" not in parameters(latest)["properties"]["filter"]["properties"]
    assert ids(call_tool(as_tool(retriever, versions=[], k=2), {"query": "Refunds take 7 days"})) == [
        "acme-9",
        "acme-7",
    ]
    assert ids(call_tool(as_tool(retriever, scope={"lang": "en"}), {"query": "x"})) == []


@pytest.mark.filterwarnings("ignore:<aiosqlite.core.Connection object:ResourceWarning")  # its memory leaves one open
@pytest.mark.filterwarnings("ignore:The `__fields.*__` attribute is deprecated")  # its workflows look at all attributes
@pytest.mark.filterwarnings("ignore:Accessing the 'model_.*' attribute on the instance is deprecated")
async def test_an_agent_corrects_itself(tool: FunctionTool) -> None:
    sends: list[dict[str, Any]] = [
        {"query": "refunds", "filter": {"language": "en"}},
        {"query": "refunds", "filter": {"lang": ["en"]}, "k": 1},
    ]
    calls = iter(sends)

    def answers(messages: Any, **options: Any) -> ChatMessage:
        sent = next(calls, None)
        if sent is None:
            return ChatMessage(role="assistant", content="Some days.")
        call = ToolCallBlock(tool_call_id="1", tool_name="search_documents", tool_kwargs=sent)
        return ChatMessage(role="assistant", blocks=[call])

    agent = FunctionAgent(tools=[tool], llm=MockFunctionCallingLLM(response_generator=answers), streaming=False)
    running = agent.run("How long do refunds take?")
    outputs = [event.tool_output async for event in running.stream_events() if isinstance(event, ToolCallResult)]
    assert str(await running) == "Some days."
    del agent, running
    gc.collect()  # what it has left open is found here, and not in the next test
    first, second = outputs
    assert (first.is_error, "lang" in first.content) == (True, True)
    assert [one.node.metadata["lang"] for one in second.raw_output] == ["en"]


def test_what_is_kept_of_a_node_is_not_offered() -> None:
    with TheodoliteVectorStore(embed_model=HashingEmbedder()) as store:
        nodes = [
            TextNode(
                id_=str(n),
                text=f"Day {n}.",
                metadata={"n": n},
                embedding=HashingEmbedder().encode_query([f"Day {n}."])[0].tolist(),
            )
            for n in range(3)
        ]
        store.add(nodes)
        tool = as_tool(store)
        assert list(parameters(tool)["properties"]["filter"]["properties"]) == ["n"]
        output = call_tool(tool, {"query": "day", "filter": {"n": [1]}})
        assert (output.content, ids(output)) == ('[1] 1 {"n": 1}\nDay 1.', ["1"])
        assert output.raw_output[0].node == nodes[1].model_copy(update={"embedding": None})


@pytest.mark.filterwarnings("ignore::theodolite.MetadataWarning")  # for filters that match nothing
@pytest.mark.parametrize("confined", [{"scope": ACME}, {"filters": ACME}], ids=["scope", "filters"])
def test_nothing_leads_out_of_a_retriever(confined: dict[str, Any]) -> None:
    with hostile_tenants() as kb:
        tool = as_tool(TheodoliteRetriever(kb, **confined), date_field="on")
        for arguments in (*({"filter": sent, "k": 20} for sent in FILTERS), *ARGUMENTS):
            output = call_tool(tool, {"query": "the secret of bolt", **arguments})
            assert "bolt-" not in output.content
            if not output.is_error:
                assert {one.node.metadata["tenant"] for one in output.raw_output} <= {"acme"}


def test_a_tool_may_be_called_directly() -> None:
    with two_tenants() as kb:
        tool = as_tool(kb, scope=ACME)
        assert tool("Refunds take 7 days").content == call_tool(tool, {"query": "Refunds take 7 days"}).content
