"""OpenAI's shape, with OpenAI's own client."""

from collections.abc import Iterator
from datetime import date
from typing import Any

import openai
import pytest
from tests.serving import ACME, OTHER, READER, Server, handbook, serving

from theodolite import Document, Retriever
from theodolite.serving.collections import Served
from theodolite.testing import HashingEmbedder

ODD = ["a/b c.md", "a/b/content", "100%", "ü/ö?x=1#y", "a//b", " ", "%2F", "..", "content"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("served")
    odd = Retriever.open(folder / "odd", embedder=HashingEmbedder())
    metadata: dict[str, Any] = {"day": date(2025, 3, 1), "tags": ["x"], "deep": {"a": 1}, "ok": True, "long": "x" * 600}
    odd.add([Document(f"the text of {name}", {**metadata, "path": f"docs/{i}"}, name) for i, name in enumerate(ODD)])
    with serving(handbook(folder, write=True), handbook(folder, "other"), Served("odd", odd)) as running:
        yield running


def client(server: Server, token: str = READER) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key=token, max_retries=0)


def test_search(server: Server) -> None:
    kb = next(iter(server.collections)).kb
    found = client(server).vector_stores.search("handbook", query="refunds take 7 days", max_num_results=3)
    expected = kb.search("refunds take 7 days", k=3)
    assert [(each.file_id, each.score) for each in found.data] == [
        (hit.document.id, hit.scores["relevance"]) for hit in expected
    ]
    assert found.data[0].content[0].text == expected[0].document.text
    assert found.data[0].attributes == expected[0].document.metadata
    assert not found.has_next_page()


FILTERS: list[tuple[Any, dict[str, Any]]] = [
    ({"type": "eq", "key": "number", "value": 3}, {"number": 3}),
    ({"type": "ne", "key": "team", "value": "acme"}, {"team": {"$ne": "acme"}}),
    ({"type": "gt", "key": "number", "value": 15}, {"number": {"$gt": 15}}),
    ({"type": "gte", "key": "number", "value": 15}, {"number": {"$gte": 15}}),
    ({"type": "lt", "key": "number", "value": 2.5}, {"number": {"$lt": 2.5}}),
    ({"type": "lte", "key": "number", "value": 2}, {"number": {"$lte": 2}}),
    ({"type": "in", "key": "number", "value": [1, 2, 99]}, {"number": {"$in": [1, 2, 99]}}),
    ({"type": "nin", "key": "team", "value": ["acme"]}, {"team": {"$nin": ["acme"]}}),
    (
        {
            "type": "and",
            "filters": [
                {"type": "or", "filters": [{"type": "eq", "key": "number", "value": n} for n in (1, 2, 3)]},
                {"type": "eq", "key": "team", "value": "acme"},
            ],
        },
        {"number": {"$in": [1, 3]}},
    ),
]


@pytest.mark.parametrize(("given", "ours"), FILTERS)
def test_filters(server: Server, given: Any, ours: dict[str, Any]) -> None:
    found = client(server).vector_stores.search("handbook", query="refunds", max_num_results=50, filters=given)
    kb = next(iter(server.collections)).kb
    assert sorted(each.file_id for each in found.data) == sorted(document.id for document in kb.documents(ours))
    assert found.data


def test_several_queries_become_one_list(server: Server) -> None:
    found = client(server).vector_stores.search("handbook", query=["take 3 days", "take 7 days"], max_num_results=5)
    ids = [each.file_id for each in found.data]
    assert len(ids) == len(set(ids)) == 5
    assert {"d/3", "d/7"} <= set(ids)


def test_a_threshold_leaves_out_what_has_less(server: Server) -> None:
    api = client(server).vector_stores
    everything = api.search("handbook", query="refunds take 7 days", max_num_results=50).data
    threshold = everything[4].score
    options: Any = {"ranker": "none", "score_threshold": threshold}
    some = api.search("handbook", query="refunds take 7 days", max_num_results=50, ranking_options=options).data
    assert [each.file_id for each in some] == [each.file_id for each in everything if each.score >= threshold]


