"""Evaluating a collection: lists, metrics, notes, and the files for other tools."""

import json
import math
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from theodolite import (
    Document,
    Evaluation,
    InputError,
    JudgmentWarning,
    MissingExtraError,
    Monitor,
    Retriever,
    SearchOptions,
)
from theodolite.evaluation import Ranked
from theodolite.evaluation.judgments import write_judgments
from theodolite.plugins import _PACKAGES
from theodolite.testing import HashingEmbedder
from theodolite.types import Mode

ir_measures: Any = pytest.importorskip("ir_measures")

OURS = {"nDCG": "nDCG", "RR": "MRR", "AP": "MAP", "R": "recall", "P": "precision", "Success": "success"}
TOPICS = np.eye(8)
QUESTIONS = {"q0": TOPICS[0], "q1": TOPICS[1], "q2": TOPICS[2]}


@pytest.fixture
def kb() -> Iterator[Retriever]:
    """Forty passages of ten files: passage 4n + i of file n lies near topic n % 8, and nearer the smaller i."""
    draw = np.random.default_rng(0)
    documents, vectors = [], []
    for n in range(10):
        for i in range(4):
            meta = {"path": f"docs/{n}.md", "file": n, "lang": "en" if n < 9 else "de", "tags": [n]}
            documents.append(Document(f"passage {i} of file {n}", meta, f"{n}#{i}"))
            vectors.append(TOPICS[n % 8] * (2 - i / 4) + 0.1 * draw.standard_normal(8) + n / 100)
    with Retriever.open() as kb:
        kb.add(documents, vectors=np.array(vectors))
        yield kb


def ir_metrics(run: Path, qrels: Path, k: int) -> dict[str, float]:
    """The means that ir-measures computes from files, by our names."""
    found = ir_measures.calc_aggregate(
        [getattr(ir_measures, name) @ k for name in OURS],
        list(ir_measures.read_trec_qrels(str(qrels))),
        list(ir_measures.read_trec_run(str(run))),
    )
    return {f"{OURS[measure.NAME]}@{k}": value for measure, value in found.items()}


def as_trec(path: Path, grades: Mapping[str, Mapping[str, int]]) -> Path:
    lines = [f"{q} 0 {d} {grade}\n" for q, documents in grades.items() for d, grade in documents.items()]
    path.write_text("".join(lines))
    return path


def random_grades(questions: Any, ids: list[str], seed: int) -> dict[str, dict[str, int]]:
    draw = np.random.default_rng(seed)
    return {q: {d: int(draw.integers(4)) for d in draw.choice(ids, 12, replace=False)} for q in questions}


@pytest.mark.parametrize("k", [1, 5, 10])
def test_the_table_is_that_of_ir_measures_on_our_run_file(kb: Retriever, tmp_path: Path, k: int) -> None:
    ids = [document.id for document in kb.documents()]
    draw = np.random.default_rng(k)
    questions = {f"q{n}": TOPICS[n % 8] + draw.standard_normal(8) for n in range(40)}
    grades = random_grades(questions, ids, k)
    found = kb.evaluate(questions, grades, k=k)
    found.write_run(tmp_path / "out.run")
    expected = ir_metrics(tmp_path / "out.run", as_trec(tmp_path / "qrels", grades), k)
    assert found.metrics == pytest.approx(expected, abs=1e-9)
    assert found.questions == 40
    for name, (low, high) in found.intervals.items():
        assert low <= found.metrics[name] <= high
        mean = sum(values[name] for values in found.per_question.values()) / 40
        assert found.metrics[name] == pytest.approx(mean)


def test_ties_keep_the_order_of_our_list(tmp_path: Path) -> None:
    """Equal scores are ordered by id; trec_eval alone would put the last id first."""
    with Retriever.open() as kb:
        kb.add([Document("t", id=f"d{i}") for i in range(5)], vectors=np.ones((5, 3)))
        found = kb.evaluate({"q": np.ones(3)}, {"q": {"d0": 1}}, k=5)
    assert found.metrics["MRR@5"] == 1.0
    found.write_run(tmp_path / "out.run")
    scores = [float(line.split()[4]) for line in (tmp_path / "out.run").read_text().splitlines()]
    assert scores == sorted(set(scores), reverse=True)
    assert ir_metrics(tmp_path / "out.run", as_trec(tmp_path / "qrels", {"q": {"d0": 1}}), 5)["MRR@5"] == 1.0


