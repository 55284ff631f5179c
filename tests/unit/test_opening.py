"""Opening: collections that do not exist yet, and embedders that are made when a text needs them."""

import asyncio
import json
import os
import sqlite3
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from theodolite import (
    CollectionNotFoundError,
    CollectionNotFoundWarning,
    ConfigError,
    Document,
    DocumentError,
    EmbedderDriftError,
    EmbedderOptions,
    EngineError,
    Latest,
    ManifestError,
    MetricMismatchError,
    Retriever,
    VectorError,
    plugins,
)
from theodolite.embedders.options import RECORDED
from theodolite.engines.local.storage import opening
from theodolite.engines.local.storage.schema import digest
from theodolite.files.sync import sync
from theodolite.testing import DictEngine, HashingEmbedder
from theodolite.types import EmbedderSpec

EYE = np.eye(3, dtype=np.float32)
DOCUMENTS = [Document("refunds take five days", {"lang": "en"}, "a"), Document("parcels", {"lang": "de"}, "b")]
NOT_THERE = "there is no collection at"


class Counted(HashingEmbedder):
    """The embedder `counted:NAME` of the tests. It counts how often it is made and called."""

    made: list[str]
    calls: list[list[str]]
    wait = threading.Event()

    def __init__(self, name: str = "", **settings: Any) -> None:
        super().__init__(16, query_prefix="find " if name == "other" else "")
        self.wait.wait(5)
        self.made.append(name)
        self.spec = EmbedderSpec(f"counted:{name}", **settings)

    def encode_query(self, texts: Sequence[str], /) -> Any:
        self.calls.append(list(texts))
        return super().encode_query(texts)


@pytest.fixture(autouse=True)
def counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(plugins._TABLE["embedders"], "counted", (f"{__name__}:Counted", ""))
    load = plugins.load
    monkeypatch.setattr(plugins, "load", lambda kind, name: Counted if name == "counted" else load(kind, name))
    Counted.made, Counted.calls = [], []
    Counted.wait.set()


