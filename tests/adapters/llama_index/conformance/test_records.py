"""Each recorded failure is a promise of the suite, and none is ours."""

import importlib
from pathlib import Path

from tests.adapters.llama_index.conformance.records import BROKEN, LUCK, STORES, breaks, promise_of
from tests.adapters.llama_index.conformance.rules import RULES
from tests.adapters.llama_index.conformance.stores import NAMES


def promises() -> set[str]:
    found = set()
    for path in Path(__file__).parent.glob("test_*.py"):
        module = importlib.import_module(f"{__name__.rpartition('.')[0]}.{path.stem}")
        found |= {promise_of(name, {}) for name in vars(module) if name.startswith("test_")}
    return found | {promise_of("test_filter", {"rule": rule}) for rule in RULES}


def test_records_are_of_promises_and_stores() -> None:
    assert {*BROKEN, LUCK} - promises() == set()
    assert {letter for letters in BROKEN.values() for letter in letters.split()} == set(STORES)
    assert set(STORES.values()) == set(NAMES) - {"theodolite"}


def test_no_record_is_of_ours() -> None:
    assert not [promise for promise in promises() if breaks("theodolite", promise)]
