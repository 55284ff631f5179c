"""Syncing files and a collection: new, embedded, removed and unchanged passages."""

import json
import os
import random
import shutil
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.unit.syncing import Embedder, counts, paragraphs, stored

from theodolite import Document, EmbedderOptions, InputError, Retriever
from theodolite.files.readers import Options
from theodolite.files.sync import SyncProgress, sync


@pytest.fixture
def embedder() -> Embedder:
    return Embedder()


@pytest.fixture
def kb(embedder: Embedder) -> Iterator[Retriever]:
    with Retriever.open(embedder=EmbedderOptions(embedder, canary="off")) as opened:
        yield opened


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.txt").write_text(paragraphs("one", "two", "three"))
    (folder / "sub" / "b.md").write_text("# Head\n\nBody of the second file.")
    return folder


def test_the_second_run_touches_nothing(kb: Retriever, embedder: Embedder, docs: Path) -> None:
    first = sync(kb, [docs])
    assert (first.files, counts(first), first.skipped) == (2, {"added": 4}, ())
    assert sorted(stored(kb)) == ["docs/a.txt", "docs/a.txt#2", "docs/a.txt#3", "docs/sub/b.md"]
    commits, embedder.asked = kb.info()["commits"], []
    assert counts(sync(kb, [docs])) == {"unchanged": 4}
    assert (kb.info()["commits"], embedder.asked) == (commits, [])
    kb.verify()


def test_what_has_changed_is_replaced(kb: Retriever, embedder: Embedder, docs: Path) -> None:
    sync(kb, [docs])
    stamp = (docs / "a.txt").stat().st_mtime
    (docs / "a.txt").write_text(paragraphs("one", "zwei", "three"))
    os.utime(docs / "a.txt", (stamp, stamp))
    embedder.asked = []
    assert counts(sync(kb, [docs])) == {"replaced": 1, "unchanged": 3}
    assert embedder.asked == [paragraphs("zwei")]
    assert stored(kb)["docs/a.txt#2"] == paragraphs("zwei")


def test_texts_that_move_are_not_embedded_again(kb: Retriever, embedder: Embedder, docs: Path) -> None:
    sync(kb, [docs])
    (docs / "a.txt").write_text(paragraphs("zero", "one", "two", "three"))
    embedder.asked = []
    assert counts(sync(kb, [docs])) == {"replaced": 1, "moved": 3, "unchanged": 1}
    assert embedder.asked == [paragraphs("zero")]
    assert [text for name, text in stored(kb).items() if "a.txt" in name] == [
        paragraphs(name) for name in ("zero", "one", "two", "three")
    ]
    for name in ("zero", "one", "two", "three"):
        assert kb.search(paragraphs(name), k=1)[0].scores["similarity"] == pytest.approx(1)
    kb.verify()


def test_a_touched_file_is_stored_again_without_embedding(kb: Retriever, embedder: Embedder, docs: Path) -> None:
    sync(kb, [docs])
    os.utime(docs / "a.txt", (1e9, 1e9))
    embedder.asked = []
    assert counts(sync(kb, [docs])) == {"moved": 3, "unchanged": 1}
    assert embedder.asked == []
    assert {document.metadata["modified"].year for document in kb.get(["docs/a.txt", "docs/a.txt#3"])} == {2001}


def test_what_has_vanished_goes(kb: Retriever, docs: Path) -> None:
    kb.add([Document("mine", {"path": "elsewhere/x"}, "mine"), Document("no path", {}, "other")])
    sync(kb, [docs])
    (docs / "a.txt").write_text(paragraphs("one"))
    os.utime(docs / "a.txt", (1e9, 1e9))
    assert counts(sync(kb, [docs])) == {"moved": 1, "unchanged": 1, "removed": 2}
    shutil.rmtree(docs / "sub")
    assert counts(sync(kb, [docs], remove=False)) == {"unchanged": 1}
    assert counts(sync(kb, [docs / "a.txt"])) == {"unchanged": 1}  # a part of the same source
    assert counts(sync(kb, [docs])) == {"unchanged": 1, "removed": 1}
    assert sorted(stored(kb)) == ["docs/a.txt", "mine", "other"]


