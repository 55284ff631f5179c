"""The server that the tests start."""

import os

import psycopg
import pytest

from theodolite.testing.postgres_server import PostgresServer

pytestmark = pytest.mark.engine


def test_a_server_starts_restarts_and_leaves_nothing_running() -> None:
    with PostgresServer() as server:
        for again in (server.restart, server.kill):
            with psycopg.connect(server.url()) as connection:
                connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
            again()
        server.start()
        with psycopg.connect(server.url()) as connection:
            found = connection.execute("SELECT extname FROM pg_extension WHERE extname = 'vector'").fetchone()
        assert found == ("vector",)
        pid = server.pid
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_wrong_password_is_refused(server: PostgresServer) -> None:
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(server.url(password="wrong"))  # noqa: S106 - not a real one
