"""The factors of all rows equal those of a boost called for each document alone."""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.oracle.filters import VALUES, Draw

from theodolite import Document, Retriever
from theodolite.columns import Column
from theodolite.engines.local.derived.columns.column_cache import extended
from theodolite.errors import ConfigError, InputError
from theodolite.filters import MISSING, lookup
from theodolite.protocols import Boost
from theodolite.ranking.boost_factors import BoostFactors
from theodolite.ranking.boosts import Authority, Freshness, check_refusals

Doubles = NDArray[np.float64]
Metadata = dict[str, Any]

NOW = datetime(2025, 11, 20, tzinfo=UTC).timestamp()


@dataclass(frozen=True)
class Foreign:
    """A boost for every kind of value, which records the values it gets."""

    field: str
    name: str = "foreign"

    def factors(self, values: Sequence[Any], now: float, /) -> Doubles:
        return np.array([self._one(value) for value in values], np.float64)

    def _one(self, value: Any) -> float:
        if isinstance(value, list):
            return 0.5 * float(np.prod([0.9 * self._one(item) for item in value[:3]]))
        if isinstance(value, (bool, str, type(None))):
            return {None: 0.9, True: 0.2, False: 0.3}[value] if not isinstance(value, str) else 1 / (2 + len(value))
        if isinstance(value, (int, float)):
            return 0.1 if abs(value) > 1e6 else 1 / (2 + abs(value))
        return 0.4 if isinstance(value, date) else 0.7


class Asked:
    """A boost that counts the values it gets, and equals only itself."""

    name = "asked"
    field = "source"

    def __init__(self) -> None:
        self.calls: list[list[Any]] = []

    def factors(self, values: Sequence[Any], now: float, /) -> Doubles:
        self.calls.append(list(values))
        return np.full(len(values), 0.5)


@pytest.fixture
def kb(tmp_path: Path) -> Iterator[Retriever]:
    with Retriever.open(tmp_path) as kb:
        yield kb


def fill(kb: Retriever, metadata: dict[str, Metadata]) -> None:
    documents = [Document("text", values, name) for name, values in metadata.items()]
    kb.add(documents, vectors=np.ones((len(documents), 2)), batch_size=None)


def by_id(kb: Retriever, factors: BoostFactors, boosts: tuple[Boost, ...], now: float = NOW) -> dict[str, float]:
    engine: Any = kb._engine

    def work(connection: Any, snapshot: Any) -> dict[str, float]:
        rows = snapshot.rows
        found = factors.product(
            boosts, now, lambda name: snapshot.columns.column(name, connection, rows, snapshot.state.sequence), rows
        )
        assert found.shape == (rows,)
        assert found.dtype == np.float64
        assert ((found > 0) & (found <= 1)).all()
        return {name: float(found[row]) for row, name in connection.execute("SELECT row, id FROM documents")}

    return dict(engine._snapshots.read(work))


def expected(boosts: tuple[Boost, ...], stored: dict[str, Metadata], now: float = NOW) -> dict[str, float]:
    def one(boost: Boost, metadata: Metadata) -> float:
        value = lookup(metadata, boost.field)
        return float(boost.factors([None if value is MISSING else value], now)[0])

    return {name: float(np.prod([one(boost, metadata) for boost in boosts])) for name, metadata in stored.items()}


def column(field: str, metadata: Sequence[Metadata]) -> Any:
    """Return a column as the engine reads it."""
    with Retriever.open() as kb:
        fill(kb, {f"d{i:03d}": values for i, values in enumerate(metadata)})
        engine: Any = kb._engine
        return engine._snapshots.read(
            lambda connection, snapshot: snapshot.columns.column(field, connection, len(metadata), 1)
        )


TABLE = {"a": 1.0, "": 0.1, 1: 0.9, False: 0.2, 2.5: 0.8, 2**70: 0.7, None: 0.4, "2025-03-01": 0.3, "1": 0.6}


