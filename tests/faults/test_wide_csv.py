"""A table with many columns takes time in proportion to them."""

from pathlib import Path

from theodolite import Retriever
from theodolite.files.readers import Options, Skipped
from theodolite.files.sync import sync
from theodolite.testing import HashingEmbedder

COLUMNS = 100_000


def test_many_columns(tmp_path: Path) -> None:
    names = [f"c{number}" for number in range(COLUMNS)]
    # Quadratic, each of these would take more than a minute.
    (tmp_path / "wide.csv").write_text(f"text,{','.join(names)}\nhello there\n")
    (tmp_path / "twice.csv").write_text(f"text,{','.join(names)},c7\nhello there\n")
    (tmp_path / "other.csv").write_text(f"body,{','.join(names)}\nhello there\n")
    (tmp_path / "filled.csv").write_text(f"text,{','.join(names)}\nhello there,{','.join(['x'] * COLUMNS)}\n")
    with Retriever.open(embedder=HashingEmbedder()) as kb:
        report = sync(kb, [tmp_path], source="tables")
        assert [document.id for document in kb.documents()] == ["tables/wide.csv#2"]
        named = sync(kb, [tmp_path / "filled.csv"], options=Options(metadata=("c3",)))
        assert (named.passages, kb.get("tables/filled.csv#2")[0].metadata["c3"]) == (1, "x")
    filled, other, twice = sorted(report.skipped, key=lambda item: item.source)
    assert filled.reason.startswith("line 2 has 100,000 fields of metadata, more than 10,000; name those to keep")
    assert twice == Skipped("tables/twice.csv", "cannot be read: two columns are called 'c7'")
    assert other.reason.startswith("cannot be read: no column is called 'text'; there are body, c0, c1")
    assert "and 99,981 more. --map FILE:text=COLUMN" in other.reason
