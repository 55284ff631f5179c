"""Models of the sentence-transformers library as embedders."""

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from theodolite.embedders import model_loading
from theodolite.embedders.batching import Progress, encode_in_batches
from theodolite.embedders.fair_lock import TORCH, torch_threads
from theodolite.embedders.model_loading import Model, Precision
from theodolite.embedders.prompts import Prompts, chosen, own
from theodolite.embedders.validate_texts import as_list
from theodolite.errors import ConfigError, UnsupportedError


class SentenceTransformerEmbedder:
    """A sentence-transformers model, with prompts for questions and for passages.

    Threads may share it; in one process one batch at a time is computed, and threads take turns batch by
    batch. So a question does not wait for the whole of a long `add`.

    Transformers are loaded from safetensors only, and `trust_remote_code` is never set. A model that needs
    more can be loaded by the caller and passed as an object.
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
            model: a name on the hub, a folder, or a loaded SentenceTransformer. `all-MiniLM-L6-v2` comes from
                the package of the extra `minilm` where that is installed, without network.
            device: where to compute, such as `cpu` or `cuda`; None lets the library choose.
            batch_size: texts computed at once. None means 8 on a CPU, where more of them do not fit into its
                caches, and 32 on other devices.
            threads: CPU threads for torch. The number is set for each batch and set back after it, but torch
                keeps it for the whole process: a thread that first uses torch meanwhile starts with it. None
                leaves torch's own number. On a machine that is busy otherwise, 1 can be many times faster.
            revision: a commit, tag or branch of the model on the hub; `name@revision` says the same.
            precision: what to compute in. `bfloat16` takes half the memory and, on processors that know it, a
                fraction of the time; vectors come as float32 in any case. None leaves it to the library.
            query_prompt: what to put before each question; `""` for nothing, None for the model's own prompt
                or, for a model known to need one that its own configuration lacks, that one.
            document_prompt: the same for passages.

        Warns:
            UserWarning: the model is known to need a prompt that it does not get: switched off, or missing in
                a loaded model.

        Raises:
            MissingExtraError: sentence-transformers is not installed.
            ConfigError: the model cannot be loaded, or a setting does not fit.
            CorruptionError: the installed files of all-MiniLM-L6-v2 are not the published ones.
        """
        for what, number in (("batch_size", batch_size), ("threads", threads)):
            if number is not None and number < 1:
                raise ConfigError(f"{what} is {number}; it must be at least 1")
        by_name = isinstance(model, (str, os.PathLike))
        if isinstance(model, (str, os.PathLike)):
            source = model_loading.locate(model, revision)
            self._model, self._name = model_loading.load(source, device, precision), source.name
        elif (device, revision, precision) != (None, None, None):
            raise ConfigError("device, revision and precision are for models given by name; this one is loaded already")
        else:
            self._model, self._name = model, model_loading.name_of(model)
        model_loading.check_model(self._model)
        self._batch_size = batch_size or (8 if model_loading.device_of(self._model) == "cpu" else 32)
        self._threads = threads
        self._dimension = model_loading.stated_dimension(self._model)
        self._prompts = chosen(
            self._name,
            (query_prompt, document_prompt),
            own(getattr(self._model, "prompts", None)),
            complete=by_name,
            stacklevel=2,
        )

    @property
    def name(self) -> str:
        """What the model is called: its name on the hub, which leads to it again, or that of its folder."""
        return self._name

    @property
    def prompts(self) -> Prompts:
        """What is put before each question and each passage."""
        return self._prompts

    @property
    def precision(self) -> str | None:
        """What the weights are computed in, such as `float32`; None if the model has none."""
        parameters = getattr(self._model, "parameters", None)
        first = next(iter(parameters()), None) if parameters else None
        return None if first is None else str(first.dtype).removeprefix("torch.")

    @property
    def identity(self) -> dict[str, Any]:
        """What the vectors depend on, as JSON values: to be written down, and compared."""
        return {
            "name": self._name,
            "query_prompt": self._prompts.query,
            "document_prompt": self._prompts.document,
            "precision": self.precision,
            "dimension": self.dimension,
            "max_tokens": self.max_tokens,
        }

    @property
    def dimension(self) -> int:
        """The vectors' length."""
        if self._dimension is None:
            self._dimension = self.encode_document(["dimension"]).shape[1]
        return self._dimension

    @property
    def max_tokens(self) -> int | None:
        """How many tokens of a text the model reads, prompt and special ones included; None without a limit."""
        return model_loading.stated_limit(self._model)

    def encode_query(self, texts: Sequence[str], /, *, progress: Progress | None = None) -> NDArray[np.float32]:
        """Vectors of questions, shape (n, dimension), as the model gives them: not always of unit length.

        Args:
            texts: n questions.
            progress: called after each batch with the number of texts done in it.

        Raises:
            InputError: what is not a list of texts.
            VectorError: the model did not return one vector for each.
        """
        return self._encode(self._model.encode_query, self._prompts.query, texts, progress)

    def encode_document(self, texts: Sequence[str], /, *, progress: Progress | None = None) -> NDArray[np.float32]:
        """Vectors of passages, as `encode_query`."""
        return self._encode(self._model.encode_document, self._prompts.document, texts, progress)

    def count_tokens(self, texts: Sequence[str], /, *, query: bool = False) -> list[int]:
        """How many tokens each passage has, with the prompt and special tokens, before truncation.

        Args:
            texts: n passages.
            query: they are questions, and so get the prompt of those.

        Raises:
            UnsupportedError: the model has no tokenizer that can be asked.
        """
        prompt = self._prompts.query if query else self._prompts.document
        given = [prompt + text for text in as_list(texts)]
        tokenizer: Any = getattr(self._model, "tokenizer", None)
        if not given:
            return []
        with TORCH:
            if hasattr(tokenizer, "encode_batch"):  # of static embeddings, which add no special tokens
                return [len(item.ids) for item in tokenizer.encode_batch(given, add_special_tokens=False)]
            if callable(tokenizer):
                found = tokenizer(given, truncation=False, padding=False, verbose=False)
                return [len(tokens) for tokens in found["input_ids"]]
            if hasattr(tokenizer, "tokenize"):  # of word vectors
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