@pytest.mark.parametrize("seed", range(6))
def test_rows_have_the_factors_of_their_documents(tmp_path: Path, seed: int) -> None:
    draw, factors = Draw(seed), BoostFactors()
    fields = ["a", "b", "a.x", "a.b", "a.b.c", "n.a.b", 'q"u', "never"]
    boosts: list[Boost] = []
    for field in fields:
        boosts += [
            Freshness(field, "100d", 0.5, name=f"fresh {field}"),
            Freshness(field, "1y", 0.9, floor=0.1, grace="1d", missing="oldest", name=f"oldest {field}"),
            Authority(field, TABLE, weight=0.7, name=f"lowest {field}"),
            Authority(field, {"a": 1.0, 2: 0.5}, default=0.75, weight=0.7, name=f"default {field}"),
            Foreign(field),
        ]
    stored: dict[str, Metadata] = {}
    with Retriever.open(tmp_path, create=True) as kb, Retriever.open(tmp_path, read_only=True) as reader:
        for _ in range(6):
            new = {f"d{draw.random.randint(0, 90)}": draw.metadata() for _ in range(draw.random.choice([1, 4, 50]))}
            fill(kb, new)
            stored |= new
            for name in draw.random.sample(sorted(stored), min(len(stored), draw.random.randint(0, 6))):
                if draw.random.random() < 0.5:
                    kb.delete(name)
                    del stored[name]
                else:
                    change = draw.metadata()
                    kb.update(name, change)
                    stored[name] |= change
            for one in boosts:
                assert by_id(kb, factors, (one,)) == expected((one,), stored), one
            some = tuple(draw.random.sample(boosts, 3))
            # Two processes have factors of their own.
            assert by_id(reader, BoostFactors(), some) == pytest.approx(expected(some, stored), rel=1e-15)


def test_factors_follow_every_kind_of_write(kb: Retriever) -> None:
    boosts, factors = (Freshness("d", "10d", 0.5), Authority("s", {"x": 1.0, "y": 0.5}, weight=0.5)), BoostFactors()
    stored: dict[str, Metadata] = {f"d{i}": {"d": f"2025-11-{i + 1:02d}", "s": "xyz"[i % 3]} for i in range(20)}
    fill(kb, stored)
    assert by_id(kb, factors, boosts) == expected(boosts, stored)
    stored["new"] = {"d": date(2025, 11, 19), "s": ["y", "x"]}
    fill(kb, {"new": stored["new"]})
    assert by_id(kb, factors, boosts) == expected(boosts, stored)
    stored["d3"] |= {"s": "y", "d": "2025-01-01"}
    kb.update("d3", {"s": "y", "d": "2025-01-01"})
    assert by_id(kb, factors, boosts) == expected(boosts, stored)
    kb.delete("d4")
    del stored["d4"]
    assert by_id(kb, factors, boosts) == expected(boosts, stored)
    assert by_id(kb, factors, boosts, NOW + 86_400) == expected(boosts, stored, NOW + 86_400)
    assert by_id(kb, factors, boosts) == expected(boosts, stored)
    kb.clear()
    assert by_id(kb, factors, boosts) == {}


def test_without_boosts_factors_are_one(kb: Retriever) -> None:
    fill(kb, {"a": {}, "b": {"d": "2020-01-01", "s": "x"}})
    assert by_id(kb, BoostFactors(), ()) == {"a": 1.0, "b": 1.0}
    weightless = (Freshness("d", "1d", 0.0, missing="oldest"), Authority("s", {"x": 0.0}, weight=0))
    assert by_id(kb, BoostFactors(), weightless) == {"a": 1.0, "b": 1.0}


