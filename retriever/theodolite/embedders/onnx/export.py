"""Export a sentence-transformers model to ONNX. Needs torch, once per model."""

import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from theodolite.embedders import model_loading
from theodolite.embedders.hub import Source
from theodolite.embedders.onnx import model_folder
from theodolite.embedders.onnx.export_folder import MODEL, Settings
from theodolite.embedders.onnx.model_folder import MODULES, TOKENIZER
from theodolite.embedders.onnx.session import INPUTS, Session, runtime
from theodolite.errors import UnsupportedError, type_of
from theodolite.plugins import optional

OPSET = 17
_ADVICE = "Use it through sentence-transformers: embedder='sentence-transformers:NAME'"

SAMPLES = [
    "How long do refunds take?",
    "A theodolite measures horizontal and vertical angles; it is checked before every use.",
    "Prices in € and £: 7 × 6 = 42 (état du 1er mai)",
    "one word after another " * 200,
]
"""Texts, short and long, for which the exported graph must return the vectors of the model itself."""

_MIN_COSINE = {"float32": 0.9999, "int8": 0.95}  # to the model's own vector


def export(source: Source, folder: Path, precision: str) -> Settings:
    """Write the model's graph, tokenizer and settings to a folder, and compare their vectors with those of the model.

    Raises:
        UnsupportedError: the model has parts that cannot be exported, or the export returns different vectors.
        MissingExtraError: onnx, onnxruntime or sentence-transformers is not installed.
        ConfigError: the model cannot be loaded.
    """
    with optional("onnx"):
        import onnx  # noqa: F401 - fails early and clearly if it is missing
    runtime()
    model = model_loading.load(source, "cpu", "float32")
    _check_parts(model, source.name)
    _write_settings(model, folder)
    _write_graph(model, folder / MODEL)
    expected = model.encode(SAMPLES, prompt="", convert_to_numpy=True, show_progress_bar=False)
    _compare(expected, folder, "float32", source.name)
    if precision == "int8":
        _quantize(folder)
        _compare(expected, folder, "int8", source.name)
    return Settings(source.name, precision)


def _write_settings(model: Any, folder: Path) -> None:
    """Write the tokenizer and the settings in the layout that `model_folder` reads."""
    limit, tokenizer = model_loading.stated_limit(model), model.tokenizer
    model_loading.fast_tokenizer(tokenizer, limit).save(str(folder / TOKENIZER))
    sides = {name: getattr(tokenizer, name) for name in ("pad_token", "padding_side", "truncation_side")}
    kinds = [type(part).__name__ for part in model]
    places = ["", "1_Pooling", *(f"{number}_Normalize" for number in range(2, len(kinds)))]
    types = [f"sentence_transformers.models.{kind}" for kind in kinds]
    files = {
        MODULES: [{"path": place, "type": kind} for place, kind in zip(places, types, strict=True)],
        "1_Pooling/config.json": model[1].get_config_dict(),
        "config_sentence_transformers.json": {"prompts": model.prompts},
        "sentence_bert_config.json": {"max_seq_length": limit},
        "tokenizer_config.json": sides,
    }
    (folder / "1_Pooling").mkdir()
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content, indent=1), encoding="utf-8")


def _check_parts(model: Any, name: str) -> None:
    kinds = [type(part).__name__ if _is_standard(part) else f"{type(part).__qualname__} (custom)" for part in model]
    if kinds[:2] != ["Transformer", "Pooling"] or set(kinds[2:]) - {"Normalize"}:
        raise UnsupportedError(
            f"{name} is made of {', '.join(kinds)}; only models of Transformer, Pooling and Normalize, in this order, "
            f"can be exported. {_ADVICE}",
            parts=kinds,
        )
    if not getattr(model[1], "include_prompt", True):
        raise UnsupportedError(f"{name} leaves its prompt out of the pooling, which cannot be exported. {_ADVICE}")
    if getattr(model, "truncate_dim", None) is not None:
        raise UnsupportedError(
            f"{name} truncates its vectors to {model.truncate_dim} dimensions, which cannot be exported. {_ADVICE}"
        )
    if not hasattr(model.tokenizer, "backend_tokenizer"):
        raise UnsupportedError(f"{name} has {type_of(model.tokenizer)}, which is not a fast tokenizer. {_ADVICE}")


def _is_standard(part: Any) -> bool:
    return type(part).__module__.partition(".")[0] == "sentence_transformers"


def _write_graph(model: Any, path: Path) -> None:
    """Write the graph of the transformer, which returns a vector for each token."""
    import torch

    tokenize = getattr(model, "preprocess", None) or model.tokenize  # the name before sentence-transformers 6
    tokens = tokenize(SAMPLES[:2])  # of different lengths, so one is padded
    inputs = [name for name in INPUTS if name in tokens]

    class Graph(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.transformer = model[0]

        def forward(self, *values: Any) -> Any:
            return self.transformer(dict(zip(inputs, values, strict=True)))["token_embeddings"]

    transformer: Any = getattr(model[0], "auto_model", None)
    if hasattr(transformer, "set_attn_implementation"):
        # The other kinds add steps to the graph for rows without a token, a tenth of the time for long texts.
        transformer.set_attn_implementation("eager")
    shape = {0: "texts", 1: "tokens"}
    with quiet(), torch.inference_mode():
        torch.onnx.export(
            Graph().eval(),
            tuple(tokens[name] for name in inputs),
            str(path),
            input_names=inputs,
            output_names=["last_hidden_state"],
            dynamic_axes=dict.fromkeys([*inputs, "last_hidden_state"], shape),
            opset_version=OPSET,
            dynamo=False,  # the newer exporter needs another package, and more memory than the model
        )


def _quantize(folder: Path) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    large = folder / "float32.onnx"
    (folder / MODEL).rename(large)
    with quiet():
        # A scale per channel, because one per matrix lowers the cosine to 0.89. Seven bits (reduce_range), because
        # processors without VNNI add pairs of 8-bit products in 16 bits, which can overflow silently.
        quantize_dynamic(
            str(large), str(folder / MODEL), weight_type=QuantType.QInt8, per_channel=True, reduce_range=True
        )
    large.unlink()


def _compare(expected: NDArray[np.float32], folder: Path, precision: str, name: str) -> None:
    session = Session(model_folder.read(folder), threads=1)
    alone = np.concatenate([session.vectors([text]) for text in SAMPLES])
    # int8 is never computed in batches (see OnnxEmbedder).
    for vectors in (alone,) if precision == "int8" else (alone, session.vectors(SAMPLES)):
        lengths = np.linalg.norm(vectors, axis=1) * np.linalg.norm(expected, axis=1)
        cosine = float(((vectors * expected).sum(axis=1) / np.maximum(lengths, 1e-30)).min())
        if not cosine >= _MIN_COSINE[precision]:
            raise UnsupportedError(
                f"the export of {name} in {precision} returns other vectors than the model: the lowest cosine is "
                f"{cosine:.5f}, expected at least {_MIN_COSINE[precision]}. {_ADVICE}",
                cosine=cosine,
            )


@contextmanager
def quiet() -> Iterator[None]:
    """Hide the exporters' notes to developers: deprecations, traced branches, hints in the root log."""
    root = logging.getLogger()

    def is_wanted(record: logging.LogRecord) -> bool:
        return "pre-processing before quantization" not in record.getMessage()

    root.addFilter(is_wanted)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        root.removeFilter(is_wanted)
