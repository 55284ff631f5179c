"""A backup taken while others write is exactly one committed state. An interrupted one leaves nothing that opens."""

import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from tests.crash.workloads import DIMENSION, held

from theodolite import ConfigError, CorruptionError, Document, ManifestError, Retriever, UnsupportedError
from theodolite.engines.local.storage import crash_points

# Each commit replaces all documents by those of one version: a state that mixes two is found out.
WRITE = """
import sys
import numpy as np
from theodolite import Document, Retriever
kb = Retriever.open(sys.argv[1], lock_timeout=60)
print("ready", flush=True)
for version in range(10_000):
    documents = [Document(f"version {version}", {"version": version}, f"d{i}") for i in range(40)]
    kb.add(documents, vectors=np.full((40, 4), version + 1.0) + np.eye(4)[np.arange(40) % 4], batch_size=None)
    if version % 20 == 19:
        kb.clear()
"""


def fill(folder: Path, count: int = 50) -> Retriever:
    kb = Retriever.open(folder)
    vectors = np.random.default_rng(1).standard_normal((count, DIMENSION))
    kb.add([Document(f"text {i}", {"n": i}, f"d{i}") for i in range(count)], vectors=vectors)
    return kb


def test_a_backup_is_the_same_collection(tmp_path: Path) -> None:
    with fill(tmp_path / "kb") as kb:
        kb.delete("d3")
        kb.reindex("hnsw")
        kb.backup(tmp_path / "copy")
        kb.add([Document("later", id="later")], vectors=np.ones((1, DIMENSION)))
        with Retriever.open(tmp_path / "copy") as copy:
            assert copy.verify().sound
            assert "later" not in held(copy)
            assert {**held(copy), "later": held(kb)["later"]} == held(kb)
            assert copy.info()["approximate"]["ready"]
            copy.add([Document("other", id="other")], vectors=np.ones((1, DIMENSION)))
            assert copy.verify().sound
        assert kb.verify().sound


def test_a_backup_of_a_collection_in_memory_and_of_an_empty_one(tmp_path: Path) -> None:
    with Retriever.open() as kb:
        kb.backup(tmp_path / "empty")
        kb.add(["a"], vectors=np.ones((1, 3)))
        kb.backup(tmp_path / "copy")
    for name, count in (("empty", 0), ("copy", 1)):
        with Retriever.open(tmp_path / name) as copy:
            assert len(copy) == count
            assert copy.verify().sound


@pytest.mark.parametrize("who", ["thread", "process"])
def test_backups_while_others_write(tmp_path: Path, who: str) -> None:
    folder = tmp_path / "kb"
    with Retriever.open(folder, lock_timeout=60) as kb:
        kb.add([Document("version -1", {"version": -1}, "d0")], vectors=np.ones((1, 4)))
        stop = threading.Event()

        def write() -> None:
            version = 0
            while not stop.is_set():
                documents = [Document(f"version {version}", {"version": version}, f"d{i}") for i in range(40)]
                kb.add(documents, vectors=np.random.default_rng(version).random((40, 4)), batch_size=None)
                version += 1

        process = None
        if who == "process":
            process = subprocess.Popen([sys.executable, "-c", WRITE, str(folder)], stdout=subprocess.PIPE)
            assert process.stdout
            process.stdout.readline()
        else:
            thread = threading.Thread(target=write)
            thread.start()
        seen = set()
        try:
            for number in range(12):
                kb.backup(tmp_path / f"copy-{number}")
                with Retriever.open(tmp_path / f"copy-{number}") as copy:
                    assert copy.verify().sound
                    versions = {document.metadata["version"] for document in copy.documents()}
                    assert len(versions) <= 1
                    assert len(copy) in ((1,) if versions == {-1} else (0, 40))
                    seen.add(copy.info()["commits"])
        finally:
            stop.set()
            if process is None:
                thread.join()
            else:
                process.kill()
                process.wait()
                process.stdout.close()  # type: ignore[union-attr]  # it is a pipe
        assert len(seen) > 1


def test_what_is_refused(tmp_path: Path) -> None:
    with fill(tmp_path / "kb") as kb:
        (tmp_path / "full").mkdir()
        (tmp_path / "full" / "x").write_text("mine")
        (tmp_path / "file").write_text("mine")
        for name in ("full", "file", "kb", "kb/inside"):
            with pytest.raises(ConfigError):
                kb.backup(tmp_path / name)
        with pytest.raises(UnsupportedError):
            kb.scoped({"n": 3}).backup(tmp_path / "copy")
        path = tmp_path / "kb" / "vectors-1.f32"
        data = bytearray(path.read_bytes())
        data[-5] ^= 1
        path.write_bytes(data)
        with pytest.raises(CorruptionError, match="checksum"):
            kb.backup(tmp_path / "copy")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "full", "kb"]


@pytest.mark.parametrize("point", ["backup.vectors", "backup.store"])
def test_interrupted_it_leaves_nothing(tmp_path: Path, point: str) -> None:
    def interrupt(name: str) -> None:
        if name == point:
            raise KeyboardInterrupt

    with fill(tmp_path / "kb") as kb:
        crash_points.observer = interrupt
        try:
            with pytest.raises(KeyboardInterrupt):
                kb.backup(tmp_path / "copy")
        finally:
            crash_points.observer = None
        assert [path.name for path in tmp_path.iterdir()] == ["kb"]
        kb.backup(tmp_path / "copy")


@pytest.mark.parametrize("point", ["backup.vectors", "backup.store"])
def test_killed_it_leaves_nothing_that_opens(tmp_path: Path, point: str) -> None:
    fill(tmp_path / "kb").close()
    script = (
        "import os, sys\nfrom theodolite import Retriever\nfrom theodolite.engines.local.storage import crash_points\n"
        f"crash_points.observer = lambda name: name == {point!r} and os._exit(9)\n"
        "Retriever.open(sys.argv[1]).backup(sys.argv[2])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "kb"), str(tmp_path / "copy")], check=False, timeout=60
    )
    assert done.returncode == 9
    (left,) = (path for path in tmp_path.iterdir() if path.name != "kb")
    with pytest.raises(ManifestError, match="half a collection"):
        Retriever.open(left)
