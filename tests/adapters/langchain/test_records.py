"""The indexing API: against langchain-core's own stores, and through crashes."""

import asyncio
import gc
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("langchain_core")

from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.indexing import InMemoryRecordManager, aindex, index
from langchain_core.vectorstores import InMemoryVectorStore
from tests.adapters.langchain.indexing import FIRST, SECOND, THIRD, documents, opened, run

from langchain_theodolite.records import TheodoliteRecordManager
from langchain_theodolite.vectorstores import TheodoliteVectorStore
from theodolite import ConfigError, EngineError, InputError, Retriever
from theodolite.testing import HashingEmbedder

MODES = [None, "incremental", "full", "scoped_full"]


def texts(kb: Retriever) -> list[str]:
    return sorted(document.text for document in kb.documents())


@pytest.fixture
def kb() -> Iterator[Retriever]:
    with Retriever.open(embedder=HashingEmbedder()) as kb:
        yield kb


# Against langchain-core's own


def history(seed: int) -> Iterator[tuple[list[Document], dict[str, Any]]]:
    """Runs of `index()`: passages come, go and change, sources too."""
    draw = random.Random(seed)
    held: dict[str, set[int]] = {source: set(range(3)) for source in "abc"}
    for _ in range(5):
        for source in draw.sample("abcde", 2):
            held[source] = {draw.randrange(8) for _ in range(draw.randrange(5))}
        given = [
            Document(f"{source} {number}", metadata={"source": source, "tags": [source, {"n": number}]})
            for source in draw.sample(sorted(held), draw.randrange(1, len(held) + 1))
            for number in held[source]
        ]
        given += given[: draw.randrange(3)]  # some twice
        yield given, {"batch_size": draw.choice([2, 3, 100]), "force_update": draw.random() < 0.2}


@pytest.mark.parametrize("awaited", [False, True], ids=["index", "aindex"])
@pytest.mark.parametrize("cleanup", MODES)
def test_as_langchains_own(tmp_path: Path, cleanup: Any, awaited: bool) -> None:
    for seed in range(3):
        ours = tmp_path / str(seed)
        theirs, record = InMemoryVectorStore(DeterministicFakeEmbedding(size=4)), InMemoryRecordManager("tests")
        store, manager = opened(ours)
        by_hand = Document("by hand", metadata={"source": "a"})
        for place in (store, theirs):
            place.add_documents([by_hand], ids=["mine"])
        for given, options in history(seed):
            options = {"source_id_key": "source", "key_encoder": "sha256", "cleanup": cleanup, **options}
            if awaited:
                both = [asyncio.run(aindex(given, *into, **options)) for into in ((manager, store), (record, theirs))]
            else:
                both = [index(given, *into, **options) for into in ((manager, store), (record, theirs))]
            assert both[0] == both[1]
            kept = sorted(entry["text"] for entry in theirs.store.values())
            assert texts(store.kb) == kept
            assert "by hand" in kept
            assert sorted(manager.list_keys()) == sorted(record.list_keys())
            if seed % 2:  # a restart
                store.kb.close()
                store, manager = opened(ours)
        assert store.kb.verify().sound
        store.kb.close()


@pytest.mark.parametrize("encoder", ["sha1", "sha256", "sha512", "blake2b", lambda document: document.page_content])
@pytest.mark.filterwarnings("ignore:Using SHA-1:UserWarning")
def test_key_encoders_and_forced_updates(kb: Retriever, encoder: Any) -> None:
    store, manager = TheodoliteVectorStore.from_retriever(kb), TheodoliteRecordManager(kb, "tests")
    results = [
        index(FIRST, manager, store, cleanup="full", key_encoder=encoder, force_update=forced)
        for forced in (False, False, True)
    ]
    assert [one["num_added"] for one in results] == [6, 0, 0]
    assert [one["num_skipped"] for one in results] == [0, 6, 0]
    assert [one["num_updated"] for one in results] == [0, 0, 6]
    assert len(kb) == 6


