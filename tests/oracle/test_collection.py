"""A collection against a dict and a brute-force search, through any history of writes, reopenings and readers."""

import itertools
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from numpy.typing import NDArray

from theodolite import Document, DocumentError, Retriever
from theodolite.testing import brute_force
from theodolite.types import Metric

DIMENSION = 6

ids = st.sampled_from([f"d{number}" for number in range(30)])
seeds = st.integers(0, 40)  # few, so that equal vectors tie
tags = st.sampled_from(["red", "green", 1, True, None])
batches = st.lists(st.tuples(ids, seeds, tags), min_size=1, max_size=25)


def vector_of(seed: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal(DIMENSION).astype(np.float32)


class Collection(RuleBasedStateMachine):
    """What the collection should hold is `model`: id -> (document, vector)."""

    @initialize(metric=st.sampled_from(["cosine", "dot", "l2"]))
    def open(self, metric: Metric) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.location = Path(self.folder.name) / "kb"
        self.metric: Metric = metric
        self.kb = Retriever.open(self.location, metric=metric)
        self.reader = Retriever.open(self.location, read_only=True)
        self.model: dict[str, tuple[Document, NDArray[np.float32]]] = {}

    def teardown(self) -> None:
        if hasattr(self, "kb"):
            self.kb.verify()
            self.kb.close()
            self.reader.close()
            self.folder.cleanup()

    @rule(batch=batches, size=st.sampled_from([None, 1, 4, 1024]))
    def add(self, batch: list[tuple[str, int, Any]], size: int | None) -> None:
        documents = [Document(f"text {seed}", {"tag": tag, "seed": seed}, name) for name, seed, tag in batch]
        vectors = np.stack([vector_of(seed) for _, seed, _ in batch])
        assert self.kb.add(documents, vectors=vectors, batch_size=size) == [name for name, _, _ in batch]
        self.model |= {d.id: (d, v) for d, v in zip(documents, vectors, strict=True)}

    @rule(names=st.lists(ids, max_size=6))
    def delete(self, names: list[str]) -> None:
        assert self.kb.delete(names) == len(set(names) & set(self.model))
        for name in names:
            self.model.pop(name, None)

    @rule(names=st.lists(ids, min_size=1, max_size=6), tag=tags, replace=st.booleans())
    def update(self, names: list[str], tag: Any, replace: bool) -> None:
        if not set(names) <= set(self.model):
            with pytest.raises(DocumentError):
                self.kb.update(names, {"tag": tag})
            return
        self.kb.update(names, {"tag": tag}, replace=replace)
        for name in names:
            document, vector = self.model[name]
            metadata = {"tag": tag} if replace else {**document.metadata, "tag": tag}
            self.model[name] = Document(document.text, metadata, name), vector

    @precondition(lambda self: len(self.model) > 12)
    @rule()
    def clear(self) -> None:
        self.kb.clear()
        self.model = {}

    @rule()
    def reopen(self) -> None:
        self.kb.close()
        self.kb = Retriever.open(self.location)

    @rule()
    def another_writer(self) -> None:
        """What a second writer does is seen by the first."""
        with Retriever.open(self.location) as other:
            other.add([Document("other", {"tag": "red", "seed": 0}, "other")], vectors=[vector_of(0)])
        self.model["other"] = Document("other", {"tag": "red", "seed": 0}, "other"), vector_of(0)

    @rule(seed=seeds, k=st.integers(1, 12), tag=st.none() | tags, reader=st.booleans())
    def search(self, seed: int, k: int, tag: Any, reader: bool) -> None:
        query = vector_of(seed)
        chosen = self.matching(tag)
        hits = (self.reader if reader else self.kb).search(
            vector=query, k=k, where=None if tag is None else {"tag": tag}
        )
        assert len(hits) == min(k, len(chosen))
        assert hits.trace.eligible == len(chosen)
        scores = self.scores(query, chosen)
        ranked = sorted(chosen, key=lambda name: (-scores[name], name))[:k]
        for hit, name in zip(hits, ranked, strict=True):
            # Vectors are kept as float32, so scores may differ by its rounding; then so may the order.
            assert abs(hit.score - scores[name]) <= 1e-5 * max(1, abs(scores[name]))
            assert hit.document == self.model[hit.document.id][0]
        for a, b in itertools.pairwise(hits):
            assert (-a.score, a.document.id) < (-b.score, b.document.id)

    @rule(where=st.booleans(), limit=st.none() | st.integers(0, 9), after=ids)
    def list_documents(self, where: bool, limit: int | None, after: str) -> None:
        names = sorted(name for name in self.matching("red" if where else None) if name > after)[:limit]
        listed = list(self.kb.documents({"tag": "red"} if where else None, limit=limit, after=after))
        assert listed == [self.model[name][0] for name in names]

    @rule(names=st.lists(ids, max_size=5))
    def get(self, names: list[str]) -> None:
        assert self.reader.get(names) == [self.model[name][0] for name in names if name in self.model]

    @invariant()
    def counts(self) -> None:
        if hasattr(self, "kb"):
            assert self.kb.count() == self.reader.count() == len(self.model)
            assert self.kb.count({"tag": "green"}) == len(self.matching("green"))

    def matching(self, tag: Any) -> list[str]:
        """The ids a filter admits; True is not 1, and no filter admits all."""
        if tag is None:
            return list(self.model)
        return [
            name
            for name, (document, _) in self.model.items()
            if document.metadata["tag"] == tag and type(document.metadata["tag"]) is type(tag)
        ]

    def scores(self, query: NDArray[np.float32], names: Iterable[str]) -> dict[str, float]:
        chosen = list(names)
        if not chosen:
            return {}
        vectors = np.stack([self.model[name][1] for name in chosen])
        return dict(zip(chosen, brute_force(query, vectors, self.metric).tolist(), strict=True))


TestCollection = Collection.TestCase
TestCollection.settings = settings(
    max_examples=150, stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
