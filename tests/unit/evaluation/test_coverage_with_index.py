"""Calibrations and searches with `coverage=` are exact: an approximate index built before or after changes nothing."""

import time
import warnings
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from theodolite import Document, Monitor, Retriever
from theodolite.engines.local.engine import LocalEngine
from theodolite.monitoring.alert_rules import Alert
from theodolite.protocols import Answer, Request

COUNT, DIMENSION = 150, 16
DRAW = np.random.default_rng(2)
VECTORS = DRAW.standard_normal((COUNT, DIMENSION))
DOCUMENTS = [Document(f"passage {n}", id=f"d{n}") for n in range(COUNT)]
QUESTIONS = {f"q{n}": VECTORS[n] + 0.9 * DRAW.standard_normal(DIMENSION) for n in range(COUNT)}
JUDGMENTS = {f"q{n}": {f"d{n}": 1} for n in range(COUNT)}


class Index(LocalEngine):
    """Misses every third passage of a list, beginning with the first, as a bad index does; once `built`."""

    built = True

    def search(self, request: Request) -> list[Answer]:
        answers = super().search(request)
        return answers if request.exact or not self.built else list(map(thinned, answers))


def thinned(answer: Answer) -> Answer:
    kept = [n for n in range(len(answer.documents)) if n % 3]
    return replace(
        answer,
        documents=[answer.documents[n] for n in kept],
        similarities=[answer.similarities[n] for n in kept],
        trace=replace(answer.trace, path="index", complete=False),
    )


@pytest.fixture
def exact() -> Any:
    with Retriever.open() as kb:
        kb.add(DOCUMENTS, vectors=VECTORS)
        kb.calibrate(QUESTIONS, JUDGMENTS)
        yield kb


@pytest.mark.parametrize("built_before", [True, False])
@pytest.mark.parametrize("many", [True, False])
def test_the_lists_are_those_of_exact_search(exact: Retriever, built_before: bool, many: bool) -> None:
    engine = Index.open()
    assert isinstance(engine, Index)
    with Retriever(engine) as kb:
        kb.add(DOCUMENTS, vectors=VECTORS)
        engine.built = built_before
        found = kb.calibrate(QUESTIONS, JUDGMENTS)
        engine.built = True
        assert not any("not proven" in note for note in found.notes)
        asked = list(QUESTIONS.values())
        assert kb.search(vector=asked[0]).trace.path == "index"
        lists = (
            kb.search_many(vectors=asked, coverage=0.8)
            if many
            else [kb.search(vector=each, coverage=0.8) for each in asked]
        )
        expected = exact.search_many(vectors=asked, coverage=0.8)
        assert [hits.items for hits in lists] == [hits.items for hits in expected]
        assert all(hits.trace.complete for hits in lists)
        covered = sum(f"d{n}" in {hit.document.id for hit in hits} for n, hits in enumerate(lists))
        assert covered >= 0.8 * COUNT


@pytest.mark.parametrize("mode", ["dense", "hybrid"])
def test_an_index_built_after_calibrating_is_bypassed_without_a_word(tmp_path: Path, mode: Any) -> None:
    pytest.importorskip("hnswlib")
    words = {name: f"passage {name[1:]}" for name in QUESTIONS}
    with Retriever.open(tmp_path / "kb", embedder=None) as kb:
        kb.add(DOCUMENTS, vectors=VECTORS)
        options = {"mode": mode} if mode == "hybrid" else {}
        asked = words if mode == "hybrid" else QUESTIONS
        kb.calibrate(asked, JUDGMENTS, vectors=QUESTIONS if mode == "hybrid" else None, **options)
        query = {"vector": QUESTIONS["q0"], **({"query": words["q0"]} if mode == "hybrid" else {})}
        before = kb.search(**query, coverage=0.9, **options)
        kb.reindex("hnsw")
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            after = kb.search(**query, coverage=0.9, **options)
        assert after.items == before.items
        assert after.trace.complete
        assert after.trace.notes == before.trace.notes  # nothing about an index that was not used
        (found,) = kb.info()["calibrations"]
        assert found["withdrawn"] is None


def test_an_alert_about_recall_leaves_coverage_and_takes_the_verdict_of_what_the_index_finds(tmp_path: Path) -> None:
    now = [time.time() + 60]
    monitor = Monitor(interval=None, shadow=1.0, clock=lambda: now[0])
    engine = Index.open(tmp_path / "kb")
    assert isinstance(engine, Index)
    engine.built = False
    with Retriever(engine, monitor=monitor) as kb:
        kb.add(DOCUMENTS, vectors=VECTORS)
        kb.calibrate(QUESTIONS, JUDGMENTS)
        alert = Alert("recall", "the index finds less", datetime.fromtimestamp(now[0], UTC), 0.5, 0.9)
        before = kb.search(vector=QUESTIONS["q0"], coverage=0.8)
        monitor.alerts = lambda: [alert]  # type: ignore[method-assign]  # as if it had measured for weeks
        (found,) = kb.info()["calibrations"]  # which looks again
        assert found["withdrawn"] is None
        assert kb.search(vector=QUESTIONS["q0"], coverage=0.8).items == before.items
        assert kb.search(vector=QUESTIONS["q0"]).verdict == before.verdict
        engine.built = True
        verdict = kb.search(vector=QUESTIONS["q0"]).verdict
        assert verdict is not None
        assert (verdict.label, verdict.probability) == ("unknown", None)
        assert "the index finds less" in verdict.reason
