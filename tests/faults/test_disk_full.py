"""On a full disk a collection opens and can be read, and a reserve allows deletions. Nothing is lost."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from theodolite import Document, EngineError, Retriever
from theodolite.engines.local.storage import crash_points

DIMENSION = 64


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 8 MB."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("needs root, to mount a disk")
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(place)]
    if subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("no disk can be mounted here")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def batch(number: int, size: int = 100) -> list[Document]:
    return [Document(f"{'some words ' * 5} w{number} w{i}", id=f"{number}-{i}") for i in range(size)]


def add(kb: Retriever, number: int, size: int = 100) -> None:
    kb.add(batch(number, size), vectors=np.random.default_rng(number).standard_normal((size, DIMENSION)))


def filled(folder: Path) -> tuple[Retriever, int]:
    """A collection that has filled the disk, and the number of acknowledged documents."""
    kb = Retriever.open(folder)
    for number in range(1000):
        try:
            add(kb, number)
        except EngineError as error:
            assert "Free some room" in str(error)  # noqa: PT017 - the others must not raise
            return kb, 100 * number
    raise AssertionError("it fitted")


def fill(disk: Path) -> Path:
    """Another program takes the rest of the disk, to the last byte."""
    path = disk / "filler"
    with path.open("wb", buffering=0) as file:
        for size in (65536, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                pass
    return path


def test_a_full_disk_loses_nothing(disk: Path) -> None:
    kb, count = filled(disk / "kb")
    assert kb.count() == count
    assert kb.search(vector=np.ones(DIMENSION), k=5)
    kb.verify()
    kb.close()  # the log cannot be folded in, and keeps all of it
    grow(disk)
    for read_only in (True, False):
        with Retriever.open(disk / "kb", create=False, read_only=read_only) as again:
            assert again.count() == count
            again.verify()


@pytest.mark.parametrize("last", ["delete", "clear"])
def test_documents_can_be_deleted(disk: Path, last: str) -> None:
    kb, count = filled(disk / "kb")
    with kb:
        with pytest.raises(EngineError, match=r"Nothing was changed\. Make room"):
            kb.reindex("hnsw")  # not: another process is building
        assert kb.delete("0-1") == 1
        assert kb.delete([f"0-{i}" for i in range(2, 20)]) == 18
        assert kb.count() == count - 19
        kb.verify()
        if last == "clear":
            with pytest.raises(EngineError, match="Free some room"):
                kb.delete([document.id for document in kb.documents()][::2])  # that is too much, and leaves enough
            kb.clear()
            assert kb.count() == 0
            add(kb, 0)
            kb.verify()
    grow(disk)
    with Retriever.open(disk / "kb", create=False) as again:
        assert again.count() == (100 if last == "clear" else count - 19)
        again.verify()


@pytest.mark.parametrize("close", [False, True])
def test_another_program_fills_the_disk(disk: Path, close: bool) -> None:
    kb = Retriever.open(disk / "kb")
    for number in range(5):
        add(kb, number)
    if close:
        kb.close()
    filler = fill(disk)
    if close:
        with Retriever.open(disk / "kb", read_only=True) as reader:
            assert reader.count() == 500
            assert reader.search(vector=np.ones(DIMENSION), k=500).trace.complete
        kb = Retriever.open(disk / "kb")
    with kb:
        assert kb.delete([f"0-{i}" for i in range(20)]) == 20
        kb.clear()
        assert kb.count() == 0
    filler.unlink()
    with Retriever.open(disk / "kb") as again:
        add(again, 7)
        assert again.count() == 100
        assert (disk / "kb" / "reserve.bin").stat().st_size
        again.verify()


STEPS = [
    *("rows", "compaction.copied", "compaction.followed", "compaction.placed"),
    *("transaction.filled", "compaction.committed"),
]


@pytest.mark.parametrize("step", STEPS)
def test_the_disk_fills_up_in_the_middle_of_a_compaction(disk: Path, step: str) -> None:
    """It began with enough room. Nothing is lost, before and after the room is back."""
    kb = Retriever.open(disk / "kb", compact_at=None)
    for _ in range(3):
        for number in range(10):
            add(kb, number)
    before = {document.id: vector.tobytes() for document, vector in kb.documents(vectors=True)}
    answer = [(hit.document.id, hit.score) for hit in kb.search(vector=np.ones(DIMENSION), k=50)]
    fillers: list[Path] = []

    def reached(name: str) -> None:
        if name == step and not fillers:
            fillers.append(fill(disk))

    def check(one: Retriever) -> None:
        assert {document.id: vector.tobytes() for document, vector in one.documents(vectors=True)} == before
        assert [(hit.document.id, hit.score) for hit in one.search(vector=np.ones(DIMENSION), k=50)] == answer
        assert one.verify().warnings == ()

    crash_points.observer = reached
    try:
        kb.compact(progress=lambda rows: reached("rows"))
    except EngineError as error:
        assert "Free some room" in str(error)  # noqa: PT017 - the last steps may need no more room
    finally:
        crash_points.observer = None
    assert fillers
    dead = kb.info()["deleted_rows"]
    assert dead in ([2000] if step == "rows" else [0] if step == "compaction.committed" else [0, 2000])
    check(kb)
    with Retriever.open(disk / "kb", read_only=True) as reader:
        assert reader.count() == 1000
    assert kb.delete("0-1") == 1
    del before["0-1"]
    answer = [(hit.document.id, hit.score) for hit in kb.search(vector=np.ones(DIMENSION), k=50)]
    check(kb)
    fillers[0].unlink()
    assert kb.compact().rows == dead + 1
    check(kb)
    kb.close()
    with Retriever.open(disk / "kb") as again:
        check(again)


def grow(disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
