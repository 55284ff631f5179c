"""From a sentence-transformers model to a folder that onnxruntime can run. Needs torch; done once per model."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from theodolite.embedders import model_loading
from theodolite.embedders.model_loading import Source
from theodolite.embedders.onnx.export_folder import MODEL, TOKENIZER, Settings
from theodolite.embedders.onnx.session import INPUTS, Session, runtime
from theodolite.embedders.prompts import own
from theodolite.errors import UnsupportedError
from theodolite.plugins import optional

OPSET = 17
_ADVICE = "Use it through sentence-transformers, without 'onnx:'"

SAMPLES = [
    "How long do refunds take?",
    "A theodolite measures horizontal and vertical angles; it is checked before every use.",
    "Prices in € and £: 7 × 6 = 42 (état du 1er mai)",
    "one word after another " * 200,
]
"""Short and long, together and alone: what the exported graph must give the model's own vectors for."""

_LEAST = {"float32": 0.9999, "int8": 0.95}  # cosine to the model's own vector


def export(source: Source, folder: Path, precision: str) -> Settings:
    """Fill a folder with the model's graph and tokenizer, and hold them against the model itself.

    Raises:
        UnsupportedError: the model has parts that cannot be exported, or what was exported gives other vectors.
        MissingExtraError: onnx, onnxruntime or sentence-transformers is not installed.
        ConfigError: the model cannot be loaded.
    """
    with optional("onnx"):
        import onnx  # noqa: F401 - torch would say later, and less clearly, that it is missing
    runtime()
    model = model_loading.load(source, "cpu", "float32")
    _check_parts(model, source.name)
    limit = model_loading.stated_limit(model)
    own_tokenizer(model.tokenizer, limit).save(str(folder / TOKENIZER))
    inputs = _write_graph(model, folder / MODEL)
    expected = model.encode(SAMPLES, prompt="", convert_to_numpy=True, show_progress_bar=False)
    _compare(expected, folder, inputs, "float32", source.name)
    if precision == "int8":
        _quantise(folder)
        _compare(expected, folder, inputs, "int8", source.name)
    prompts = own(model.prompts)
    return Settings(source.name, precision, expected.shape[1], limit, inputs, prompts.query, prompts.document)


def _check_parts(model: Any, name: str) -> None:
    kinds = [type(part).__name__ if _of_the_library(part) else type(part).__qualname__ + " (its own)" for part in model]
    if kinds[:2] != ["Transformer", "Pooling"] or set(kinds[2:]) - {"Normalize"}:
        raise UnsupportedError(
            f"{name} is made of {', '.join(kinds)}; only Transformer, Pooling and Normalize, in this order, can "
            f"be exported. {_ADVICE}",
            parts=kinds,
        )
    if not getattr(model[1], "include_prompt", True):
        raise UnsupportedError(f"{name} leaves its prompt out of the pooling, which cannot be exported. {_ADVICE}")
    if getattr(model, "truncate_dim", None) is not None:
        raise UnsupportedError(f"{name} cuts its vectors to {model.truncate_dim}, which is not exported. {_ADVICE}")
    if not hasattr(model.tokenizer, "backend_tokenizer"):
        raise UnsupportedError(f"{name} has a {type(model.tokenizer).__name__}, no fast tokenizer. {_ADVICE}")


def _of_the_library(part: Any) -> bool:
    return type(part).__module__.partition(".")[0] == "sentence_transformers"


def own_tokenizer(tokenizer: Any, limit: int | None) -> Any:
    """A copy of the fast tokenizer beneath one of transformers, with limit and padding set."""
    from tokenizers import Tokenizer

    fast = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    if limit is None:
        fast.no_truncation()
    else:
        fast.enable_truncation(limit, direction=tokenizer.truncation_side)
    fast.enable_padding(
        direction=tokenizer.padding_side,
        pad_id=tokenizer.pad_token_id,
        pad_type_id=tokenizer.pad_token_type_id,
        pad_token=tokenizer.pad_token,
    )
    return fast


def _write_graph(model: Any, path: Path) -> list[str]:
    """Write the graph; returns the names of its inputs."""
    import torch

    tokenize = getattr(model, "preprocess", None) or model.tokenize  # its name before sentence-transformers 6
    tokens = tokenize(SAMPLES[:2])  # of different lengths: one is padded
    inputs = [name for name in INPUTS if name in tokens]

    class Graph(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.parts = torch.nn.ModuleList(model)

        def forward(self, *values: Any) -> Any:
            features = dict(zip(inputs, values, strict=True))
            for part in self.parts:
                features = part(features)
            return features["sentence_embedding"]

    batch, length = {0: "texts"}, {1: "tokens"}
    with quiet(), torch.inference_mode():
        torch.onnx.export(
            Graph().eval(),
            tuple(tokens[name] for name in inputs),
            str(path),
            input_names=inputs,
            output_names=["vectors"],
            dynamic_axes={**{name: {**batch, **length} for name in inputs}, "vectors": batch},
            opset_version=OPSET,
            dynamo=False,  # the newer way needs another package, and more memory than the model
        )
    return inputs


def _quantise(folder: Path) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    large = folder / "float32.onnx"
    (folder / MODEL).rename(large)
    with quiet():
        # A scale per channel: with one per matrix the cosine fell to 0.89. Seven bits: with eight, processors
        # without VNNI add up pairs of products in 16 bits, which overflow in silence.
        quantize_dynamic(
            str(large), str(folder / MODEL), weight_type=QuantType.QInt8, per_channel=True, reduce_range=True
        )
    large.unlink()


def _compare(expected: NDArray[np.float32], folder: Path, inputs: list[str], precision: str, name: str) -> None:
    session = Session(folder, inputs, threads=1)
    alone = np.concatenate([session.vectors([text]) for text in SAMPLES])
    # int8 is never computed in batches: see OnnxEmbedder.
    for got in (alone,) if precision == "int8" else (alone, session.vectors(SAMPLES)):
        lengths = np.linalg.norm(got, axis=1) * np.linalg.norm(expected, axis=1)
        cosine = float(((got * expected).sum(axis=1) / np.maximum(lengths, 1e-30)).min())
        if not cosine >= _LEAST[precision]:
            raise UnsupportedError(
                f"{name}, exported as {precision}, gives other vectors than the model: the lowest cosine is "
                f"{cosine:.5f}, it should be {_LEAST[precision]} at least. {_ADVICE}",
                cosine=cosine,
            )


@contextmanager
def quiet() -> Iterator[None]:
    """Without what the exporters tell their developers: deprecations, traced branches, hints in the root log."""
    root = logging.getLogger()

    def refuse(record: logging.LogRecord) -> bool:
        return "pre-processing before quantization" not in record.getMessage()

    root.addFilter(refuse)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        root.removeFilter(refuse)
