"""Hostile names, ids, values, filters and tenants, with the reference evaluation of filters as the oracle.

A store that read any of them as a part of its query language would answer otherwise than the reference, fail with an
error of its own, or change something else.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from tests.oracle.filters import Draw, Metadata

from theodolite import Document, TheodoliteError
from theodolite.errors import UnsupportedError
from theodolite.filters import Filter, matches, parse
from theodolite.metadata import encode
from theodolite.protocols import Engine, Request, Scope
from theodolite.scopes import key_of, within
from theodolite.vectors.prepare import prepare

TENANT = "ten'ant\"; --"
"""The field that partitions the collections."""

ATOMS = [
    *("'", "''", '"', '""', "`", "\\", "\\'", '\\"', "\\\\", "\0", "\1", "\2", "\n", "\r\n", "\t", "\x7f", "\u2028"),
    *("; DROP TABLE documents_1; --", "' OR 1=1 --", '" or pk != "', "') OR ('1'='1", "/*", "*/", "--", "#", ";"),
    *("%", "_", "%s", "%%", "%(a)s", "{}", "{0}", "{x}", "$1", "$$", "$a$", ":a", "?", "@>", "||", "&&", "::text"),
    *(
        "pg_sleep(9)",
        "' || pg_sleep(9) || '",
        "E'\\x41'",
        "U&'\\0041'",
        "current_user",
        "NULL",
        "null",
        "true",
        "{",
        "[",
    ),
    *(
        "]",
        "}",
        '{"a": 1}',
        '"]}',
        "json_contains(a, 1)",
        "pk in ['a']",
        "like '%'",
        "COPY",
        "\\.",
        "\\N",
        "a",
        "A",
        "1",
    ),
    *(
        "é",
        "e\u0301",
        "\ue000",
        "\uffff",
        "\U0001f600",
        "\U000f0000",
        "\u202e",
        "ﬀ",
        "İ",
        "ß",
        "../..",
        "/",
        "~",
        " ",
        "",
    ),
]
NUMBERS: list[Any] = [0, 1, -1, 1.0, 2.5, 2**53 + 1, 2**70, 10**400, 1e300, True, False, None]
OPERATORS = ("$like", "$ilike")


class HostileDraw(Draw):
    """A source of hostile metadata and filters. Names and values come from small pools, so that filters match."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.names = list(dict.fromkeys([name for name in map(self.field, range(24)) if name != TENANT]))
        self.texts = [self.text() for _ in range(30)]
        self.tenants: list[str | int] = [*dict.fromkeys(filter(None, self.texts[:5])), 7, "7"]

    def text(self) -> str:
        return "".join(self.random.choices(ATOMS, k=self.random.randint(1, 3)))

    def field(self, _: int = 0) -> str:
        """A name that filters can use: names that begin with a dollar sign are operators."""
        return self.text().lstrip("$")

    def value(self) -> Any:
        kind = self.random.random()
        if kind < 0.7:
            return self.random.choice(self.texts)
        if kind < 0.8:
            return self.random.choice(NUMBERS)
        if kind < 0.95:
            return [self.random.choice([*self.texts, *NUMBERS]) for _ in range(self.random.randint(0, 3))]
        return {self.random.choice(self.names): self.random.choice(self.texts)}

    def hostile_metadata(self) -> Metadata:
        chosen = self.random.sample(self.names, self.random.randint(0, 4))
        metadata = {name: self.value() for name in chosen}
        if self.random.random() < 0.1:
            metadata["$" + self.text()] = self.value()
        return {**metadata, TENANT: self.random.choice(self.tenants)}

    def hostile_where(self) -> dict[str, Any]:
        values = [*self.random.sample(self.texts, 8), *self.random.sample(NUMBERS, 3), self.text()]
        values += [[self.random.choice(self.texts)]]
        paths = ["{}.{}".format(*self.random.sample(self.names, 2)), self.field(), TENANT]
        return self.where([*self.random.sample(self.names, 6), *paths], values)

    def _condition(self, operator: str, values: list[Any]) -> dict[str, Any]:
        if operator in OPERATORS:
            pattern = "".join(self.random.choices(["%", "_", *self.texts], k=self.random.randint(1, 3)))
            # A backslash escapes what follows, and must escape something.
            return {operator: pattern.replace("\\", "\\\\")}
        if self.random.random() < 0.02:
            return {"$eq": self.text() + "\ud800"}  # no text: equal to nothing that is stored
        return super()._condition(operator, values)


