"""Damaged files are detected, reported, and left as they are."""

import contextlib
import logging
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tests.crash.workloads import WORKLOADS, expected, held, states

from theodolite import CorruptionError, Document, Retriever
from theodolite.engines.local.storage.folder import STORE

WORKER = Path(__file__).with_name("worker.py")


def built(folder: Path, workload: str = "replacements") -> Path:
    with Retriever.open(folder) as kb:
        for step in WORKLOADS[workload]:
            step.run(kb)
    return folder


def files(folder: Path) -> dict[str, bytes]:
    """Return all files except the index of the write-ahead log, which SQLite recreates for every reader."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.suffix != ".sqlite-shm"}


def refused(folder: Path, match: str) -> CorruptionError:
    before = files(folder)
    for read_only in (False, True):
        with pytest.raises(CorruptionError, match=match) as error:
            Retriever.open(folder, read_only=read_only)
    after = files(folder)
    assert {name: data for name, data in after.items() if "-shm" not in name} == {
        name: data for name, data in before.items() if "-shm" not in name
    }
    return error.value


def test_a_database_that_has_lost_two_commits(tmp_path: Path) -> None:
    folder = tmp_path / "kb"
    steps = WORKLOADS["adds"]
    with Retriever.open(folder) as kb:
        steps[0].run(kb)
    shutil.copy(folder / STORE, tmp_path / "old.sqlite")
    with Retriever.open(folder) as kb:
        steps[1].run(kb)
        steps[2].run(kb)
    shutil.copy(tmp_path / "old.sqlite", folder / STORE)
    error = refused(folder, "lost commits")
    assert error.committed == 1


def test_a_database_that_has_lost_two_deletes(tmp_path: Path) -> None:
    """Commits without vectors leave frames, too."""
    folder = tmp_path / "kb"
    steps = WORKLOADS["deletes"]
    with Retriever.open(folder) as kb:
        steps[0].run(kb)
    shutil.copy(folder / STORE, tmp_path / "old.sqlite")
    with Retriever.open(folder) as kb:
        steps[1].run(kb)
        steps[2].run(kb)
    shutil.copy(tmp_path / "old.sqlite", folder / STORE)
    refused(folder, "lost commits")


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows has no SIGKILL")
@pytest.mark.parametrize("place", [0.3, 0.5])
def test_a_flipped_bit_in_the_write_ahead_log(tmp_path: Path, place: float) -> None:
    """SQLite silently ends its log at the first damaged page, and forgets the commits behind it."""
    folder = tmp_path / "kb"
    command = [sys.executable, str(WORKER), str(folder), "adds", "0", "transaction.committed", "4"]
    subprocess.run(command, check=False, capture_output=True, timeout=60)
    log = folder / f"{STORE}-wal"
    data = bytearray(log.read_bytes())
    data[int(len(data) * place)] ^= 1
    log.write_bytes(data)
    with sqlite3.connect(f"file:{folder / STORE}?mode=ro", uri=True) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert connection.execute("SELECT sequence FROM state").fetchone()[0] < 3
    connection.close()
    refused(folder, "lost commits")


@pytest.mark.parametrize("missing", [1, 16, 200])
def test_a_vector_file_that_is_too_short(tmp_path: Path, missing: int) -> None:
    folder = built(tmp_path / "kb")
    path = folder / "vectors-1.f32"
    os.truncate(path, path.stat().st_size - missing)
    refused(folder, "vectors are missing")


def test_no_vector_file(tmp_path: Path) -> None:
    folder = built(tmp_path / "kb")
    (folder / "vectors-1.f32").unlink()
    refused(folder, "vectors are missing")


def test_a_vector_file_of_another_collection(tmp_path: Path) -> None:
    folder, other = built(tmp_path / "kb"), built(tmp_path / "other", "updates")
    shutil.copy(other / "vectors-1.f32", folder / "vectors-1.f32")
    with pytest.raises(CorruptionError), Retriever.open(folder) as kb:
        kb.verify()


@pytest.mark.parametrize("seed", range(12))
def test_any_flipped_bit_is_found_by_verify(tmp_path: Path, seed: int) -> None:
    """In the vectors and in the database: when the collection is opened, or by verify() at the latest."""
    folder = built(tmp_path / "kb")
    path = folder / ("vectors-1.f32" if seed % 2 else STORE)
    rng = np.random.default_rng(seed)
    data = bytearray(path.read_bytes())
    if seed % 2:
        place = int(rng.integers(len(data)))
    else:  # somewhere in the stored texts
        places = [i for i in range(len(data)) if data.startswith(b" in version ", i)]
        place = places[int(rng.integers(len(places)))] + 3
    data[place] ^= 1 << int(rng.integers(5))
    path.write_bytes(data)
    try:
        with pytest.raises(CorruptionError), Retriever.open(folder) as kb:
            kb.verify()
    except pytest.fail.Exception:
        # Padding of frame headers and free pages of the database hold nothing: then all must be as it was.
        with Retriever.open(folder) as kb:
            assert held(kb) == expected(states("replacements")[-1])


DAMAGE: dict[str, Callable[[Path], object]] = {
    "truncated": lambda path: os.truncate(path, 1000),
    "flipped": lambda path: path.write_bytes(flipped(path.read_bytes())),
    "empty": lambda path: path.write_bytes(b""),
    "foreign": lambda path: path.write_bytes(b"not codes" * 100),
    "gone": lambda path: path.unlink(),
}


def flipped(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 4]) + data[middle + 1 :]


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_codes_are_computed_again(tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    folder = built(tmp_path / "kb", "seals")
    path = folder / "codes-1" / "000000.codes"
    sound = path.read_bytes()
    DAMAGE[damage](path)
    docs = list(states("seals")[-1].values())[::997]
    with caplog.at_level(logging.WARNING), Retriever.open(folder) as kb:
        for doc in docs:
            assert kb.search(vector=doc.vector(), k=1)[0].document == doc.document()
    assert path.read_bytes() == sound
    assert bool(caplog.records) == (damage != "gone")


@pytest.mark.parametrize("where", [None, {"h": [0, 1]}])
def test_documents_of_rows_that_do_not_exist(tmp_path: Path, where: dict[str, list[int]] | None) -> None:
    with Retriever.open(tmp_path / "kb") as kb:
        texts = [Document("t", {"h": n % 2}, f"{n:04}") for n in range(6000)]
        kb.add(texts, vectors=np.ones((6000, 2)), batch_size=None)
    with contextlib.closing(sqlite3.connect(tmp_path / "kb" / "store.sqlite")) as database, database:
        database.execute("UPDATE documents SET row = 9000 WHERE id = '0003'")
    with Retriever.open(tmp_path / "kb") as kb:
        with pytest.raises(CorruptionError):
            list(kb.documents(where))
        with pytest.raises(CorruptionError):
            kb.verify()
