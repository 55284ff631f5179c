"""repair() rebuilds derived data and changes nothing else."""

import contextlib
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tests.crash.workloads import held

from theodolite import CorruptionError, Document, IndexWarning, Retriever
from theodolite.engines.local.derived.columns import column_files
from theodolite.errors import IntegrityError
from theodolite.indexes.flat.codes import BLOCK
from theodolite.indexes.hnsw import HnswIndex

ROWS = BLOCK + 40


def sql(folder: Path, *statements: str) -> None:
    with contextlib.closing(sqlite3.connect(folder / "store.sqlite")) as database, database:
        for statement in statements:
            database.execute(statement)


def spoil(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 8
    path.write_bytes(data)


def column(folder: Path) -> Path:
    (path,) = (folder / "columns-1").iterdir()
    return path


DERIVED: dict[str, tuple[str, Callable[[Path], object]]] = {
    "codes": ("codes", lambda folder: spoil(folder / "codes-1" / "000000.codes")),
    "a column": ("columns", lambda folder: spoil(column(folder))),
    "a graph": ("index", lambda folder: spoil(folder / "index-1" / "native")),
    "a lost graph": ("index", lambda folder: (folder / "index-1" / "native").unlink()),
    "the rows of a graph": ("index", lambda folder: spoil(folder / "index-1" / "rows.npy")),
    "the record of the index": ("index", lambda folder: sql(folder, "UPDATE approximate SET value = '{}'")),
    "lexical": (
        "lexical",
        lambda folder: sql(
            folder, "INSERT INTO lexical (lexical, rowid, text) SELECT 'delete', row, text FROM documents LIMIT 1"
        ),
    ),
    "lexical tables": ("lexical", lambda folder: sql(folder, "DELETE FROM lexical_data WHERE id > 10")),
}


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sound") / "kb"
    with pytest.MonkeyPatch.context() as patch, Retriever.open(folder) as kb:
        patch.setattr(column_files, "_MIN_ROWS", 1)
        vectors = np.random.default_rng(0).standard_normal((ROWS, 4))
        kb.add([Document(f"text {i}", {"n": i % 7}, f"d{i}") for i in range(ROWS)], vectors=vectors, batch_size=None)
        kb.reindex("hnsw:M=8,ef_construction=20")
        kb.warm("n")
    return folder


@pytest.fixture
def folder(sound: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sound, tmp_path / "kb"))


@pytest.mark.parametrize("what", DERIVED)
def test_derived_data_is_rebuilt(folder: Path, what: str) -> None:
    part, damage = DERIVED[what]
    with Retriever.open(folder) as kb:
        before = held(kb)
    vectors = (folder / "vectors-1.f32").read_bytes()
    damage(folder)
    with Retriever.open(folder) as kb:
        with pytest.raises(CorruptionError) as error:
            kb.verify()
        assert {problem.part for problem in error.value.verification.problems} == {part}
        assert all(problem.derived for problem in error.value.verification.problems)
        after = kb.repair()
        assert after.sound
        assert [line.split(":")[0] for line in after.repaired if not line.startswith("folder")] == [part]
        assert kb.verify().sound
        assert held(kb) == before
    assert (folder / "vectors-1.f32").read_bytes() == vectors


def test_what_is_true_is_left_alone(folder: Path) -> None:
    spoil(folder / "vectors-1.f32")
    spoil(column(folder))
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and "sqlite-" not in path.name}
    with Retriever.open(folder) as kb:
        found = kb.repair()
        assert not found.sound
        assert not found.repaired
        assert {problem.part for problem in found.problems} == {"vectors", "documents", "columns"}
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.thorough
def test_left_over_files(folder: Path) -> None:
    (folder / "vectors-0.f32").write_bytes(b"old")
    (folder / "index-77").mkdir()
    (folder / "codes-1" / "000000.codes.1-2.tmp").write_bytes(b"half")
    (folder / "orphan-1-9.f32").write_bytes(b"a frame")
    (folder / "notes.txt").write_text("mine")
    (folder / "monitor.sqlite-wal").write_bytes(b"of a monitor")
    with Retriever.open(folder) as kb:
        found = kb.verify()
        assert {Path(one.path).name: one.derived for one in found.warnings if one.path} == {
            "vectors-0.f32": True,
            "index-77": True,
            "000000.codes.1-2.tmp": True,
            "orphan-1-9.f32": False,
            "notes.txt": False,
        }
        assert len(kb.repair().warnings) == 2
    assert (folder / "orphan-1-9.f32").exists()
    assert (folder / "notes.txt").exists()
    assert not (folder / "index-77").exists()


