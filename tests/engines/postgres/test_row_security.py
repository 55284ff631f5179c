"""Row-level security as a second lock: the SQL of docs/postgresql.md, with a role for each tenant that owns nothing."""

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest

from theodolite import Document, EngineError, Hits, Retriever
from theodolite.testing.postgres_server import PostgresServer

pytestmark = pytest.mark.engine

PAGE = Path(__file__).resolve().parents[3] / "docs" / "postgresql.md"
TENANTS = ("acme", "bolt")
COUNT = 300


def statements() -> str:
    """The statements of the page: they give the role acme its tenant's rows of the collection handbook."""
    found = re.search(r"## Row-level security.*?```sql\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert found
    return found[1]


def vectors(count: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, 8))


@pytest.fixture
def database(server: PostgresServer) -> Iterator[str]:
    """The name of a database with the collection handbook, protected as the page says."""
    name = f"secure_{time.monotonic_ns()}"
    with psycopg.connect(server.url(), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
        connection.execute("CREATE ROLE keeper LOGIN PASSWORD 'k'")
        for role in TENANTS:
            connection.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'p'".encode())
        connection.execute(f"ALTER DATABASE {name} OWNER TO keeper".encode())
    with psycopg.connect(server.url(database=name), autocommit=True) as connection:
        connection.execute("CREATE EXTENSION vector")
    with Retriever.open(opened_by("keeper", "k", server, name), partition="tenant", create=True) as kb:
        for tenant in TENANTS:
            documents = [Document(f"text {n}", {"tenant": tenant, "n": n}, f"d{n}") for n in range(COUNT)]
            kb.add(documents, vectors=vectors(COUNT, len(tenant)))
    with psycopg.connect(server.url("keeper", "k", name), autocommit=True) as connection:
        for tenant in TENANTS:
            connection.execute(statements().replace("acme", tenant).encode())
    yield name
    with psycopg.connect(server.url(), autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())
        for role in ("keeper", *TENANTS):
            connection.execute(f"DROP ROLE {role}".encode())


def opened_by(user: str, password: str, server: PostgresServer, database: str) -> str:
    return server.url(user, password, database) + "&collection=handbook"


def shown(hits: Hits) -> list[tuple[str, str, float]]:
    return [(hit.document.metadata["tenant"], hit.document.id, hit.score) for hit in hits]


def test_a_role_sees_its_tenant_whatever_it_asks_for(server: PostgresServer, database: str) -> None:
    query = vectors(1, 9)[0]
    with (
        Retriever.open(opened_by("keeper", "k", server, database)) as every,
        Retriever.open(opened_by("acme", "p", server, database)) as kb,
    ):
        mine, theirs = kb.scoped(tenant="acme"), kb.scoped(tenant="bolt")
        assert every.count() == 2 * COUNT
        assert (kb.count({"n": {"$gte": 0}}), mine.count(), theirs.count()) == (COUNT, COUNT, 0)
        assert {one.metadata["tenant"] for one in kb.documents()} == {"acme"}
        asked: dict[str, Any]
        for where in (None, {"n": {"$lt": 20}}, {"n": [1, 2, 3]}):
            for asked in ({"vector": query}, {"query": "text 7", "vector": query, "mode": "hybrid"}):
                asked |= {"k": 10, "where": where}
                expected = shown(every.scoped(tenant="acme").search(**asked))
                assert shown(mine.search(**asked)) == expected
                assert len(expected) == min(10, mine.count(where))
                assert not theirs.search(**asked)
                assert shown(kb.search(**asked)) == expected
        assert theirs.get(["d1"]) == []


def test_a_role_changes_its_tenant_only(server: PostgresServer, database: str) -> None:
    with (
        Retriever.open(opened_by("keeper", "k", server, database)) as every,
        Retriever.open(opened_by("acme", "p", server, database)) as kb,
    ):
        mine, theirs = kb.scoped(tenant="acme"), kb.scoped(tenant="bolt")
        mine.add([Document("new", {}, "new")], vectors=vectors(1))
        mine.update("d1", {"x": 1})
        assert mine.delete(["d2", "d3"]) == 2
        with pytest.raises(EngineError, match=r"lacks a permission: .*row-level security"):
            theirs.add([Document("new", {}, "new")], vectors=vectors(1))
        assert theirs.delete(where={"n": {"$gte": 0}}) == 0
        assert every.scoped(tenant="bolt").count() == COUNT
        assert every.scoped(tenant="acme").count() == COUNT - 1
        assert every.info()["documents"] == len(list(every.documents())) == 2 * COUNT - 1
        every.verify()


def test_the_owner_is_bound_by_it_too(server: PostgresServer, database: str) -> None:
    with psycopg.connect(server.url("keeper", "k", database), autocommit=True) as connection:
        connection.execute("DROP POLICY keeper ON theodolite.documents_1")
        assert connection.execute("SELECT count(*) FROM theodolite.documents_1").fetchall() == [(0,)]
