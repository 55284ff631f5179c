"""Which embedded vector stores pass LangChain's standard tests and our promises.

    python benchmarks/langchain_suites.py

Every store has its default settings. Prints Markdown tables with a line per test. The async variants of the standard
tests have their own lines.
"""

import functools
import os
import sys
from pathlib import Path
from typing import Any

import pytest

if __name__ == "__main__":
    sys.path.pop(0)  # this folder, in which `langchain` would be a benchmark
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from langchain_core.vectorstores import VectorStore
from langchain_tests.integration_tests import VectorStoreIntegrationTests

from benchmarks.langchain_peers import PEERS, Opening, open_chroma, open_faiss
from benchmarks.langchain_promises import Promises
from benchmarks.measure import table

STORES: dict[str, Opening] = {
    "theodolite": PEERS["theodolite"].open,
    "InMemoryVectorStore": PEERS["InMemoryVectorStore"].open,
    "FAISS": functools.partial(open_faiss, plain=True),
    "Chroma": functools.partial(open_chroma, plain=True),
    "Qdrant": PEERS["Qdrant"].open,
}
_SIZE = 6  # of the standard tests' embeddings


def _standard(opening: Opening) -> type:
    class Standard(VectorStoreIntegrationTests):
        @pytest.fixture
        def vectorstore(self, tmp_path: Path) -> VectorStore:
            return opening(tmp_path / "store", self.get_embeddings(), _SIZE)

    return Standard


for _name, _opening in STORES.items():
    globals()[f"TestStandard_{_name}"] = _standard(_opening)
    globals()[f"TestPromises_{_name}"] = type(
        "TestPromises", (Promises,), {"peer": PEERS[_name], "opening": staticmethod(_opening)}
    )


class Outcomes:
    """A pytest plugin that records the outcome of each test, by suite and store."""

    def __init__(self) -> None:
        self.suites: dict[str, dict[str, dict[str, bool]]] = {"Standard": {}, "Promises": {}}

    def pytest_runtest_logreport(self, report: Any) -> None:
        _, group, test = report.nodeid.split("::")
        suite, store = group.removeprefix("Test").split("_")
        tests = self.suites[suite].setdefault(test.split("[")[0].removeprefix("test_"), {})
        tests[store] = tests.get(store, True) and report.passed


def report(suite: dict[str, dict[str, bool]]) -> str:
    """Return a line per test and a column per store; the last line counts passes."""
    rows = [[test, *("yes" if held[name] else "**no**" for name in STORES)] for test, held in suite.items()]
    passed = [sum(held[name] for held in suite.values()) for name in STORES]
    rows.append([f"of {len(suite)}", *map(str, passed)])
    return table(["test", *STORES], [[row[0].replace("_", " "), *row[1:]] for row in rows], markdown=True)


def main() -> int:
    outcomes = Outcomes()
    settings = ["-c", os.devnull, "-o", "asyncio_mode=auto", "-W", "ignore", "-p", "no:cacheprovider"]
    shown = [] if "--verbose" in sys.argv else ["-q", "--tb=no", "--no-summary"]
    pytest.main([__file__, "--rootdir", str(Path(__file__).parents[1]), *settings, *shown], plugins=[outcomes])
    print("\n" + ", ".join(PEERS[name].version for name in STORES) + "\n")
    for name, suite in outcomes.suites.items():
        print(f"{name}\n\n{report(suite)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
