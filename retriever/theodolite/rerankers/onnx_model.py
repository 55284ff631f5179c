"""Cross-encoders on onnxruntime, exported once and verified whenever they are opened."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from theodolite.embedders.hub import Source
from theodolite.embedders.onnx import export_folder
from theodolite.embedders.onnx.export import OPSET, SAMPLES, quiet
from theodolite.embedders.onnx.model_folder import TOKENIZER
from theodolite.embedders.onnx.session import Graph, runtime
from theodolite.errors import UnsupportedError
from theodolite.plugins import optional
from theodolite.rerankers.tokenized_pairs import PairTokenizer
from theodolite.rerankers.torch_model import TorchModel, load, locate

_TOLERANCE = 1e-3  # between logits of the export and of the model itself


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of an exported cross-encoder.

    Attributes:
        name: the model's name on the hub, or the name of its folder.
        labels: number of labels, 1 or 2.
        pair_tokens: maximum number of tokens of a pair; None for no limit.
        inputs: names of the graph's inputs.
        files: the SHA-256 of each file.
    """

    name: str
    labels: int
    pair_tokens: int | None
    inputs: list[str]
    files: dict[str, str] = field(default_factory=dict)


class OnnxModel:
    """The graph and the tokenizer of an export. Threads may compute at the same time."""

    device = "cpu"

    def __init__(self, folder: Path, threads: int | None) -> None:
        """
        Raises:
            MissingExtraError: a package of the extra `onnx` is not installed.
            CorruptionError: files of the export are damaged.
            ConfigError: the folder is the export of another kind of model.
        """
        settings = export_folder.read(folder, Settings)
        self.folder = folder
        self.name, self.labels = settings.name, settings.labels
        self.limit, self.inputs = settings.pair_tokens, settings.inputs
        with optional("embed"):
            from tokenizers import Tokenizer
        self.tokenizer: Any = Tokenizer.from_file(str(folder / TOKENIZER))
        self._graph = Graph(folder / export_folder.MODEL, threads)

    def logits(self, feed: dict[str, NDArray[np.int64]]) -> NDArray[np.float32]:
        """Return the logits of at least one pair, (n, labels)."""
        return self._graph.run(feed)


def find_or_export(name_or_path: Any, revision: str | None, cache: Path) -> Path:
    """Return the folder of a model's export, exporting the model if there is none.

    Raises:
        MissingExtraError: a package that the export needs is not installed.
        ConfigError: there is no such model, or it is not a cross-encoder.
        UnsupportedError: the export returns other scores than the model.
    """
    if export_folder.is_export(Path(name_or_path)):
        return Path(name_or_path)
    source = locate(name_or_path, revision)
    folder = export_folder.folder_for(cache, source.name, "cross-encoder", Path(source.place))
    if not export_folder.is_export(folder):
        export_folder.write(folder, lambda new: _export(source, new))
    return folder


def _export(source: Source, folder: Path) -> Settings:
    with optional("onnx"):
        import onnx  # noqa: F401 - fails early and clearly if it is missing
    runtime()
    model = load(source, "cpu", None)
    model.tokenizer.save(str(folder / TOKENIZER))
    tokenizer = PairTokenizer(model.tokenizer, model.limit or 512)
    pairs = tokenizer.tokenize(SAMPLES[0], SAMPLES[1:]).pairs
    _write_graph(model, tokenizer.feed(pairs[:2], model.inputs), folder / export_folder.MODEL)
    graph = Graph(folder / export_folder.MODEL, threads=1)
    for batch in (pairs, pairs[:1]):
        feed = tokenizer.feed(batch, model.inputs)
        difference = float(np.abs(graph.run(feed) - model.logits(feed)).max())
        if not difference <= _TOLERANCE:
            raise UnsupportedError(
                f"the export of {source.name} returns other scores than the model: they differ by up to "
                f"{difference:.5f}, expected at most {_TOLERANCE}. Use backend='torch'",
                difference=difference,
            )
    return Settings(source.name, model.labels, model.limit, model.inputs)


def _write_graph(model: TorchModel, feed: dict[str, NDArray[np.int64]], path: Path) -> None:
    import torch

    class Logits(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model.model

        def forward(self, *values: Any) -> Any:
            return self.model(**dict(zip(model.inputs, values, strict=True))).logits

    shape = {0: "pairs", 1: "tokens"}
    with quiet(), torch.inference_mode():
        torch.onnx.export(
            Logits().eval(),
            tuple(torch.from_numpy(feed[name]) for name in model.inputs),
            str(path),
            input_names=model.inputs,
            output_names=["logits"],
            dynamic_axes={**dict.fromkeys(model.inputs, shape), "logits": {0: "pairs"}},
            opset_version=OPSET,
            dynamo=False,  # the newer exporter needs another package, and more memory than the model
        )
