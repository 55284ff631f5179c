"""Several processes on one folder, or one process twice."""

import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

from theodolite import Retriever

PRELUDE = """
import random, sys, time, warnings
import numpy as np
from theodolite import Document, DocumentError, MetadataWarning, Retriever
warnings.simplefilter("ignore", MetadataWarning)  # after a clear, no document has the field
folder, seed = sys.argv[1], int(sys.argv[2])
rng = random.Random(seed)
numbers = np.random.default_rng(seed)
"""

WRITER = """
kb = Retriever.open(folder, lock_timeout=60)
for round in range(60):
    names = [f"d{rng.randrange(60)}" for _ in range(rng.randrange(1, 40))]
    vectors = numbers.normal(size=(len(names), 4))
    kb.add([Document("t", {"tag": rng.randrange(3)}, name) for name in names], vectors=vectors)
    kb.delete(names[:5])
    try:
        kb.update(names[-1], {"tag": 3})
    except DocumentError:  # the other writer has deleted it
        pass
    if round % 9 == 0:
        kb.clear()
    if round % 13 == 0:
        kb.close()
        kb = Retriever.open(folder, lock_timeout=60)
kb.close()
print("done")
"""

READER = """
with Retriever.open(folder, read_only=True) as kb:
    while time.monotonic() < float(sys.argv[3]):
        hits = kb.search(vector=numbers.normal(size=4), k=500)
        assert len(hits) == hits.trace.rows == hits.trace.eligible
        hits = kb.search(vector=numbers.normal(size=4), k=500, where={"tag": [1, 3]})
        assert len(hits) == hits.trace.eligible
        assert all(hit.document.metadata["tag"] in (1, 3) for hit in hits)
        listed = [document.id for document, _ in kb.documents(vectors=True)]
        assert listed == sorted(set(listed))
        kb.info()
        kb.verify()
print("done")
"""

OPENER = """
while time.monotonic() < float(sys.argv[3]):
    with Retriever.open(folder, read_only=bool(seed % 2)) as kb:
        hits = kb.search(vector=numbers.normal(size=4), k=500)
        assert len(hits) == hits.trace.rows
print("done")
"""


def child(code: str, folder: Path, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", PRELUDE + textwrap.dedent(code), str(folder), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    assert not err
    return out


@pytest.mark.parametrize("read_only", [False, True])
def test_opening_a_folder_twice_keeps_its_locks(tmp_path: Path, read_only: bool) -> None:
    """POSIX drops a process's locks on a file when it closes any handle to it. Then others would ignore the process."""
    folder = tmp_path / "kb"
    with Retriever.open(folder) as kb:
        kb.add([{"id": "a", "text": "t"}], vectors=[[1, 0]])
        Retriever.open(folder, read_only=read_only, create=True).close()
        finish(child("with Retriever.open(folder) as kb: kb.add([Document('t', id='b')], vectors=[[0, 1]])", folder, 0))
        kb.add([{"id": "c", "text": "t"}], vectors=[[1, 1]])
        assert [document.id for document in kb.documents()] == ["a", "b", "c"]
        out = finish(child("with Retriever.open(folder) as kb: print(kb.count())", folder, 0))
        assert out == "3\n"
        kb.verify()
    with Retriever.open(folder) as kb:
        assert kb.count() == 3
        kb.verify()


@pytest.mark.thorough
def test_writers_readers_and_openers(tmp_path: Path) -> None:
    """No process sees partial data or an error while others write, clear or close."""
    folder = tmp_path / "kb"
    with Retriever.open(folder) as kb:
        kb.add(["first"], vectors=np.ones((1, 4)))
    end = time.monotonic() + 4  # the same clock in all processes of a machine
    roles = [(WRITER, 1), (WRITER, 2), (READER, 3), (OPENER, 4), (OPENER, 5)]
    for process in [child(code, folder, seed, end) for code, seed in roles]:
        assert finish(process) == "done\n"
    with Retriever.open(folder) as kb:
        assert kb.count() == len(list(kb.documents()))
        kb.verify()


@pytest.mark.skipif(os.name != "posix", reason="POSIX only")
@pytest.mark.thorough
def test_two_writers_killed_again_and_again(tmp_path: Path) -> None:
    """Acknowledged writes are stored. Unacknowledged ones are complete or absent."""
    folder = tmp_path / "kb"
    code = """
    kb = Retriever.open(folder, lock_timeout=60)
    for number in range(10**6):
        size = rng.randrange(1, 30)
        names = [f"{seed}/{number}/{size}/{i}" for i in range(size)]
        kb.add([Document(name * 3, {"batch": number}, name) for name in names], vectors=numbers.normal(size=(size, 4)))
        print(f"{seed}/{number}/{size}", flush=True)
    """
    promised: set[str] = set()
    for round in range(3):
        pair = [child(code, folder, 2 * round + i) for i in range(2)]
        for process in pair:
            assert process.stdout is not None
            promised.update(process.stdout.readline().strip() for _ in range(15 + 5 * round))
        for process in pair:
            process.kill()
        for process in pair:
            with process:
                assert process.stdout is not None
                assert process.stderr is not None
                promised.update(process.stdout.read().split())
                assert not process.stderr.read()
        with Retriever.open(folder) as kb:
            held: dict[str, list[int]] = {}
            for document, vector in kb.documents(vectors=True):
                batch, _, number = document.id.rpartition("/")
                held.setdefault(batch, []).append(int(number))
                assert document.text == document.id * 3
                assert kb.search(vector=vector, k=1)[0].score > 1 - 1e-6
            assert promised <= held.keys()
            assert len(held.keys() - promised) <= 2 * (round + 1)
            for batch, numbers in held.items():
                assert sorted(numbers) == list(range(int(batch.rpartition("/")[2])))
            assert kb.count() == sum(map(len, held.values()))
            kb.verify()
