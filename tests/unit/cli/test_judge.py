"""The command `judge`, at a pseudo-terminal."""

import json
import os
import sys
from pathlib import Path

import pytest
from tests.unit.shell import Shell

if sys.platform == "win32":
    pytest.skip("pseudo-terminals are POSIX", allow_module_level=True)

import pty
import termios

from tests.unit.terminal import at_a_terminal

from theodolite.cli.keys import keyboard

RECORDS = [
    {"id": "r1", "text": "refunds take five days\n\nand more", "metadata": {"path": "refunds.md"}},
    {"id": "r2", "text": "refunds of cards \x1b[31m come first", "metadata": {"path": "refunds.md"}},
    {"id": "h1", "text": "we open at nine", "metadata": {"path": "hours.md"}},
]
JUDGE = ("judge", "kb", "--questions", "q.jsonl")


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    shell = Shell(tmp_path)
    shell.run("add", "kb", "-", "--embedder", "words", given="\n".join(map(json.dumps, RECORDS)))
    (tmp_path / "q.jsonl").write_text('{"id": "q1", "text": "refunds"}\n{"id": "q2", "text": "open"}\n')
    return shell


def judgments(shell: Shell, name: str = "q.qrels.tsv") -> list[str]:
    return (shell.folder / name).read_text().splitlines()[1:]


def test_keys_grade_skip_undo_and_quit(shell: Shell) -> None:
    shown = at_a_terminal(shell, *JUDGE, "-k", "2", keys=b"3x\x1b0sus2q")
    assert "Question 1 of 2: refunds" in shown
    assert "1 of 2  r" in shown
    assert "\x1b[31m come first" not in shown, "texts cannot color the terminal"
    assert "0 not relevant · 1 somewhat" in shown
    assert "judged now, " in shown.splitlines()[-1]
    lines = judgments(shell)
    assert lines[0].split("\t")[::2] == ["q1", "3"]
    assert lines[-1].startswith("q2\t")
    assert lines[-1].endswith("\t2")


def test_a_session_goes_on_where_it_stopped(shell: Shell) -> None:
    at_a_terminal(shell, *JUDGE, "-k", "2", keys=b"1q")
    first = judgments(shell)
    assert len(first) == 1
    shown = at_a_terminal(shell, *JUDGE, "-k", "2", keys=b"222")
    assert "No passage is left to judge." in shown
    assert judgments(shell)[0] == first[0]
    assert len(judgments(shell)) == 4
    values = json.loads(at_a_terminal(shell, *JUDGE, "-k", "2", "--json").splitlines()[-1])
    assert values == {"judged": 0, "judgments": 4, "file": "q.qrels.tsv"}


def test_files_are_judged_by_their_best_passage(shell: Shell) -> None:
    options = ("--by", "path", "--qrels", "files.tsv", "--mode", "lexical")
    at_a_terminal(shell, *JUDGE, *options, keys=b"2q")
    assert judgments(shell, "files.tsv") == ["q1\trefunds.md\t2"]


def test_keys_that_are_more_than_a_character_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = pty.openpty()
    with os.fdopen(ours, "wb", buffering=0) as typing, os.fdopen(theirs, "rb", buffering=0) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        before = termios.tcgetattr(stdin)
        with keyboard() as read_key:
            typing.write(b"Q\x1b[A1\x1b[3~\x1bOP\x1b0\x04")
            assert [read_key(), read_key(), read_key()] == ["q", "1", "\x04"]
        assert termios.tcgetattr(stdin) == before


def test_what_is_refused(shell: Shell) -> None:
    assert "waits for keys: run it at a terminal" in shell.run(*JUDGE, code=2)[1]
    (shell.folder / "bad.tsv").write_text("q1 Q0 r1 1 0.5 bm25\n")
    assert "as a run of TREC" in shell.run(*JUDGE, "--qrels", "bad.tsv", code=2)[1]
    assert (shell.folder / "bad.tsv").read_text() == "q1 Q0 r1 1 0.5 bm25\n"
