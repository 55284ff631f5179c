"""Nothing of a hostile name, id, value, filter, tenant or collection name is read as SQL: 10,000 cases."""

from collections.abc import Iterator
from urllib.parse import quote

import psycopg
import pytest
from tests.oracle.injection import TENANT, HostileDraw, Injection, hostile_names

from theodolite import Document, InputError
from theodolite.engines.postgres import PostgresEngine
from theodolite.settings import CollectionSettings
from theodolite.vectors.prepare import prepare

pytestmark = [
    pytest.mark.engine,
    pytest.mark.filterwarnings("ignore::theodolite.MetadataWarning"),  # for filters that match nothing
]

SCHEMA = "theodolite_injection"
OTHERS = """
    SELECT nspname || '.' || relname || '.' || relkind::text FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace
    WHERE nspname <> %(schema)s AND nspname NOT LIKE 'pg_t%%'
    UNION ALL SELECT rolname || rolsuper::text FROM pg_roles
    UNION ALL SELECT datname::text FROM pg_database
    UNION ALL SELECT 'functions: ' || count(*) FROM pg_proc
    UNION ALL SELECT 'innocent: ' || secret FROM innocent_injection
    ORDER BY 1
"""


@pytest.fixture
def url(database: str) -> Iterator[str]:
    """A URL without a collection's name. At the end, nothing outside of its schema may have changed."""
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("DROP TABLE IF EXISTS innocent_injection")
        connection.execute("CREATE TABLE innocent_injection (secret text)")
        connection.execute("INSERT INTO innocent_injection VALUES ('one'), ('two')")
        # The first collection brings the extension.
        PostgresEngine.open(f"{database}&schema={SCHEMA}&collection=first").close()
        before = connection.execute(OTHERS, {"schema": SCHEMA}).fetchall()
        yield f"{database}&schema={SCHEMA}&collection="
        after = connection.execute(OTHERS, {"schema": SCHEMA}).fetchall()
        connection.execute("DROP TABLE innocent_injection")
        connection.execute(f"DROP SCHEMA {SCHEMA} CASCADE")
        assert after == before


@pytest.mark.parametrize("seed", range(8))
def test_hostile_calls_agree_with_the_reference(url: str, seed: int) -> None:
    beside = PostgresEngine.open(f"{url}beside")
    beside.add([Document("text", {"n": 1}, "a")], *prepare([[1.0, 0.0]], beside.space))
    engine = PostgresEngine.open(f"{url}hostile", CollectionSettings(partition=TENANT))
    injection = Injection(engine, HostileDraw(seed))
    injection.run(1200)
    assert sum(injection.made.values()) >= 1250
    assert not injection.made["unsupported"]
    assert [document.id for document, _ in beside.documents()] == ["a"]
    engine.close()
    beside.close()


def test_collections_with_hostile_names_are_kept_apart(url: str) -> None:
    kept = []
    for number, name in enumerate(hostile_names(60)):
        try:
            engine = PostgresEngine.open(url + quote(name))
        except InputError:
            assert not name or "\0" in name
            continue
        engine.add([Document(name, {}, name)], *prepare([[1.0, float(number)]], engine.space))
        engine.close()
        kept.append(name)
    assert len(kept) > 40
    for name in kept:
        engine = PostgresEngine.open(url + quote(name), create=False)
        assert [(one.id, one.text) for one, _ in engine.documents()] == [(name, name)]
        engine.close()
