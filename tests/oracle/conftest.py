"""Shared by the oracles: ignore warnings about random filters, and run tests with codes of 4 and 8 bits."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from theodolite.indexes.flat import sources
from theodolite.indexes.flat.codes import NARROW, quantize


@pytest.fixture(scope="module", params=["as usual", "4 bits everywhere"])
def code_bits(request: pytest.FixtureRequest) -> Iterator[None]:
    """Run a module with the codes that blocks get, and with codes of 4 bits for all of them, however loose."""
    with pytest.MonkeyPatch.context() as patched:
        if request.param != "as usual":
            patched.setattr(sources, "compressed", partial(quantize, bits=NARROW))
        yield


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.filterwarnings("ignore::theodolite.MetadataWarning"))