# Documents in the collection exist


def test_what_was_deleted_by_other_means_is_added_again(kb: Retriever) -> None:
    store, manager = TheodoliteVectorStore.from_retriever(kb), TheodoliteRecordManager(kb, "tests")
    options: dict[str, Any] = {"cleanup": "full", "key_encoder": "blake2b"}
    index(FIRST, manager, store, **options)
    kb.delete(where={"source": "a"})
    assert len(manager.list_keys()) == 3
    assert index(FIRST, manager, store, **options)["num_added"] == 3
    kb.clear()
    assert manager.list_keys() == []
    assert index(FIRST, manager, store, **options)["num_added"] == 6
    assert len(kb) == 6


def test_without_the_records_nothing_is_written_again(tmp_path: Path) -> None:
    run(tmp_path / "kb", FIRST, "full")
    for path in (tmp_path / "kb").glob("records.sqlite*"):
        path.unlink()
    assert run(tmp_path / "kb", FIRST, "full") == {
        "num_added": 0,
        "num_updated": 0,
        "num_skipped": 6,
        "num_deleted": 0,
    }
    assert run(tmp_path / "kb", SECOND, "full")["num_deleted"] == 3  # they are known again


def test_the_core_knows_the_file(tmp_path: Path) -> None:
    run(tmp_path / "kb", FIRST, "full")
    with Retriever.open(tmp_path / "kb", embedder=HashingEmbedder()) as kb:
        TheodoliteRecordManager(kb, "tests").get_time()
        assert (tmp_path / "kb" / "records.sqlite").exists()
        assert not kb.verify().warnings
        assert not kb.repair().warnings
        kb.backup(tmp_path / "copy")
    assert run(tmp_path / "copy", SECOND, "full") == run(tmp_path / "kb", SECOND, "full")


def test_damaged_records_do_not_stop_a_backup(tmp_path: Path) -> None:
    run(tmp_path / "kb", FIRST, "full")
    gc.collect()  # closes the first run's connection, whose log SQLite would read instead
    (tmp_path / "kb" / "records.sqlite").write_bytes(b"no database" * 1000)
    with Retriever.open(tmp_path / "kb", embedder=HashingEmbedder()) as kb:
        with pytest.raises(EngineError, match="delete it and index everything again"):
            TheodoliteRecordManager(kb, "tests")
        kb.backup(tmp_path / "copy")
    assert run(tmp_path / "copy", FIRST, "full")["num_skipped"] == 6


# Crashes


