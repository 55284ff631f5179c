"""Compaction: what it removes and preserves, and when it runs in the background."""

import shutil
import sqlite3
import time
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from theodolite import ConfigError, CorruptionError, Document, EngineError, LockedError, Retriever, UnsupportedError
from theodolite.engines.local.maintenance.index_build import only_builder
from theodolite.engines.local.storage.folder import BUILD_LOCK, PARTIAL_GENERATION, Folder, generations
from theodolite.engines.local.storage.io_errors import RESERVED

DIMENSION = 8


def vectors(count: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal((count, DIMENSION)).astype(np.float32)


def fill(kb: Retriever, count: int, version: int = 0) -> None:
    documents = [Document(f"text {number} of {version}", {"version": version}, f"d{number}") for number in range(count)]
    kb.add(documents, vectors=vectors(count, version))


def held(kb: Retriever) -> dict[str, tuple[str, bytes]]:
    return {document.id: (document.text, vector.tobytes()) for document, vector in kb.documents(vectors=True)}


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def pragma(folder: Path, name: str) -> int:
    connection = sqlite3.connect(folder / "store.sqlite")
    try:
        return int(connection.execute(f"PRAGMA {name}").fetchone()[0])
    finally:
        connection.close()


def test_dead_rows_go_and_everything_else_stays(tmp_path: Path) -> None:
    with Retriever.open(tmp_path, compact_at=None) as kb:
        for version in range(5):
            fill(kb, 300, version)
        kb.delete([f"d{number}" for number in range(20)])
        before = held(kb)
        reported: list[int] = []
        done = kb.compact(progress=reported.append)
        assert done.rows == 4 * 300 + 20
        assert sum(reported) == 280
        assert done.bytes_after - RESERVED < (done.bytes_before - RESERVED) / 2
        info = kb.info()
        assert (info["documents"], info["rows"], info["deleted_rows"]) == (280, 280, 0)
        assert held(kb) == before
        assert kb.verify().warnings == ()
        assert kb.compact().rows == 0
    with Retriever.open(tmp_path) as kb:
        assert held(kb) == before
        kb.verify()
        fill(kb, 50, 9)
        kb.update("d100", {"version": 10})
        kb.delete("d200")
        assert kb.compact().rows == 32
        kb.verify()
        assert kb.count() == 299
        assert kb.count({"version": 10}) == 1
    assert [number for number, _ in generations(names(tmp_path))] == [3]


def test_small_and_empty_collections(tmp_path: Path) -> None:
    for location in (None, tmp_path):
        with Retriever.open(location, create=True) as kb:
            assert kb.compact().rows == 0
            kb.add(["one"], vectors=vectors(1))
            assert kb.compact().rows == 0
            kb.verify()
            kb.delete([document.id for document in kb.documents()])
            assert kb.compact().rows == 1
            kb.verify()
            assert len(kb.search(vector=vectors(1)[0])) == 0
            fill(kb, 3)
            kb.verify()
            kb.clear()
            assert kb.compact().rows == 0
            kb.verify()
            fill(kb, 3, 1)
            assert len(kb.search(vector=vectors(1)[0])) == 3
            kb.verify()


def test_a_cleared_collection_gives_its_space_back(tmp_path: Path) -> None:
    with Retriever.open(tmp_path) as kb:
        fill(kb, 3000)
        kb.clear()
        assert kb.compact().bytes_after < 150_000 + RESERVED


def test_the_database_gives_pages_back(tmp_path: Path) -> None:
    with Retriever.open(tmp_path, compact_at=None, create=True) as kb:
        assert pragma(tmp_path, "auto_vacuum") == 2
        for version in range(3):
            fill(kb, 1000, version)
        pages = pragma(tmp_path, "page_count")
        kb.compact()
        assert pragma(tmp_path, "freelist_count") == 0
        assert pragma(tmp_path, "page_count") < pages


def test_a_database_without_auto_vacuum_gets_it(tmp_path: Path) -> None:
    with Retriever.open(tmp_path, compact_at=None) as kb:
        fill(kb, 500)
        fill(kb, 500, 1)
        before = held(kb)
    connection = sqlite3.connect(tmp_path / "store.sqlite", isolation_level=None)
    connection.execute("PRAGMA journal_mode=DELETE")
    connection.execute("PRAGMA auto_vacuum=NONE")
    connection.execute("VACUUM")
    connection.close()
    assert pragma(tmp_path, "auto_vacuum") == 0
    with (
        Retriever.open(tmp_path, compact_at=None, create=True) as kb,
        Retriever.open(tmp_path, read_only=True) as reader,
    ):
        assert held(reader) == before
        kb.compact()
        assert pragma(tmp_path, "auto_vacuum") == 2
        assert held(kb) == before == held(reader)
        kb.verify()


def test_readers_and_writers_go_on(tmp_path: Path) -> None:
    """Another writer adds, deletes and updates during the compaction, and a reader sees each commit."""
    with (
        Retriever.open(tmp_path, compact_at=None, create=True) as kb,
        Retriever.open(tmp_path, compact_at=None) as writer,
        Retriever.open(tmp_path, read_only=True) as reader,
    ):
        for version in range(3):
            fill(kb, 400, version)
        rounds = 0

        def meanwhile(count: int) -> None:
            nonlocal rounds
            if rounds < 6:
                rounds += 1
                fill(writer, 10 + rounds, 10 + rounds)
                writer.update("d3", {"version": 100 + rounds})
                writer.delete(f"d{50 + rounds}")
                assert held(reader) == held(writer)

        kb.compact(progress=meanwhile)
        assert rounds == 6
        assert held(kb) == held(reader) == held(writer)
        assert kb.get("d3")[0].metadata == {"version": 106}
        assert kb.count() == 394
        kb.verify()
        fill(writer, 5, 50)
        assert held(kb) == held(reader) == held(writer)
        kb.verify()


def test_cleared_meanwhile(tmp_path: Path) -> None:
    with Retriever.open(tmp_path, compact_at=None) as kb, Retriever.open(tmp_path) as other:
        fill(kb, 100)
        fill(kb, 100, 1)
        cleared: list[int] = []

        def clear_once(count: int) -> None:
            if not cleared:
                cleared.append(1)
                other.clear()
                fill(other, 7)

        kb.compact(progress=clear_once)
        assert kb.count() == other.count() == 7
        kb.verify()
        assert PARTIAL_GENERATION not in names(tmp_path)


def test_interrupted_it_leaves_all_as_it_was(tmp_path: Path) -> None:
    with Retriever.open(tmp_path, compact_at=None) as kb:
        fill(kb, 100)
        fill(kb, 100, 1)
        before, files = held(kb), names(tmp_path)

        def stop(count: int) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            kb.compact(progress=stop)
        assert held(kb) == before
        assert names(tmp_path) - files <= {BUILD_LOCK}
        assert kb.verify().warnings == ()
        assert kb.compact().rows == 100


def test_what_a_killed_one_has_left_goes_at_the_next_opening(tmp_path: Path) -> None:
    with Retriever.open(tmp_path) as kb:
        fill(kb, 5)
    left = tmp_path / PARTIAL_GENERATION
    left.mkdir()
    (left / "vectors-2.f32").write_bytes(b"half")
    with Retriever.open(tmp_path, read_only=True):
        assert left.exists()
    with only_builder(Folder(tmp_path), 0), Retriever.open(tmp_path):
        assert left.exists()  # somebody is making it
    with Retriever.open(tmp_path) as kb:
        assert not left.exists()
        kb.verify()


def test_refused_where_nothing_can_be_written(tmp_path: Path) -> None:
    with Retriever.open(tmp_path, partition="tenant") as kb:
        kb.add([Document("text", {"tenant": "a"}, "x")], vectors=vectors(1))
        with pytest.raises(UnsupportedError):
            kb.scoped(tenant="a").compact()
    with Retriever.open(tmp_path, read_only=True) as kb, pytest.raises(EngineError, match="read-only"):
        kb.compact()
    with pytest.raises(EngineError, match="closed"):
        kb.compact()


def test_one_at_a_time(tmp_path: Path) -> None:
    with Retriever.open(tmp_path, lock_timeout=0.05) as kb:
        fill(kb, 3)
        with only_builder(Folder(tmp_path), 0), pytest.raises(LockedError):
            kb.compact()
        kb.compact()


def test_without_room_it_says_how_much_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Retriever.open(tmp_path, compact_at=None) as kb:
        fill(kb, 200)
        fill(kb, 200, 1)
        before = held(kb)
        with monkeypatch.context() as full:
            usage = namedtuple("usage", "total used free")
            full.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9 - 1000, 1000))
            with pytest.raises(EngineError, match=r"needs 8,000 bytes of disk, and 1,000 are free") as refused:
                kb.compact()
        assert refused.value.details["needed"] == 200 * (4 * DIMENSION + 8)
        assert held(kb) == before
        assert kb.verify().warnings == ()
        assert kb.compact().rows == 200


