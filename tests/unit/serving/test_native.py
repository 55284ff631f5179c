"""The native API: what it answers, and what it refuses."""

import http.client
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.serving import ACME, OTHER, READER, WRITER, Server, handbook, serving

from theodolite import JudgmentWarning, Retriever


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("served")
    with serving(handbook(folder, write=True), handbook(folder, "other")) as running:
        yield running


def kb(server: Server) -> Retriever:
    return next(each.kb for each in server.collections if each.name == "handbook")


def test_a_search_finds_what_the_library_finds(server: Server) -> None:
    for options in ({}, {"k": 3}, {"where": {"team": "acme"}}, {"mode": "lexical"}, {"mode": "hybrid", "dedupe": 0.99}):
        status, answer = server.post("search", {"query": "refunds take 7 days", **options})
        assert status == 200
        expected: Any = kb(server).search("refunds take 7 days", **options)
        found = [(hit["id"], hit["score"], hit["text"]) for hit in answer["hits"]]
        assert found == [(hit.document.id, hit.score, hit.document.text) for hit in expected]
        assert answer["trace"]["eligible"] == expected.trace.eligible


def test_a_search_takes_a_vector_or_documents(server: Server) -> None:
    (_, vector), *_ = kb(server).get(["d/3"], vectors=True)
    _, by_vector = server.post("search", {"vector": vector.tolist(), "k": 1})
    assert by_vector["hits"][0]["id"] == "d/3"
    _, by_document = server.post("search", {"like": "d/3", "k": 1})
    assert by_document["hits"][0]["id"] == kb(server).search(like="d/3", k=1)[0].document.id


def test_boosts_and_versions_are_those_of_the_library(server: Server) -> None:
    from theodolite import Authority, Latest

    body = {
        "query": "refunds",
        "boosts": [{"kind": "authority", "field": "team", "levels": {"acme": 1.0, "zeta": 0.1}, "weight": 0.5}],
        "versions": [{"kind": "latest", "per": "team", "by": "number"}],
        "explain": True,
    }
    status, answer = server.post("search", body)
    assert status == 200, answer
    boost = Authority("team", {"acme": 1.0, "zeta": 0.1}, weight=0.5)
    expected = kb(server).search("refunds", boosts=boost, versions=Latest("team", "number"))
    assert [(hit["id"], hit["score"]) for hit in answer["hits"]] == [(h.document.id, h.score) for h in expected]
    assert answer["hits"][0]["explanation"]["words"] == str(expected[0].explain())


def test_documents_are_read_by_id_and_page_by_page(server: Server) -> None:
    _, got = server.post("get", {"ids": ["d/4", "missing", "d/1"]})
    assert [document["id"] for document in got["documents"]] == ["d/4", "d/1"]
    listed: list[str] = []
    after: str | None = ""
    while after is not None:
        _, page = server.post("list", {"limit": 7, "after": after})
        listed += [document["id"] for document in page["documents"]]
        after = page["next"]
    assert listed == [document.id for document in kb(server).documents()]
    assert server.post("count", {"where": {"team": "acme"}}) == (200, {"count": kb(server).count({"team": "acme"})})
    _, fields = server.post("fields", {})
    assert fields["fields"]["team"]["count"] == kb(server).fields()["team"].count


def test_info_says_nothing_of_the_servers_folders(server: Server) -> None:
    status, info = server.call("GET", "/api/v1/collections/handbook")
    assert (status, info["documents"]) == (200, kb(server).count())
    assert str(kb(server).location) not in str(info)


def test_writes_are_stored_and_need_a_token_that_may_write(server: Server) -> None:
    document = {"id": "new/1", "text": "a new passage", "metadata": {"day": {"$date": "2025-03-01"}, "draft": True}}
    assert server.post("add", {"documents": [document]}, WRITER) == (200, {"ids": ["new/1"]})
    _, got = server.post("get", {"ids": ["new/1"]})
    assert got["documents"] == [document]
    assert server.post("update", {"ids": ["new/1"], "metadata": {"draft": False}}, WRITER)[0] == 200
    assert kb(server).get("new/1")[0].metadata["draft"] is False
    assert server.post("delete", {"ids": ["new/1"]}, WRITER) == (200, {"deleted": 1})
    for path in ("add", "update", "delete"):
        assert server.post(path, {}, READER)[0] == 403
        assert server.post(path, {}, None)[0] == 401
        assert server.post(path, {}, WRITER, collection="other")[0] == 403


