"""langchain-tests' own suite for retrievers: every index and place, with nothing skipped or expected to fail."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("langchain_core")
pytest.importorskip("langchain_tests")

from langchain_core.retrievers import BaseRetriever
from langchain_tests.integration_tests import RetrieversIntegrationTests
from tests.adapters.corpus import QUESTION, filled

from langchain_theodolite import TheodoliteRetriever
from theodolite import Retriever
from theodolite.testing import HashingEmbedder


class Standard(RetrieversIntegrationTests):
    """LangChain's own suite; `open` says over what."""

    @pytest.fixture(autouse=True)
    def _opened(self, tmp_path: Path) -> Iterator[None]:
        with self.opened(tmp_path) as self.kb:
            yield

    def opened(self, folder: Path) -> Retriever:
        return filled()

    @property
    def retriever_constructor(self) -> type[BaseRetriever]:
        return TheodoliteRetriever

    @property
    def retriever_constructor_params(self) -> dict[str, Any]:
        return {"kb": self.kb}

    @property
    def retriever_query_example(self) -> str:
        return QUESTION


class TestMemory(Standard):
    pass


class TestDisk(Standard):
    def opened(self, folder: Path) -> Retriever:
        return filled(folder)


class TestReopened(Standard):
    def opened(self, folder: Path) -> Retriever:
        filled(folder).close()
        return Retriever.open(folder, embedder=HashingEmbedder(), read_only=True)


class TestHnsw(Standard):
    def opened(self, folder: Path) -> Retriever:
        pytest.importorskip("hnswlib")
        kb = filled(folder, "hnsw")
        assert kb.info()["index"] != "flat"
        return kb


class TestView(Standard):
    def opened(self, folder: Path) -> Retriever:
        return filled().scoped({"source": {"$ne": "chat"}})
