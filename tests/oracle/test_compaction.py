"""A compaction changes no answer: ids, scores and their parts are the same before and after, bit for bit."""

import random
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.oracle.filters import Draw

from theodolite import Authority, Document, Freshness, Latest, Retriever, Superseded
from theodolite.protocols import Answer, Request
from theodolite.vectors.metrics import MetricName

DIMENSION = 24
COUNT = 2000
TENANTS = ["acme", "zenith", "umbra"]
WORDS = ["refund", "parcel", "invoice", "E-1234", "getUserName", "the", "policy", "Straße", "退款", "order 1,000"]
RULES = [Latest("series", "revision"), Superseded("key", "replaces")]
BOOSTS = [
    Freshness("day", "90d", weight=0.5),
    Authority("rank", {"high": 1.0, "low": 0.3}, default=0.5, weight=0.9),
]


class Exact:
    """An engine that never takes the approximate index."""

    def __init__(self, engine: Any) -> None:
        self._inner = engine

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def search(self, request: Request) -> list[Answer]:
        answers: list[Answer] = self._inner.search(replace(request, exact=True))
        return answers


def vectors(draw: random.Random, count: int) -> Any:
    """Few directions, so that many tie."""
    found = np.random.default_rng(draw.randrange(1 << 30)).standard_normal((count, DIMENSION)).astype(np.float32)
    found[:: draw.randrange(3, 9)] = found[0]
    return found


def documents(draw: random.Random, names: list[int]) -> list[Document]:
    metadata = Draw(draw.randrange(1 << 30))
    return [
        Document(
            " ".join(draw.choices(WORDS, k=draw.randrange(1, 9))),
            {
                **metadata.metadata(),
                "tenant": TENANTS[number % len(TENANTS)],
                "series": draw.randrange(600),
                "revision": draw.randrange(9),
                "key": f"k{number}",
                "replaces": f"k{draw.randrange(COUNT)}" if draw.random() < 0.1 else None,
                "day": (date(2025, 1, 1) + timedelta(days=draw.randrange(500))).isoformat(),
                "rank": draw.choice(["high", "low", None]),
                "n": number % 7,
            },
            f"d{number}",
        )
        for number in names
    ]


def fill(kb: Retriever, draw: random.Random) -> None:
    """Documents that are added, replaced, updated and deleted, in several commits."""
    kb.add(documents(draw, list(range(COUNT))), vectors=vectors(draw, COUNT), batch_size=700)
    for _ in range(4):
        some = draw.sample(range(COUNT), COUNT // 5)
        kb.add(documents(draw, some), vectors=vectors(draw, len(some)))
        for tenant in TENANTS:
            view = kb.scoped(tenant=tenant)
            view.delete([f"d{draw.randrange(COUNT)}" for _ in range(60)])
            view.delete(where={"n": draw.randrange(7), "rank": "low", "revision": draw.randrange(9)})
            for name in draw.sample([document.id for document in view.documents(limit=300)], 20):
                view.update(name, {"rank": "high", "n": draw.randrange(7)})


def questions(draw: random.Random) -> list[dict[str, Any]]:
    """Options of searches, with the scope under `scope`."""
    found: list[dict[str, Any]] = []
    filters = Draw(draw.randrange(1 << 30))
    for number in range(80):
        mode = ("dense", "dense", "lexical", "hybrid")[number % 4]
        asked: dict[str, Any] = {"k": draw.choice([1, 10, 100]), "mode": mode}
        if mode != "dense":
            asked["query"] = " ".join(draw.choices(WORDS, k=3))
        if mode != "lexical":
            asked["vector"] = vectors(draw, 1)[0]
        if draw.random() < 0.5:
            asked["where"] = draw.choice([filters.where(), {"n": {"$in": [1, 2, 5]}}, {"day": {"$gte": "2025-09-01"}}])
        if draw.random() < 0.5:
            asked["boosts"] = draw.sample(BOOSTS, draw.randrange(1, 3))
        if draw.random() < 0.5:
            asked |= {"versions": RULES, "superseded": draw.choice(["hide", "hide", "show"])}
        if "boosts" in asked or "versions" in asked:
            asked["as_of"] = "2026-01-01"
        if draw.random() < 0.3:
            asked |= {"dedupe": 0.99, "diversity": draw.choice([0.0, 0.4])}
        asked["scope"] = draw.choice([None, {"tenant": draw.choice(TENANTS)}, {"n": 3}])
        found.append(asked)
    return found


def answers(kb: Retriever, asked: list[dict[str, Any]]) -> list[Any]:
    found: list[Any] = []
    for options in asked:
        given = dict(options)
        scope = given.pop("scope")
        view = kb if scope is None else kb.scoped(scope)
        found.append(
            [
                (
                    hit.document,
                    hit.score.hex(),
                    {name: float(part).hex() for name, part in hit.scores.items()},
                    hit.version,
                )
                for hit in view.search(**given)
            ]
        )
    found.append([(document, vector.tobytes()) for document, vector in kb.documents(vectors=True)])
    found.append({name: field.count for name, field in kb.fields().items()})
    return found


def exact(kb: Retriever) -> Retriever:
    return Retriever(Exact(kb._engine))


@pytest.mark.parametrize(("metric", "index"), [("cosine", "hnsw"), ("l2", "flat")])
@pytest.mark.thorough
def test_no_answer_changes(tmp_path: Path, metric: MetricName, index: str) -> None:
    draw = random.Random(f"{metric} {index}")
    with Retriever.open(tmp_path / "kb", metric=metric, partition="tenant", compact_at=None) as kb:
        fill(kb, draw)
        kb.reindex(index)
        asked = questions(draw)
        before = answers(exact(kb), asked)
        assert sum(bool(found) for found in before) > 55
        assert kb.compact().rows > COUNT // 2
        assert answers(exact(kb), asked) == before
        assert kb.verify().sound
    with Retriever.open(tmp_path / "kb", compact_at=None) as kb:
        assert answers(exact(kb), asked) == before
        # And once more, after further commits on top of the compacted ones.
        fill(kb, draw)
        before = answers(exact(kb), asked)
        kb.compact()
        assert answers(exact(kb), asked) == before
        kb.verify()