def test_a_token_sees_its_collections_and_its_scope_only(server: Server) -> None:
    _, answer = server.call("GET", "/api/v1/collections", token=ACME)
    assert [(each["name"], each["documents"]) for each in answer["collections"]] == [("handbook", 10)]
    _, found = server.post("search", {"query": "refunds", "k": 100}, ACME)
    assert {hit["metadata"]["team"] for hit in found["hits"]} == {"acme"}
    assert server.post("get", {"ids": ["d/2"]}, ACME) == (200, {"documents": []})
    hidden = server.post("search", {"query": "refunds"}, OTHER)
    absent = server.post("search", {"query": "refunds"}, OTHER, collection="handbooc")
    assert hidden[0] == absent[0] == 404
    assert str(hidden[1]).replace("handbook", "") == str(absent[1]).replace("handbooc", "")


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"query": "x", "k": 1_000_000}, "k"),
        ({"query": "x", "k": 0}, "k"),
        ({"query": "x", "k": True}, "k"),
        ({"query": 5}, "query"),
        ({"query": "x", "quary": 1}, "quary"),
        ({"query": "x", "where": []}, "where"),
        ({"query": "x", "vector": ["a"]}, "vector"),
        ({"query": "x", "boosts": [{"kind": "magic"}]}, "boosts"),
        ({"query": "x", "versions": {"kind": "latest"}}, "versions"),
        ({"query": "x", "mode": {"dense": 1, "depht": 2}}, "mode"),
        ({"query": "x", "rerank": True}, "rerank"),
        ({"query": "x", "as_of": []}, "as_of"),
    ],
)
def test_bad_fields_are_refused_by_name(server: Server, body: dict[str, Any], param: str) -> None:
    status, answer = server.post("search", body)
    assert (status, answer["error"]["param"]) == (400, param)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"query": "x", "where": {"a": {"$nope": 1}}},
        {"query": "x", "superseded": "maybe"},
        {"query": "x", "min_relevance": "high"},
        {"query": "x", "diversity": 7},
        {"query": "x", "dedupe": "all"},
        {"query": "", "k": 1},
        {"vector": [1.0, 2.0]},
        {"vector": [1e308] * 64},
        {"query": "x", "where": {"a": {"$gte": {"$date": "yesterday"}}}},
    ],
)
def test_what_the_library_refuses_is_a_400(server: Server, body: dict[str, Any]) -> None:
    status, answer = server.post("search", body)
    assert (status, bool(answer["error"]["message"])) == (400, True)


@pytest.mark.parametrize(
    "body", [b"{", b"[]", b"\xff\xfe", b'"text"', b'{"query": "\\ud800"}', b'{"k": NaN}', b'{"k": 1e999}', b"[" * 5000]
)
def test_bodies_that_are_not_json_objects_are_refused(server: Server, body: bytes) -> None:
    headers = {"Authorization": f"Bearer {READER}", "Content-Type": "application/json"}
    assert server.raw("POST", "/api/v1/collections/handbook/search", body, headers)[0] == 400


def test_paths_and_methods_that_do_not_exist(server: Server) -> None:
    assert server.call("GET", "/nothing")[0] == 404
    assert server.call("GET", "/api/v1/collections/handbook/search")[0] == 405
    assert server.call("GET", "/api/v1/collections/..%2f..%2fetc")[0] == 404
    assert server.call("GET", "/nothing", token=None)[0] == 401


def test_health_and_metrics(server: Server) -> None:
    status, health = server.call("GET", "/health", token=None)
    assert (status, health) == (200, {"status": "ok"})
    _, health = server.call("GET", "/health")
    assert health["collections"]["handbook"] == {"status": "ok", "embedder": "ok"}
    status, headers, text = server.raw("GET", "/metrics", headers={"Authorization": f"Bearer {READER}"})
    assert status == 200
    assert isinstance(headers, http.client.HTTPMessage)
    assert b'theodolite_documents{collection="handbook"} 20.0' in text
    assert b'route="search"' in text
    assert server.raw("GET", "/metrics", headers={"Authorization": f"Bearer {ACME}"})[0] == 403
    assert server.raw("GET", "/metrics")[0] == 401


def test_a_verdict_is_that_of_the_scope(tmp_path: Path) -> None:
    """A calibration of the whole collection says nothing about a part of it."""
    served = handbook(tmp_path)
    asked = {f"q{i}": f"refunds take {i} working days" for i in range(20)}
    judged = {f"q{i}": {f"d/{i}": 1} for i in range(20)}
    within = served.kb.scoped(team="acme")
    body = {"query": "refunds take 7 working days"}
    with serving(served) as server, warnings.catch_warnings():
        warnings.simplefilter("ignore", JudgmentWarning)  # few questions
        served.kb.calibrate(asked, judged)
        assert server.post("search", body)[1]["verdict"]["label"] != "unknown"
        assert server.post("search", body, ACME)[1]["verdict"]["label"] == "unknown"
        within.calibrate({name: asked[name] for name in list(asked)[1::2]}, judged)
        answers = [server.post("search", body, ACME)[1]["verdict"] for _ in range(2)]
        expected = within.search(body["query"]).verdict
        assert expected is not None
        assert answers == [expected.to_dict()] * 2
        assert expected.label != "unknown"
        with Retriever.open(f"{server.url}/handbook", token=ACME) as kb:  # notes hold texts of the whole collection
            assert kb.search(body["query"]).verdict is None
