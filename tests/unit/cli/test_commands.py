"""Commands are loaded by name: our own when they are used, those of other packages by entry points."""

import json
import re
import subprocess
import sys
from importlib import import_module
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
    shell.run("add", "kb", "--text", "Five days.", "--metadata", '{"title": "Refunds"}', "--embedder", "words")
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


def test_help_shows_each_summary_whole(shell: Shell) -> None:
    for name in BUILT_IN:
        docstring = getattr(import_module(f"theodolite.cli.{name}"), name).__doc__
        assert docstring.splitlines()[0] == BUILT_IN[name]
    lines = shell.apart("--help")[0].splitlines()
    assert all(len(line) <= 80 for line in lines)
    listed = dict(line.split(maxsplit=1) for line in lines[lines.index("Commands:") + 1 :])
    assert listed.items() >= BUILT_IN.items()


def test_help_imports_no_command() -> None:
    code = "import sys; from theodolite.cli.run import run; run(['--help']); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {f"theodolite.cli.{name}" for name in BUILT_IN} & set(done.stdout.split()) == set()


@pytest.mark.parametrize(
    ("former", "now"),
    [
        (["search", "how long?", "--in", "kb", "-k", "2"], "theodolite search kb 'how long?' -k 2"),
        (["search", "--kb=kb", "how long?"], "theodolite search kb 'how long?'"),
        (["index", "docs", "notes.jsonl", "--to", "my kb"], "theodolite index 'my kb' docs notes.jsonl"),
        (["add", "--to", "kb", "--text", "x"], "theodolite add kb --text x"),
        (["export", "kb", "--collection", "kb"], "theodolite export kb kb"),
        (["recall", "--in"], "theodolite recall KB"),
        (["demo", "--to", "kb"], "theodolite demo kb"),
        (["delete", "a", "b", "--in", "kb"], "theodolite delete kb a b"),
    ],
)
def test_an_option_for_the_collection_is_refused_with_the_new_form(shell: Shell, former: list[str], now: str) -> None:
    out, err = shell.run(*former, code=2)
    assert out == ""
    assert " ".join(err.split()).endswith(f"is not an option: the collection is the first argument. Run: {now}")
    said = json.loads(shell.run(*former, "--json", code=2)[1]) if former[-1] != "--in" else {"error": "UsageError"}
    assert said["error"] == "UsageError"


@pytest.mark.parametrize(
    ("arguments", "now"),
    [
        (["index", "kb", "faq.csv", "--text-field", "body"], "--text-field is not an option. Pass --map text=body"),
        (["add", "kb", "faq.csv", "--id-field=key"], "--id-field is not an option. Pass --map id=key"),
        (
            ["index", "kb", "x", "--metadata-field", "lang", "--text-field", "a+b", "--metadata-field", "year"],
            r"Pass --map 'metadata=lang+year,text=a\+b'",
        ),
        (["index", "kb", "x", "--text-field"], "Pass --map text=NAME"),
    ],
)
def test_former_options_for_fields_are_refused_with_a_mapping(shell: Shell, arguments: list[str], now: str) -> None:
    out, err = shell.run(*arguments, code=2)
    assert out == ""
    assert " ".join(err.split()).endswith(now)


def test_an_option_for_fields_is_unknown_to_other_commands(shell: Shell) -> None:
    _, err = shell.run("search", "kb", "x", "--text-field", "body", code=2)
    assert "--map" not in err


def test_a_text_may_look_like_a_former_option(shell: Shell) -> None:
    shell.run("add", "kb", "--text", "--to", "--id", "dashes")
    assert '"--to"' in shell.run("export", "kb")[0]


@pytest.mark.parametrize("command", ["backup", "export"])
def test_to_is_not_taken_for_the_collection_where_it_would_be_the_output(shell: Shell, command: str) -> None:
    assert "No such option: --to" in shell.run(command, "kb", "--to", "copy", code=2)[1]


def test_a_question_before_the_collection_is_recognized(shell: Shell) -> None:
    _, err = shell.run("search", "how long?", "kb", code=2)
    assert err == "the collection comes first, then the question. Run: theodolite search kb 'how long?'\n"
    assert "no collection" in shell.run("search", "how long?", "neither", code=3)[1]


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
