"""What a model that was talked into it may send: never another tenant's document, never an exception."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.adapters.hostile import ARGUMENTS, FILTERS, two_tenants

pytest.importorskip("llama_index.core")

from llama_index.core.tools import FunctionTool, ToolOutput
from llama_index.core.tools.calling import acall_tool, call_tool

from llama_index_theodolite import TheodoliteRetriever, as_tool
from theodolite import F, Retriever

pytestmark = pytest.mark.filterwarnings("ignore::theodolite.MetadataWarning")  # for filters that match nothing


@pytest.fixture(scope="module")
def kb() -> Iterator[Retriever]:
    with two_tenants() as kb:
        yield kb


@pytest.fixture(
    scope="module", params=["scope=", "scoped", "filter", "tenant offered", "words", "retriever", "filters"]
)
def tool(kb: Retriever, request: pytest.FixtureRequest) -> FunctionTool:
    """Confined to acme, in each way there is."""
    match request.param:
        case "scoped":
            return as_tool(kb.scoped(tenant="acme"), date_field="on")
        case "filter":
            return as_tool(kb, scope=F("tenant") == "acme", date_field="on")
        case "tenant offered":
            return as_tool(kb, scope={"tenant": "acme"}, fields=["tenant", "lang", "a.b"], date_field="on")
        case "retriever":
            return as_tool(TheodoliteRetriever(kb, scope={"tenant": "acme"}), date_field="on")
        case "filters":
            return as_tool(TheodoliteRetriever(kb, filters={"tenant": "acme"}), date_field="on")
        case "words":
            return as_tool(kb, scope={"tenant": "acme"}, date_field="on", mode="hybrid")
    return as_tool(kb, scope={"tenant": "acme"}, date_field="on")


def check(tool: FunctionTool, arguments: dict[str, Any]) -> ToolOutput:
    """As an agent calls it."""
    output = call_tool(tool, {"query": "the secret of bolt", **arguments})
    if output.is_error:
        assert len(output.content) < 2000
        assert "bolt-" not in output.content
        assert isinstance(output.raw_output, str)
    else:
        assert "secret of bolt" not in output.content
        assert {one.node.metadata["tenant"] for one in output.raw_output} <= {"acme"}
        assert {one.node.node_id[:5] for one in output.raw_output} <= {"acme-"}
    return output


def test_no_filter_leads_out(tool: FunctionTool) -> None:
    for sent in FILTERS:
        check(tool, {"filter": sent, "k": 20})


def test_no_argument_leads_out(tool: FunctionTool) -> None:
    for arguments in ARGUMENTS:
        check(tool, arguments)


def test_the_tool_would_show_what_it_may(kb: Retriever, tool: FunctionTool) -> None:
    """The checks above could fail: unconfined, the same calls show the other tenant."""
    assert check(tool, {"k": 20}).raw_output
    with pytest.raises(AssertionError):
        check(as_tool(kb, date_field="on"), {"k": 20})
    with pytest.raises(AssertionError):
        check(as_tool(kb, fields=["tenant"]), {"filter": {"tenant": {"$ne": "acme"}}})


async def test_hostile_calls_may_be_awaited(tool: FunctionTool) -> None:
    for output in await asyncio.gather(*(acall_tool(tool, {"query": "x", "filter": sent}) for sent in FILTERS[::5])):
        assert "secret of bolt" not in output.content


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
def test_nothing_leads_out(tool: FunctionTool, sent: dict[str, Any], more: dict[str, Any]) -> None:
    check(tool, {"filter": sent, **more})
