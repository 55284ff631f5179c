"""Stored values of wrong types or sizes, with matching hashes, are refused at once as damage."""

import contextlib
import json
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from theodolite import Document, Retriever
from theodolite.engines.local.derived.snapshot import live_rows_after
from theodolite.engines.local.storage.change_log import HASH, Log
from theodolite.engines.local.storage.database import State
from theodolite.engines.local.storage.schema import digest
from theodolite.engines.local.storage.vector_file import Frame
from theodolite.errors import CorruptionError, IntegrityError
from theodolite.metadata import MAX_DEPTH
from theodolite.testing import HashingEmbedder

HUGE = 1 << 60
DEEP = "[" * 100_000 + "]" * 100_000


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sound") / "kb"
    with Retriever.open(folder, embedder=HashingEmbedder(16), partition="lang") as kb:
        kb.add([Document(f"text number{i}", {"n": i, "lang": "en"}, f"d{i}") for i in range(20)])
    return folder


def copied(sound: Path, folder: Path, change: Callable[[sqlite3.Connection], object]) -> Path:
    shutil.copytree(sound, folder)
    with contextlib.closing(sqlite3.connect(folder / "store.sqlite")) as database, database:
        change(database)
    return folder


def use(folder: Path) -> None:
    """Call everything that reads."""
    with Retriever.open(folder, embedder=HashingEmbedder(16), read_only=True) as kb:
        kb.info()
        list(kb.documents(vectors=True))
        kb.fields()
        kb.count({"n": {"$gt": 3}})
        kb.search("number3", k=20, mode="lexical")
        kb.search("number3", k=20)
        kb.verify()


STATES = {
    "a huge generation": {"generation": HUGE},
    "no generation": {"generation": 0},
    "many rows": {"rows": 1 << 40, "slots": 1 << 41, "live": 1 << 40},
    "more rows than the file": {"rows": 1 << 30, "slots": 1 << 31, "live": 1 << 30},
    "more documents than rows": {"live": 21},
    "less than none": {"live": -1},
    "more rows than slots": {"rows": 50, "slots": 30},
    "a huge sequence": {"sequence": HUGE},
    "a huge number of indexes": {"approximate": HUGE},
}


@pytest.mark.parametrize("numbers", STATES.values(), ids=STATES)
def test_a_state(sound: Path, tmp_path: Path, numbers: dict[str, int]) -> None:
    def change(database: sqlite3.Connection) -> None:
        names = "generation, sequence, rows, slots, live, approximate"
        state = State(*database.execute(f"SELECT {names} FROM state").fetchone())  # noqa: S608
        state = state._replace(**{"keys" if name == "rows" else name: number for name, number in numbers.items()})
        marks = ", ".join(f"{name} = ?" for name in (*names.split(", "), "hash"))
        database.execute(f"UPDATE state SET {marks}", (*state, digest(*state)))  # noqa: S608

    with pytest.raises(IntegrityError):
        use(copied(sound, tmp_path / "kb", change))


MANIFESTS: dict[str, Callable[[dict[str, Any]], object]] = {
    "wide": lambda manifest: manifest["space"].update(dimension=1 << 40),
    "no dimension": lambda manifest: manifest["space"].update(dimension=0),
    "a dimension below zero": lambda manifest: manifest["space"].update(dimension=-16),
    "a number that is none": lambda manifest: manifest["space"].update(dimension=True),
    "a list for a name": lambda manifest: manifest.update(partition=["lang"]),
    "a list for an embedder": lambda manifest: manifest.update(embedder=["x"]),
    "a list for the name of an embedder": lambda manifest: manifest.update(embedder={"name": ["x"]}),
    "an unknown part of an embedder": lambda manifest: manifest.update(embedder={"name": "x", "code": "y"}),
    "a number for a time": lambda manifest: manifest.update(created=5),
    "a list for an id": lambda manifest: manifest.update(uid=[]),
    "a number for transforms": lambda manifest: manifest["space"].update(transforms=5),
    "transforms of another shape": lambda manifest: manifest["space"].update(transforms=[[]]),
    "a list for a metric": lambda manifest: manifest["space"].update(metric=["cosine"]),
}


