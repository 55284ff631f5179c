"""A foreign graph with a matching hash is refused, and never makes hnswlib read outside its memory."""

import hashlib
import json
import sqlite3
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from theodolite import CorruptionError, Document, Retriever
from theodolite.engines.local.storage.schema import digest
from theodolite.indexes.hnsw import HnswIndex
from theodolite.types import Space
from theodolite.vectors.prepare import prepare

ROWS, M, D = 3000, 4, 8
HEADER = 96
SIZE = 4 * (2 * M + 1) + 4 * D + 8
SPACE = Space("cosine", D)


def drawn() -> NDArray[np.float64]:
    return np.random.default_rng(0).standard_normal((ROWS, D))


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    index = HnswIndex(M=M, ef_construction=20)
    index.build(prepare(drawn(), SPACE)[0], SPACE)
    path = tmp_path_factory.mktemp("graph") / "native"
    index.save(path)
    return path.read_bytes()


def put(at: int, kind: str, value: int) -> Callable[[bytearray], None]:
    return lambda data: struct.pack_into(kind, data, at, value)


def far(data: bytearray) -> None:
    for row in range(ROWS):
        struct.pack_into("<I", data, HEADER + row * SIZE + 4, 0x7FFFFFFF)


def upper(data: bytearray) -> int:
    """Return where the first upper list begins, after its size."""
    at = HEADER + ROWS * SIZE
    while struct.unpack_from("<I", data, at) == (0,):
        at += 4
    return at + 4


def low(data: bytearray) -> None:
    """A link on level 1 to a row that is on level 0 only."""
    at, row = HEADER + ROWS * SIZE, 0
    while struct.unpack_from("<I", data, at)[0]:
        at, row = at + 4 + struct.unpack_from("<I", data, at)[0], row + 1
    struct.pack_into("<I", data, upper(data) + 4, row)


def higher(data: bytearray) -> None:
    struct.pack_into("<I", data, upper(data) - 4, 1 << 30)


BAD: dict[str, Callable[[bytearray], None]] = {
    "every link far outside": far,
    "one link just outside": put(HEADER + 77 * SIZE + 4, "<I", ROWS),
    "more links than there is room for": put(HEADER + 5 * SIZE, "<H", 2 * M + 1),
    "a row that is marked as deleted": put(HEADER + 5 * SIZE + 2, "<B", 1),
    "a label twice": put(HEADER + SIZE - 8, "<Q", 1),
    "a label far outside": put(HEADER + SIZE - 8, "<Q", 1 << 60),
    "more rows than the file has": put(16, "<Q", 1 << 62),
    "another row to begin at": put(52, "<I", ROWS),
    "no level": put(48, "<i", 0),
    "a negative level": put(48, "<i", -1),
    "many levels": put(48, "<i", 40),
    "an upper link outside": lambda data: struct.pack_into("<I", data, upper(data) + 4, ROWS),
    "an upper list that is too long": lambda data: struct.pack_into("<I", data, upper(data), M + 1),
    "upper lists of a size that is none": lambda data: struct.pack_into("<I", data, upper(data) - 4, 4),
    "upper lists beyond the end": higher,
    "an upper link to a lower row": low,
    "cut off": lambda data: data.__delitem__(slice(len(data) - 4, None)),
    "longer": lambda data: data.extend(bytes(4)),
    "much longer": lambda data: data.extend(bytes(1 << 20)),
}


@pytest.mark.parametrize("damage", BAD.values(), ids=BAD.keys())
def test_hnswlib_never_sees_a_damaged_graph(damage: Callable[[bytearray], None], graph: bytes, tmp_path: Path) -> None:
    data = bytearray(graph)
    damage(data)
    assert data != graph
    (tmp_path / "native").write_bytes(data)
    with pytest.raises(CorruptionError, match="is damaged"):
        HnswIndex(M=M, ef_construction=20).load(tmp_path / "native", SPACE)


@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
@pytest.mark.parametrize(("rows", "links"), [(1, 16), (2, 2), (50, 100), (3000, 2), (20_000, 16)])
def test_sound_graphs_are_taken(metric: str, rows: int, links: int, tmp_path: Path) -> None:
    vectors, space = prepare(np.random.default_rng(rows).standard_normal((rows, 8)), Space(metric, 8))  # type: ignore[arg-type]  # one of the three
    made, loaded = (HnswIndex(M=links, ef_construction=20) for _ in range(2))
    made.build(vectors[: rows // 2 + 1], space)  # type: ignore[arg-type]  # a slice of Vectors
    made.build(vectors, space)
    made.save(tmp_path / "native")
    loaded.load(tmp_path / "native", space)
    assert len(loaded) == rows
    assert loaded.propose(vectors[:1], 3).tolist() == made.propose(vectors[:1], 3).tolist()  # type: ignore[arg-type]  # a slice


def test_a_foreign_folder_is_searched_exactly(tmp_path: Path) -> None:
    folder = tmp_path / "kb"
    with Retriever.open(folder) as kb:
        documents = [Document("t", id=f"d{i}") for i in range(ROWS)]
        kb.add(documents, vectors=drawn(), batch_size=None)
        kb.reindex(f"hnsw:M={M},ef_construction=20")
        expected = kb.search(vector=[1.0] * D)[0].document.id
    native = folder / "index-1" / "native"
    data = bytearray(native.read_bytes())
    far(data)
    native.write_bytes(data)
    connection = sqlite3.connect(folder / "store.sqlite")
    record = json.loads(connection.execute("SELECT value FROM approximate").fetchone()[0])
    record["hashes"]["native"] = hashlib.sha256(data).hexdigest()
    text = json.dumps(record)
    connection.execute("UPDATE approximate SET value = ?, hash = ?", (text, digest(text)))
    connection.commit()
    connection.close()
    code = (
        "import sys\n"
        "from theodolite import CorruptionError, Retriever\n"
        "kb = Retriever.open(sys.argv[1], read_only=True)\n"
        f"print(kb.search(vector=[1.0] * {D})[0].document.id)\n"
        "try:\n"
        "    kb.verify()\n"
        "except CorruptionError as error:\n"
        "    print('native is damaged' in str(error))\n"
    )
    command = [sys.executable, "-c", code, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.stdout.split() == [expected, "True"], done
    assert "Searches are exact" in done.stderr
