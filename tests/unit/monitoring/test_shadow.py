"""Shadow recall: approximate answers, checked against the exact one in the background."""

import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from tests.unit.watching import HOUR, Clock

from theodolite import Alert, Document, Monitor, Retriever
from theodolite.engines.local import LocalEngine
from theodolite.monitoring.alert_rules import Baseline, findings
from theodolite.monitoring.histograms import Moments
from theodolite.monitoring.monitor import Shadow
from theodolite.protocols import Answer, Request
from theodolite.vectors.prepare import prepare


class Proposing(LocalEngine):
    """Misses the best hit of some answers, as an approximate index may; counts requests for exact answers."""

    misses = 0.0
    exact = 0
    draw = np.random.default_rng(0)

    def search(self, request: Request) -> list[Answer]:
        if request.exact:
            assert request.probe
            self.exact += 1
            return super().search(request)
        missed = int(self.draw.random() < self.misses) * 5
        return [
            Answer(answer.documents[missed:], answer.similarities[missed:], replace(answer.trace, complete=False))
            for answer in super().search(replace(request, k=request.k + missed))
        ]


def drawn(seed: int, count: int) -> Any:
    return np.random.default_rng(seed).standard_normal((count, 8))


def opened(**settings: Any) -> tuple[Retriever, Proposing, Monitor, Clock]:
    engine, clock = Proposing.open(), Clock()
    assert isinstance(engine, Proposing)
    monitor = Monitor(clock=clock, interval=None, **settings)
    kb = Retriever(engine, monitor=monitor)
    kb.add([Document("t", id=f"d{i}") for i in range(200)], vectors=drawn(1, 200))
    if monitor._shadow is not None:
        monitor._shadow._cpu = 1.0
    return kb, engine, monitor, clock


@pytest.mark.thorough
def test_one_in_a_hundred_is_checked() -> None:
    kb, engine, monitor, _ = opened()
    for query in drawn(2, 450):
        kb.search(vector=query)
        monitor.flush()
    assert engine.exact == 4
    kb.search_many(vectors=drawn(3, 50))
    monitor.flush()
    assert engine.exact == 5
    assert monitor.report()["recall"]["queries"] == 5
    kb.close()


def test_exact_answers_are_not_checked() -> None:
    monitor = Monitor(interval=None, shadow=1.0)
    with Retriever.open(monitor=monitor) as kb:
        kb.add(["a", "b"], vectors=np.eye(2, 8))
        for query in drawn(2, 30):
            kb.search(vector=query)
            assert monitor._shadow is not None
            assert monitor._shadow._queued is None


def test_none_is_checked_if_none_is_to_be() -> None:
    kb, engine, monitor, _ = opened(shadow=0)
    for query in drawn(2, 50):
        kb.search(vector=query)
    monitor.flush()
    assert engine.exact == 0
    kb.close()


def test_what_was_missed_is_found_out() -> None:
    kb, engine, monitor, clock = opened(shadow=1.0)
    alerts: list[Alert] = []

    def run(count: int, seed: int) -> None:
        for query in drawn(seed, count):
            kb.search(vector=query)
            clock.now += HOUR / 10
            alerts.extend(monitor.flush())

    run(150, 2)
    report = monitor.report()["recall"]
    assert (report["mean"], report["queries"]) == (1.0, 150)
    assert report["interval"][0] < 1
    assert alerts == []
    engine.misses = 0.5
    run(200, 3)
    assert [alert.cause for alert in alerts] == ["recall"]
    assert "approximate index" in alerts[0].message
    assert monitor.report()["recall"]["mean"] == pytest.approx(0.75, abs=0.06)
    kb.close()


def test_what_was_written_meanwhile_does_not_count() -> None:
    kb, engine, monitor, _ = opened(shadow=1.0)
    kb.search(vector=drawn(2, 1)[0])
    kb.add(["new"], vectors=drawn(2, 1))
    monitor.flush()
    assert engine.exact == 1
    assert monitor.report()["recall"]["queries"] == 0
    kb.close()


def test_at_most_one_is_held_and_processors_are_spared(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])

    class Slow(LocalEngine):
        def search(self, request: Request) -> list[Answer]:
            now[0] += 2.0
            return super().search(request)

    engine = Slow.open()
    vectors, space = prepare(drawn(1, 20), engine.space)
    engine.add([Document("t", id=f"d{i}") for i in range(20)], vectors, space)
    shadow = Shadow(engine, every=1, cpu=0.05)
    request = Request(vectors[:1], 20)  # type: ignore[arg-type]  # a slice of prepared vectors is prepared
    (answer,) = engine.search(request)
    assert shadow.check() is None
    assert shadow.offer(request, 0, answer)
    assert not shadow.offer(request, 0, answer), "one is held"
    assert shadow.check() == 1.0
    assert not shadow.offer(request, 0, answer), "two seconds at work, so 38 of rest"
    now[0] += 37
    assert not shadow.offer(request, 0, answer)
    now[0] += 2
    assert shadow.offer(request, 0, answer)
    engine.close()
    assert shadow.check() is None, "a closed collection is not an error"


def test_recall_below_the_target_of_the_index() -> None:
    def causes(values: list[float], target: float) -> list[str]:
        return [finding[0] for finding in findings({"recall": values}, {}, [], target_recall=target)]

    assert causes([0.9] * 200, 0.99) == ["recall"]
    assert causes([0.9] * 200, 0.92) == []
    assert causes([1.0] * 200, 0.99) == []
    assert causes([0.5] * 5, 0.99) == [], "too few to tell"
    baseline = Baseline("before", {"recall": Moments.of([0.99] * 100)})
    assert [finding[0] for finding in findings({"recall": [0.8] * 100}, {}, [baseline])] == ["recall"]


@pytest.mark.thorough
def test_a_real_index_is_checked_against_its_target() -> None:
    pytest.importorskip("hnswlib")
    monitor = Monitor(interval=None, shadow=1.0)
    with Retriever.open(monitor=monitor) as kb:
        kb.add([Document("t", id=f"d{i}") for i in range(3000)], vectors=drawn(1, 3000))
        kb.reindex("hnsw", target_recall=0.9)
        assert monitor._shadow is not None
        monitor._shadow._cpu = 1.0
        proposed = 0
        for query in drawn(2, 40):
            proposed += not kb.search(vector=query).trace.complete
            monitor.flush()
        assert monitor.report()["recall"]["queries"] == proposed
        assert monitor._target == (0.9 if proposed else None)
