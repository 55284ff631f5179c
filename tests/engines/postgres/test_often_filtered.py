"""Fields that are often filtered by ranges get indexes from `compact()`, and lose them when no one filters by them."""

import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from itertools import count
from typing import Any

import numpy as np
import psycopg
import pytest
from tests.engines.postgres.test_range_indexes import HOSTILE

from theodolite import Document
from theodolite.engines.postgres import PostgresEngine
from theodolite.engines.postgres.often_filtered import MAX_FIELDS, MIN_DOCUMENTS, NOTE, OFTEN, range_fields
from theodolite.engines.postgres.where import RANGE, compile_filter
from theodolite.filters import Compare, Filter, parse
from theodolite.protocols import Request, Scope
from theodolite.settings import CollectionSettings
from theodolite.types import Space
from theodolite.vectors.prepare import prepare

pytestmark = pytest.mark.engine

SCHEMA = "theodolite_often"
RARE = Compare("year", "$gte", MIN_DOCUMENTS - 5)
_numbers = count()


@pytest.fixture(scope="module")
def large(database: str) -> Iterator[str]:
    """A collection that is just large enough. Tests leave it without indexes and counts."""
    location = f"{database}&schema={SCHEMA}_large&collection=large"
    engine = PostgresEngine.open(location)
    metadata = [{"year": number, **dict.fromkeys(HOSTILE, number)} for number in range(MIN_DOCUMENTS)]
    documents = [Document("text", each, f"d{number}") for number, each in enumerate(metadata)]
    vectors = np.random.default_rng(1).standard_normal((MIN_DOCUMENTS, 2))
    engine.add(documents, *prepare(vectors, engine.space))
    engine.close()
    yield location
    _drop(database, f"{SCHEMA}_large")


@pytest.fixture
def collection(large: str) -> Iterator[str]:
    yield large
    PostgresEngine.open(f"{large}&indexed=").close()
    with PostgresEngine.open(large)._connections.outside() as connection:
        connection.execute(f"TRUNCATE {SCHEMA}_large.notes".encode())


@pytest.fixture
def small(database: str) -> Iterator[str]:
    yield f"{database}&schema={SCHEMA}&collection=c{next(_numbers)}"
    _drop(database, SCHEMA)


