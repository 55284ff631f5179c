"""The command `calibrate`, and `search --coverage`."""

import json
from pathlib import Path

import numpy as np
import pytest
from tests.unit.shell import Shell

from theodolite.testing import HashingEmbedder

TEXTS = [f"{thing} number {n}" for thing in ("tent", "boot", "stove", "lamp") for n in range(8)]
CALIBRATE = ("calibrate", "kb", "--questions", "q.jsonl", "--qrels", "r.tsv")


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    shell = Shell(tmp_path)
    records = [json.dumps({"id": f"d{n}", "text": text, "metadata": {}}) for n, text in enumerate(TEXTS)]
    shell.run("add", "kb", "-", "--embedder", "words", given="\n".join(records))
    questions = {f"q{n}": f"where is {text}" for n, text in enumerate(TEXTS)}
    lines = [json.dumps({"id": name, "text": text}) + "\n" for name, text in questions.items()]
    (tmp_path / "q.jsonl").write_text("".join(lines))
    (tmp_path / "r.tsv").write_text("".join(f"q{n}\td{n}\t1\n" for n in range(len(TEXTS))))
    (tmp_path / "o.tsv").write_text("".join(f"o{n}\twho sang song {n * 7919} in Riga\n" for n in range(20)))
    np.save(tmp_path / "q.npy", HashingEmbedder(64).encode_query(list(questions.values())))
    return shell


def test_a_table_json_and_a_verdict(shell: Shell) -> None:
    out, _ = shell.run(*CALIBRATE, "--unanswerable", "o.tsv")
    assert out.startswith("32 questions, dense search\n")
    assert "evidence taken out" in out
    assert "other questions" in out
    found = shell.json(*CALIBRATE, "--unanswerable", "o.tsv", "--vectors", "q.npy")
    assert found["questions"] == 32
    assert [each["questions"] for each in found["unanswerable"]] == [32, 20]
    answer = shell.json("search", "kb", "where is boot number 3", "--coverage", "0.9")
    assert answer["verdict"]["label"] in ("strong", "weak")
    assert "90% of answerable questions" in answer["trace"]["notes"][0]
    assert shell.json("info", "kb")["calibrations"][0]["questions"] == 32


def test_without_a_model(shell: Shell) -> None:
    assert shell.json(*CALIBRATE, "--vectors", "q.npy")["promises"] == shell.json(*CALIBRATE)["promises"]


def test_what_cannot_be_promised_is_refused(shell: Shell) -> None:
    _, error = shell.run("search", "kb", "where is boot number 3", "--coverage", "0.9", code=1)
    assert "needs a calibration" in error
    shell.run(*CALIBRATE)
    _, error = shell.run("search", "kb", "where is boot number 3", "--coverage", "0.99", code=1)
    assert "at least 99 questions" in error
    _, error = shell.run("search", "kb", "where is boot number 3", "--coverage", "0.9", "-k", "3", code=1)
    assert "exclude each other" in error
    (shell.folder / "one.tsv").write_text("q0\td0\t1\n")
    _, error = shell.run("calibrate", "kb", "--questions", "q.jsonl", "--qrels", "one.tsv", code=2)
    assert "one question has a relevant document" in error