def test_runs_hold_our_score_in_a_column_of_its_own(kb: Retriever, tmp_path: Path) -> None:
    found = kb.evaluate(QUESTIONS, {"q0": {"0#0": 1}, "q1": {"1#0": 1}}, k=3)
    found.write_run(tmp_path / "out.run")
    lines = [line.split() for line in (tmp_path / "out.run").read_text().splitlines()]
    hits = [*kb.search(vector=TOPICS[0], k=3), *kb.search(vector=TOPICS[1], k=3)]
    assert [(line[2], int(line[3])) for line in lines] == [(hit.document.id, hit.rank) for hit in hits]
    assert [float(line[1]) for line in lines] == pytest.approx([hit.score for hit in hits])
    assert [line[4] for line in lines] == ["3", "2", "1"] * 2
    assert {line[5] for line in lines} == {"theodolite"}


def test_white_space_in_ids_does_not_break_a_run(tmp_path: Path) -> None:
    with Retriever.open() as kb:
        kb.add([Document("t", id="my file\u2003%20.md")], vectors=np.ones((1, 3)))
        kb.evaluate({"q 1": np.ones(3)}, {"q 1": {"my file\u2003%20.md": 1}}).write_run(tmp_path / "out.run")
    (line,) = (tmp_path / "out.run").read_text().splitlines()
    assert line.split()[0] == "q%201"
    assert line.split()[2] == "my%20file%E2%80%83%20.md"


@pytest.mark.parametrize("length", [1, 3, 10])
def test_a_file_ranks_where_its_best_passage_does(kb: Retriever, length: int) -> None:
    question = TOPICS[0] + 0.3 * TOPICS[1]
    found = kb.evaluate({"q": question}, {"q": {"docs/3.md": 1}}, k=length, by="path")
    expected = dict.fromkeys(hit.document.metadata["path"] for hit in kb.search(vector=question, k=40))
    assert [each.id for each in found.run["q"]] == list(expected)[:length]
    first = kb.search(vector=question, k=1)[0]
    assert found.run["q"][0] == Ranked(first.document.metadata["path"], first.score, first.document.id)


def test_fields_of_other_kinds_are_judged_by_their_text(kb: Retriever) -> None:
    grades: Any = {"q": {"0": 1, 8: 1}}
    by_number = kb.evaluate({"q": TOPICS[0]}, grades, by="file", k=2)
    assert by_number.metrics["recall@2"] == 1.0
    assert by_number.unknown == ()
    with pytest.raises(InputError, match=r"the field 'tags' of document '.*' is a list"):
        kb.evaluate({"q": TOPICS[0]}, {"q": {"0": 1}}, by="tags")


def test_a_field_with_fewer_values_than_places_ends_the_search(kb: Retriever) -> None:
    found = kb.evaluate({"q": TOPICS[0]}, {"q": {"de": 1}}, by="lang", k=10)
    assert [each.id for each in found.run["q"]] == ["en", "de"]
    within = kb.evaluate({"q": TOPICS[0]}, {"q": {"de": 1}}, by="lang", k=10, where={"lang": "de"})
    assert within.metrics["MRR@10"] == 1.0


def test_passages_without_the_field_take_a_place_of_their_own(kb: Retriever) -> None:
    kb.add([Document("loose", id="loose")], vectors=TOPICS[:1])
    found = kb.evaluate({"q": TOPICS[0]}, {"q": {"docs/0.md": 1}}, by="path", k=3)
    assert [each.id for each in found.run["q"]] == ["loose", "docs/0.md", "docs/8.md"]
    assert any("1 passage is found without the field 'path'; first: 'loose'" in note for note in found.notes)


@pytest.mark.parametrize(
    ("by", "message"),
    [
        ("pth", "by is 'pth': no document has this field. Did you mean 'path'?"),
        ("zzzz", "Known fields: 'file', 'lang', 'path', 'tags'"),
        (3, "field names are strings"),
    ],
)
def test_a_field_that_no_document_has_is_refused(kb: Retriever, by: Any, message: str) -> None:
    with pytest.raises(InputError, match=message.replace("?", r"\?")):
        kb.evaluate(QUESTIONS, {"q0": {"docs/0.md": 1}}, by=by)


