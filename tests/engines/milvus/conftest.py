"""Servers for the tests of the Milvus engine: one of our own, or the one that THEODOLITE_MILVUS_URL names."""

import itertools
import os
import uuid
from collections.abc import Callable, Iterator

import pytest
from tests.milvus_server import MilvusServer

NAMED = os.environ.get("THEODOLITE_MILVUS_URL", "")
"""The URL of a server, without a collection: milvus://host:19530."""

_numbers = itertools.count()
_RUN = uuid.uuid4().hex[:8]


@pytest.fixture(scope="session")
def server() -> Iterator[MilvusServer]:
    """A server that tests may stop. Each process that runs tests has its own."""
    with MilvusServer() as started:
        yield started


@pytest.fixture(scope="session")
def new_url(request: pytest.FixtureRequest) -> Callable[[], str]:
    """Return the URL of another collection each time."""
    if NAMED:
        return lambda: f"{NAMED.rstrip('/')}/test_{_RUN}_{next(_numbers)}"
    started: MilvusServer = request.getfixturevalue("server")
    return lambda: started.url(f"test_{_RUN}_{next(_numbers)}")
