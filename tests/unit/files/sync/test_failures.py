"""Passages that cannot be stored: their file is left out whole, and the run goes on."""

import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.unit.syncing import Embedder, counts, paragraphs, stored

from theodolite import Center, EmbedderOptions, Pca, Retriever, VectorError
from theodolite.files.readers import Options
from theodolite.files.sync import sync


class Failing(Embedder):
    """Gives no usable vector, or fails, for texts with certain words."""

    def __init__(self) -> None:
        super().__init__()
        self.down = False

    def encode_document(self, texts: Sequence[str], /) -> Any:
        if self.down or any("fails" in text for text in texts):
            raise RuntimeError("the service does not answer" if self.down else "bad request")
        vectors = np.array(super().encode_document(texts))
        for row, text in enumerate(texts):
            if "zero" in text:
                vectors[row] = 0
            if "nan" in text:
                vectors[row, 3] = np.nan
            if "long" in text:
                vectors[row] *= 5
        return vectors


@pytest.fixture
def embedder() -> Failing:
    return Failing()


@pytest.fixture
def kb(embedder: Failing) -> Iterator[Retriever]:
    with Retriever.open(embedder=EmbedderOptions(embedder, canary="off")) as opened:
        yield opened


def write(folder: Path, **texts: Sequence[str]) -> Path:
    folder.mkdir(exist_ok=True)
    for name, words in texts.items():
        (folder / f"{name}.txt").write_text(paragraphs(*words))
    return folder


@pytest.mark.parametrize("bad", ["zero", "nan", "fails"])
@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_one_bad_passage(kb: Retriever, tmp_path: Path, bad: str, batch_size: int) -> None:
    docs = write(tmp_path / "docs", a=["1", "2"], b=["3", bad, "4"], c=["5"])
    report = sync(kb, [docs], batch_size=batch_size)
    assert sorted(stored(kb)) == ["docs/a.txt", "docs/a.txt#2", "docs/c.txt"]
    assert (counts(report), report.failed) == ({"added": 3}, 1)
    (item,) = report.skipped
    assert item.source == "docs/b.txt"
    assert item.reason.startswith("not stored: ")
    assert {"zero": "zero length", "nan": "NaN or infinity", "fails": "RuntimeError: bad request"}[bad] in item.reason
    assert bad == "fails" or "'docs/b.txt#2'" in item.reason
    again = sync(kb, [docs], batch_size=batch_size)
    assert (counts(again), again.failed, again.kept) == ({"unchanged": 3}, 1, 0)
    write(docs, b=["3", "4"])
    assert counts(sync(kb, [docs])) == {"added": 2, "unchanged": 3}


@pytest.mark.parametrize("bad", ["zero", "fails"])
def test_what_was_stored_of_it_is_kept(kb: Retriever, tmp_path: Path, bad: str) -> None:
    docs = write(tmp_path / "docs", a=["1", "2", "3"], b=["4"])
    sync(kb, [docs])
    before = stored(kb)
    write(docs, a=["new", bad], b=["5"])
    report = sync(kb, [docs])
    assert (report.failed, report.kept, report.removed) == (1, 3, 0)
    assert stored(kb) == before | {"docs/b.txt": paragraphs("5")}
    kb.verify()


def test_a_large_file_too(kb: Retriever, embedder: Failing, tmp_path: Path) -> None:
    """Although its passages do not fit in one batch."""
    docs = write(tmp_path / "docs", a=[*map(str, range(700)), "zero"], b=["fine"])
    assert sync(kb, [docs]).failed == 1
    assert list(stored(kb)) == ["docs/b.txt"]
    write(docs, a=[*map(str, range(700))])
    sync(kb, [docs])
    embedder.asked = []
    write(docs, a=["new", *map(str, range(700)), "zero"])
    before = stored(kb)
    assert sync(kb, [docs]).failed == 1
    assert stored(kb) == before