def test_what_is_left_out_unanswered_or_unknown_is_counted(kb: Retriever) -> None:
    grades = {"q0": {"0#0": 1, "gone": 2, "old": 0}, "q1": {"1#0": 0}, "q7": {"0#0": 1}}
    with pytest.warns(JudgmentWarning) as warned:
        found = kb.evaluate(QUESTIONS, grades, k=1)
    assert sorted(str(each.message) for each in warned) == [
        "1 judged question is not among the questions; first: 'q7'",
        "2 judged documents are not in the collection; first: 'gone'. 1 of them relevant: these count as missed",
    ]
    assert (found.questions, found.left_out, found.unanswered) == (1, 2, 0)
    assert found.unknown == ("gone", "old")
    assert found.metrics["recall@1"] == 0.5, "the missing document still counts as relevant"
    assert "2 questions are left out: no document is judged relevant; first: 'q1'" in found.notes
    text = str(found)
    for note in found.notes:
        assert f"note: {note}" in text
    nothing = kb.evaluate(QUESTIONS, {"q0": {"0#0": 1}}, where={"lang": "fr"}, index=False)
    assert (nothing.unanswered, nothing.metrics["success@10"]) == (1, 0.0)
    assert nothing.unknown == (), "what a filter leaves out is still in the collection"


