"""Who keeps what: the promises of our conformance suite against LlamaIndex's embedded vector stores.

    python benchmarks/llama_index_suites.py

Prints Markdown tables, one line a promise. theodolite keeps one if it does in every form: flat and hnsw, in memory, on
disk, and reopened before each step. The stores, and how each is opened: tests/adapters/llama_index/conformance.
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
    """A plugin of pytest that keeps, for each promise and store, whether all went well."""

    def __init__(self) -> None:
        self.promises: dict[str, dict[str, bool]] = {}

    def pytest_runtest_logreport(self, report: Any) -> None:
        told = dict(report.user_properties)
        if "promise" in told:
            stores = self.promises.setdefault(told["promise"], {})
            stores[told["store"]] = stores.get(told["store"], True) and report.passed


def report(head: str, promises: dict[str, dict[str, bool]]) -> str:
    """A Markdown table: one line a promise, the count below."""
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
    # Each rule for filters is a promise, and they are many: a table of their own.
    rules = {name: stores for name, stores in outcomes.promises.items() if name.startswith(_RULE)}
    others = {name: stores for name, stores in outcomes.promises.items() if name not in rules}
    print(report("promise", others) + "\n")
    print(report("filter", {name.removeprefix(_RULE): stores for name, stores in rules.items()}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
