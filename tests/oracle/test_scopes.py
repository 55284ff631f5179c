"""Hostile use of scopes: no filter, id or update can read or change other tenants' documents."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.oracle.filters import VALUES, Draw, Metadata
from tests.sampling import sampled

from theodolite import Document, DocumentError, FilterError, InputError, Retriever, UnsupportedError
from theodolite.filters import matches, parse

TENANTS: list[str | int] = ["acme", "bolt", '"acme"', "acme\0", "'; --", 7, "7", -7]
IDS = ["a", "b", '"', "\0", "acme", '["acme","a"]', "a\0b", "é", "e\u0301", "%", "_", "7", " "]
FIELDS = ["tenant", "tenant.x", "a", "tenant.tenant", "n.tenant", "$", "n"]
DIMENSION = 3


class Fuzz:
    """Tenants side by side, and a dictionary for each that says what it must hold."""

    def __init__(self, kb: Retriever, seed: int) -> None:
        self.kb = kb
        self.draw = Draw(seed)
        self.stored: dict[str | int, dict[str, tuple[str, Metadata, bytes]]] = {tenant: {} for tenant in TENANTS}
        for tenant in TENANTS:
            for name in self.draw.random.sample(IDS, 5):
                self._add(tenant, name, {"n": self.draw.random.choice([{"tenant": "acme"}, 1, None])})
        self._everything = {tenant: self._contents(tenant) for tenant in TENANTS}

    def step(self) -> None:
        """Do one hostile call in a random tenant's scope; every answer must belong to that tenant."""
        choose = self.draw.random.choice
        tenant, name = choose(TENANTS), choose(IDS)
        view, held = self.kb.scoped(tenant=tenant), self.stored[tenant]
        match self.draw.random.randrange(11):
            case 0 | 1 | 2:
                self._look(view, tenant)
            case 3:
                self._add(tenant, name, {"a": choose(["x", 1, None])})
            case 4:
                other = choose([one for one in TENANTS if one != tenant])
                with pytest.raises(DocumentError) as refused:
                    view.add([Document("t", {"tenant": other}, name)], vectors=np.ones((1, DIMENSION)))
                assert "another tenant" in str(refused.value)
            case 5:
                self._update(view, tenant, name)
            case 6:
                assert view.delete([name, "nothing"]) == (held.pop(name, None) is not None)
            case 7:
                self._delete_where(view, tenant)
            case 8:
                names = self.draw.random.sample(IDS, 4)
                assert [document.id for document in view.get(names)] == [one for one in names if one in held]
            case 9:
                self._nested(view, tenant)
            case _:
                self._errors(view, tenant)
        self._everything[tenant] = self._contents(tenant)

    def check(self) -> None:
        """Check that every tenant's documents equal its dictionary, and that together they are the collection."""
        for tenant in TENANTS:
            assert self._contents(tenant) == self.stored[tenant] == self._everything[tenant]
        assert len(self.kb) == sum(map(len, self.stored.values()))
        self.kb.verify()

    def _where(self) -> dict[str, Any]:
        fields = [field for field in FIELDS if not field.startswith("$")]
        return self.draw.where(fields, [*TENANTS, *TENANTS, *VALUES])

    def _passing(self, tenant: str | int, where: Any) -> list[str]:
        tree = parse(where)
        return sorted(name for name, (_, metadata, _) in self.stored[tenant].items() if matches(tree, metadata))

    def _look(self, view: Retriever, tenant: str | int) -> None:
        where = self._where()
        expected = self._passing(tenant, where)
        assert view.count(where) == len(expected), where
        assert [document.id for document in view.documents(where)] == expected
        hits = view.search(vector=self.draw.random.choice(list(np.eye(DIMENSION))), k=100, where=where)
        assert sorted(hit.document.id for hit in hits) == expected
        assert {hit.document.metadata["tenant"] for hit in hits} <= {tenant}
        assert hits.trace.rows == len(self.stored[tenant]) == len(view)
        assert hits.trace.eligible == len(expected)

    def _add(self, tenant: str | int, name: str, metadata: Metadata) -> None:
        vector = np.array([self.draw.random.gauss(0, 1) for _ in range(DIMENSION)], np.float32)
        text = f"text {self.draw.random.random()}"
        self.kb.scoped(tenant=tenant).add([Document(text, metadata, name)], vectors=vector[None])
        ((_, stored),) = self.kb.scoped(tenant=tenant).get(name, vectors=True)
        self.stored[tenant][name] = text, {**metadata, "tenant": tenant}, stored.tobytes()

    def _update(self, view: Retriever, tenant: str | int, name: str) -> None:
        change: Metadata = self.draw.random.choice(
            [
                {"a": 2},
                {"tenant": "bolt"},
                {"tenant": tenant, "b": 1},
                {"tenant": None},
                {"tenant": [tenant]},
                {"tenant": True},
            ]
        )
        moves = "tenant" in change and (type(change["tenant"]), change["tenant"]) != (type(tenant), tenant)
        if name not in self.stored[tenant] or moves:
            with pytest.raises(DocumentError):
                view.update(name, change)
            return
        view.update(name, change)
        text, metadata, vector = self.stored[tenant][name]
        self.stored[tenant][name] = text, {**metadata, **change}, vector

    def _delete_where(self, view: Retriever, tenant: str | int) -> None:
        where = {"$and": [self._where(), {"a": self.draw.random.choice([1, 2, "x"])}]}
        gone = self._passing(tenant, where)
        assert view.delete(where=where) == len(gone)
        for name in gone:
            del self.stored[tenant][name]

    def _nested(self, view: Retriever, tenant: str | int) -> None:
        """Other scopes inside: narrower, and read-only."""
        other = self.draw.random.choice([one for one in TENANTS if one != tenant])
        assert len(view.scoped(tenant=other)) == 0
        where = self._where()
        inner = view.scoped(where)
        assert [document.id for document in inner.documents()] == self._passing(tenant, where)
        assert [d.id for d in inner.get(IDS)] == [name for name in IDS if name in self._passing(tenant, where)]
        with pytest.raises(UnsupportedError):
            inner.delete(self.draw.random.choice(IDS))

    def _errors(self, view: Retriever, tenant: str | int) -> None:
        """An id of another tenant gives the message of an id that does not exist."""
        foreign = [name for name in IDS if name not in self.stored[tenant]]
        if not foreign:
            return
        name = self.draw.random.choice(foreign)
        reported = []
        for asked in (name, "nobody's"):
            for call in (lambda a=asked: view.update(a, {"x": 1}), lambda a=asked: view.search(like=a)):
                with pytest.raises((DocumentError, InputError)) as caught:
                    call()
                reported.append(str(caught.value).replace(repr(asked), "?"))
        assert reported[:2] == reported[2:]

    def _contents(self, tenant: str | int) -> dict[str, tuple[str, Metadata, bytes]]:
        listed = self.kb.scoped(tenant=tenant).documents(vectors=True)
        return {document.id: (document.text, dict(document.metadata), vector.tobytes()) for document, vector in listed}


