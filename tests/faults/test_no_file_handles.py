"""Without file handles, verify() says that it could not check; it never reports damage."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from theodolite import Document, Retriever
from theodolite.indexes.flat.codes import BLOCK

CODE = """
import os, resource, sys
from theodolite import CorruptionError, EngineError, Retriever
kb = Retriever.open(sys.argv[1], read_only=True)
kb.verify()
outcomes = []
for free in (0, 1, 2, 3, 5, 9):
    used = len(os.listdir("/proc/self/fd")) - 1
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + free, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    try:
        kb.verify()
        outcomes.append("sound")
    except EngineError as error:
        outcomes.append("unknown")
        message = str(error)
        assert not any(word in message for word in ("damage", "Restore", "repair")), message
    try:
        assert kb.count() == int(sys.argv[2])
    except EngineError as error:
        assert "Restore" not in str(error), error
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
print(*outcomes)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="counts file handles in /proc")
@pytest.mark.parametrize(("rows", "index"), [(300, "hnsw:M=4,ef_construction=10"), (BLOCK + 1, "flat")])
def test_verify_without_file_handles(tmp_path: Path, rows: int, index: str) -> None:
    folder = tmp_path / "kb"
    with Retriever.open(folder) as kb:
        documents = [Document(f"t{i}", {"n": i % 5}, f"{i}") for i in range(rows)]
        kb.add(documents, vectors=np.random.default_rng(0).standard_normal((rows, 4)), batch_size=None)
        kb.reindex(index)
    done = subprocess.run(
        [sys.executable, "-c", CODE, str(folder), str(rows)], capture_output=True, text=True, check=False, timeout=300
    )
    assert not done.returncode, done.stderr
    outcomes = done.stdout.split()
    assert outcomes[0] == "unknown"
    assert outcomes[-1] == "sound"
