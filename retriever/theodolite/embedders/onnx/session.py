"""Run an exported model with tokenizers and onnxruntime."""

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from theodolite.embedders.fair_lock import MODELS
from theodolite.embedders.onnx import export_folder
from theodolite.forking import leave, register_at_fork
from theodolite.plugins import optional

_FIELDS = {"input_ids": "ids", "attention_mask": "attention_mask", "token_type_ids": "type_ids"}
INPUTS = tuple(_FIELDS)
"""Names of the inputs that a graph may have."""


def runtime() -> Any:
    """Import onnxruntime with telemetry switched off.

    From version 1.29 it reports model names, hashes of graphs and an identifier of the machine by default, unless an
    environment variable is set before the first import. A value that is already set stays.

    Raises:
        MissingExtraError: onnxruntime is not installed.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    with optional("onnx"):
        import onnxruntime
    return onnxruntime


class Graph:
    """The graph of an export. Threads may share it."""

    def __init__(self, folder: Path, threads: int | None) -> None:
        """
        Args:
            folder: of a verified export.
            threads: CPU threads for a batch; None for one per core.
        """
        self._path = str(folder / export_folder.MODEL)
        self._threads = threads
        with MODELS:
            self._running: Any = self._start()
        register_at_fork(self)

    def run(self, feed: dict[str, NDArray[np.int64]]) -> NDArray[np.float32]:
        """Return the graph's output for inputs of shape (n, tokens)."""
        with MODELS:
            if self._running is None:
                self._running = self._start()
            output: NDArray[np.float32] = self._running.run(None, feed)[0]
        return output

    def forked(self, held: bool) -> None:
        """In a forked child, drop the session; the next use makes a new one.

        The parent's threads do not exist in the child. A batch would wait for them forever, and so would closing the
        session, which is therefore kept unused.
        """
        if self._running is not None:
            leave(self._running)
            self._running = None

    def _start(self) -> Any:
        onnxruntime = runtime()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads or 0
        options.inter_op_num_threads = 1
        options.log_severity_level = 3  # errors
        return onnxruntime.InferenceSession(self._path, options, providers=["CPUExecutionProvider"])


class Session:
    """The graph and the tokenizer of an exported embedder. Threads may share it."""

    def __init__(self, folder: Path, inputs: list[str], threads: int | None) -> None:
        """
        Args:
            folder: of a verified export.
            inputs: names of the graph's inputs, out of `INPUTS`.
            threads: CPU threads for a batch; None for one per core.
        """
        with optional("onnx"):
            from tokenizers import Tokenizer
        self._inputs = inputs
        self._graph = Graph(folder, threads)
        # Two tokenizers, because settings must not change while another thread uses one.
        self._truncating = Tokenizer.from_file(str(folder / export_folder.TOKENIZER))
        self._counting = Tokenizer.from_file(str(folder / export_folder.TOKENIZER))
        self._counting.no_truncation()
        self._counting.no_padding()

    def vectors(self, texts: list[str]) -> NDArray[np.float32]:
        """Return the vectors of at least one text, (n, d), computed in one batch."""
        with MODELS:
            encoded = self._truncating.encode_batch(texts)
        feed = {name: np.array([getattr(one, _FIELDS[name]) for one in encoded], np.int64) for name in self._inputs}
        return self._graph.run(feed)

    def count(self, texts: list[str]) -> list[int]:
        """Count the tokens of each text before truncation, special tokens included."""
        with MODELS:
            return [len(one.ids) for one in self._counting.encode_batch(texts)]
