"""A tenant sees the same with or without other tenants: every answer, every error, every trace.

This is stronger than searching for forbidden data: any information about other tenants, in any message or number, would
be a difference between the two.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from tests.oracle.filters import VALUES, Draw
from tests.sampling import sampled

from theodolite import Authority, Document, F, Freshness, Hits, Latest, Retriever, Superseded, Valid
from theodolite.filters import And, Filter, In, Not, Or, parse

DIMENSION = 3
MINE = "acme"
OTHERS: list[Any] = ["bolt", '"acme"', "acme\0", "ACME", "acme ", "", 0, 7, "7", 2**70]
IDS = [
    "a",
    "b",
    "",
    '"',
    "'; DROP TABLE documents; --",
    "\0",
    "a\0b",
    '["acme","a"]',
    "é",
    "e\u0301",
    "%",
    "\ud800",
    "7",
]
FIELDS = ["tenant", "tenant.x", "a", "a.b", "n", "n.tenant", "secret", '"', "metadata", "partition", "row"]
WRONG: list[Any] = [
    *({"$where": "1"}, {"tenant": {"$regex": ".*"}}, {"$or": []}, {"$nor": [{}]}, {"$and": [{}]}, {"$not": {}}),
    *({"a": {}}, {"a": {"b": 1}}, {1: 2}, "tenant", 7, [], {"$or": {"tenant": "bolt"}}, {"tenant": {"$in": "bolt"}}),
    *({"secret": {"$gt": [10**400]}}, {"secret": [[10**400]]}, {"secret": {"$lt": 10**400}}, {"secret": 10**5000}),
    *({"secret": {"$like": "%\ud800"}}, {"\ud800": 1}, {"": None}, {"$": 1}, {"a" * 5000: 1}, {"a.": 1}, {".a": 1}),
]


RULES: list[Any] = [
    Latest("a", "n"),
    Latest("tenant", "secret"),
    Valid("a", "n"),
    Superseded("a", "n", "secret", "a.b"),
    Superseded("a", replaces="n"),
]


class Prying:
    """A boost that raises an error with all values it gets."""

    field = "a"

    def __init__(self, name: str) -> None:
        self.name = name

    def factors(self, values: Sequence[Any], now: float, /) -> Any:
        if self.name == "raising":
            raise ValueError(sorted(map(plain, values)))
        return np.array([0.5 if value is None else 1 + (self.name == "wrong") for value in values], np.float64)


BOOSTS: list[Any] = [
    Freshness("a", "30d"),
    Freshness("secret", "1y", weight=0.9, missing="error", name="strict"),
    Freshness("n", "30d", future="error", name="past"),
    Authority("a", {"a": 1.0, 1: 0.5, None: 0.1}),
    Authority("secret", {"acme": 0.0, None: 1.0}, default=0.5, weight=0.9, name="secretive"),
    *(Prying(name) for name in ("raising", "wrong", "right")),
]


def shortest(query: str, passages: Sequence[str]) -> list[float]:
    return [-float(len(passage)) for passage in passages]


class Pair:
    """A tenant's view of its own collection, and of a shared one."""

    def __init__(self, seed: int) -> None:
        self.draw = Draw(seed)
        self.choose = self.draw.random.choice
        self.alone = Retriever.open(partition="tenant")
        self.shared = Retriever.open(partition="tenant")
        self.views = self.alone.scoped(tenant=MINE), self.shared.scoped(tenant=MINE)
        self.neighbors = {other: self.shared.scoped(tenant=other) for other in OTHERS if other != ""}
        self.kept: dict[Any, list[Any]] = {}
        # One document each, so that both know the dimension.
        self.both(lambda view: view.add([Document("t", {"a": 1}, "a")], vectors=np.ones((1, DIMENSION))))
        for other in self.neighbors:
            self.neighbor(other)

    def close(self) -> None:
        self.alone.close()
        self.shared.close()

    def step(self) -> None:
        """Let another tenant act at random, then do something hostile in both views and compare the outcomes."""
        if self.draw.random.random() < 0.2:
            self.neighbor(self.choose(list(self.neighbors)))
        self.both(self.choose([self.read, self.read, self.read, self.add, self.update, self.delete, self.narrow])())

    def both(self, act: Callable[[Retriever], Any]) -> None:
        alone, shared = (outcome(act, view) for view in self.views)
        assert alone == shared
        assert contents(self.views[0]) == contents(self.views[1])

    def check(self) -> None:
        """Check that the other tenants are unchanged."""
        for other, view in self.neighbors.items():
            assert contents(view) == self.kept[other]
        assert len(self.shared) == len(self.views[1]) + sum(map(len, self.kept.values()))

    def neighbor(self, other: Any) -> None:
        view = self.neighbors[other]
        names = [name for name in IDS if name not in ("", "\ud800")]
        if self.draw.random.random() < 0.2:
            view.delete(self.choose(names))
        name, secret = self.choose(names), self.choose([*VALUES, "acme", {"tenant": "acme"}])
        view.add([Document("secret", {"secret": secret, "a": self.choose(VALUES)}, name)], vectors=self.vectors(1))
        self.kept[other] = contents(view)

    def read(self) -> Callable[[Retriever], Any]:
        where, name, vectors = self.where(), self.choose(IDS), self.vectors(2)
        k, like = self.choose([1, 3, 100]), [name, self.choose(["a", name])]
        return self.choose(
            [
                lambda view: view.count(where),
                lambda view: list(view.documents(where, after=name)),
                lambda view: view.search_many(vectors=vectors, k=k, where=where),
                lambda view: view.search(like=like, k=k, where=where),
                self.ranked(),
                self.ranked(),
                self.ranked(),
                lambda view: list(view.duplicates(0.6, where=where)),
                lambda view: view.get([name, "a", "b"], vectors=True),
                lambda view: (view.info(), len(view), repr(view)),
                lambda view: view.verify(),
                lambda view: view.reindex("hnsw"),
            ]
        )

    def ranked(self) -> Callable[[Retriever], Any]:
        """A search with some of the stages there are."""
        draw = self.draw.random
        options: dict[str, Any] = {"k": self.choose([1, 3, 100])}
        options["mode"] = mode = self.choose(["dense", "lexical", "hybrid"])
        options["boosts"] = draw.sample(BOOSTS, self.choose([0, 0, 1, 2]))
        options["where"] = self.where() if draw.random() < 0.4 else None
        if draw.random() < 0.5:
            options["versions"] = draw.sample(RULES, self.choose([1, 1, 2]))
            options["superseded"] = self.choose(["hide", "show", "substitute"])
        if options["boosts"] or "versions" in options:
            options["as_of"] = self.choose(["2024-06-01", "2025-03-01"])
        stages = {"dedupe": 0.8, "diversity": 0.5, "rerank": shortest, "min_relevance": 0.3}
        options |= {name: value for name, value in stages.items() if draw.random() < 0.3}
        text, vectors = (
            self.choose(["secret", "t", "t secret acme", "%", "\ud800 t", '" OR secret', "t*"]),
            self.vectors(2),
        )
        return lambda view: [
            [hits, [str(hit.explain()) for hit in hits], [hit.explain().to_dict() for hit in hits]]
            for hits in view.search_many(
                None if mode == "dense" and "rerank" not in options else [text, "t"],
                vectors=None if mode == "lexical" else vectors,
                **options,
            )
        ]

    def add(self) -> Callable[[Retriever], Any]:
        metadata = self.choose(
            [{}, {"tenant": MINE}, *({"tenant": value} for value in (*OTHERS, None, True, ["acme"]))]
        )
        metadata = {**metadata, "a": self.choose([*VALUES, 10**400, {1}, float("nan")])}
        names, vectors = [self.choose(IDS), self.choose(IDS)], self.vectors(2)
        return lambda view: view.add([Document("t", metadata, name) for name in names], vectors=vectors)

    def update(self) -> Callable[[Retriever], Any]:
        names = self.draw.random.sample(IDS, self.choose([1, 1, 2]))
        change: dict[str, Any] = self.choose(
            [{"tenant": self.choose([*OTHERS, MINE, None, 1.0])}, {"b": self.choose(VALUES)}]
        )
        again = self.choose([False, True])
        return lambda view: view.update(names, change, replace=again)

    def delete(self) -> Callable[[Retriever], Any]:
        where, names = self.where(), self.draw.random.sample(IDS, 2)
        return self.choose(
            [
                lambda view: view.delete(names),
                lambda view: view.delete(where=And((In("a", (1,)), where)) if isinstance(where, Filter) else where),
                lambda view: view.delete(names[0], where=where),
            ]
        )

    def narrow(self) -> Callable[[Retriever], Any]:
        """Views of my view, and what they let me do."""
        where, fields = self.where(), self.choose([{}, {"tenant": self.choose([*OTHERS, MINE, [MINE, "bolt"], None])}])
        act = self.choose([self.read, self.read, self.add, self.update])()
        return lambda view: act(view.scoped(where, **fields).scoped({"a": {"$ne": "never"}}))

    def where(self) -> Any:
        """A filter of mine: of any shape, wrong, deep, or built in Python."""
        drawn = self.draw.where(FIELDS, [*VALUES, *OTHERS, MINE])
        match self.draw.random.randrange(8):
            case 0:
                return self.choose(WRONG)
            case 1:
                for _ in range(self.choose([5, 60, 80])):
                    drawn = {self.choose(["$and", "$or", "$nor"]): [drawn]}
                return drawn
            case 2:
                return {"$or": [drawn, {"tenant": self.choose(OTHERS)}, {"tenant": {"$ne": MINE}}]}
            case 3:
                other: Filter = F("tenant") != MINE
                return self.choose([other, Or((other, And(()))), Not(Or(())), ~other | (F("secret") > 0)])
            case 4:
                return parse(drawn)
            case _:
                return drawn

    def vectors(self, count: int) -> Any:
        return np.array([[self.draw.random.gauss(0, 1) for _ in range(DIMENSION)] for _ in range(count)], np.float32)


def outcome(act: Callable[[Retriever], Any], view: Retriever) -> Any:
    """Return the whole result or error, without times."""
    try:
        return plain(act(view))
    except Exception as error:
        details = {name: value for name, value in vars(error).items() if not name.startswith("__")}
        return type(error).__name__, str(error), repr(details)


def plain(value: Any) -> Any:
    """The parts of an answer, exactly as they are: to Python 1, 1.0 and True are equal."""
    if isinstance(value, Hits):
        trace = replace(value.trace, timings={})
        return repr(value.items), repr(trace), sorted(value.trace.timings)
    if isinstance(value, np.ndarray):
        return value.tobytes()
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return repr(value)


def contents(view: Retriever) -> Any:
    return plain(list(view.documents(vectors=True)))


def fuzz(seed: int, steps: int) -> None:
    pair = Pair(seed)
    try:
        for _ in range(steps):
            pair.step()
            pair.check()
        pair.shared.verify()
    finally:
        pair.close()


def test_others_make_no_difference() -> None:
    fuzz(1, sampled(250))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 12))
def test_ten_thousand_hostile_acts_make_no_difference(seed: int) -> None:
    fuzz(seed, 1000)
