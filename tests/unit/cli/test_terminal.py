"""The command line at a terminal: colors, bars, passages with their first lines, questions."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.unit.shell import Shell

if sys.platform == "win32":
    pytest.skip("pseudo-terminals are POSIX", allow_module_level=True)

import pty

from tests.unit.terminal import at_a_terminal

COLOR = re.compile(r"\x1b\[[0-9;]*m")
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@pytest.fixture
def filled(tmp_path: Path) -> Shell:
    shell = Shell(tmp_path)
    shell.fill()
    return shell


@pytest.mark.filterwarnings("ignore:.*longer than the 12 tokens")
def test_hits_have_a_place_and_their_first_lines(filled: Shell) -> None:
    long = "A passage of many words. " * 40
    filled.run("add", "kb", "-", given=_records(("long", long, "wiki")))
    shown = at_a_terminal(filled, "search", "kb", "a passage of many words", "-k", "2")
    assert COLOR.search(shown)
    lines = CONTROL.sub("", shown).splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith(" 1. "))
    assert re.fullmatch(r" 1\. \d\.\d{3}  long  wiki", lines[first])
    passage = lines[first + 1 : first + 4]
    assert all(line.startswith("      ") and len(line) <= 100 for line in passage)
    assert passage[-1].endswith(" …")
    assert lines[first + 4].startswith(" 2. ")


def test_no_color_is_respected(filled: Shell) -> None:
    shown = at_a_terminal(filled, "search", "kb", "refunds", NO_COLOR="1")
    assert "docs/refunds.md" in shown
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]m", shown)


def test_an_empty_result_is_noted(filled: Shell) -> None:
    assert "No documents match." in at_a_terminal(filled, "search", "kb", "x", "--where", '{"lang": "fr"}')


def test_a_bar_with_rate_and_remaining_time(filled: Shell) -> None:
    (filled.folder / "docs" / "new.txt").write_text("Parcels leave on Mondays.")
    shown = CONTROL.sub("", at_a_terminal(filled, "index", "kb", "docs", "--embedder", "words:0.5"))
    assert re.search(r"━+ +\d+% (\d:\d\d:\d\d|-:--:--) 3 of 3 files, 3 passages, \d+/s", shown)
    assert "3 files, 3 passages: 1 added, 2 unchanged\n" in shown


@pytest.mark.parametrize(("key", "code", "said", "left"), [(b"y\n", 0, "1 deleted", 2), (b"n\n", 1, "Nothing was", 3)])
def test_delete_asks(filled: Shell, key: bytes, code: int, said: str, left: int) -> None:
    shown = at_a_terminal(filled, "delete", "kb", "--where", '{"lang": "de"}', keys=key, code=code)
    assert "Delete 1 of 3 documents? [y/N]:" in shown
    assert said in shown
    assert filled.json("info", "kb")["documents"] == left


def test_errors_are_one_line(filled: Shell) -> None:
    shown = at_a_terminal(filled, "info", "nothing", code=3)
    assert CONTROL.sub("", shown).count("\n") == 1


def test_answers_stay_apart_from_what_is_beside_them(filled: Shell) -> None:
    """With stderr at a terminal and stdout in a file, no bar gets into the file."""
    ours, theirs = pty.openpty()
    try:
        process = filled.start("export", "kb", stderr=theirs, stdout=subprocess.PIPE)
        out, _ = process.communicate(timeout=60)
    finally:
        os.close(theirs)
        os.close(ours)
    assert len(out.splitlines()) == 3
    assert "\x1b" not in out


def _records(*records: tuple[str, str, str]) -> str:
    import json

    return "\n".join(
        json.dumps({"id": name, "text": text, "metadata": {"source": source}}) for name, text, source in records
    )
