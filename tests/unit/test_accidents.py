"""Several processes, full disks, folders that are not ours."""

import os
import signal
import sqlite3
import stat
import struct
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from theodolite import Document, EngineError, LockedError, ManifestError, Retriever
from theodolite.engines.local.storage.folder import STORE

EYE = np.eye(4, dtype=np.float32)
POSIX = pytest.mark.skipif(os.name != "posix", reason="POSIX only")

PRELUDE = """
import itertools, os, sys, time
import numpy as np
from theodolite import Document, EngineError, Retriever
folder, argument = sys.argv[1], sys.argv[2]
def docs(*names, tag=0):
    return [Document(f"text of {name}", {"tag": tag}, name) for name in names]
def vectors(n):
    return np.random.default_rng(n).standard_normal((n, 4))
"""


def docs(*names: str, tag: int = 0) -> list[Document]:
    return [Document(f"text of {name}", {"tag": tag}, name) for name in names]


def child(code: str, folder: Path, argument: object = "", **options: object) -> subprocess.Popen[str]:
    process: subprocess.Popen[str] = subprocess.Popen(
        [sys.executable, "-c", PRELUDE + textwrap.dedent(code), str(folder), str(argument)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,  # type: ignore[call-overload]  # options of Popen
    )
    return process


def finished(process: subprocess.Popen[str], code: int = 0) -> str:
    out, err = process.communicate(timeout=120)
    assert process.returncode == code, err
    return out


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_two_writers_at_once(tmp_path: Path) -> None:
    code = """
    with Retriever.open(folder, lock_timeout=60) as kb:
        for i in range(30):
            kb.add(docs(f"{argument}-{i}"), vectors=vectors(1))
    """
    for process in [child(code, tmp_path / "kb", name) for name in ("a", "b")]:
        finished(process)
    with Retriever.open(tmp_path / "kb") as kb:
        assert {document.id for document in kb.documents()} == {f"{n}-{i}" for n in "ab" for i in range(30)}
        kb.verify()


def test_a_held_lock(tmp_path: Path) -> None:
    folder = tmp_path / "kb"
    code = """
    with Retriever.open(folder) as kb:
        kb.add(docs("a"), vectors=vectors(1))
        with kb._engine._store.write():
            print("held", flush=True)
            sys.stdin.readline()
    """
    process = child(code, folder, stdin=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    with Retriever.open(folder, lock_timeout=0.2) as kb:
        with pytest.raises(LockedError, match=f"process {process.pid} was the last to take it") as error:
            kb.add(docs("b"), vectors=EYE[:1])
        assert error.value.pid == process.pid
        assert kb.count() == len(kb.search(vector=EYE[0])) == 1  # readers never wait
        process.communicate("\n", timeout=60)
        kb.add(docs("b"), vectors=EYE[:1])
        assert kb.count() == 2


@pytest.mark.thorough
def test_a_reader_never_sees_two_commits(tmp_path: Path) -> None:
    folder = tmp_path / "kb"
    names = [f"d{number}" for number in range(20)]
    with Retriever.open(folder) as kb:
        kb.add(docs(*names), vectors=np.ones((20, 4)))
    code = """
    with Retriever.open(folder) as kb:
        for tag in range(1, 40):
            if tag % 13 == 0:
                kb.clear()
            kb.add(docs(*[f"d{i}" for i in range(20)], tag=tag), vectors=np.ones((20, 4)))
    """
    process = child(code, folder)
    seen = set()
    with Retriever.open(folder, read_only=True) as kb:
        while process.poll() is None:
            hits = kb.search(vector=EYE[0], k=50)
            found = {hit.document.metadata["tag"] for hit in hits}
            assert (len(hits), len(found)) in ((20, 1), (0, 0)), found
            assert len(hits) == hits.trace.rows
            filtered = kb.search(vector=EYE[0], k=50, where={"tag": max(found, default=0)})
            assert len(filtered) in (0, 20)
            seen |= found
        finished(process)
        assert [hit.document.metadata["tag"] for hit in kb.search(vector=EYE[0], k=1)] == [39]
    assert len(seen) > 2


@pytest.mark.thorough
def test_threads_search_while_one_writes(tmp_path: Path) -> None:
    errors: list[BaseException] = []
    with Retriever.open(tmp_path / "kb") as kb:
        kb.add(docs("fixed"), vectors=EYE[:1])
        done = threading.Event()

        def search() -> None:
            try:
                while not done.is_set():
                    assert kb.search(vector=EYE[0], k=1)[0].document.id == "fixed"
                    assert kb.search(vector=EYE[0], k=1, where={"tag": 0})[0].document.id == "fixed"
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=search) for _ in range(6)]
        for thread in threads:
            thread.start()
        for number in range(40):
            kb.add(docs(f"n{number}", tag=number), vectors=-EYE[:1])
            kb.delete(f"n{number - 3}")
        done.set()
        for thread in threads:
            thread.join(60)
        assert not errors
        kb.verify()


