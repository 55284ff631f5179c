"""Rules for versions: columns agree with the reference, document by document."""

from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.sampling import sampled
from tests.unit.engines.local.derived.version_rules import Looking, moment

from theodolite import Document, Retriever
from theodolite.filters import matches, parse
from theodolite.protocols import Scope
from theodolite.ranking.versions import Latest, Rule, Superseded, SupersededPolicy, Valid, Versions
from theodolite.scopes import partition_key, scope_filter
from theodolite.testing.versions import Reference, plain
from theodolite.types import Version

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

rules: st.SearchStrategy[Rule] = st.sampled_from(
    [
        *[Latest("key", "order")] * 3,
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
    as_of = moment(draw(st.sampled_from(INSTANTS)))
    return Versions(tuple(chosen), as_of, draw(st.sampled_from(get_args(SupersededPolicy))))


def canonical(version: Version | None) -> Any:
    """Values as the reference gives them, in any order."""
    if version is None:
        return None
    parts = (version.successors, version.absent, version.substitutes)
    return version.current, *({plain(value) for value in part} for part in parts), version.ended


def referred(version: Version | None) -> Any:
    if version is None:
        return None
    return version.current, *map(set, (version.successors, version.absent, version.substitutes)), version.ended


class Fuzz:
    """A collection beside a dictionary of what it holds."""

    def __init__(self, kb: Retriever, partitioned: bool) -> None:
        self.kb = kb
        self.partition = "tenant" if partitioned else None
        self.stored: dict[tuple[str, str], Document] = {}
        self.looking = Looking(kb)

    def add(self, given: dict[str, dict[str, Any]]) -> None:
        documents = [Document("text", metadata, name) for name, metadata in given.items()]
        if documents:
            self.kb.add(documents, vectors=np.ones((len(documents), 2)), batch_size=None)
        self.stored.update({(partition_key(self.partition, one.metadata), one.id): one for one in documents})

    def delete(self, tenant: str | int, name: str) -> None:
        view = self.kb.scoped(tenant=tenant) if self.partition else self.kb
        view.delete(name)
        self.stored.pop((partition_key(self.partition, {"tenant": tenant}), name), None)

    def check(self, versions: Versions, scope: Scope | None, where: Any) -> int:
        """Check that the engine and the reference find the same documents and versions. Returns their number."""
        tree = parse(where)
        inside = None if scope is None else scope_filter(scope, self.partition)
        held = {key: one for key, one in self.stored.items() if matches(inside, one.metadata)}
        reference = Reference(list(held.values()), versions, lambda one: matches(tree, one.metadata), self.partition)
        may_be_found = reference.found()
        expected = {key: referred(reference.version(one)) for key, one in held.items() if one in may_be_found}
        found = self.looking.at(versions, scope, where)
        assert {key: canonical(version) for key, version in found.versions.items()} == expected
        assert found.superseded == reference.superseded
        return len(expected)


names = st.sampled_from([f"d{number}" for number in range(9)])
wheres = st.sampled_from([None, None, {"lang": "en"}, {"lang": "de"}, {"n": 1}])


@st.composite
def scopes(draw: st.DrawFn, partitioned: bool) -> Scope | None:
    where = parse(draw(st.sampled_from([None, None, {"n": 1}, {"n": True}, {"lang": "en"}])))
    tenant = draw(st.sampled_from([None, *TENANTS])) if partitioned else None
    return None if where is None and tenant is None else Scope(tenant, where)


def compare(data: st.DataObject) -> None:
    partitioned = data.draw(st.booleans())
    with Retriever.open(None, partition="tenant" if partitioned else None) as kb:
        fuzz = Fuzz(kb, partitioned)
        fuzz.add(data.draw(st.dictionaries(names, metadata, min_size=3, max_size=9)))
        rules = data.draw(versions())
        for _ in range(data.draw(st.integers(1, 4))):
            # The same rules again after a write: what was worked out before is built upon.
            again = replace(rules, as_of=moment(data.draw(st.sampled_from(INSTANTS))))
            fuzz.check(again, data.draw(scopes(partitioned)), data.draw(wheres))
            fuzz.check(again, None, data.draw(wheres))
            fuzz.check(data.draw(versions()), data.draw(scopes(partitioned)), data.draw(wheres))
            if data.draw(st.booleans()):
                fuzz.delete(data.draw(st.sampled_from(TENANTS)), data.draw(names))
            fuzz.add(data.draw(st.dictionaries(names, metadata, min_size=1, max_size=3)))


@given(st.data())
@settings(max_examples=sampled(25), deadline=None)
def test_columns_agree_with_the_reference(data: st.DataObject) -> None:
    compare(data)


@pytest.mark.slow
@given(st.data())
@settings(max_examples=2000, deadline=None)
def test_columns_agree_with_the_reference_many_times(data: st.DataObject) -> None:
    compare(data)
