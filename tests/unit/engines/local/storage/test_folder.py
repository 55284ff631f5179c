"""A closed collection holds no descriptor, and a closed folder is only reopened if it is the same."""

import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from theodolite import Document, EngineError, Retriever
from theodolite.engines.local.storage.folder import Folder

DESCRIPTORS = Path("/proc/self/fd")
pytestmark = pytest.mark.skipif(not DESCRIPTORS.exists(), reason="only Linux lists the descriptors of a process")


def held(folder: Path) -> list[str]:
    """Return the paths in a folder that this process has open, the folder included."""
    paths = []
    for number in os.listdir(DESCRIPTORS):
        try:
            paths.append(os.readlink(DESCRIPTORS / number))
        except FileNotFoundError:  # that of the listing itself
            continue
    return [path for path in paths if path.startswith(str(folder))]


def fill(kb: Retriever) -> None:
    vectors = np.random.default_rng(1).standard_normal((300, 8))
    kb.add([Document(f"text {n}", {"n": n}, f"d{n}") for n in range(300)], vectors=vectors)


@pytest.mark.parametrize("read_only", [False, True])
def test_a_closed_collection_holds_no_descriptor(tmp_path: Path, read_only: bool) -> None:
    folder = tmp_path / "kb"
    with Retriever.open(folder, compact_at=None) as kb:
        fill(kb)
        fill(kb)
        kb.reindex("hnsw")
        kb.compact()
    assert not held(folder)
    kept = Retriever.open(folder, read_only=read_only, monitor=True)
    kept.search(vector=np.ones(8), where={"n": {"$gt": 5}})
    kept.verify()
    kept.backup(tmp_path / "backup")
    assert held(folder)
    kept.close()
    assert not held(folder)
    with pytest.raises(EngineError, match="closed"):
        kept.search(vector=np.ones(8))
    assert not held(folder)


def test_a_collection_in_memory_holds_none_either() -> None:
    others = set(held(Path("/")))  # collections that other tests of this process have left open
    kept = Retriever.open()
    fill(kept)
    kept.search(vector=np.ones(8))
    before = len(os.listdir(DESCRIPTORS))
    kept.close()
    assert len(os.listdir(DESCRIPTORS)) < before
    assert not [path for path in set(held(Path("/"))) - others if "theodolite-" in path]


def close_under_load(kb: Retriever, after: float) -> list[str]:
    """Close it after some seconds in which three threads read and write; the errors that ended them."""
    ready, errors = threading.Barrier(4), list[str]()

    def work(number: int) -> None:
        ready.wait()
        try:
            while True:
                kb.search(vector=np.ones(8), where={"n": number})
                kb.update(f"d{number}", {"n": number})
        except EngineError as error:
            errors.append(str(error))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    ready.wait()
    time.sleep(after)
    kb.close()
    for thread in threads:
        thread.join(60)
    return errors


def test_closed_while_threads_work(tmp_path: Path) -> None:
    """They finish, or raise that it is closed; the last one lets go of the folder."""
    with Retriever.open(tmp_path / "kb") as kb:
        fill(kb)
    for trial in range(10):
        kept = Retriever.open(tmp_path / "kb")
        errors = close_under_load(kept, 0.005 * trial)
        assert len(errors) == 3
        assert all("closed" in error for error in errors), errors
        assert not held(tmp_path / "kb")
    with Retriever.open(tmp_path / "kb") as kb:
        assert kb.count() == 300
        kb.verify()


def test_a_folder_that_was_closed_is_opened_again_unless_it_was_replaced(tmp_path: Path) -> None:
    path = tmp_path / "folder"
    path.mkdir()
    (path / "file").write_text("a")
    folder = Folder(path)
    folder.close()
    folder.close()
    assert folder.names() == ["file"]
    assert held(path) == [str(path)]
    folder.close()
    assert not held(path)
    path.rename(tmp_path / "away")
    assert folder.stat("file") is None
    path.mkdir()
    (path / "file").write_text("another")
    with pytest.raises(EngineError, match="no longer the one that was opened"):
        folder.open("file")
    assert not held(path)
