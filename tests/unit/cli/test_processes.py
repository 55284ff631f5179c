"""The command line in a process of its own: signals, pipes, full disks, missing packages, what is imported."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.unit.shell import Shell

posix = pytest.mark.skipif(os.name != "posix", reason="POSIX only")


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


@pytest.fixture
def filled(shell: Shell) -> Shell:
    shell.fill()
    return shell


def test_truncation_is_reported(shell: Shell) -> None:
    long = ("add", "kb", "--text", " ".join(["word"] * 30), "--embedder", "words")
    _, err = shell.apart(*long)
    assert err.startswith("Warning: 1 of 1 documents are longer than the 12 tokens")
    assert err.endswith("split them into passages.\n")  # and nothing of what Python code can do
    assert shell.json("info", "kb")["truncated"] == 1
    said = json.loads(shell.apart(*long, "--json")[1])
    assert said["warning"] == "TruncationWarning"


@posix
@pytest.mark.thorough
def test_ctrl_c_keeps_what_was_committed(shell: Shell) -> None:
    docs = shell.folder / "docs"
    docs.mkdir()
    for number in range(3000):
        (docs / f"{number:04}.txt").write_text(f"Text number {number}.")
    # Where the tests run in a shell's background, SIGINT is ignored and children would inherit that.
    process = shell.start(
        "index", "kb", "docs", "--embedder", "words:0.2",
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    vectors = shell.folder / "kb" / "vectors-1.f32"
    deadline = time.monotonic() + 60
    # Vectors are written before they are committed: when those of a second batch begin, the first one is.
    while not (vectors.exists() and vectors.stat().st_size > 256 * 64 * 4 * 1.5) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert err.splitlines()[-1].startswith("Interrupted. Everything committed is kept")
    assert "Traceback" not in err
    kept = shell.json("info", "kb")["documents"]
    assert 0 < kept < 3000
    report = shell.json("index", "kb", "docs", "--embedder", "words")
    assert (report["unchanged"], report["added"]) == (kept, 3000 - kept)
    shell.run("verify", "kb")


@posix
@pytest.mark.thorough
def test_a_reader_that_goes_away(filled: Shell) -> None:
    lines = "".join(json.dumps({"id": f"{n}", "text": f"Text {n} " + "word " * 5}) + "\n" for n in range(5000))
    filled.run("add", "kb", "-", given=lines)
    with filled.start("export", "kb") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 141


def test_help_and_info_load_no_framework(filled: Shell) -> None:
    code = (
        "import sys; from theodolite.cli.run import run; codes = run(['--help']), run(['info', 'kb']); "
        "heavy = {'torch', 'transformers', 'sentence_transformers', 'onnxruntime', 'semantic_text_splitter'}; "
        "print(codes, sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=filled.folder,
        env=filled.environment,
        text=True,
        capture_output=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "(0, 0) []"


def test_without_its_packages_the_command_line_says_so(shell: Shell) -> None:
    _hide(shell, "typer")
    out, err = shell.apart("info", "kb", code=1)
    assert (out, err) == ("", "the command line needs the package 'typer'. Run: pip install 'theodolite[cli]'\n")


@pytest.mark.thorough
def test_an_embedder_that_is_not_installed(filled: Shell) -> None:
    _hide(filled, "sentence_transformers")
    for command in (["search", "kb", "x"], ["add", "kb", "--text", "x"]):
        out, err = filled.apart(*command, "--embedder", "some/model", code=1)
        assert (out, "Traceback" in err) == ("", False)
        assert "pip install 'theodolite[sentence-transformers]'" in err
        said = json.loads(filled.apart(*command, "--embedder", "some/model", "--json", code=1)[1])
        assert (said["error"], said["details"]["extra"]) == ("MissingExtraError", "sentence-transformers")


def test_the_command_and_the_module_are_one(shell: Shell) -> None:
    script = Path(sys.executable).with_name("theodolite")
    done = subprocess.run([script, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == shell.apart("--version")[0]
    assert re.fullmatch(r"theodolite \d+\.\d+\.\d+\n", done.stdout)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux only")
@pytest.mark.parametrize("command", [["export", "kb"], ["info", "kb"], ["search", "kb", "x"]])
def test_a_full_disk(filled: Shell, command: list[str]) -> None:
    with open("/dev/full", "w") as full:
        err = filled.apart(*command, code=1, stdout=full)[1]
    assert re.fullmatch(r"the output cannot be written: .*No space left on device\n", err)


def test_the_shell_completes_commands(shell: Shell) -> None:
    asked = {"_THEODOLITE_COMPLETE": "complete_bash", "COMP_WORDS": "theodolite ve", "COMP_CWORD": "1"}
    code = "from theodolite.cli.run import run; import sys; sys.exit(run(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", code], env={**shell.environment, **asked}, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, "verify\n")


@pytest.mark.thorough
def test_programs_read_utf_8_whatever_the_locale(filled: Shell) -> None:
    environment = {**filled.environment, "PYTHONUTF8": "0", "PYTHONIOENCODING": "latin-1"}
    out, _ = filled.apart("search", "kb", "漢字 😀", "--json", env=environment, encoding="utf-8")
    assert json.loads(out)["query"] == "漢字 😀"


def _hide(shell: Shell, package: str) -> None:
    """Make it seem as if a package were not installed."""
    message = f"No module named {package!r}"
    (shell.plugin / f"{package}.py").write_text(f"raise ModuleNotFoundError({message!r}, name={package!r})")
