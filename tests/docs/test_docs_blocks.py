"""The examples of the guides are run, and what they say of operators is what the parser knows."""

import ast
import re
from importlib.util import find_spec
from pathlib import Path

import pytest
from tests.docs.blocks import examples_of, run

from theodolite import F
from theodolite.filters import OPERATORS, parse

DOCS = Path(__file__).resolve().parents[2] / "docs"

NEEDS: dict[str, tuple[str, ...]] = {
    "audit.md": (),
    "filters.md": (),
    "indexes.md": ("hnswlib", "faiss"),
    "langchain.md": ("langchain_core",),
    "llama-index.md": ("llama_index",),
    "moving.md": ("langchain_core",),
    "quality.md": (),
    "rerankers.md": (),
    "ranking.md": (),
    "scopes.md": (),
    "transforms.md": (),
    "verify.md": (),
}

# A line of the table of operators: name, dictionary form, the same in Python, meaning.
LINE = re.compile(r"^\| `(\$\w+)` \| `(.+?)` \| (?:`(.+?)`)? \| .+ \|$", re.MULTILINE)


def operators() -> list[tuple[str, str, str]]:
    found = LINE.findall((DOCS / "filters.md").read_text(encoding="utf-8"))
    return [(name, written, built.replace("\\|", "|")) for name, written, built in found]


@pytest.mark.parametrize("name", NEEDS)
def test_examples(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = [package for package in NEEDS[name] if find_spec(package) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
    examples = examples_of(DOCS / name)
    assert examples
    monkeypatch.chdir(tmp_path)
    run(examples, str(DOCS / name))


@pytest.mark.skipif(find_spec("hnswlib") is None or find_spec("faiss") is None, reason="hnswlib or faiss is missing")
def test_the_index_of_the_guide_keeps_its_contract(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    contract = run(examples_of(DOCS / "indexes.md"), "indexes.md")["TestSigns"]()
    promises = [getattr(contract, name) for name in dir(contract) if name.startswith("test_")]
    assert promises
    for promise in promises:
        promise()


def test_the_reranker_of_the_guide_keeps_its_contract(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    contract = run(examples_of(DOCS / "rerankers.md"), "rerankers.md")["TestOverlap"]()
    promises = [getattr(contract, name) for name in dir(contract) if name.startswith("test_")]
    assert promises
    for promise in promises:
        promise()


def test_every_operator_is_in_the_table() -> None:
    assert sorted(name for name, _, _ in operators()) == sorted(OPERATORS)


@pytest.mark.parametrize(("name", "written", "built"), operators(), ids=[name for name, _, _ in operators()])
def test_both_ways_to_write_an_operator_are_the_same(name: str, written: str, built: str) -> None:
    assert f'"{name}"' in written
    tree = parse(ast.literal_eval(written))
    assert tree is not None
    if built:
        assert eval(built, {"F": F}) == tree  # noqa: S307 - our own documentation
