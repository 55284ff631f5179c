"""Run a model with tokenizers and onnxruntime."""

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from theodolite.embedders.fair_lock import MODELS
from theodolite.embedders.onnx.model_folder import TOKENIZER, ModelFolder
from theodolite.errors import ConfigError, UnsupportedError
from theodolite.forking import leave, register_at_fork
from theodolite.plugins import optional

_FIELDS = {"input_ids": "ids", "attention_mask": "attention_mask", "token_type_ids": "type_ids"}
INPUTS = tuple(_FIELDS)
"""Names of the inputs that a graph may have."""

_COUNTED = 1024  # texts whose tokens are in memory at the same time


def runtime() -> Any:
    """Import onnxruntime with telemetry switched off.

    From version 1.29 it reports model names, hashes of graphs and an identifier of the machine by default, unless an
    environment variable is set before the first import. A value that is already set stays.

    Raises:
        MissingExtraError: onnxruntime is not installed.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    with optional("embed"):
        import onnxruntime
    return onnxruntime


class Graph:
    """A graph in a file. Threads may share it."""

    def __init__(self, path: Path, threads: int | None, outputs: tuple[str, ...] = ()) -> None:
        """
        Args:
            path: a verified file.
            threads: CPU threads for a batch; None for one per core.
            outputs: names of outputs; the first that the graph has is returned. Default: the graph's first output.

        Raises:
            ConfigError: onnxruntime cannot load the graph.
            UnsupportedError: the graph has other inputs than `INPUTS`, or another output.
        """
        self._path = str(path)
        self._threads = threads
        with MODELS:
            self._running: Any = self._start()
        self.inputs: list[str] = [each.name for each in self._running.get_inputs()]
        named = {each.name: each.type for each in self._running.get_outputs()}
        self._output: str = next((name for name in outputs or named if name in named), "")
        if set(self.inputs) - set(INPUTS) or named.get(self._output) != "tensor(float)":
            raise UnsupportedError(
                f"{path} has the inputs {self.inputs} and the outputs {named}; expected inputs out of {list(INPUTS)} "
                f"and a float32 output{' out of ' * bool(outputs)}{', '.join(outputs)}"
            )
        register_at_fork(self)

    def run(self, feed: dict[str, NDArray[np.int64]]) -> NDArray[np.float32]:
        """Return the graph's output for inputs of shape (n, tokens)."""
        with MODELS:
            if self._running is None:
                self._running = self._start()
            output: NDArray[np.float32] = self._running.run([self._output], feed)[0]
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
        # Waiting threads would keep cores busy that other threads and processes need.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3  # errors
        try:
            return onnxruntime.InferenceSession(self._path, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime raises a class of its own for each of its status codes
            raise ConfigError(
                f"onnxruntime cannot load {self._path}. {type(error).__name__}: {error}", path=self._path
            ) from error


class Session:
    """The graph, the tokenizer and the pooling of a model. Threads may share it."""

    def __init__(self, model: ModelFolder, threads: int | None) -> None:
        """
        Args:
            model: whose files are verified.
            threads: CPU threads for a batch; None for one per core.
        """
        with optional("embed"):
            from tokenizers import Tokenizer
        self._model = model
        self._graph = Graph(model.graph, threads, ("last_hidden_state", "token_embeddings"))
        # Two tokenizers, because settings must not change while another thread uses one.
        try:
            self._truncating, self._counting = (Tokenizer.from_file(str(model.folder / TOKENIZER)) for _ in range(2))
        except Exception as error:  # tokenizers raises plain exceptions
            raise ConfigError(f"{model.folder / TOKENIZER} cannot be read: {error}") from error
        self._counting.no_truncation()
        self._counting.no_padding()
        if model.max_tokens is None:
            self._truncating.no_truncation()
        else:
            self._truncating.enable_truncation(model.max_tokens, direction=model.truncate)
        pad = self._truncating.token_to_id(model.padding["pad_token"])
        if pad is None:
            raise UnsupportedError(f"the tokenizer in {model.folder} has no token {model.padding['pad_token']!r}")
        self._truncating.enable_padding(pad_id=pad, **model.padding)

    def vectors(self, texts: list[str]) -> NDArray[np.float32]:
        """Return the vectors of at least one text, (n, d), computed in one batch."""
        with MODELS:
            encoded = self._truncating.encode_batch_fast(texts)
        feed = {
            name: np.array([getattr(one, _FIELDS[name]) for one in encoded], np.int64) for name in self._graph.inputs
        }
        mask = np.array([one.attention_mask for one in encoded], np.int64)
        return self._model.pool(self._graph.run(feed), mask)

    def count(self, texts: list[str]) -> list[int]:
        """Count the tokens of each text before truncation, special tokens included."""
        counts: list[int] = []
        for start in range(0, len(texts), _COUNTED):
            with MODELS:
                encoded = self._counting.encode_batch_fast(texts[start : start + _COUNTED])
            counts += [len(one.ids) for one in encoded]
        return counts
