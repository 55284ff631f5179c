"""An interrupted checkpoint leaves part of the log in the database file. Nothing is lost or refused."""

import contextlib
import shutil
import sqlite3
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from tests.crash.workloads import WORKLOADS, expected, held, states

from theodolite import Retriever

DATABASE, LOG, INDEX = "store.sqlite", "store.sqlite-wal", "store.sqlite-shm"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limits of a process")
def test_the_disk_is_full_when_a_collection_is_closed(tmp_path: Path) -> None:
    """The kernel lets no file grow, so SQLite's checkpoint is cut off, as it is by SIGKILL at that moment."""
    code = """
    import resource, signal, sys
    from theodolite import Document, Retriever
    from theodolite.testing import HashingEmbedder
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    kb = Retriever.open(sys.argv[1], embedder=HashingEmbedder())
    kb.add(Document(f"passage number{i}", id=str(i)) for i in range(2000))
    resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))
    try:
        kb.close()
    except Exception:
        pass
    """
    folder = tmp_path / "kb"
    subprocess.run([sys.executable, "-c", code.replace("\n    ", "\n"), str(folder)], check=True, timeout=120)
    assert (folder / LOG).stat().st_size
    for read_only in (True, False):
        with Retriever.open(folder, read_only=read_only) as kb:
            assert len(kb) == 2000
    with Retriever.open(folder) as kb:
        kb.verify()


@pytest.mark.parametrize("workload", ["adds", "clears"])
def test_cut_off_after_each_page(tmp_path: Path, workload: str) -> None:
    """SQLite copies the newest version of each page, in ascending order. The oracle is SQLite itself."""
    kb = Retriever.open(tmp_path / "kb")
    for step in WORKLOADS[workload]:
        step.run(kb)
    shutil.copytree(tmp_path / "kb", tmp_path / "hot")
    kb.close()
    (tmp_path / "hot" / INDEX).unlink()
    pages, size = newest_pages((tmp_path / "hot" / LOG).read_bytes())
    assert len(pages) > 5
    reported = expected(states(workload)[-1])
    database = bytearray((tmp_path / "hot" / DATABASE).read_bytes())
    for number, (page, data) in enumerate(sorted(pages.items())):
        start = (page - 1) * len(data)
        for end in (len(data) // 2, len(data)):  # the last page torn, and whole
            database[start : start + end] = data[:end]
            check(tmp_path / f"cut-{number}-{end}", tmp_path / "hot", bytes(database), len(reported))
    whole = tmp_path / "whole"
    check(whole, tmp_path / "hot", bytes(database[: size * len(data)]), len(reported))
    with Retriever.open(whole) as kb:
        assert held(kb) == reported
        kb.verify()


def newest_pages(log: bytes) -> tuple[dict[int, bytes], int]:
    """Return the pages that a checkpoint would copy, by number, and the number of pages afterwards."""
    _, _, page_size, _, *salts = struct.unpack(">6I", log[:24])
    found: dict[int, bytes] = {}
    waiting: dict[int, bytes] = {}
    total = 0
    for place in range(32, len(log) - page_size - 23, page_size + 24):
        page, committed, *salted = struct.unpack(">4I", log[place : place + 16])
        if salted != salts:
            break
        waiting[page] = log[place + 24 : place + 24 + page_size]
        if committed:
            found |= waiting
            waiting, total = {}, committed
    return found, total


def check(folder: Path, hot: Path, database: bytes, documents: int) -> None:
    shutil.copytree(hot, folder)
    (folder / DATABASE).write_bytes(database)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with Retriever.open(folder, read_only=True) as kb:
        assert len(kb) == documents
    (folder / INDEX).unlink()
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    with Retriever.open(folder) as kb:
        assert len(kb) == documents
    with contextlib.closing(sqlite3.connect(folder / DATABASE)) as plain:
        assert plain.execute("SELECT count(*) FROM documents").fetchone() == (documents,)
        assert plain.execute("PRAGMA quick_check").fetchone() == ("ok",)