def fuzz(folder: Path, seed: int, steps: int) -> None:
    with Retriever.open(folder, partition="tenant") as kb:
        state = Fuzz(kb, seed)
        for number in range(steps):
            state.step()
            if number % 25 == 0:
                state.check()
        state.check()


def test_hostile_tenants(tmp_path: Path) -> None:
    fuzz(tmp_path / "kb", 1, sampled(600))


@pytest.mark.slow
def test_ten_thousand_hostile_acts(tmp_path: Path) -> None:
    for seed in range(5):
        fuzz(tmp_path / str(seed), 10 + seed, 2000)


def test_filters_that_are_refused_tell_nothing(tmp_path: Path) -> None:
    """A wrong filter gives the same error in every scope, and is not evaluated."""
    with Retriever.open(tmp_path, partition="tenant") as kb:
        kb.add([Document("t", {"tenant": "bolt", "secret": 42}, "s")], vectors=np.ones((1, 2)))
        hostile: list[Any] = [
            {"$where": "1"},
            {"tenant": {"$regex": ".*"}},
            {"$or": []},
            {"$and": [{}], "$scope": None},
            {"secret": {"$gt": None}},
            json.loads("[" * 60 + "]" * 60),
            {"a": {"$not": {}}},
        ]
        for where in hostile:
            reported = []
            for view in (kb.scoped(tenant="acme"), kb.scoped(tenant="bolt")):
                with pytest.raises(FilterError) as caught:
                    view.count(where)
                reported.append(str(caught.value))
            assert reported[0] == reported[1]
            assert "42" not in reported[0]
