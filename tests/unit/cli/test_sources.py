"""`index` and `add`: sources, excluded files, and exit codes."""

import json
import os
import shutil
from pathlib import Path

import pytest
from tests.unit.shell import Shell

from theodolite import Retriever


@pytest.fixture
def filled(tmp_path: Path) -> Shell:
    shell = Shell(tmp_path)
    shell.fill()
    return shell


def ids(shell: Shell) -> list[str]:
    with Retriever.open(shell.folder / "kb") as kb:
        return sorted(document.id for document in kb.documents())


def test_another_folder_of_the_same_name(filled: Shell) -> None:
    other = filled.folder / "other" / "docs"
    other.mkdir(parents=True)
    (other / "cache.md").write_text("# Cache\n\nThe cache holds a thousand entries.")
    before = ids(filled)
    for command in ("index", "add"):
        out, err = filled.run(command, "kb", "other/docs", code=1)
        assert (out, ids(filled)) == ("", before)
        assert f"{other} is not the folder that 'docs' was indexed from: {filled.folder / 'docs'} is still there" in err
        assert "--source docs" in err
        said = json.loads(filled.run(command, "kb", "other/docs", "--json", code=1)[1])
        assert (said["error"], said["details"]["recorded"]) == ("ConfigError", str(filled.folder / "docs"))
    assert filled.json("index", "kb", "other/docs", "--source", "other-docs")["added"] == 1
    assert ids(filled) == sorted([*before, "other-docs/cache.md"])
    assert filled.json("index", "kb", "docs", "other/docs", "notes.jsonl")["unchanged"] == 4
    assert "have the same name, 'docs'" in filled.run("index", "new", "docs", "other/docs", code=1)[1]
    assert not (filled.folder / "new").exists()
    for wrong, names in (("a/b", ["docs"]), ("x", ["docs", "notes.jsonl"])):
        assert "source" in filled.run("index", "new", *names, "--source", wrong, code=2)[1]
        assert not (filled.folder / "new").exists()
    assert "do not apply to --text" in filled.run("add", "kb", "--text", "x", "--source", "x", code=2)[1]


def test_moves_are_reported(filled: Shell) -> None:
    (filled.folder / "docs").rename(filled.folder / "guide")
    _, err = filled.run("index", "kb", "guide")
    assert f"docs has moved from {filled.folder / 'docs'} to {filled.folder / 'guide'}" in err
    (filled.folder / "x").mkdir()
    (filled.folder / "guide").rename(filled.folder / "x" / "guide")
    report = filled.json("index", "kb", "x/guide")
    assert report["relocated"] == [
        {"source": "guide", "before": str(filled.folder / "guide"), "after": str(filled.folder / "x" / "guide")}
    ]
    assert report["unchanged"] == 2
    assert ids(filled) == ["de", "guide/hours.txt", "guide/refunds.md"]


def test_an_empty_folder_removes_nothing_unless_it_is_to(filled: Shell) -> None:
    shutil.rmtree(filled.folder / "docs")
    assert "docs does not exist" in filled.run("index", "kb", "docs", code=2)[1]
    (filled.folder / "docs").mkdir()
    before = ids(filled)
    err = filled.run("index", "kb", "docs", "notes.jsonl", code=1)[1]
    assert "--remove-all" in err
    assert ids(filled) == before
    assert filled.json("index", "kb", "docs", "--remove-all")["removed"] == 2


def test_links_that_lead_outside(filled: Shell) -> None:
    (filled.folder / "secret.txt").write_text("Nobody is to find this.")
    (filled.folder / "docs" / "notes.txt").symlink_to(filled.folder / "secret.txt")
    _, err = filled.run("index", "kb", "docs")
    assert "1 links that lead outside (--follow-links): 1 .txt" in err
    assert "docs/notes.txt" not in ids(filled)
    assert filled.json("index", "kb", "docs", "--follow-links")["added"] == 1
    report = filled.json("index", "kb", "docs")
    assert (report["kept"], report["removed"]) == (1, 0)
    assert "docs/notes.txt" in ids(filled)


def test_what_cannot_be_stored_makes_the_exit_code(filled: Shell) -> None:
    (filled.folder / "docs" / "empty.txt").write_text("+++ --- +++")  # the embedder sees no word in it
    (filled.folder / "docs" / "nul.txt").write_bytes(b"One\0two")
    out, err = filled.run("index", "kb", "docs", code=1)
    assert out == "4 files, 3 passages: 1 added, 2 unchanged\n"
    assert "1 could not be stored" in err
    assert "docs/empty.txt: not stored: of 'docs/empty.txt', vectors have zero length" in err
    assert "1 characters in 1 files are not text and were replaced, first docs/nul.txt" in err
    report = json.loads(filled.run("index", "kb", "docs", "--json", code=1)[0])
    assert (report["failed"], report["repaired"]) == (1, [{"source": "docs/nul.txt", "characters": 1}])
    filled.run("add", "kb", "docs", code=1)


@pytest.mark.skipif(os.name == "nt", reason="names are text there")
def test_a_path_that_is_not_text(filled: Shell) -> None:
    (filled.folder / "\udcff").mkdir()
    err = filled.run("index", "new", "\udcff", code=2)[1]
    assert "is not text" in err
    assert not (filled.folder / "new").exists()
    assert "null byte" in filled.run("index", "new", "a\0b", code=2)[1]
    assert not (filled.folder / "new").exists()
