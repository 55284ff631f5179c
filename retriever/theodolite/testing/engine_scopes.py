"""The engine contract: partitions and scopes."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from theodolite.errors import ConfigError, DocumentError, InputError, UnsupportedError
from theodolite.filters import And, F, In
from theodolite.protocols import Duplicates, Engine, Request, Scope
from theodolite.testing.checks import check, raising
from theodolite.testing.reference import EngineUnderTest, drawn, numbered, prepared, verify
from theodolite.types import Document, Space
from theodolite.vectors.prepare import prepare

_FIELD = "tenant"
_TENANTS = ("acme", "bolt", 7, "7")


class ScopesContract(EngineUnderTest):
    """Tests that documents outside a scope do not exist for a call."""

    def test_an_id_is_one_document_in_each_partition(self) -> None:
        engine = self._filled()
        if engine is None:
            return
        check(engine.partition == _FIELD, f"the partition is {engine.partition!r}, not {_FIELD!r}")
        check(engine.count() == 3 * len(_TENANTS), "the same ids in several partitions are not kept apart")
        for tenant in _TENANTS:
            _add(engine, ["a"], tenant, text="new")
        check(engine.count() == 3 * len(_TENANTS), "the same id in the same partition does not replace")
        for tenant in _TENANTS:
            ((document, _),) = engine.get(["a"], scope=Scope(tenant))
            check(document.text == f"new of {tenant!r}", f"{tenant!r} gets {document.text!r}")
        engine.close()

    def test_a_scope_shows_its_partition_only(self) -> None:
        engine = self._filled()
        if engine is None:
            return
        query = prepared(drawn(3, 1), engine)
        for tenant in _TENANTS:
            scope = Scope(tenant)
            check(engine.count(scope=scope) == 3, f"count in the scope of {tenant!r} is {engine.count(scope=scope)}")
            check(engine.count(~In(_FIELD, (tenant,)), scope=scope) == 0, "a filter leads out of the scope")
            (answer,) = engine.search(Request(query, 100, None, scope))
            for found in (
                [document for document, _ in engine.documents(scope=scope)],
                [document for document, _ in engine.get(["a", "b", "c", "only-bolt"], scope=scope)],
                sorted(answer.documents, key=lambda document: document.id),
            ):
                names = [document.id for document in found]
                check(names == ["a", "b", f"only-{tenant}"][: len(names)], f"{tenant!r} is shown {names}")
                seen = {repr(document.metadata[_FIELD]) for document in found}
                check(seen == {repr(tenant)}, f"{tenant!r} is shown documents of {seen}")
            check(len(answer.documents) == 3, f"search finds {len(answer.documents)} of 3 documents")
            if isinstance(engine, Duplicates):
                pairs = list(engine.duplicates(1e-3, scope=scope))
                check(len(pairs) == 3, f"of 3 documents alike {len(pairs)} pairs are found in the scope")
                seen = {repr(one.metadata[_FIELD]) for pair in pairs for one in (pair.first, pair.second)}
                check(seen == {repr(tenant)}, f"{tenant!r} is shown duplicates of {seen}")
            check(answer.trace.rows == 3, f"trace.rows counts {answer.trace.rows} documents; the scope holds 3")
        engine.close()

    def test_the_trace_reveals_nothing_outside_the_scope(self) -> None:
        """Check that the trace of a search in a scope is the same, however many documents lie outside."""
        traces_by_crowd = []
        for crowd in (0, 1, 400):
            engine = self.partitioned(Space("cosine"), _FIELD)
            if engine is None:
                return
            _add(engine, numbered(300), "acme")
            if crowd:
                _add(engine, numbered(crowd), "bolt")
                _add(engine, numbered(crowd), 7)
            traces = _traces(engine)
            engine.clear(scope=Scope("acme"))
            traces_by_crowd.append(traces + _traces(engine))
            engine.close()
        for alone, *crowded in zip(*traces_by_crowd, strict=True):
            check(crowded == [alone] * 2, f"the trace of a scope alone is {alone}, beside others {crowded}")

    def test_writes_stay_in_their_partition(self) -> None:
        engine = self._filled()
        if engine is None:
            return
        acme = Scope("acme")
        with raising(DocumentError, "adding a document of another partition"):
            _add(engine, ["x"], "bolt", scope=acme)
        with raising(DocumentError, "adding a document without a partition"):
            vectors, space = prepare(drawn(1, 1), engine.space)
            engine.add([Document("t", {}, "x")], vectors, space)
        with raising(DocumentError, "moving a document to another partition"):
            engine.update({"a": {_FIELD: "bolt"}}, scope=acme)
        with raising(DocumentError, "updating a document of another partition"):
            engine.update({"only-bolt": {"x": 1}}, scope=acme)
        check(engine.delete(["only-bolt", "only-7"], scope=acme) == 0, "a document of another partition is deleted")
        engine.update({"a": {"x": 1}}, scope=acme)
        check(engine.count(In("x", (1,))) == 1, "an update reaches other partitions")
        check(engine.delete(["a"], scope=acme) == 1, "a document of the scope is not deleted")
        check(engine.delete(F("kind").exists(), scope=acme) == 2, "a filter deletes more or less than the scope's own")
        check(engine.count() == 3 * (len(_TENANTS) - 1), "deleting reaches other partitions")
        engine.clear(scope=Scope("7"))
        check(engine.count(scope=Scope("7")) == 0, "clear leaves something in the partition")
        check(engine.count() == 3 * (len(_TENANTS) - 2), "clear reaches other partitions")
        verify(engine)
        engine.close()

    def test_other_scopes_are_read_only(self) -> None:
        engine = self._filled()
        if engine is None:
            return
        for scope in (Scope(None, In(_FIELD, ("acme",))), Scope("acme", F("kind").exists())):
            with raising(UnsupportedError, "adding through a filter"):
                _add(engine, ["x"], "acme", scope=scope)
            with raising(UnsupportedError, "deleting through a filter"):
                engine.delete(And(()), scope=scope)
            with raising(UnsupportedError, "clearing through a filter"):
                engine.clear(scope=scope)
        check(engine.count() == 3 * len(_TENANTS), "a refused write has changed something")
        engine.close()

    def test_ids_alone_name_nothing(self) -> None:
        engine = self._filled()
        if engine is None:
            return
        with raising(InputError, "get by ids of a partitioned collection"):
            engine.get(["a"])
        with raising(InputError, "delete by ids of a partitioned collection"):
            engine.delete(["a"])
        with raising(InputError, "update by ids of a partitioned collection"):
            engine.update({"a": {"x": 1}})
        engine.close()

    def test_nothing_is_a_partition_where_there_are_none(self) -> None:
        """Check, on every engine, that a scope of one partition is never treated as a scope of everything."""
        scope = Scope("acme")
        with self.opened() as pair:
            pair.add([Document("text", {_FIELD: "acme"}, "a"), Document("text", {}, "b")], drawn(1, 2))
            engine = pair.engine
            calls: dict[str, Callable[[], Any]] = {
                "add": lambda: _add(engine, ["c"], "acme", scope=scope),
                "update": lambda: engine.update({"a": {"x": 1}}, scope=scope),
                "delete by ids": lambda: engine.delete(["a"], scope=scope),
                "delete by a filter": lambda: engine.delete(And(()), scope=scope),
                "clear": lambda: engine.clear(scope=scope),
                "get": lambda: engine.get(["a"], scope=scope),
                "documents": lambda: list(engine.documents(scope=scope)),
                "count": lambda: engine.count(scope=scope),
                "search": lambda: engine.search(Request(prepared(drawn(2, 1), engine), 1, None, scope)),
            }
            if isinstance(engine, Duplicates):
                calls["duplicates"] = lambda: list(engine.duplicates(0.9, scope=scope))
            for name, call in calls.items():
                with raising(ConfigError, f"{name} in a partition of a collection without partitions"):
                    call()
            pair.check_contents()

    def test_a_filter_may_be_a_scope(self) -> None:
        """Check every engine, partitioned or not."""
        with self.opened() as pair:
            pair.add([Document(f"text {i}", {"n": i % 4}, f"d{i:02d}") for i in range(40)], drawn(1, 40))
            scope = Scope(None, In("n", (1,)))
            names = [f"d{i:02d}" for i in range(40) if i % 4 == 1]
            check(pair.engine.count(scope=scope) == 10, "count sees more or less than the scope")
            check(pair.engine.count(In("n", (2,)), scope=scope) == 0, "a filter leads out of the scope")
            check([d.id for d, _ in pair.engine.documents(scope=scope)] == names, "documents leaves the scope")
            check([d.id for d, _ in pair.engine.get(["d00", "d01"], scope=scope)] == ["d01"], "get leaves the scope")
            (answer,) = pair.engine.search(Request(prepared(drawn(2, 1), pair.engine), 40, None, scope))
            check(sorted(d.id for d in answer.documents) == names, "search leaves the scope, or finds too little")
            check(answer.trace.rows == 10, f"trace.rows counts {answer.trace.rows} documents; the scope holds 10")

    def _filled(self) -> Engine | None:
        engine = self.partitioned(Space("cosine"), _FIELD)
        if engine is not None:
            for tenant in _TENANTS:
                _add(engine, ["a", "b", f"only-{tenant}"], tenant)
        return engine


def _add(
    engine: Engine, names: list[str], tenant: str | int, *, text: str = "text", scope: Scope | None = None
) -> None:
    documents = [Document(f"{text} of {tenant!r}", {_FIELD: tenant, "kind": 1}, name) for name in names]
    vectors, space = prepare(np.abs(drawn(len(names), len(names))), engine.space)
    engine.add(documents, vectors, space, scope=scope)


def _traces(engine: Engine) -> list[Any]:
    """Return the traces of searches in scopes, without the measured times."""
    queries = prepared(drawn(3, 2), engine)
    return [
        (replace(answer.trace, timings={}), sorted(answer.trace.timings))
        for scope in (
            Scope("acme"),
            Scope("acme", In("kind", (2,))),
            Scope("nobody"),
            Scope(None, In(_FIELD, ("acme",))),
        )
        for where in (None, In("kind", (1,)), In("kind", (2,)))
        for answer in engine.search(Request(queries, 3, where, scope))
    ]
