"""What rerankers give back, and the cache of what they gave."""

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
    """Scores, and how they came about.

    Attributes:
        scores: raw, (n,) float64, finite, higher is better.
        windows: in how many windows each text was read, (n,); its score is that of the best.
        truncated: how many texts were not read to their end.
        unread: how many tokens of the query were not read.
        cached: how many of the scores were remembered.
    """

    scores: Floats
    windows: NDArray[np.int64]
    truncated: int = 0
    unread: int = 0
    cached: int = 0


class Kept(NamedTuple):
    """What is remembered of a query and a text."""

    score: float
    windows: int
    truncated: bool


class ScoreCache:
    """The scores of one model; the least recently used is forgotten first. Threads may share it.

    Only hashes of queries and texts are kept. Two threads that miss the same text may both score it.
    """

    def __init__(self, size: int) -> None:
        """
        Args:
            size: how many scores to remember, of 200 bytes each; 0 turns the cache off.

        Raises:
            ConfigError: size is negative.
        """
        if size < 0:
            raise ConfigError(f"the cache of scores has size {size}; it must be 0 (off) or more", size=size)
        self._size = size
        self._rows: OrderedDict[bytes, Kept] = OrderedDict()
        self._lock = threading.Lock()
        self.hits = 0
        self.misses = 0
        register_at_fork(self)

    def forked(self, held: bool) -> None:
        """In a forked child: what another thread was changing is forgotten."""
        if held:
            self._rows = OrderedDict()

    def find(self, query: str, texts: Iterable[str]) -> dict[str, Kept]:
        """What is remembered of these texts, each of which is given once."""
        if not self._size:
            return {}
        keys = {text: _key(query, text) for text in texts}
        with self._lock:
            found = {text: self._rows[key] for text, key in keys.items() if key in self._rows}
            for text in found:
                self._rows.move_to_end(keys[text])
            self.hits += len(found)
            self.misses += len(keys) - len(found)
        return found

    def keep(self, query: str, fresh: Mapping[str, Kept]) -> None:
        if not self._size:
            return
        keys = [(_key(query, text), kept) for text, kept in fresh.items()]
        with self._lock:
            for key, kept in keys:
                self._rows[key] = kept
                self._rows.move_to_end(key)
            while len(self._rows) > self._size:
                self._rows.popitem(last=False)

    def __len__(self) -> int:
        return len(self._rows)


def logistic(scores: NDArray[np.floating[Any]]) -> Floats:
    """1 / (1 + exp(-score)), in [0, 1], nondecreasing; small values stay apart, and nothing overflows."""
    wide = np.asarray(scores, np.float64)
    with np.errstate(under="ignore"):
        found: Floats = np.exp(-np.logaddexp(0.0, -wide))
    return found


def _key(query: str, text: str) -> bytes:
    first = query.encode()
    return hashlib.blake2b(b"%d %s%s" % (len(first), first, text.encode()), digest_size=16).digest()
