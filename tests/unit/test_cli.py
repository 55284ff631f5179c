"""The command line as its users meet it: in a process of its own, with arguments, pipes and Ctrl-C."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from theodolite import Retriever
from theodolite.cli.demo import QUESTIONS, handbook

EMBEDDER = '''
"""An embedder of another package, slow if its argument says so."""
import time
from theodolite.testing import HashingEmbedder

class Plugin(HashingEmbedder):
    max_tokens = 12

    def __init__(self, pause="0"):
        super().__init__(64)
        self.pause = float(pause)

    def count_tokens(self, texts):
        return [len(text.split()) + 2 for text in texts]

    def encode_document(self, texts, /):
        time.sleep(self.pause)
        return super().encode_document(texts)
'''

PIPE = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL, "text": True}


class Shell:
    """Runs `theodolite` in a folder, with an embedder that another package brings."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        plugin = folder / "plugin"
        (plugin / "words-1.0.dist-info").mkdir(parents=True)
        (plugin / "words-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: words\nVersion: 1.0\n")
        points = "[theodolite.embedders]\nwords = words:Plugin\n"
        (plugin / "words-1.0.dist-info" / "entry_points.txt").write_text(points)
        (plugin / "words.py").write_text(EMBEDDER)
        self.environment = {**os.environ, "PYTHONPATH": str(plugin), "PYTHONUTF8": "1", "COLUMNS": "100"}

    def start(self, *arguments: str, **options: Any) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "theodolite", *arguments]
        process: subprocess.Popen[str] = subprocess.Popen(
            command, cwd=self.folder, env=self.environment, **{**PIPE, **options}
        )
        return process

    def run(self, *arguments: str, code: int = 0, given: str | None = None) -> tuple[str, str]:
        process = self.start(*arguments, stdin=subprocess.PIPE if given is not None else subprocess.DEVNULL)
        out, err = process.communicate(given, timeout=120)
        assert process.returncode == code, f"{process.returncode}: {out}{err}"
        assert "\x1b" not in out + err  # no colours behind a pipe
        return out, err

    def json(self, *arguments: str, **options: Any) -> Any:
        return json.loads(self.run(*arguments, "--json", **options)[0])


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


@pytest.fixture
def filled(shell: Shell) -> Shell:
    docs = shell.folder / "docs"
    docs.mkdir()
    (docs / "refunds.md").write_text("# Refunds\n\nRefunds take five working days.")
    (docs / "hours.txt").write_text("The shop is open from nine to six.")
    (docs / "photo.jpg").write_bytes(b"\xff\xd8")
    records = [{"id": "de", "text": "Rückgaben dauern fünf Tage.", "metadata": {"lang": "de", "n": 1}}]
    (shell.folder / "notes.jsonl").write_text("\n".join(map(json.dumps, records)))
    shell.run("index", "docs", "notes.jsonl", "--to", "kb", "--embedder", "words")
    return shell


def test_help_tells_by_example(shell: Shell) -> None:
    out, _ = shell.run("--help")
    commands = re.findall(r"^  (\w+)  +\w", out.partition("Commands:")[2], re.MULTILINE)
    assert sorted(commands) == ["add", "delete", "demo", "export", "index", "info", "search", "verify"]
    for command in commands:
        out, _ = shell.run(command, "--help")
        assert re.search(rf"Examples:\n    theodolite (export old \| theodolite )?{command}", out), command
        assert "--json" in out
    assert shell.run("--version")[0].startswith("theodolite ")


def test_index_tells_what_it_did(filled: Shell) -> None:
    out, err = filled.run("index", "docs", "notes.jsonl", "--to", "kb")
    assert out == "3 files, 3 passages: 3 unchanged\n"
    assert "docs/photo.jpg: unknown kind of file: .jpg" in err
    (filled.folder / "docs" / "hours.txt").unlink()
    (filled.folder / "docs" / "new.txt").write_text("Parcels leave on Mondays.")
    report = filled.json("index", "docs", "notes.jsonl", "--to", "kb")
    assert {name: report[name] for name in ("files", "added", "unchanged", "removed")} == {
        "files": 3,
        "added": 1,
        "unchanged": 2,
        "removed": 1,
    }
    assert report["skipped"] == [{"source": "docs/photo.jpg", "reason": "unknown kind of file: .jpg"}]


