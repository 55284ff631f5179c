"""The overview: samples, similarities, findings and heat maps are those of the collection."""

import re
from pathlib import Path

import numpy as np
import pytest

from theodolite import Document, InputError, Retriever
from theodolite.overview.overview import Overview, examine
from theodolite.overview.sample import draw
from theodolite.overview.similarity import NEAR, compare
from theodolite.ranking.versions import Latest
from theodolite.testing import HashingEmbedder


def finding(overview: Overview, name: str) -> str:
    return next(each.severity for each in overview.findings if each.name == name)


def test_a_sample_is_evenly_spaced_and_knows_the_total() -> None:
    with Retriever.open(embedder=HashingEmbedder()) as kb:
        kb.add([Document(f"text {number}", id=f"{number:03}") for number in range(25)])
        with draw(kb._engine, count=10) as sample:
            assert [document.id for document in sample.documents] == [f"{number:03}" for number in range(0, 25, 3)]
            assert sample.total == 25
            assert not sample.complete
            stored = kb.get([document.id for document in sample.documents], vectors=True)
            assert np.array_equal(np.array(sample.vectors), np.array([vector for _, vector in stored]))


def test_similarities_are_the_cosines() -> None:
    vectors = np.random.default_rng(0).normal(size=(40, 8)).astype(np.float32)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = unit @ unit.T
    found = compare(vectors, vectors[:5])
    assert found is not None
    assert found.mean == pytest.approx(cosines[np.triu_indices(40, 1)].mean(), abs=1e-6)
    np.fill_diagonal(cosines, -1)
    assert found.median == pytest.approx(np.median(cosines.max(axis=1)), abs=1e-6)
    assert found.near == np.mean(cosines.max(axis=1) >= NEAR)
    assert found.questions is not None
    assert found.questions.shares[-1] == 1  # each is a document


def test_vectors_without_direction_are_compared_with_nothing() -> None:
    assert compare(np.zeros((4, 3), np.float32)) is None
    found = compare(np.array([[0, 0], [1, 0], [1, 0]], np.float32))
    assert found is not None
    assert (found.probes, found.median) == (2, 1)


def test_checks_become_findings_with_a_cure(tmp_path: Path) -> None:
    rule = Latest(per="page", by="at")
    with Retriever.open(tmp_path / "kb", embedder=HashingEmbedder(), versions=rule) as kb:
        kb.add([Document(f"rule {n}", {"page": n % 4, "at": f"2025-01-{n + 1:02}"}, id=f"{n}") for n in range(12)])
        kb.add([Document("odd", {"page": 9, "at": "2025-01-01", "day": "3/1/2025"}, id="odd")])
        found = examine(kb)
        assert finding(found, "dates") == "warning"
        assert finding(found, "stored data") == "ok"
        old = next(each for each in found.findings if each.name == "old versions")
        assert old.values["count"] == 8
        assert all(each.advice for each in found.findings if each.severity in ("warning", "error"))
        severities = [each.severity for each in found.findings]
        assert severities == sorted(severities, key=["error", "warning", "note", "ok"].index)


def test_damage_is_reported_and_nothing_is_changed(tmp_path: Path) -> None:
    with Retriever.open(tmp_path / "kb", embedder=HashingEmbedder()) as kb:
        kb.add([Document(f"text {number}", id=f"{number}") for number in range(30)])
    file = next((tmp_path / "kb").glob("vectors-*.f32"))
    damaged = bytearray(file.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    file.write_bytes(damaged)
    with Retriever.open(tmp_path / "kb", embedder=None, read_only=True) as kb:
        found = examine(kb)
    assert finding(found, "stored data") == "error"
    assert file.read_bytes() == damaged


def test_the_heat_map_is_what_searches_find() -> None:
    with Retriever.open(embedder=HashingEmbedder()) as kb:
        kb.add([Document(f"number {n} and {n * n}", id=f"d{n}") for n in range(30)])
        questions = {f"q{n}": f"number {n}" for n in range(6)}
        heat = kb.report(questions=questions, judgments={"q2": {"d2": 1, "d3": 0}}).overview.heat
        assert heat is not None
        for row, text in enumerate(questions.values()):
            for hit in kb.search(text, k=10):
                column = heat.documents.index(hit.document.id)
                assert heat.ranks[row, column] == hit.rank
                assert heat.similarities[row, column] == pytest.approx(hit.score, abs=1e-6)
        assert [(heat.questions[row], heat.documents[column]) for row, column in np.argwhere(heat.relevant)] == [
            ("number 2", "d2")
        ]


def test_a_report_is_no_search_of_a_user() -> None:
    with Retriever.open(embedder=HashingEmbedder(), monitor=True) as kb:
        kb.add([Document(f"text {n}", id=f"{n}") for n in range(30)])
        kb.report(questions={"q": "text 3"})
        assert kb.monitor is not None
        assert kb.monitor.report()["searches"] == 0


def test_a_scope_reports_its_own_documents_only() -> None:
    with Retriever.open(embedder=HashingEmbedder(), partition="tenant") as kb:
        for tenant in ("a", "b"):
            kb.scoped(tenant=tenant).add([Document(f"{tenant} {n}", id=f"{tenant}{n}") for n in range(20)])
        found = kb.scoped(tenant="a").report(questions={"q": "b 3"})
        assert {document.id[0] for document in found.overview.documents} == {"a"}
        assert not re.search(r"\bb\d+\b", found.html().partition("<body>")[2].replace("b 3", ""))
        assert found.overview.recall is None
        assert kb.report(questions={"q": "b 3"}).overview.total == 40


def test_wrong_arguments_are_refused() -> None:
    with Retriever.open(embedder=HashingEmbedder()) as kb:
        kb.add([Document("text", {"lang": "en"}, id="a")])
        with pytest.raises(InputError, match=r"no document has the field 'langg'.* Did you mean 'lang'"):
            kb.report(color="langg")
        with pytest.raises(InputError, match="judgments need their questions"):
            kb.report(judgments={"q": {"a": 1}})
        with pytest.raises(InputError, match="sample is 0"):
            kb.report(sample=0)
