"""The cost of a cross-encoder with the shape of ms-marco-MiniLM-L6, on torch and on onnxruntime.

Its weights are random. The tokenizer is that of the extra `minilm`, which has the same vocabulary.
"""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import clocked, in_turns, progress, quiet_gc, summary
from benchmarks.ranking_arms import SETS, passages
from theodolite.embedders.minilm import bundled
from theodolite.embedders.model_loading import no_progress_bars
from theodolite.rerankers.cross_encoder import CrossEncoderReranker

CANDIDATES = 50


def untrained(folder: Path) -> Path:
    """Return an untrained BERT with 6 layers of 384, 12 heads and one label."""
    import torch
    from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

    source = bundled()
    if source is None:
        raise SystemExit("the part `reranker` needs the extra minilm")
    torch.manual_seed(7)
    shape = {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536}
    untyped: Any = BertConfig
    model: Any = BertForSequenceClassification(untyped(**shape, num_labels=1))
    tokenizer: Any = AutoTokenizer.from_pretrained(source)
    tokenizer.model_max_length = 512
    with no_progress_bars():
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    return folder


def measure(task: dict[str, Any]) -> dict[str, Any]:
    threads, turns = task["threads"], max(3, task["queries"] // 10)
    texts, _, queries, _ = _texts(Path(task["data"]), turns)
    with tempfile.TemporaryDirectory(prefix="bench-reranker-") as name:
        folder = untrained(Path(name) / "model")
        ways = {
            "torch": CrossEncoderReranker(folder, device="cpu", cache=0, threads=threads),
            "onnx": CrossEncoderReranker(
                folder, backend="onnx", cache=0, threads=threads, exports=Path(name) / "exports"
            ),
        }
        progress("  the models are ready")
        first, second = (way.score(queries[-1], texts[:8]) for way in ways.values())
        np.testing.assert_allclose(first, second, atol=1e-3)
        taken: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
        with quiet_gc():
            for way, turn in in_turns(list(ways), turns, block=2):
                given = texts[turn * CANDIDATES : (turn + 1) * CANDIDATES]
                taken[way].append(clocked(ways[way].score, queries[turn], given))
    return {
        "candidates": CANDIDATES,
        "ways": {way: summary(times) for way, times in taken.items()},
    }


def _texts(folder: Path, turns: int) -> tuple[list[str], Any, list[str], Any]:
    if not all((folder / name / "corpus.f16.npy").exists() for name in SETS):
        raise SystemExit(f"no collections in {folder}")
    return passages(folder, turns * CANDIDATES)
