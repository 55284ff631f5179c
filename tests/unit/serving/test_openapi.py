"""Random requests of every shape, made from the OpenAPI description: no answer is a failure of the server."""

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.core.result import Ok
from tests.serving import WRITER, Server, handbook, serving

PER_OPERATION = 6
MANY = 700  # times 17 operations: more than 10,000 requests


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("served")
    with serving(handbook(folder, write=True), handbook(folder, "other", write=True)) as running:
        yield running


def check_all(server: Server, examples: int) -> int:
    """Send random requests to every operation; return how many were sent."""
    _, description = server.call("GET", "/api/v1/openapi.json", token=WRITER)
    schema = schemathesis.openapi.from_dict(description)
    schema.config.update(base_url=server.url)
    operations: list[Any] = [result.ok() for result in schema.get_all_operations() if isinstance(result, Ok)]
    assert len(operations) == 17
    sent = 0
    for operation in operations:
        names = st.sampled_from(["handbook", "handbook", "handbook", "other", "missing"])
        ids = st.sampled_from(["d/1", "d/2"]) | st.text(min_size=1)

        requests = operation.as_strategy() | operation.as_strategy(generation_mode=GenerationMode.NEGATIVE)

        @settings(
            max_examples=examples,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate],
            derandomize=True,
        )
        @given(case=requests, name=names, file=ids)
        def ask(case: Any, name: str, file: str) -> None:
            nonlocal sent
            for parameter, value in (("name", name), ("vector_store_id", name), ("file_id", file)):
                if parameter in case.path_parameters:
                    case.path_parameters[parameter] = value
            answer = case.call(base_url=server.url, headers={"Authorization": f"Bearer {WRITER}"})
            sent += 1
            assert answer.status_code not in (500, 504), (case.as_curl_command(), answer.text)
            assert str(answer.status_code) in case.operation.definition.raw["responses"], answer.status_code
            if answer.status_code >= 400:
                assert answer.json()["error"]["message"]

        ask()
    return sent


def test_no_request_makes_the_server_fail(server: Server) -> None:
    assert check_all(server, PER_OPERATION) >= 100


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_ten_thousand_requests(server: Server) -> None:
    assert check_all(server, MANY) >= 10_000