def test_all_damage_is_reported(folder: Path) -> None:
    spoil(folder / "codes-1" / "000000.codes")
    spoil(folder / "index-1" / "native")
    sql(folder, "UPDATE documents SET text = 'x' WHERE id IN ('d3', 'd5')", "DELETE FROM documents WHERE id = 'd9'")
    with Retriever.open(folder) as kb, pytest.raises(CorruptionError, match=r"2 of .* documents") as error:
        kb.verify()
    assert [problem.part for problem in error.value.verification.problems] == [
        "documents",
        "documents",
        "codes",
        "columns",
        "index",
        "lexical",
    ]


# Each is one value of a table that has no checksum of SQLite's.
VALUES = [
    "UPDATE manifest SET value = replace(value, 'auto', 'any') || ' '",
    "UPDATE state SET live = live - 1",
    "UPDATE state SET approximate = 7",
    "UPDATE frames SET crc = crc + 1",
    "UPDATE frames SET content = x'00'",
    "INSERT INTO tombstones VALUES (1, 5)",
    "INSERT INTO notes VALUES ('a', 'b', x'00')",
    "UPDATE documents SET truncated = 1 WHERE id = 'd3'",
    "UPDATE documents SET hash = x'00' WHERE id = 'd3'",
    "UPDATE documents SET row = 999999 WHERE id = 'd3'",
    "DELETE FROM approximate",
    "DROP INDEX truncated_documents",
    "CREATE TABLE more (x)",
]


@pytest.mark.parametrize("statement", VALUES)
def test_every_value_is_bound(folder: Path, statement: str) -> None:
    sql(folder, statement)
    with pytest.raises(IntegrityError), Retriever.open(folder) as kb:
        kb.verify()


@pytest.mark.parametrize("name", ["native", "rows.npy"])
def test_a_graph_from_elsewhere_never_reaches_native_code(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    with Retriever.open(tmp_path / "other") as kb:
        kb.add([Document("t", id=f"{i}") for i in range(300)], vectors=np.random.default_rng(5).random((300, 4)))
        kb.reindex("hnsw:M=8,ef_construction=20")
    (folder / "index-1" / name).write_bytes((tmp_path / "other" / "index-1" / name).read_bytes())
    loaded = []
    monkeypatch.setattr(HnswIndex, "load", lambda self, path, space: loaded.append(path))
    with Retriever.open(folder) as kb:
        with pytest.warns(IndexWarning, match="its files cannot be loaded"):
            assert kb.search(vector=np.ones(4), k=5).trace.complete
        with pytest.raises(CorruptionError, match="does not match its hash"):
            kb.verify()
    assert not loaded


@pytest.mark.thorough
def test_rows_that_a_graph_cannot_reach_are_reported(tmp_path: Path) -> None:
    """With two links a row, islands form. That is not damage."""
    vectors = np.random.default_rng(3).standard_normal((3000, 16))
    with Retriever.open(tmp_path / "kb") as kb:
        kb.add([Document("t", id=f"{i}") for i in range(3000)], vectors=vectors, batch_size=None)
        kb.reindex("hnsw:M=2,ef_construction=1")
        (warning,) = kb.verify().warnings
        assert warning.part == "index"
        assert "cannot be found" in warning.message
        kb.reindex("hnsw")
        assert not kb.verify().warnings
