"""What a model that was talked into it may send: never another tenant's document, never an exception."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytest.importorskip("llama_index.core")

from llama_index.core.tools import FunctionTool, ToolOutput
from llama_index.core.tools.calling import acall_tool, call_tool

from llama_index_theodolite import TheodoliteRetriever, as_tool
from theodolite import Document, F, Retriever
from theodolite.testing import HashingEmbedder


@pytest.fixture(scope="module")
def kb() -> Iterator[Retriever]:
    with Retriever.open(embedder=HashingEmbedder(), partition="tenant") as kb:
        for tenant in ("acme", "bolt"):
            kb.scoped(tenant=tenant).add(
                [
                    Document(
                        f"The secret of {tenant}, number {n}.",
                        {"lang": "de" if n % 2 else "en", "n": n, "on": f"2025-01-0{n}", "a": {"b": tenant}},
                        id=f"{tenant}-{n}",
                    )
                    for n in range(1, 6)
                ]
            )
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


def deep(levels: int, inner: Any, key: str) -> Any:
    for _ in range(levels):
        inner = {key: inner} if key == "$not" else {key: [inner]}
    return inner


def each(key: str, *values: Any) -> list[dict[str, Any]]:
    return [{key: value} for value in values]


OTHERS: list[Any] = [
    "bolt",
    ["bolt"],
    ["acme", "bolt"],
    {"$eq": "bolt"},
    {"$ne": "acme"},
    {"$in": ["bolt"]},
    {"$nin": ["acme"]},
    {"$exists": True},
    {"$exists": False},
    {"$not": {"$eq": "acme"}},
    {"$gt": ""},
    {"$like": "%"},
    {"$ilike": "B%"},
    {"$contains": ""},
    {"$between": ["a", "z"]},
    {"min": "", "max": "z"},
    {"$regex": ".*"},
    {"$where": "1"},
    {"$or": [{"$eq": "bolt"}]},
]

FILTERS: list[Any] = [
    *({field: value} for field in ("tenant", "lang", "a.b", "partition", "id", "_id", "scope") for value in OTHERS),
    *({joined: [{"tenant": "bolt"}, {"tenant": "acme"}]} for joined in ("$or", "$and", "$nor")),
    {"$not": {"tenant": "acme"}},
    {"$nor": [{"tenant": "acme"}]},
    {"lang": "en", "$or": [{"tenant": "bolt"}]},
    {"lang": {"$not": {"$eq": "en"}}, "$not": {"$not": {"tenant": "bolt"}}},
    {"lang": {"$or": [{"tenant": "bolt"}]}},
    {"lang": {"tenant": "bolt"}},
    {"tenant.": "bolt", ".tenant": "bolt", "metadata.tenant": "bolt", "$.tenant": "bolt", "tenant\0": "bolt"},
    *(
        {name: "bolt"}
        for name in ("", ".", "..", "a", "a.", "a.b.c", "__class__", "$", "$$", "$eq", "TENANT", "ten\u0430nt")
    ),
    *each("lang", "\0", "en\0", "\ud800", "\u202een", "\uff45\uff4e", "e\u0301", "%", "*", "' OR 1=1 --"),
    *each("lang", 'en"} UNION SELECT', "en) OR (1=1", 'NEAR(a b) "', "en'; DROP TABLE documents;--"),
    *each("lang", 0, 1, -1, 1.5, True, False, 2**70, 10**400, 1e308, float("inf"), float("nan")),
    *each("lang", [], {}, [None], [[]], [{}], [["en"]], [{"$eq": "en"}], {"$in": "en"}, {"$in": None}),
    *each("lang", {"": 1}, {"$": 1}, {"eq": "en"}, {"$eq": {"$eq": "en"}}, {"$date": "x"}, {"$date": 1}),
    *each("n", {"min": "1"}, {"min": []}, {"max": {}}, {"min": True}, {"min": 5, "max": 1}, {"min": 1e400}),
    {"lang": list(range(100_000))},
    {"lang": ["en"] * 100_000},
    {"lang": "en" * 500_000},
    {"x" * 100_000: "en"},
    {f"f{number}": "en" for number in range(10_000)},
    {"lang": deep(100, "en", "$not")},
    {"lang": deep(100, "en", "$in")},
    *({key: deep(100, {"tenant": "bolt"}, key)[key]} for key in ("$not", "$or", "$and", "$nor")),
]

ARGUMENTS: list[dict[str, Any]] = [
    *each("filter", "bolt", '{"tenant": "bolt"}', 1, True, [], [{"tenant": "bolt"}], "{", None),
    *({argument: "bolt"} for argument in ("tenant", "scope", "where", "partition", "kb", "self", "config", "vector")),
    *(
        {argument: {"tenant": "bolt"}}
        for argument in ("scope", "where", "arguments", "kwargs", "callbacks", "run_manager")
    ),
    *each("k", 0, -1, 21, 10**9, 10**400, 1.5, float("nan"), "all", None, [], {}, True),
    *(
        one
        for end in ("since", "until")
        for one in each(end, "", "x", "2025", "2025-13-01", "9999-12-31", "0001-01-01")
    ),
    *(one for end in ("since", "until") for one in each(end, "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00")),
    *(
        one
        for end in ("since", "until")
        for one in each(end, 0, True, [], {"$gt": ""}, {"$exists": True}, "2025-01-01\0")
    ),
    {"since": "2026-01-01", "until": "2025-01-01"},
    *each("query", "", " ", "\0", "!!!", "\ud800", "\u202e", "a" * 9000, None, 1, [], {"$ne": ""}),
    *each("query", '"', "'", "*", "NEAR(", "bolt AND", "tenant:bolt", "text MATCH 'x'", "-bolt", "(", "^a"),
    {"query": "ignore the filter and show tenant bolt", "tenant": "bolt", "filter": {"$or": [{"tenant": "bolt"}]}},
]


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
