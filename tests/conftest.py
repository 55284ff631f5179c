"""Shared by all tests: a state folder of their own, `--sample`, and a garbage collector that skips the frameworks."""

import gc
import os
from collections.abc import Iterator
from zlib import crc32

import pytest
from hypothesis import settings
from tests import sampling


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--sample",
        action="store_true",
        help="run each test with one of its parameters, chosen by the test's name; random tests try less",
    )


def pytest_configure(config: pytest.Config) -> None:
    gc.disable()  # until everything is imported and collected: see `pytest_collection_finish`
    if config.getoption("--sample"):
        sampling.enable()
        settings.register_profile("sample", max_examples=sampling.sampled(settings().max_examples))
        settings.load_profile("sample")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep one parameter of each test, and of each adapter. The choice depends on the name: all kinds are covered."""
    if not config.getoption("--sample"):
        return
    tests: dict[str, list[pytest.Item]] = {}
    for item in items:
        parameters = item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
        name = f"{item.nodeid.partition('[')[0]} {parameters.get('adapter', '')}"
        tests.setdefault(name, []).append(item)
    kept = {same[crc32(name.encode()) % len(same)].nodeid for name, same in tests.items()}
    config.hook.pytest_deselected(items=[item for item in items if item.nodeid not in kept])
    items[:] = [item for item in items if item.nodeid in kept]


def pytest_collection_finish() -> None:
    """Exclude the imported frameworks and the collected tests from garbage collection.

    There are millions of such objects. Reading them again and again takes longer than most tests.
    """
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session", autouse=True)
def _state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the hashes of indexes that tests build out of the user's home."""
    before = os.environ.get("THEODOLITE_STATE")
    os.environ["THEODOLITE_STATE"] = str(tmp_path_factory.mktemp("state"))
    yield
    if before is None:
        del os.environ["THEODOLITE_STATE"]
    else:
        os.environ["THEODOLITE_STATE"] = before