@dataclass
class Injection:
    """Runs hostile calls on an engine that is empty and partitioned by `TENANT`, and checks each answer.

    Attributes:
        made: how many cases of each kind have been run.
        stored: what the engine must hold, by the key of the partition and the id.
    """

    engine: Engine
    draw: HostileDraw
    made: Counter[str] = field(default_factory=Counter)
    stored: dict[tuple[str, str], Document] = field(default_factory=dict)

    def run(self, cases: int, documents: int = 80) -> None:
        """Store hostile documents, run so many cases, and compare all documents at the end."""
        self.add(documents)
        kinds = {"filter": 80, "search": 10, "get": 5, "update": 2, "delete": 2, "words": 1}
        for kind in self.draw.random.choices([*kinds], [*kinds.values()], k=cases):
            try:
                getattr(self, f"check_{kind}")()
                self.made[kind] += 1
            except UnsupportedError:  # declared: the store has no expression for it, or lacks a part of a search
                self.made["unsupported"] += 1
            except (AssertionError, TheodoliteError) as error:
                raise AssertionError(f"{kind} {sum(self.made.values())}, {type(error).__name__}: {error}") from error
        self.check_contents()

    def add(self, count: int) -> None:
        documents = [
            Document(self.draw.text(), self.draw.hostile_metadata(), self.draw.text() or "empty") for _ in range(count)
        ]
        rows = np.random.default_rng(self.draw.random.getrandbits(32)).standard_normal((count, 4))
        vectors, space = prepare(rows, self.engine.space)
        self.engine.add(documents, vectors, space)
        self.made["document"] += count
        self.stored |= {(key_of(one.metadata[TENANT]), one.id): one for one in documents}

    def check_filter(self) -> None:
        where, scope = self._where()
        found = [one.id for one, _ in self.engine.documents(where, scope=scope)]
        expected = sorted(name for _, name in self._passing(where, scope))
        assert found == expected, f"{where} in {scope} passes {found}, not {expected}"

    def check_search(self) -> None:
        where, scope = self._where()
        query, _ = prepare(np.ones((1, 4)), self.engine.space, name="queries")
        (answer,) = self.engine.search(Request(query, len(self.stored), where, scope))
        found, expected = sorted(one.id for one in answer.documents), sorted(n for _, n in self._passing(where, scope))
        assert found == expected, f"a search under {where} in {scope} finds {found}, not {expected}"

    def check_words(self) -> None:
        where, scope = self._where()
        query, _ = prepare(np.ones((1, 4)), self.engine.space, name="queries")
        request = Request(query, 50, where, scope, texts=[self.draw.text() + " " + self.draw.text()], mode="hybrid")
        (answer,) = self.engine.search(request)
        names = {name for _, name in self._passing(where, scope)}
        assert {one.id for one in answer.documents} <= names, f"{request} leaves the filter"

    def check_get(self) -> None:
        scope = self._scope(always=True)
        asked = [self.draw.text(), *self.draw.random.sample([name for _, name in self.stored], 3)]
        asked = list(dict.fromkeys(name for name in asked if name))
        found = [one for one, _ in self.engine.get(asked, scope=scope)]
        expected = [self.stored[scope_key(scope), name] for name in asked if (scope_key(scope), name) in self.stored]
        assert plain(found) == plain(expected), f"get({asked}) in {scope} gives {found}"

    def check_update(self) -> None:
        key = self.draw.random.choice([*self.stored])
        old = self.stored[key]
        change = {**self.draw.hostile_metadata(), TENANT: old.metadata[TENANT]}
        self.engine.update({old.id: change}, scope=Scope(old.metadata[TENANT]))
        self.stored[key] = Document(old.text, {**old.metadata, **change}, old.id)

    def check_delete(self) -> None:
        scope = self._scope(always=True)
        where = parse(self.draw.hostile_where())
        gone = self._passing(where, scope)
        if where is None or len(gone) > len(self.stored) // 8:
            return
        assert self.engine.delete(where, scope=scope) == len(gone), f"delete({where}) in {scope}"
        for key in gone:
            del self.stored[key]
        if len(self.stored) < 40:
            self.add(20)

    def check_contents(self) -> None:
        found = sorted(plain([one for one, _ in self.engine.documents()]))
        assert found == sorted(plain([*self.stored.values()]))

    def _where(self) -> tuple[Filter | None, Scope | None]:
        return parse(self.draw.hostile_where()), self._scope()

    def _scope(self, *, always: bool = False) -> Scope:
        chance = self.draw.random.random()
        where = parse(self.draw.hostile_where()) if chance < 0.2 and not always else None
        tenant = self.draw.random.choice(self.draw.tenants) if always or chance < 0.6 else None
        return Scope(tenant, where)

    def _passing(self, where: Filter | None, scope: Scope | None) -> list[tuple[str, str]]:
        tree = within(scope, TENANT, where)
        return [key for key, one in self.stored.items() if tree is None or matches(tree, one.metadata, one.id)]


def scope_key(scope: Scope) -> str:
    return key_of(scope.partition)


def plain(documents: list[Document]) -> list[tuple[str, str, str]]:
    return [(one.id, one.text, encode(one.metadata, canonical=True)) for one in documents]


def hostile_names(count: int, seed: int = 1) -> list[str]:
    """Return distinct names for collections."""
    draw = HostileDraw(seed)
    names: dict[str, None] = {}
    while len(names) < count:
        names[draw.text()] = None
    return list(names)
