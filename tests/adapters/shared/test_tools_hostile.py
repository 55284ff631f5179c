"""Hostile calls of a tool, as an injected prompt may cause: never another tenant's document, never an exception."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.adapters.hostile import ARGUMENTS, FILTERS, two_tenants
from tests.adapters.shared.verbs import Adapter, Called
from tests.sampling import sampled

from theodolite import F, Retriever

pytestmark = pytest.mark.filterwarnings("ignore::theodolite.MetadataWarning")  # for filters that match nothing


@pytest.fixture(scope="module")
def kb() -> Iterator[Retriever]:
    with two_tenants() as kb:
        yield kb


@pytest.fixture(scope="module", params=["scope=", "scoped", "filter", "tenant offered", "words"])
def tool(adapter: Adapter, kb: Retriever, request: pytest.FixtureRequest) -> Any:
    """Confined to acme, in each way there is."""
    match request.param:
        case "scoped":
            return adapter.tool(kb.scoped(tenant="acme"), date_field="on")
        case "filter":
            return adapter.tool(kb, scope=F("tenant") == "acme", date_field="on")
        case "tenant offered":
            return adapter.tool(kb, scope={"tenant": "acme"}, fields=["tenant", "lang", "a.b"], date_field="on")
        case "words":
            return adapter.tool(kb, scope={"tenant": "acme"}, date_field="on", mode="hybrid")
    return adapter.tool(kb, scope={"tenant": "acme"}, date_field="on")


def check(called: Called) -> Called:
    if called.error:
        assert len(called.content) < 2000
        assert "bolt-" not in called.content
        assert called.found == []
    else:
        assert "secret of bolt" not in called.content
        assert {one.metadata["tenant"] for one in called.found} <= {"acme"}
        assert all(one.id is not None and one.id.startswith("acme-") for one in called.found)
    return called


def ask(adapter: Adapter, tool: Any, **arguments: Any) -> Called:
    return check(adapter.call(tool, **{"query": "the secret of bolt", **arguments}))


def test_no_filter_leads_out(adapter: Adapter, tool: Any) -> None:
    for sent in FILTERS:
        ask(adapter, tool, filter=sent, k=20)


def test_no_argument_leads_out(adapter: Adapter, tool: Any) -> None:
    for arguments in ARGUMENTS:
        check(adapter.call(tool, **{"query": "the secret of bolt", **arguments}))


def test_the_tool_would_show_what_it_may(adapter: Adapter, kb: Retriever, tool: Any) -> None:
    """The checks above could fail: unconfined, the same calls show the other tenant."""
    assert ask(adapter, tool, k=20).found
    with pytest.raises(AssertionError):
        ask(adapter, adapter.tool(kb, date_field="on"), k=20)
    with pytest.raises(AssertionError):
        ask(adapter, adapter.tool(kb, fields=["tenant"]), filter={"tenant": {"$ne": "acme"}})


async def test_hostile_calls_may_be_awaited(adapter: Adapter, tool: Any) -> None:
    for called in await asyncio.gather(*(adapter.acall(tool, query="x", filter=sent) for sent in FILTERS[::5])):
        check(called)


_names = st.sampled_from(
    ["tenant", "lang", "n", "on", "a.b", "$or", "$not", "$and", "$nor", "min", "max", "$eq", "$in"]
)
_leaves = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.sampled_from(["acme", "bolt"]))
_values = st.recursive(
    _leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_names | st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@settings(max_examples=sampled(100), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(_names, _values, max_size=4), st.dictionaries(st.sampled_from(["k", "since", "until"]), _values))
def test_nothing_leads_out(adapter: Adapter, tool: Any, sent: dict[str, Any], more: dict[str, Any]) -> None:
    ask(adapter, tool, filter=sent, **more)
