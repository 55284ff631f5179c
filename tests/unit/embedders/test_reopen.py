"""Each embedder opens again what it has filled, in other batches and with other threads; a changed one is refused."""

import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize
from tests.unit.models import needs_minilm, tiny_bert

from theodolite import Document, EmbedderDriftError, EmbedderOptions, Retriever
from theodolite.embedders.onnx.embedder import OnnxEmbedder
from theodolite.embedders.sentence_transformers import SentenceTransformerEmbedder
from theodolite.testing import HashingEmbedder

pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
pytest.importorskip("onnx", reason="the extra onnx is not installed")
pytest.importorskip("langchain_core", reason="the extra langchain is not installed")
pytest.importorskip("llama_index.core", reason="the extra llama-index is not installed")

from langchain_core.embeddings import Embeddings
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.bridge.pydantic import PrivateAttr

from langchain_theodolite import as_embedder as from_langchain
from llama_index_theodolite import as_embedder as from_llama_index

ROOT = Path(__file__).resolve().parents[3]
TEXTS = (
    "refunds",
    "Refunds are paid within five working days, to the card.",
    ".",
    "退款需要五天。",
    "How long do refunds take? " * 4,
    "返金はいつですか。 환불은 언제",
    "7 × 6",
    "Café, naïve, Straße",
)
LONG = "The terms say that goods can be returned within fourteen days of their delivery, unused and complete. " * 25

FIRST = {"batch_size": 8, "threads": 1}
AGAIN = ({"batch_size": 1, "threads": 2}, {"batch_size": 32, "threads": 1})


def documents(count: int) -> list[Document]:
    """Short and long, of several scripts and nearly empty; a few are longer than models read."""
    texts = [LONG if i % 50 == 9 else TEXTS[i % len(TEXTS)] for i in range(count)]
    return [Document(f"{text} {i}", id=str(i)) for i, text in enumerate(texts)]


class Chained(Embeddings):
    """A model as those of LangChain are."""

    def __init__(self, model: SentenceTransformerEmbedder) -> None:
        self._model = model

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        found: list[list[float]] = self._model.encode_document(texts).tolist()
        return found

    def embed_query(self, text: str) -> list[float]:
        found: list[float] = self._model.encode_query([text])[0].tolist()
        return found


class ChainedAwaited(Chained):
    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        return self.embed_documents(texts)

    async def aembed_query(self, text: str) -> list[float]:
        return self.embed_query(text)


class Indexed(BaseEmbedding):
    """A model as those of LlamaIndex are."""

    _model: Any = PrivateAttr()

    def __init__(self, model: SentenceTransformerEmbedder, **fields: Any) -> None:
        super().__init__(**fields)
        self._model = model

    def _get_query_embedding(self, query: str) -> list[float]:
        found: list[float] = self._model.encode_query([query])[0].tolist()
        return found

    def _get_text_embedding(self, text: str) -> list[float]:
        return self._get_text_embeddings([text])[0]

    def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        found: list[list[float]] = self._model.encode_document(texts).tolist()
        return found

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return self._get_query_embedding(query)


class Awaited:
    """An embedder with coroutines."""

    def __init__(self, model: SentenceTransformerEmbedder) -> None:
        self._model = model
        self.dimension = model.dimension

    def encode_query(self, texts: Sequence[str], /) -> Any:
        return self._model.encode_query(texts)

    def encode_document(self, texts: Sequence[str], /) -> Any:
        return self._model.encode_document(texts)

    async def aencode_query(self, texts: Sequence[str], /) -> Any:
        return self._model.encode_query(texts)

    async def aencode_document(self, texts: Sequence[str], /) -> Any:
        return self._model.encode_document(texts)


@cache
def load(folder: Path) -> SentenceTransformer:
    return SentenceTransformer(str(folder), device="cpu", local_files_only=True)


def on_torch(model: Any, *, exports: Path, **settings: Any) -> SentenceTransformerEmbedder:
    if isinstance(model, Path) and "precision" not in settings:
        return SentenceTransformerEmbedder(load(model), **settings)
    return SentenceTransformerEmbedder(model, device="cpu", **settings)


def on_onnx(model: Any, *, exports: Path, **settings: Any) -> OnnxEmbedder:
    return OnnxEmbedder(model, cache=exports, **settings)


def in_int8(model: Any, *, batch_size: int, **settings: Any) -> OnnxEmbedder:
    return on_onnx(model, precision="int8", **settings)


def functions(model: Any, **settings: Any) -> Any:
    embedder = on_torch(model, **settings)
    return embedder.encode_query, embedder.encode_document


Make = Callable[..., Any]
WAYS: dict[str, Make] = {
    "torch": on_torch,
    "torch bfloat16": lambda model, **settings: on_torch(model, precision="bfloat16", **settings),
    "torch float16": lambda model, **settings: on_torch(model, precision="float16", **settings),
    "onnx": on_onnx,
    "onnx int8": in_int8,
    "functions": functions,
    "langchain": lambda model, **settings: from_langchain(Chained(on_torch(model, **settings))),
    "langchain, awaited": lambda model, **settings: from_langchain(ChainedAwaited(on_torch(model, **settings))),
    "llama-index": lambda model, **settings: from_llama_index(
        Indexed(on_torch(model, **settings), embed_batch_size=settings["batch_size"])
    ),
    "awaited": lambda model, **settings: Awaited(on_torch(model, **settings)),
    "hashing": lambda model, **settings: HashingEmbedder(64),
}


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("exports")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bert(tmp_path_factory.mktemp("models") / "model", Normalize())


