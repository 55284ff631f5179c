"""An exported model at work: tokenizers and onnxruntime, and nothing else."""

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
"""What a graph may be fed."""


def runtime() -> Any:
    """The package onnxruntime, told to send nothing.

    From 1.29 it reports to its maker by default: names of models, hashes of their graphs, an identifier of the
    machine. That is switched off before it is first imported, or not at all. A value that is set already stays.

    Raises:
        MissingExtraError: it is not installed.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    with optional("onnx"):
        import onnxruntime
    return onnxruntime


class Graph:
    """The graph of an export. Any number of threads may use it at once."""

    def __init__(self, folder: Path, threads: int | None) -> None:
        """
        Args:
            folder: of an export, verified.
            threads: for one batch; None for one per core.
        """
        self._path = str(folder / export_folder.MODEL)
        self._threads = threads
        with MODELS:
            self._running: Any = self._start()
        register_at_fork(self)

    def run(self, feed: dict[str, NDArray[np.int64]]) -> NDArray[np.float32]:
        """What the graph makes of its inputs, each of shape (n, tokens)."""
        with MODELS:
            if self._running is None:
                self._running = self._start()
            found: NDArray[np.float32] = self._running.run(None, feed)[0]
        return found

    def forked(self, held: bool) -> None:
        """In a forked child: make a new session at the next use.

        The threads of the parent are not here: a batch would wait for them for ever, and so would the end of the
        session they belong to. It is kept, unused.
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
    """The graph and the tokenizer of an exported embedder. Any number of threads may use it at once."""

    def __init__(self, folder: Path, inputs: list[str], threads: int | None) -> None:
        """
        Args:
            folder: of an export, verified.
            inputs: what the graph is fed, of `INPUTS`.
            threads: for one batch; None for one per core.
        """
        with optional("onnx"):
            from tokenizers import Tokenizer
        self._inputs = inputs
        self._graph = Graph(folder, threads)
        # Two of them: settings of a tokenizer must not change while another thread uses it.
        self._reading = Tokenizer.from_file(str(folder / export_folder.TOKENIZER))
        self._counting = Tokenizer.from_file(str(folder / export_folder.TOKENIZER))
        self._counting.no_truncation()
        self._counting.no_padding()

    def vectors(self, texts: list[str]) -> NDArray[np.float32]:
        """Shape (n, d), of at least one text, in one batch."""
        with MODELS:
            encoded = self._reading.encode_batch(texts)
        feed = {name: np.array([getattr(one, _FIELDS[name]) for one in encoded], np.int64) for name in self._inputs}
        return self._graph.run(feed)

    def count(self, texts: list[str]) -> list[int]:
        """Tokens of each text, special ones included, before truncation."""
        with MODELS:
            return [len(one.ids) for one in self._counting.encode_batch(texts)]
