"""A process that imports is killed at random times while two others open the collection for each request."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from theodolite import Retriever

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows has no SIGKILL"),
]

KILLS = 300

IMPORTER = """
import sys
import numpy as np
from theodolite import Document, Retriever
n = int(sys.argv[2])
print(n, flush=True)  # ready: a busy machine may take seconds to start Python
while True:
    with Retriever.open(sys.argv[1]) as kb:
        for _ in range(3):
            texts = [Document("lorem ipsum " * 300 + str(n + i), id=str(n + i)) for i in range(100)]
            kb.add(texts, vectors=np.random.default_rng(n).standard_normal((100, 8)))
            n += 100
            print(n, flush=True)
"""

READER = """
import sys
from theodolite import Retriever
while True:
    with Retriever.open(sys.argv[1], create=False, read_only=sys.argv[2] == "ro") as kb:
        count = len(kb)
        assert count % 100 == 0, count
        print(count, flush=True)
"""


def test_nothing_is_refused_and_nothing_lost(tmp_path: Path) -> None:
    folder, kills = tmp_path / "kb", random.Random(5)
    Retriever.open(folder, create=True).close()
    acknowledged = 0
    readers = [start(READER, folder, mode) for mode in ("ro", "rw")]
    try:
        for _ in range(KILLS):
            importer = start(IMPORTER, folder, str(acknowledged))
            assert importer.stdout is not None
            assert importer.stdout.readline()
            time.sleep(kills.uniform(0, 0.8))
            os.kill(importer.pid, signal.SIGKILL)
            said = importer.communicate()[0].split()
            acknowledged = int(said[-1]) if said else acknowledged
            assert all(reader.poll() is None for reader in readers)
            with Retriever.open(folder) as kb:
                count = len(kb)
                assert acknowledged <= count <= acknowledged + 100
                acknowledged = count
            if acknowledged > 20_000:
                with Retriever.open(folder) as kb:
                    kb.verify()
                    kb.clear()
                acknowledged = 0
    finally:
        for reader in readers:
            reader.kill()
            errors = reader.communicate()[1]
            assert "Error" not in errors, errors
    with Retriever.open(folder) as kb:
        assert len(kb) == acknowledged
        kb.verify()


def start(code: str, folder: Path, argument: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", code, str(folder), argument],
        stdout=subprocess.PIPE if code is IMPORTER else subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
