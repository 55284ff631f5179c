"""The command line on a collection in PostgreSQL: the same commands, the same answers."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.unit.shell import Shell

from theodolite import Retriever

pytestmark = pytest.mark.engine


@pytest.fixture
def url(database: str) -> Iterator[str]:
    """A collection that does not exist yet."""
    named = f"{database}{'&' if '?' in database else '?'}collection=c{uuid.uuid4().hex[:8]}"
    yield named
    with Retriever.open(named, embedder=None) as kb:
        kb.clear()


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    shell = Shell(tmp_path)
    shell.fill()
    return shell


def test_files_are_indexed_and_found(shell: Shell, url: str) -> None:
    said, _ = shell.run("index", url, "docs", "notes.jsonl", "--embedder", "words")
    assert "3 added" in said
    said, _ = shell.run("index", url, "docs", "notes.jsonl", "--embedder", "words")
    assert "3 unchanged" in said
    for options in ((), ("--mode", "hybrid"), ("--mode", "lexical"), ("--where", '{"lang": "de"}')):
        here = shell.json("search", "kb", "how long do refunds take", *options, "--embedder", "words")
        there = shell.json("search", url, "how long do refunds take", *options, "--embedder", "words")
        assert [hit["id"] for hit in here["hits"]] == [hit["id"] for hit in there["hits"]]
        assert [hit["score"] for hit in there["hits"]] == pytest.approx(
            [hit["score"] for hit in here["hits"]], abs=1e-6
        )


def test_every_command(shell: Shell, url: str) -> None:
    said, _ = shell.run("copy", "kb", url)
    assert said.startswith("3 documents copied, 3 of them")
    assert shell.json("info", url)["documents"] == 3
    assert "postgresql" in shell.run("info", url)[0]
    assert shell.json("fields", url) == shell.json("fields", "kb")
    assert shell.run("export", url)[0] == shell.run("export", "kb")[0]
    assert shell.json("verify", url)["problems"] == []
    assert shell.run("duplicates", url, "--json") == shell.run("duplicates", "kb", "--json")
    shell.run("compact", url)
    assert "hnsw" in shell.run("reindex", url, "hnsw")[0]
    assert "recall@" in shell.run("info", url)[0]
    shell.run("recall", url)
    assert shell.run("reindex", url, "flat")[0] == "flat: searches are exact\n"
    shell.run("backup", url, "-o", "saved")
    shell.run("copy", url, "back")
    for copy in ("saved", "back"):
        assert shell.run("export", copy, "--vectors")[0] == shell.run("export", "kb", "--vectors")[0]
    assert shell.json("delete", url, "de", "--yes")["deleted"] == 1
    shell.run("add", url, "--text", "A passage.", "--embedder", "words")
    assert shell.json("info", url)["documents"] == 3


def test_a_missing_collection(shell: Shell, url: str) -> None:
    _, stderr = shell.run("info", url, code=3)
    assert "there is no collection" in stderr
    assert "correct-horse" not in stderr


def test_a_copy_is_compared_with_its_source(shell: Shell, url: str) -> None:
    (shell.folder / "q.tsv").write_text("q1\thow long do refunds take\nq2\twhen are you open\n")
    compare = ("diff", "kb", url, "--questions", "q.tsv", "--embedder", "words", "--threshold", "1")
    shell.run("copy", "kb", url)
    for mode in ("dense", "hybrid"):
        assert shell.json(*compare, "--mode", mode)["changes"] == []
    shell.run("delete", url, "de")
    found = shell.json(*compare, "-k", "3")
    assert [cause["cause"] for cause in found["causes"]] == ["absent"]
    assert {change["document"] for change in found["changes"]} == {"de"}
