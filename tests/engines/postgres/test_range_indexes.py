"""Indexes for range filters: the same answers as without, and the planner uses them."""

import random
from collections.abc import Iterator
from datetime import date, timedelta
from itertools import count
from typing import Any
from urllib.parse import urlencode

import psycopg
import pytest

from theodolite import Document, InputError, MetadataWarning
from theodolite.engines.postgres import PostgresEngine
from theodolite.engines.postgres.where import compile_filter
from theodolite.filters import Compare, Filter, matches, parse
from theodolite.metadata import MAX_FIELD
from theodolite.vectors.prepare import prepare

pytestmark = pytest.mark.engine

SCHEMA = "theodolite_ranges"
HOSTILE = ["it's", 'a"b', "%s", "\\'; DROP TABLE x; --", "naïve.path", "{0}", "a,b", "\x01"]
_numbers = count()


@pytest.fixture
def location(database: str) -> Iterator[str]:
    yield f"{database}&schema={SCHEMA}&collection=c{next(_numbers)}"
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")


def opened(location: str, *fields: str, **options: Any) -> PostgresEngine:
    return PostgresEngine.open(f"{location}&{urlencode([('indexed', field) for field in fields])}", **options)


def store(engine: PostgresEngine, stored: dict[str, dict[str, Any]]) -> None:
    documents = [Document("text", metadata, name) for name, metadata in stored.items()]
    engine.add(documents, *prepare([[1.0, 0.0]] * len(documents), engine.space))


def plan(database: str, location: str, tree: Filter) -> str:
    condition = compile_filter(tree)
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("SELECT set_config('search_path', %s, false)", (f"{SCHEMA}, public",))
        name = location.rpartition("=")[2]
        ((number,),) = connection.execute("SELECT number FROM collections WHERE name = %s", (name,)).fetchall()
        query = f"EXPLAIN SELECT key FROM documents_{number} WHERE {condition.sql}"  # noqa: S608 - the engine's own
        rows = connection.execute(query.encode(), condition.parameters)
        return "\n".join(row[0] for row in rows.fetchall())


NUMBERS: list[Any] = [0, -0.0, 0.1, 5e-324, -1.5, 1 << 52, *range((1 << 53) - 2, (1 << 53) + 3), 2.0**53, 1e300, -1e300]
NUMBERS += [10**300, 10**300 + 1, 10**300 - 1, 1.7e308, -1.7e308, 10**400, 10**400 + 1, -(10**400), 10**4_200, True]
DATES: list[Any] = [date(1, 1, 1), date(9999, 12, 31), date(2025, 3, 1), "2025-03-01", "2025-03-01T00:00:00.000001"]
_draw = random.Random(1)
_long = "".join(chr(_draw.choice([*range(0x4E00, 0x9FFF), *range(0x20000, 0x2A000)])) for _ in range(3_000))
TEXTS: list[Any] = [
    "",
    "a",
    "a\0",
    "a\1b",
    "b" * 499,
    "b" * 500,
    "b" * 501,
    "b" * 499 + "c",
    "b" * 500 + "c",
    "\0" * 400,
]
TEXTS += [_long, _long + "x", _long[:500], _long[:499]]


def test_ranges_are_those_of_the_reference(location: str) -> None:
    values = [*NUMBERS, *DATES, *TEXTS, None, [1, 2]]
    stored = {f"d{number:03}": {"f": value, "g": number} for number, value in enumerate(values)}
    stored["without"] = {"g": -1}
    engine = opened(location, "f")
    store(engine, stored)
    assert engine.info()["indexed"] == {"f": "declared"}
    passed = 0
    for bound in values[:-2]:
        for order in ("$gt", "$gte", "$lt", "$lte"):
            tree = Compare("f", order, bound)
            expected = [name for name, metadata in stored.items() if matches(tree, metadata, name)]
            assert [document.id for document, _ in engine.documents(tree)] == expected, tree
            passed += len(expected)
    assert passed > 1000
    assert engine.verify().sound
    engine.close()


