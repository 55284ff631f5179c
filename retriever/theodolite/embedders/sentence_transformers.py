"""Models of the sentence-transformers library as embedders."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from theodolite.embedders.loading import Model, loaded, stated_dimension
from theodolite.embedders.texts import as_list
from theodolite.embedders.turns import Turns
from theodolite.errors import ConfigError, UnsupportedError, VectorError

_UNLIMITED = 10**9  # tokenizers without a limit say 1e30 or infinity

# For the whole process: torch gets many times slower when threads compute at the same time, and tokenizers
# keep settings that calls change.
_TURNS = Turns()


class SentenceTransformerEmbedder:
    """A sentence-transformers model, with its own prompts for questions and for passages.

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
        batch_size: int = 32,
        threads: int | None = None,
        revision: str | None = None,
    ) -> None:
        """
        Args:
            model: a name on the hub, a folder, or a loaded SentenceTransformer. `all-MiniLM-L6-v2` comes from
                the package of the extra `minilm` where that is installed, without network.
            device: where to compute, such as `cpu` or `cuda`; None lets the library choose.
            batch_size: texts computed at once.
            threads: CPU threads for torch. The number is set for each batch and set back after it, but torch
                keeps it for the whole process: a thread that first uses torch meanwhile starts with it. None
                leaves torch's own number. On a machine that is busy otherwise, 1 can be many times faster.
            revision: a commit, tag or branch of the model on the hub.

        Raises:
            MissingExtraError: sentence-transformers is not installed.
            ConfigError: the model cannot be loaded, or a setting does not fit.
            CorruptionError: the installed files of all-MiniLM-L6-v2 are not the published ones.
        """
        for what, number in (("batch_size", batch_size), ("threads", threads)):
            if number is not None and number < 1:
                raise ConfigError(f"{what} is {number}; it must be at least 1")
        self._batch_size = batch_size
        self._threads = threads
        self._model, self._name = loaded(model, device, revision)
        self._dimension = stated_dimension(self._model)

    @property
    def name(self) -> str:
        """What the model is called, for people to read: its name on the hub, or that of its folder."""
        return self._name

    @property
    def dimension(self) -> int:
        """The vectors' length."""
        if self._dimension is None:
            self._dimension = self.encode_document(["dimension"]).shape[1]
        return self._dimension

    @property
    def max_tokens(self) -> int | None:
        """How many tokens of a text the model reads, special ones included; None if there is no limit."""
        limit = getattr(self._model, "max_seq_length", None)
        return None if limit is None or limit > _UNLIMITED else int(limit)

    def encode_query(self, texts: Sequence[str], /) -> NDArray[np.float32]:
        """Vectors of questions, shape (n, dimension), as the model gives them: not always of unit length.

        Raises:
            InputError: what is not a list of texts.
            VectorError: the model did not return one vector for each.
        """
        return self._encode(self._model.encode_query, texts)

    def encode_document(self, texts: Sequence[str], /) -> NDArray[np.float32]:
        """Vectors of passages, as `encode_query`."""
        return self._encode(self._model.encode_document, texts)

    def count_tokens(self, texts: Sequence[str], /) -> list[int]:
        """How many tokens each passage has, with the model's prompt and special tokens, before truncation.

        Raises:
            UnsupportedError: the model has no tokenizer that can be asked.
        """
        prompts = getattr(self._model, "prompts", None) or {}
        named = [prompts[name] for name in ("document", "passage", "corpus") if name in prompts]
        prompt = (named or [None])[0] or ""  # the one that encode_document takes
        given = [prompt + text for text in as_list(texts)]
        tokenizer: Any = getattr(self._model, "tokenizer", None)
        if not given:
            return []
        with _TURNS:
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

    def _encode(self, side: Callable[..., Any], texts: Sequence[str]) -> NDArray[np.float32]:
        given = as_list(texts)
        if not given:
            return np.zeros((0, self.dimension), np.float32)
        # Texts of like length together, so that little is padded. The library would sort too, but only within
        # one call, and a call must be no longer than a turn.
        order = sorted(range(len(given)), key=lambda row: -len(given[row]))
        out = np.empty((0, 0), np.float32)
        for start in range(0, len(order), self._batch_size):
            rows = order[start : start + self._batch_size]
            with _TURNS, _torch_threads(self._threads):
                part = side(
                    [given[row] for row in rows],
                    batch_size=self._batch_size,
                    show_progress_bar=False,
                    convert_to_numpy=True,
                )
            if not start:
                out = np.empty((len(order), part.shape[-1]), np.float32)
            if part.shape != (len(rows), out.shape[1]):
                raise VectorError(
                    f"{self.name} returned an array of shape {part.shape} for {len(rows)} texts; "
                    f"expected {(len(rows), out.shape[1])}",
                    shape=part.shape,
                )
            out[rows] = part
        return out


@contextmanager
def _torch_threads(number: int | None) -> Iterator[None]:
    if number is None:
        yield
        return
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
