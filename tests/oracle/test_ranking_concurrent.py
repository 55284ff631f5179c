"""Searches with all stages while another writes, and through an approximate index.

Every answer belongs to the commit in its trace: a new collection with the documents of that commit gives the same.
"""

import random
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from theodolite import Authority, Document, Freshness, Hits, Latest, Retriever, Superseded
from theodolite.indexes.flat.index import FlatIndex
from theodolite.protocols import Request
from theodolite.ranking.relevance import Relevance
from theodolite.ranking.versions import Versions
from theodolite.testing.reference_search import ReferenceSearch
from theodolite.types import Space
from theodolite.vectors.prepare import prepare

DIMENSION = 6
WORDS = ["refund", "parcel", "invoice", "delivery", "E-1234"]
BOOSTS: list[Any] = [Freshness("day", "90d", weight=0.5), Authority("source", {"policy": 1.0, "wiki": 0.5}, weight=0.4)]
RULES: list[Any] = [Latest("group", "day"), Superseded("key", "next")]

NOW = 1759276800.0  # 2025-10-01

State = dict[str, tuple[Document, NDArray[np.float32]]]


class Drawn:
    """Documents and searches that follow from a seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.vectors = np.random.default_rng(seed)

    def batch(self, count: int) -> tuple[list[Document], NDArray[np.float32]]:
        choose = self.random.choice
        documents = []
        for number in self.random.sample(range(150), count):
            metadata = {
                "day": f"2025-0{self.random.randint(1, 9)}-01",
                "source": choose(["policy", "wiki", "chat"]),
                "group": self.random.randrange(40),
                "key": number,
                "next": choose([None, None, self.random.randrange(150)]),
            }
            text = " ".join(self.random.choices(WORDS, k=self.random.randint(0, 4)))
            documents.append(Document(text, metadata, f"d{number:03}"))
        return documents, self.vectors.standard_normal((count, DIMENSION)).astype(np.float32)

    def search(self) -> dict[str, Any]:
        choose = self.random.choice
        mode = choose(["dense", "dense", "lexical", "hybrid"])
        options: dict[str, Any] = {"mode": mode, "k": choose([1, 5, 200]), "as_of": "2025-08-01"}
        options["vector"] = None if mode == "lexical" else self.vectors.standard_normal(DIMENSION).astype(np.float32)
        options["query"] = None if mode == "dense" else " ".join(self.random.choices(WORDS, k=2))
        options["boosts"] = self.random.sample(BOOSTS, self.random.randint(0, 2))
        options["versions"] = rules = self.random.sample(RULES, self.random.randint(0, 2))
        if not rules and not options["boosts"]:
            del options["as_of"]
        options["where"] = choose([None, None, {"source": "wiki"}])
        if self.random.random() < 0.3:
            options |= choose([{"dedupe": 0.9}, {"diversity": 0.4}])
        return options


def seen(hits: Hits) -> Any:
    """Return everything of an answer except its trace."""
    return repr([hit.to_dict() for hit in hits]), hits.trace.rows, hits.trace.eligible, hits.trace.superseded


def write(kb: Retriever, seconds: float, states: dict[int, State]) -> None:
    """Commit after commit; `states` holds what each has made of the collection."""
    drawn, state = Drawn(0), dict(states[0])
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        kind = drawn.random.choice(["add", "add", "update", "delete"]) if len(state) > 20 else "add"
        if kind == "add":
            documents, vectors = drawn.batch(drawn.random.randint(1, 12))
            kb.add(documents, vectors=vectors, batch_size=None)
            state.update((one.id, (one, vector)) for one, vector in zip(documents, vectors, strict=True))
        else:
            names = drawn.random.sample(sorted(state), 5)
            if kind == "delete":
                kb.delete(names)
                state = {name: stored for name, stored in state.items() if name not in names}
            else:
                change = {"day": f"2025-0{drawn.random.randint(1, 9)}-15", "source": "wiki"}
                kb.update(names, change)
                for name in names:
                    document, vector = state[name]
                    state[name] = Document(document.text, {**document.metadata, **change}, name), vector
        states[kb.search("refund", mode="lexical", k=1).trace.commit] = dict(state)


def read(kb: Retriever, seed: int, stop: threading.Event, found: list[tuple[dict[str, Any], Hits]]) -> None:
    drawn = Drawn(seed)
    while not stop.is_set():
        options = drawn.search()
        found.append((options, kb.search(**options)))


@pytest.mark.parametrize("on_disk", [False, True])
def test_every_answer_is_that_of_its_commit(on_disk: bool, tmp_path: Path) -> None:
    states: dict[int, State] = {0: {}}
    found: list[tuple[dict[str, Any], Hits]] = []
    errors: list[BaseException] = []
    stop = threading.Event()
    with Retriever.open(tmp_path / "kb" if on_disk else None, create=True) as kb:

        def run(seed: int) -> None:
            try:
                read(kb, seed, stop, found)
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=run, args=(seed,)) for seed in (1, 2, 3)]
        for thread in threads:
            thread.start()
        try:
            write(kb, 2.0, states)
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        kb.verify()
    assert errors == []
    by_commit: dict[int, list[tuple[dict[str, Any], Hits]]] = {}
    for options, hits in found:
        by_commit.setdefault(hits.trace.commit, []).append((options, hits))
    assert by_commit.keys() <= states.keys()
    assert len(by_commit) > 5
    for commit in random.Random(0).sample(sorted(by_commit), min(25, len(by_commit))):
        with Retriever.open() as alone:
            held = list(states[commit].values())
            if held:
                alone.add([document for document, _ in held], vectors=np.stack([vector for _, vector in held]))
            for options, hits in by_commit[commit]:
                assert seen(hits) == seen(alone.search(**options)), options


@pytest.mark.parametrize("metric", ["cosine", "l2"])
def test_boosts_through_an_index(metric: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each hit has its true score and place, and a result that claims to be complete is."""
    monkeypatch.setattr("theodolite.indexes.ann.Costs.propose", lambda self, n: 0.0)
    monkeypatch.setattr(FlatIndex, "max_direct", 8)
    drawn = Drawn(7)
    documents, vectors = drawn.batch(150)
    relevance_fn = Relevance(metric)
    with Retriever.open(metric=metric) as kb:
        kb.add(documents, vectors=vectors)
        kb.reindex("hnsw")
        more, others = drawn.batch(30)
        kb.add(more, vectors=others)  # some are new, and some replace what is in the graph
        held = {one.id: (one, vector) for one, vector in zip(documents + more, [*vectors, *others], strict=True)}
        space = Space(metric, DIMENSION, "any")
        prepared = prepare(np.stack([vector for _, vector in held.values()]), space)[0]
        ranked = ReferenceSearch([(one, row) for (one, _), row in zip(held.values(), prepared, strict=True)], metric)
        paths, missed, asked = set(), 0, 0
        for _ in range(80):
            boosts = tuple(drawn.random.sample(BOOSTS, drawn.random.randint(0, 2)))
            rules = drawn.random.sample(RULES[:1], drawn.random.randint(0, 1))
            vector, k = drawn.vectors.normal(size=DIMENSION), drawn.random.choice([1, 5, 20])
            request = Request(
                prepare([vector], space)[0],
                1000,
                boosts=boosts,
                now=NOW,
                relevance=relevance_fn if boosts else None,
                versions=Versions(tuple(rules), int(NOW * 1e6)) if rules else None,
            )
            (answer,) = ranked.answers(request)
            ids = [document.id for document in answer.documents]
            scores = dict(zip(ids, answer.scores or answer.similarities, strict=True))
            hits = kb.search(vector=vector, k=k, boosts=boosts, versions=rules, as_of=NOW if boosts or rules else None)
            found = [hit.document.id for hit in hits]
            assert [hit.score for hit in hits] == [scores[name] for name in found]
            assert len(found) == min(k, len(ids))
            assert found == sorted(found, key=ids.index)
            if hits.trace.complete:
                assert found == ids[:k]
            paths.add((hits.trace.path, bool(boosts)))
            missed += len(set(ids[:k]) - set(found))
            asked += len(found)
        assert {("index", False), ("index", True)} <= paths
        assert missed <= 0.02 * asked
