"""Commands open collections by URL, and know no engine by name."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.unit.shell import Shell

from theodolite import Document, Retriever
from theodolite.testing import DictEngine, HashingEmbedder


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    with Retriever.open("dict://shelf", embedder=HashingEmbedder()) as kb:
        kb.add([Document("Refunds take five days.", {"team": 1}, "refunds")])
    yield Shell(tmp_path)
    DictEngine.forget("shelf")


def test_a_url_is_read_and_written_to(shell: Shell) -> None:
    info = shell.json("info", "dict://shelf")
    assert (info["documents"], info["dimension"], info["location"]) == (1, 64, "dict://shelf")
    assert "dict://shelf" in shell.run("info", "dict://shelf")[0]
    assert "Refunds take five days." in shell.run("export", "dict://shelf")[0]
    assert "Refunds" in shell.run("search", "dict://shelf", "refunds", "--mode", "lexical")[0]
    shell.run("delete", "dict://shelf", "refunds")
    assert shell.json("info", "dict://shelf")["documents"] == 0
    assert {path.name for path in shell.folder.iterdir()} == {"plugin"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("verify", "dict://shelf"), "verify() is not supported: the engine DictEngine has no maintenance"),
        (("compact", "dict://shelf"), "compact() is not supported: the engine DictEngine has no maintenance"),
        (("monitor", "dict://shelf"), "name the file with --file"),
        (("info", "dikt://shelf"), "no engine for 'dikt://shelf'. Did you mean 'dict'?"),
        (("info", "dict://nothing"), "there is no collection"),
    ],
)
def test_what_cannot_be_done_is_said(shell: Shell, arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(AssertionError, match=re.escape(message)):  # the exit code is not 0
        shell.run(*arguments)