def test_what_cannot_be_read_keeps_what_was_stored(kb: Retriever, docs: Path) -> None:
    (docs / "n.jsonl").write_text('{"id": "x", "text": "One."}\n{"id": "y", "text": "Two."}\n')
    sync(kb, [docs])
    before = stored(kb)
    (docs / "a.txt").write_bytes(b"now\0\1\2binary")
    (docs / "sub" / "b.md").write_bytes(b"")
    (docs / "n.jsonl").write_text('{"id": "x", "text": "One."}\n{"id": "y", "text"\n')
    report = sync(kb, [docs])
    assert [each.source for each in report.skipped] == ["docs/a.txt", "docs/sub/b.md", "docs/n.jsonl"]
    assert stored(kb) == before
    assert (report.removed, report.kept, report.failed) == (0, 5, 0)


def test_an_id_used_twice_belongs_to_the_first(kb: Retriever, docs: Path) -> None:
    (docs / "m.jsonl").write_text('{"id": "x", "text": "First."}\n{"id": "x", "text": "Second."}\n')
    (docs / "n.jsonl").write_text('{"id": "x", "text": "Third."}\n{"id": "z", "text": "Fourth."}\n')
    for expected in ({"added": 6}, {"unchanged": 6}):
        report = sync(kb, [docs])
        assert counts(report) == expected
        assert [item.source for item in report.skipped] == ["docs/m.jsonl", "docs/n.jsonl"]
        for item in report.skipped:
            assert item.reason.startswith(
                "the id 'x' is used twice, first in docs/m.jsonl; --map FILE:id=FIELD (maps=)"
            )
    assert stored(kb)["x"] == "First."
    (docs / "m.jsonl").unlink()
    assert counts(sync(kb, [docs])) == {"replaced": 1, "unchanged": 5}
    assert stored(kb)["x"] == "Third."


def test_progress(kb: Retriever, docs: Path) -> None:
    reported: list[SyncProgress] = []
    sync(kb, [docs], batch_size=2, progress=reported.append)
    assert [each.passages for each in reported] == sorted(each.passages for each in reported)
    last = reported[-1]
    size = sum(path.stat().st_size for path in docs.rglob("*.*"))
    assert (last.files, last.of_files, last.passages, last.bytes, last.of_bytes) == (2, 2, 4, size, size)


@pytest.mark.parametrize("after", range(0, 12, 3))
def test_stopped_anywhere_the_next_run_completes_it(kb: Retriever, embedder: Embedder, docs: Path, after: int) -> None:
    for number in range(10):
        (docs / f"more-{number}.txt").write_text(paragraphs(*(f"{number} {n}" for n in range(3))))
    sync(kb, [docs])
    for number in range(10):
        (docs / f"more-{number}.txt").write_text(paragraphs(*(f"{number} {n}" for n in range(1, 5))))

    def stop(at: SyncProgress) -> None:
        if at.files >= after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sync(kb, [docs], batch_size=5, progress=stop)
    kb.verify()
    sync(kb, [docs])
    with Retriever.open(embedder=Embedder()) as fresh:
        sync(fresh, [docs])
        assert stored(kb) == stored(fresh)


@pytest.mark.parametrize("seed", range(12))
def test_any_history_ends_as_a_fresh_run_would(kb: Retriever, embedder: Embedder, tmp_path: Path, seed: int) -> None:
    """And every passage has the vector of its own text."""
    draw = random.Random(seed)
    docs = tmp_path / "docs"
    docs.mkdir()
    for _ in range(6):
        for name in draw.sample(["a.txt", "b.txt", "c.md", "d.jsonl"], 3):
            path = docs / name
            words = [str(draw.randrange(8)) for _ in range(draw.randrange(6))]
            if not words:
                path.unlink(missing_ok=True)
            elif name == "d.jsonl":
                records = [{"id": f"r{n}", "text": paragraphs(word)} for n, word in enumerate(words)]
                path.write_text("\n".join(map(json.dumps, records)))
            else:
                path.write_text(paragraphs(*words))
            if path.exists():
                os.utime(path, (1e9 + draw.randrange(3),) * 2)
        embedder.asked = []
        held = Counter(stored(kb).values())
        sync(kb, [docs], batch_size=draw.choice([1, 2, 3, 100]))
        with Retriever.open(embedder=Embedder()) as fresh:
            sync(fresh, [docs])
            assert list(kb.documents()) == list(fresh.documents())
            for (document, vector), (_, expected) in zip(
                kb.documents(vectors=True), fresh.documents(vectors=True), strict=True
            ):
                np.testing.assert_array_equal(vector, expected, err_msg=document.id)
        assert not set(embedder.asked) & set(held)


