"""Commands are loaded by name: our own when they are used, those of other packages by entry points."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.unit.shell import Shell

from theodolite.cli.commands import BUILT_IN, Commands

TOY = '''
from typing import Annotated

import typer

from theodolite.cli import output
from theodolite.cli.opening import open_collection
from theodolite.cli.options import Collection, Json


def titles(
    folder: Collection,
    field: Annotated[str, typer.Option("--field", help="Field with the title.")] = "title",
    json_: Json = False,
) -> None:
    """List the titles of all documents.

    \\b
    Examples:
      theodolite titles kb --field heading
    """
    with open_collection(folder) as kb:
        found = [document.metadata.get(field) for document in kb.documents()]
    if json_:
        output.say_json(found)
    else:
        for title in found:
            output.say(str(title))
'''


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """A shell beside a package that brings a command, one that replaces ours, and one that cannot be imported."""
    shell = Shell(tmp_path)
    about = shell.plugin / "toy-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: toy\nVersion: 1.0\n")
    entries = ("titles = toy:titles", "broken = toy_broken:run", "info = toy:titles")
    (about / "entry_points.txt").write_text("\n".join(("[theodolite.commands]", *entries, "")))
    (shell.plugin / "toy.py").write_text(TOY)
    (shell.plugin / "toy_broken.py").write_text("import no_such_package\n")
    shell.run("add", "--to", "kb", "--text", "Five days.", "--metadata", '{"title": "Refunds"}', "--embedder", "words")
    return shell


def test_a_command_of_another_package(shell: Shell) -> None:
    assert shell.run("titles", "kb")[0] == "Refunds\n"
    assert shell.json("titles", "kb", "--field", "other") == [None]
    assert "theodolite titles kb --field heading" in shell.run("titles", "--help")[0]
    listed = shell.run("--help")[0].partition("Commands:")[2]
    assert re.findall(r"^  (\w+)  +\w", listed, re.MULTILINE) == [*BUILT_IN, "broken", "titles"]
    assert "  titles      List the titles of all documents." in listed
    assert "no collection" in json.loads(shell.run("titles", "nothing", "--json", code=3)[1])["message"]
    assert "Did you mean 'titles'?" in shell.run("title", "kb", code=2)[1]


def test_a_command_that_cannot_be_imported_is_named_and_harms_no_other(shell: Shell) -> None:
    assert "the command 'broken' cannot be loaded: ModuleNotFoundError" in shell.run("broken", "kb", "-x", code=1)[1]
    assert "  broken      the command 'broken' cannot be loaded" in shell.run("--help")[0]


def test_our_own_commands_cannot_be_replaced(shell: Shell) -> None:
    assert shell.json("info", "kb")["documents"] == 1


def test_names_that_lead_nowhere() -> None:
    with pytest.raises(KeyError):
        Commands()["find"]
    assert "find" not in Commands()


def test_a_command_imports_no_other() -> None:
    code = "import sys; from theodolite.cli.run import run; run(['info', '--help']); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules = {name for name in done.stdout.split() if name.startswith("theodolite.cli.")}
    assert "theodolite.cli.info" in modules
    assert {f"theodolite.cli.{name}" for name in BUILT_IN} & modules == {"theodolite.cli.info"}
    assert "theodolite.files" not in done.stdout
