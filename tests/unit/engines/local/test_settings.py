"""Pinned settings, documents that cannot be stored, read-only collections and temporary ones."""

import gc
import logging
import tempfile
import threading
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from theodolite import ConfigError, Document, DocumentError, EngineError, InputError, Retriever, VectorError
from theodolite.engines.local import LocalEngine
from theodolite.indexes.flat.codes import BLOCK
from theodolite.settings import CollectionSettings
from theodolite.testing import HashingEmbedder

EYE = np.eye(4, dtype=np.float32)


def test_norms_asked_for_after_the_creation(tmp_path: Path) -> None:
    """No batch has settled them yet, so they apply as if they were passed at the creation."""
    Retriever.open(tmp_path / "kb", metric="dot", create=True).close()
    with Retriever.open(tmp_path / "kb", norms="unit") as kb:
        with pytest.raises(VectorError, match="1 of 2 vectors have norms outside"):
            kb.add(["a", "b"], vectors=[[1, 0], [3, 4]])
        assert kb.count() == 0
        kb.add(["a"], vectors=[[1.0, 0.0]])
    with pytest.raises(ConfigError, match="norms='unit'"):
        Retriever.open(tmp_path / "kb", norms="any")


def test_norms_another_writer_has_settled_otherwise(tmp_path: Path) -> None:
    with Retriever.open(tmp_path / "kb", metric="dot", norms="unit") as kb:
        pass
    Retriever.open(tmp_path / "other", metric="dot", create=True).close()
    with Retriever.open(tmp_path / "other", norms="unit") as kb, Retriever.open(tmp_path / "other") as other:
        other.add(["a"], vectors=[[3.0, 4.0]])
        for _ in range(2):
            with pytest.raises(ConfigError, match="pinned to norms='any', not 'unit'"):
                kb.add(["b"], vectors=[[1.0, 0.0]])
        assert other.count() == 1


def test_two_writers_settle_at_once(tmp_path: Path) -> None:
    """The second writer's batch was prepared for a space that is no longer valid."""
    with Retriever.open(tmp_path / "kb") as one, Retriever.open(tmp_path / "kb") as two:
        space = LocalEngine.open(tmp_path / "kb")
        assert space.space.dimension is None
        space.close()
        one.add(["a"], vectors=EYE[:1])
        with pytest.raises(VectorError, match="dimension"):
            two.add(["b"], vectors=[[1.0, 0.0]])
        two.add(["c"], vectors=EYE[1:2])
        assert one.count() == two.count() == 2


@pytest.mark.parametrize(
    "item",
    [
        {"id": "a", "text": None},
        {"id": "a", "text": 3},
        {"id": 7, "text": "t"},
        {"id": ["a"], "text": "t"},
        Document("t", {"x": {1, 2}}, "a"),
        Document("\ud800", {}, "a"),
        Document("t", {}, "\ud800"),
    ],
)
@pytest.mark.parametrize("embedded", [False, True])
def test_documents_that_cannot_be_stored(item: Any, embedded: bool) -> None:
    with Retriever.open(embedder=HashingEmbedder(4)) as kb:
        kb.add([Document("fine", id="fine")])
        with pytest.raises(InputError):  # the embedder may be the first to notice
            kb.add([Document("good", id="good"), item], vectors=None if embedded else EYE[:2])
        assert [document.id for document in kb.documents()] == ["fine"]


@pytest.mark.parametrize("replace", [False, True])
def test_updates_that_are_no_mappings(replace: bool) -> None:
    with Retriever.open() as kb:
        kb.add([Document("t", {"x": 1}, "a")], vectors=EYE[:1])
        wrong: Any = [("x", 2)]
        with pytest.raises(DocumentError, match="list, not a mapping"):
            kb.update("a", wrong, replace=replace)
        assert kb.get(["a"])[0].metadata == {"x": 1}


def test_every_write_is_refused_read_only(tmp_path: Path) -> None:
    with Retriever.open(tmp_path / "kb") as kb:
        kb.add([Document("t", id="a")], vectors=EYE[:1])
    with Retriever.open(tmp_path / "kb", read_only=True) as kb:
        for write in (
            lambda: kb.add(["b"], vectors=EYE[:1]),
            lambda: kb.update("a", {"x": 1}),
            lambda: kb.delete("a"),
            lambda: kb.delete("missing"),
            kb.clear,
        ):
            with pytest.raises(EngineError, match="read_only=True"):
                write()
        kb.verify()
        assert len(kb) == 1


