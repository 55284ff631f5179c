"""A collection can be opened at any time while another process fills it."""

import subprocess
import sys
from pathlib import Path

import pytest

from theodolite import Retriever

IMPORTER = """
import sys
import numpy as np
from theodolite import Document, Retriever
vectors, n = np.random.default_rng(0).standard_normal((300, 8)), 0
while True:
    with Retriever.open(sys.argv[1]) as kb:
        for _ in range(int(sys.argv[2])):
            kb.add((Document("lorem ipsum " * 800, id=str(n % 3000 + i)) for i in range(300)), vectors=vectors)
            n += 300
            print("added", flush=True)
        if len(sys.argv) > 3:
            kb.clear()
"""


@pytest.mark.parametrize("arguments", [["1000000"], ["1"], ["2", "clear"]], ids=["imports", "closes", "clears"])
def test_no_open_is_refused(tmp_path: Path, arguments: list[str]) -> None:
    folder = tmp_path / "kb"
    command = [sys.executable, "-c", IMPORTER, str(folder), *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as importer:
        try:
            assert importer.stdout
            assert importer.stdout.readline() == "added\n"
            for number in range(80):
                with Retriever.open(folder, create=False, read_only=number % 4 > 0) as kb:
                    assert len(kb) % 300 == 0
            assert importer.poll() is None
        finally:
            importer.kill()
    with Retriever.open(folder) as kb:
        kb.verify()
