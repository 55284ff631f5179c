"""The command `duplicates`: lines for programs, passages for people, and what it refuses."""

import json
import re
import sys
from pathlib import Path

import pytest
from tests.unit.shell import Shell


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """A collection with two pairs of near-duplicates."""
    shell = Shell(tmp_path)
    records = [
        ("a", "Refunds take five working days from receipt.", "policy"),
        ("b", "Parcels leave on Mondays and on Thursdays.", "policy"),
        ("c", "Refunds take five working days from receipt", "wiki"),
        ("d\x1b\te", "Parcels leave on Mondays and on Thursdays!", "wiki"),
        ("f", "The shop is open from nine to six.", "wiki"),
    ]
    lines = [json.dumps({"id": name, "text": text, "metadata": {"source": kind}}) for name, text, kind in records]
    shell.run("add", "kb", "-", "--embedder", "words", given="\n".join(lines))
    return shell


def test_lines_behind_a_pipe(shell: Shell) -> None:
    out, err = shell.run("duplicates", "kb", "--threshold", "0.99")
    lines = [line.split("\t") for line in out.splitlines()]
    assert [names for _, *names in lines] == [["a", "c"], ["b", "d\ufffd e"]]
    assert all(re.fullmatch(r"0\.99\d\d|1\.0000", similarity) for similarity, *_ in lines)
    assert err == ""
    assert shell.run("duplicates", "kb", "--threshold", "0.99", "--limit", "1")[0] == out.splitlines(True)[0]
    assert shell.run("duplicates", "kb", "--where", '{"source": "wiki"}') == ("", "")
    assert len(shell.run("duplicates", "kb", "--threshold", "0.001")[0].splitlines()) > 2


def test_json_is_a_line_for_each_pair(shell: Shell) -> None:
    out, _ = shell.run("duplicates", "kb", "--json")
    first, second = map(json.loads, out.splitlines())
    assert first["similarity"] >= 0.92
    assert first["first"] == {
        "id": "a",
        "text": "Refunds take five working days from receipt.",
        "metadata": {"source": "policy"},
    }
    assert (first["second"]["id"], second["second"]["id"]) == ("c", "d\x1b\te")


def test_what_is_refused(shell: Shell) -> None:
    for threshold in ("0", "1.5", "nan"):
        assert "above 0 and at most 1" in shell.run("duplicates", "kb", "--threshold", threshold, code=2)[1]
    shell.run("duplicates", "kb", "--threshold", "high", code=2)
    shell.run("duplicates", "kb", "--limit", "0", code=2)
    assert "JSON object" in shell.run("duplicates", "kb", "--where", "[]", code=2)[1]
    assert "there is no collection" in shell.run("duplicates", "nothing", code=3)[1]


def test_an_empty_collection(shell: Shell) -> None:
    shell.run("delete", "kb", "--where", '{"source": {"$exists": true}}', "--yes")
    assert shell.run("duplicates", "kb") == ("", "")


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are POSIX")
@pytest.mark.thorough
def test_passages_at_a_terminal(shell: Shell) -> None:
    from tests.unit.cli.test_terminal import CONTROL
    from tests.unit.terminal import at_a_terminal

    shown = CONTROL.sub("", at_a_terminal(shell, "duplicates", "kb", "--threshold", "0.99", "--limit", "1"))
    lines = [line.rstrip() for line in re.split(r"[\r\n]+", shown)]
    # The bar is drawn first, on what is then the line of the first document.
    first = next(i for i, line in enumerate(lines) if re.search(r"(0\.99\d|1\.000)  a  policy$", line))
    assert lines[first + 1 : first + 4] == [
        "       Refunds take five working days from receipt.",
        "       c  wiki",
        "       Refunds take five working days from receipt",
    ]
    assert any(line.endswith("1 pair of 5 documents, and there may be more") for line in lines)
    shown = CONTROL.sub("", at_a_terminal(shell, "duplicates", "kb", "--threshold", "0.99"))
    assert "2 pairs of 5 documents" in shown
    assert "there may be more" not in shown
