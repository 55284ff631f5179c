"""Collections and forks: SQLite's locks do not survive a fork, and a child must not touch its parent's files."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from theodolite import Retriever

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on Windows")

PRELUDE = """
import os, sys
from pathlib import Path
from theodolite import Retriever

folder = sys.argv[1]

def add(kb, name):
    kb.add([{"id": name, "text": name}], vectors=[[3.0, 4.0]])

def forked(work):
    child = os.fork()
    if not child:
        try:
            work()
        except BaseException:
            import traceback
            traceback.print_exc()
            os._exit(1)
        sys.exit(0)  # as servers end their workers: what is to run at exit, runs
    return child

def ended(child):
    assert os.waitpid(child, 0)[1] == 0
"""


def run(code: str, folder: Path) -> None:
    command = [sys.executable, "-W", "error", "-c", PRELUDE + textwrap.dedent(code), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert not done.stderr


def test_what_a_child_writes_after_its_parent_has_closed(tmp_path: Path) -> None:
    """SQLite would consider the parent the last user, and delete the log that the child writes to."""
    code = """
    kb = Retriever.open(folder)
    add(kb, "parent")
    written, write_end = os.pipe()
    closed, close_end = os.pipe()

    def work():
        add(kb, "early")
        os.write(write_end, b".")
        os.read(closed, 1)
        add(kb, "late")
        os.write(write_end, b".")
        os.read(closed, 1)  # still open while the parent looks
        kb.close()

    child = forked(work)
    os.read(written, 1)
    assert kb.count() == 2
    kb.close()
    os.write(close_end, b".")
    os.read(written, 1)
    with Retriever.open(folder) as again:
        assert [document.id for document in again.documents()] == ["early", "late", "parent"]
        add(again, "next")
        again.verify()
    os.write(close_end, b".")
    ended(child)
    """
    run(code, tmp_path / "kb")
    with Retriever.open(tmp_path / "kb") as kb:
        assert kb.count() == 4
        kb.verify()


@pytest.mark.parametrize("work", ["kb.search(vector=[1.0, 0.0])", "kb.close()", "None"])
def test_a_child_leaves_the_parents_temporary_folder(tmp_path: Path, work: str) -> None:
    code = f"""
    kb = Retriever.open()
    add(kb, "a")
    ended(forked(lambda: {work}))
    assert kb.search(vector=[1.0, 0.0])[0].document.id == "a"
    add(kb, "b")
    kb.verify()
    path = kb._engine._store.folder.path
    assert path.exists()
    kb.close()
    assert not path.exists()
    """
    run(code, tmp_path)


def test_parent_and_children_write_in_turn(tmp_path: Path) -> None:
    code = """
    kb = Retriever.open(folder, lock_timeout=60, create=True)
    reader = Retriever.open(folder, read_only=True)
    add(kb, "first")
    assert reader.count() == 1

    def work(name):
        for number in range(5):
            add(kb, f"{name}-{number}")
            assert reader.get([f"{name}-{number}"])

    children = [forked(lambda name=name: work(name)) for name in ("a", "b", "c")]
    work("parent")
    for child in children:
        ended(child)
    assert reader.count() == kb.count() == 21 == len(kb.search(vector=[1.0, 0.0], k=100))
    kb.verify()
    kb.close()
    reader.close()
    """
    run(code, tmp_path / "kb")
