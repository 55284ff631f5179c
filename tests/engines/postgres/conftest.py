"""Servers for the tests of the PostgreSQL engine: one of our own, and the one that THEODOLITE_POSTGRES_URL names."""

import os
from collections.abc import Iterator

import pytest

from theodolite.testing.postgres_server import PostgresServer

NAMED = os.environ.get("THEODOLITE_POSTGRES_URL", "")


@pytest.fixture(scope="session")
def server() -> Iterator[PostgresServer]:
    """A server that tests may restart. Each process that runs tests has its own."""
    with PostgresServer() as started:
        yield started


@pytest.fixture(scope="session", params=["own", "named"] if NAMED else ["own"])
def database(request: pytest.FixtureRequest) -> str:
    """The URL of a database, with the right to create schemas."""
    if request.param == "named":
        return NAMED
    started: PostgresServer = request.getfixturevalue("server")
    return started.url()
