"""Approximate indexes of a collection: built, installed, maintained, verified and resumed."""

import json
import logging
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from theodolite import (
    Authority,
    ConfigError,
    CorruptionError,
    Document,
    EngineError,
    IndexWarning,
    InputError,
    LockedError,
    MissingExtraError,
    Retriever,
)
from theodolite.engines.local.derived.index_record import read_index
from theodolite.engines.local.maintenance import index_build, index_manager, index_room
from theodolite.engines.local.maintenance.index_build import only_builder
from theodolite.engines.local.search import executor
from theodolite.engines.local.storage import crash_points
from theodolite.engines.local.storage.folder import Folder
from theodolite.indexes.registry import canonical, estimate, recommended_index
from theodolite.ranking.notes import NoteWarnings

ROWS, DIMENSION = 3000, 24
DRAW = np.random.default_rng(5)
CENTERS = DRAW.standard_normal((60, DIMENSION))


def clustered(count: int, seed: int) -> np.ndarray[Any, Any]:
    draw = np.random.default_rng(seed)
    return CENTERS[draw.integers(60, size=count)] + 0.4 * draw.standard_normal((count, DIMENSION))


def fill(kb: Retriever, count: int = ROWS, seed: int = 1, name: str = "d") -> None:
    documents = [Document("text", {"n": i, "even": i % 2 == 0}, f"{name}{i}") for i in range(count)]
    kb.add(documents, vectors=clustered(count, seed), batch_size=None)


def found(kb: Retriever, queries: Any, **options: Any) -> list[list[str]]:
    return [[hit.document.id for hit in hits] for hits in (kb.search(vector=query, **options) for query in queries)]


def recall(kb: Retriever, count: int = 40, **options: Any) -> float:
    """Return recall@10 of the index in use against exact search on the same collection."""
    queries = clustered(count, 77)
    engine: Any = kb._engine
    given = found(kb, queries, **options)
    snapshot = engine._snapshots._current
    object.__setattr__(snapshot, "approximate", None)
    exact = found(kb, queries, **options)
    with engine._snapshots._lock:
        engine._snapshots._current = None
    return float(np.mean([len(set(a) & set(b)) / len(b) for a, b in zip(given, exact, strict=True)]))


@pytest.fixture
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Proposals count as free, so that small collections use the index, too."""
    monkeypatch.setattr("theodolite.indexes.ann.Costs.propose", lambda self, n: 0.0)


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small collections are maintained, too."""
    monkeypatch.setattr(index_manager, "_MIN_DOCUMENTS", 100)


@pytest.fixture
def observed() -> Iterator[list[str]]:
    passed: list[str] = []
    crash_points.observer = passed.append
    yield passed
    crash_points.observer = None


def paths(kb: Retriever, count: int = 20) -> set[str]:
    return {kb.search(vector=query).trace.path for query in clustered(count, 78)}


@pytest.mark.parametrize("index", ["hnsw", "hnsw:M=8,ef_construction=60", "faiss:HNSW16", "faiss:IVF16,Flat"])
def test_an_index_proposes_and_flat_scores(tmp_path: Path, cheap: None, index: str) -> None:
    with Retriever.open(tmp_path / "kb") as kb:
        fill(kb)
        done: list[int] = []
        kb.reindex(index, progress=done.append)
        assert sum(done) == ROWS
        info = kb.info()
        assert info["index"].startswith(index.split(":")[0])
        assert info["approximate"]["rows"] == ROWS
        assert info["approximate"]["calibration"]["recall"] >= 0.98
        assert paths(kb) == {"index"}
        hits = kb.search(vector=clustered(1, 9)[0])
        assert not hits.trace.complete
        assert hits.trace.proposed >= 10
        assert recall(kb) >= 0.97
        assert paths(kb) == {"index"}
    with Retriever.open(tmp_path / "kb") as kb:
        assert paths(kb) == {"index"}
        assert recall(kb) >= 0.97
        kb.verify()


