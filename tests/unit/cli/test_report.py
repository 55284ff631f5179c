"""The command `report`: what it writes, and what it refuses."""

import json
from pathlib import Path

import pytest
from tests.unit.shell import Shell

from theodolite import Retriever

TEXTS = ["Refunds take five working days.", "Parcels leave within one day.", "The shop opens at nine."]


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    shell = Shell(tmp_path)
    monkeypatch.syspath_prepend(shell.plugin)
    with Retriever.open(tmp_path / "kb", embedder="words") as kb:
        kb.add([{"text": text, "id": f"{n}", "metadata": {"team": f"{n % 2}"}} for n, text in enumerate(TEXTS)])
    (tmp_path / "questions.tsv").write_text("q\thow long do refunds take\n")
    (tmp_path / "qrels.tsv").write_text("q\t0\t0\t1\n")
    return shell


def test_report_writes_a_page(shell: Shell) -> None:
    out, err = shell.run("report", "kb")
    assert (out, err.strip()) == ("", "wrote report.html")
    page = (shell.folder / "report.html").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    assert "was not checked" in page  # the embedder, which nothing needed


def test_report_with_questions_checks_the_embedder_and_evaluates(shell: Shell) -> None:
    given = ["--questions", "questions.tsv", "--qrels", "qrels.tsv"]
    shell.run("report", "kb", "-o", "a.json", "--parquet", "map.parquet", "--color", "team", *given)
    found = json.loads((shell.folder / "a.json").read_text(encoding="utf-8"))
    assert found["evaluation"]["metrics"]["recall@10"]["mean"] == 1
    assert next(each["severity"] for each in found["findings"] if each["name"] == "embedder") == "ok"
    assert {group["name"] for group in found["map"]["groups"]} == {"0", "1"}
    assert (shell.folder / "map.parquet").exists()


def test_report_prints_markdown_and_json_and_writes_nothing(shell: Shell) -> None:
    out, _ = shell.run("report", "kb", "--markdown", "--title", "A *kb*")
    assert out.startswith("# A \\*kb\\*\n")
    assert shell.json("report", "kb")["documents"] == 3
    assert not (shell.folder / "report.html").exists()


def test_report_refuses_before_it_measures(shell: Shell) -> None:
    assert "--qrels needs --questions" in shell.run("report", "kb", "--qrels", "qrels.tsv", code=2)[1]
    assert "--vectors needs --questions" in shell.run("report", "kb", "--vectors", "v.npy", code=2)[1]
    assert "does not end with .html" in shell.run("report", "kb", "-o", "a.pdf", code=2)[1]
    assert "Did you mean 'team'" in shell.run("report", "kb", "--color", "teams", code=2)[1]
    assert "there is no collection" in shell.run("report", "nothing", code=3)[1]
