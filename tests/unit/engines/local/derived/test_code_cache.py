"""Files of codes: of 4 bits, of 8 bits beside them, and of the first version."""

import logging
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from theodolite import Document, Retriever
from theodolite.engines.local.derived.code_cache import CodeCache
from theodolite.engines.local.storage.folder import Folder
from theodolite.indexes.flat.codes import BLOCK, NARROW, WIDE
from theodolite.testing.oracle import ArraySource
from theodolite.types import Vectors

DIMENSION = 192
OWNER = bytes(range(16))


def clustered(rows: int) -> NDArray[np.float32]:
    draw = np.random.default_rng(3)
    centers = draw.standard_normal((200, DIMENSION))
    made = centers[draw.integers(200, size=rows)] + 0.4 * draw.standard_normal((rows, DIMENSION))
    made /= np.linalg.norm(made, axis=1, keepdims=True)
    return np.asarray(made, np.float32)


def test_each_width_has_its_file(tmp_path: Path) -> None:
    source = ArraySource(Vectors(clustered(BLOCK)))
    cache = CodeCache(Folder(tmp_path), 1, lambda row: OWNER, DIMENSION, writable=True)
    narrow, wide = cache.codes(source, 0, BLOCK), cache.codes(source, 0, BLOCK, wide=True)
    assert (narrow.bits, wide.bits) == (NARROW, WIDE)
    names = {path.name: path.stat().st_size for path in (tmp_path / "codes-1").iterdir()}
    assert names.keys() == {"000000.codes", "000000.wide"}
    assert names["000000.codes"] < 0.6 * names["000000.wide"]
    reader = CodeCache(Folder(tmp_path), 1, lambda row: OWNER, DIMENSION, writable=False)
    nothing = ArraySource(Vectors(np.zeros((0, DIMENSION), np.float32)))  # so the files must be read
    assert reader.codes(nothing, 0, BLOCK).codes.tobytes() == narrow.codes.tobytes()
    assert reader.codes(nothing, 0, BLOCK, wide=True).codes.tobytes() == wide.codes.tobytes()


def test_codes_of_4_bits_are_never_taken_for_others(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = ArraySource(Vectors(clustered(BLOCK)))
    cache = CodeCache(Folder(tmp_path), 1, lambda row: OWNER, DIMENSION, writable=True)
    cache.codes(source, 0, BLOCK)
    (tmp_path / "codes-1" / "000000.codes").rename(tmp_path / "codes-1" / "000000.wide")
    assert cache.codes(source, 0, BLOCK, wide=True).bits == WIDE
    assert not caplog.records


def test_files_of_the_first_version_are_replaced_with_a_notice(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    old = tmp_path / "codes-1" / "000000.i8"
    old.parent.mkdir()
    old.write_bytes(b"theo-i8\x01" + bytes(1000))
    cache = CodeCache(Folder(tmp_path), 1, lambda row: OWNER, DIMENSION, writable=True)
    with caplog.at_level(logging.INFO):
        cache.fill(ArraySource(Vectors(clustered(BLOCK))), BLOCK)
    assert not old.exists()
    assert "000000.i8 is replaced by codes-1/000000.codes" in caplog.text


@pytest.mark.thorough
def test_a_collection_makes_8_bits_when_batches_ask_for_them(tmp_path: Path) -> None:
    """The answers stay what they are: before, after, and in another process' eyes."""
    rows = clustered(2 * BLOCK + 500)
    queries = clustered(40)
    with Retriever.open(tmp_path, compact_at=None) as kb:
        kb.add([Document(f"text {i}", {}, f"{i}") for i in range(len(rows))], vectors=rows)
        alone = [[(hit.document.id, hit.score) for hit in kb.search(vector=query, k=7)] for query in queries]
        names = {path.name for path in (tmp_path / "codes-1").iterdir()}
        assert names == {"000000.codes", "000001.codes"}
        for _ in range(5):
            together = kb.search_many(vectors=queries, k=7)
            assert [[(hit.document.id, hit.score) for hit in hits] for hits in together] == alone
        names = {path.name for path in (tmp_path / "codes-1").iterdir()}
        assert names == {"000000.codes", "000000.wide", "000001.codes", "000001.wide"}
        assert kb.verify().warnings == ()
        kb.backup(tmp_path.parent / "copy")
    with Retriever.open(tmp_path.parent / "copy") as copy:
        assert (tmp_path.parent / "copy" / "codes-1" / "000001.wide").exists()
        assert [[(hit.document.id, hit.score) for hit in copy.search(vector=query, k=7)] for query in queries] == alone
        assert copy.verify().warnings == ()