def test_search(filled: Shell) -> None:
    out, err = filled.run("search", "how many working days do refunds take", "--in", "kb", "-k", "1")
    rank, score, name, text = out.rstrip("\n").split("\t")
    assert (rank, name, text) == ("1", "docs/refunds.md", "# Refunds Refunds take five working days.")
    assert 0 < float(score) <= 1
    assert err == ""
    answer = filled.json("search", "Tage", "--in", "kb", "--where", '{"lang": "de"}')
    assert answer["query"] == "Tage"
    (hit,) = answer["hits"]
    assert (hit["id"], hit["rank"], hit["metadata"]["lang"]) == ("de", 1, "de")
    assert hit["metadata"]["modified"].keys() == {"$datetime"}
    assert answer["trace"]["eligible"] == 1
    assert filled.run("search", "x", "--in", "kb", "--where", '{"lang": "fr"}')[0] == ""


def test_info_and_verify(filled: Shell) -> None:
    found = filled.json("info", "kb")
    assert (found["documents"], found["dimension"], found["embedder"], found["truncated"]) == (3, 64, "words", 0)
    assert {"theodolite", "numpy", "python"} <= found["versions"].keys()
    assert re.search(r"^documents +3$", filled.run("info", "kb")[0], re.MULTILINE)
    assert filled.run("verify", "kb")[0] == "3 documents, all as they were stored\n"
    data = next((filled.folder / "kb").glob("vectors-*"))
    damaged = bytearray(data.read_bytes())
    damaged[-5] ^= 1
    data.write_bytes(damaged)
    assert "do not match their checksum" in filled.run("verify", "kb", code=3)[1]


def test_add(filled: Shell) -> None:
    stored = filled.run(
        "add", "--to", "kb", "--text", "A new one.", "--id", "n", "--metadata", '{"x": {"$date": "2025-03-01"}}'
    )
    assert stored[0] == "stored as n\n"
    lines = '{"id": "a", "text": "First."}\n\n{"id": "b", "text": "Second.", "vector": [1, 2]}\n'
    assert filled.json("add", "-", "--to", "kb", given=lines) == {"ids": ["a", "b"]}
    (filled.folder / "docs" / "hours.txt").unlink()
    assert filled.json("add", "docs", "--to", "kb")["removed"] == 0
    with Retriever.open(filled.folder / "kb") as kb:
        assert sorted(document.id for document in kb.documents()) == [
            "a",
            "b",
            "de",
            "docs/hours.txt",
            "docs/refunds.md",
            "n",
        ]
        assert str(kb.get("n")[0].metadata["x"]) == "2025-03-01"


def test_delete(filled: Shell) -> None:
    assert filled.run("delete", "docs/hours.txt", "nobody", "--in", "kb")[0] == "1 deleted\n"
    assert "add --yes" in filled.run("delete", "--where", '{"lang": "de"}', "--in", "kb", code=2)[1]
    assert filled.json("delete", "--where", '{"lang": "de"}', "--in", "kb", "--yes") == {"deleted": 1}
    assert filled.json("info", "kb")["documents"] == 1


def test_export_is_read_again(filled: Shell) -> None:
    out, _ = filled.run("export", "kb")
    assert [json.loads(line)["id"] for line in out.splitlines()] == ["de", "docs/hours.txt", "docs/refunds.md"]
    filled.run("add", "-", "--to", "copy", "--embedder", "words", given=out)
    with Retriever.open(filled.folder / "kb") as kb, Retriever.open(filled.folder / "copy") as copy:
        assert list(kb.documents()) == list(copy.documents())
    report = filled.json("export", "kb", "--vectors", "-o", "out.jsonl")
    assert report == {"documents": 3, "file": "out.jsonl"}
    first = json.loads((filled.folder / "out.jsonl").read_text().splitlines()[0])
    assert len(first["vector"]) == 64
    assert sorted(path.name for path in filled.folder.glob("*out*")) == ["out.jsonl"]
    assert "cannot be written" in filled.run("export", "kb", "-o", "nowhere/out.jsonl", code=1)[1]


