"""Which of LlamaIndex's embedded vector stores keep the promises of our conformance suite.

    python benchmarks/llama_index_suites.py

Prints Markdown tables with a line per promise. theodolite must keep a promise in every form: flat and hnsw, in memory,
on disk, and reopened before each step. tests/adapters/llama_index/conformance defines the stores.
"""

import os
import sys
from pathlib import Path
from typing import Any

import pytest

if __name__ == "__main__":
    sys.path.pop(0)  # this folder, in which `langchain` would be a benchmark
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.adapters.llama_index.conformance.stores import NAMES, SPECS

from benchmarks.measure import table

_ROOT = Path(__file__).resolve().parents[1]
_RULE = "filter: "


class Outcomes:
    """A pytest plugin that records whether each store keeps each promise."""

    def __init__(self) -> None:
        self.promises: dict[str, dict[str, bool]] = {}

    def pytest_runtest_logreport(self, report: Any) -> None:
        properties = dict(report.user_properties)
        if "promise" in properties:
            stores = self.promises.setdefault(properties["promise"], {})
            stores[properties["store"]] = stores.get(properties["store"], True) and report.passed


def report(head: str, promises: dict[str, dict[str, bool]]) -> str:
    """Return a Markdown table with a line per promise, and the count at the end."""
    rows = [[name, *("yes" if stores[store] else "**no**" for store in NAMES)] for name, stores in promises.items()]
    kept = [sum(stores[store] for stores in promises.values()) for store in NAMES]
    rows.append([f"of {len(promises)}", *map(str, kept)])
    return table([head, *NAMES], rows, markdown=True)


def main() -> int:
    missing = [spec.label for spec in SPECS if not spec.installed]
    if missing:
        print(f"{', '.join(missing)}: not installed", file=sys.stderr)
        return 1
    outcomes = Outcomes()
    settings = ["-c", os.devnull, "-o", "asyncio_mode=auto", "-W", "ignore", "-p", "no:cacheprovider"]
    settings += ["--rootdir", str(_ROOT), "--import-mode=importlib", "--runxfail"]
    shown = [] if "--verbose" in sys.argv else ["-q", "--tb=no", "--no-summary"]
    pytest.main([str(_ROOT / "tests/adapters/llama_index/conformance"), *settings, *shown], plugins=[outcomes])
    print("\n" + ", ".join({spec.name: spec.version for spec in SPECS}.values()) + "\n")
    # Each filter rule is a promise. There are many, so they get their own table.
    rules = {name: stores for name, stores in outcomes.promises.items() if name.startswith(_RULE)}
    others = {name: stores for name, stores in outcomes.promises.items() if name not in rules}
    print(report("promise", others) + "\n")
    print(report("filter", {name.removeprefix(_RULE): stores for name, stores in rules.items()}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
