"""Recall: the index's answers against the exact ones."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pytest

from theodolite import Document, EngineError, InputError, Recall, Retriever, UnsupportedError
from theodolite.engines.local import LocalEngine
from theodolite.evaluation import TARGETS, Latency
from theodolite.evaluation.recall import interval, measure, share
from theodolite.filters import parse
from theodolite.protocols import Answer, Request
from theodolite.settings import CollectionSettings
from theodolite.testing import HashingEmbedder
from theodolite.vectors.prepare import prepare


class Misses(LocalEngine):
    """Finds all but the best."""

    def search(self, request: Request) -> list[Answer]:
        if request.exact:
            return super().search(request)
        return [
            Answer(answer.documents[1:], answer.similarities[1:], replace(answer.trace, complete=False))
            for answer in super().search(replace(request, k=request.k + 1))
        ]


class Tries(Misses):
    """Finds more with more effort: effort n misses the best 4 - n; exact search is cheaper from 5 on."""

    def efforts(self, k: int) -> list[int]:
        return [1, 2, 3, 4, 5, 6]

    def search_with_effort(self, request: Request, effort: int) -> list[Answer]:
        missed = max(0, 4 - effort)
        return [
            Answer(answer.documents[missed:], answer.similarities[missed:], replace(answer.trace, complete=effort >= 5))
            for answer in LocalEngine.search(self, replace(request, k=request.k + missed, exact=True))
        ]


class Busy(LocalEngine):
    """Somebody writes after each search."""

    def search(self, request: Request) -> list[Answer]:
        answers = super().search(request)
        vectors, space = prepare(np.ones((1, 8)), self.space)
        self.add([Document("new", id="new")], vectors, space)
        return answers


class Remembers(LocalEngine):
    """Records its requests."""

    requests: ClassVar[list[Request]] = []

    def search(self, request: Request) -> list[Answer]:
        self.requests.append(request)
        return super().search(request)


def drawn(seed: int, count: int) -> Any:
    return np.random.default_rng(seed).standard_normal((count, 8))


def filled(engine: LocalEngine, vectors: Any) -> Retriever:
    kb = Retriever(engine)
    kb.add([Document("t", {"n": i % 10}, f"d{i:04d}") for i in range(len(vectors))], vectors=vectors)
    return kb


def test_an_exact_index_has_recall_1() -> None:
    with filled(LocalEngine.open(), drawn(1, 300)) as kb:
        found = kb.recall(drawn(2, 40), k=(1, 10))
    assert (found.queries, found.kind, found.approximate, found.unsettled) == (40, "given", 0.0, 0)
    assert found.recall == {1: 1.0, 10: 1.0}
    assert found.interval == {1: (1.0, 1.0), 10: (1.0, 1.0)}, "proven answers have no interval"
    for latency in (found.index, found.exact):
        assert 0 < latency.p50 <= latency.p95 <= latency.p99


def test_what_is_missed_is_counted() -> None:
    with filled(Misses.open(), drawn(1, 300)) as kb:
        found = kb.recall(drawn(2, 40))
        filtered = kb.recall(drawn(2, 40), where={"n": [1, 2]}, k=(10, 10, 5))
    assert found.recall == pytest.approx({1: 0.0, 5: 0.8, 10: 0.9})
    assert found.approximate == 1
    assert filtered.recall == pytest.approx({5: 0.8, 10: 0.9})
    low, high = found.interval[10]
    assert 0.86 < low < 0.9 <= high < 0.92


def test_ties_are_right() -> None:
    """Of twenty equal rows any ten are the true top ten."""
    vectors = np.concatenate([np.ones((20, 8)), drawn(1, 100)])
    with filled(Misses.open(), vectors) as kb:
        assert kb.recall(np.ones((3, 8)), k=(1, 10)).recall == {1: 1.0, 10: 1.0}


def test_share() -> None:
    assert share([0.9, 0.7, 0.7], [0.9, 0.8, 0.7], 3) == 1, "as similar as the last is as good"
    assert share([0.9, 0.7], [0.9, 0.8], 2) == 0.5
    assert share([0.9], [0.9, 0.8], 10) == 0.5, "a short list has a lower recall"
    assert share([0.9, 0.8, 0.7], [0.9], 1) == 1
    assert share([], [], 10) == 1


def test_an_interval_is_that_of_the_mean() -> None:
    """Of many samples of queries with a known mean, about 95 % of the intervals hold it."""
    draw = np.random.default_rng(0)
    found = [interval((draw.binomial(10, 0.9, 200) / 10).tolist()) for _ in range(500)]
    held = sum(low <= 0.9 <= high for low, high in found)
    assert 0.92 < held / 500 < 0.98
    low, high = interval([1.0] * 50)
    assert low < 0.99 < high == 1, "a sample without a miss proves nothing"
    assert interval([]) == (0.0, 1.0)


def test_queries_may_be_texts_vectors_or_made() -> None:
    engine, requests = Remembers.open(), Remembers.requests
    model = HashingEmbedder(8)
    kb = Retriever(engine, model)
    kb.add([f"passage number {i}" for i in range(700)])
    assert kb.recall(["number 7", "passage"]).queries == 2
    assert np.array_equal(requests[-1].vectors, prepare(model.encode_query(["passage"]), engine.space)[0])
    synthetic = kb.recall()
    assert (synthetic.queries, synthetic.kind) == (350, "noise")
    assert all(request.probe for request in requests), "probes: an engine must not learn from them"
    stored = np.array([vector for _, vector in kb.documents(vectors=True)])
    nearest = [float((stored @ request.vectors[0]).max()) for request in requests[-700:]]
    assert np.mean(nearest) < 0.95, "a row itself would be too easy"
    seen: list[int] = []
    kb.recall(drawn(1, 5), progress=seen.append)
    assert sum(seen) == 5
    kb.close()


def test_what_progress_raises_ends_it() -> None:
    def interrupt(count: int) -> None:
        raise KeyboardInterrupt

    with filled(LocalEngine.open(), drawn(1, 30)) as kb:
        with pytest.raises(KeyboardInterrupt):
            kb.recall(drawn(2, 9), progress=interrupt)
        assert kb.recall(drawn(2, 9)).recall[1] == 1


def test_both_answers_see_one_commit() -> None:
    with filled(Busy.open(), drawn(1, 30)) as kb:
        with pytest.raises(EngineError, match="concurrent writes kept changing"):
            kb.recall(drawn(2, 3))
        engine = kb._engine
        assert isinstance(engine, LocalEngine)
        vectors = prepare(drawn(2, 3), engine.space)[0]
        assert LocalEngine.search(engine, Request(vectors, 3))[0].trace.commit > 0


def test_what_cannot_be_measured_is_refused() -> None:
    with filled(LocalEngine.open(), drawn(1, 30)) as kb:
        with pytest.raises(InputError, match="no document is eligible"):
            kb.recall(drawn(2, 3), where={"n": 99})
        with pytest.raises(InputError, match="no queries"):
            kb.recall([])
        with pytest.raises(InputError, match="no queries"):
            kb.recall(np.empty((0, 8)))
        with pytest.raises(InputError, match="no queries"):
            kb.recall(where={"n": 99})
        with pytest.raises(InputError, match="k is empty"):
            kb.recall(k=())
        with pytest.raises(InputError, match="at least 1"):
            kb.recall(k=(0, 10))
        with pytest.raises(UnsupportedError, match="outside of scopes"):
            kb.scoped({"n": 1}).recall()
    with Retriever.open() as empty, pytest.raises(InputError, match="no queries"):
        empty.recall()


@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
def test_every_metric(metric: Any) -> None:
    with filled(Misses.open(None, CollectionSettings(metric)), drawn(1, 300)) as kb:
        assert kb.recall(k=(10,)).recall == pytest.approx({10: 0.9})


def a_recall(lower: float, p95: float) -> Recall:
    latency = Latency(p95, p95, p95, p95)
    return Recall(100, "given", {10: 1.0}, {10: (lower, 1.0)}, 1.0, latency, latency)


@pytest.mark.parametrize(
    ("use_case", "recall", "seconds"),
    [("rag", 0.90, 0.1), ("recommendation", 0.85, 0.03), ("images", 0.92, 0.2), ("fraud", 0.99, 0.2)],
)
def test_targets(use_case: str, recall: float, seconds: float) -> None:
    assert a_recall(recall, seconds).passes(use_case)
    assert not a_recall(recall - 0.001, seconds).passes(use_case)
    assert not a_recall(recall, seconds * 1.01).passes(use_case)


def test_offline_has_no_latency_target() -> None:
    assert a_recall(0.99, 3600).passes("offline")
    assert not a_recall(0.98, 0.001).passes("offline")
    with pytest.raises(InputError, match="rag, recommendation, images, fraud, offline"):
        a_recall(1, 1).passes("rags")


def test_a_recall_can_be_read() -> None:
    with filled(Misses.open(), drawn(1, 300)) as kb:
        found = kb.recall(drawn(2, 40))
    reported = str(found).splitlines()
    assert reported[0] == "40 queries, given; 100% answered by the approximate index"
    assert reported[4].startswith("recall@10       0.9000   95 % interval 0.8")
    assert reported[-5].split() == ["rag", "0.90–0.95", "50–100", "fail"], "the lower bound counts"
    as_dict = found.to_dict()
    assert as_dict["recall"]["5"]["mean"] == pytest.approx(0.8)
    assert {name: aim["passed"] for name, aim in as_dict["targets"].items()} == {
        name: found.passes(name) for name in TARGETS
    }


def test_targets_are_about_ten_or_the_nearest() -> None:
    latency = Latency(0, 0, 0, 0)

    def measured(*lengths: int) -> int:
        return Recall(1, "given", dict.fromkeys(lengths, 1.0), {}, 0, latency, latency).k

    picked: Sequence[int] = [measured(1, 5, 10, 100), measured(1, 5), measured(20, 100), measured(8, 12)]
    assert picked == [10, 5, 20, 8]


def test_other_efforts_make_a_curve() -> None:
    with filled(Tries.open(), drawn(1, 300)) as kb:
        queries = prepare(drawn(2, 40), kb._engine.space)[0]
        assert measure(kb._engine, queries, (5, 10)).efforts == ()
        found = measure(kb._engine, queries, (5, 10), efforts=True)
        assert [(each.effort, round(each.recall, 6)) for each in found.efforts] == [
            (1, 0.7),
            (2, 0.8),
            (3, 0.9),
            (4, 1),
        ]
        assert all(each.interval[0] <= each.recall <= each.interval[1] for each in found.efforts)
        assert [each["effort"] for each in found.to_dict()["efforts"]] == [1, 2, 3, 4]


def test_a_folder_searches_with_other_efforts() -> None:
    pytest.importorskip("hnswlib")
    with filled(LocalEngine.open(), drawn(1, 800)) as kb:
        engine = kb._engine
        assert isinstance(engine, LocalEngine)
        assert engine.efforts(10) == []
        kb.reindex("hnsw")
        efforts = engine.efforts(10)
        assert efforts == sorted(efforts)
        assert 10 <= efforts[0] < efforts[-1] <= 400
        index = engine._snapshots.read(lambda _, snapshot: snapshot.approximate)
        assert index is not None
        assert index.with_effort(10, 60).calibration.needed(10) == (60, 60)
        request = Request(prepare(drawn(3, 1), engine.space)[0], 10, probe=True)
        (answer,) = engine.search_with_effort(request, efforts[-1])
        assert answer.similarities == engine.search(replace(request, exact=True))[0].similarities


def test_measure_leaves_an_engine_as_it_is() -> None:
    """Probes are not taken for real queries, which an index is calibrated with."""
    pytest.importorskip("hnswlib")
    with filled(LocalEngine.open(), drawn(1, 800)) as kb:
        kb.reindex("hnsw")
        engine = kb._engine
        assert isinstance(engine, LocalEngine)
        measure(engine, prepare(drawn(3, 150), engine.space)[0], (10,), parse(None))
        assert not engine._index_manager._queries
        kb.search(vector=drawn(4, 1)[0])
        assert len(engine._index_manager._queries) == 1