def test_the_demo_shows_the_handbook(shell: Shell) -> None:
    out, _ = shell.run("demo", "--embedder", "words", "--to", "kept")
    assert out.startswith(f"{len(handbook())} documents")
    assert all(question.text in out for question in QUESTIONS)
    assert shell.json("info", "kept")["documents"] == len(handbook())
    lines = shell.run("demo", "--embedder", "words", "--json")[0].splitlines()
    assert [json.loads(line)["query"] for line in lines] == [question.text for question in QUESTIONS]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["search", "x", "--in", "nothing"], 3, "nothing: there is no collection"),
        (["info", "nothing"], 3, "there is no collection"),
        (["export", "docs"], 3, "not a theodolite collection"),
        (["index", "nothing", "--to", "new", "--embedder", "words"], 2, "nothing does not exist"),
        (["index", "--to", "kb"], 2, "Missing argument"),
        (["search", "x"], 2, "--in"),
        (["search", " ", "--in", "kb"], 2, "must be a text"),
        (["search", "x", "--in", "kb", "-k", "0"], 2, "k is 0"),
        (["search", "x", "--in", "kb", "--where", "{"], 2, "--where is not JSON"),
        (["search", "x", "--in", "kb", "--where", "[1]"], 2, "must be a JSON object"),
        (["search", "x", "--in", "kb", "--where", '{"a": {"$nope": 1}}'], 2, "unknown operator"),
        (["search", "x", "--in", "kb", "--embedder", "nope:1"], 1, "nothing called 'nope'"),
        (["add", "--to", "kb"], 2, "either files"),
        (["add", "--to", "kb", "--text", "x", "--metadata", "1"], 2, "must be a JSON object"),
        (["delete", "--in", "kb"], 2, "either ids or --where"),
        (["delete", "--in", "kb", "--where", "{}", "-y"], 2, "lets every document pass"),
    ],
)
def test_what_is_refused(filled: Shell, arguments: list[str], code: int, message: str) -> None:
    out, err = filled.run(*arguments, code=code)
    assert message in " ".join(err.split())
    assert "Traceback" not in err
    assert out == ""
    assert not (filled.folder / "nothing").exists()
    if "Missing" not in message and message != "--in":
        said = json.loads(filled.run(*arguments, "--json", code=code)[1])
        assert said["error"].endswith("Error")
        assert message in said["message"]


def test_standard_input_that_is_no_json(filled: Shell) -> None:
    assert "line 2 of stdin" in filled.run("add", "-", "--to", "kb", given='{"text": "a"}\n{"text"', code=2)[1]


def test_a_collection_of_vectors_alone_needs_an_embedder_by_name(shell: Shell) -> None:
    with Retriever.open(shell.folder / "kb") as kb:
        kb.add(["text"], vectors=[[1.0] * 64])
    assert "--embedder" in shell.run("search", "x", "--in", "kb", code=1)[1]
    assert len(shell.json("search", "text", "--in", "kb", "--embedder", "words")["hits"]) == 1


def test_truncation_is_told(shell: Shell) -> None:
    long = " ".join(["word"] * 30)
    _, err = shell.run("add", "--to", "kb", "--text", long, "--embedder", "words")
    assert "Warning: 1 of 1 documents are longer than the 12 tokens" in err
    assert shell.json("info", "kb")["truncated"] == 1


@pytest.mark.skipif(os.name != "posix", reason="POSIX only")
def test_ctrl_c_keeps_what_was_committed(shell: Shell) -> None:
    docs = shell.folder / "docs"
    docs.mkdir()
    for number in range(3000):
        (docs / f"{number:04}.txt").write_text(f"Text number {number}.")
    # Where the tests run in a shell's background, SIGINT is ignored and children would inherit that.
    process = shell.start(
        "index", "docs", "--to", "kb", "--embedder", "words:0.2",
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        time.sleep(0.1)
        if (shell.folder / "kb" / "vectors-1.f32").exists() and (shell.folder / "kb" / "vectors-1.f32").stat().st_size:
            break
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert err.splitlines()[-1].startswith("Interrupted. What was committed is kept")
    assert "Traceback" not in err
    kept = shell.json("info", "kb")["documents"]
    assert 0 < kept < 3000
    report = shell.json("index", "docs", "--to", "kb", "--embedder", "words")
    assert (report["unchanged"], report["added"]) == (kept, 3000 - kept)
    shell.run("verify", "kb")


@pytest.mark.skipif(os.name != "posix", reason="POSIX only")
def test_a_reader_that_goes_away(filled: Shell) -> None:
    lines = "".join(json.dumps({"id": f"{n}", "text": f"Text {n} " + "word " * 5}) + "\n" for n in range(5000))
    filled.run("add", "-", "--to", "kb", given=lines)
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
    (shell.folder / "plugin" / "typer.py").write_text(
        "raise ModuleNotFoundError(\"No module named 'typer'\", name='typer')"
    )
    out, err = shell.run("info", "kb", code=1)
    assert (out, err) == ("", "the command line needs the package 'typer'. Run: pip install 'theodolite[cli]'\n")
