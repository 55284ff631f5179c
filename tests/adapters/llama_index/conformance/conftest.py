"""Every promise runs against every store that is installed; recorded failures must fail."""

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.adapters.llama_index.conformance.cases import Case

collect_ignore_glob = ["test_*.py"] if find_spec("llama_index") is None else []


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "case" not in metafunc.fixturenames:
        return
    from tests.adapters.llama_index.conformance.stores import SPECS  # it imports llama_index

    params = [
        pytest.param(spec, id=spec.label, marks=[pytest.mark.filterwarnings(one) for one in spec.warnings])
        for spec in SPECS
        if spec.installed
    ]
    metafunc.parametrize("case", params, indirect=True)


@pytest.fixture
def case(request: pytest.FixtureRequest, tmp_path: Path, record_property: Any) -> "Iterator[Case]":
    from tests.adapters.llama_index.conformance.cases import Case
    from tests.adapters.llama_index.conformance.records import LUCK, breaks, promise_of

    promise, store = promise_of(request.function.__name__, request.node.callspec.params), request.param.name
    record_property("promise", promise)
    record_property("store", store)
    if breaks(store, promise):
        request.applymarker(pytest.mark.xfail(reason="on record", strict=True))
    elif promise == LUCK and store != "theodolite":
        request.applymarker(pytest.mark.xfail(reason="without locks", strict=False))
    made = Case(request.param, tmp_path / "store")
    yield made
    made.close()