@pytest.mark.thorough
def test_scores_are_those_of_the_exact_answer(cheap: None) -> None:
    with Retriever.open(None) as kb:
        fill(kb)
        queries = clustered(30, 3)
        exact = [{hit.document.id: hit.score for hit in kb.search(vector=query, k=10)} for query in queries]
        kb.reindex("hnsw")
        for query, scores in zip(queries, exact, strict=True):
            for hit in kb.search(vector=query, k=10):
                assert hit.score == scores.get(hit.document.id, hit.score)


@pytest.mark.thorough
def test_flat_goes_back_to_exact_search(tmp_path: Path, cheap: None) -> None:
    with Retriever.open(tmp_path) as kb:
        fill(kb)
        kb.reindex("hnsw")
        kb.reindex("flat")
        assert kb.info()["index"] == "flat"
        assert paths(kb) == {"scan"}
        assert not list(tmp_path.glob("index-*"))


def test_what_is_new_replaced_or_gone_is_seen_at_once(cheap: None) -> None:
    with Retriever.open(None) as kb:
        fill(kb)
        kb.reindex("hnsw")
        query = clustered(1, 50)[0]
        kb.add([Document("new", {"n": -1}, "new")], vectors=[query])
        assert found(kb, [query], k=1) == [["new"]]
        first, second, third = found(kb, [query], k=3)[0]
        kb.delete(first)
        assert found(kb, [query], k=2) == [[second, third]]
        kb.add([Document("moved away", {}, second)], vectors=[-query])
        assert found(kb, [query], k=1) == [[third]]
        kb.update(third, {"n": -2})
        assert found(kb, [query], k=1, where={"n": -2}) == [[third]]
        assert found(kb, [query], k=1) == [[third]]


