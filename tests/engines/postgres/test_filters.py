"""Filters as SQL agree with the reference evaluation."""

import re
from collections.abc import Iterator
from datetime import date
from typing import Any

import psycopg
import pytest
from tests.oracle.filters import Draw, Metadata

from theodolite import Document, FilterError
from theodolite.engines.postgres import PostgresEngine
from theodolite.engines.postgres.where import _cased, _variants
from theodolite.engines.remote.escaping import escape, unescape
from theodolite.filters import Compare, Contains, F, Filter, Ids, In, Like, matches, parse
from theodolite.vectors.prepare import prepare

pytestmark = [pytest.mark.engine, pytest.mark.filterwarnings("ignore::theodolite.MetadataWarning")]

SCHEMA = "theodolite_filters"


@pytest.fixture
def engine(database: str) -> Iterator[PostgresEngine]:
    opened = PostgresEngine.open(f"{database}&schema={SCHEMA}&collection=filters")
    yield opened
    opened.close()
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(f"DROP SCHEMA {SCHEMA} CASCADE")


def store(engine: PostgresEngine, stored: dict[str, Metadata]) -> None:
    documents = [Document("text", metadata, name) for name, metadata in stored.items()]
    engine.add(documents, *prepare([[1.0, 0.0]] * len(documents), engine.space))


def passing(engine: PostgresEngine, tree: Filter | None) -> list[str]:
    found = [document.id for document, _ in engine.documents(tree)]
    assert engine.count(tree) == len(found)
    return found


@pytest.mark.parametrize("seed", range(4))
def test_random_filters_agree(engine: PostgresEngine, seed: int) -> None:
    draw = Draw(seed)
    stored = {f"d{number:03}": draw.metadata() for number in range(60)}
    store(engine, stored)
    pairs = 0
    while pairs < 3_000:
        where = draw.where()
        tree = parse(where)
        expected = [name for name, metadata in stored.items() if matches(tree, metadata, name)]
        assert passing(engine, tree) == expected, where
        pairs += len(stored)


def test_lists_of_dates_are_equal_as_in_python(engine: PostgresEngine) -> None:
    day = date(2025, 3, 1)
    dates = [day, "2025-03-01", "2025-03-01T00:00", "20250301", 1]
    lists = [[one, other] for one in dates for other in dates]
    values: list[object] = [*lists, *([[1, *pair]] for pair in lists), [[day, day], ["2025-03-01", day]]]
    stored = {f"d{number:03}": {"f": value} for number, value in enumerate(values)}
    store(engine, stored)
    for value in values:
        for tree in (In("f", (value,)), In("f", (value, "x")), Contains("f", value), ~In("f", (value,))):
            assert passing(engine, tree) == [name for name, one in stored.items() if matches(tree, one)], tree


RARE = ["\0", "\1", "\2", "\3", "a", "\U000f0000", "\U000f0001"]


def test_characters_that_postgresql_refuses_count_as_one(engine: PostgresEngine) -> None:
    texts = ["", *RARE, *(one + other for one in RARE for other in RARE), "a\0b\1\2", "\0\0\2", "x\0A"]
    stored = {f"d{number:03}": {"f": text} for number, text in enumerate(texts)}
    store(engine, stored)
    trees: list[Filter] = [Contains("f", text) for text in texts]
    trees += [Compare("f", order, text) for text in texts for order in ("$gt", "$gte", "$lt", "$lte")]
    patterns = ["_", "__", "_%", "%\0%", "\0_", "_\1", "%\2", "A", "%a%", "x_a", "%\U000f0000", "\\\0%", "___%"]
    trees += [Like("f", pattern, ignore_case) for pattern in patterns for ignore_case in (False, True)]
    for tree in trees:
        assert passing(engine, tree) == [name for name, one in stored.items() if matches(tree, one)], tree


CASES = [*"aAßẞsSKkİiIΣςǆǅǄµμ", "\u017f", "\u212a", "\u0131", "\u03c3"]