def test_a_boost_gets_each_distinct_value_once(kb: Retriever) -> None:
    boost, factors = Asked(), BoostFactors()
    fill(kb, {f"d{i:03d}": {"source": [["x", "y"], "x", 1, 1.0, "y", ["x", "y"], ["x"]][i % 7]} for i in range(700)})
    for _ in range(3):
        by_id(kb, factors, (boost,))
    plain, lists = boost.calls
    assert sorted(map(repr, plain)) == ["'x'", "'y'", "1"]
    assert sorted(lists) == [["x"], ["x", "y"]]
    fill(kb, {"new": {"source": "z"}, "none": {}})
    by_id(kb, factors, (boost,))
    assert boost.calls[2:] == [[None, "z"]]
    by_id(kb, factors, (boost,), NOW + 60)
    assert len(boost.calls) > 3


def test_few_rows_with_a_value_among_many_without() -> None:
    rows: list[Metadata] = [{} for _ in range(500)]
    rows[7], rows[490] = {"s": "x", "d": "2025-11-10"}, {"s": ["x", "z"], "d": "2025-10-01"}
    boosts: tuple[Boost, ...]
    for boosts in ((Authority("s", {"x": 1.0, None: 0.5, "z": 0.1}),), (Freshness("d", "10d"),), (Foreign("s"),)):
        held = {boost.field: column(boost.field, rows) for boost in boosts}
        assert held[boosts[0].field].segments[0].places is not None
        found = BoostFactors().product(boosts, NOW, held.__getitem__, 500)
        assert found.tolist() == list(expected(boosts, dict(zip(map(str, range(500)), rows, strict=True))).values())


def test_factors_of_a_later_commit_are_not_used_for_an_older_one(kb: Retriever) -> None:
    boosts, factors = (Authority("s", {"x": 1.0, "y": 0.5}, weight=0.5),), BoostFactors()
    fill(kb, {"a": {"s": "y"}, "b": {"s": "x"}})
    old = read_now(kb, "s")
    kb.update("b", {"s": "x", "n": 1})
    engine: Any = kb._engine
    new = engine._snapshots.read(
        lambda connection, snapshot: extended(Column("s"), connection, 3, snapshot.state.sequence)
    )
    assert factors.product(boosts, NOW, lambda _: new, 3).tolist() == [0.75, 0.75, 1.0]  # b is dead by then
    assert factors.product(boosts, NOW, lambda _: old, 2).tolist() == [0.75, 1.0]
    assert factors.product(boosts, NOW, lambda _: new, 3)[[0, 2]].tolist() == [0.75, 1.0]


def read_now(kb: Retriever, field: str) -> Any:
    engine: Any = kb._engine
    return engine._snapshots.read(
        lambda connection, snapshot: extended(Column(field), connection, snapshot.rows, snapshot.state.sequence)
    )


def test_members_of_enums_are_the_strings_they_stand_for() -> None:
    class Source(str, Enum):  # noqa: UP042 - what str() makes of a StrEnum is no trap
        POLICY = "policy"
        CHAT = "chat"

    boost = Authority("s", {Source.POLICY: 1.0, Source.CHAT: 0.0}, weight=0.5)
    assert boost == Authority("s", {"policy": 1.0, "chat": 0.0}, weight=0.5)
    held = column("s", [{"s": "chat"}, {"s": Source.POLICY}, {"s": ["x", "policy"]}])
    assert BoostFactors().product((boost,), NOW, lambda _: held, 3).tolist() == [0.5, 1.0, 1.0]
    assert boost.factors(["chat", Source.POLICY, ["x", "policy"]], NOW).tolist() == [0.5, 1.0, 1.0]


def test_fewer_rows_than_the_column_has() -> None:
    held = column("s", [{"s": "x"}, {"s": "y"}, {"s": ["x"]}])
    factors, boosts = BoostFactors(), (Authority("s", {"x": 1.0, "y": 0.0}, weight=0.5),)
    for rows in (2, 0, 3, 1):
        assert factors.product(boosts, NOW, lambda _: held, rows).tolist() == [1.0, 0.5, 1.0][:rows]


