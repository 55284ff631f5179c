"""A cache of the vectors of recent queries."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from theodolite.errors import ConfigError, VectorError
from theodolite.forking import register_at_fork

Floats = NDArray[np.float32]


class QueryCache:
    """Caches the vectors of one embedder by text, and evicts the least recently used.

    Threads may share it. Two that miss the same text at the same time may both encode it, because no thread waits for
    another one's encoding.
    """

    def __init__(self, encode: Callable[[Sequence[str]], Floats], size: int = 1024) -> None:
        """
        Args:
            encode: takes n texts and returns their vectors, (n, d) float32, in the same order.
            size: maximum number of texts; 0 turns the cache off.

        Raises:
            ConfigError: size is negative.
        """
        if size < 0:
            raise ConfigError(f"the query cache has size {size}; it must be 0 (off) or more", size=size)
        self._encode = encode
        self._size = size
        self._rows: OrderedDict[str, Floats] = OrderedDict()
        self._lock = threading.Lock()
        register_at_fork(self)

    def forked(self, held: bool) -> None:
        """In a forked child, clear the cache if another thread was changing it."""
        if held:
            self._rows = OrderedDict()

    def cached(self, texts: Sequence[str]) -> dict[str, Floats]:
        """Return the cached vectors, (d,) each, by text; texts that are not cached are left out."""
        with self._lock:
            return {text: self._rows[text] for text in texts if text in self._rows}

    def encode_query(
        self,
        texts: Sequence[str],
        encode: Callable[[Sequence[str]], Floats] | None = None,
        known: Mapping[str, Floats] | None = None,
    ) -> Floats:
        """Return the vectors of `texts`, (n, d) float32, in their order: an array of the caller's own.

        Texts that are not cached are encoded in one call, each text once.

        Args:
            encode: encodes them this time, instead of the cache's own function.
            known: an earlier result of `cached`, for texts that may have been evicted since.

        Raises:
            VectorError: `encode` returned more or fewer vectors than texts, or another dimension than before.
        """
        encode = encode or self._encode
        if (not self._size and not known) or not texts:
            return _encoded(encode, texts)
        with self._lock:
            cached = {text: self._rows[text] for text in texts if text in self._rows}
            for text in cached:
                self._rows.move_to_end(text)
        rows = {**known, **cached} if known else cached
        missing = list(dict.fromkeys(text for text in texts if text not in rows))
        if missing:
            # Copies, because a view of a row would keep the whole batch in memory and change with it.
            fresh = {text: row.copy() for text, row in zip(missing, _encoded(encode, missing), strict=True)}
            rows |= fresh
            self._remember(fresh)
        dimensions = sorted({len(row) for row in rows.values()})
        if len(dimensions) > 1:
            raise VectorError(
                f"the embedder returned vectors of {dimensions[0]} and of {dimensions[-1]} dimensions. "
                "Did its model change while the collection was open? Open the collection again",
                dimensions=dimensions,
            )
        return np.stack([rows[text] for text in texts])

    def _remember(self, fresh: dict[str, Floats]) -> None:
        with self._lock:
            for text, row in fresh.items():
                self._rows[text] = row
                self._rows.move_to_end(text)
            while len(self._rows) > self._size:
                self._rows.popitem(last=False)


def _encoded(encode: Callable[[Sequence[str]], Floats], texts: Sequence[str]) -> Floats:
    vectors = encode(texts)
    if vectors.ndim != 2 or len(vectors) != len(texts):
        raise VectorError(
            f"the embedder returned vectors of shape {vectors.shape} for {len(texts)} queries; "
            f"expected ({len(texts)}, dimension)",
            expected=len(texts),
            shape=vectors.shape,
        )
    return vectors