@pytest.mark.parametrize("edit", MANIFESTS.values(), ids=MANIFESTS)
def test_a_manifest(sound: Path, tmp_path: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    def change(database: sqlite3.Connection) -> None:
        manifest = json.loads(database.execute("SELECT value FROM manifest").fetchone()[0])
        edit(manifest)
        text = json.dumps(manifest)
        database.execute("UPDATE manifest SET value = ?, hash = ?", (text, digest(text)))

    with pytest.raises(IntegrityError):
        use(copied(sound, tmp_path / "kb", change))


@pytest.mark.parametrize("text", [DEEP, "5", "[]", "null", "{}", '{"space": 5}'], ids=lambda text: text[:12])
def test_another_manifest(sound: Path, tmp_path: Path, text: str) -> None:
    def change(database: sqlite3.Connection) -> None:
        database.execute("UPDATE manifest SET value = ?, hash = ?", (text, digest(text)))

    with pytest.raises(IntegrityError):
        use(copied(sound, tmp_path / "kb", change))


def nested(levels: int) -> str:
    return '{"a":' * levels + "1" + "}" * levels


METADATA = [nested(100), nested(500), nested(900), nested(100_000), f'{{"a":{DEEP}}}', "5", "[1]", "null", '"text"']
METADATA += ['{"a":{"$date":5}}', '{"a":{"$datetime":{}}}', '{"a":', "", '{"a":1}],[{"b":2}', '{"a":1},5']


@pytest.mark.parametrize("text", METADATA, ids=lambda text: text[:20])
def test_metadata(sound: Path, tmp_path: Path, text: str) -> None:
    folder = copied(
        sound,
        tmp_path / "kb",
        lambda database: database.execute("UPDATE documents SET metadata = ? WHERE id = 'd3'", (text,)),
    )
    with Retriever.open(folder, read_only=True) as kb:
        vector = np.ones(16)
        for read in (
            lambda: kb.scoped(lang="en").get(["d3"]),
            lambda: list(kb.documents()),
            lambda: kb.search(vector=vector, k=20),
            kb.fields,
            kb.verify,
        ):
            with pytest.raises(CorruptionError):
                read()


def test_metadata_as_deep_as_can_be_stored_is_read(tmp_path: Path) -> None:
    value: Any = np.datetime64("2025-03-01T09:00:00")
    for _ in range(MAX_DEPTH - 1):
        value = {"[{": value}
    with Retriever.open(tmp_path / "kb") as kb:
        kb.add([Document("deep", value, "deep")], vectors=np.ones((1, 4)))
        assert kb.get(["deep"])[0].metadata
        assert kb.fields()
        kb.verify()


@pytest.mark.parametrize("column", ["id", "text"])
def test_bytes_for_text(sound: Path, tmp_path: Path, column: str) -> None:
    with pytest.raises(CorruptionError):
        use(
            copied(
                sound,
                tmp_path / "kb",
                lambda database: database.execute(f"UPDATE documents SET {column} = x'ff00' WHERE id = 'd3'"),  # noqa: S608
            )
        )


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE lexical_docsize SET sz = x'ffffffffffffffff7f'",
        "UPDATE lexical_docsize SET sz = 'text'",
        "INSERT INTO lexical_docsize (id, sz) VALUES (1125899906842624, x'01')",
        "UPDATE lexical_docsize SET id = id + 1125899906842624",
    ],
)
def test_lengths(sound: Path, tmp_path: Path, statement: str) -> None:
    with pytest.raises(CorruptionError):
        use(copied(sound, tmp_path / "kb", lambda database: database.execute(statement)))


NOTES = ["canary", "known-answers", "canary-documents", "versions"]
TEXTS = [DEEP, "5", '"text"', "{}x", "[[]]", "[5]", '[["a", [], "b", 1, 2]]', '[["a", {}, "b"]]', '[{"kind": []}]']


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: text[:12])
@pytest.mark.parametrize("name", NOTES)
def test_a_note(sound: Path, tmp_path: Path, name: str, text: str) -> None:
    def change(database: sqlite3.Connection) -> None:
        database.execute("INSERT OR REPLACE INTO notes VALUES (?, ?, ?)", (name, text, digest(name, text)))

    with pytest.raises(CorruptionError):
        use(copied(sound, tmp_path / "kb", change))


FRAMES = [
    Frame(1, 0, 1 << 40, 1, 0),
    Frame(1, -5, 25, 1, 0),
    Frame(1, 0, 20, -7, 0),
    Frame(1, 0, 20, 1 << 40, 0),
    Frame(1, 0, -20, 1, 0),
    Frame(1, 0, "20", 1, 0),  # type: ignore[arg-type]  # what a database may hold
    Frame(1, 0, 20, 1.5, 0),  # type: ignore[arg-type]
]


@pytest.mark.parametrize("frame", FRAMES)
def test_frames(frame: Frame) -> None:
    log = Log([frame], np.zeros(1, HASH), np.empty(0, np.int64))
    with pytest.raises(CorruptionError):
        live_rows_after(np.empty(0, np.bool_), log, State(1, 1, 20, 21, 20, 0))


@pytest.mark.parametrize("row", [-1, 20, 1 << 60, -(1 << 60)])
def test_ended_rows(row: int) -> None:
    frame = Frame(1, 0, 20, 1, 0)
    assert live_rows_after(
        np.empty(0, np.bool_), Log([frame], np.zeros(1, HASH), np.array([3])), State(1, 1, 20, 21, 19, 0)
    )[4]
    with pytest.raises(CorruptionError):
        live_rows_after(
            np.empty(0, np.bool_), Log([frame], np.zeros(1, HASH), np.array([row])), State(1, 1, 20, 21, 19, 0)
        )
