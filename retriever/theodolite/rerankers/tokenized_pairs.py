"""A query and texts as pairs of tokens, each as long as a model reads."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from theodolite.embedders.fair_lock import MODELS
from theodolite.errors import ConfigError

_LEAST = 8  # tokens that query and text have together, at least
INPUTS = ("input_ids", "attention_mask", "token_type_ids")
"""What a model may be fed."""


class Pair(NamedTuple):
    """A query and one window of a text.

    Attributes:
        text: the number of the text.
        ids: tokens, special ones included.
        types: of each token, whether it is of the query (0) or of the text (1).
    """

    text: int
    ids: list[int]
    types: list[int]


class Cut(NamedTuple):
    """What became of a query and its texts.

    Attributes:
        pairs: at least one for each text.
        windows: how many of them there are for each text, (n,).
        truncated: of each text, whether its end is in no window, (n,).
        unread: tokens of the query that are in none.
    """

    pairs: list[Pair]
    windows: NDArray[np.int64]
    truncated: NDArray[np.bool_]
    unread: int


class Pairs:
    """Pairs as one model reads them. Any number of threads may use it at once."""

    def __init__(self, tokenizer: Any, limit: int, *, windows: bool = True) -> None:
        """
        Args:
            tokenizer: of the package tokenizers, with padding set; changed and kept.
            limit: tokens of a pair at most, special ones included.
            windows: whether a text that is too long is read in windows, which overlap by a quarter; else the rest
                of it is left out.

        Raises:
            ConfigError: the limit leaves no room.
        """
        self._padding: dict[str, Any] = dict(tokenizer.padding or {})
        self._tokenizer = tokenizer
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self._room = limit - tokenizer.num_special_tokens_to_add(True)
        if self._room < _LEAST:
            least = limit - self._room + _LEAST
            raise ConfigError(f"max_tokens is {limit}; it must be at least {least}", max_tokens=limit)
        self._windows = windows

    def cut(self, query: str, texts: Sequence[str]) -> Cut:
        """The query with each window of each text. A query is read up to half of the room."""
        with MODELS:
            asked, *encoded = self._tokenizer.encode_batch([query, *texts], add_special_tokens=False)
        unread = max(0, len(asked.ids) - self._room // 2)
        asked.truncate(self._room // 2)
        size = self._room - len(asked.ids)
        pairs: list[Pair] = []
        windows, truncated = np.ones(len(texts), np.int64), np.zeros(len(texts), np.bool_)
        for number, text in enumerate(encoded):
            long = len(text.ids) > size
            text.truncate(size, stride=size // 4 if self._windows else 0)
            parts = [text, *text.overflowing] if self._windows else [text]
            windows[number], truncated[number] = len(parts), long and not self._windows
            for part in parts:
                whole = self._tokenizer.post_process(asked, part)
                pairs.append(Pair(number, whole.ids, whole.type_ids))
        return Cut(pairs, windows, truncated, unread)

    def feed(self, batch: Sequence[Pair], inputs: Sequence[str]) -> dict[str, NDArray[np.int64]]:
        """A batch as the model's inputs, each of shape (n, tokens of the longest), padded."""
        lengths = np.array([len(pair.ids) for pair in batch])
        places = np.arange(lengths.max())
        if self._padding.get("direction") == "left":
            places = places[::-1]
        mask = places < lengths[:, None]
        filled = {
            "input_ids": (self._padding.get("pad_id", 0), [pair.ids for pair in batch]),
            "attention_mask": (0, [[1] * len(pair.ids) for pair in batch]),
            "token_type_ids": (self._padding.get("pad_type_id", 0), [pair.types for pair in batch]),
        }
        found = {}
        for name in inputs:
            padding, rows = filled[name]
            found[name] = np.full(mask.shape, padding, np.int64)
            found[name][mask] = np.concatenate(rows)
        return found