@pytest.mark.parametrize("modulus", [1, 2, 5, 10, 50, 300])
@pytest.mark.thorough
def test_filtered_lists_are_full(cheap: None, modulus: int) -> None:
    where = {"n": {"$in": list(range(0, ROWS, modulus))}}
    with Retriever.open(None) as kb:
        fill(kb)
        kb.reindex("hnsw")
        for query in clustered(20, 4):
            assert len(kb.search(vector=query, k=10, where=where)) == min(10, ROWS // modulus)
        assert recall(kb, where=where) >= 0.95


@pytest.mark.thorough
def test_deleting_what_is_near_still_gives_full_lists(cheap: None) -> None:
    with Retriever.open(None) as kb:
        fill(kb)
        kb.reindex("hnsw")
        query = CENTERS[0]
        near = found(kb, [query], k=400)[0]
        kb.delete(near[:300])
        assert len(found(kb, [query], k=50)[0]) == 50
        assert set(found(kb, [query], k=20)[0]) <= set(near[300:]) | set(found(kb, [query], k=3000)[0])
        assert len(found(kb, [query], k=ROWS)[0]) == ROWS - 300


@pytest.mark.thorough
def test_another_process_takes_over_the_new_index(tmp_path: Path, cheap: None) -> None:
    with Retriever.open(tmp_path, create=True) as kb, Retriever.open(tmp_path, read_only=True) as reader:
        fill(kb)
        assert paths(reader) == {"scan"}
        kb.reindex("hnsw")
        assert paths(reader) == {"index"}
        fill(kb, 50, seed=8, name="more")
        assert len(reader) == ROWS + 50
        assert found(reader, clustered(50, 8)[:5], k=1) == [[f"more{i}"] for i in range(5)]
        kb.reindex("hnsw:M=8")
        assert paths(reader) == {"index"}
        kb.reindex("flat")
        assert paths(reader) == {"scan"}


@pytest.mark.thorough
def test_it_is_built_again_when_much_has_changed(tmp_path: Path, cheap: None, eager: None) -> None:
    with Retriever.open(tmp_path) as kb:
        fill(kb)
        kb.reindex("hnsw")
        fill(kb, 300, seed=2, name="a")
        engine: Any = kb._engine
        paths(kb)
        engine._index_manager.wait()
        assert kb.info()["approximate"]["churn"] == 0.1
        fill(kb, 300, seed=3)
        paths(kb)
        engine._index_manager.wait()
        info = kb.info()["approximate"]
        assert info["churn"] == 0
        assert info["rows"] == ROWS + 300
        assert recall(kb) >= 0.97
        assert len(list(tmp_path.glob("index-*"))) == 1


@pytest.mark.thorough
def test_after_clear_it_is_built_again(tmp_path: Path, cheap: None, eager: None) -> None:
    with Retriever.open(tmp_path) as kb:
        fill(kb)
        kb.reindex("hnsw")
        kb.clear()
        assert found(kb, clustered(1, 1)) == [[]]
        fill(kb, 500, seed=6)
        assert found(kb, clustered(500, 6)[:3], k=1) == [["d0"], ["d1"], ["d2"]]
        engine: Any = kb._engine
        engine._index_manager.wait()
        paths(kb)
        assert kb.info()["approximate"]["rows"] == 500
        assert kb.info()["index"].startswith("hnsw")


@pytest.mark.thorough
def test_noisy_rows_give_way_to_real_queries(cheap: None, eager: None) -> None:
    with Retriever.open(None) as kb:
        fill(kb)
        kb.reindex("hnsw")
        assert kb.info()["approximate"]["calibration"]["kind"] == "noise"
        found(kb, clustered(120, 30))
        engine: Any = kb._engine
        engine._index_manager.wait()
        calibration = kb.info()["approximate"]["calibration"]
        assert calibration["kind"] == "logged"
        first = calibration["queries"]
        assert 100 <= first <= 120
        assert paths(kb) == {"index"}  # however few the queries are
        found(kb, clustered(300, 32))
        engine._index_manager.wait()
        found(kb, clustered(1, 33))
        engine._index_manager.wait()
        calibration = kb.info()["approximate"]["calibration"]
        assert calibration["queries"] >= 2 * first  # the first queries still count
        assert kb.info()["approximate"]["proven"] is False
        assert paths(kb) == {"index"}
        kb.reindex("hnsw", queries=clustered(50, 31))
        assert kb.info()["approximate"]["calibration"]["kind"] == "given"
        assert kb.info()["approximate"]["calibration"]["queries"] == 50


def test_a_search_says_why_it_does_not_use_the_index(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("theodolite.indexes.ann.Costs.propose", lambda self, n: 1.0)
    monkeypatch.setattr(executor, "_LARGE", 100)
    with Retriever.open(None, index="hnsw") as kb:
        query = clustered(1, 9)[0]
        fill(kb, 300)
        (note,) = kb.search(vector=query).trace.notes
        assert note.endswith("was not used: it is not built yet.")
        kb.reindex("hnsw:M=8")
        with pytest.warns(IndexWarning, match="was not used"):
            (note,) = kb.search(vector=query, k=1).trace.notes
        assert re.fullmatch(
            r"The index hnsw:M=8\S+ was not used: for a recall of 0\.99 it needs \d+ proposals, which take 1e\+03 "
            r"ms, and exact search \S+ ms\. Call reindex\(\) with a lower target_recall or another index\.",
            note,
        )
        assert kb.search(vector=query, where={"n": {"$lt": 250}}).trace.notes == ()  # a filter's cost is its own
        with warnings.catch_warnings(action="error"):  # once
            kb.search(vector=query, k=1)
            engine: Any = kb._engine
            engine._executor._warnings = NoteWarnings()
            for hits in (  # exact search is the cheaper way for these, so they say nothing
                *kb.search_many(vectors=clustered(3, 10)),
                kb.scoped({"n": {"$lt": 250}}).search(vector=query),
                kb.search(vector=query, boosts=Authority("even", {True: 1.0, False: 0.5})),
            ):
                assert hits.trace.notes == ()


@pytest.mark.parametrize("damage", ["flip", "cut", "gone", "rows"])
@pytest.mark.thorough
def test_a_damaged_file_never_reaches_native_code(
    tmp_path: Path, cheap: None, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    with Retriever.open(tmp_path) as kb:
        fill(kb)
        kb.reindex("hnsw")
        expected = found(kb, clustered(5, 1), k=3)
    (folder,) = tmp_path.glob("index-*")
    path = folder / ("rows.npy" if damage == "rows" else "native")
    raw = bytearray(path.read_bytes())
    if damage == "gone":
        path.unlink()
    else:
        raw[len(raw) // 2] ^= 4
        path.write_bytes(raw[:-1] if damage == "cut" else raw)
    with caplog.at_level(logging.WARNING), Retriever.open(tmp_path, read_only=True) as kb:
        assert paths(kb) == {"scan"}
        assert found(kb, clustered(5, 1), k=3) == expected
        assert not kb.info()["approximate"]["ready"]
        assert "reindex()" in caplog.text
    with Retriever.open(tmp_path) as kb:
        assert found(kb, clustered(5, 1), k=3) == expected
        engine: Any = kb._engine
        engine._index_manager.wait()
        assert paths(kb) == {"index"}


class Stop(Exception):
    pass


@pytest.mark.thorough
def test_an_interrupted_build_is_gone_on_with(tmp_path: Path, cheap: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_build, "_WORTH_SAVING", 0.0)
    monkeypatch.setattr("theodolite.indexes.hnsw._CHUNK", 500)
    seen: list[int] = []

    def stop_at_half(count: int) -> None:
        seen.append(count)
        if sum(seen) >= ROWS // 2:
            raise Stop

    with Retriever.open(tmp_path) as kb:
        fill(kb)
        with pytest.raises(Stop):
            kb.reindex("hnsw", progress=stop_at_half)
        assert kb.info()["index"] == "flat"
        assert paths(kb) == {"scan"}
        kb.delete([f"d{i}" for i in range(100)])
        fill(kb, 200, seed=2, name="later")
    with Retriever.open(tmp_path) as kb:
        again: list[int] = []
        kb.reindex("hnsw", progress=again.append)
        assert again[0] >= ROWS // 2, "existing parts are not built again"
        assert sum(again) == ROWS + 200
        assert paths(kb) == {"index"}
        assert recall(kb) >= 0.97
        assert not (tmp_path / "index-partial").exists()


@pytest.mark.thorough
def test_an_unfinished_build_of_something_else_is_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_build, "_WORTH_SAVING", 0.0)
    monkeypatch.setattr("theodolite.indexes.hnsw._CHUNK", 500)

    def stop(count: int) -> None:
        if count:
            raise Stop

    for spoil in ("other index", "damage", "garbage", "cleared"):
        folder = tmp_path / spoil
        with Retriever.open(folder) as kb:
            fill(kb, 1000)
            with pytest.raises(Stop):
                kb.reindex("hnsw", progress=stop)
            left = folder / "index-partial"
            if spoil == "damage":
                raw = bytearray((left / "native").read_bytes())
                raw[-5] ^= 1
                (left / "native").write_bytes(raw)
            if spoil == "garbage":
                (left / "state.json").write_text(json.dumps({"owner": 1}))
            if spoil == "cleared":
                kb.clear()
                fill(kb, 1000)
            again: list[int] = []
            kb.reindex("hnsw:M=8" if spoil == "other index" else "hnsw", progress=again.append)
            assert again[0] == 0
            assert sum(again) == 1000


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows has no SIGKILL")
@pytest.mark.parametrize("point", ["index.saved", "index.placed", "index.recorded"])
@pytest.mark.thorough
def test_killed_while_it_is_swapped_in(tmp_path: Path, point: str) -> None:
    """Either the old index is in use or the new one, and the next build works."""
    script = f"""
import os, signal, sys
sys.path.insert(0, {str(Path(__file__).parents[5])!r})
import numpy as np
from theodolite import Document, Retriever
from theodolite.engines.local.storage import crash_points
kb = Retriever.open({str(tmp_path / "kb")!r})
kb.add([Document("t", {{}}, f"d{{i}}") for i in range(500)],
       vectors=np.random.default_rng(0).standard_normal((500, 8)), batch_size=None)
kb.reindex("hnsw")
crash_points.observer = lambda name: os.kill(os.getpid(), signal.SIGKILL) if name == {point!r} else None
kb.reindex("hnsw:M=8")
"""
    done = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == -9, done.stderr
    with Retriever.open(tmp_path / "kb") as kb:
        M = 8 if point == "index.recorded" else 16
        assert f"M={M}," in kb.info()["index"]
        assert kb.info()["approximate"]["ready"]
        kb.verify()
        kb.reindex("hnsw:M=4")
        assert len(list((tmp_path / "kb").glob("index-*"))) == 1
        assert len(found(kb, [np.ones(8)], k=10)[0]) == 10


def test_only_one_builds_at_a_time(tmp_path: Path) -> None:
    with Retriever.open(tmp_path, lock_timeout=0.1) as kb:
        fill(kb, 200)
        with only_builder(Folder(tmp_path), 0), pytest.raises(LockedError, match="building an index"):
            kb.reindex("hnsw")
        kb.reindex("hnsw")


def test_closing_stops_a_build_in_the_background(tmp_path: Path, eager: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("theodolite.indexes.hnsw._CHUNK", 50)
    with Retriever.open(tmp_path) as kb:
        fill(kb, 500)
        kb.reindex("hnsw")
        fill(kb, 2000, seed=9, name="more")
        started = threading.Event()
        real = index_build.VectorSelection.__getitem__

        def slow(self: Any, key: Any) -> Any:
            started.set()
            return real(self, key)

        monkeypatch.setattr(index_build.VectorSelection, "__getitem__", slow)
        paths(kb, 1)
        assert started.wait(20)
    assert not [thread for thread in threading.enumerate() if thread.name == "theodolite-index"]
    with Retriever.open(tmp_path) as kb:
        assert len(kb) == 2500
        kb.verify()


@pytest.mark.thorough
def test_searches_go_on_while_an_index_is_built_and_swapped(cheap: None) -> None:
    failures: list[str] = []
    with Retriever.open(None) as kb:
        fill(kb)
        queries = clustered(20, 12)
        exact = [set(names) for names in found(kb, queries)]
        done = threading.Event()

        def look() -> None:
            while not done.is_set():
                for query, best in zip(queries, exact, strict=True):
                    names = [hit.document.id for hit in kb.search(vector=query)]
                    if len(set(names)) != 10 or len(set(names) & best) < 7:
                        failures.append(str(names))

        threads = [threading.Thread(target=look) for _ in range(2)]
        for thread in threads:
            thread.start()
        for index in ("hnsw", "hnsw:M=8", "flat", "hnsw"):
            kb.reindex(index)
        done.set()
        for thread in threads:
            thread.join()
    assert not failures


def test_an_index_of_nothing_is_wanted_for_later() -> None:
    with Retriever.open(None) as kb:
        kb.reindex("hnsw")
        assert kb.search(vector=[1.0, 2.0]).trace.path == "empty"
        kb.add([Document("t", {}, "a")], vectors=[[1.0, 2.0]])
        assert found(kb, [[1.0, 2.0]]) == [["a"]]
        assert not kb.info()["approximate"]["ready"]
        kb.reindex("hnsw")
        assert kb.info()["approximate"]["ready"]
        assert found(kb, [[1.0, 2.0]]) == [["a"]]


def test_what_cannot_be_built_is_refused(tmp_path: Path) -> None:
    with Retriever.open(tmp_path) as kb:
        fill(kb, 50)
        with pytest.raises(ConfigError, match="hnsw"):
            kb.reindex("hnws")
        with pytest.raises(ConfigError, match="Did you mean 'M'"):
            kb.reindex("hnsw:m=3")
        with pytest.raises(InputError, match="target_recall"):
            kb.reindex("hnsw", target_recall=0)
        with pytest.raises(ConfigError, match="rows"):
            kb.reindex("faiss:IVF1024,PQ4")
        assert kb.info()["index"] == "flat"
        assert len(found(kb, clustered(1, 1))[0]) == 10


def test_a_large_collection_gets_an_index_recommended(monkeypatch: pytest.MonkeyPatch) -> None:
    with Retriever.open(None) as kb:
        fill(kb, 50)
        assert kb.info()["recommended"] is None
        monkeypatch.setattr(index_manager, "_SLOW", 1e-9)
        reported = kb.info()["recommended"]
        assert reported["index"] == recommended_index()
        assert reported["memory"] > 50 * 4 * DIMENSION
        assert reported["seconds"] > 0


def test_without_packages_an_index_is_recommended_without_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_manager, "_SLOW", 1e-9)
    for package in ("hnswlib", "rabitqlib"):
        monkeypatch.setitem(sys.modules, package, None)
    with Retriever.open(None) as kb:
        fill(kb, 50)
        assert kb.info()["recommended"] == dict.fromkeys(("seconds", "memory", "file", "peak")) | {"index": "symqg"}


def test_an_index_that_does_not_fit_is_refused_before_it_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    """With both figures. The next that fits is built."""
    needs = estimate(canonical("hnsw"), 50, DIMENSION)
    disk = needs["file"] + 16 * 50
    usage = shutil.disk_usage("/")
    with Retriever.open(None) as kb:
        fill(kb, 50)
        for memory, free in ((needs["peak"] - 1, disk), (needs["peak"], disk - 1), (None, disk - 1)):
            monkeypatch.setattr(index_room, "available_memory", lambda memory=memory: memory)
            monkeypatch.setattr(shutil, "disk_usage", lambda _, free=free: usage._replace(free=free))
            with pytest.raises(EngineError, match="Nothing was changed") as caught:
                kb.reindex("hnsw", progress=lambda n: pytest.fail("it is built"))
            assert f"needs {needs['peak']:,} bytes of memory" in str(caught.value)
            assert f"{disk:,} bytes of disk, and {free:,} are free" in str(caught.value)
            assert (caught.value.memory, caught.value.available) == (needs["peak"], memory)
            assert kb.info()["index"] == "flat"
        for memory in (needs["peak"], None):
            monkeypatch.setattr(index_room, "available_memory", lambda memory=memory: memory)
            monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=disk))
            kb.reindex("hnsw")
            assert kb.info()["approximate"]["ready"]


@pytest.mark.parametrize(
    "spec", ["hnsw:M=8,ef_construction=20", "faiss:HNSW8", "faiss:IVF8,SQ8", "symqg:ef_construction=20"]
)
def test_builds_that_fit_are_never_refused(spec: str) -> None:
    """The estimates are not above what a build takes."""
    code = (
        "import sys\n"
        "import numpy as np\n"
        "from theodolite.indexes.registry import estimate, make_index\n"
        "from theodolite.types import Space\n"
        "def resident(key):\n"
        "    return next(1024 * int(line.split()[1]) for line in open('/proc/self/status') if line.startswith(key))\n"
        "vectors = np.random.default_rng(0).standard_normal((12_000, 128), np.float32)\n"
        "index = make_index(sys.argv[1])\n"
        "make_index(sys.argv[1]).build(vectors[:1000], Space('l2', 128))\n"
        "before = resident('VmRSS')\n"
        "index.build(vectors, Space('l2', 128))\n"
        "print((resident('VmHWM') - before) / estimate(sys.argv[1], 12_000, 128)['peak'])\n"
    )
    if not Path("/proc/self/status").exists():
        pytest.skip("needs /proc")
    done = subprocess.run([sys.executable, "-c", code, spec], capture_output=True, text=True, check=True, timeout=120)
    assert float(done.stdout) > 0.8


def test_the_available_memory_is_that_of_the_machine_or_container(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    files = {"/proc/meminfo": "MemTotal: 9000 kB\nMemAvailable:  5000 kB\nSwapFree: 1000 kB\n"}
    monkeypatch.setattr(index_room, "_read", lambda path: files.get(path.as_posix(), ""))
    assert index_room.available_memory() == 6000 * 1024
    files |= {"/sys/fs/cgroup/memory.max": "max\n", "/sys/fs/cgroup/memory.current": "5\n"}
    assert index_room.available_memory() == 6000 * 1024
    files |= {"/sys/fs/cgroup/memory.max": "1000000\n", "/sys/fs/cgroup/memory.current": "300000\n"}
    assert index_room.available_memory() == 700_000
    files["/sys/fs/cgroup/memory.stat"] = "anon 3\ninactive_file 100000\n"
    assert index_room.available_memory() == 800_000
    files["/proc/meminfo"] = "strange"
    assert index_room.available_memory() == 800_000
    files.clear()  # another system
    monkeypatch.setattr(os, "sysconf", {"SC_PHYS_PAGES": 7, "SC_PAGE_SIZE": 4096}.__getitem__, raising=False)
    assert index_room.available_memory() == 7 * 4096
    monkeypatch.delattr(os, "sysconf")
    assert index_room.available_memory() is None


def test_a_damaged_record_is_noticed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with Retriever.open(tmp_path) as kb:
        fill(kb, 50)
        kb.reindex("hnsw")
    connection = sqlite3.connect(tmp_path / "store.sqlite")
    connection.execute("UPDATE approximate SET value = '{}'")
    connection.commit()
    connection.close()
    with Retriever.open(tmp_path) as kb:
        assert kb.search(vector=np.ones(DIMENSION)).trace.complete
        assert "approximate index is damaged" in caplog.text
        with pytest.raises(CorruptionError, match="approximate index is damaged"):
            kb.verify()


@pytest.mark.thorough
def test_a_copy_of_the_folder_keeps_its_index(tmp_path: Path, cheap: None) -> None:
    with Retriever.open(tmp_path / "kb") as kb:
        fill(kb)
        kb.reindex("hnsw")
    shutil.copytree(tmp_path / "kb", tmp_path / "copy")
    with Retriever.open(tmp_path / "copy", read_only=True) as kb:
        assert paths(kb) == {"index"}


def test_an_index_may_be_named_when_a_collection_is_made(tmp_path: Path, cheap: None, eager: None) -> None:
    with Retriever.open(tmp_path / "kb", index="hnsw:M=8") as kb:
        fill(kb, 20)
        assert kb.info()["index"].startswith("hnsw:M=8")
        assert not kb.info()["approximate"]["ready"], "too small to be worth it"
        fill(kb, 500)
        engine: Any = kb._engine
        engine._index_manager.wait()
        assert paths(kb) == {"index"}
    for same in (None, "auto", "hnsw:M=8"):
        Retriever.open(tmp_path / "kb", index=same, create=True).close()
    for other in ("flat", "hnsw"):
        with pytest.raises(ConfigError, match=r"call reindex\("):
            Retriever.open(tmp_path / "kb", index=other)
    with Retriever.open(tmp_path / "flat", index="auto") as kb:
        fill(kb, 500)
        assert kb.info()["index"] == "flat"
        assert kb.info()["approximate"] is None
    with pytest.raises(ConfigError, match="reindex"):
        Retriever.open(tmp_path / "flat", index="hnsw")
    with pytest.raises(ConfigError, match="hnsw"):
        Retriever.open(None, index="hnws")


@pytest.mark.thorough
def test_without_its_package_searches_are_exact(
    tmp_path: Path, cheap: None, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Retriever.open(tmp_path) as kb:
        fill(kb)
        kb.reindex("hnsw")
    monkeypatch.setitem(sys.modules, "hnswlib", None)
    with caplog.at_level(logging.WARNING), Retriever.open(tmp_path) as kb:
        assert paths(kb) == {"scan"}
        engine: Any = kb._engine
        engine._index_manager.wait()
        assert "theodolite[hnsw]" in caplog.text
        with pytest.raises(MissingExtraError):
            kb.reindex("hnsw:M=8")
    monkeypatch.undo()


@pytest.mark.parametrize("point", ["index.saved", "index.placed"])
@pytest.mark.thorough
def test_the_index_in_use_stays_until_the_next_one_is_recorded(tmp_path: Path, cheap: None, point: str) -> None:
    """This includes an index that was recalibrated, and has a newer number than its files."""

    def fail(name: str) -> None:
        if name == point:
            crash_points.observer = None
            raise Stop

    with Retriever.open(tmp_path) as kb:
        fill(kb)
        kb.reindex("hnsw")
        found(kb, clustered(120, 30))
        engine: Any = kb._engine
        engine._index_manager.wait()
        assert kb.info()["approximate"]["calibration"]["kind"] == "logged"
        crash_points.observer = fail
        with pytest.raises(Stop):
            kb.reindex("hnsw:M=8")
        assert paths(kb) == {"index"}
    with Retriever.open(tmp_path, read_only=True) as kb:
        assert kb.info()["index"].startswith("hnsw:M=16")
        assert paths(kb) == {"index"}
    with Retriever.open(tmp_path) as kb:
        again: list[int] = []
        kb.reindex("hnsw:M=8", progress=again.append)
        assert again[0] == (ROWS if point == "index.saved" else 0), "the build resumes from the saved part"
        assert {path.name for path in tmp_path.glob("index-*/*")} == {"native", "rows.npy"}


def test_closing_stops_a_calibration(tmp_path: Path, eager: None, monkeypatch: pytest.MonkeyPatch) -> None:
    with Retriever.open(tmp_path) as kb:
        fill(kb, 300)
        kb.reindex("hnsw")
        engine: Any = kb._engine
        engine._index_manager._closing.set()
        with pytest.raises(index_manager.BuildStopped):
            engine._index_manager._calibrate_again()


def test_an_empty_collection_takes_no_index_that_cannot_be() -> None:
    with Retriever.open(None) as kb:
        for wrong in ("faiss", "hnsw:M=-1"):
            with pytest.raises(ConfigError):
                kb.reindex(wrong)
        assert kb.info()["index"] == "flat"


@pytest.mark.thorough
def test_to_verify_while_the_index_is_built_again_finds_no_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old files are deleted once the new ones are in use, so a verification of the old ones starts over."""
    looked: list[Path] = []

    with Retriever.open(tmp_path / "kb") as kb:
        fill(kb, 500)
        kb.reindex("hnsw")

        def read_files_then(folder: Folder, name: str, *arguments: Any) -> Any:
            looked.append(folder / name)
            if len(looked) == 1:
                kb.reindex("hnsw:M=8")
                assert not looked[-1].exists()
            return read_index(folder, name, *arguments)

        monkeypatch.setattr("theodolite.engines.local.maintenance.verify.read_index", read_files_then)
        assert kb.verify().checked["index"]
        assert len(set(looked)) == 2
        shutil.rmtree(looked[-1])
        with pytest.raises(CorruptionError, match=r"index: .*No such file"):
            kb.verify()
