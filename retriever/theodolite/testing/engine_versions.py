"""The engine contract: version rules."""

import random
from collections.abc import Mapping, Sequence
from typing import Any, get_args

import numpy as np

from theodolite.filters import Filter, instant, matches, parse
from theodolite.protocols import Engine, Request, Scope
from theodolite.ranking.versions import Latest, Rule, Superseded, SupersededPolicy, Valid, Versions
from theodolite.scopes import scope_filter
from theodolite.testing.checks import check
from theodolite.testing.reference import EngineUnderTest, drawn, prepared
from theodolite.testing.versions import Reference, plain
from theodolite.types import Document, Space, Version
from theodolite.vectors.prepare import prepare

_FIELD = "tenant"
_TENANTS = ("acme", 1, "1")
_DAYS = [f"2025-0{month}-0{day}" for month in (1, 2, 3) for day in (1, 2)]
_KEYS: list[Any] = ["a", "b", "c", "d", "e", 1, 1.0, True, "1", None]
_RULES: list[tuple[Rule, ...]] = [
    (Latest("key", "day"),),
    (Latest("key", "number"),),
    (Valid("day", "end"),),
    (Superseded("key", "by"),),
    (Superseded("key", "by", "replaces", "day"),),
    (Latest("key", "number"), Valid(end="end"), Superseded("key", replaces="replaces")),
]