@POSIX
def test_a_forked_child_searches(tmp_path: Path) -> None:
    code = """
    kb = Retriever.open(folder)
    kb.add(docs("a", "b"), vectors=vectors(2))
    kb.search(vector=[1, 0, 0, 0])
    pid = os.fork()
    if not pid:
        ok = len(kb.search(vector=[1, 0, 0, 0])) == 2
        kb.add(docs("child"), vectors=vectors(1))
        os._exit(0 if ok and kb.count() == 3 else 1)
    assert os.waitpid(pid, 0)[1] == 0
    assert kb.count() == 3 == len(kb.search(vector=[1, 0, 0, 0]))
    kb.close()
    """
    finished(child(code, tmp_path / "kb"))


@POSIX
def test_ctrl_c_during_an_add(tmp_path: Path) -> None:
    folder = tmp_path / "kb"
    code = """
    import signal
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run in a shell's background
    kb = Retriever.open(folder)
    def source():
        for i in range(10**6):
            if i == 2000:
                print("going", flush=True)
            yield docs(f"{i:07d}")[0]
    kb.add(source(), vectors=itertools.repeat(np.ones(4)), batch_size=500)
    """
    process = child(code, folder)
    assert process.stdout is not None
    assert process.stdout.readline() == "going\n"
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert "KeyboardInterrupt" in err
    with Retriever.open(folder) as kb:
        count = kb.count()
        assert count >= 2000
        assert count % 500 == 0
        assert [document.id for document in kb.documents(limit=count)][-1] == f"{count - 1:07d}"
        kb.verify()
        kb.add(docs("next"), vectors=EYE[:1])


@POSIX
def test_a_full_disk(tmp_path: Path) -> None:
    """The kernel refuses to let a file grow, as it does when the disk is full."""
    folder = tmp_path / "kb"
    code = """
    import resource, signal
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    kb = Retriever.open(folder)
    kb.add(docs("a", "b"), vectors=vectors(2))
    free = resource.getrlimit(resource.RLIMIT_FSIZE)
    for limit in (100, 5_000, 60_000, 300_000, 1_000_000):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, free[1]))
        try:
            kb.add([Document("word " * 400, {}, f"big-{i}") for i in range(1000)], vectors=np.ones((1000, 4)))
            raise SystemExit("it fitted")
        except EngineError as error:
            assert "Free some room" in str(error) or "disk I/O error" in str(error), error
        resource.setrlimit(resource.RLIMIT_FSIZE, free)
        assert kb.count() == 2 == len(kb.search(vector=[1, 0, 0, 0]))
        kb.verify()
    kb.add(docs("c"), vectors=vectors(1))
    kb.close()
    """
    finished(child(code, folder))
    with Retriever.open(folder) as kb:
        assert [document.id for document in kb.documents()] == ["a", "b", "c"]
        kb.verify()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root, to become another user")