def test_factors_cannot_be_written_to() -> None:
    held = column("s", [{"s": "x"}])
    with pytest.raises(ValueError, match="read-only"):
        BoostFactors().product((Authority("s", {"x": 1.0}),), NOW, lambda _: held, 1)[0] = 0.5


def test_memory_has_a_limit() -> None:
    held = column("s", [{"s": "x"}] * 100)
    factors = BoostFactors(budget=3000)
    for minute in range(50):
        factors.product((Foreign("s"),), NOW + 60 * minute, lambda _: held, 100)
        assert factors.nbytes == min(minute + 1, 3) * 800
    factors = BoostFactors()
    for minute in range(50):
        factors.product((Foreign("s"),), NOW + 60 * minute, lambda _: held, 100)
    assert factors.nbytes == 16 * 800


def test_the_product_of_many_small_factors_is_above_0() -> None:
    held = column("s", [{"s": "x"}])
    boosts = tuple(Authority("s", {"x": 1e-12}, weight=1.0, name=str(i)) for i in range(40))
    assert BoostFactors().product(boosts, NOW, lambda _: held, 1)[0] > 0


def test_unhashable_boosts_are_called_each_time() -> None:
    class Unhashable(Asked):
        __hash__ = None  # type: ignore[assignment]  # what `__eq__` alone does to a class

    boost, held, factors = Unhashable(), column("source", [{"source": "x"}]), BoostFactors()
    for _ in range(2):
        assert factors.product((boost,), NOW, lambda _: held, 1).tolist() == [0.5]
    assert boost.calls == [["x"], ["x"]]
    assert factors.nbytes == 0


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (np.array([0.5, 0.0, 0.5]), "1 of 3 factors are not in (0, 1], first 0.0 for 'y', at place 1"),
        (np.array([1.0000001, np.nan, -1]), "3 of 3 factors are not in (0, 1], first 1.0000001 for 'x', at place 0"),
        (np.array([0.5, 0.5, np.inf]), "first inf for 'z', at place 2"),
        (np.array([0.5, 0.5]), "float64, shape (2,) for 3 values; it must return float64, shape (3,)"),
        (np.float64(0.5), "float64 for 3 values"),
        (np.array([[0.5], [0.5], [0.5]]), "shape (3, 1) for 3 values"),
        (np.array([1, 1, 1]), "int64, shape (3,)"),
        ([0.5, 0.5, 0.5], "list for 3 values"),
        (None, "NoneType for 3 values"),
    ],
)
@pytest.mark.parametrize("listed", [False, True], ids=["values", "lists"])
def test_the_factors_of_a_boost_are_checked(given: Any, words: str, listed: bool) -> None:
    class Faulty(Asked):
        def factors(self, values: Sequence[Any], now: float, /) -> Any:
            return given if len(values) == 3 else np.ones(len(values))

    held = column("source", [{"source": [name] if listed else name} for name in "xyz"])
    with pytest.raises(ConfigError) as caught:
        BoostFactors().product((Faulty(),), NOW, lambda _: held, 3)
    assert "boost 'asked' on 'source'" in str(caught.value)
    for name in "xyz" if listed else "":
        words = words.replace(f"'{name}'", f"['{name}']")
    assert words in str(caught.value)


@pytest.mark.thorough
def test_threads_get_the_same_factors(kb: Retriever) -> None:
    stored: dict[str, Metadata] = {f"d{i}": {"a": VALUES[i % len(VALUES)]} for i in range(300)}
    fill(kb, stored)
    boosts, factors = (Freshness("a", "10d"), Authority("a", TABLE)), BoostFactors(budget=5000)
    wrong: list[float] = []

    def work() -> None:
        for minute in range(20):
            now = NOW + 60 * (minute % 4)
            if by_id(kb, factors, boosts, now) != expected(boosts, stored, now):
                wrong.append(now)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert factors.nbytes == 2 * 300 * 8


