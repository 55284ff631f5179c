"""A collection made with an int8 model can be reopened: its vectors do not depend on the other texts of a batch."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sentence_transformers.sentence_transformer.modules import Normalize
from tests.unit.models import needs_minilm, tiny_bert

from theodolite import ConfigError, Document, EmbedderDriftError, Retriever
from theodolite.embedders.onnx.embedder import OnnxEmbedder

pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
pytest.importorskip("onnx", reason="the extra onnx is not installed")

PASSAGES = [f"Passage {i}" + " on refunds" * (i % 3) for i in range(40)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model."""
    return tiny_bert(tmp_path_factory.mktemp("models") / "model", Normalize())


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def int8(model: Any, cache: Path, **settings: Any) -> OnnxEmbedder:
    return OnnxEmbedder(model, precision="int8", cache=cache, **settings)


@pytest.mark.parametrize("batch_size", [1, 7, 1024])
@pytest.mark.parametrize("count", [1, 8, 40])
def test_it_opens_again(folder: Path, cache: Path, tmp_path: Path, count: int, batch_size: int) -> None:
    with Retriever.open(tmp_path / "kb", embedder=int8(folder, cache, threads=1)) as kb:
        kb.add([Document(text, id=text) for text in PASSAGES[:count]], batch_size=batch_size)
    with Retriever.open(tmp_path / "kb", embedder=int8(folder, cache, threads=2)) as kb:
        assert len(kb) == count
        check = kb.check_embedder()
        assert min(float(drift.cosines.min()) for drift in check.drifts) > 1 - 1e-9
        assert kb.search(PASSAGES[0], k=1)[0].document.text in PASSAGES


def test_vectors_do_not_depend_on_the_batch(folder: Path, cache: Path) -> None:
    embedder = int8(folder, cache)
    texts = ["a", *PASSAGES, "x" * 300, "退款需要五天。"]
    together, alone = embedder.encode_document(texts), [embedder.encode_document([text])[0] for text in texts]
    assert np.array_equal(together, alone)
    assert np.array_equal(together[::-1], embedder.encode_document(texts[::-1]))


def test_batches_are_refused(folder: Path, cache: Path) -> None:
    assert int8(folder, cache, batch_size=1).encode_query(["a"]).shape == (1, 32)
    with pytest.raises(ConfigError, match=r"int8 computes one text at a time.* Leave out batch_size"):
        int8(folder, cache, batch_size=8)


@pytest.mark.thorough
def test_what_has_changed_is_refused(folder: Path, cache: Path, tmp_path: Path) -> None:
    with Retriever.open(tmp_path / "kb", embedder=int8(folder, cache)) as kb:
        kb.add(PASSAGES)
    for changed in (
        int8(folder, cache, query_prompt=""),
        int8(folder, cache, document_prompt=""),
        int8(tiny_bert(tmp_path / "lengths"), cache),
        int8(tiny_bert(tmp_path / "pooling", Normalize(), pooling="cls"), cache),
        OnnxEmbedder(folder, cache=cache),
    ):
        with pytest.raises(EmbedderDriftError):
            Retriever.open(tmp_path / "kb", embedder=changed)


@needs_minilm
@pytest.mark.slow
def test_all_minilm_opens_again(cache: Path, tmp_path: Path) -> None:
    for _ in range(2):
        with Retriever.open(tmp_path / "kb", embedder=int8("all-MiniLM-L6-v2", cache)) as kb:
            kb.add([Document(text, id=text) for text in PASSAGES])
            assert len(kb) == 40
