"""Columns stay up to date, are read only from valid files, and keep within their memory budget."""

import contextlib
import logging
import shutil
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from theodolite import Document, Retriever
from theodolite.engines.local.derived.columns import ColumnFiles, Columns, column_files
from theodolite.engines.local.derived.columns.column_cache import json_expression
from theodolite.engines.local.storage import crash_points
from theodolite.engines.local.storage.folder import Folder
from theodolite.filters import Exists, In, matches, parse

Metadata = dict[str, Any]


def fill(kb: Retriever, metadata: dict[str, Metadata]) -> None:
    documents = [Document("text", values, name) for name, values in metadata.items()]
    kb.add(documents, vectors=np.ones((len(documents), 2)), batch_size=None)


def passing(kb: Retriever, where: Metadata) -> list[str]:
    return [document.id for document in kb.documents(where)]


@pytest.fixture
def small_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write every column to a file, however small."""
    monkeypatch.setattr(column_files, "_MIN_ROWS", 1)


@pytest.fixture
def observed() -> Iterator[list[str]]:
    passed: list[str] = []
    crash_points.observer = passed.append
    yield passed
    crash_points.observer = None


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("columns-*/*"))


def test_a_column_follows_every_kind_of_write(tmp_path: Path) -> None:
    with Retriever.open(tmp_path, create=True) as kb, Retriever.open(tmp_path, read_only=True) as reader:
        for one in (kb, reader):
            assert one.count({"n": 1}) == 0
        fill(kb, {f"d{i}": {"n": i % 3} for i in range(30)})
        expected = 10
        for step in ("new", "update", "replace"):
            if step == "update":
                kb.update("d0", {"n": 1})
            else:
                fill(kb, {"new" if step == "new" else "d3": {"n": 1}})
            expected += 1
            assert [kb.count({"n": 1}), reader.count({"n": 1})] == [expected] * 2
        assert kb.delete("new") == 1
        assert kb.delete(where={"n": 1}) == 12
        assert [kb.count({"n": 1}), reader.count({"n": 1})] == [0, 0]
        kb.clear()
        assert [kb.count({"n": 0}), reader.count({"n": 0})] == [0, 0]
        fill(kb, {"again": {"n": 0}})
        assert [kb.count({"n": 0}), reader.count({"n": 0})] == [1, 1]


def test_rows_in_many_small_commits_are_in_few_segments(tmp_path: Path) -> None:
    with Retriever.open(tmp_path) as kb:
        for i in range(200):
            fill(kb, {f"d{i:03d}": {"n": i, "odd": bool(i % 2), "list": [i, "x"]}})
            assert kb.count({"n": {"$gte": i}}) == 1
        engine: Any = kb._engine
        segments = engine._snapshots._current.columns._columns["n"].segments
        sizes = [segment.stop - segment.start for segment in segments]
        assert sum(sizes) == 200
        assert sizes == sorted(sizes, reverse=True)
        assert len(sizes) <= 8
        assert kb.count({"odd": True, "list": "x", "n": {"$lt": 50}}) == 25


def test_mixed_types_in_one_field() -> None:
    values: list[Any] = [1, 1.0, True, "1", None, [1], ["1", None], {"x": 1}, 2**70, "2025-03-01", [], "", [[1]]]
    metadata: dict[str, Metadata] = {f"d{i:02d}": {"v": value} for i, value in enumerate(values)} | {"none": {}}
    wheres: list[Metadata] = [
        {"v": 1},
        {"v": "1"},
        {"v": None},
        {"v": [[1]]},
        {"v": {"$gt": 0}},
        {"v": {"$gte": "2025-01-01"}},
        {"v": {"$lt": "~"}},
        {"v": {"$empty": True}},
        {"v": {"$exists": False}},
        {"v": {"$contains": "1"}},
        {"v": {"$contains": [1]}},
        {"v": {"$like": "%1"}},
    ]
    with Retriever.open(None) as kb:
        fill(kb, metadata)
        for where in wheres:
            tree = parse(where)
            assert passing(kb, where) == sorted(n for n, values in metadata.items() if matches(tree, values)), where


def test_a_rare_field_takes_little_memory() -> None:
    with Retriever.open(None) as kb:
        fill(kb, {f"d{i}": {"common": i, **({"rare": [i, "x"]} if i == 700 else {})} for i in range(20_000)})
        assert passing(kb, {"rare": 700}) == passing(kb, {"rare": {"$exists": True}}) == ["d700"]
        assert kb.count({"rare": {"$ne": 700}}) == 19_999
        assert kb.count({"rare": None}) == 19_999
        assert kb.info()["columns"]["fields"] == 1
        assert kb.info()["columns"]["bytes"] < 1000


@pytest.mark.thorough
def test_ten_thousand_fields_stay_within_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("theodolite.engines.local.derived.columns.column_cache.BUDGET", 1 << 16)
    monkeypatch.setattr(Columns.__init__, "__defaults__", (None, 1 << 16))
    metadata = {f"d{i}": {f"field{i * 10 + j}": i for j in range(10)} for i in range(1000)}
    with Retriever.open(None) as kb:
        fill(kb, metadata)
        where = {"$or": [{f"field{i}": i // 10} for i in range(0, 10_000, 25)]}
        assert kb.count(where) == 400
        assert 0 < kb.info()["columns"]["bytes"] <= 1 << 16
        assert kb.count({"field9999": 999}) == 1


def test_a_large_column_is_read_from_its_file(tmp_path: Path, small_files: None, observed: list[str]) -> None:
    metadata: dict[str, Metadata] = {
        f"d{i:03d}": {
            "n": i / 2,
            "s": f"é{i % 7}",
            "t": f"2025-03-{i % 28 + 1:02d}",
            "l": [i % 3, "x", [i]],
            "big": 2**70,
        }
        for i in range(100)
    }
    wheres: list[Metadata] = [
        {"n": {"$gt": 7}},
        {"s": "é3"},
        {"t": {"$lt": "2025-03-05"}},
        {"l": 1},
        {"l": [[7]]},
        {"big": 2**70},
    ]
    with Retriever.open(tmp_path) as kb:
        fill(kb, metadata)
        before = [passing(kb, where) for where in wheres]
        assert all(before)
    assert observed.count("column.renamed") == len(files(tmp_path)) == 5
    with Retriever.open(tmp_path) as kb:
        fill(kb, {"more": {"n": 1000}})
        observed.clear()
        after = [passing(kb, where) for where in wheres]
        assert after == [before[0] + ["more"], *before[1:]]
        assert "column.written" not in observed, "the first segment was read again"


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "other field", "other generation"])
def test_a_damaged_file_is_noticed(
    tmp_path: Path, small_files: None, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    with Retriever.open(tmp_path) as kb:
        fill(kb, {f"d{i}": {"n": i % 3, "m": 1} for i in range(90)})
        assert kb.count({"n": 1}) == 30
        (path,) = files(tmp_path)
        assert kb.count({"m": 1}) == 90
        (other,) = set(files(tmp_path)) - {path}
    raw = bytearray(path.read_bytes())
    match damage:
        case "flip":
            raw[len(raw) // 2] ^= 1
        case "cut":
            del raw[-10:]
        case "empty":
            raw.clear()
        case "other field":
            raw = bytearray(other.read_bytes())
        case "other generation":
            with Retriever.open(tmp_path) as kb:
                kb.clear()
                fill(kb, {f"d{i}": {"n": 1} for i in range(9)})
                assert kb.count({"n": 2}) == 0
            (path,) = files(tmp_path)
    path.write_bytes(raw)
    with caplog.at_level(logging.WARNING), Retriever.open(tmp_path) as kb:
        assert kb.count({"n": 1}) == (9 if damage == "other generation" else 30)
    assert "is read from the database" in caplog.text
    caplog.clear()
    with Retriever.open(tmp_path) as kb:
        assert kb.count({"n": 1}) > 0
    assert not caplog.text, "the file was written again"


def test_a_file_of_a_later_commit_is_not_mixed_with_an_older_snapshot(tmp_path: Path, small_files: None) -> None:
    """Rows that have died since the older commit are missing from it."""
    with Retriever.open(tmp_path) as kb:
        fill(kb, {f"d{i}": {"n": 1} for i in range(10)})
        kb.delete("d0")
        assert kb.count({"n": 1}) == 9
        commits = kb.info()["commits"]
    (path,) = files(tmp_path)
    found = ColumnFiles(Folder(tmp_path), 1, writable=False)
    assert path.exists()
    with contextlib.closing(sqlite3.connect(tmp_path / "store.sqlite")) as database:
        assert found.load("n", database, commits) is not None
        assert found.load("n", database, commits - 1) is None


@pytest.mark.parametrize("point", ["column.written", "column.renamed"])
@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(28, "No space left on device")], ids=["ctrl-c", "disk"])
def test_a_failure_while_a_file_is_written(tmp_path: Path, small_files: None, point: str, error: BaseException) -> None:
    def fail(name: str) -> None:
        if name == point:
            crash_points.observer = None
            raise error

    with Retriever.open(tmp_path) as kb:
        fill(kb, {f"d{i}": {"n": 1} for i in range(10)})
        crash_points.observer = fail
        try:
            assert kb.count({"n": 1}) == 10
        except KeyboardInterrupt:
            assert isinstance(error, KeyboardInterrupt)
        finally:
            crash_points.observer = None
        assert kb.count({"n": 1}) == 10
    with Retriever.open(tmp_path) as kb:
        assert kb.count({"n": 1}) == 10


def test_read_only_collections_write_no_files(tmp_path: Path, small_files: None) -> None:
    with Retriever.open(tmp_path) as kb:
        fill(kb, {"d": {"n": 1}})
    shutil.rmtree(tmp_path / "columns-1", ignore_errors=True)
    with Retriever.open(tmp_path, read_only=True) as kb:
        assert kb.count({"n": 1}) == 1
    assert not files(tmp_path)


def test_warm_reads_the_named_fields(tmp_path: Path) -> None:
    with Retriever.open(tmp_path) as kb:
        kb.warm("a")
        fill(kb, {"d": {"a": 1, "b": {"c": 2}}})
        kb.warm("a", "b.c")
        assert kb.info()["columns"]["fields"] == 2
        assert kb.count({"b.c": 2}) == 1


@pytest.mark.parametrize(
    "field", ["", 'quo"te', "back\\slash", "new\nline", ".", "a.", ".a", "a..b", ".".join("x" * 70)]
)
def test_unusual_field_names(field: str) -> None:
    metadata = {"literal": {field: 1}, "other": {field + "x": 1}}
    with Retriever.open(None) as kb:
        fill(kb, metadata)
        assert passing(kb, {field: 1}) == ["literal"]


def test_a_key_with_dots_comes_before_the_path() -> None:
    metadata: dict[str, Metadata] = {
        "path": {"a": {"b": {"c": 1}}},
        "literal": {"a.b.c": 1, "a": {"b": {"c": 2}}},
        "half": {"a": {"b.c": 1, "b": {"c": 2}}},
        "unreachable": {"a.b": {"c": 1}},
        "null": {"a.b.c": None, "a": {"b": {"c": 1}}},
    }
    assert json_expression("a.b.c") is not None
    wheres: list[Metadata] = [{"a.b.c": 1}, {"a.b.c": 2}, {"a.b.c": None}, {"a.b.c": {"$exists": True}}]
    for where in wheres:
        tree = parse(where)
        with Retriever.open(None) as kb:
            fill(kb, metadata)
            assert passing(kb, where) == sorted(n for n, values in metadata.items() if matches(tree, values)), where


def test_threads_share_columns_while_one_writes() -> None:
    """Each count equals that of some commit: 10 more documents, one of them deleted, each time."""
    failures: list[str] = []
    with Retriever.open(None) as kb:
        fill(kb, {"first": {"n": 0}})
        done = threading.Event()

        def look() -> None:
            while not done.is_set():
                found = kb.count(In("n", (1, 2)) & Exists("n"))
                if found % 9:
                    failures.append(f"{found} documents")

        threads = [threading.Thread(target=look) for _ in range(3)]
        for thread in threads:
            thread.start()
        for step in range(30):
            fill(kb, {f"x{step}-{i}": {"n": 1 + i % 2} for i in range(9)})
        done.set()
        for thread in threads:
            thread.join()
        assert kb.count(In("n", (1, 2))) == 270
    assert not failures
