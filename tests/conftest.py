"""What all tests share: a state folder of their own, and `--sample`."""

import os
from collections.abc import Iterator

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--sample",
        type=int,
        metavar="N",
        help="run each test with at most N of its parameters: the first, and the last ones; unset runs all",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect the parameters in the middle of long lists. Every test function stays."""
    count = config.getoption("--sample")
    if count is None:
        return
    tests: dict[str, list[pytest.Item]] = {}
    for item in items:
        tests.setdefault(item.nodeid.partition("[")[0], []).append(item)
    kept = {item.nodeid for same in tests.values() for item in [same[0], *same[1:][max(0, len(same) - count) :]]}
    config.hook.pytest_deselected(items=[item for item in items if item.nodeid not in kept])
    items[:] = [item for item in items if item.nodeid in kept]


@pytest.fixture(scope="session", autouse=True)
def _state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Hashes of the indexes that tests build are not kept in the home of whoever runs them."""
    before = os.environ.get("THEODOLITE_STATE")
    os.environ["THEODOLITE_STATE"] = str(tmp_path_factory.mktemp("state"))
    yield
    if before is None:
        del os.environ["THEODOLITE_STATE"]
    else:
        os.environ["THEODOLITE_STATE"] = before
