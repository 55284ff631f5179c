"""Source code: split at definitions, with the names of symbols."""

import sys
from pathlib import Path

import pytest
from tests.unit.reading import documents, notes, write

from theodolite.files.readers.code import LANGUAGES

BODY = "\n".join(f"        total = total + {number}  # a step of the sum" for number in range(12))
PYTHON = f'''"""A module."""

import os

LIMIT = 5


# Adds up.
@cached
def add(a, b):
    def inner():
        return a
    return inner() + b


class Account:
    """An account with money in it."""

    rate = 3

    @property
    def balance(self):
        total = 0
{BODY}
        return total

    async def close(self):
        total = 1
{BODY}


if __name__ == "__main__":
    add(1, 2)
'''


def symbols(path: Path) -> dict[str, str]:
    """The texts by symbol."""
    return {document.metadata.get("symbol", ""): document.text for document in documents(path)}


def test_python(tmp_path: Path) -> None:
    found = documents(write(tmp_path / "bank.py", PYTHON), chunk_tokens=1000)
    assert [(each.metadata.get("symbol"), each.metadata["line"]) for each in found] == [
        (None, 1),
        ("add", 8),
        ("Account", 16),
        ("Account.balance", 21),
        ("Account.close", 38),
        (None, 54),
    ]
    assert all(each.metadata["language"] == "python" for each in found)
    assert found[1].text.startswith("# Adds up.\n@cached\ndef add")
    assert found[1].text.endswith("return inner() + b")
    assert found[3].text.startswith("@property\ndef balance(self):\n    total = 0")
    assert found[-1].text.startswith("if __name__")


def test_every_line_is_in_a_passage_once(tmp_path: Path) -> None:
    """Over this project's own files, and the standard library's."""
    places = [*Path(__file__).parents[4].glob("retriever/theodolite/*.py"), *Path(sys.prefix).glob("lib/*/enum.py")]
    assert places
    for place in places:
        lines = [line.strip() for line in place.read_text().splitlines() if any(map(str.isalnum, line))]
        texts = "\n".join(each.text for each in documents(place, chunk_tokens=100_000))
        assert [line.strip() for line in texts.splitlines() if any(map(str.isalnum, line))] == lines, place


def test_a_small_class_stays_whole(tmp_path: Path) -> None:
    text = "class Point:\n    x: int\n\n    def norm(self):\n        return self.x\n"
    (found,) = documents(write(tmp_path / "p.py", text))
    assert (found.text, found.metadata["symbol"]) == (text.strip(), "Point")


LONG = "\n".join(f"  // line {number} of a body that is long enough" for number in range(40))


BOX = f"class Box {{\n void open() {{\n{LONG}\n }}\n}};\n"
RUBY = LONG.replace("//", "#")


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("a.js", f"export class Box {{\n open() {{\n{LONG}\n }}\n}}\n", ["Box", "Box.open"]),
        ("b.js", "export const add = (a, b) => {\n return a + b\n}\nconst limit = 5\n", ["add", ""]),
        ("a.ts", "interface Shape { n: number }\nexport function area(s: Shape) { return 1 }\n", ["Shape", "area"]),
        ("a.tsx", "export function View() { return <p>Hello</p> }\n", ["View"]),
        ("A.java", BOX, ["Box", "Box.open"]),
        ("a.go", "package a\n\ntype Box struct { n int }\n\nfunc (b Box) Open() {}\n", ["", "Box", "Open"]),
        ("a.rs", f"struct Box {{}}\nimpl Box {{\n fn open() {{\n{LONG}\n }}\n}}\n", ["Box", "Box::open"]),
        ("a.c", "#include <a.h>\nstatic int *add(int a)\n{\n return 0;\n}\n", ["", "add"]),
        ("a.cpp", f"namespace n {{\n{BOX}\n}}\n", ["n", "n::Box", "n::Box::open"]),
        ("A.cs", BOX, ["Box", "Box.open"]),
        ("a.rb", f"module M\n class Box\n  def open\n{RUBY}\n  end\n end\nend\n", ["M", "M.Box", "M.Box.open"]),
        ("a.php", f"<?php\nclass Box {{\n function open() {{\n{LONG}\n }}\n}}\n", ["", "Box", "Box.open"]),
        ("a.sh", "set -e\nbuild() {\n echo built\n}\n", ["", "build"]),
    ],
)
def test_languages(tmp_path: Path, name: str, text: str, expected: list[str]) -> None:
    assert sorted(symbols(write(tmp_path / name, text))) == sorted(expected)


def test_each_language_has_a_grammar(tmp_path: Path) -> None:
    for suffix in LANGUAGES:
        assert notes(write(tmp_path / f"a{suffix}", "f(1)\n")) == []


def test_broken_code_is_read(tmp_path: Path) -> None:
    text = "def first(:\n    retrun 1\n\ndef second():\n    return 2\n}}}\n"
    joined = "\n".join(each.text for each in documents(write(tmp_path / "a.py", text)))
    assert "retrun 1" in joined
    assert "return 2" in joined


def test_without_the_extra_code_is_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tree_sitter", None)
    from theodolite.files.readers.code import _grammar

    _grammar.cache_clear()
    path = write(tmp_path / "bank.py", PYTHON)
    assert "def add" in "".join(each.text for each in documents(path))
    assert notes(path) == ["read as plain text; pip install 'theodolite[code]' splits code at definitions"]
