"""docs/extending.md, followed step by step: its files and names exist, and a package made of its blocks works."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
INDEXES = (ROOT / "docs" / "indexes.md").read_text(encoding="utf-8")
PLACES = (ROOT / "retriever" / "theodolite", ROOT)

PATH = re.compile(r"`((?:[\w.]+/)+[\w.]*)(?:#[\w-]+)?`")
NAME = re.compile(r"`([A-Za-z_]\w+)`")

USE = """
import my_package
from theodolite import Retriever, UnsupportedError

with Retriever.open("loud://") as kb:
    kb.add(["north", "east"], vectors=[[0.0, 1.0], [1.0, 0.0]])
    assert kb.search(vector=[1.0, 0.1], k=1)[0].document.text == "east"
    assert my_package.LoudEngine.answered == 1
    try:
        kb.verify()
    except UnsupportedError:
        print("engine")

with Retriever.open("kb") as kb:
    kb.add([f"text {i}" for i in range(200)], vectors=[[float(i % 7 - 3), float(i % 11 - 5), 1.0] for i in range(200)])
    kb.reindex("signs", target_recall=0.5)
    assert kb.info()["index"].startswith("signs")
    print("index")
"""


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def found(path: str) -> Path | None:
    return next((place / path for place in PLACES if (place / path).exists()), None)


@pytest.mark.parametrize("path", sorted({path for path in PATH.findall(PAGE) if "<" not in path}))
def test_each_file_exists(path: str) -> None:
    assert found(path) is not None


def steps() -> list[tuple[str, str]]:
    """Each numbered step's file with the names that the step mentions."""
    lines = re.findall(r"^\d\. (.*(?:\n   .*)*)", PAGE, re.MULTILINE)
    return [
        (PATH.findall(line)[0], name)
        for line in lines
        if line.startswith("`") and PATH.findall(line)[0].endswith(".py")
        for name in NAME.findall(line.partition(". ")[0])
    ]


@pytest.mark.parametrize(("path", "name"), steps())
def test_each_name_is_in_its_file(path: str, name: str) -> None:
    where = found(path)
    assert where is not None
    assert re.search(rf"\b{name}\b", where.read_text(encoding="utf-8"))


def test_there_are_steps_to_check() -> None:
    assert len(steps()) >= 4


@pytest.fixture
def package(tmp_path: Path) -> dict[str, str]:
    """Make a package of the page's blocks, registered by entry points; return the environment that sees it."""
    home = tmp_path / "site"
    about = home / "my_package-1.0.dist-info"
    about.mkdir(parents=True)
    code = [block for block in blocks(PAGE, "python") if "class LoudEngine" in block or "def size" in block]
    signs = next(block for block in blocks(INDEXES, "python") if "class Signs" in block)
    (home / "my_package.py").write_text("\n\n".join([*code, signs]), encoding="utf-8")
    entries = "\n".join(
        block.replace('[project.entry-points."', "[").replace('"]', "]").replace('"', "")
        for block in blocks(PAGE, "toml")
    )
    (about / "entry_points.txt").write_text(entries, encoding="utf-8")
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: my_package\nVersion: 1.0\n")
    roots = [str(home), *(str(ROOT / name) for name in ("retriever", "adapters"))]
    return os.environ | {"PYTHONPATH": os.pathsep.join(roots), "THEODOLITE_STATE": str(tmp_path / "state")}


def test_a_package_of_its_blocks_adds_an_engine_an_index_and_a_command(tmp_path: Path, package: dict[str, str]) -> None:
    def run(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, *arguments], cwd=tmp_path, env=package, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert run("-c", USE).split() == ["engine", "index"]
    assert run("-m", "theodolite", "size", "kb").strip() == "200 documents"
    assert '"documents": 200' in run("-m", "theodolite", "size", "kb", "--json")
    assert "size" in run("-m", "theodolite", "--help")
