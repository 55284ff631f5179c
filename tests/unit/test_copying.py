"""Copies of a collection: everything is copied, an interrupted copy resumes, and other documents are not touched."""

import subprocess
import sys
import warnings
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from theodolite import (
    Center,
    CollectionNotFoundError,
    ConfigError,
    Document,
    EmbedderDriftError,
    EngineError,
    Latest,
    Retriever,
    UnfinishedCopyWarning,
    UnsupportedError,
)
from theodolite.testing import DictEngine, HashingEmbedder

COUNT = 5_000


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    return np.random.default_rng(3).standard_normal((COUNT, 16)).astype(np.float32)


def documents(count: int, first: int = 0) -> list[Document]:
    return [
        Document(f"passage {i}", {"page": i, "on": date(2025, 1, 1 + i % 28), "tags": ["a", None]}, f"d{i:05}")
        for i in range(first, first + count)
    ]


@pytest.fixture
def source(tmp_path: Path, vectors: np.ndarray) -> Iterator[Retriever]:
    with Retriever.open(tmp_path / "kb", embedder=None, metric="dot", versions=Latest("page", by="on")) as kb:
        kb.add(documents(COUNT), vectors=vectors)
        kb.delete(["d00017"])
        kb.update(["d00018"], {"page": -1})
        yield kb


@pytest.fixture
def elsewhere() -> Iterator[str]:
    yield "dict://copy"
    DictEngine.forget("copy")


def contents(kb: Retriever) -> list[tuple[Document, bytes]]:
    return [(document, vector.tobytes()) for document, vector in kb.documents(vectors=True)]


def test_everything_arrives_in_both_directions(tmp_path: Path, elsewhere: str, vectors: np.ndarray) -> None:
    rules = Latest("page", by="on")
    with Retriever.open(tmp_path / "kb", embedder=None, metric="dot", versions=rules) as source:
        source.add(documents(300), vectors=vectors[:300])
        source.update(["d00018"], {"page": -1})
        counted: list[int] = []
        done = source.copy_to(elsewhere, progress=counted.append)
        assert (done.documents, done.written, done.searches, sum(counted)) == (300, 300, 150, 600)
        with Retriever.open(elsewhere, embedder=None, create=False) as copy:
            assert contents(copy) == contents(source)
            copy.copy_to(tmp_path / "back")
        with Retriever.open(tmp_path / "back", embedder=None, create=False) as back:
            assert contents(back) == contents(source)
            for name in ("metric", "dimension", "norms", "partition", "embedder"):
                assert back.info()[name] == source.info()[name]
            with pytest.raises(ConfigError, match="rules for versions"):
                Retriever.open(tmp_path / "back", embedder=None, versions=Latest("page", by="other"))
            assert not back.verify().problems


def test_ids_of_several_partitions(tmp_path: Path, elsewhere: str, vectors: np.ndarray) -> None:
    with Retriever.open(tmp_path / "kb", embedder=None, partition="tenant") as kb:
        for tenant in ("b", "a", 7, "7"):
            kb.scoped(tenant=tenant).add([Document(f"of {tenant}", id=name) for name in "xyz"], vectors=vectors[:3])
        kb.copy_to(elsewhere)
        with Retriever.open(elsewhere, embedder=None) as copy:
            for tenant in ("b", "a", 7, "7"):
                assert contents(copy.scoped(tenant=tenant)) == contents(kb.scoped(tenant=tenant))


def test_transforms_and_the_canary_arrive(tmp_path: Path) -> None:
    texts = [f"passage number {i} about {word}" for i, word in enumerate(["rain", "bread", "law"] * 20)]
    embedder = HashingEmbedder(32)
    with Retriever.open(tmp_path / "kb", embedder=embedder, transforms=[Center()]) as kb:
        kb.add(texts)
        kb.copy_to(tmp_path / "copy")
        with Retriever.open(tmp_path / "copy", embedder=embedder) as copy:
            assert [hit.score for hit in copy.search("bread")] == [hit.score for hit in kb.search("bread")]
            assert copy.info()["embedder"] == kb.info()["embedder"] == "HashingEmbedder"
    with pytest.raises(EmbedderDriftError):
        Retriever.open(tmp_path / "copy", embedder=HashingEmbedder(32, query_prefix="query ")).close()


