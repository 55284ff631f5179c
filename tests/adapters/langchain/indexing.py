"""Indexing that is killed: each run in a process of its own, which dies at its n-th SQL statement.

    python indexing.py FOLDER MODE STEP

copies FOLDER/kb to FOLDER/0, FOLDER/STEP, ..., indexes `SECOND` there, and ends with the first run that survives. Run 0
dies when the first documents have been written and are about to be recorded.
"""

import os
import shutil
import signal
import sqlite3
import sys
from pathlib import Path
from typing import Any
from unittest.mock import patch

from langchain_core.documents import Document
from langchain_core.indexing import index

from langchain_theodolite.records import TheodoliteRecordManager
from langchain_theodolite.vectorstores import TheodoliteVectorStore
from theodolite import Retriever
from theodolite.testing import HashingEmbedder


def documents(*names: str) -> list[Document]:
    """`a1` is the first passage of source a."""
    return [Document(f"passage {name}", metadata={"source": name[0], "length": len(name)}) for name in names]


FIRST = documents("a1", "a2", "a3", "b1", "b2", "c1")
SECOND = documents("a1", "a4", "a5", "b1", "b2", "d1", "d2", "d3")
THIRD = documents("a1", "a5", "a6", "b1", "b2", "d2", "d4")


def opened(folder: Path) -> tuple[TheodoliteVectorStore, TheodoliteRecordManager]:
    """The store in a folder, and its record manager."""
    store = TheodoliteVectorStore.from_retriever(Retriever.open(folder, embedder=HashingEmbedder()))
    return store, TheodoliteRecordManager(store, "tests")


def run(folder: Path, given: list[Document], cleanup: Any) -> Any:
    """Run `index()` over small batches, and return its result."""
    store, manager = opened(folder)
    with store.kb:
        return index(
            given,
            manager,
            store,
            batch_size=3,
            cleanup=cleanup,
            source_id_key="source",
            key_encoder="blake2b",
        )


def dying(folder: Path, cleanup: str, at: int) -> None:
    """Index, and be killed when statement number `at` begins; 0 stands for the first that records sources."""
    connect, begun = sqlite3.connect, 0

    def count(statement: str) -> None:
        nonlocal begun
        begun += 1
        if begun == at or (not at and "source = excluded.source" in statement):
            os.kill(os.getpid(), signal.SIGKILL)

    def counted(*given: Any, **options: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect(*given, **options)
        connection.set_trace_callback(count)
        return connection

    with patch("sqlite3.connect", counted):
        run(folder, SECOND, cleanup)


def main(home: Path, cleanup: str, step: int) -> None:
    at = 0
    while True:
        folder = home / str(at)
        shutil.copytree(home / "kb", folder)
        child = os.fork()  # this process has opened nothing, and has one thread
        if not child:
            dying(folder, cleanup, at)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status):
            sys.exit(os.WEXITSTATUS(status))
        at += step


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