WHERES: list[dict[str, Any]] = [
    {"year": {"$gte": 2995}},
    {"year": {"$gt": 2990.5, "$lt": 2999}},
    {"year": {"$lt": 5}},
    {"day": {"$gte": "1908-03-12"}},
    {"day": {"$lt": date(1900, 1, 5)}},
    {"name": {"$gt": "name 02994"}},
    {"author's.age": {"$gte": 2995}},
    {"big": {"$gt": 2995 << 60}},
]


def test_the_planner_uses_them(database: str, location: str) -> None:
    def metadata(number: int) -> dict[str, Any]:
        day = date(1900, 1, 1) + timedelta(days=number)
        values = {"year": number, "day": str(day), "name": f"name {number:05}", "big": number << 60}
        return {**values, "author's": {"age": number}}

    stored = {f"d{number}": metadata(number) for number in range(3_000)}
    engine = PostgresEngine.open(location)
    store(engine, stored)
    trees = [tree for tree in map(parse, WHERES) if tree is not None]
    counts = [engine.count(tree) for tree in trees]
    assert counts == [sum(matches(tree, one) for one in stored.values()) for tree in trees]
    assert all(3 <= count <= 10 for count in counts)
    assert all("Seq Scan" in plan(database, location, tree) for tree in trees)
    engine.close()
    engine = opened(location, *{field for where in WHERES for field in where})
    for tree, counted in zip(trees, counts, strict=True):
        assert "Seq Scan" not in plan(database, location, tree), tree
        assert engine.count(tree) == counted
    engine.close()


def test_the_url_says_which_fields(database: str, location: str) -> None:
    def fields(engine: PostgresEngine) -> list[str]:
        found: dict[str, str] = engine.info()["indexed"]
        engine.close()
        assert set(found.values()) <= {"declared"}
        return list(found)

    assert fields(opened(location, "a", "b", "a")) == ["a", "b"]
    assert fields(PostgresEngine.open(location)) == ["a", "b"]
    assert fields(opened(location, "b", *HOSTILE)) == sorted(["b", *HOSTILE])
    assert fields(opened(location, "c", read_only=True)) == sorted(["b", *HOSTILE])
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("SELECT set_config('search_path', %s, false)", (f"{SCHEMA}, public",))
        connection.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid::regclass::text LIKE '%_range_%'")
    assert fields(PostgresEngine.open(location)) == []  # builds were interrupted
    assert fields(opened(location, "b")) == ["b"]
    assert fields(opened(location, "")) == []
    with psycopg.connect(database, autocommit=True) as connection:
        left = "SELECT FROM pg_class WHERE relnamespace = %s::regnamespace AND relname LIKE 'documents%%range%%'"
        assert not connection.execute(left, (SCHEMA,)).fetchall()


def test_another_build_is_not_waited_for(database: str, location: str) -> None:
    PostgresEngine.open(location).close()
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("SELECT set_config('search_path', %s, false)", (SCHEMA,))
        connection.execute("SELECT pg_advisory_lock(%s, max(number)) FROM collections", (0x7E0D,))
        engine = opened(location, "a")
        assert engine.info()["indexed"] == {}
    engine.compact()
    assert engine.info()["indexed"] == {"a": "declared"}
    engine.close()


def test_names_that_no_document_has(location: str) -> None:
    for name in ("$gt", "x" * (MAX_FIELD + 1)):
        with pytest.raises(InputError, match=r"indexed=.* is not possible"):
            opened(location, name)
    engine = opened(location, "year")  # documents may come
    store(engine, {"a": {"year": 2024, "author": {"name": "x"}}})
    engine.close()
    with pytest.warns(MetadataWarning, match=r"indexed='yaer' in the URL: no document has .* Did you mean 'year'\?"):
        opened(location, "yaer").close()
    with pytest.raises(InputError, match=r"Did you mean 'indexed'\?"):
        PostgresEngine.open(f"{location}&indexes=year")
