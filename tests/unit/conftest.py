"""Models that several files of tests share: made, or loaded, once."""

from pathlib import Path

import pytest
from sentence_transformers import SentenceTransformer
from tests.unit.crossing import tiny_cross_encoder
from tests.unit.models import tiny_bert

from theodolite.embedders.sentence_transformers import SentenceTransformerEmbedder


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bert(tmp_path_factory.mktemp("models") / "tiny-bert")


@pytest.fixture(scope="session")
def tiny_model(tiny_folder: Path) -> SentenceTransformer:
    return SentenceTransformer(str(tiny_folder), device="cpu", local_files_only=True)


@pytest.fixture(scope="session")
def tiny(tiny_folder: Path) -> SentenceTransformerEmbedder:
    return SentenceTransformerEmbedder(tiny_folder, device="cpu", batch_size=3)


@pytest.fixture(scope="session")
def mini() -> SentenceTransformerEmbedder:
    # Small batches are padded less, and one thread is the quickest beside other work.
    return SentenceTransformerEmbedder("all-MiniLM-L6-v2", device="cpu", batch_size=2, threads=1)


@pytest.fixture(scope="session")
def cross_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_cross_encoder(tmp_path_factory.mktemp("models") / "tiny-cross-encoder")
