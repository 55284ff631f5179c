"""The command `fields`: facets with counts."""

import json
from pathlib import Path

import pytest
from tests.unit.shell import Shell


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    shell = Shell(tmp_path)
    records = [
        {"id": str(number), "text": f"text {number}", "metadata": {"lang": "en" if number % 3 else "de", "n": number}}
        for number in range(9)
    ]
    shell.run("add", "kb", "-", "--embedder", "words", given="\n".join(map(json.dumps, records)))
    return shell


def test_fields_with_counts(shell: Shell) -> None:
    out, errors = shell.run("fields", "kb", "--values", "2")
    assert [line.split() for line in out.splitlines()] == [
        ["lang", "9", "string", "en", "(6),", "de", "(3)"],
        ["n", "9", "number", "0", "to", "8"],
    ]
    assert "9 documents, 2 fields" in errors


def test_under_a_filter(shell: Shell) -> None:
    out, errors = shell.run("fields", "kb", "--where", '{"n": {"$gte": 6}}')
    assert "en (2), de (1)" in out
    assert "6 (1), 7 (1), 8 (1)" in out
    assert "3 documents, 2 fields" in errors
    found = shell.json("fields", "kb", "--where", '{"lang": "de"}')
    assert found["documents"] == 3
    assert found["fields"]["lang"]["values"] == [{"value": "de", "count": 3}]
    assert found["fields"]["n"]["numbers"] == [0, 6]


def test_nothing_passes(shell: Shell) -> None:
    out, errors = shell.run("fields", "kb", "--where", '{"n": 1, "lang": "de"}')
    assert out == ""
    assert "0 documents, 0 fields" in errors
