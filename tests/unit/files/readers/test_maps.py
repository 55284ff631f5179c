"""Mappings of fields, and the types of columns."""

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.unit.reading import documents, notes, skipped, write

from theodolite.errors import ConfigError
from theodolite.files.readers import RecordMap
from theodolite.files.readers.options import parse_map

FAQ = "key,question,answer,lang\nq1,How long?,Five days.,en\nq2,How much?,,en\n"


def test_text_of_several_columns(tmp_path: Path) -> None:
    path = write(tmp_path / "data/faq.csv", FAQ)
    for pattern in ("faq.csv", "data/faq.csv", "./data/faq.csv", "*.csv", "*", str(path)):
        first, second = documents(tmp_path / "data", maps={pattern: "text=question+answer,id=key"})
        assert (first.id, first.text) == ("q1", "How long?\n\nFive days.")
        assert (second.id, second.text) == ("q2", "How much?")
        assert set(first.metadata) == {"path", "modified", "chunk", "line", "lang"}
    (only, _) = documents(path, maps={"faq.csv": RecordMap(("answer", "question"), metadata=("key",))})
    assert (only.text, only.metadata["key"], "lang" in only.metadata) == ("Five days.\n\nHow long?", "q1", False)


def test_each_file_has_its_own_mapping(tmp_path: Path) -> None:
    write(tmp_path / "d/faq.csv", FAQ)
    write(tmp_path / "d/notes.jsonl", '{"body": "A note.", "id": 5}\n')
    found = documents(tmp_path / "d", maps={"faq.csv": "text=answer+question,id=key", "*.jsonl": "text=body"})
    assert [each.id for each in found] == ["q1", "q2", "5"]


@pytest.mark.parametrize("fields", ["text=qestion", "text=question,id=kye", "text=question,metadata=lng"])
def test_a_missing_column_is_named(tmp_path: Path, fields: str) -> None:
    write(tmp_path / "d/faq.csv", FAQ)
    write(tmp_path / "d/b.txt", "The rest is read.")
    (reason,) = skipped(tmp_path / "d", maps={"faq.csv": fields}).values()
    assert "no column is called" in reason
    assert "Did you mean" in reason
    assert "there are key, question, answer, lang." in reason
    assert "--map FILE:text=COLUMN" in reason


def test_json_lines_without_a_text_are_one_failure(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", '{"body": "x"}\n' * 500)
    assert list(skipped(path).values()) == [
        "cannot be read: no record has a text in 'text'; there are body. "
        "--map FILE:text=FIELD (maps=) names the fields to read"
    ]
    path = write(tmp_path / "b.jsonl", '{"body": "x"}\n{"text": "y"}\n')
    assert list(skipped(path).values()) == ["line 1 has no text in 'text'"]


def test_mappings_are_parsed() -> None:
    assert parse_map("faq.csv:text=a+b,id=c") == ("faq.csv", RecordMap(("a", "b"), "c"))
    assert parse_map(r"C:\x\faq.csv:text=a\+b,metadata=c\,d+e") == (
        r"C:\x\faq.csv",
        RecordMap(("a+b",), None, ("c,d", "e")),
    )
    assert parse_map("id=key") == ("*", RecordMap(("text",), "key"))
    for wrong in ("faq.csv", "faq.csv:txt=a", "a.csv:text=", "a.csv:text=a,text=b", "a.csv:id=a+b", "a.csv:text=a=b"):
        with pytest.raises(ConfigError, match="text=question"):
            parse_map(wrong)


def column(tmp_path: Path, *values: str, **options: Any) -> list[Any]:
    """The values of a column as they are read."""
    rows = "".join(f'words,"{value}"\n' for value in values)
    found = documents(write(tmp_path / "a.csv", f"text,value\n{rows}"), **options)
    return [each.metadata.get("value") for each in found]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["1", "-20", "300"], [1, -20, 300]),
        (["1.5", "2", "-0.25"], [1.5, 2, -0.25]),
        (["1", "", "3"], [1, None, 3]),
        (["2025-03-01", "2024-12-31"], [date(2025, 3, 1), date(2024, 12, 31)]),
        (["2025-03-01T10:00:00Z"], [datetime(2025, 3, 1, 10, tzinfo=UTC)]),
        (["2025-03-01 10:00:00"], [datetime(2025, 3, 1, 10)]),  # noqa: DTZ001  # without a time zone, as written
    ],
)
def test_typed_columns(tmp_path: Path, values: list[str], expected: list[Any]) -> None:
    found = column(tmp_path, *values)
    assert found == expected
    assert list(map(type, found)) == list(map(type, expected))
    assert "columns read by their values: 'value' as" in notes(tmp_path / "a.csv")[0]
    assert column(tmp_path, *values, keep_strings=True) == [value or None for value in values]


@pytest.mark.parametrize(
    "values",
    [
        ["01234", "90210"],
        ["1.50", "2.25"],
        ["1", "x"],
        ["+1"],
        ["1_000"],
        ["1e3"],
        ["٣"],
        ["nan", "1.5"],
        ["inf"],
        [" 1"],
        ["9007199254740993"],
        ["20250301", "2025-03-01"],
        ["2025-3-1"],
        ["2025-W09-6"],
        ["2025-02-30"],
        ["true"],
        ["1" * 5000],
    ],
)
def test_columns_that_stay_text(tmp_path: Path, values: list[str]) -> None:
    assert column(tmp_path, *values) == values


def test_numbers_that_would_lose_something_are_noted(tmp_path: Path) -> None:
    column(tmp_path, "90210", "01234")
    assert notes(tmp_path / "a.csv") == [
        "column 'value' stays text, though all values are numbers: '01234' would become 1234.0"
    ]
