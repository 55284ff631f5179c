"""A collection against a dict and a brute-force search, through any history of writes, reopenings and readers."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from numpy.typing import NDArray
from tests.sampling import sampled

from theodolite import Document, DocumentError, EmbedderOptions, Retriever
from theodolite.engines.local.maintenance.compact import MIN_DEAD
from theodolite.testing import brute_force
from theodolite.types import Space
from theodolite.vectors.metrics import MetricName
from theodolite.vectors.prepare import prepare

DIMENSION = 6
SEEDS = 41  # few, so that equal vectors tie

Model = dict[str, tuple[Document, NDArray[np.float32]]]

ids = st.sampled_from([f"d{number}" for number in range(30)])
seeds = st.integers(0, SEEDS - 1)
tags = st.sampled_from(["red", "green", 1, True, None])
batches = st.lists(st.tuples(ids, seeds, tags), min_size=1, max_size=25)
sizes = st.sampled_from([None, 1, 4, 1024])
writers = st.integers(0, 1)
everyone = st.integers(0, 2)


def vector_of(seed: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal(DIMENSION).astype(np.float32)


def opened(location: Path | None, **settings: Any) -> Retriever:
    """Questions of any length are meant here, in whatever order; without on_drift some would be refused."""
    return Retriever.open(location, **settings, embedder=EmbedderOptions(on_drift="warn"))


class Collection(RuleBasedStateMachine):
    """Two writers and a reader have the same folder open; `model` holds the expected documents."""

    @initialize(metric=st.sampled_from(["cosine", "dot", "l2"]), memory=st.booleans())
    def open(self, metric: MetricName, memory: bool) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.location = Path(self.folder.name) / "kb"
        self.space = Space(metric, DIMENSION, "any")
        first = opened(None if memory else self.location, metric=metric, create=True)
        self.memory = memory
        self.open_ones = [first] * 3 if memory else [first, *self.others()]
        self.model: Model = {}

    def others(self) -> list[Retriever]:
        return [opened(self.location), opened(self.location, read_only=True)]

    def teardown(self) -> None:
        if not hasattr(self, "open_ones"):
            return
        with self.folder:
            try:
                self.check_everything()
            finally:
                for kb in self.open_ones:
                    kb.close()
            if not self.memory:
                with opened(self.location) as again:
                    self.open_ones = [again]
                    self.check_everything()

    @rule(batch=batches, size=sizes, who=writers)
    def add(self, batch: list[tuple[str, int, Any]], size: int | None, who: int) -> None:
        self.store([(name, seed, tag) for name, seed, tag in batch], size, who)

    @rule(first=st.integers(0, 600), count=st.integers(200, 600), tag=tags, who=writers)
    def add_many(self, first: int, count: int, tag: Any, who: int) -> None:
        """Add so many that searches scan codes, in blocks where none, some or all documents pass."""
        names = [f"m{number}" for number in range(first, first + count)]
        self.store([(name, i % SEEDS, tag) for i, name in enumerate(names)], 256, who)
        for who in range(3):  # the new rows become blocks of their own; then all of them are wanted
            self.search(0, 1, None, who)
            self.search(0, 2 * count, tag, who)

    def store(self, batch: list[tuple[str, int, Any]], size: int | None, who: int) -> None:
        documents = [Document(f"text {seed}", {"tag": tag, "seed": seed}, name) for name, seed, tag in batch]
        vectors = np.stack([vector_of(seed) for _, seed, _ in batch])
        assert self.open_ones[who].add(documents, vectors=vectors, batch_size=size) == [name for name, _, _ in batch]
        prepared, _ = prepare(vectors, self.space)
        self.model |= {d.id: (d, v) for d, v in zip(documents, prepared, strict=True)}

    @rule(names=st.lists(ids, max_size=6), who=writers)
    def delete(self, names: list[str], who: int) -> None:
        self.remove(names, who)

    @rule(first=st.integers(0, 900), count=st.integers(1, 900), who=writers)
    def delete_many(self, first: int, count: int, who: int) -> None:
        self.remove([f"m{number}" for number in range(first, first + count)], who)

    def remove(self, names: list[str], who: int) -> None:
        assert self.open_ones[who].delete(names) == len(set(names) & set(self.model))
        for name in names:
            self.model.pop(name, None)

    @rule(names=st.lists(ids, min_size=1, max_size=6), tag=tags, replace=st.booleans(), who=writers)
    def update(self, names: list[str], tag: Any, replace: bool, who: int) -> None:
        if not set(names) <= set(self.model):
            with pytest.raises(DocumentError):
                self.open_ones[who].update(names, {"tag": tag})
            return
        self.open_ones[who].update(names, {"tag": tag}, replace=replace)
        for name in names:
            document, vector = self.model[name]
            metadata = {"tag": tag} if replace else {**document.metadata, "tag": tag}
            self.model[name] = Document(document.text, metadata, name), vector

    @precondition(lambda self: len(self.model) > 12)
    @rule(who=writers)
    def clear(self, who: int) -> None:
        self.open_ones[who].clear()
        self.model = {}

    @rule(who=writers)
    def compact(self, who: int) -> None:
        kb = self.open_ones[who]
        dead = kb.info()["deleted_rows"]
        removed = kb.compact().rows
        assert removed == dead or (removed == 0 and dead >= MIN_DEAD)  # the background may have been first
        for kb in self.open_ones:
            info = kb.info()
            assert (info["documents"], info["rows"], info["deleted_rows"]) == (len(self.model), len(self.model), 0)

    @precondition(lambda self: not self.memory)
    @rule(who=everyone)
    def reopen(self, who: int) -> None:
        self.open_ones[who].close()
        self.open_ones[who] = opened(self.location, read_only=who == 2)

    @rule(seed=seeds, k=st.integers(1, 12) | st.integers(20, 1500), tag=st.none() | tags, who=everyone)
    def ask(self, seed: int, k: int, tag: Any, who: int) -> None:
        self.search(seed, k, tag, who)

    def search(self, seed: int, k: int, tag: Any, who: int) -> None:
        chosen = self.matching(tag)
        hits = self.open_ones[who].search(vector=vector_of(seed), k=k, where=None if tag is None else {"tag": tag})
        assert hits.trace.rows == len(self.model)
        assert hits.trace.eligible == len(chosen)
        query, _ = prepare([vector_of(seed)], self.space)
        scores: dict[str, float] = {}
        if chosen:
            exact = brute_force(query[0], np.stack([self.model[name][1] for name in chosen]), self.space.metric)
            scores = dict(zip(chosen, exact.astype(np.float32).tolist(), strict=True))
        ranked = sorted(chosen, key=lambda name: (-scores[name], name))[:k]
        assert [hit.document.id for hit in hits] == ranked
        assert [hit.rank for hit in hits] == list(range(1, len(ranked) + 1))
        for hit, name in zip(hits, ranked, strict=True):
            assert abs(hit.score - scores[name]) <= 1e-6 * max(1, abs(scores[name]))
            assert hit.document == self.model[name][0]

    @rule(tag=st.none() | tags, limit=st.none() | st.integers(0, 300), after=ids, who=everyone)
    def list_documents(self, tag: Any, limit: int | None, after: str, who: int) -> None:
        names = sorted(name for name in self.matching(tag) if name > after)[:limit]
        where = None if tag is None else {"tag": tag}
        listed = list(self.open_ones[who].documents(where, limit=limit, after=after))
        assert listed == [self.model[name][0] for name in names]

    @rule(names=st.lists(ids, max_size=5), who=everyone)
    def get(self, names: list[str], who: int) -> None:
        assert self.open_ones[who].get(names) == [self.model[name][0] for name in names if name in self.model]

    @invariant()
    def counts(self) -> None:
        if hasattr(self, "open_ones"):
            green = len(self.matching("green"))
            for kb in self.open_ones:
                assert kb.count() == len(self.model)
                assert kb.count({"tag": "green"}) == green

    def check_everything(self) -> None:
        for kb in self.open_ones:
            held = {document.id: (document, vector.tobytes()) for document, vector in kb.documents(vectors=True)}
            assert held == {name: (document, vector.tobytes()) for name, (document, vector) in self.model.items()}
            kb.verify()

    def matching(self, tag: Any) -> list[str]:
        """The ids a filter admits; True is not 1, and no filter admits all."""
        if tag is None:
            return list(self.model)
        return [
            name
            for name, (document, _) in self.model.items()
            if document.metadata["tag"] == tag and type(document.metadata["tag"]) is type(tag)
        ]


TestCollection = pytest.mark.filterwarnings("ignore::theodolite.DriftWarning")(Collection.TestCase)
TestCollection.settings = settings(
    max_examples=sampled(200), stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