@pytest.mark.parametrize(
    ("grades", "message"),
    [
        ({"q0": {"0#0": 0, "1#0": -1}}, "no document is judged relevant: all grades of the 1 judged questions are 0"),
        ({"7": {"0#0": 1}}, "none of the 3 questions is judged: the first question is 'q0', the first judged one '7'"),
        ({"q0": {"docs/0.md": 1}}, "none of the 1 judged documents .* the field 'path': pass by='path'"),
        ({"q0": {"x": 1, "y": 1}}, "none of the 2 judged documents is in the collection; first: 'x'"),
    ],
)
def test_judgments_that_cannot_be_used(kb: Retriever, grades: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        kb.evaluate(QUESTIONS, grades)


def test_an_empty_collection_has_nothing_to_evaluate() -> None:
    with Retriever.open() as kb, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(InputError, match="the collection has no documents"):
            kb.evaluate({"q": np.ones(3)}, {"q": {"d": 1}})


def test_one_question_says_that_it_is_too_few(kb: Retriever) -> None:
    found = kb.evaluate({"q": TOPICS[0]}, {"q": {"0#0": 1}})
    assert found.intervals["nDCG@10"] == (0.0, 1.0)
    assert "one question: too few to rely on these figures, or on their intervals" in found.notes
    assert str(found).startswith("1 question, 1 judged documents")


def test_questions_may_be_texts_vectors_or_both(tmp_path: Path) -> None:
    embedder = HashingEmbedder(64)
    texts = {"1": "refunds take days", "2": "we open at nine"}
    grades = {"1": {"refunds": 1}, "2": {"hours": 1}}
    (tmp_path / "q.tsv").write_text("".join(f"{name}\t{text}\n" for name, text in texts.items()))
    write_judgments(tmp_path / "qrels.tsv", grades)
    vectors = embedder.encode_query(list(texts.values()))
    with Retriever.open(embedder=embedder) as kb:
        kb.add([Document("refunds take five days", id="refunds"), Document("we open at nine", id="hours")])
        ways: list[Evaluation] = [
            kb.evaluate(texts, grades),
            kb.evaluate(tmp_path / "q.tsv", str(tmp_path / "qrels.tsv")),
            kb.evaluate(texts, grades, vectors=vectors),
            kb.evaluate(texts, grades, vectors=dict(zip(texts, vectors, strict=True))),
            kb.evaluate(dict(zip(texts, vectors, strict=True)), grades),
            kb.evaluate_with(SearchOptions(k=3), texts, grades),
        ]
        assert len({json.dumps(each.to_dict()["metrics"]) for each in ways}) == 1
        modes: tuple[Mode, ...] = ("lexical", "hybrid")
        for mode in modes:
            found = kb.evaluate(texts, grades, vectors=vectors, mode=mode)
            assert found.metrics["MRR@10"] == 1.0
            assert (found.index is None) == (mode == "lexical")


def test_several_lengths_of_list(kb: Retriever) -> None:
    found = kb.evaluate(QUESTIONS, {"q0": {"0#0": 1}, "q1": {"9#0": 2}}, k=(3, 1, 3))
    assert found.k == (1, 3)
    assert found.metrics["precision@3"] == pytest.approx(1 / 3)
    assert list(found.judged) == [1, 3]
    wrong: Any
    for wrong in (0, (), "5"):
        with pytest.raises(InputError, match="k is"):
            kb.evaluate(QUESTIONS, {"q0": {"0#0": 1}}, k=wrong)


def test_the_index_is_measured_with_the_same_questions(kb: Retriever) -> None:
    found = kb.evaluate(QUESTIONS, {"q0": {"0#0": 1}, "q1": {"1#0": 1}}, k=(1, 5))
    assert found.index is not None
    assert found.index.recall == {1: 1.0, 5: 1.0}
    assert found.index.queries == 2
    assert "offline" in str(found)
    assert found.to_dict()["index"]["targets"]["rag"]["passed"] == found.index.passes("rag")
    assert kb.evaluate(QUESTIONS, {"q0": {"0#0": 1}}, index=False).index is None
    scope = kb.scoped(lang="en").evaluate(QUESTIONS, {"q0": {"0#0": 1}})
    assert scope.index is None
    assert scope.metrics["success@10"] == 1.0


def test_measured_questions_are_not_searches_of_users() -> None:
    with Retriever.open(monitor=Monitor(interval=None)) as kb:
        kb.add([Document("t", id=f"d{i}") for i in range(9)], vectors=np.random.default_rng(0).random((9, 4)))
        kb.evaluate({"q": np.ones(4)}, {"q": {"d1": 1}}, k=2)
        assert kb.monitor is not None
        kb.monitor.flush()
        assert kb.monitor.report()["searches"] == 0


def test_progress_adds_up_to_the_questions(kb: Retriever) -> None:
    done: list[int] = []
    kb.evaluate(
        {f"q{n}": TOPICS[n % 8] for n in range(300)}, {f"q{n}": {"0#0": 1} for n in range(299)}, progress=done.append
    )
    assert sum(done) == 299
    assert len(done) == 2


def test_json_and_back(kb: Retriever, tmp_path: Path) -> None:
    found = kb.evaluate(QUESTIONS, {"q0": {"0#0": 1}, "q1": {"1#1": 2}}, k=(1, 3))
    values = json.loads(json.dumps(found.to_dict()))
    back = Evaluation.from_dict(values)
    assert back.to_dict() == {**values, "index": None}
    assert repr(back) == repr(found)
    with pytest.raises(InputError, match="it was read from JSON"):
        back.write_run(tmp_path / "out.run")
    for wrong in ({}, {**values, "per_question": {}}, {**values, "metrics": 3}):
        with pytest.raises(InputError, match="this is not an evaluation"):
            Evaluation.from_dict(wrong)


def test_html_escapes_ids(kb: Retriever) -> None:
    with pytest.warns(JudgmentWarning):
        shown = kb.evaluate(QUESTIONS, {"q0": {"0#0": 1, "<b>": 1}})._repr_html_()
    assert "&lt;b&gt;" in shown
    assert "<b>" not in shown
    assert "nDCG@10" in shown
    assert "recall@10" in shown


def test_synthetic_questions_are_labeled_everywhere(kb: Retriever, tmp_path: Path) -> None:
    found = kb.evaluate({"synthetic:1": TOPICS[0], "q1": TOPICS[1]}, {"synthetic:1": {"0#0": 1}, "q1": {"1#0": 1}})
    found.write_run(tmp_path / "out.run")
    assert found.synthetic == found.to_dict()["synthetic"] == 1
    for shown in (str(found), repr(found), found._repr_html_(), str(found.compare(found)), repr(found.compare(found))):
        assert "synthetic" in shown
    assert found.compare(found).to_dict()["synthetic"] == 1
    assert {line.split()[5] for line in (tmp_path / "out.run").read_text().splitlines()} == {"theodolite-synthetic"}


def test_a_missing_package_is_named(kb: Retriever, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ir_measures", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'theodolite\[evaluate\]'"):
        kb.evaluate(QUESTIONS, {"q0": {"0#0": 1}})
    assert "ir_measures" in _PACKAGES["evaluate"]


def test_ids_of_several_partitions_count_once(tmp_path: Path) -> None:
    with Retriever.open(partition="tenant") as kb:
        for tenant in ("a", "b"):
            kb.add(
                [Document("t", {"tenant": tenant}, "d1"), Document("t", {"tenant": tenant}, "d2")], vectors=np.eye(2)
            )
        found = kb.evaluate({"q": np.array([1.0, 0.1])}, {"q": {"d2": 1}}, k=2)
        assert [each.id for each in found.run["q"]] == ["d1", "d2"]
        assert kb.scoped(tenant="a").evaluate({"q": np.ones(2)}, {"q": {"d2": 1}}).metrics["recall@10"] == 1.0


def test_ndcg_is_that_of_its_definition(kb: Retriever) -> None:
    """Järvelin and Kekäläinen (2002), with the grade as the gain."""
    ids = [hit.document.id for hit in kb.search(vector=TOPICS[0], k=3)]
    found = kb.evaluate({"q": TOPICS[0]}, {"q": {ids[0]: 1, ids[2]: 3, "9#3": 2}}, k=3)
    dcg = 1 + 3 / math.log2(4)
    assert found.metrics["nDCG@3"] == pytest.approx(dcg / (3 + 2 / math.log2(3) + 1 / math.log2(4)))