def test_a_record_is_left_out_alone(kb: Retriever, tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    long = "\\n\\n".join(paragraphs(word) for word in ("1", "zero", "2"))
    (docs / "a.jsonl").write_text(
        f'{{"id": "x", "text": "One."}}\n{{"id": "y", "text": "{long}"}}\n{{"id": "z", "text": "Two."}}'
    )
    report = sync(kb, [docs])
    assert (report.failed, sorted(stored(kb))) == (1, ["x", "z"])
    assert sync(kb, [docs]).removed == 0


def test_many_bad_ones_among_many(kb: Retriever, tmp_path: Path) -> None:
    draw = random.Random(2)
    bad = {number: draw.choice(["zero", "nan", "fails"]) for number in draw.sample(range(150), 20)}
    docs = write(tmp_path / "docs", **{f"f{n:03}": [f"{n} a", bad.get(n, "fine"), f"{n} b"] for n in range(150)})
    report = sync(kb, [docs])
    assert {item.source for item in report.skipped} == {f"docs/f{n:03}.txt" for n in bad}
    assert {name.partition(".")[0] for name in stored(kb)} == {f"docs/f{n:03}" for n in range(150) if n not in bad}
    kb.verify()


def test_an_embedder_that_does_not_work_ends_the_run(kb: Retriever, embedder: Failing, tmp_path: Path) -> None:
    docs = write(tmp_path / "docs", a=["1"])
    sync(kb, [docs])
    write(docs, **{f"n{number}": [f"n{number}"] for number in range(50)})
    embedder.down = True
    with pytest.raises(RuntimeError, match="does not answer"):
        sync(kb, [docs])
    embedder.down = False
    assert counts(sync(kb, [docs])) == {"added": 50, "unchanged": 1}


def test_norms_that_do_not_fit_end_the_run(tmp_path: Path) -> None:
    """They are a fault of the embedder, not of a text."""
    docs = write(tmp_path / "docs", a=["1"])
    with Retriever.open(embedder=EmbedderOptions(Failing(), canary="off"), metric="dot", norms="unit") as kb:
        sync(kb, [docs])
        write(docs, b=["long"])
        with pytest.raises(VectorError, match="normalization"):
            sync(kb, [docs])


def test_a_passage_that_is_too_long_where_that_is_an_error(embedder: Failing, tmp_path: Path) -> None:
    docs = write(tmp_path / "docs", a=["1"], b=["2"])
    embedder.count_tokens = lambda texts: [99 if "Paragraph 2" in text else 5 for text in texts]  # type: ignore[method-assign]  # another tokenizer than the splitter's
    with Retriever.open(embedder=EmbedderOptions(embedder, on_truncate="error", canary="off")) as kb:
        report = sync(kb, [docs])
        assert list(stored(kb)) == ["docs/a.txt"]
        assert report.failed == 1
        assert "longer than the 12 tokens the embedder reads" in report.skipped[0].reason


def test_a_record_of_another_partition(embedder: Failing, tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "a.jsonl").write_text('{"id": "x", "text": "One."}\n{"id": "y", "text": "Two.", "tenant": "bolt"}')
    with Retriever.open(embedder=EmbedderOptions(embedder, canary="off"), partition="tenant") as kb:
        report = sync(kb.scoped(tenant="acme"), [docs])
        assert report.failed == 1
        assert "another tenant than 'acme'" in report.skipped[0].reason
        assert list(stored(kb)) == ["x"]


@pytest.mark.parametrize("transform", [Center(), Pca(8)])
def test_vectors_that_are_kept_are_not_transformed_twice(embedder: Failing, tmp_path: Path, transform: Any) -> None:
    docs = write(tmp_path / "docs", **{f"f{n}": [f"{n} {n * n}"] for n in range(100)})
    with Retriever.open(embedder=EmbedderOptions(embedder, canary="off"), transforms=[transform]) as kb:
        sync(kb, [docs])
        before = {document.text: vector for document, vector in kb.documents(vectors=True)}
        (docs / "f7.txt").rename(docs / "g.txt")
        (docs / "f8.txt").touch()
        embedder.asked = []
        sync(kb, [docs], options=Options())
        assert embedder.asked == []
        for document, vector in kb.documents(vectors=True):
            np.testing.assert_array_equal(vector, before[document.text])