def test_a_folder_that_cannot_be_written_to(tmp_path: Path) -> None:
    folder = tmp_path / "kb"
    with Retriever.open(folder) as kb:
        kb.add(docs("a", "b"), vectors=EYE[:2])
    for parent in (tmp_path, *tmp_path.parents):
        parent.chmod(parent.stat().st_mode | stat.S_IXOTH | stat.S_IROTH)
    before = tree(folder)
    code = """
    import difflib  # imported late, like the modules below, which the other user may not read
    with Retriever.open() as kb:
        kb.add(docs("a"), vectors=vectors(1))
        kb.search(vector=[1, 0, 0, 0], where={"tag": 0})
        kb.verify()
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
    try:
        Retriever.open(folder)
        raise SystemExit("opened for writing")
    except EngineError as error:
        assert "read_only=True" in str(error), error
    try:
        Retriever.open(os.path.join(os.path.dirname(folder), "new"), create=True)
        raise SystemExit("made a folder")
    except EngineError as error:
        assert "ermission" in str(error), error
    with Retriever.open(folder, read_only=True) as kb:
        assert kb.search(vector=[1, 0, 0, 0])[0].document.id == "a"
        assert kb.count({"tag": 0}) == 2
        kb.verify()
        try:
            kb.delete("a")
            raise SystemExit("deleted")
        except EngineError:
            pass
    """
    finished(child(code, folder))
    assert tree(folder) == before


def test_read_only_refuses_to_write(tmp_path: Path) -> None:
    folder = tmp_path / "kb"
    with pytest.raises(ManifestError, match="no collection"):
        Retriever.open(folder, read_only=True)
    assert not folder.exists()
    with Retriever.open(folder) as kb:
        kb.add(docs("a"), vectors=EYE[:1])
    with Retriever.open(folder, read_only=True) as kb:
        for write in (lambda: kb.add(docs("b"), vectors=EYE[:1]), lambda: kb.delete("a"), kb.clear):
            with pytest.raises(EngineError, match="read-only"):
                write()
        assert kb.count() == 1


def foreign(folder: Path, kind: str) -> None:
    folder.mkdir()
    match kind:
        case "files":
            (folder / "notes.txt").write_text("mine")
        case "sqlite":
            connection = sqlite3.connect(folder / STORE)
            connection.execute("CREATE TABLE mine (x)")
            connection.commit()
            connection.close()
        case "garbage":
            (folder / STORE).write_bytes(b"not a database" * 50)
        case "short":
            (folder / STORE).write_bytes(b"SQLite")
        case "half":
            (folder / STORE).write_bytes(b"")
            (folder / "vectors-1.f32").write_bytes(b"\0" * 64)
        case "no store":
            (folder / "vectors-1.f32").write_bytes(b"\0" * 64)


@pytest.mark.parametrize("read_only", [False, True])
@pytest.mark.parametrize("kind", ["files", "sqlite", "garbage", "short", "half", "no store"])
def test_a_folder_that_is_not_ours(tmp_path: Path, kind: str, read_only: bool) -> None:
    folder = tmp_path / "kb"
    foreign(folder, kind)
    before = tree(folder)
    with pytest.raises(ManifestError, match="othing was changed"):
        Retriever.open(folder, read_only=read_only)
    assert tree(folder) == before


def test_a_file_in_place_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "kb").write_text("mine")
    with pytest.raises(ManifestError, match="is a file"):
        Retriever.open(tmp_path / "kb")


def test_an_empty_folder_is_fine(tmp_path: Path) -> None:
    (tmp_path / "kb").mkdir()
    (tmp_path / "kb" / STORE).write_bytes(b"")  # what a creation leaves that was cut off at once
    with Retriever.open(tmp_path / "kb") as kb:
        kb.add(docs("a"), vectors=EYE[:1])


def test_a_newer_format(tmp_path: Path) -> None:
    folder = tmp_path / "kb"
    with Retriever.open(folder) as kb:
        kb.add(docs("a"), vectors=EYE[:1])
    data = bytearray((folder / STORE).read_bytes())
    data[60:64] = struct.pack(">I", 99)
    (folder / STORE).write_bytes(data)
    before = tree(folder)
    with pytest.raises(ManifestError, match="format 99; this theodolite reads up to 5") as error:
        Retriever.open(folder)
    assert error.value.format == 99
    assert tree(folder) == before


@pytest.mark.thorough
def test_many_processes_create_at_once(tmp_path: Path) -> None:
    code = """
    with Retriever.open(folder, lock_timeout=60) as kb:
        kb.add(docs(argument), vectors=vectors(1))
    """
    for process in [child(code, tmp_path / "kb", f"p{number}") for number in range(5)]:
        finished(process)
    with Retriever.open(tmp_path / "kb") as kb:
        assert kb.count() == 5
        kb.verify()
