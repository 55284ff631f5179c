"""The embedder for models of the sentence-transformers library."""

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from theodolite.embedders import hub, model_loading
from theodolite.embedders.batching import Progress, encode_in_batches
from theodolite.embedders.fair_lock import TORCH, torch_threads
from theodolite.embedders.model_loading import Model, Precision
from theodolite.embedders.prompts import Prompts, choose_prompts, own_prompts
from theodolite.embedders.validate_texts import as_list
from theodolite.errors import ConfigError, UnsupportedError
from theodolite.types import EmbedderSpec


class SentenceTransformerEmbedder:
    """A sentence-transformers model, with prompts for queries and documents.

    Threads may share it. A process computes one batch at a time, and threads take turns after each batch, so a query
    does not wait for the whole of a long `add`.

    Weights are loaded from safetensors only, and `trust_remote_code` is never set. Load a model that needs either
    yourself and pass the object.
    """

    def __init__(
        self,
        model: Model = "all-MiniLM-L6-v2",
        *,
        device: str | None = None,
        batch_size: int | None = None,
        threads: int | None = None,
        revision: str | None = None,
        precision: Precision | None = None,
        query_prompt: str | None = None,
        document_prompt: str | None = None,
    ) -> None:
        """
        Args:
            model: a name on the hub, a folder, or a loaded SentenceTransformer. With the extra `minilm`,
                `all-MiniLM-L6-v2` is loaded from an installed package, without network.
            device: where to compute, such as `cpu` or `cuda`. Default: the library chooses.
            batch_size: texts in a batch. Default: 8 on a CPU, whose caches larger batches exceed, and 32 on other
                devices.
            threads: CPU threads for torch, set for each batch and reset after it. The setting is global to the process:
                a thread that starts using torch during the batch inherits it. Default: torch's own number. On a busy
                machine, 1 can be many times faster.
            revision: a commit, tag or branch of the model on the hub; the same as `name@revision`.
            precision: the data type to compute in. `bfloat16` needs half the memory and, on processors that support
                it, a fraction of the time. Vectors are returned as float32 in any case. Default: the library's choice.
            query_prompt: put before each query; `""` for none. Default: the prompt in the model's configuration, else
                the one that the model is known to be trained with.
            document_prompt: the same for documents.

        Warns:
            UserWarning: the model was trained with a prompt that is switched off, or that a loaded model lacks.

        Raises:
            MissingExtraError: sentence-transformers is not installed.
            ConfigError: the model cannot be loaded, or a setting is invalid.
            CorruptionError: the installed files of all-MiniLM-L6-v2 are not the published ones.
        """
        for setting, number in (("batch_size", batch_size), ("threads", threads)):
            if number is not None and number < 1:
                raise ConfigError(f"{setting} is {number}; it must be at least 1")
        by_name = isinstance(model, (str, os.PathLike))
        if isinstance(model, (str, os.PathLike)):
            source = hub.locate(model, revision)
            self._model, self._name = model_loading.load(source, device, precision), source.name
            self.spec = replace(
                hub.recorded(source),
                precision=precision,
                query_prompt=query_prompt,
                document_prompt=document_prompt,
            )
        elif (device, revision, precision) != (None, None, None):
            raise ConfigError(
                "device, revision and precision are for models given by name, and this model is already loaded"
            )
        else:
            self._model, self._name = model, model_loading.name_of(model)
            self.spec = EmbedderSpec(self._name, by_name=False)
        model_loading.check_model(self._model)
        self._batch_size = batch_size or (8 if model_loading.device_of(self._model) == "cpu" else 32)
        self._threads = threads
        self._dimension = model_loading.stated_dimension(self._model)
        self._prompts = choose_prompts(
            self._name,
            (query_prompt, document_prompt),
            own_prompts(getattr(self._model, "prompts", None)),
            complete=by_name,
            stacklevel=2,
        )

    spec: EmbedderSpec
    """The record that a collection keeps, to make the embedder again. onnxruntime gives the same vectors by it."""

    @property
    def name(self) -> str:
        """The model's name on the hub, or the name of its folder."""
        return self._name

    @property
    def prompts(self) -> Prompts:
        """The prompts put before each query and each document."""
        return self._prompts

    @property
    def precision(self) -> str | None:
        """The data type of the weights, such as `float32`; None if the model has no weights."""
        parameters = getattr(self._model, "parameters", None)
        first = next(iter(parameters()), None) if parameters else None
        return None if first is None else str(first.dtype).removeprefix("torch.")

    @property
    def dimension(self) -> int:
        """Number of dimensions of the vectors."""
        if self._dimension is None:
            self._dimension = self.encode_document(["dimension"]).shape[1]
        return self._dimension

    @property
    def max_tokens(self) -> int | None:
        """Maximum number of tokens of a text, prompt and special tokens included; None for no limit."""
        return model_loading.stated_limit(self._model)

    def encode_query(self, texts: Sequence[str], /, *, progress: Progress | None = None) -> NDArray[np.float32]:
        """Return the vectors of queries, (n, dimension), as the model returns them: not always of unit length.

        Args:
            texts: n queries.
            progress: called after each batch with the number of texts in it.

        Raises:
            InputError: `texts` is not a list of strings.
            VectorError: the model did not return one vector for each text.
        """
        return self._encode(self._model.encode_query, self._prompts.query, texts, progress)

    def encode_document(self, texts: Sequence[str], /, *, progress: Progress | None = None) -> NDArray[np.float32]:
        """Return the vectors of documents, like `encode_query`."""
        return self._encode(self._model.encode_document, self._prompts.document, texts, progress)

    def count_tokens(self, texts: Sequence[str], /, *, query: bool = False) -> list[int]:
        """Count the tokens of each document before truncation, prompt and special tokens included.

        Args:
            texts: n documents.
            query: whether the texts are queries, which get the queries' prompt.

        Raises:
            UnsupportedError: the model has no tokenizer that counts tokens.
        """
        prompt = self._prompts.query if query else self._prompts.document
        given = [prompt + text for text in as_list(texts)]
        tokenizer: Any = getattr(self._model, "tokenizer", None)
        if not given:
            return []
        with TORCH:
            if hasattr(tokenizer, "encode_batch"):  # static embeddings, without special tokens
                return [len(item.ids) for item in tokenizer.encode_batch(given, add_special_tokens=False)]
            if callable(tokenizer):
                encoded = tokenizer(given, truncation=False, padding=False, verbose=False)
                return [len(tokens) for tokens in encoded["input_ids"]]
            if hasattr(tokenizer, "tokenize"):  # word vectors
                return [len(tokenizer.tokenize(text)) for text in given]
        raise UnsupportedError(f"{self.name} has no tokenizer that counts tokens", model=self.name)

    def __repr__(self) -> str:
        return f"<SentenceTransformerEmbedder {self.name}>"

    def _encode(
        self, side: Callable[..., Any], prompt: str, texts: Sequence[str], progress: Progress | None
    ) -> NDArray[np.float32]:
        given = as_list(texts)
        if not given:
            return np.zeros((0, self.dimension), np.float32)

        def compute(batch: list[str]) -> NDArray[np.floating]:
            with TORCH, torch_threads(self._threads):
                vectors: NDArray[np.floating] = side(
                    batch,
                    prompt=prompt,
                    batch_size=self._batch_size,
                    show_progress_bar=False,
                    convert_to_numpy=True,
                )
            return vectors

        return encode_in_batches(given, self._batch_size, compute, name=self.name, progress=progress)