def test_case_is_ignored_as_python_does(engine: PostgresEngine) -> None:
    stored = {f"d{number:03}": {"f": one + "x" + other} for number, one in enumerate(CASES) for other in CASES[:4]}
    store(engine, stored)
    for case in CASES:
        for pattern in (f"{case}x%", f"%{case}", f"_X{case}", f"{case}X{case}"):
            tree = Like("f", pattern, ignore_case=True)
            assert passing(engine, tree) == [name for name, one in stored.items() if matches(tree, one)], pattern


def test_variants_of_letters_are_classes() -> None:
    """`translate` brings each letter to one: no letter may belong to two classes."""
    every = "".join(map(chr, (*range(0xD800), *range(0xE000, 0x110000))))
    for character in _cased()[::40]:
        variants = _variants(character)
        assert sorted(re.findall(re.escape(character), every, re.IGNORECASE)) == list(variants)
        assert all(_variants(other) == variants for other in variants)


def test_a_million_values_are_looked_up(engine: PostgresEngine) -> None:
    store(engine, {f"d{number:03}": {"n": number, "s": f"s{number}"} for number in range(500)})
    tree = In("n", tuple(range(400, 1_000_400))) | In("s", tuple(f"s{number}" for number in range(100)))
    assert len(passing(engine, tree)) == 200


def test_long_lists_of_values_mean_the_same(engine: PostgresEngine) -> None:
    day = date(2025, 3, 1)
    texts = ["", "a", "é", "\0", "x\1", "2025-03-01", "20250301", "2025", "x" * 190, "x" * 199, "x" * 300, "\ud800"]
    values: list[Any] = [*texts, 0, -1, 1.0, 2.5, True, False, 2**63 - 1, 2**63, -(2**63), 10**40, day, None, [1, "a"]]
    kept = [value for value in values if value != "\ud800"]
    fields = ["f", "=f", "long" * 46, "long" * 60, "é\1"]
    stored = {f"d{number:03}": dict.fromkeys(fields, value) for number, value in enumerate(kept)}
    stored |= {f"l{number:03}": {field: [value, 7] for field in fields} for number, value in enumerate(kept)}
    stored["none"] = {"other": "a"}
    store(engine, stored)
    fillers = tuple(f"filler {number}" for number in range(100))
    for field in fields:
        for value in [*values, "absent"]:
            for tree in (In(field, (value, *fillers)), ~In(field, (*fillers, value))):
                expected = [name for name, one in stored.items() if matches(tree, one)]
                assert sorted(passing(engine, tree)) == sorted(expected), tree


def test_escapes_are_reversible_and_keep_the_order() -> None:
    texts = ["", *RARE, *(one + other for one in RARE for other in RARE)]
    assert [unescape(escape(text)) for text in texts] == texts
    assert not any("\0" in escape(text) for text in texts)
    assert sorted(texts, key=escape) == sorted(texts)
    for text in texts:
        for other in texts:
            assert (escape(other) in escape(text)) is (other in text)


HOSTILE = ["'", '"', "\\", "; DROP TABLE x; --", "%s", "%(a)s", "{}", "$1", "\n", "::text", "' OR 1=1 --", "\u2028"]


def test_nothing_in_a_filter_is_read_as_sql(engine: PostgresEngine) -> None:
    fields = [field for field in HOSTILE if not field.startswith("$")]
    stored = {f"{field}{value}": {field: value} for field in fields for value in HOSTILE}
    store(engine, stored)
    cases = 0
    for field in fields:
        for value in HOSTILE:
            trees: list[Filter] = [In(field, (value,)), Contains(field, value), ~F(field).exists()]
            trees += [
                Like(field, value.replace("\\", "\\\\")),
                Compare(field, "$gt", value),
                Ids(frozenset([value, field])),
            ]
            for tree in trees:
                expected = sorted(name for name in stored if matches(tree, stored[name], name))
                assert passing(engine, tree) == expected, tree
                cases += 1
    assert cases > 500
    with pytest.raises(FilterError):
        engine.count(In("\ud800", (1,)))
