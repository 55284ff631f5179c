"""Options of a sync: exclusions, notes, ids of two tables, and how soon the first batch is committed."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.unit.reading import write
from tests.unit.syncing import Embedder, counts, stored

from theodolite import Retriever
from theodolite.files.readers import Options
from theodolite.files.sync import sync
from theodolite.files.sync.writer import StoredPassages, Writer
from theodolite.testing import HashingEmbedder


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    write(tmp_path / "docs/a.md", "# One\n\nFirst words.")
    write(tmp_path / "docs/drafts/b.md", "# Two\n\nOther words.")
    return tmp_path / "docs"


def test_what_is_excluded_is_removed(docs: Path) -> None:
    with Retriever.open(embedder=Embedder()) as kb:
        assert counts(sync(kb, [docs])) == {"added": 2}
        report = sync(kb, [docs], options=Options(exclude=("drafts/",)))
        assert (counts(report), report.kept) == ({"unchanged": 1, "removed": 1}, 0)
        assert [item.source for item in report.excluded] == ["docs/drafts"]
        write(docs / ".gitignore", "a.md\n")
        assert counts(sync(kb, [docs])) == {"added": 1, "removed": 1}
        assert list(stored(kb)) == ["docs/drafts/b.md"]


def test_headings_are_embedded(docs: Path) -> None:
    embedder = Embedder()
    with Retriever.open(embedder=embedder) as kb:
        sync(kb, [docs], options=Options(with_headings=True))
        assert any(text.startswith("One\n\n# One") for text in embedder.asked)
        assert stored(kb)["docs/a.md"].startswith("One\n\n")
        assert not kb.verify().problems


def test_two_tables_with_the_same_ids(tmp_path: Path) -> None:
    write(tmp_path / "t/faq.csv", "id,key,text\n1,a,First.\n")
    write(tmp_path / "t/goods.csv", "id,key,text\n1,b,Second.\n")
    with Retriever.open(embedder=Embedder()) as kb:
        (item,) = sync(kb, [tmp_path / "t"]).skipped
        assert item.reason.startswith("the id '1' is used twice, first in t/faq.csv; --map FILE:id=FIELD")
        assert counts(sync(kb, [tmp_path / "t"], options=Options(maps={"goods.csv": "id=key"}))) == {
            "added": 1,
            "unchanged": 1,
        }
        assert set(stored(kb)) == {"1", "b"}


def test_notes(tmp_path: Path) -> None:
    write(tmp_path / "t/a.csv", "text,price\nWords.,5\n")
    with Retriever.open(embedder=Embedder()) as kb:
        report = sync(kb, [tmp_path / "t"], options=Options(maps={"b.csv": "text=body"}))
        assert kb.search("words", k=1, where={"price": {"$gt": 4}})
    first, second = sorted(report.notes, key=lambda note: note.source)
    assert (first.source, first.text) == ("b.csv", "no file matches this mapping of fields (--map, maps=)")
    assert (second.source, second.text.partition(";")[0]) == (
        "t/a.csv",
        "columns read by their values: 'price' as integers",
    )


class Slow(HashingEmbedder):
    """Takes a while for each text, and records the batch sizes."""

    seconds = 0.0

    def __init__(self) -> None:
        super().__init__(64)
        self.sizes: list[int] = []

    def encode_document(self, texts: Sequence[str], /) -> Any:
        self.sizes.append(len(texts))
        time.sleep(self.seconds * len(texts))
        return super().encode_document(texts)


def test_batches_grow_from_a_small_one(tmp_path: Path) -> None:
    """So the first commit comes soon, however slow the embedder is."""
    for number in range(600):
        write(tmp_path / f"docs/{number}.txt", f"Text {number}.")
    embedder = Slow()
    with Retriever.open(embedder=embedder) as kb:
        sync(kb, [tmp_path / "docs"])
        assert kb.count() == 600
    sizes = [size for size in embedder.sizes if size > 1]
    assert sizes[0] <= 16
    assert max(sizes) == 256


def test_the_next_batch_takes_about_five_seconds() -> None:
    with Retriever.open(embedder=Embedder()) as kb:
        writer = Writer(kb, StoredPassages([]), 256, lambda passages: None, lambda group, reason: None)
        assert writer._size_for(16, 0.01) == 64
        assert writer._size_for(16, 2.0) == 40
        assert writer._size_for(16, 80.0) == 1