def test_stores_and_files_are_listed_page_by_page(server: Server) -> None:
    api = client(server).vector_stores
    assert [store.id for store in api.list()] == ["handbook", "odd", "other"]
    assert [store.id for store in api.list(order="desc", limit=2)] == ["other", "odd", "handbook"]
    assert [store.id for store in api.list(before="other", limit=1).data] == ["odd"]
    assert api.retrieve("odd").file_counts.total == len(ODD)
    ids = sorted(document.id for document in next(iter(server.collections)).kb.documents())
    assert [file.id for file in api.files.list("handbook", limit=3)] == ids
    assert [file.id for file in api.files.list("handbook", limit=3, order="desc")] == ids[::-1]
    assert [file.id for file in api.files.list("handbook", before=ids[10], limit=3).data] == ids[7:10]
    assert [file.id for file in api.files.list("handbook", before=ids[10], limit=3, order="desc").data] == ids[13:10:-1]
    assert list(api.files.list("handbook", filter="failed")) == []


@pytest.mark.parametrize("name", [name for name in ODD if name not in ("..",)])
def test_any_id_is_found(server: Server, name: str) -> None:
    api = client(server).vector_stores.files
    file = api.retrieve(name, vector_store_id="odd")
    assert (file.id, file.vector_store_id, file.status) == (name, "odd", "completed")
    assert file.attributes == {"day": "2025-03-01", "ok": True, "long": "x" * 512, "path": f"docs/{ODD.index(name)}"}
    assert api.content(name, vector_store_id="odd").data[0].text == f"the text of {name}"


def test_a_files_name_is_its_path(server: Server) -> None:
    found = client(server).vector_stores.search("odd", query="the text of 100%", max_num_results=1).data[0]
    assert found.filename == f"docs/{ODD.index(found.file_id)}"


def test_what_a_token_may_not_see_does_not_exist(server: Server) -> None:
    for token in (OTHER, READER):
        with pytest.raises(openai.NotFoundError) as error:
            client(server, token).vector_stores.retrieve("handbook" if token == OTHER else "nothing")
        assert error.value.code == "not_found"
    found = client(server, ACME).vector_stores.search("handbook", query="refunds", max_num_results=50)
    assert {(each.attributes or {})["team"] for each in found.data} == {"acme"}
    with pytest.raises(openai.AuthenticationError) as refused:
        client(server, "no-such-token").vector_stores.list()
    assert refused.value.code == "invalid_api_key"


@pytest.mark.parametrize(
    ("options", "param"),
    [
        ({"max_num_results": 51}, "max_num_results"),
        ({"max_num_results": 1_000_000}, "max_num_results"),
        ({"rewrite_query": True}, "rewrite_query"),
        ({"filters": {"type": "near", "key": "a", "value": 1}}, "filters"),
        ({"filters": {"type": "eq", "key": "$id", "value": 1}}, "filters"),
        ({"filters": {"type": "and", "filters": []}}, "filters"),
        ({"ranking_options": {"ranker": "best"}}, "ranking_options.ranker"),
        ({"ranking_options": {"score_threshold": 2}}, "ranking_options.score_threshold"),
        ({"extra_body": {"max_results": 3}}, "max_results"),
        ({"query": []}, "query"),
        ({"query": ["x"] * 101}, "query"),
    ],
)
def test_bad_requests_are_refused_in_openais_form(server: Server, options: dict[str, Any], param: str) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client(server).vector_stores.search("handbook", **{"query": "refunds", **options})
    assert (refused.value.param, refused.value.type) == (param, "invalid_request_error")
    assert refused.value.body


def test_what_has_no_meaning_here_is_refused(server: Server) -> None:
    api = client(server)
    for call in (
        lambda: api.vector_stores.create(name="new"),
        lambda: api.vector_stores.delete("handbook"),
        lambda: api.vector_stores.files.delete("d/1", vector_store_id="handbook"),
        lambda: api.embeddings.create(model="m", input="x"),
        lambda: api.models.list(),
    ):
        with pytest.raises(openai.APIStatusError) as refused:
            call()
        assert refused.value.status_code in (404, 405)
        assert refused.value.type == "invalid_request_error"
    with pytest.raises(openai.BadRequestError):
        api.vector_stores.list(limit=1000)
    with pytest.raises(openai.BadRequestError):
        api.vector_stores.list(after="nothing")