def test_damaged_vectors_are_not_carried_over(tmp_path: Path) -> None:
    with Retriever.open(tmp_path, compact_at=None) as kb:
        fill(kb, 50)
        fill(kb, 50, 1)
    path = tmp_path / "vectors-1.f32"
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2 + 100] ^= 1
    path.write_bytes(raw)
    with Retriever.open(tmp_path, compact_at=None) as kb:
        with pytest.raises(CorruptionError, match="do not match their checksum"):
            kb.compact()
        assert path.read_bytes() == raw
        assert kb.count() == 50


def test_a_damaged_record_of_a_compaction_is_found(tmp_path: Path) -> None:
    with Retriever.open(tmp_path, compact_at=None) as kb:
        fill(kb, 50)
        fill(kb, 30, 1)
        kb.compact()
        kb.verify()
    connection = sqlite3.connect(tmp_path / "store.sqlite", isolation_level=None)
    (keys,) = connection.execute("SELECT keys FROM base").fetchone()
    connection.execute("UPDATE base SET keys = ?", (bytes([keys[0] ^ 1]) + keys[1:],))
    connection.close()
    with Retriever.open(tmp_path, compact_at=None) as kb:
        with pytest.raises(CorruptionError, match="last compaction"):
            kb.verify()
        with pytest.raises(CorruptionError, match="last compaction"):
            kb.search(vector=vectors(1)[0])


