"""Excluded files: `.gitignore`, include and exclude."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.unit.reading import write

from theodolite.errors import ConfigError
from theodolite.files.readers import File, Options, Skipped, find

FILES = [
    "a.txt",
    "b.log",
    "keep.log",
    "build/c.txt",
    "sub/d.txt",
    "sub/build/e.txt",
    "sub/f.log",
    "sub/deep/g.txt",
    "x/y.txt",
]
RULES = {".gitignore": "*.log\n!keep.log\n/build\nx/*\n", "sub/.gitignore": "!f.log\ndeep/\n# c\n\\\n"}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in FILES:
        write(tmp_path / "repo" / name, "words")
    for name, text in RULES.items():
        write(tmp_path / "repo" / name, text)
    return tmp_path / "repo"


def found(path: Path, **options: Any) -> list[str]:
    return [item.source for item in find([path], Options(**options)) if isinstance(item, File)]


def excluded(path: Path, **options: Any) -> dict[str, str]:
    return {each.source: each.reason for each in find([path], Options(**options))
            if isinstance(each, Skipped) and each.kind == "excluded"}  # fmt: skip


def test_gitignore(tree: Path) -> None:
    names = ["a.txt", "keep.log", "sub/d.txt", "sub/f.log", "sub/build/e.txt"]
    assert found(tree) == [f"repo/{name}" for name in names]
    assert set(excluded(tree)) == {"repo/b.log", "repo/build", "repo/sub/deep", "repo/x/y.txt"}
    assert len(found(tree, gitignore=False)) == len(FILES)


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_gitignore_as_git_does(tree: Path) -> None:
    subprocess.run(["git", "init", "-q", str(tree)], check=True)
    command = ["git", "-C", str(tree), "ls-files", "-co", "--exclude-standard"]
    listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    assert sorted(found(tree)) == sorted(f"repo/{name}" for name in listed if ".gitignore" not in name)


def test_rules_of_the_repository_above(tree: Path) -> None:
    (tree / ".git").mkdir()
    assert found(tree / "sub") == ["sub/d.txt", "sub/f.log", "sub/build/e.txt"]
    assert found(tree / "build") == ["build/c.txt"], "a folder that is given is read, though it is ignored"
    assert found(tree / "b.log") == ["b.log"]


def test_include_and_exclude(tree: Path) -> None:
    assert found(tree, include=["*.log"]) == ["repo/keep.log", "repo/sub/f.log"]
    assert found(tree, include=["sub"], exclude=["build/", "*.log"]) == ["repo/sub/d.txt"]
    assert found(tree, exclude=["/sub"]) == ["repo/a.txt", "repo/keep.log"]
    assert excluded(tree, exclude=["/sub"])["repo/sub"] == "excluded by --exclude (exclude=)"
    assert found(tree / "a.txt", include=["*.md"]) == []


def test_wrong_patterns(tree: Path) -> None:
    with pytest.raises(ConfigError, match="include is one string"):
        Options(include="*.md")  # type: ignore[arg-type]  # the mistake
    with pytest.raises(ConfigError, match="not a valid pattern"):
        found(tree, exclude=["!"])
