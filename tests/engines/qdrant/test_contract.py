"""The example engine over Qdrant's local mode keeps the contract of engines, for what it declares."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from qdrant_client import models

import engine_qdrant
from engine_qdrant import LACKS, QdrantEngine
from theodolite import Document, EngineError, LockedError, Retriever, UnsupportedError
from theodolite.protocols import Engine
from theodolite.settings import CollectionSettings
from theodolite.testing import EngineContract
from theodolite.types import Space
from theodolite.vectors.prepare import prepare

pytestmark = [
    pytest.mark.engine,
    pytest.mark.filterwarnings("ignore::theodolite.MetadataWarning"),  # for filters that match nothing
]


MEMORY = "/dev/shm"  # noqa: S108 - a file system in memory, where there is one


@pytest.fixture(autouse=True)
def registered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Register the scheme as an installed package does."""
    about = tmp_path / "engine_qdrant-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: engine-qdrant\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[theodolite.engines]\nqdrant = engine_qdrant:QdrantEngine\n")
    monkeypatch.syspath_prepend(tmp_path)


class TestQdrantEngine(EngineContract):
    lacks = LACKS | {"maintenance", "indexing", "duplicates"}

    @pytest.fixture(autouse=True)
    def folders(self) -> Iterator[None]:
        # Each point is flushed to the disk by itself: in memory, this takes seconds, not minutes.
        with tempfile.TemporaryDirectory(dir=MEMORY if Path(MEMORY).exists() else None) as folder:
            self.unused: Iterator[str] = (f"qdrant://{folder}/{number}" for number in count())
            yield

    def location(self) -> str:
        return next(self.unused)

    def engine(self, space: Space) -> Engine:
        return QdrantEngine.open(self.location(), CollectionSettings(space.metric, space.norms))

    def partitioned(self, space: Space, field: str) -> Engine:
        return QdrantEngine.open(self.location(), CollectionSettings(space.metric, partition=field))

    def reopened(self, engine: Engine) -> Engine:
        location = str(engine.info()["location"])
        engine.close()
        return QdrantEngine.open(location, CollectionSettings())


# The client of Qdrant leaves its lock file open if the lock is taken.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_retriever_opens_it_by_url(tmp_path: Path) -> None:
    url = f"qdrant://{tmp_path}/kb"
    with Retriever.open(url, embedder=None) as kb:
        kb.add(["north", "east"], vectors=[[0.0, 1.0], [1.0, 0.0]])
        assert kb.search(vector=[1.0, 0.1], k=1)[0].document.text == "east"
        with pytest.raises(UnsupportedError, match=r"verify\(\) is not supported: the engine QdrantEngine"):
            kb.verify()
        with pytest.raises(UnsupportedError, match="lexical search is not supported by the engine QdrantEngine"):
            kb.search("east", mode="lexical")
        with pytest.raises(LockedError):
            Retriever.open(url, embedder=None)
    with Retriever.open(url, embedder=None, create=False) as kb:
        assert kb.count() == 2


def test_an_interrupted_commit_is_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"qdrant://{tmp_path}/kb"
    engine = QdrantEngine.open(url, CollectionSettings())
    vectors, space = prepare(np.eye(3), engine.space)
    upsert = engine._client.upsert

    def full(collection: str, points: list[models.PointStruct]) -> object:
        if len(points) == 3:
            upsert(collection, points[:1])
            raise OSError("No space left on device")
        return upsert(collection, points)

    monkeypatch.setattr(engine._client, "upsert", full)
    with pytest.raises(EngineError, match="No space left"):
        engine.add([Document("", {}, name) for name in "abc"], vectors, space)
    with pytest.raises(EngineError, match="No space left"):
        engine.count()  # never a part of the batch
    engine.close()
    again = QdrantEngine.open(url, CollectionSettings())
    assert [document.id for document, _ in again.documents()] == ["a", "b", "c"]
    again.close()


def test_the_example_runs() -> None:
    command = [sys.executable, engine_qdrant.__file__]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=True)
    assert "where=None: wolf" in done.stdout
    assert "where={'kind': 'wild'}: wolf" in done.stdout
    assert "refused: lexical search is not supported" in done.stdout
