"""Rules for versions: columns agree with the reference, document by document."""

from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from theodolite import Document, Retriever
from theodolite.engines.local.versions import Standing, Standings
from theodolite.filters import Filter, instant, matches, parse
from theodolite.protocols import Scope
from theodolite.scopes import scope_filter
from theodolite.testing.versions import Reference, plain
from theodolite.types import Version
from theodolite.versions import Latest, Rule, Superseded, Valid, Versions

MOMENTS: list[Any] = [
    *("2025-01-01", "2025-02-01", "2025-02-01T00:00Z", "2025-02-01T02:00+02:00", "2025-03-01"),
    *(date(2025, 2, 1), datetime(2025, 3, 1, tzinfo=UTC)),
]
NUMBERS: list[Any] = [1, 1.0, 2, 2.5, 2**53, 2**53 + 1, float(2**53), 2**64, -1]
ODD: list[Any] = [None, "", True, "soon", [], ["2025-01-01"], {"x": 1}]
KEYS: list[Any] = ["a", "b", "c", "d", 1, 1.0, True, "1", "2025-02-01", date(2025, 2, 1)]
INSTANTS = ["2024-06-01", "2025-01-01", "2025-01-31T23:59:59.999999", "2025-02-01", "2025-02-15", "2026-01-01"]
TENANTS: list[str | int] = ["x", "1", 1, "2025-02-01"]

keys = st.sampled_from(KEYS) | st.sampled_from([None, "", [], ["a"], {"a": 1}])
orders = st.sampled_from([*MOMENTS, *NUMBERS]) | st.sampled_from([*MOMENTS[:3], *ODD])
moments = st.sampled_from([*MOMENTS, None, "soon", 7])
links = keys | st.lists(st.sampled_from([*KEYS, None, [], ["a"]]), max_size=3)

FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "key": st.sampled_from(KEYS[:4]) | keys,
    "other": keys,
    "by": links,
    "replaces": links,
    "order": orders,
    "start": moments,
    "end": moments,
    "lang": st.sampled_from(["en", "de"]),
    "n": st.sampled_from([1, True]),
}
metadata = st.fixed_dictionaries({"tenant": st.sampled_from(TENANTS)}, optional=FIELDS)

rules = st.sampled_from(
    [
        Latest("key", "order"),
        Latest("other", "start"),
        Valid("start", "end"),
        Valid(end="end"),
        Superseded("key", "by"),
        Superseded("key", replaces="replaces"),
        Superseded("key", "by", "replaces", "start"),
        Superseded("other", "by", "replaces"),
    ]
)


@st.composite
def versions(draw: st.DrawFn) -> Versions:
    chosen: list[Rule] = draw(st.lists(rules, min_size=1, max_size=3, unique=True))
    as_of = instant(draw(st.sampled_from(INSTANTS)))
    assert as_of is not None
    return Versions(tuple(chosen), as_of, draw(st.booleans()), draw(st.booleans()))


def fill(kb: Retriever, documents: list[dict[str, Any]], first: int = 0) -> None:
    given = [Document("text", values, f"d{number:03d}") for number, values in enumerate(documents, first)]
    if given:
        kb.add(given, vectors=np.ones((len(given), 2)), batch_size=None)


def standing(
    kb: Retriever, versions: Versions, scope: Scope | None, where: Filter | None, look: Callable[[Standing], Any]
) -> Any:
    """`look` at what the engine's columns say, within one read transaction."""
    engine: Any = kb._engine
    view = engine._view

    def work(connection: Any, snapshot: Any) -> Any:
        held = vars(kb).setdefault("standings", {}).setdefault(snapshot.state.generation, Standings(engine.partition))
        rows, commit = snapshot.state.rows, snapshot.state.sequence

        def column(name: str) -> Any:
            found = snapshot.columns.column(name, connection, rows, commit)
            assert found.read_at(rows) <= commit
            return found

        inside = None if scope is None else view.mask(snapshot, scope_filter(scope, engine.partition), connection)
        passing = None if where is None else view.mask(snapshot, where, connection)
        within = None if scope is None else scope.where
        found = held.at(versions, commit, column, snapshot.live, inside, within, passing)
        ids = dict(connection.execute("SELECT row, id FROM documents"))
        return look(found), {row: ids[row] for row in np.flatnonzero(found.mask).tolist()}, found

    return view.read(work)
