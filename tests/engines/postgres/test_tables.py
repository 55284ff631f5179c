"""Documents spread over several tables by their partition: everything works as with one."""

from collections.abc import Iterator
from itertools import count
from typing import Any

import numpy as np
import psycopg
import pytest
from tests.oracle.congruence import TENANTS, Drawn, compare, fill

from theodolite import ConfigError, CorruptionError, Document, InputError, Retriever
from theodolite.engines.local import LocalEngine
from theodolite.engines.postgres import PostgresEngine
from theodolite.protocols import Request, Scope
from theodolite.settings import CollectionSettings
from theodolite.vectors.prepare import prepare

pytestmark = [pytest.mark.engine, pytest.mark.filterwarnings("ignore::theodolite.MetadataWarning")]

SCHEMA = "theodolite_tables"
SETTINGS = CollectionSettings("cosine", partition="tenant")
_numbers = count()


@pytest.fixture
def location(database: str) -> Iterator[str]:
    yield f"{database}&schema={SCHEMA}&collection=c{next(_numbers)}"
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")


def filled(location: str, drawn: Drawn) -> PostgresEngine:
    engine = PostgresEngine.open(f"{location}&tables=3&indexed=share&indexed=updated&indexed=author.age", SETTINGS)
    fill(engine, drawn)
    return engine


def test_the_answers_are_those_of_the_local_engine(location: str, database: str) -> None:
    drawn = Drawn(23, 2000)
    local, engine = LocalEngine.open(None, SETTINGS), filled(location, drawn)
    fill(local, drawn)
    for number in range(60):
        request = drawn.request(local)
        for expected, found in zip(local.search(request), engine.search(request), strict=True):
            compare(expected, found, f"request {number}: {request}")
    assert engine.count(scope=Scope(partition="acme")) == local.count(scope=Scope(partition="acme"))
    assert engine.verify().checked["documents"] == local.count()
    assert (engine.info()["tables"], engine.info()["indexed"]) == (
        3,
        dict.fromkeys(["author.age", "share", "updated"], "declared"),
    )
    assert engine.info()["bytes"] > 2000 * 4 * 32
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("SELECT set_config('search_path', %s, false)", (f"{SCHEMA}, public",))
        tables = "SELECT tableoid::regclass::text, array_agg(DISTINCT partition) FROM documents_1 GROUP BY 1"
        spread = [tenants for _, tenants in connection.execute(tables).fetchall()]
        assert len(spread) > 1  # and each tenant is in one of them
        assert sum(len(tenants) for tenants in spread) == len(TENANTS)
        connection.execute("UPDATE documents_1 SET tokens = '{}' WHERE partition = %s", ('"acme"',))
    with pytest.raises(CorruptionError, match="damaged columns"):
        engine.verify()
    assert engine.repair().sound
    assert engine.verify().sound
    assert engine.delete([local_id for local_id, *_ in _ids(engine, "acme")[:5]], scope=Scope(partition="acme")) == 5
    assert engine.compact().bytes_after > 1000 * 4 * 32
    local.close()
    engine.close()


def _ids(engine: PostgresEngine, tenant: str) -> list[tuple[str, Any]]:
    return [(document.id, vector) for document, vector in engine.documents(scope=Scope(partition=tenant))]


