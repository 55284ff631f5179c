"""The python blocks of a Markdown file, run as a reader would run them."""

import ast
import contextlib
import io
import re
from pathlib import Path
from typing import Any, NamedTuple

_FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Example(NamedTuple):
    """Code, the number of its first line, and what it prints."""

    code: str
    line: int
    output: str


def examples_of(path: Path) -> list[Example]:
    """The python blocks, each with the text block that follows it, if one does."""
    text = path.read_text(encoding="utf-8")
    blocks = [(found[1], found[2], text.count("\n", 0, found.start(2)) + 1) for found in _FENCE.finditer(text)]
    followers = [*blocks, ("", "", 0)][1:]
    return [
        Example(code, line, after if kind == "text" else "")
        for (language, code, line), (kind, after, _) in zip(blocks, followers, strict=True)
        if language == "python"
    ]


def run(examples: list[Example], name: str, namespace: dict[str, Any] | None = None) -> dict[str, Any]:
    """Run one after the other in one namespace, a new one by default, and return it.

    A lone expression shows its value, as at the prompt.
    """
    namespace = {"__name__": "__main__"} if namespace is None else namespace
    for example in examples:
        tree = ast.parse(example.code)
        prompt = len(tree.body) == 1 and isinstance(tree.body[0], ast.Expr)
        code = compile("\n" * (example.line - 1) + example.code, name, "single" if prompt else "exec")
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(code, namespace)  # noqa: S102 - our own documentation
        assert printed.getvalue() == example.output, f"{name}, line {example.line}"
    return namespace
