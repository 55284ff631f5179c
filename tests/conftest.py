"""What holds for all tests."""

import os
from collections.abc import Iterator

import pytest


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