def test_an_interrupted_copy_resumes(source: Retriever, tmp_path: Path) -> None:
    def stop(_: int) -> None:
        raise KeyboardInterrupt

    target = tmp_path / "copy"
    with pytest.raises(KeyboardInterrupt):
        source.copy_to(target, progress=stop)
    with pytest.warns(UnfinishedCopyWarning, match=r"unfinished copy of .*kb: 2,000 documents have arrived"):
        Retriever.open(target, embedder=None).close()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnfinishedCopyWarning)
        with Retriever.open(target, embedder=None) as copy:  # meanwhile, somebody changes what has arrived
            copy.delete(["d00001"])
            copy.add([Document("stray", id="stray")], vectors=np.ones((1, 16), np.float32))
    source.delete(["d00002"])
    done = source.copy_to(target)
    assert done.documents == COUNT - 2
    assert done.written == 3000 + 2  # 1,998 of the first 2,000 are there already; two are deleted
    with Retriever.open(target, embedder=None) as copy:  # without a warning
        assert contents(copy) == contents(source)


KILLED = """
import os, sys
from theodolite import Retriever

left = int(sys.argv[3])
def count(number):
    global left
    left -= number
    if left < 0:
        os._exit(9)

with Retriever.open(sys.argv[1], embedder=None) as kb:
    kb.copy_to(sys.argv[2], progress=count)
"""


@pytest.mark.parametrize("after", [1, 4_000, COUNT + 1_000])
def test_a_killed_copy_resumes(source: Retriever, tmp_path: Path, after: int) -> None:
    target = tmp_path / "copy"
    command = [sys.executable, "-c", KILLED, str(tmp_path / "kb"), str(target), str(after)]
    assert subprocess.run(command, check=False).returncode == 9
    source.copy_to(target)
    with Retriever.open(target, embedder=None) as copy:
        assert contents(copy) == contents(source)


def test_what_is_written_meanwhile_is_copied(source: Retriever, tmp_path: Path, vectors: np.ndarray) -> None:
    left = [3]

    def write(_: int) -> None:
        if left[0]:
            left[0] -= 1
            source.add(documents(10, 10_000 + left[0]), vectors=vectors[:10])
            source.delete([f"d{left[0]:05}"])

    source.copy_to(tmp_path / "copy", progress=write)
    with Retriever.open(tmp_path / "copy", embedder=None) as copy:
        assert contents(copy) == contents(source)


def test_a_source_that_never_rests(tmp_path: Path, vectors: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    from theodolite import copying

    with Retriever.open(tmp_path / "kb", embedder=None) as kb:
        kb.add(documents(10), vectors=vectors[:10])
        rows, turn = copying._rows, iter(range(100))

        def changing(engine: object) -> Iterator[copying.Row]:
            if engine is kb._engine:
                kb.update(["d00000"], {"turn": next(turn)})
            return rows(engine)  # type: ignore[arg-type]  # an engine

        monkeypatch.setattr(copying, "_rows", changing)
        with pytest.raises(EngineError, match="after 5 passes"):
            kb.copy_to(tmp_path / "copy")
        with pytest.warns(UnfinishedCopyWarning):
            Retriever.open(tmp_path / "copy", embedder=None).close()


def test_other_documents_are_never_touched(source: Retriever, tmp_path: Path, vectors: np.ndarray) -> None:
    with Retriever.open(tmp_path / "other", embedder=None, metric="dot") as other:
        other.add(documents(3), vectors=vectors[:3])
        with pytest.raises(ConfigError, match="already holds 3 documents"):
            source.copy_to(tmp_path / "other")
        with pytest.raises(ConfigError, match=f"already holds {COUNT - 1:,} documents"):
            source.copy_to(tmp_path / "kb")
        with pytest.raises(KeyboardInterrupt):
            other.copy_to(tmp_path / "copy", progress=lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(ConfigError, match=r"unfinished copy of .*other, not of .*kb"):
            source.copy_to(tmp_path / "copy")
        assert len(other) == 3


def test_an_empty_collection(tmp_path: Path) -> None:
    with Retriever.open(tmp_path / "kb", embedder=None, metric="l2", create=True) as kb:
        done = kb.copy_to(tmp_path / "copy")
    assert (done.documents, done.written, done.searches) == (0, 0, 0)
    with Retriever.open(tmp_path / "copy", embedder=None, create=False) as copy:
        assert copy.metric == "l2"


def test_what_cannot_be_copied(source: Retriever, tmp_path: Path) -> None:
    with Retriever.open(tmp_path / "nothing", embedder=None) as kb, pytest.raises(CollectionNotFoundError):
        kb.copy_to(tmp_path / "copy")
    with pytest.raises(UnsupportedError, match="copy_to"):
        source.scoped({"page": 1}).copy_to(tmp_path / "copy")
    with pytest.raises(TypeError, match="lock_timeout"):
        source.copy_to(tmp_path / "copy", lock_time=1)
    assert not (tmp_path / "copy").exists()
