"""Hostile calls of a search tool, as an injected prompt may cause, and two tenants to attack."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from theodolite import Document, Retriever
from theodolite.testing import HashingEmbedder


@contextmanager
def two_tenants() -> Iterator[Retriever]:
    """A collection of two tenants; acme's tools must never show a document of bolt."""
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