@pytest.fixture(params=["folder", "dict"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    """A place without a collection, for two engines."""
    yield tmp_path / "kb" if request.param == "folder" else "dict://opening"
    DictEngine.forget("opening")


@pytest.fixture
def filled(location: Any) -> Any:
    """A collection that `counted:one` has filled."""
    with Retriever.open(location, embedder="counted:one") as kb:
        kb.add(DOCUMENTS)
    Counted.made, Counted.calls = [], []
    return location


def ids(found: Any) -> list[str]:
    return [hit.document.id for hit in found]


# ----- collections that do not exist yet


def test_nothing_is_written_before_the_first_add(tmp_path: Path) -> None:
    folder = tmp_path / "above" / "kb"
    with Retriever.open(folder, embedder=HashingEmbedder(8), metric="dot", index="hnsw") as kb:
        assert (kb.metric, kb.dimension, kb.location, kb.writable) == ("dot", None, folder, True)
        assert kb.info()["documents"] == len(kb) == 0
        assert repr(kb) == f"<Retriever {folder}: 0 documents, dot>"
        assert kb.delete("a") == kb.delete(where={"lang": "en"}) == 0
        kb.clear()
        kb.warm("lang")
        assert kb.add([]) == []
        with pytest.raises(DocumentError, match="exists"):
            kb.update("a", {})
        with pytest.raises(VectorError):
            kb.add(DOCUMENTS, vectors=[[1.0, 0.0], [np.nan, 1.0]])
        with pytest.raises(DocumentError):
            kb.add([{"text": 3}])
        assert not folder.parent.exists()
        kb.add(DOCUMENTS)
        assert folder.exists()
        assert ids(kb.search("refunds", k=1)) == ["a"]
    with Retriever.open(folder) as kb:
        assert (kb.metric, len(kb)) == ("dot", 2)


def test_reading_finds_nothing_and_warns_once(location: Any) -> None:
    with Retriever.open(location) as kb:
        with pytest.warns(CollectionNotFoundWarning, match=f"{NOT_THERE} .*Nothing is found until documents are added"):
            hits = kb.search("refunds")
        assert not hits
        assert hits.trace.path == "empty"
        assert NOT_THERE in hits.trace.notes[0]
        assert kb.search(vector=EYE[0]).trace.notes == kb.search("x", mode="hybrid").trace.notes == hits.trace.notes
        assert [list(each) for each in kb.search_many(["a", "b"])] == [[], []]
        assert kb.get(["a"]) == [] == list(kb.documents())
        assert kb.count() == len(kb) == kb.count({"lang": "en"}) == 0
        assert kb.fields() == {}
        assert list(kb.duplicates()) == []
        assert not kb.scoped(lang="en").search("refunds")


@pytest.mark.parametrize("read", ["get", "documents", "count", "fields"])
def test_every_kind_of_reading_warns(tmp_path: Path, read: str) -> None:
    with Retriever.open(tmp_path / "kb") as kb:
        call = getattr(kb, read)
        with pytest.warns(CollectionNotFoundWarning, match=NOT_THERE):
            call(*["a"] if read == "get" else [])
        kb.count()


def test_a_mistyped_folder_is_reported(tmp_path: Path) -> None:
    with Retriever.open(tmp_path / "handbook", create=True):
        pass
    (tmp_path / "handbooks").mkdir()  # not a collection
    meant = f"did you mean {tmp_path / 'handbook'}"
    with Retriever.open(tmp_path / "handbok") as kb, pytest.warns(CollectionNotFoundWarning, match=meant):
        assert kb.count() == 0
    with pytest.raises(CollectionNotFoundError, match=meant) as caught:
        Retriever.open(tmp_path / "handbok", create=False)
    assert caught.value.similar == str(tmp_path / "handbook")
    with pytest.raises(CollectionNotFoundError) as caught:
        Retriever.open(tmp_path / "quite different", create=False)
    assert caught.value.similar is None


def test_create_says_when(location: Any) -> None:
    for wanted in ({"create": False}, {"read_only": True}, {"create": True, "read_only": True}):
        with pytest.raises(CollectionNotFoundError, match=NOT_THERE):
            Retriever.open(location, **wanted)  # type: ignore[arg-type]  # of either kind
    Retriever.open(location, metric="l2", create=True).close()
    for wanted in ({"create": False}, {"read_only": True}, {}):
        with Retriever.open(location, **wanted) as kb:  # type: ignore[arg-type]  # of either kind
            assert kb.metric == "l2"
            assert kb.count() == 0  # and does not warn


def test_other_things_are_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ManifestError, match="not a theodolite collection"):
        Retriever.open(tmp_path)
    with pytest.raises(ManifestError, match="is a file"):
        Retriever.open(tmp_path / "notes.txt")
    with pytest.raises(ConfigError, match="hsnw"):
        Retriever.open(tmp_path / "kb", index="hsnw")
    with pytest.raises(TypeError, match="lock_timeout"):
        Retriever.open(tmp_path / "kb", lock_timeuot=3)
    (tmp_path / "empty").mkdir()
    with Retriever.open(tmp_path / "empty") as kb:
        kb.add(DOCUMENTS, vectors=EYE[:2])
        assert len(kb) == 2


def test_settings_apply_at_the_first_add(location: Any) -> None:
    with Retriever.open(location, metric="dot", partition="lang", versions=Latest("policy", "date")) as kb:
        english = kb.scoped(lang="en")
        assert kb.info()["partition"] == "lang"
        english.add([Document("a", id="a")], vectors=EYE[:1])
        assert english.partition == "en"
        assert ids(english.search(vector=EYE[0])) == ["a"]
        assert len(kb) == 1
    with Retriever.open(location) as kb:
        assert (kb.metric, kb.info()["partition"]) == ("dot", "lang")
        assert list(kb._searcher.rules) == [Latest("policy", "date")]


def test_what_others_create_is_found(location: Any) -> None:
    with Retriever.open(location, embedder=HashingEmbedder(8)) as early, Retriever.open(location) as plain:
        scope = early.scoped(lang="en")
        with Retriever.open(location, embedder=HashingEmbedder(8), metric="dot") as other:
            other.add(DOCUMENTS)
        assert (early.metric, len(early), ids(early.search("refunds", k=1))) == ("dot", 2, ["a"])
        assert early.relevance is None  # dot products have none of their own
        assert ids(scope.search("refunds")) == ["a"]
        assert len(plain.search(vector=np.eye(8)[0])) == 2


def test_two_that_create_at_once_agree(location: Any) -> None:
    with Retriever.open(location, metric="dot") as one, Retriever.open(location, metric="l2") as two:
        one.add(DOCUMENTS[:1], vectors=EYE[:1])
        with pytest.raises(MetricMismatchError, match="pinned to metric 'dot'"):
            two.add(DOCUMENTS[1:], vectors=EYE[1:2])
        with Retriever.open(location) as three:
            three.add(DOCUMENTS[1:], vectors=EYE[1:2])
        assert len(one) == 2


def test_another_embedder_is_refused_when_others_have_created(location: Any) -> None:
    with Retriever.open(location, embedder=HashingEmbedder(16)) as late:
        with Retriever.open(location, embedder=HashingEmbedder(16, query_prefix="find ")) as other:
            other.add(DOCUMENTS)
        for _ in range(2):
            with pytest.raises(EmbedderDriftError):
                late.add(DOCUMENTS)


def test_threads_create_one_collection(location: Any) -> None:
    with Retriever.open(location) as kb:
        barrier = threading.Barrier(8)

        def add(number: int) -> None:
            barrier.wait()
            kb.add([Document("text", id=str(number))], vectors=EYE[:1])

        threads = [threading.Thread(target=add, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(kb) == 8


def test_processes_create_one_collection(tmp_path: Path) -> None:
    code = (
        "import sys, numpy as np; from theodolite import Retriever\n"
        "kb = Retriever.open(sys.argv[1], lock_timeout=60); sys.stdin.readline()\n"
        "kb.add([{'id': sys.argv[2], 'text': 't'}], vectors=np.eye(3)[:1]); kb.close()"
    )
    folder = str(tmp_path / "kb")
    started = [
        subprocess.Popen([sys.executable, "-c", code, folder, name], stdin=subprocess.PIPE, text=True)
        for name in ("a", "b")
    ]
    for process in started:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    assert [process.wait(120) for process in started] == [0, 0]
    for process in started:
        assert process.stdin is not None
        process.stdin.close()
    with Retriever.open(folder) as kb:
        assert [document.id for document in kb.documents()] == ["a", "b"]


def test_what_needs_a_collection_says_so(location: Any, tmp_path: Path) -> None:
    with Retriever.open(location) as kb:
        for call in (kb.verify, kb.repair, kb.compact, lambda: kb.backup(tmp_path / "copy")):
            with pytest.raises(CollectionNotFoundError, match=NOT_THERE):
                call()
        kb.keep_versions(Latest("policy", "date"))  # which is to be stored
        assert kb.count() == 0  # and does not warn: the collection is there


def test_closing_comes_first(location: Any) -> None:
    kb = Retriever.open(location)
    kb.close()
    kb.close()
    for call in (kb.count, lambda: kb.search(vector=EYE[0]), lambda: kb.add(DOCUMENTS, vectors=EYE[:2])):
        with pytest.raises(EngineError, match="closed"):
            call()
    with pytest.raises(CollectionNotFoundError):
        Retriever.open(location, create=False)


def test_the_first_add_looks_for_the_collection_once_and_not_for_each_document(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[int] = []
    real = opening._similar

    def similar(folder: Path) -> str | None:
        looked.append(1)
        return real(folder)

    monkeypatch.setattr(opening, "_similar", similar)
    counts = []
    for rows in (3, 300):
        with Retriever.open(tmp_path / f"kb{rows}") as kb:
            looked.clear()
            kb.add([f"text {row}" for row in range(rows)], vectors=np.ones((rows, 2)))
            counts.append(len(looked))
    assert counts[0] == counts[1] > 0


def test_a_temporary_collection_is_there_at_once() -> None:
    for location in (None, "dict://"):
        with Retriever.open(location) as kb:
            assert (kb.count(), list(kb.search(vector=EYE[0]))) == (0, [])
            kb.add(DOCUMENTS, vectors=EYE[:2])
            assert len(kb) == 2


def test_files_make_a_collection(tmp_path: Path) -> None:
    (tmp_path / "refunds.txt").write_text("Refunds take five days.")
    with Retriever.open(tmp_path / "kb", embedder=HashingEmbedder(8)) as kb:
        assert sync(kb, [tmp_path / "refunds.txt"]).added == 1
        assert len(kb) == 1


def test_monitored_from_the_first_add(location: Any) -> None:
    with Retriever.open(location, embedder=HashingEmbedder(8), monitor=True) as kb:
        kb.add(DOCUMENTS)
        kb.search("refunds")
        assert kb.monitor is not None
        kb.monitor.flush()
        assert kb.monitor.report()


def test_awaited(location: Any) -> None:
    async def run() -> None:
        with Retriever.open(location, embedder="counted:one") as kb:
            with pytest.warns(CollectionNotFoundWarning):
                assert not await kb.asearch("refunds")
            assert await kb.acount() == 0
            await kb.aadd(DOCUMENTS)
            assert ids(await kb.asearch("refunds", k=1)) == ["a"]
        with Retriever.open(location) as kb:
            found = await asyncio.gather(*(kb.asearch("refunds", k=1) for _ in range(5)))
            assert [ids(hits) for hits in found] == [["a"]] * 5
            await kb.aadd([Document("more refunds", id="c")])
            assert [len(hits) for hits in await kb.asearch_many(["x", "y"])] == [3, 3]

    asyncio.run(run())
    assert Counted.made == ["one", "one"]


# ----- recorded embedders


def test_the_recorded_embedder_is_made_at_the_first_text(filled: Any) -> None:
    with Retriever.open(filled) as kb:
        assert kb.info()["embedder"] == "counted:one"
        assert (len(kb), len(kb.get("a")), len(list(kb.documents()))) == (2, 1, 2)
        assert kb.fields()
        vector = kb.get("a", vectors=True)[0][1]
        assert ids(kb.search(vector=vector, k=1)) == ids(kb.search(like="b", k=1, where={"$id": ["a"]})) == ["a"]
        assert ids(kb.search("refunds", mode="lexical")) == ["a"]
        assert len(kb.search_many(vectors=[vector])) == 1
        kb.add([Document("more", id="c")], vectors=[vector])
        kb.update("a", {"lang": "fr"})
        kb.delete("c")
        repr(kb)
        assert not Counted.made
        assert ids(kb.search("refunds", k=1)) == ["a"]
        assert len(Counted.made) == 1
        kb.add([Document("refunds in euros", id="d")])
        assert len(kb.scoped(lang="fr").search("refunds")) == 1
        assert kb.check_embedder().ok
        assert isinstance(kb.embedder, Counted)
        assert Counted.made == ["one"]


@pytest.mark.parametrize("first", ["add", "scope", "recall", "embedder", "check"])
def test_any_text_makes_it(filled: Any, first: str) -> None:
    with Retriever.open(filled) as kb:
        match first:
            case "add":
                kb.add([Document("more", id="c")])
            case "scope":
                kb.scoped(lang="en").search("refunds")
            case "recall":
                kb.recall(["refunds"], k=[1])
            case "embedder":
                assert isinstance(kb.embedder, Counted)
            case _:
                kb.check_embedder()
        assert Counted.made == ["one"]


def test_it_is_compared_at_the_first_text(filled: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class Changed(Counted):
        def encode_document(self, texts: Sequence[str], /) -> Any:
            return -super().encode_document(texts)

    with Retriever.open(filled) as kb:
        monkeypatch.setattr(plugins, "load", lambda kind, name: Changed)
        assert len(kb) == 2
        for _ in range(2):
            with pytest.raises(EmbedderDriftError, match="no longer produces"):
                kb.search("refunds")
        with pytest.raises(EmbedderDriftError, match="no longer produces"):
            kb.add([Document("more")])
        assert Counted.made == ["one"]  # it is not made again at each text
        assert len(kb) == 2


def test_threads_make_it_once(filled: Any) -> None:
    Counted.wait.clear()
    with Retriever.open(filled) as kb:
        found: list[list[str]] = []
        threads = [threading.Thread(target=lambda: found.append(ids(kb.search("refunds", k=1)))) for _ in range(6)]
        for thread in threads:
            thread.start()
        assert len(kb) == 2  # reading does not wait for it
        Counted.wait.set()
        for thread in threads:
            thread.join()
        assert found == [["a"]] * 6
        assert Counted.made == ["one"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on Windows")
def test_a_forked_child_makes_its_own(filled: Any) -> None:
    with Retriever.open(filled) as kb:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of forks while there are threads
            Counted.wait.clear()  # another thread is making it
            maker = threading.Thread(target=lambda: kb.search("refunds"))
            maker.start()
            child = os.fork()
        if not child:
            Counted.wait.set()
            try:
                os._exit(0 if ids(kb.search("refunds", k=1)) == ["a"] else 1)
            finally:
                os._exit(2)
        Counted.wait.set()
        assert os.waitpid(child, 0)[1] == 0
        maker.join()


def test_closing_before_the_first_text(filled: Any) -> None:
    kb = Retriever.open(filled)
    kb.close()
    with pytest.raises(EngineError, match="closed"):
        kb.search("refunds")
    with pytest.raises(EngineError, match="closed"):
        kb.add([Document("more")])
    assert not Counted.made


def test_a_failure_is_not_kept(filled: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(name: str) -> Any:
        raise ConfigError("no network")

    load = plugins.load
    with Retriever.open(filled) as kb:
        monkeypatch.setattr(plugins, "load", lambda kind, name: fails)
        with pytest.raises(ConfigError, match=r"cannot be made. Pass embedder= .* no network"):
            kb.search("refunds")
        monkeypatch.setattr(plugins, "load", load)
        assert ids(kb.search("refunds", k=1)) == ["a"]


def test_none_means_that_vectors_are_brought(filled: Any) -> None:
    with Retriever.open(filled, embedder=None) as kb:
        assert kb.embedder is None
        for call in (lambda: kb.search("refunds"), lambda: kb.add([Document("more")]), kb.check_embedder):
            with pytest.raises(ConfigError, match=r"opened without an embedder. Pass embedder="):
                call()
        assert kb.search(vector=np.ones(16))
    assert not Counted.made


def test_options_go_with_the_recorded_embedder(filled: Any) -> None:
    assert repr(RECORDED) == "RECORDED"
    assert EmbedderOptions().embedder is RECORDED
    with Retriever.open(filled, embedder=EmbedderOptions(expect=[("refunds", "a", 0.1, 1.0)])) as kb:
        assert kb.search("refunds")
    with Retriever.open(filled, embedder=EmbedderOptions(expect=[("refunds", "a", 0.0, 0.01)])) as kb:
        assert len(kb) == 2
        with pytest.raises(EmbedderDriftError):
            kb.search("refunds")


def test_without_a_record(location: Any) -> None:
    with Retriever.open(location) as kb:
        with pytest.raises(ConfigError, match=r"none is recorded with it. Pass embedder="):
            kb.add(DOCUMENTS)
        with pytest.raises(CollectionNotFoundError):
            Retriever.open(location, create=False)
        kb.add(DOCUMENTS, vectors=EYE[:2])
        assert kb.embedder is None
        with pytest.raises(ConfigError, match="none is recorded"):
            kb.search("refunds")


def test_objects_are_not_made_again(location: Any) -> None:
    with Retriever.open(location, embedder=HashingEmbedder(8)) as kb:
        kb.add(DOCUMENTS)
    with Retriever.open(location) as kb:
        assert kb.info()["embedder"] == "HashingEmbedder"
        assert len(kb) == 2
        with pytest.raises(ConfigError, match=r"'HashingEmbedder', is an object .* Pass embedder="):
            kb.search("refunds")
    with Retriever.open(location, embedder=HashingEmbedder(8)) as kb:
        assert kb.search("refunds")


def test_the_record_follows_what_fills_the_collection(location: Any) -> None:
    Retriever.open(location, create=True).close()
    with Retriever.open(location, embedder="counted:one") as kb:
        kb.add(DOCUMENTS)
    with Retriever.open(location) as kb:
        assert ids(kb.search("refunds", k=1)) == ["a"]
        kb.clear()
    with Retriever.open(location, embedder="counted:other") as kb:
        assert kb.info()["embedder"] == "counted:one"
        kb.add(DOCUMENTS)
        assert kb.info()["embedder"] == "counted:other"
    Counted.made = []
    with Retriever.open(location) as kb:
        assert ids(kb.search("refunds", k=1)) == ["a"]
    assert Counted.made == ["other"]


def test_an_empty_collection_loads_nothing(location: Any) -> None:
    Retriever.open(location, embedder="counted:one", create=True).close()
    Counted.made = []
    with Retriever.open(location) as kb:
        assert not kb.search("refunds")
        assert not Counted.made
        kb.add(DOCUMENTS)
        assert ids(kb.search("refunds", k=1)) == ["a"]


# ----- what is stored


def manifest_of(folder: Path) -> tuple[int, dict[str, Any]]:
    with sqlite3.connect(folder / "store.sqlite") as connection:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        (text,) = connection.execute("SELECT value FROM manifest").fetchone()
    connection.close()
    return version, json.loads(text)


def rewrite(folder: Path, version: int, **values: Any) -> None:
    """Change the manifest, with the right hash, as somebody who writes it on purpose could."""
    with sqlite3.connect(folder / "store.sqlite") as connection:
        text = json.dumps({**manifest_of(folder)[1], **values})
        connection.execute("UPDATE manifest SET value = ?, hash = ?", (text, digest(text)))
        connection.execute(f"PRAGMA user_version = {version}")
    connection.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with Retriever.open(tmp_path / "kb", embedder="counted:one") as kb:
        kb.add(DOCUMENTS)
    Counted.made = []
    return tmp_path / "kb"


@pytest.mark.parametrize("version", [3, 4])
def test_a_name_alone_is_used(folder: Path, version: int) -> None:
    rewrite(folder, version, embedder="counted:one")
    with Retriever.open(folder) as kb:
        assert kb.info()["embedder"] == "counted:one"
        assert ids(kb.search("refunds", k=1)) == ["a"]
        assert ids(kb.search("refunds", mode="lexical")) == ["a"]
        kb.add([Document("refunds in euros", id="c")])
        assert set(ids(kb.search("refunds", mode="lexical"))) == {"a", "c"}
        kb.verify()
    assert manifest_of(folder)[1]["embedder"] == "counted:one"  # documents of it are still there
    with Retriever.open(folder, embedder=None) as kb:
        kb.clear()
    with Retriever.open(folder, embedder="counted:other") as kb:
        kb.add(DOCUMENTS)
        assert ids(kb.search("refunds", mode="lexical")) == ["a"]
        kb.verify()
    stored, manifest = manifest_of(folder)
    assert (stored, manifest["embedder"]["name"]) == (5, "counted:other")


def test_the_record_is_whole(folder: Path) -> None:
    record = EmbedderSpec("counted:one", "0a1b", "float32", "query: ", "")
    rewrite(folder, 5, embedder=dict.fromkeys(("revision", "precision"), None) | {"name": "counted:one"})
    with Retriever.open(folder) as kb:
        assert kb.search("refunds")
    values = {name: getattr(record, name) for name in record.__dataclass_fields__}
    rewrite(folder, 5, embedder=values)
    with Retriever.open(folder) as kb:
        assert kb.search("refunds")
        assert isinstance(kb.embedder, Counted)
        assert kb.embedder.spec == record  # the same revision, precision and prompts


@pytest.mark.parametrize(
    "embedder",
    [
        3,
        [],
        ["counted:one"],
        {},
        {"name": 3},
        {"name": None},
        {"name": "counted:one", "revision": 3},
        {"name": "counted:one", "query_prompt": ["x"]},
        {"name": "counted:one", "by_name": "yes"},
        {"name": "counted:one", "trust_remote_code": True},
    ],
)
def test_a_forged_record_is_refused(folder: Path, embedder: Any) -> None:
    rewrite(folder, 5, embedder=embedder)
    with pytest.raises(ManifestError, match="manifest"):
        Retriever.open(folder)
    assert not Counted.made


@pytest.mark.parametrize("name", ["../../x", "/etc", "pkg.module:func", "os:system", "a-plug-in:x", "C:\\x"])
def test_a_hostile_name_is_never_followed(folder: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rewrite(folder, 5, embedder={"name": name})
    _is_not_followed(folder, name, monkeypatch)


@pytest.mark.parametrize("version", [3, 4])
def test_a_former_record_that_may_be_a_class_is_never_followed(
    folder: Path, version: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rewrite(folder, version, embedder="Own")
    _is_not_followed(folder, "Own", monkeypatch)


def _is_not_followed(folder: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with Retriever.open(folder) as kb:
        assert len(kb) == 2
        monkeypatch.setattr(plugins, "load", lambda kind, name: pytest.fail(f"{name} is loaded"))
        with pytest.raises(ConfigError, match="Pass embedder="):
            kb.search("refunds")
    monkeypatch.undo()


def test_nothing_is_loaded_for_a_folder_of_others(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Retriever.open(folder) as kb:
        monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
        assert kb._engine.foreign  # type: ignore[attr-defined]  # a local engine
        assert len(kb) == 2
        with pytest.raises(ConfigError, match=r"another user may have written .* Pass embedder='counted:one'"):
            kb.search("refunds")
        assert not Counted.made
    with Retriever.open(folder, embedder="counted:one") as kb:
        assert kb.search("refunds")


def test_a_folder_that_cannot_be_written_is_of_others(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Retriever.open(folder, read_only=True) as kb:
        assert not kb._engine.foreign  # type: ignore[attr-defined]  # a local engine
        monkeypatch.setattr(os, "access", lambda *given, **options: False)
        assert kb._engine.foreign  # type: ignore[attr-defined]  # a local engine
