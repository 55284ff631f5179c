"""A lexical index that FTS5 cannot open is reported, and repair() rebuilds it."""

import contextlib
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from theodolite import CorruptionError, Document, Retriever
from theodolite.testing import HashingEmbedder

DAMAGE = {
    "the structure": "UPDATE lexical_data SET block = x'ffffffffffffffffffffffff' WHERE id = 10",
    "no structure": "DELETE FROM lexical_data WHERE id = 10",
    "nothing": "DELETE FROM lexical_data",
    "empty values": "UPDATE lexical_data SET block = NULL",
    "the pages": "UPDATE lexical_data SET block = x'0000ffff0011' WHERE id > 10",
    "the lengths": "DELETE FROM lexical_docsize",
    "another format": "UPDATE lexical_config SET v = 99",
    "no format": "DELETE FROM lexical_config",
}


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sound") / "kb"
    with Retriever.open(folder, embedder=HashingEmbedder(16)) as kb:
        kb.add([Document(f"text number{i}", id=f"d{i}") for i in range(300)])
    return folder


@pytest.mark.parametrize("statement", DAMAGE.values(), ids=DAMAGE)
def test_repair_keeps_what_verify_promises(sound: Path, tmp_path: Path, statement: str) -> None:
    folder = Path(shutil.copytree(sound, tmp_path / "kb"))
    with Retriever.open(folder, embedder=HashingEmbedder(16)) as kb:
        assert found(kb, "number7") == "d7"  # connections that have read the index are kept
        with contextlib.closing(sqlite3.connect(folder / "store.sqlite")) as database, database:
            database.execute(statement)
        with pytest.raises(CorruptionError, match=r"lexical.*repair") as error:
            kb.verify()
        assert [(one.part, one.derived) for one in error.value.verification.problems] == [("lexical", True)]
        assert kb.repair().repaired == ("lexical: the index rebuilt",)
        kb.verify()
        assert found(kb, "number7") == "d7"
        kb.delete("d7")
        kb.add([Document("another number7", id="new")])
        assert found(kb, "number7") == "new"
        kb.verify()


@pytest.mark.parametrize("what", ["the structure", "no structure", "nothing", "another format", "no format"])
def test_writes_name_the_lexical_index(sound: Path, tmp_path: Path, what: str) -> None:
    folder = Path(shutil.copytree(sound, tmp_path / "kb"))
    with contextlib.closing(sqlite3.connect(folder / "store.sqlite")) as database, database:
        database.execute(DAMAGE[what])
    writes: list[Callable[[Retriever], object]] = [
        lambda kb: kb.delete("d1"),
        lambda kb: kb.add([Document("more", id="more")]),
        lambda kb: kb.update("d1", {"n": 1}),
    ]
    with Retriever.open(folder, embedder=HashingEmbedder(16)) as kb:
        for write in writes:
            with pytest.raises(CorruptionError, match=r"cannot read the lexical index.*repair"):
                write(kb)
        assert kb.count() == 300
        assert len(kb.search(vector=np.ones(16), k=300)) == 300  # what needs no words works
        assert kb.repair().sound
        assert kb.delete("d1") == 1


def found(kb: Retriever, words: str) -> str:
    return kb.search(words, k=1, mode="lexical")[0].document.id
