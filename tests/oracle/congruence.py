"""Compare two engines by random requests over the same documents: equal documents, scores equal to 1e-6.

The local engine is the reference. The other engine gets the same documents and requests.
"""

import random
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from theodolite import Authority, Document, Freshness
from theodolite.filters import And, Compare, Contains, Exists, Filter, Ids, In, Like, Not, Or
from theodolite.protocols import Answer, Boost, Engine, Fusion, Request, Scope
from theodolite.ranking.relevance import Relevance
from theodolite.ranking.versions import Latest, Superseded, SupersededPolicy, Valid, Versions
from theodolite.types import Mode, Vectors
from theodolite.vectors.prepare import prepare

CLOSE = 1e-6
DIMENSION = 32
TENANTS = ("acme", "bolt", 7, "7")
NOW = 1_750_000_000.0
_WORDS = (
    *("refund", "parcel", "invoice", "E-1234", "getUserName", "the", "a", "of", "delivery", "address", "lantern"),
    *("合約", "転換", "환불은", "straße", "v1.2.3"),
)
_SOURCES = ("policy", "wiki", "chat", "mail")


@dataclass(frozen=True)
class Lengths:
    """A boost written by a user."""

    name: str = "lengths"
    field: str = "tags"

    def factors(self, values: Any, now: float, /) -> NDArray[np.float64]:
        return np.array([1 / (1 + len(value)) if isinstance(value, list) else 0.9 for value in values], np.float64)


BOOSTS: tuple[tuple[Boost, ...], ...] = (
    (Freshness("updated", "180d", weight=0.4),),
    (Authority("source", {"policy": 1.0, "wiki": 0.6, "chat": 0.1}, weight=0.6),),
    (Freshness("updated", "2y", weight=0.3), Authority("source", {"mail": 1.0, "chat": 0.2}, weight=0.3)),
    (Lengths(),),
)
RULES = (
    (Latest("page", "revision"),),
    (Valid("updated", "until"),),
    (Superseded("page", by="next", since="updated"),),
    (Latest("page", "updated"), Valid(end="until")),
)


