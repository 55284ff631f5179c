"""The search tool for LangChain's agents: LangChain's own tests, what documents carry, and an agent."""

from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("langchain_core")
pytest.importorskip("langchain_tests")

from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.tools import BaseTool
from langchain_tests.integration_tests import ToolsIntegrationTests
from langchain_tests.unit_tests import ToolsUnitTests
from tests.adapters.corpus import ACME, two_tenants

from langchain_theodolite.tools import theodolite_tool
from theodolite import Retriever


@pytest.fixture(scope="module")
def kb() -> Iterator[Retriever]:
    with two_tenants() as kb:
        yield kb


@pytest.fixture
def tool(kb: Retriever) -> BaseTool:
    return theodolite_tool(kb, scope=ACME, date_field="published")


def test_the_artifact_has_all(tool: BaseTool, kb: Retriever) -> None:
    call = {"type": "tool_call", "id": "1", "name": tool.name, "args": {"query": "Refunds take 7 days", "k": 2}}
    message = tool.invoke(call)
    hits = kb.scoped(tenant="acme").search("Refunds take 7 days", k=2)
    for document, hit in zip(message.artifact, hits, strict=True):
        assert document.metadata == {**hit.document.metadata, "theodolite": {"score": hit.score, "rank": hit.rank}}


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