def _drop(database: str, schema: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE".encode())


def counts(engine: PostgresEngine) -> dict[str, int]:
    return {field: searches for field, (searches, _) in json.loads(engine.read_note(NOTE) or "{}").items()}


def plan(engine: PostgresEngine, tree: Filter) -> str:
    condition = compile_filter(tree)
    with engine._connections.outside() as connection:
        query = f"EXPLAIN SELECT key FROM {engine._collection.documents} WHERE {condition.sql}"  # noqa: S608 - the engine's own
        return "\n".join(row[0] for row in connection.execute(query.encode(), condition.parameters).fetchall())


def request(where: Filter, scope: Scope | None = None) -> Request:
    vectors, _ = prepare([[1.0, 0.5]], Space("cosine", 2))
    return Request(vectors, k=3, where=where, scope=scope)


def search_often(engine: PostgresEngine, *trees: Filter, searches: int = OFTEN) -> None:
    for _ in range(searches):
        for tree in trees:
            engine.count(tree)


def test_an_often_filtered_field_gets_an_index_that_the_planner_uses(
    collection: str, caplog: pytest.LogCaptureFixture
) -> None:
    engine = PostgresEngine.open(collection)
    before = engine.search(request(RARE))[0]
    search_often(engine, RARE, searches=OFTEN - 2)
    engine.compact()
    assert engine.info()["indexed"] == {}
    assert "Seq Scan" in plan(engine, RARE)
    assert len(list(engine.documents(RARE))) == 5
    with caplog.at_level(logging.INFO, "theodolite.engines.postgres"):
        engine.compact()
    assert engine.info()["indexed"] == {"year": "often filtered"}
    assert "building indexes for ranges of 'year' (often filtered)" in caplog.text
    assert "Seq Scan" not in plan(engine, RARE)
    after = engine.search(request(RARE))[0]
    assert [hit.id for hit in after.documents] == [hit.id for hit in before.documents]
    assert after.scores == before.scores
    assert engine.count(RARE) == 5
    with engine._connections.single() as connection:  # a prepared plan would not notice the new index
        prepared = connection.execute("SELECT statement FROM pg_prepared_statements").fetchall()
    assert not [statement for (statement,) in prepared if RANGE in statement]
    assert engine.verify().sound
    engine.close()


def test_processes_add_their_counts(collection: str) -> None:
    script = (
        "import sys\n"
        "from theodolite.engines.postgres import PostgresEngine\n"
        "from theodolite.filters import Compare\n"
        "engine = PostgresEngine.open(sys.argv[1])\n"
        "for _ in range(60): engine.count(Compare('year', '$lt', 3))\n"
        "engine.close()\n"
    )
    children = [subprocess.Popen([sys.executable, "-c", script, collection]) for _ in range(2)]
    assert [child.wait() for child in children] == [0, 0]
    engine = PostgresEngine.open(collection)
    assert counts(engine) == {"year": 120}
    engine.compact()
    assert engine.info()["indexed"] == {"year": "often filtered"}
    engine.close()


def test_hostile_names_and_at_most_four_fields(collection: str) -> None:
    engine = PostgresEngine.open(collection)
    trees = [Compare(name, "$lt", 3) for name in HOSTILE]
    search_often(engine, *trees)
    search_often(engine, *trees[: MAX_FIELDS - 1], searches=10)
    engine.compact()
    first = [*HOSTILE[: MAX_FIELDS - 1], min(HOSTILE[MAX_FIELDS - 1 :])]
    assert engine.info()["indexed"] == dict.fromkeys(sorted(first), "often filtered")
    assert counts(engine).keys() == set(map(_escaped, HOSTILE))
    for tree in trees:
        assert ("Seq Scan" not in plan(engine, tree)) == (tree.field in first)
        assert engine.count(tree) == 3
    search_often(engine, *trees[-2:], searches=3 * OFTEN)
    engine.compact()
    assert list(engine.info()["indexed"]) == sorted(first)  # indexes in use are not exchanged
    engine.close()


def _escaped(name: str) -> str:
    return name.replace("\x01", "\x01\x02\x03")


def test_what_is_declared_and_what_is_forgotten(collection: str) -> None:
    def indexed(query: str = "", *, compact: bool = False) -> Any:
        engine = PostgresEngine.open(collection + query)
        if compact:
            engine.compact()
        found = engine.info()["indexed"]
        engine.close()
        return found

    engine = PostgresEngine.open(collection)
    search_often(engine, RARE, Compare("%s", "$gt", 1))
    engine.close()
    often = {"%s": "often filtered", "year": "often filtered"}
    assert indexed(compact=True) == often
    assert indexed("&indexed=a,b") == {**often, "a,b": "declared"}
    assert indexed("&indexed=year", compact=True) == {"%s": "often filtered", "year": "declared"}
    engine = PostgresEngine.open(collection)
    with engine._connections.outside() as connection:
        connection.execute("SELECT set_config('search_path', %s, false)", (f"{SCHEMA}_large",))
        earlier = "replace(value, current_date::text, (current_date - 32)::text)"
        update = f"UPDATE notes SET value = {earlier} WHERE name = %s AND value <> {earlier}"  # noqa: S608 - our own
        assert connection.execute(update.encode(), (NOTE,)).rowcount == 1
    engine.close()
    assert indexed(compact=True) == {"year": "declared"}
    assert indexed("&indexed=", compact=True) == {}
    engine = PostgresEngine.open(f"{collection}&indexed=")
    search_often(engine, RARE)
    engine.compact()
    assert counts(engine) == {"year": OFTEN}  # and what is forgotten is gone
    assert engine.info()["indexed"] == {}
    engine.close()


def test_a_small_collection_is_scanned(small: str) -> None:
    engine = PostgresEngine.open(small)
    engine.add([Document("text", {"year": 1}, "a")], *prepare([[1.0, 0.0]], engine.space))
    search_often(engine, RARE)
    engine.compact()
    assert (counts(engine), engine.info()["indexed"]) == ({"year": OFTEN}, {})
    engine.close()


def test_readers_and_scopes_write_nothing(small: str) -> None:
    settings = CollectionSettings(partition="tenant")
    engine = PostgresEngine.open(small, settings)
    scope = Scope(partition="acme")
    engine.add([Document("text", {"tenant": "acme", "year": 1}, "a")], *prepare([[1.0, 0.0]], engine.space))
    for _ in range(OFTEN + 1):
        engine.search(request(RARE, scope))
        engine.count(RARE, scope=scope)
    engine.close()
    reader = PostgresEngine.open(small, settings, read_only=True)
    search_often(reader, RARE, searches=OFTEN + 1)
    assert reader.note_names() == []
    reader.close()


def test_counts_that_cannot_be_written_are_no_error(small: str) -> None:
    engine = PostgresEngine.open(small)
    engine.add([Document("text", {"year": 1}, "a")], *prepare([[1.0, 0.0]], engine.space))
    engine.write_note(NOTE, "damaged")
    search_often(engine, RARE, searches=OFTEN + 1)
    engine.compact()
    engine.write_note(NOTE, "{}")
    with engine._connections.outside() as connection:  # another process is saving
        connection.execute("BEGIN")
        connection.execute(f"UPDATE {SCHEMA}.notes SET name = name".encode())  # noqa: S608 - our own
        search_often(engine, RARE, searches=OFTEN)
        assert counts(engine) == {}
    engine.close()
    engine = PostgresEngine.open(small)
    assert counts(engine) == {"year": 2 * OFTEN + 1}
    engine.close()


def test_which_fields_a_filter_compares() -> None:
    tree = parse({"a": 1, "b": {"$gt": 1}, "$or": [{"c": {"$between": [1, 2]}}, {"$not": {"d": {"$lt": 2}}}]})
    assert tree is not None
    assert range_fields(tree) == {"b", "c"}
    assert range_fields(Compare("\ud800", "$gt", 1) & Compare("x" * 100_000, "$gt", 1)) == set()