def test_each_table_has_its_part_of_an_index(location: str, database: str) -> None:
    drawn = Drawn(5, 3000)
    engine = filled(location, drawn)
    queries, _ = prepare(drawn.raw[:30] + 0.2 * np.random.default_rng(0).standard_normal((30, 32)), engine.space)
    for spec in ("hnsw", "hnsw:M=24"):  # the second replaces the first
        engine.reindex(spec, target_recall=0.95)
        engine.close()
        engine = PostgresEngine.open(location)
        for scope in (None, Scope(partition="bolt"), Scope(partition=7)):
            exact = engine.search(Request(queries, 10, scope=scope, exact=True))
            found = engine.search(Request(queries, 10, scope=scope))
            assert all(len(answer.documents) == 10 for answer in found)
            pairs = zip(exact, found, strict=True)
            shared = [len({one.id for one in a.documents} & {one.id for one in b.documents}) for a, b in pairs]
            assert np.mean(shared) >= 9
            assert found[0].trace.path == ("index" if scope is None else "scope")
    with psycopg.connect(database, autocommit=True) as connection:
        indexes = connection.execute(
            "SELECT indexname FROM pg_indexes WHERE schemaname = %s AND indexname LIKE '%%hnsw%%'", (SCHEMA,)
        ).fetchall()
        assert len(indexes) == 3
        assert engine.verify().sound
        connection.execute(f"DROP INDEX {SCHEMA}.{indexes[0][0]}")
    with pytest.raises(CorruptionError, match="is missing"):
        engine.verify()
    engine.reindex("flat")
    assert engine.verify().sound
    assert engine.search(Request(queries, 10))[0].trace.path == "scan"
    engine.close()


def test_the_number_is_settled_when_a_collection_is_created(location: str) -> None:
    for tables in ("1", "0", "257", "x", "-2", ""):
        with pytest.raises(InputError, match="expected a number from 2 to 256"):
            PostgresEngine.open(f"{location}&tables={tables}", SETTINGS)
    for refuse in (PostgresEngine.open, PostgresEngine.check):
        with pytest.raises(ConfigError, match="Name the field with partition="):
            refuse(f"{location}&tables=4", CollectionSettings())
    PostgresEngine.open(f"{location}&tables=4", SETTINGS).close()
    PostgresEngine.open(f"{location}&tables=4").close()
    PostgresEngine.open(location).close()
    for refuse in (PostgresEngine.open, PostgresEngine.check):
        with pytest.raises(ConfigError, match="has 4 tables of documents, not 5"):
            refuse(f"{location}&tables=5")
    other = f"{location}x"
    PostgresEngine.open(other, SETTINGS).close()
    with pytest.raises(ConfigError, match="has one table of documents, not 4"):
        PostgresEngine.open(f"{other}&tables=4")


@pytest.mark.parametrize(("tables", "count"), [("", 1), ("&tables=2", 2)])
def test_what_filters_read_stays_in_its_row(location: str, database: str, tables: str, count: int) -> None:
    """Texts leave a long row first. A scan that fetches tokens from elsewhere takes several times as long."""
    with Retriever.open(location + tables, embedder=None, partition="tenant", create=True) as kb:
        kb.add([Document("text", {"tenant": "a"}, "d")], vectors=np.ones((1, 384)))
    stored = (
        "SELECT attname, attstorage, count(*) FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = attrelid "
        "WHERE relnamespace = %s::regnamespace AND relkind = 'r' AND attname = ANY(%s) GROUP BY 1, 2 ORDER BY 1"
    )
    with psycopg.connect(database, autocommit=True) as connection:
        found = connection.execute(stored, (SCHEMA, ["embedding", "fields", "tokens", "words"])).fetchall()
    storage = {"embedding": "p", "fields": "m", "tokens": "m", "words": "x"}
    assert found == [(name, letter, count) for name, letter in storage.items()]


def test_a_collection_is_copied_into_tables_and_back(location: str, tmp_path: Any) -> None:
    with Retriever.open(tmp_path / "kb", embedder=None, partition="tenant") as kb:
        drawn = Drawn(3, 300)
        kb.add(drawn.documents, vectors=drawn.raw)
        assert kb.copy_to(f"{location}&tables=8").documents == 300
    with Retriever.open(location, embedder=None) as kb:
        assert kb.info()["tables"] == 8
        assert kb.copy_to(tmp_path / "back").documents == 300
        kb.backup(tmp_path / "backup")
    with Retriever.open(tmp_path / "backup", embedder=None) as kb:
        assert kb.count() == 300