def test_a_search_is_refused_for_documents_that_a_boost_refuses(kb: Retriever) -> None:
    fill(
        kb,
        {
            "old": {"d": "2020-01-01"},
            "none": {},
            "text": {"d": "soon"},
            "year": {"d": 2020},
            "to come": {"d": "2030-01-01"},
        },
    )
    engine: Any = kb._engine

    def check(boost: Any, inside: list[str] | None) -> None:
        def work(connection: Any, snapshot: Any) -> None:
            ids = [name for (name,) in connection.execute("SELECT id FROM documents ORDER BY row")]
            eligible = None if inside is None else np.array([name in inside for name in ids])
            check_refusals(
                [Foreign("d"), boost],
                NOW,
                lambda tree: engine._snapshots.mask(snapshot, tree, connection),
                eligible,
                len(ids) if inside is None else len(inside),
                ids.__getitem__,
            )

        engine._snapshots.read(work)

    strict = Freshness("d", "1d", missing="error", future="error")
    with pytest.raises(InputError, match=r"have no date in 'd' \(missing='error'\), first 'none'") as caught:
        check(Freshness("d", "1d", missing="error"), None)
    assert (caught.value.boost, caught.value.count, caught.value.first) == ("freshness", 3, "none")
    with pytest.raises(InputError, match="freshness: 2 of 3 eligible documents have no date"):
        check(Freshness("d", "1d", missing="error"), ["old", "text", "year"])
    with pytest.raises(InputError, match=r"1 of 2 eligible documents .*still to come.*, first 'to come'"):
        check(Freshness("d", "1d", future="error"), ["to come", "none"])
    with pytest.raises(InputError, match=r"3 of 3 .* no date .* or a date .* still to come"):
        check(strict, ["to come", "none", "year"])
    check(strict, ["old"])
    check(strict, [])
    check(Freshness("d", "1d"), None)


def test_in_a_scope_a_custom_boost_gets_only_its_values(kb: Retriever) -> None:
    for number in range(3):  # a segment each
        mine = {f"m{number}": {"source": "mine", "n": 1}, f"l{number}": {"source": ["a", number], "n": 1}}
        fill(kb, mine | {f"o{number}": {"source": f"secret {number}"}, f"t{number}": {"source": ["secret"]}})
    kb.delete("l1")
    asked = Asked()
    view = kb.scoped(n=1)
    for _ in range(2):  # nothing is kept
        hits = view.search(vector=[1.0, 1.0], k=10, boosts=[asked, Authority("n", {1: 0.5, 2: 1.0}, weight=0.5)])
        assert len(hits) == 5
        assert {hit.score for hit in hits} == {hits[0].scores["relevance"] * (0.5 * 0.75)}
        assert asked.calls[0] == [["a", 0], ["a", 2], "mine"]  # each once, in an order of their own
        assert all("secret" not in str(call) for call in asked.calls)
        asked.calls.clear()


def test_in_a_scope_factors_are_those_of_each_document(kb: Retriever) -> None:
    draw = Draw(5)
    stored = {f"d{number:03d}": {**draw.metadata(), "mine": number % 3 == 0} for number in range(200)}
    for start in range(0, 200, 50):
        fill(kb, dict(list(stored.items())[start : start + 50]))
    for name in ("d003", "d051", "d150"):
        kb.delete(name)
        del stored[name]
    mine = {name: metadata for name, metadata in stored.items() if metadata["mine"]}
    boosts = (Foreign("a"), Foreign("n.a", "other"), Freshness("b", "30d"))
    hits = kb.scoped(mine=True).search(vector=[1.0, 1.0], k=200, boosts=boosts, as_of=NOW)
    one = hits[0].scores["relevance"]
    reported = {hit.document.id: hit.score / one for hit in hits}
    assert reported == pytest.approx(expected(boosts, mine))