def fill(folder: Path, embedder: Any, count: int, batch_size: int) -> None:
    with Retriever.open(folder, embedder=EmbedderOptions(embedder, on_truncate="ignore")) as kb:
        kb.add(documents(count), batch_size=batch_size)


def reopen(folder: Path, embedder: Any) -> float:
    """The lowest cosine of all that is compared."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with Retriever.open(folder, embedder=EmbedderOptions(embedder, on_truncate="ignore")) as kb:
            assert len(kb.search("refunds", k=1)) == 1
            check = kb.check_embedder()
    assert check.ok
    return min(float(drift.cosines.min()) for drift in check.drifts)


_LOADED = {"torch bfloat16", "torch float16", "onnx", "onnx int8"}  # loaded again for each test
MARKED = [pytest.param(way, marks=pytest.mark.slow) if way in _LOADED else way for way in WAYS]


@pytest.mark.parametrize(("count", "batch_size"), [(1, 1024), (8, 3), (40, 1024)])
@pytest.mark.parametrize("way", MARKED)
@pytest.mark.thorough
def test_it_opens_again(tmp_path: Path, exports: Path, model: Path, way: str, count: int, batch_size: int) -> None:
    make = WAYS[way]
    fill(tmp_path / "kb", make(model, exports=exports, **FIRST), count, batch_size)
    lowest = [reopen(tmp_path / "kb", make(model, exports=exports, **settings)) for settings in AGAIN]
    assert min(lowest) > (0.9995 if "float16" in way else 1 - 1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_thousands_open_again(tmp_path: Path, exports: Path, model: Path, way: str) -> None:
    test_it_opens_again(tmp_path, exports, model, way, 2000, 256)


@pytest.fixture(scope="module")
def changes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Models other than the one a collection was filled with."""
    folder = tmp_path_factory.mktemp("changes")

    def changed(name: str, change: Callable[[Any], object]) -> Path:
        found = load(tiny_bert(folder / name / "before", Normalize()))
        torch.manual_seed(1)
        with torch.no_grad():
            change(found)
        found.save_pretrained(str(folder / name / "after"), create_model_card=False)
        return folder / name / "after"

    def shake(found: Any) -> None:
        for weights in found.parameters():
            weights.add_(0.3 * torch.randn_like(weights))

    return {
        "other weights": changed("weights", shake),
        "reads less": changed("reads less", lambda found: setattr(found, "max_seq_length", 24)),
        "no prompts": tiny_bert(folder / "prompts" / "model", Normalize(), prompts={}),
        "not normalized": tiny_bert(folder / "lengths" / "model"),
        "another pooling": tiny_bert(folder / "pooling" / "model", Normalize(), pooling="cls"),
    }


@pytest.mark.parametrize("way", [way for way in MARKED if way != "hashing"])
def test_what_has_changed_is_refused(
    tmp_path: Path, exports: Path, model: Path, changes: dict[str, Path], way: str
) -> None:
    make = WAYS[way]
    fill(tmp_path / "kb", make(model, exports=exports, **FIRST), 8, 1024)
    for folder in changes.values():
        with pytest.raises(EmbedderDriftError):
            Retriever.open(
                tmp_path / "kb", embedder=EmbedderOptions(make(folder, exports=exports, **FIRST), on_truncate="ignore")
            )
    reopen(tmp_path / "kb", make(model, exports=exports, **FIRST))


@needs_minilm
@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("way", ["torch", "torch bfloat16", "torch float16", "onnx", "onnx int8"])
def test_all_minilm_opens_again(tmp_path: Path, exports: Path, way: str) -> None:
    make, name = WAYS[way], "all-MiniLM-L6-v2"
    lowest = []
    for count in (1, 8, 40, 2000):
        folder = tmp_path / f"kb{count}"
        fill(folder, make(name, exports=exports, **FIRST), count, 1024)
        lowest += [reopen(folder, make(name, exports=exports, **settings)) for settings in AGAIN]
    # In a process with another number of threads for everything.
    code = (
        "from pathlib import Path\n"
        "from tests.unit.embedders.test_reopen import WAYS, reopen\n"
        f"embedder = WAYS[{way!r}]({name!r}, exports=Path({str(exports)!r}), batch_size=5, threads=None)\n"
        f"print(reopen(Path({str(folder)!r}), embedder))\n"
    )
    paths = os.pathsep.join([str(ROOT), *filter(None, sys.path)])
    environment = {**os.environ, "OMP_NUM_THREADS": "3", "PYTHONPATH": paths}
    done = subprocess.run([sys.executable, "-c", code], env=environment, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lowest.append(float(done.stdout.split()[-1]))
    assert min(lowest) > (0.9995 if "float16" in way else 1 - 1e-6)
    print(f"{way}: lowest cosine 1 - {1 - np.min(lowest):.1e}")