class Drawn:
    """Documents and requests that follow from a seed."""

    def __init__(self, seed: int, documents: int) -> None:
        self._draw = random.Random(seed)
        self._numbers = np.random.default_rng(seed)
        centers = self._numbers.standard_normal((50, DIMENSION))
        self._centers = centers
        self.documents = [self._document(number) for number in range(documents)]
        self.raw = self._vectors(documents)
        for number in range(0, documents, 97):  # equal vectors tie
            self.raw[number : number + 5] = self.raw[number]

    def _vectors(self, count: int) -> NDArray[np.float64]:
        chosen = self._numbers.integers(0, len(self._centers), count)
        return np.asarray(self._centers[chosen] + 0.7 * self._numbers.standard_normal((count, DIMENSION)))

    def _document(self, number: int) -> Document:
        draw = self._draw
        words = [draw.choice(_WORDS) for _ in range(draw.randint(1, 12))]
        day = f"{draw.randint(2019, 2026)}-{draw.randint(1, 12):02}-{draw.randint(1, 28):02}"
        metadata: dict[str, Any] = {
            "tenant": draw.choice(TENANTS),
            "n": number % 100,
            "share": number % 1000 / 1000,
            "page": f"p{number // 4}",
            "revision": draw.randint(1, 3),
        }
        if draw.random() < 0.9:
            metadata["source"] = draw.choice(_SOURCES)
        if draw.random() < 0.8:
            metadata["updated"] = day
        if draw.random() < 0.3:
            metadata["until"] = f"{draw.randint(2024, 2027)}-06-01"
        if draw.random() < 0.2:
            metadata["next"] = f"p{draw.randint(0, len(_WORDS) * 100)}"
        if draw.random() < 0.5:
            metadata["tags"] = [draw.choice("abcde") for _ in range(draw.randint(0, 3))]
        if draw.random() < 0.3:
            metadata["author"] = {"name": draw.choice(("Ann", "Bob")), "age": draw.randint(20, 60)}
        return Document(" ".join(words), metadata, f"d{number * 7919 % 100_003}")

    def where(self, depth: int = 2) -> Filter:
        draw = self._draw
        if depth and draw.random() < 0.4:
            parts = tuple(self.where(depth - 1) for _ in range(draw.randint(1, 3)))
            return draw.choice((And(parts), Or(parts), Not(parts[0])))
        return draw.choice(
            (
                In("source", (draw.choice(_SOURCES),)),
                In("n", tuple(draw.sample(range(100), draw.choice((1, 5, 40))))),
                Compare("share", draw.choice(("$gt", "$lte")), draw.random()),
                Compare("updated", "$gte", f"{draw.randint(2020, 2026)}-03-01"),
                Contains("tags", draw.choice("abcdef")),
                In("tags", ("a", "b")),
                Exists("author"),
                In("author.name", ("Ann",)),
                Compare("author.age", "$lt", draw.randint(20, 60)),
                Like("page", f"p{draw.randint(1, 9)}%"),
                Ids(frozenset(document.id for document in draw.sample(self.documents, 50))),
                In("missing", (None,)),
            )
        )

    def request(self, engine: Engine, *, lexical: bool = True, boosts: bool = True, versions: bool = True) -> Request:
        """Return one request with random options."""
        draw = self._draw
        modes: tuple[Mode, ...] = ("dense", "dense", "hybrid", "lexical") if lexical else ("dense",)
        mode = draw.choice(modes)
        queries = draw.choice((1, 1, 3))
        vectors, _ = prepare(self._vectors(queries), engine.space, name="queries")
        metric = engine.space.metric
        request = Request(vectors, draw.choice((1, 5, 10, 50)), now=NOW, exact=True, mode=mode)
        if draw.random() < 0.6:
            request = replace(request, where=self.where())
        if draw.random() < 0.4:
            inside = In("n", tuple(range(draw.choice((10, 60))))) if draw.random() < 0.5 else None
            tenant = draw.choice(TENANTS) if engine.partition is not None else None
            if tenant is not None or inside is not None:
                request = replace(request, scope=Scope(tenant, inside))
        if boosts and draw.random() < 0.4:
            request = replace(request, boosts=draw.choice(BOOSTS))
        if mode == "dense" and draw.random() < 0.2:
            request = replace(request, min_relevance=draw.choice((0.2, 0.5, 0.8)))
        if mode != "lexical" and (request.boosts or request.min_relevance is not None):
            mapping = None if metric != "dot" else _squashed
            request = replace(request, relevance=Relevance(metric, mapping=mapping))
        if versions and draw.random() < 0.4:
            policies: tuple[SupersededPolicy, ...] = ("hide", "show", "substitute")
            rules = draw.choice(RULES)
            request = replace(request, versions=Versions(rules, int(NOW * 1e6), draw.choice(policies)))
        if mode != "dense":
            texts = [" ".join(draw.sample(_WORDS, draw.randint(1, 4))) for _ in range(queries)]
            request = replace(request, texts=texts, fusion=Fusion(depth=draw.choice((10, 100))))
            if mode == "lexical":
                empty, _ = prepare(np.empty((queries, DIMENSION)), engine.space, name="queries")
                request = replace(request, vectors=Vectors(empty[:, :0]))
        return replace(request, with_vectors=draw.random() < 0.2)


def _squashed(products: NDArray[np.float64]) -> NDArray[np.float64]:
    squashed: NDArray[np.float64] = products / (1 + np.abs(products))
    return squashed


def fill(engine: Engine, drawn: Drawn, batch: int = 1000) -> None:
    """Add the documents, and replace, update and delete some."""
    scope = None
    for start in range(0, len(drawn.documents), batch):
        vectors, space = prepare(drawn.raw[start : start + batch], engine.space)
        engine.add(drawn.documents[start : start + batch], vectors, space, scope=scope)
    again = drawn.documents[10:60]
    vectors, space = prepare(drawn.raw[20:70], engine.space)
    engine.add(again, vectors, space)
    engine.delete(In("n", (13,)))


def compare(expected: Answer, found: Answer, what: str) -> None:
    """Check that two answers are the same."""
    assert [one.id for one in found.documents] == [one.id for one in expected.documents], what
    assert found.documents == expected.documents, what
    for name in ("similarities", "scores", "lexical"):
        one, other = getattr(expected, name), getattr(found, name)
        assert (one is None) == (other is None), f"{what}: {name}"
        if one is not None:
            assert [value is None for value in one] == [value is None for value in other], f"{what}: {name}"
            first, second = ([0.0 if value is None else value for value in values] for values in (one, other))
            assert np.allclose(first, second, rtol=0, atol=CLOSE), f"{what}: {name}"
    assert list(found.versions) == list(expected.versions), what
    if expected.vectors is None:
        assert found.vectors is None, what
    else:
        assert found.vectors is not None, what
        assert found.vectors.tobytes() == expected.vectors.tobytes(), what
    one, other = expected.trace, found.trace
    assert (other.rows, other.eligible, other.superseded) == (one.rows, one.eligible, one.superseded), what
    assert other.complete, what
    assert (other.mode, sorted(other.notes)) == (one.mode, sorted(one.notes)), what