def test_a_partition_is_kept_in_step_by_itself(embedder: Embedder, docs: Path) -> None:
    with Retriever.open(embedder=embedder, partition="tenant") as kb:
        acme, bolt = kb.scoped(tenant="acme"), kb.scoped(tenant="bolt")
        first = sync(acme, [docs])
        assert first.added == first.passages == len(acme) > 0
        commits = kb.info()["commits"]
        assert sync(acme, [docs]).unchanged == first.passages
        assert kb.info()["commits"] == commits
        assert sync(bolt, [docs]).added == first.passages
        (docs / "a.txt").unlink()
        assert sync(acme, [docs]).removed == 3
        assert len(bolt) == first.passages


def test_options_reach_the_splitter(kb: Retriever, docs: Path) -> None:
    sync(kb, [docs], options=Options(chunk_tokens=4))
    assert max(len(text.split()) for text in stored(kb).values()) == 4
    assert counts(sync(kb, [docs], options=Options()))["removed"] > 0


def test_what_the_report_says_was_embedded_was_embedded(kb: Retriever, embedder: Embedder, docs: Path) -> None:
    """Even if a batch overwrites the passage whose vector the next batch would reuse."""
    names = [str(number) for number in range(40)]
    (docs / "a.txt").write_text(paragraphs(*names))
    sync(kb, [docs], batch_size=7)
    (docs / "a.txt").write_text(paragraphs("new", *names))
    embedder.asked = []
    report = sync(kb, [docs], batch_size=7)
    assert embedder.asked == [paragraphs("new")]
    assert (report.added + report.replaced, report.moved) == (1, 40)
    assert list(stored(kb).values()).count(paragraphs("39")) == 1
    assert kb.search(paragraphs("20"), k=1)[0].document.text == paragraphs("20")


def test_the_embedder_share_of_the_time(docs: Path) -> None:
    class Slow(Embedder):
        def encode_document(self, texts: Sequence[str], /) -> Any:
            time.sleep(0.05)
            return super().encode_document(texts)

    with Retriever.open(embedder=Slow()) as kb:
        report = sync(kb, [docs])
        assert 0.05 <= report.embedding_seconds < report.seconds
        assert sync(kb, [docs]).embedding_seconds == 0


def test_paths_may_be_read_once_and_sizes_are_checked(kb: Retriever, docs: Path) -> None:
    assert sync(kb, iter([docs])).added == 4
    with pytest.raises(InputError, match="batch_size is 0"):
        sync(kb, [docs], batch_size=0)


@pytest.mark.thorough
def test_thousands_of_files(kb: Retriever, tmp_path: Path) -> None:
    for number in range(2000):
        folder = tmp_path / "docs" / f"{number % 10}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}.txt").write_text(paragraphs(str(number)))
    report = sync(kb, [tmp_path / "docs"])
    assert (report.files, report.added) == (2000, 2000)
    assert kb.info()["commits"] < 20  # files share commits


@pytest.mark.parametrize("batch_size", [1, 100])
@pytest.mark.parametrize(("old", "new"), [("a", "b"), ("b", "a")])
def test_a_record_that_moves_to_another_file_stays(
    kb: Retriever, embedder: Embedder, docs: Path, old: str, new: str, batch_size: int
) -> None:
    (docs / f"{old}.jsonl").write_text('{"id": "x", "text": "One."}\n{"id": "y", "text": "Two."}')
    (docs / f"{new}.jsonl").write_text('{"id": "z", "text": "Three."}')
    sync(kb, [docs])
    (docs / f"{old}.jsonl").write_text('{"id": "y", "text": "Two."}')
    (docs / f"{new}.jsonl").write_text('{"id": "z", "text": "Three."}\n{"id": "x", "text": "One."}')
    embedder.asked = []
    report = sync(kb, [docs], batch_size=batch_size)
    assert report.removed == 0
    assert kb.get("x")[0].metadata["path"] == f"docs/{new}.jsonl"
    assert embedder.asked == []
    assert counts(sync(kb, [docs])) == {"unchanged": 7}
