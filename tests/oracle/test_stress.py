"""Many search while one writes, builds indexes and compacts: every answer is that of a committed state."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from tests.oracle.stress import ALL, DIMENSION, History, read, shown, write

from theodolite import Retriever
from theodolite.engines.local.maintenance import index_manager

ROOT = Path(__file__).parents[2]
SEED = 11
SHORT, LONG = 4.0, 60.0

READER = """
import sys, time
sys.path.insert(0, sys.argv[1])
from tests.oracle.stress import read
from theodolite import Retriever
from theodolite.indexes.ann import Costs
Costs.propose = lambda self, n: 0.0
deadline = time.monotonic() + float(sys.argv[3])
with Retriever.open(sys.argv[2], read_only=True) as kb:
    print(read(kb, int(sys.argv[4]), lambda: time.monotonic() > deadline, int(sys.argv[5])))
"""


@pytest.fixture(autouse=True)
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small collections are searched through their index, and it is kept up."""
    monkeypatch.setattr("theodolite.indexes.ann.Costs.propose", lambda self, n: 0.0)
    monkeypatch.setattr("theodolite.indexes.flat.index.FlatIndex.max_direct", 8)
    monkeypatch.setattr(index_manager, "_MIN_DOCUMENTS", 20)


class Threads:
    """Threads whose failures are raised where they are joined."""

    def __init__(self) -> None:
        self._threads: list[threading.Thread] = []
        self._errors: list[BaseException] = []
        self.stop = threading.Event()

    def start(self, work: Any, *arguments: Any) -> None:
        def run() -> None:
            try:
                work(*arguments)
            except BaseException as error:
                self._errors.append(error)
                self.stop.set()

        thread = threading.Thread(target=run)
        thread.start()
        self._threads.append(thread)

    def join(self) -> None:
        self.stop.set()
        for thread in self._threads:
            thread.join()
        if self._errors:
            raise self._errors[0]


def rebuild(kb: Retriever, stop: threading.Event) -> None:
    number = 0
    while not stop.is_set():
        number += 1
        kb.reindex("flat" if number % 5 == 0 else f"hnsw:M={4 + number % 3},ef_construction=40")
        if number % 2:
            kb.compact()
        time.sleep(0.02)


def stress_threads(folder: Path | None, seconds: float) -> None:
    with Retriever.open(folder, create=True) as kb:
        threads = Threads()
        counts: list[int] = []
        for number in range(4):
            threads.start(lambda n: counts.append(read(kb, n, threads.stop.is_set, SEED)), number)
        threads.start(rebuild, kb, threads.stop)
        try:
            commits = write(kb, seconds, SEED)
        finally:
            threads.join()
        assert min(counts) > 0
        kb.verify()
        assert shown(History(SEED), kb.search(vector=[1.0] * DIMENSION, k=ALL)) == commits


def stress_processes(folder: Path, seconds: float) -> None:
    with Retriever.open(folder, create=True) as kb:
        History(SEED).write(kb, 1)
        command = [sys.executable, "-c", READER, str(ROOT), str(folder), str(seconds)]
        environment = {**os.environ, "PYTHONWARNINGS": "error"}
        readers = [
            subprocess.Popen([*command, str(n), str(SEED)], stdout=subprocess.PIPE, text=True, env=environment)
            for n in range(3)
        ]
        threads = Threads()
        threads.start(rebuild, kb, threads.stop)
        try:
            write(kb, seconds + 2, SEED, first=1)
        finally:
            threads.join()
        for reader in readers:
            output, _ = reader.communicate(timeout=60)
            assert reader.returncode == 0
            assert int(output) > 0
        kb.verify()


@pytest.mark.thorough
def test_threads_in_memory() -> None:
    stress_threads(None, SHORT)


def test_threads_on_disk(tmp_path: Path) -> None:
    stress_threads(tmp_path / "kb", SHORT)


@pytest.mark.thorough
def test_processes(tmp_path: Path) -> None:
    stress_processes(tmp_path / "kb", SHORT)


@pytest.mark.slow
def test_threads_for_a_minute(tmp_path: Path) -> None:
    stress_threads(tmp_path / "kb", LONG)


@pytest.mark.slow
def test_processes_for_a_minute(tmp_path: Path) -> None:
    stress_processes(tmp_path / "kb", LONG)
