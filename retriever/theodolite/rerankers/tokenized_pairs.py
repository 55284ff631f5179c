"""Tokenize a query and texts into pairs that fit a model's limit."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from theodolite.embedders.fair_lock import MODELS
from theodolite.errors import ConfigError

_MIN_ROOM = 8  # tokens for query and text together
INPUTS = ("input_ids", "attention_mask", "token_type_ids")
"""Names of the inputs that a model may have."""


class Pair(NamedTuple):
    """A query with one window of a text.

    Attributes:
        text: the position of the text.
        ids: tokens, special tokens included.
        types: 0 for tokens of the query, 1 for tokens of the text.
    """

    text: int
    ids: list[int]
    types: list[int]


class TokenizedPairs(NamedTuple):
    """The pairs of a query and n texts.

    Attributes:
        pairs: at least one for each text.
        windows: the number of pairs of each text, (n,).
        truncated: whether the end of the text is in no pair, (n,).
        truncated_tokens: tokens of the query that are in no pair.
    """

    pairs: list[Pair]
    windows: NDArray[np.int64]
    truncated: NDArray[np.bool_]
    truncated_tokens: int


class PairTokenizer:
    """Makes the pairs that one model reads. Threads may share it."""

    def __init__(self, tokenizer: Any, limit: int, *, windows: bool = True) -> None:
        """
        Args:
            tokenizer: a tokenizer of the package tokenizers, with padding set. It is kept, and its settings change.
            limit: maximum number of tokens of a pair, special tokens included.
            windows: whether to split long texts into windows that overlap by a quarter, instead of truncating them.

        Raises:
            ConfigError: the limit is too low.
        """
        self._padding: dict[str, Any] = dict(tokenizer.padding or {})
        self._tokenizer = tokenizer
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self._room = limit - tokenizer.num_special_tokens_to_add(True)
        if self._room < _MIN_ROOM:
            least = limit - self._room + _MIN_ROOM
            raise ConfigError(f"max_tokens is {limit}; it must be at least {least}", max_tokens=limit)
        self._windows = windows

    def tokenize(self, query: str, texts: Sequence[str]) -> TokenizedPairs:
        """Pair the query with each window of each text. The query may take up to half of the limit."""
        with MODELS:
            first, *encoded = self._tokenizer.encode_batch([query, *texts], add_special_tokens=False)
        truncated_tokens = max(0, len(first.ids) - self._room // 2)
        first.truncate(self._room // 2)
        size = self._room - len(first.ids)
        pairs: list[Pair] = []
        windows, truncated = np.ones(len(texts), np.int64), np.zeros(len(texts), np.bool_)
        for number, text in enumerate(encoded):
            is_long = len(text.ids) > size
            text.truncate(size, stride=size // 4 if self._windows else 0)
            parts = [text, *text.overflowing] if self._windows else [text]
            windows[number], truncated[number] = len(parts), is_long and not self._windows
            for part in parts:
                whole = self._tokenizer.post_process(first, part)
                pairs.append(Pair(number, whole.ids, whole.type_ids))
        return TokenizedPairs(pairs, windows, truncated, truncated_tokens)

    def feed(self, batch: Sequence[Pair], inputs: Sequence[str]) -> dict[str, NDArray[np.int64]]:
        """Return the model's inputs for a batch, each of shape (n, length of the longest pair), padded."""
        lengths = np.array([len(pair.ids) for pair in batch])
        positions = np.arange(lengths.max())
        if self._padding.get("direction") == "left":
            positions = positions[::-1]
        mask = positions < lengths[:, None]
        values = {
            "input_ids": (self._padding.get("pad_id", 0), [pair.ids for pair in batch]),
            "attention_mask": (0, [[1] * len(pair.ids) for pair in batch]),
            "token_type_ids": (self._padding.get("pad_type_id", 0), [pair.types for pair in batch]),
        }
        feed = {}
        for name in inputs:
            padding, rows = values[name]
            feed[name] = np.full(mask.shape, padding, np.int64)
            feed[name][mask] = np.concatenate(rows)
        return feed
