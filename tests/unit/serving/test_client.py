"""`Retriever.open("http://...")`: the retriever of a folder, on a server."""

import asyncio
import multiprocessing
import threading
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests import calibrating, contexts
from tests.serving import ACME, OTHER, READER, WRITER, Server, handbook, serving

from theodolite import (
    Authority,
    CollectionNotFoundError,
    ConfigError,
    Document,
    EngineError,
    FilterError,
    Freshness,
    Fusion,
    InputError,
    Latest,
    MetricMismatchError,
    Retriever,
    UnsupportedError,
    Window,
)
from theodolite.serving.collections import Served
from theodolite.testing import HashingEmbedder


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("served")
    tenants = Retriever.open(folder / "tenants", embedder=HashingEmbedder(), partition="tenant")
    tenants.add([Document(f"a text of {name}", {"tenant": name}, "same") for name in ("acme", "zeta")])
    with serving(handbook(folder, write=True), handbook(folder, "other"), Served("tenants", tenants, True)) as running:
        yield running


def opened(server: Server, name: str = "handbook", token: str | None = WRITER, **options: Any) -> Retriever:
    return Retriever.open(f"{server.url}/{name}", token=token, **options)


def local(server: Server, name: str = "handbook") -> Retriever:
    return next(each.kb for each in server.collections if each.name == name)


def test_k1_and_b_and_neighbors_are_those_of_the_server(tmp_path: Path) -> None:
    guide = Retriever.open(tmp_path / "guide", embedder=HashingEmbedder(), b=0.0)
    guide.add(
        [Document(f"part {'refund ' * n}", {"path": "guide.md", "chunk": n}, f"guide.md#{n}") for n in range(1, 6)]
    )
    with serving(Served("guide", guide, True)) as running:
        with opened(running, "guide", b=0.0) as kb:
            assert (kb.info()["k1"], kb.info()["b"]) == (1.2, 0.0)
            hits = kb.search("refund", mode="lexical", k=1, where={"chunk": {"$lt": 5}})
            context = hits.context(expand=Window(1), count=len)
            assert [document.id for document in context.sources[0].documents] == ["guide.md#3", "guide.md#4"]
        with pytest.raises(ConfigError, match=r"pinned to b=0, not 0\.5"):
            opened(running, "guide", b=0.5)


def test_calibrations_and_contexts_are_those_of_a_folder() -> None:
    names = ("judged", "numbered", "others")
    with serving(*(Served(name, Retriever.open(embedder=None), True) for name in names)) as running:
        with opened(running, "judged") as kb, opened(running, "judged") as again:
            calibrating.check(kb, again)
        for name, pattern in zip(names[1:], contexts.PATTERNS, strict=True):
            with opened(running, name) as kb:
                contexts.check(kb, pattern)


SEARCHES: list[dict[str, Any]] = [
    {},
    {"k": 3, "where": {"team": "acme", "number": {"$gt": 3}}},
    {"mode": "lexical"},
    {"mode": "hybrid", "k": 5},
    {"mode": Fusion(lexical=2.0)},
    {"boosts": [Freshness("day", "30d"), Authority("number", {1: 1.0, 2: 0.5, None: 0.1}, default=0.3)]},
    {"versions": Latest("team", "number"), "superseded": "show"},
    {"min_relevance": 0.3},
    {"diversity": 0.5, "dedupe": 0.9},
    {"accept": lambda document: document.metadata["number"] % 3 == 0},
]


@pytest.mark.parametrize("options", SEARCHES, ids=lambda each: "-".join(each) or "plain")
def test_searches_find_the_same_with_the_same_scores(server: Server, options: dict[str, Any]) -> None:
    with opened(server) as kb:
        found = kb.search("refunds take 7 days", as_of=None, **options)
        expected = local(server).search("refunds take 7 days", as_of=None, **options)
    assert [(hit.document, hit.score, hit.scores, hit.version) for hit in found] == [
        (hit.document, hit.score, hit.scores, hit.version) for hit in expected
    ]
    assert (found.trace.eligible, found.trace.complete) == (expected.trace.eligible, expected.trace.complete)
    assert [hit.highlights for hit in found] == [hit.highlights for hit in expected]


