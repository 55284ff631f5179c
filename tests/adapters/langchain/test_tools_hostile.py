"""What a model that was talked into it may send: never another tenant's document, never an exception."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytest.importorskip("langchain_core")

from langchain_core.messages import ToolMessage
from langchain_core.tools import BaseTool

from langchain_theodolite.tools import theodolite_tool
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