def test_a_folder_in_use_opens_without_its_lock(tmp_path: Path) -> None:
    """Servers start several processes at once, also while one writes."""
    with Retriever.open(tmp_path / "kb") as kb:
        kb.add(["a"], vectors=EYE[:1])
        assert isinstance(kb._engine, LocalEngine)
        with kb._engine._store.write():
            for read_only in (False, True):
                with Retriever.open(tmp_path / "kb", read_only=read_only, lock_timeout=0) as other:
                    assert len(other.search(vector=EYE[0])) == 1


@pytest.mark.thorough
def test_temporary_folders_go(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Closed, garbage-collected, or not even opened: without a warning."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        kb = Retriever.open()
        kb.add(["a"], vectors=EYE[:1])
        assert len(list(tmp_path.iterdir())) == 1
        del kb
        gc.collect()
        assert not list(tmp_path.iterdir())
        with pytest.raises(ConfigError, match="hsnw"):
            LocalEngine.open(None, CollectionSettings(index="hsnw"))
        gc.collect()
        assert not list(tmp_path.iterdir())
        with pytest.raises(ConfigError):
            Retriever.open(embedder=3)  # type: ignore[arg-type]  # that is what is tested
        assert not list(tmp_path.iterdir())


def test_filters_over_blocks_without_an_eligible_row() -> None:
    """With a large k, after the same question has been asked without the filter."""
    rng = np.random.default_rng(1)
    count = BLOCK + 600
    documents = [Document("t", {"team": "red" if number < BLOCK else "blue"}, f"d{number}") for number in range(count)]
    with Retriever.open() as kb:
        kb.add(documents, vectors=rng.standard_normal((count, 8)), batch_size=None)
        question = rng.standard_normal(8)
        kb.search(vector=question, k=1)
        for k in (1, 100, 300, 700):
            hits = kb.search(vector=question, k=k, where={"team": "blue"})
            assert len(hits) == min(k, 600)
            assert {hit.document.metadata["team"] for hit in hits} == {"blue"}


def test_searches_over_blocks_without_live_rows() -> None:
    rng = np.random.default_rng(2)
    with Retriever.open() as kb:
        for size in (3000, 900):
            kb.add([Document("t", id=f"{size}-{n}") for n in range(size)], vectors=rng.standard_normal((size, 8)))
            kb.search(vector=rng.standard_normal(8), k=5)  # each batch becomes a block of its own
        question = rng.standard_normal(8)
        kb.search(vector=question, k=1)
        kb.delete([f"3000-{n}" for n in range(3000)])
        for k in (1, 200, 1000):
            hits = kb.search(vector=question, k=k)
            assert len(hits) == min(k, 900)
            assert all(hit.document.id.startswith("900-") for hit in hits)


@pytest.mark.thorough
def test_threads_that_complete_a_block_together(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """One writes the cache while adding, others while searching: there is no warning, and the cache is intact."""
    rng = np.random.default_rng(3)
    vectors = rng.standard_normal((BLOCK + 100, 4)).astype(np.float32)
    with caplog.at_level(logging.WARNING), Retriever.open(tmp_path / "kb") as kb:
        kb.add([f"t{number}" for number in range(BLOCK - 100)], vectors=vectors[: BLOCK - 100], batch_size=None)
        errors: list[BaseException] = []
        done = threading.Event()

        def search(number: int) -> None:
            try:
                while not done.is_set():
                    assert kb.search(vector=vectors[number], k=1)[0].document.text == f"t{number}"
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=search, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for number in range(BLOCK - 100, BLOCK + 100, 50):
            kb.add([f"t{number + i}" for i in range(50)], vectors=vectors[number : number + 50])
        done.set()
        for thread in threads:
            thread.join(60)
        assert not errors
    with Retriever.open(tmp_path / "kb") as kb:
        assert kb.search(vector=vectors[BLOCK + 9], k=1)[0].document.text == f"t{BLOCK + 9}"
        kb.verify()
    assert not caplog.records
    assert not list((tmp_path / "kb").rglob("*.tmp"))