def test_no_embedder_is_loaded_and_texts_take_one_round_trip(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(server) as kb:
        kb.search("refunds")  # the first search looks for calibrations, and then one every ten seconds
        calls: list[str] = []
        engine: Any = kb._engine
        call = engine._connections.call

        def counted(method: str, body: Any) -> Any:
            calls.append(method)
            return call(method, body)

        monkeypatch.setattr(engine._connections, "call", counted)
        assert kb.search_many(["refunds", "days"])[1]
        assert calls == ["search"]
        assert kb.embedder is None
        with pytest.raises(UnsupportedError, match="/health"):
            kb.check_embedder()


def test_vectors_and_an_embedder_of_ones_own(server: Server) -> None:
    query = HashingEmbedder().encode_query(["refunds take 7 days"])[0]
    expected = [hit.document.id for hit in local(server).search("refunds take 7 days")]
    with opened(server) as kb:
        assert [hit.document.id for hit in kb.search(vector=query)] == expected
        assert kb.search(like="d/3", k=1)[0].document.id == local(server).search(like="d/3", k=1)[0].document.id
    with opened(server, embedder=HashingEmbedder()) as kb:
        assert [hit.document.id for hit in kb.search("refunds take 7 days")] == expected
    with pytest.raises(ConfigError, match="dimensions"):
        opened(server, embedder=HashingEmbedder(32))


def test_writes_are_those_of_a_folder(server: Server) -> None:
    day = {
        "day": date(2025, 3, 1),
        "at": datetime(2025, 3, 1, 9, tzinfo=UTC),
        "$odd": {"$date": "no date"},
        "n": [1, 2.5, None],
    }
    with opened(server) as kb:
        assert kb.writable
        assert kb.add([Document("a new text", day, "new/1"), Document("another", {}, "new/2")]) == ["new/1", "new/2"]
        assert kb.get("new/1") == local(server).get("new/1") == [Document("a new text", day, "new/1")]
        kb.add([Document("vectors", {}, "new/3")], vectors=np.ones((1, 64), np.float32))
        assert local(server).get("new/3", vectors=True)[0][1] == pytest.approx(np.full(64, 1 / 8), abs=1e-6)
        kb.update("new/2", {"x": date(2025, 1, 1)})
        assert local(server).get("new/2")[0].metadata == {"x": date(2025, 1, 1)}
        assert kb.count({"x": {"$gte": date(2024, 1, 1)}}) == 1
        assert kb.delete(where={"x": {"$exists": True}}) == 1
        assert kb.delete(["new/1", "new/3", "missing"]) == 2
        assert [document.id for document in kb.documents()] == [document.id for document in local(server).documents()]
        assert kb.fields() == local(server).fields()
        assert kb.info()["location"] == f"{server.url}/handbook"
        assert repr(kb).startswith(f"<Retriever {server.url}/handbook: 20 documents")


def test_version_rules_of_the_collection_are_followed(server: Server, tmp_path: Path) -> None:
    with serving(handbook(tmp_path, write=True)) as ruled:
        local(ruled).keep_versions(Latest("team", "number"))
        for token in (WRITER, ACME):
            with opened(ruled, token=token) as kb:
                assert {hit.document.id for hit in kb.search("refunds")} <= {"d/18", "d/19"}


def test_errors_are_those_of_a_folder(server: Server) -> None:
    with opened(server) as kb:
        with pytest.raises(FilterError) as refused:
            kb.search("x", where={"a": {"$nope": 1}})
        assert refused.value.operator == "$nope"
        with pytest.raises(InputError):
            kb.search("x", k=100_000)
        with pytest.raises(UnsupportedError, match="cannot be sent"):
            kb.search("x", boosts=_Own())
        for call in (kb.verify, lambda: kb.reindex("hnsw"), lambda: next(kb.duplicates())):
            with pytest.raises(UnsupportedError):
                call()
    with pytest.raises(EngineError, match="closed"):
        kb.search("x")
    with pytest.raises(CollectionNotFoundError, match=r"handbok.*handbook"):
        opened(server, "handbok", create=False)
    with pytest.raises(CollectionNotFoundError):
        opened(server, token=OTHER, create=False)
    with pytest.raises(ConfigError, match="token"):
        opened(server, token=READER + "x")
    with pytest.raises(MetricMismatchError):
        opened(server, metric="l2")
    with opened(server, token=READER) as kb, pytest.raises(EngineError, match="may not write"):
        kb.delete("d/1")
    with opened(server, read_only=True) as kb, pytest.raises(EngineError, match="read-only"):
        kb.delete("d/1")
    with pytest.raises(EngineError, match="does not answer"):
        Retriever.open("http://127.0.0.1:1/kb", create=False)
    for url in (
        "http://127.0.0.1",
        "http://user:secret@127.0.0.1/kb",
        "http://127.0.0.1/a/b",
        "http://127.0.0.1/kb?x=1",
    ):
        with pytest.raises(InputError) as wrong:
            Retriever.open(url)
        assert "secret" not in str(wrong.value)


class _Own:
    name, field = "own", "number"

    def factors(self, values: Any, now: float, /) -> Any:
        return np.ones(len(values))


def test_scopes_of_tokens_and_of_views_add_up(server: Server) -> None:
    with opened(server, token=ACME) as kb:
        assert {hit.document.metadata["team"] for hit in kb.search("refunds", k=50)} == {"acme"}
        assert kb.scoped(team="zeta").count() == 0
        assert kb.scoped({"$or": [{"team": "zeta"}, {"number": 1}]}).count() == 1
        assert kb.get("d/2") == []
    with opened(server, "tenants") as kb:
        acme = kb.scoped(tenant="acme")
        assert [hit.document.text for hit in acme.search("a text")] == ["a text of acme"]
        acme.add([Document("a new text of acme", {}, "new")])
        assert kb.scoped(tenant="zeta").get("new") == []
        assert acme.delete("new") == 1
        with pytest.raises(UnsupportedError):
            kb.scoped(other=1).delete("same")


def test_threads_and_coroutines_share_it(server: Server) -> None:
    with opened(server) as kb:
        expected = [hit.document.id for hit in kb.search("refunds take 7 days")]
        found: list[list[str]] = []

        def work() -> None:
            found.extend([hit.document.id for hit in kb.search("refunds take 7 days")] for _ in range(5))

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == [expected] * 20

        async def search() -> list[str]:
            return [hit.document.id for hit in await kb.asearch("refunds take 7 days")]

        assert asyncio.run(search()) == expected


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="there is no fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_child_has_connections_of_its_own(server: Server) -> None:
    with opened(server) as kb:
        kb.search("refunds")
        context = multiprocessing.get_context("fork")
        ids = context.SimpleQueue()
        child = context.Process(target=lambda: ids.put([hit.document.id for hit in kb.search("refunds")]))
        child.start()
        child.join(30)
        assert ids.get() == [hit.document.id for hit in kb.search("refunds")]


def test_a_server_that_was_restarted_is_asked_again(tmp_path: Path) -> None:
    with serving(handbook(tmp_path)) as first:
        kb = opened(first, token=READER)
        kb.count()
        engine: Any = kb._engine
        # The server closes idle connections, as it does when it restarts.
        for connection in engine._connections._open:
            connection.sock.shutdown(2)
        assert kb.count() == 20
    with pytest.raises(EngineError, match="does not answer"):
        kb.count()
    kb.close()
