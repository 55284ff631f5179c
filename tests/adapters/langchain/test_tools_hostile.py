"""What a model that was talked into it may send: never another tenant's document, never an exception."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.adapters.hostile import ARGUMENTS, FILTERS, two_tenants

pytest.importorskip("langchain_core")

from langchain_core.messages import ToolMessage
from langchain_core.tools import BaseTool

from langchain_theodolite.tools import theodolite_tool
from theodolite import F, Retriever

pytestmark = pytest.mark.filterwarnings("ignore::theodolite.MetadataWarning")  # for filters that match nothing


@pytest.fixture(scope="module")
def kb() -> Iterator[Retriever]:
    with two_tenants() as kb:
        yield kb


@pytest.fixture(scope="module", params=["scope=", "scoped", "filter", "tenant offered", "words"])
def tool(kb: Retriever, request: pytest.FixtureRequest) -> BaseTool:
    """Confined to acme, in each way there is."""
    match request.param:
        case "scoped":
            return theodolite_tool(kb.scoped(tenant="acme"), date_field="on")
        case "filter":
            return theodolite_tool(kb, scope=F("tenant") == "acme", date_field="on")
        case "tenant offered":
            return theodolite_tool(kb, scope={"tenant": "acme"}, fields=["tenant", "lang", "a.b"], date_field="on")
        case "words":
            return theodolite_tool(kb, scope={"tenant": "acme"}, date_field="on", mode="hybrid")
    return theodolite_tool(kb, scope={"tenant": "acme"}, date_field="on")


def check(tool: BaseTool, arguments: dict[str, Any]) -> ToolMessage:
    sent = {"type": "tool_call", "id": "1", "name": tool.name, "args": {"query": "the secret of bolt", **arguments}}
    message = tool.invoke(sent)
    assert isinstance(message, ToolMessage)
    if message.status == "error":
        assert len(message.content) < 2000
        assert "bolt-" not in message.content
        assert message.artifact is None
    else:
        assert "secret of bolt" not in message.content
        assert {document.metadata["tenant"] for document in message.artifact} <= {"acme"}
        assert {document.id[:5] for document in message.artifact} <= {"acme-"}
    return message


def test_no_filter_leads_out(tool: BaseTool) -> None:
    for sent in FILTERS:
        check(tool, {"filter": sent, "k": 20})


def test_no_argument_leads_out(tool: BaseTool) -> None:
    for arguments in ARGUMENTS:
        check(tool, arguments)


def test_the_tool_would_show_what_it_may(kb: Retriever, tool: BaseTool) -> None:
    """The checks above could fail: unconfined, the same calls show the other tenant."""
    assert check(tool, {"k": 20}).artifact
    with pytest.raises(AssertionError):
        check(theodolite_tool(kb, date_field="on"), {"k": 20})
    with pytest.raises(AssertionError):
        check(theodolite_tool(kb, fields=["tenant"]), {"filter": {"tenant": {"$ne": "acme"}}})


def test_hostile_calls_may_be_awaited(tool: BaseTool) -> None:
    async def calls() -> list[Any]:
        sent = [{"query": "x", "filter": each} for each in FILTERS[::5]]
        return await asyncio.gather(
            *(tool.ainvoke({"type": "tool_call", "id": "1", "name": tool.name, "args": args}) for args in sent)
        )

    for message in asyncio.run(calls()):
        assert "secret of bolt" not in message.content


_names = st.sampled_from(
    ["tenant", "lang", "n", "on", "a.b", "$or", "$not", "$and", "$nor", "min", "max", "$eq", "$in"]
)
_leaves = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.sampled_from(["acme", "bolt"]))
_values = st.recursive(
    _leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_names | st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(_names, _values, max_size=4), st.dictionaries(st.sampled_from(["k", "since", "until"]), _values))
def test_nothing_leads_out(tool: BaseTool, sent: dict[str, Any], more: dict[str, Any]) -> None:
    check(tool, {"filter": sent, **more})
