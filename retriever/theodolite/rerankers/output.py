"""The output of rerankers, and a cache of scores."""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from theodolite.errors import ConfigError
from theodolite.forking import register_at_fork

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class RerankOutput:
    """Scores of a list of texts, with details.

    Attributes:
        scores: raw scores, (n,) float64, finite; higher is better.
        windows: number of windows of each text, (n,). The score of a text is that of its best window.
        truncated: how many texts were not read to their end.
        truncated_tokens: how many tokens of the query were cut off.
        cached: how many scores came from the cache.
    """

    scores: Floats
    windows: NDArray[np.int64]
    truncated: int = 0
    truncated_tokens: int = 0
    cached: int = 0


class CachedScore(NamedTuple):
    """The cached result for one query and one text."""

    score: float
    windows: int
    truncated: bool


class ScoreCache:
    """A cache of one model's scores that evicts the least recently used. Threads may share it.

    It stores hashes of queries and texts. Two threads that miss the same text may both score it.
    """

    def __init__(self, size: int) -> None:
        """
        Args:
            size: maximum number of scores, about 200 bytes each; 0 turns the cache off.

        Raises:
            ConfigError: size is negative.
        """
        if size < 0:
            raise ConfigError(f"the score cache has size {size}; it must be 0 (off) or more", size=size)
        self._size = size
        self._scores: OrderedDict[bytes, CachedScore] = OrderedDict()
        self._lock = threading.Lock()
        register_at_fork(self)

    def forked(self, held: bool) -> None:
        """In a forked child, clear the cache if another thread was changing it."""
        if held:
            self._scores = OrderedDict()

    def get(self, query: str, texts: Iterable[str]) -> dict[str, CachedScore]:
        """Return the cached scores of distinct texts, by text."""
        if not self._size:
            return {}
        keys = {text: _key(query, text) for text in texts}
        with self._lock:
            cached = {text: self._scores[key] for text, key in keys.items() if key in self._scores}
            for text in cached:
                self._scores.move_to_end(keys[text])
        return cached

    def update(self, query: str, scores: Mapping[str, CachedScore]) -> None:
        """Add the scores of a query, by text."""
        if not self._size:
            return
        items = [(_key(query, text), score) for text, score in scores.items()]
        with self._lock:
            for key, score in items:
                self._scores[key] = score
                self._scores.move_to_end(key)
            while len(self._scores) > self._size:
                self._scores.popitem(last=False)

    def __len__(self) -> int:
        return len(self._scores)


def logistic(scores: NDArray[np.floating[Any]]) -> Floats:
    """Return 1 / (1 + exp(-score)), in [0, 1], nondecreasing; very low scores stay distinct, and nothing overflows."""
    wide = np.asarray(scores, np.float64)
    with np.errstate(under="ignore"):
        probabilities: Floats = np.exp(-np.logaddexp(0.0, -wide))
    return probabilities


def _key(query: str, text: str) -> bytes:
    first = query.encode()
    return hashlib.blake2b(b"%d %s%s" % (len(first), first, text.encode()), digest_size=16).digest()