class VersionsContract(EngineUnderTest):
    """Tests that documents which are not current are not found, and that the versions of hits are correct."""

    def test_rules_for_versions_mean_what_they_say(self) -> None:
        if "versions" in self.lacks:
            return
        with self.opened() as pair:
            fill(pair.engine, _documents(1, 60))
            self._compare(pair.engine, _documents(1, 60), None, 2)

    def test_rules_for_versions_follow_writes(self) -> None:
        if "versions" in self.lacks:
            return
        with self.opened() as pair:
            engine = pair.engine
            held = {document.id: document for document in _documents(3, 30)}
            fill(engine, list(held.values()))
            for seed in range(4, 9):
                self._compare(engine, list(held.values()), None, seed)
                gone = sorted(held)[seed::7]
                engine.delete(gone)
                held = {name: document for name, document in held.items() if name not in gone}
                new = _documents(seed, 8, first=20)
                fill(engine, new)
                held.update({document.id: document for document in new})
            self._compare(engine, list(held.values()), None, 9)

    def test_partitions_do_not_supersede_one_another(self) -> None:
        if "versions" in self.lacks:
            return
        engine = self.partitioned(Space("cosine"), _FIELD)
        if engine is None:
            return
        documents = _documents(5, 60)
        fill(engine, documents)
        self._compare(engine, documents, _FIELD, 6)
        engine.close()

    def test_without_rules_nothing_is_left_out(self) -> None:
        with self.opened() as pair:
            fill(pair.engine, _documents(7, 20))
            (answer,) = pair.engine.search(Request(prepared(drawn(1, 1), pair.engine), 100))
            check(len(answer.documents) == 20, f"{len(answer.documents)} of 20 documents are found without rules")
            check(not answer.versions, f"without rules versions are {answer.versions}, not empty")
            check(answer.trace.superseded == 0, f"without rules trace.superseded is {answer.trace.superseded}")

    def test_the_best_current_documents_are_found(self) -> None:
        """Check this even if many superseded documents are nearer."""
        if "versions" in self.lacks:
            return
        with self.opened() as pair:
            documents = [
                Document("text", {"key": n // 20, "day": _DAYS[0] if n % 20 else _DAYS[1]}, f"d{n:04d}")
                for n in range(400)
            ]
            # The current documents are farther away than all others.
            raw = np.array([[1.0, 0.001 * n + (0.0 if n % 20 else 1.0)] for n in range(400)])
            vectors, space = prepare(raw, pair.engine.space)
            pair.engine.add(documents, vectors, space)
            versions = Versions((Latest("key", "day"),), _instant("2026-01-01"))
            for exact in (False, True):
                query, _ = prepare(np.array([[1.0, 0.0]]), pair.engine.space, name="queries")
                (answer,) = pair.engine.search(Request(query, 5, exact=exact, versions=versions))
                found = [document.id for document in answer.documents]
                expected = [f"d{n:04d}" for n in range(0, 100, 20)]
                check(found == expected, f"the best current documents are {expected}; found are {found}")
                check(answer.trace.eligible == 20, f"trace.eligible is {answer.trace.eligible}; 20 are current")
                check(answer.trace.superseded == 380, f"trace.superseded is {answer.trace.superseded}, not 380")

    def _compare(self, engine: Engine, documents: Sequence[Document], partition: str | None, seed: int) -> None:
        """Check that searches under all kinds of rules find the same documents as the reference."""
        draw = random.Random(seed)  # noqa: S311 - drawn for a test
        query = prepared(drawn(seed, 1), engine)
        found = 0
        for rules in _RULES:
            for _ in range(4):
                as_of = _instant(draw.choice(["2024-01-01", *_DAYS, "2026-01-01"]))
                versions = Versions(rules, as_of, draw.choice(get_args(SupersededPolicy)))
                where = parse(draw.choice([None, {"lang": "en"}, {"key": "a"}]))
                scope = _scope(draw, partition)
                (answer,) = engine.search(Request(query, 1000, where, scope, versions=versions))
                found += _check_answer(answer, documents, versions, where, scope, partition)
        check(found > 0, "nothing was found by any of the searches")


def fill(engine: Engine, documents: Sequence[Document]) -> None:
    """Add documents with random vectors."""
    vectors, space = prepare(drawn(len(documents), len(documents)), engine.space)
    engine.add(documents, vectors, space)


def _check_answer(
    answer: Any,
    documents: Sequence[Document],
    versions: Versions,
    where: Filter | None,
    scope: Scope | None,
    partition: str | None,
) -> int:
    tree = None if scope is None else scope_filter(scope, partition)
    inside = [document for document in documents if matches(tree, document.metadata, document.id)]
    reference = Reference(inside, versions, lambda one: matches(where, one.metadata, one.id), partition)
    expected = {_name(one): _said(reference.version(one)) for one in reference.found()}
    what = f"{versions}, where {where}, in {scope}"
    check(len(answer.versions) == len(answer.documents), f"{what}: not one version for each document")
    given = {_name(one): _said(version, plain) for one, version in zip(answer.documents, answer.versions, strict=True)}
    check(set(given) == set(expected), f"{what}: found are {sorted(given)}, not {sorted(expected)}")
    for name, said in given.items():
        check(said == expected[name], f"{what}: of {name} is said {said}, not {expected[name]}")
    check(
        answer.trace.superseded == reference.superseded,
        f"{what}: trace.superseded is {answer.trace.superseded}, not {reference.superseded}",
    )
    return len(given)


def _name(document: Document) -> str:
    return f"{document.id} of {document.metadata[_FIELD]!r}"


def _said(version: Version | None, key: Any = lambda value: value) -> Any:
    """Return the contents of a version, with its values in no particular order."""
    if version is None:
        return None
    parts = (version.successors, version.absent, version.substitutes)
    return version.current, *({key(value) for value in part} for part in parts), version.ended


def _scope(draw: random.Random, partition: str | None) -> Scope | None:
    where = parse(draw.choice([None, None, {"n": 1}, {"n": True}]))
    tenant = draw.choice([None, *_TENANTS]) if partition else None
    return None if where is None and tenant is None else Scope(tenant, where)


def _documents(seed: int, count: int, first: int = 0) -> list[Document]:
    draw = random.Random(seed)  # noqa: S311 - drawn for a test
    documents = []
    for number in range(first, first + count):
        metadata: Mapping[str, Any] = {
            "key": draw.choice(_KEYS),
            "by": draw.choice([None, draw.choice(_KEYS), draw.choices(_KEYS, k=2), "gone"]),
            "replaces": draw.choice([None, None, draw.choice(_KEYS), draw.choices(_KEYS, k=2)]),
            "day": draw.choice([*_DAYS, f"{_DAYS[2]}T02:00+02:00", None, "soon"]),
            "end": draw.choice([*_DAYS, None, None]),
            "number": draw.choice([1, 1.0, 2.5, 2**60, 2**60 + 1, None, "2025-01-01", True]),
            "lang": draw.choice(["en", "de"]),
            "n": draw.choice([1, True]),
        }
        kept = {name: value for name, value in metadata.items() if draw.random() < 0.8}
        documents.append(Document("text", {**kept, _FIELD: draw.choice(_TENANTS)}, f"d{number}"))
    return documents


def _instant(text: str) -> int:
    found = instant(text)
    if found is None:
        raise ValueError(text)
    return found
