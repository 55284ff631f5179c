"""A database that has lost commits is refused, however many it has lost; damaged values are named as damage."""

import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tests.crash.workloads import WORKLOADS, states

from theodolite import CorruptionError, Document, ManifestError, Retriever
from theodolite.engines.local.storage.folder import STORE


def files(folder: Path) -> dict[str, bytes]:
    """Return all files except the index of the write-ahead log, which SQLite recreates for every reader."""
    found = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    return {name: data for name, data in found.items() if not name.endswith("-shm")}


def refused(folder: Path, match: str, kind: type[Exception] = CorruptionError) -> None:
    before = files(folder)
    for read_only in (True, False):
        with pytest.raises(kind, match=match):
            Retriever.open(folder, read_only=read_only)
        assert files(folder) == before


@pytest.mark.parametrize("steps", [2, 4])
def test_a_database_that_has_lost_all_its_commits(tmp_path: Path, steps: int) -> None:
    """It does not even know the dimension. It must not be taken for an empty collection."""
    folder = tmp_path / "kb"
    Retriever.open(folder, create=True).close()
    shutil.copy(folder / STORE, tmp_path / "old.sqlite")
    with Retriever.open(folder) as kb:
        for step in WORKLOADS["adds"][:steps]:
            step.run(kb)
    shutil.copy(tmp_path / "old.sqlite", folder / STORE)
    refused(folder, "lost commits")


@pytest.mark.parametrize("workload", ["adds", "deletes"])
def test_a_flipped_bit_anywhere_in_the_log(tmp_path: Path, workload: str) -> None:
    """At most the last commit may be lost silently, since it looks unfinished."""
    folder, spoilt = tmp_path / "kb", tmp_path / "spoilt"
    kb = Retriever.open(folder)
    lengths = []
    for step in WORKLOADS[workload]:
        step.run(kb)
        lengths.append((folder / f"{STORE}-wal").stat().st_size)
    shutil.copytree(folder, tmp_path / "copy")  # as a killed process leaves it: the log is not folded in
    kb.close()
    folder = tmp_path / "copy"
    (folder / f"{STORE}-shm").unlink()
    intact = (folder / f"{STORE}-wal").read_bytes()
    assert len(intact) == lengths[-1]
    history = states(workload)
    outcomes = set()
    for place in [*range(0, len(intact), len(intact) // 40), 0, 33, lengths[0] - 1, lengths[-2] + 30]:
        shutil.rmtree(spoilt, ignore_errors=True)
        shutil.copytree(folder, spoilt)
        flipped = bytearray(intact)
        flipped[place] ^= 4
        (spoilt / f"{STORE}-wal").write_bytes(flipped)
        if place < lengths[-2]:
            refused(spoilt, "lost commits")
            continue
        with Retriever.open(spoilt) as kb:
            held = sorted(document.id for document in kb.documents())
            kb.verify()
        assert held in (sorted(history[-1]), sorted(history[-2]))
        outcomes.add(held == sorted(history[-1]))
    assert False in outcomes


def damaged(folder: Path, statement: str) -> Path:
    """An intact collection whose stored values are then changed."""
    with Retriever.open(folder) as kb:
        for number in range(3):
            documents = [Document(f"text {i}", {"n": i, "commit": number}, f"d{i}") for i in range(5)]
            kb.add(documents, vectors=np.eye(5), batch_size=None)
    connection = sqlite3.connect(folder / STORE)
    connection.execute(statement)
    connection.commit()
    connection.close()
    return folder


def ask(kb: Retriever) -> object:
    return kb.search(vector=np.ones(5))


# Values after a flipped bit, and the check that must notice. Each of them used to raise an error of Python itself.
VALUES: dict[str, tuple[str, Callable[[Retriever], object]]] = {
    "text, not UTF-8": ("UPDATE documents SET text = CAST(x'61ff' AS TEXT) WHERE id = 'd3'", lambda kb: kb.get(["d3"])),
    "metadata, not UTF-8": (
        "UPDATE documents SET metadata = CAST(x'7bff7d' AS TEXT) WHERE id = 'd3'",
        lambda kb: kb.count({"n": 3}),
    ),
    "metadata, not JSON": ("UPDATE documents SET metadata = '{\"n\":3' WHERE id = 'd3'", lambda kb: kb.get(["d3"])),
    "metadata of a column": (
        "UPDATE documents SET metadata = '{\"n\":3' WHERE id = 'd3'",
        lambda kb: kb.count({"n": 3}),
    ),
    "metadata of a dotted column": (
        "UPDATE documents SET metadata = '{\"n\":3' WHERE id = 'd3'",
        lambda kb: kb.count({"n.x": 3}),
    ),
    "metadata to update": (
        "UPDATE documents SET metadata = '{\"n\":3' WHERE id = 'd3'",
        lambda kb: kb.update("d3", {"x": 1}),
    ),
    "a date": ('UPDATE documents SET metadata = \'{"n":{"$date":"2025-13-01"}}\'', lambda kb: kb.get(["d3"])),
    "a row beyond the end": (
        "UPDATE tombstones SET row = 10000000 WHERE row = 1",
        ask,
    ),
    "a row that is not a number": ("UPDATE tombstones SET row = 'x' WHERE row = 1", ask),
    "a frame": ("UPDATE frames SET slot = 'x' WHERE sequence = 2", ask),
    "a frame beyond the end": ("UPDATE frames SET slot = 10000000 WHERE sequence = 2", ask),
    "a lost document": ("DELETE FROM documents WHERE id = 'd3'", ask),
}


@pytest.mark.parametrize("what", VALUES)
def test_a_damaged_value(tmp_path: Path, what: str) -> None:
    statement, use = VALUES[what]
    with Retriever.open(damaged(tmp_path / "kb", statement)) as kb:
        with pytest.raises(CorruptionError):
            use(kb)
        with pytest.raises(CorruptionError):
            kb.verify()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE state SET live = 'x'",
        "UPDATE state SET slots = 7.5",
        "UPDATE state SET rows = x'00'",
        "DELETE FROM state",
        "DELETE FROM frames WHERE sequence = 3",
        "UPDATE frames SET crc = crc + 1 WHERE sequence = 3",
        "UPDATE frames SET slot = 'x' WHERE sequence = 3",
        "DROP TABLE frames",
    ],
)
def test_a_damaged_state(tmp_path: Path, statement: str) -> None:
    refused(damaged(tmp_path / "kb", statement), "damaged|lacks|not the one|lost its state")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("cosine", "cosinf"),
        ("any", "anx"),
        ('"dimension": 5', '"dimension": "5"'),
        ('"uid": "', '"uid": "z'),
        ('"space"', '"spacd"'),
        ("{", "["),
    ],
)
def test_a_damaged_manifest(tmp_path: Path, old: str, new: str) -> None:
    """An unknown metric or norm policy would silently apply no policy."""
    statement = f"UPDATE manifest SET value = replace(value, '{old}', '{new}')"  # noqa: S608 - a test's own words
    refused(damaged(tmp_path / "kb", statement), "manifest", ManifestError)


def test_no_manifest(tmp_path: Path) -> None:
    refused(damaged(tmp_path / "kb", "DELETE FROM manifest"), "manifest", ManifestError)
