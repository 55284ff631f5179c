"""Cross-encoders on onnxruntime: exported once, verified before each use."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from theodolite.embedders.model_loading import Source
from theodolite.embedders.onnx import export_folder
from theodolite.embedders.onnx.export import OPSET, SAMPLES, quiet
from theodolite.embedders.onnx.session import Graph, runtime
from theodolite.errors import UnsupportedError
from theodolite.plugins import optional
from theodolite.rerankers.tokenized_pairs import Pairs
from theodolite.rerankers.torch_model import LoadedModel, load, locate

_MOST = 1e-3  # how far an exported logit may be from the model's own


@dataclass(frozen=True, slots=True)
class Settings:
    """What an exported cross-encoder is, beside its graph.

    Attributes:
        name: the model's name on the hub, or that of its folder.
        labels: 1 or 2.
        pair_tokens: how many tokens of a pair it reads; None without a limit.
        inputs: what the graph is fed.
        files: the SHA-256 of each file.
    """

    name: str
    labels: int
    pair_tokens: int | None
    inputs: list[str]
    files: dict[str, str] = field(default_factory=dict)


class ExportedModel:
    """The graph and the tokenizer of an export. Threads compute at the same time."""

    device = "cpu"

    def __init__(self, folder: Path, threads: int | None) -> None:
        """
        Raises:
            MissingExtraError: a package of the extra `onnx` is not installed.
            CorruptionError: files of the export are damaged.
            ConfigError: it is an export of another kind of model.
        """
        settings = export_folder.read(folder, Settings)
        self.folder = folder
        self.name, self.labels = settings.name, settings.labels
        self.limit, self.inputs = settings.pair_tokens, settings.inputs
        with optional("onnx"):
            from tokenizers import Tokenizer
        self.tokenizer: Any = Tokenizer.from_file(str(folder / export_folder.TOKENIZER))
        self._graph = Graph(folder, threads)

    def logits(self, feed: dict[str, NDArray[np.int64]]) -> NDArray[np.float32]:
        """Shape (n, labels), of at least one pair."""
        return self._graph.run(feed)


def exported(name_or_path: Any, revision: str | None, cache: Path) -> Path:
    """The folder with the export of a model, which is made if it is not there.

    Raises:
        MissingExtraError: a package that the export needs is not installed.
        ConfigError: there is no such model, or it is no cross-encoder.
        UnsupportedError: what was exported gives other scores.
    """
    if export_folder.is_export(Path(name_or_path)):
        return Path(name_or_path)
    source = locate(name_or_path, revision)
    folder = export_folder.place(cache, source.name, "cross-encoder", Path(source.place))
    if not export_folder.is_export(folder):
        export_folder.write(folder, lambda made: _export(source, made))
    return folder


def _export(source: Source, folder: Path) -> Settings:
    with optional("onnx"):
        import onnx  # noqa: F401 - torch would say later, and less clearly, that it is missing
    runtime()
    model = load(source, "cpu", None)
    model.tokenizer.save(str(folder / export_folder.TOKENIZER))
    pairs = Pairs(model.tokenizer, model.limit or 512)
    cut = pairs.cut(SAMPLES[0], SAMPLES[1:]).pairs
    _write_graph(model, pairs.feed(cut[:2], model.inputs), folder / export_folder.MODEL)
    graph = Graph(folder, threads=1)
    for batch in (cut, cut[:1]):
        feed = pairs.feed(batch, model.inputs)
        apart = float(np.abs(graph.run(feed) - model.logits(feed)).max())
        if not apart <= _MOST:
            raise UnsupportedError(
                f"{source.name}, exported, gives other scores than the model: they are up to {apart:.5f} apart. "
                "Use backend='torch'",
                apart=apart,
            )
    return Settings(source.name, model.labels, model.limit, model.inputs)


def _write_graph(model: LoadedModel, feed: dict[str, NDArray[np.int64]], path: Path) -> None:
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
            dynamo=False,  # the newer way needs another package, and more memory than the model
        )