def test_the_change_log_keeps_its_last_commits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("theodolite.engines.local.maintenance.log_retention.KEPT_COMMITS", 20)
    with (
        Retriever.open(tmp_path, compact_at=None, create=True) as kb,
        Retriever.open(tmp_path, read_only=True) as reader,
    ):
        for number in range(50):
            fill(kb, 1 + number % 3, number)
        assert held(reader)
        kb.compact()
        connection = sqlite3.connect(tmp_path / "store.sqlite")
        oldest, newest, count = connection.execute(
            "SELECT min(sequence), max(sequence), count(*) FROM frames"
        ).fetchone()
        (ended,) = connection.execute("SELECT min(sequence) FROM tombstones").fetchone()
        connection.close()
        assert (oldest, newest, count) == (32, 51, 20)
        assert ended >= oldest
        kb.verify()
        for number in range(30):
            fill(kb, 1 + number % 3, number)
        kb.verify()
        before = held(kb)
        kb.compact()
        kb.compact()
        kb.verify()
        assert held(kb) == before == held(reader)


def test_by_itself_when_a_third_is_dead() -> None:
    with Retriever.open() as kb:
        fill(kb, 2500)
        fill(kb, 1200, 1)  # 1,200 of 3,700 rows
        assert kb.info()["deleted_rows"] == 1200
        fill(kb, 200, 2)
        deadline = time.monotonic() + 60
        while kb.info()["deleted_rows"] and time.monotonic() < deadline:
            time.sleep(0.02)
        assert kb.info()["rows"] == kb.count() == 2500
        kb.verify()


@pytest.mark.parametrize("share", [None, 0.9])
def test_not_by_itself_unless_wanted(share: float | None) -> None:
    with Retriever.open(compact_at=share) as kb:
        for version in range(3):
            fill(kb, 1000, version)
        time.sleep(0.2)
        assert kb.info()["deleted_rows"] == 2000


@pytest.mark.parametrize("share", [0, 1, -0.5, 2])
def test_a_share_is_between_0_and_1(share: float) -> None:
    with pytest.raises(ConfigError, match="compact_at"):
        Retriever.open(compact_at=share)


def test_closed_in_the_middle_it_leaves_nothing(tmp_path: Path) -> None:
    with Retriever.open(tmp_path) as kb:
        fill(kb, 3000)
        fill(kb, 3000, 1)
    with Retriever.open(tmp_path) as kb:
        assert PARTIAL_GENERATION not in names(tmp_path)
        kb.verify()


def test_the_approximate_index_is_built_again() -> None:
    with Retriever.open(compact_at=None) as kb:
        fill(kb, 400)
        kb.reindex("hnsw")
        fill(kb, 300, 1)
        kb.compact()
        info = kb.info()["approximate"]
        assert info["ready"]
        assert info["rows"] == 400
        assert info["churn"] == 0
        kb.verify()


def test_a_backup_has_living_rows_only(tmp_path: Path) -> None:
    with Retriever.open(tmp_path / "kb", compact_at=None) as kb:
        for version in range(4):
            fill(kb, 500, version)
        kb.delete("d7")
        before = held(kb)
        kb.backup(tmp_path / "copy")
        assert kb.info()["deleted_rows"] == 1501
        with Retriever.open(tmp_path / "copy") as copy:
            assert held(copy) == before
            assert copy.info()["deleted_rows"] == 0
            assert copy.verify().warnings == ()
            fill(copy, 10, 9)
            copy.verify()
        assert held(kb) == before
        kb.verify()


def test_duplicates_go_on_across_a_compaction() -> None:
    with Retriever.open(compact_at=None) as kb:
        same = np.repeat(vectors(1), 900, axis=0)
        kb.add([Document("gone", {}, f"gone{number}") for number in range(100)], vectors=vectors(100))
        kb.add([Document("same", {}, f"d{number}") for number in range(40)], vectors=same[:40])
        kb.delete([f"gone{number}" for number in range(100)])
        listed = kb.duplicates(0.99)
        first = next(listed)
        kb.compact()
        pairs = {frozenset((one.first.id, one.second.id)) for one in [first, *listed]}
        assert len(pairs) == 40 * 39 // 2