@pytest.mark.skipif(os.name != "posix", reason="forks, and kills its own")
@pytest.mark.parametrize(
    ("cleanup", "step"),
    [
        ("incremental", 31),
        ("full", 37),
        *(pytest.param(cleanup, 3, marks=pytest.mark.slow) for cleanup in ("incremental", "full", "scoped_full")),
    ],
)
@pytest.mark.thorough
def test_killed_at_any_statement(tmp_path: Path, cleanup: str, step: int) -> None:
    run(tmp_path / "kb", FIRST, cleanup)
    store, _ = opened(tmp_path / "kb")
    with store.kb:
        store.add_documents([Document("by hand", metadata={"source": "a"})], ids=["mine"])
    script = Path(__file__).with_name("indexing.py")
    done = subprocess.run([sys.executable, script, tmp_path, cleanup, str(step)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    killed = sorted((path for path in tmp_path.iterdir() if path.name != "kb"), key=lambda path: int(path.name))
    assert len(killed) > 5
    stay = [] if cleanup == "full" else documents("c1")
    unrecorded = 0
    for folder in killed:
        again = folder.with_name(f"{folder.name} again")
        shutil.copytree(folder, again)
        with Retriever.open(folder, embedder=HashingEmbedder()) as kb:
            there = set(texts(kb))
            with sqlite3.connect(folder / "records.sqlite") as connection:
                pending = connection.execute("SELECT key FROM records WHERE pending").fetchall()
            connection.close()
            unrecorded += len(kb.get([key for (key,) in pending]))
        # The same again: what was written is not written twice.
        results = run(again, SECOND, cleanup)
        if cleanup == "full":
            assert results["num_added"] == len({one.page_content for one in SECOND} - there)
        for place, given in ((again, SECOND), (folder, THIRD)):
            run(place, given, cleanup)
            with Retriever.open(place, embedder=HashingEmbedder()) as kb:
                assert texts(kb) == sorted(["by hand", *(one.page_content for one in given + stay)])
                assert kb.verify().sound
    assert unrecorded  # run 0 at least


def test_what_another_run_is_about_to_record_is_left_alone(kb: Retriever) -> None:
    store, manager = TheodoliteVectorStore.from_retriever(kb), TheodoliteRecordManager(kb, "tests")
    options: dict[str, Any] = {"source_id_key": "source", "key_encoder": lambda document: document.page_content}
    index(FIRST, manager, store, cleanup="incremental", **options)
    started = manager.get_time()
    new = documents("a7")[0]
    assert manager.exists([new.page_content]) == [False]
    store.add_documents([new], ids=[new.page_content])
    assert new.page_content not in manager.list_keys(before=started, group_ids=["a"])
    assert manager.list_keys(after=started, group_ids=["a"]) == [new.page_content]  # its source is known
    assert manager.list_keys(after=started, group_ids=["b"]) == []
    manager.update([new.page_content])
    assert manager.list_keys(after=started, group_ids=["a"]) == [new.page_content]


def test_a_source_that_a_function_tells(kb: Retriever) -> None:
    def source_of(document: Document) -> str:
        return f"source {document.metadata['source']}"

    store = TheodoliteVectorStore.from_retriever(kb)
    manager = TheodoliteRecordManager(store, "tests", source_id_key=source_of)
    options: dict[str, Any] = {"cleanup": "incremental", "source_id_key": source_of, "key_encoder": "blake2b"}
    index(FIRST, manager, store, **options)
    assert manager.exists(["left"]) == [False]
    store.add_documents(documents("a9"), ids=["left"])
    assert index(documents("b1"), manager, store, **options)["num_deleted"] == 1  # b2
    assert len(kb.get("left")) == 1
    assert index(documents("a1"), manager, store, **options)["num_deleted"] == 3
    assert texts(kb) == ["passage a1", "passage b1", "passage c1"]


# Namespaces, scopes, the clock


def test_namespaces_know_nothing_of_one_another(tmp_path: Path) -> None:
    with Retriever.open(tmp_path / "kb", embedder=HashingEmbedder()) as kb:
        store = TheodoliteVectorStore.from_retriever(kb)
        one, other = TheodoliteRecordManager(store, "one"), TheodoliteRecordManager(store, "other")
        index(FIRST, one, store, cleanup="full", key_encoder="blake2b")
        index(documents("z1"), other, store, cleanup="full", key_encoder="blake2b")
        assert len(kb) == 7
        assert (len(one.list_keys()), len(other.list_keys())) == (6, 1)


def test_each_partition_has_its_own_records(tmp_path: Path) -> None:
    with Retriever.open(tmp_path / "kb", embedder=HashingEmbedder(), partition="tenant") as kb:
        for given in (FIRST, SECOND):
            for tenant in ("acme", 7):
                store = TheodoliteVectorStore.from_retriever(kb.scoped(tenant=tenant))
                manager = TheodoliteRecordManager(store, "tests")
                index(given, manager, store, cleanup="full", key_encoder="blake2b")
        assert [kb.count({"tenant": tenant}) for tenant in ("acme", 7)] == [len(SECOND)] * 2
        assert kb.location == tmp_path / "kb"
        assert kb.scoped(tenant=7).location == tmp_path / "kb"
        assert (kb.partition, kb.scoped(tenant=7).partition) == (None, 7)
    with Retriever.open() as memory:
        assert memory.location is None


def test_the_clock_never_goes_back_and_never_stands(tmp_path: Path) -> None:
    with Retriever.open(tmp_path / "kb", embedder=HashingEmbedder()) as kb:
        managers = [TheodoliteRecordManager(kb, "one"), TheodoliteRecordManager(kb, "other")]
        times = [manager.get_time() for manager in managers * 50]
        assert times == sorted(set(times))
        results: list[float] = []
        threads = [
            threading.Thread(target=lambda manager=manager: results.extend(manager.get_time() for _ in range(20)))
            for manager in managers * 3
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(set(results)) == 120
        connection = sqlite3.connect(tmp_path / "kb" / "records.sqlite")
        with connection:
            connection.execute("UPDATE clock SET at = 4e9")  # by a computer whose clock was wrong
        connection.close()
        assert managers[0].get_time() > 4e9


def test_what_is_refused(kb: Retriever, tmp_path: Path) -> None:
    manager = TheodoliteRecordManager(kb, "tests")
    with pytest.raises(ValueError, match="there are 2 keys and 1 group_ids"):
        manager.update(["a", "b"], group_ids=["s"])
    with pytest.raises(ValueError, match="is that time from another machine"):
        manager.update(["a"], time_at_least=manager.get_time() + 60)
    assert manager.list_keys(group_ids=[]) == []
    with pytest.raises(InputError, match="takes a theodolite Retriever or a TheodoliteVectorStore, not InMemory"):
        TheodoliteRecordManager(InMemoryVectorStore(DeterministicFakeEmbedding(size=4)), "tests")
    with pytest.raises(InputError, match="read-only"):
        TheodoliteRecordManager(kb.scoped(lang="en"), "tests")
    Retriever.open(tmp_path / "new", create=True).close()
    with Retriever.open(tmp_path / "new", read_only=True) as closed, pytest.raises(InputError, match="read-only"):
        TheodoliteRecordManager(closed, "tests")
    assert not (tmp_path / "new" / "records.sqlite").exists()
    run(tmp_path / "kb", FIRST, "full")
    connection = sqlite3.connect(tmp_path / "kb" / "records.sqlite")
    connection.execute("PRAGMA user_version = 2")
    connection.close()
    with pytest.raises(ConfigError, match="is of version 2, and this program reads 1: update it"):
        opened(tmp_path / "kb")


@pytest.mark.skipif(os.name != "posix", reason="an open folder cannot be replaced on Windows")
def test_a_folder_that_was_replaced_gets_no_records(tmp_path: Path) -> None:
    """The manager finds its records by the folder's path, which now leads to another collection."""
    for name in ("v1", "v2"):
        with Retriever.open(tmp_path / name, embedder=HashingEmbedder()) as kb:
            kb.add([f"text of {name}"])
    (tmp_path / "kb").symlink_to("v1")
    with Retriever.open(tmp_path / "kb", embedder=HashingEmbedder()) as kb:
        before = TheodoliteRecordManager(kb, "handbook")
        (tmp_path / "link").symlink_to("v2")
        (tmp_path / "link").rename(tmp_path / "kb")
        with pytest.raises(EngineError, match="no longer the one that was opened"):
            TheodoliteRecordManager(kb, "handbook")
        assert not (tmp_path / "v2" / "records.sqlite").exists()
        store = TheodoliteVectorStore.from_retriever(kb)
        with pytest.raises(EngineError, match="no longer the one that was opened"):
            index([Document("new")], before, store, cleanup="full", key_encoder="blake2b")
    assert not (tmp_path / "v2" / "records.sqlite").exists()
    for name in ("v1", "v2"):
        with Retriever.open(tmp_path / name, embedder=HashingEmbedder()) as kb:
            assert texts(kb) == [f"text of {name}"]
