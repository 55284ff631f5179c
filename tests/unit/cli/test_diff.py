"""The command `diff`: its output, its exit codes, and what it refuses."""

import json
from pathlib import Path

import numpy as np
import pytest
from tests.unit.shell import Shell

from theodolite.testing import HashingEmbedder

RECORDS = [
    {"id": "r1", "text": "refunds take five days", "metadata": {"lang": "en"}},
    {"id": "r2", "text": "refunds of gift cards", "metadata": {"lang": "de"}},
    {"id": "h1", "text": "we open at nine", "metadata": {"lang": "en"}},
]
ASKED = {"q1": "how long do refunds take", "q2": "when do you open"}
DIFF = ("diff", "kb", "other", "--questions", "q.tsv", "-k", "2")


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    shell = Shell(tmp_path)
    for name in ("kb", "other"):
        shell.run("add", name, "-", "--embedder", "words", given="\n".join(map(json.dumps, RECORDS)))
    (tmp_path / "q.tsv").write_text("".join(f"{name}\t{text}\n" for name, text in ASKED.items()))
    (tmp_path / "qrels.tsv").write_text("q1 0 r1 1\nq2 0 h1 1\n")
    np.save(tmp_path / "q.npy", HashingEmbedder(64).encode_query(list(ASKED.values())))
    return shell


def test_equal_collections_pass(shell: Shell) -> None:
    out, _ = shell.run(*DIFF, "--threshold", "0")
    assert out.startswith("2 questions, 0 of 4 hits differ (0.0%)\nA: ")


def test_more_changed_hits_than_the_threshold_fail(shell: Shell) -> None:
    shell.run("delete", "other", "r1")
    out, _ = shell.run(*DIFF, "--qrels", "qrels.tsv", code=1)
    assert "\nabsent " in out
    assert "nDCG@2: 1.0000 in A, 0.5000 in B (-0.5000)" in out
    values = shell.json(*DIFF, "--threshold", "1", "--vectors", "q.npy")
    assert values["causes"][0]["cause"] == "absent"
    assert shell.json(*DIFF, "--threshold", "1")["changes"] == values["changes"]


def test_settings_of_one_side(shell: Shell) -> None:
    same = ("diff", "kb", "kb", "--questions", "q.tsv", "-k", "2", "--threshold", "1")
    assert shell.json(*same, "--where-b", '{"lang": "en"}')["causes"][0]["cause"] == "filter"
    assert shell.json(*same, "--mode-b", "lexical")["causes"][0]["cause"] == "mode"
    assert shell.json(*same, "--mode", "lexical")["causes"] == []


def test_two_sets_of_questions(shell: Shell) -> None:
    (shell.folder / "q2.tsv").write_text("x1\tgift cards\nx2\trefunds of gift cards\n")
    out, _ = shell.run(*DIFF, "--questions-b", "q2.tsv")
    assert out.startswith("note: two sets of questions, compared by their distribution only")
    assert shell.json(*DIFF, "--questions-b", "q2.tsv")["questions"] == [2, 2]
    assert "without judgments" in shell.run(*DIFF, "--questions-b", "q2.tsv", "--qrels", "qrels.tsv", code=2)[1]


def test_judgments_of_files(shell: Shell) -> None:
    (shell.folder / "langs.tsv").write_text("q1 0 en 1\nq2 0 en 1\n")
    assert shell.json(*DIFF, "--qrels", "langs.tsv", "--by", "lang")["judged"] == 2


def test_what_is_refused(shell: Shell) -> None:
    assert "not a share from 0 to 1" in shell.run(*DIFF, "--threshold", "7", code=2)[1]
    assert "there is no collection" in shell.run("diff", "kb", "none", "--questions", "q.tsv", code=3)[1]
    assert "does not exist" in shell.run("diff", "kb", "other", "--questions", "none", code=2)[1]
    np.save(shell.folder / "narrow.npy", np.ones((2, 3)))
    assert "dimension" in shell.run(*DIFF, "--vectors", "narrow.npy", code=2)[1]
