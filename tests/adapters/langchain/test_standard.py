"""langchain-tests' own suite for vector stores: every index and place, with nothing skipped or expected to fail."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("langchain_core")
pytest.importorskip("langchain_tests")

from langchain_core.documents import Document
from langchain_tests.integration_tests import VectorStoreIntegrationTests

from langchain_theodolite import TheodoliteVectorStore

# The empty store of a folder does not exist yet.
_EMPTY = pytest.mark.filterwarnings("ignore:there is no collection at:theodolite.CollectionNotFoundWarning")


class Reopened(TheodoliteVectorStore):
    """Closes its folder after every write, and opens it again: what is read comes from the disk."""

    def __init__(self, embedding: Any, location: Path, **options: Any) -> None:
        super().__init__(embedding, location, **options)
        self._again = embedding, location, options

    def _reopen(self) -> None:
        embedding, location, options = self._again
        self.close()
        super().__init__(embedding, location, **options)

    def add_documents(self, documents: Any, **kwargs: Any) -> list[str]:
        ids = super().add_documents(documents, **kwargs)
        self._reopen()
        return ids

    async def aadd_documents(self, documents: Any, **kwargs: Any) -> list[str]:
        ids = await super().aadd_documents(documents, **kwargs)
        self._reopen()
        return ids

    def delete(self, ids: Any = None, **kwargs: Any) -> bool:
        done = super().delete(ids, **kwargs)
        self._reopen()
        return done

    async def adelete(self, ids: Any = None, **kwargs: Any) -> bool:
        done = await super().adelete(ids, **kwargs)
        self._reopen()
        return done


class Indexed(TheodoliteVectorStore):
    """Rebuilds its approximate index after every write, so that searches can use it from the first row on."""

    def add_documents(self, documents: Any, **kwargs: Any) -> list[str]:
        ids = super().add_documents(documents, **kwargs)
        self.kb.reindex("hnsw")
        return ids

    async def aadd_documents(self, documents: Any, **kwargs: Any) -> list[str]:
        ids = await super().aadd_documents(documents, **kwargs)
        self.kb.reindex("hnsw")
        return ids


class TestInMemory(VectorStoreIntegrationTests):
    @pytest.fixture
    def vectorstore(self) -> Iterator[TheodoliteVectorStore]:
        with TheodoliteVectorStore(self.get_embeddings()) as store:
            yield store


@_EMPTY
class TestOnDisk(VectorStoreIntegrationTests):
    @pytest.fixture
    def vectorstore(self, tmp_path: Path) -> Iterator[TheodoliteVectorStore]:
        with TheodoliteVectorStore(self.get_embeddings(), tmp_path / "kb") as store:
            yield store


@_EMPTY
class TestReopened(VectorStoreIntegrationTests):
    @pytest.fixture
    def vectorstore(self, tmp_path: Path) -> Iterator[TheodoliteVectorStore]:
        with Reopened(self.get_embeddings(), tmp_path / "kb") as store:
            yield store


class TestHnsw(VectorStoreIntegrationTests):
    @pytest.fixture
    def vectorstore(self) -> Iterator[TheodoliteVectorStore]:
        with Indexed(self.get_embeddings(), index="hnsw") as store:
            yield store


@_EMPTY
class TestHnswReopened(VectorStoreIntegrationTests):
    @pytest.fixture
    def vectorstore(self, tmp_path: Path) -> Iterator[TheodoliteVectorStore]:
        with Reopened(self.get_embeddings(), tmp_path / "kb", index="hnsw") as store:
            yield store


def test_that_index_is_an_approximate_one() -> None:
    with Indexed(VectorStoreIntegrationTests.get_embeddings(), index="hnsw") as store:
        store.add_documents([Document("foo"), Document("bar")])
        reported = store.kb.info()
        assert reported["index"].startswith("hnsw")
        assert reported["approximate"]["rows"] == 2, reported["approximate"]
