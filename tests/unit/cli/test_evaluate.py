"""The command `evaluate`: its output, its files, and what it refuses."""

import json
from pathlib import Path

import numpy as np
import pytest
from tests.unit.shell import Shell

from theodolite.testing import HashingEmbedder

pytest.importorskip("ir_measures")

RECORDS = [
    {"id": "r1", "text": "refunds take five days", "metadata": {"path": "refunds.md"}},
    {"id": "h1", "text": "we open at nine", "metadata": {"path": "hours.md"}},
]
QUESTIONS = '{"_id": "q1", "text": "how long do refunds take"}\n{"_id": "q2", "text": "when do you open"}\n'
EVALUATE = ("evaluate", "kb", "--questions", "q.jsonl", "--qrels")


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    shell = Shell(tmp_path)
    shell.run("add", "kb", "-", "--embedder", "words", given="\n".join(map(json.dumps, RECORDS)))
    (tmp_path / "q.jsonl").write_text(QUESTIONS)
    (tmp_path / "ids.tsv").write_text("query-id\tcorpus-id\tscore\nq1\tr1\t1\nq2\th1\t2\n")
    (tmp_path / "files.tsv").write_text("q1 0 refunds.md 1\nq2 0 hours.md 1\n")
    vectors = HashingEmbedder(64).encode_query(["how long do refunds take", "when do you open"])
    np.save(tmp_path / "q.npy", vectors)
    return shell


def test_a_table_json_and_a_run_file(shell: Shell) -> None:
    out, _ = shell.run(*EVALUATE, "ids.tsv", "--run", "out.run", "-k", "1", "-k", "2")
    assert out.startswith("2 questions, 2 judged documents, dense search\n")
    assert "nDCG@1          1.0000" in out
    assert "The index, against exact search:" in out
    lines = (shell.folder / "out.run").read_text().splitlines()
    assert [line.split()[2:5] for line in lines] == [
        ["r1", "1", "2"],
        ["h1", "2", "1"],
        ["h1", "1", "2"],
        ["r1", "2", "1"],
    ]
    values = shell.json(*EVALUATE, "files.tsv", "--by", "path", "--no-index")
    assert values["metrics"]["MRR@10"]["mean"] == 1.0
    assert values["by"] == "path"
    assert values["index"] is None


def test_without_a_model(shell: Shell) -> None:
    with_vectors = shell.json(*EVALUATE, "ids.tsv", "--vectors", "q.npy")
    assert with_vectors["metrics"] == shell.json(*EVALUATE, "ids.tsv")["metrics"]
    lexical = shell.json(*EVALUATE, "ids.tsv", "--mode", "lexical")
    assert lexical["mode"] == "lexical"
    assert lexical["index"] is None


def test_two_evaluations_are_compared(shell: Shell) -> None:
    before, _ = shell.run(*EVALUATE, "ids.tsv", "--json", "--no-index")
    (shell.folder / "before.json").write_text(before)
    out, _ = shell.run(*EVALUATE, "ids.tsv", "--against", "before.json")
    assert "First before.json, second this evaluation:\n2 questions, paired" in out
    compared = shell.json(*EVALUATE, "ids.tsv", "--against", "before.json")["comparison"]
    assert compared["metrics"]["nDCG@10"]["verdict"] == "equal"
    (shell.folder / "ids.tsv").write_text("q1\tr1\t1\nq2\th1\t2\nq2\tr1\t1\n")
    assert "the judgments have changed" in shell.run(*EVALUATE, "ids.tsv", "--against", "before.json", code=2)[1]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("files.tsv",), "They are values of the field 'path': pass by='path'"),
        (("files.tsv", "--by", "pth"), "Did you mean 'path'?"),
        (("missing.tsv",), "does not exist"),
        (("q.jsonl",), "is not a judgment"),
        (("ids.tsv", "--vectors", "ids.tsv"), "is not an array of numbers"),
        (("ids.tsv", "--against", "ids.tsv"), "ids.tsv: "),
        (("ids.tsv", "--against", "q.jsonl"), "q.jsonl: "),
    ],
)
def test_what_is_refused(shell: Shell, more: tuple[str, ...], message: str) -> None:
    assert message in shell.run(*EVALUATE, *more, code=2)[1]


@pytest.mark.filterwarnings("default::theodolite.JudgmentWarning")
def test_unknown_documents_are_reported_on_stderr(shell: Shell) -> None:
    (shell.folder / "ids.tsv").write_text("q1\tr1\t1\nq1\tgone\t1\n")
    out, err = shell.run(*EVALUATE, "ids.tsv")
    assert "Warning: 1 judged document is not in the collection; first: 'gone'" in err
    assert "note: 1 judged document is not in the collection" in out
