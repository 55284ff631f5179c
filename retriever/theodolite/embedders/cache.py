"""The vectors of recent questions, so that asking again does not embed again."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from theodolite.errors import ConfigError, VectorError
from theodolite.forking import register_at_fork

Floats = NDArray[np.float32]


class QueryCache:
    """Remembers what one `encode` returned for each text; the least recently used text is forgotten first.

    Threads may share it. Two that miss the same text at the same time may both encode it; none ever waits for
    another's encoding.
    """

    def __init__(self, encode: Callable[[Sequence[str]], Floats], size: int = 1024) -> None:
        """
        Args:
            encode: takes n texts and returns their vectors, (n, d) float32, in the same order.
            size: how many texts to remember; 0 turns the cache off.

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
        """In a forked child: what another thread was changing is forgotten."""
        if held:
            self._rows = OrderedDict()

    def remembered(self, texts: Sequence[str]) -> dict[str, Floats]:
        """Return the vectors, (d,), of those texts that are remembered."""
        with self._lock:
            return {text: self._rows[text] for text in texts if text in self._rows}

    def encode_query(
        self,
        texts: Sequence[str],
        encode: Callable[[Sequence[str]], Floats] | None = None,
        known: Mapping[str, Floats] | None = None,
    ) -> Floats:
        """Return the vectors of `texts`, (n, d) float32, in their order: an array of the caller's own.

        Texts that are not remembered are encoded in one call, each text once.

        Args:
            encode: encodes them this time, instead of the cache's own function.
            known: what `remembered` returned, for texts that may have been forgotten since.

        Raises:
            VectorError: `encode` returned another number of vectors than texts, or of another dimension than
                before.
        """
        encode = encode or self._encode
        if (not self._size and not known) or not texts:
            return _encoded(encode, texts)
        with self._lock:
            held = {text: self._rows[text] for text in texts if text in self._rows}
            for text in held:
                self._rows.move_to_end(text)
        found = {**known, **held} if known else held
        missing = list(dict.fromkeys(text for text in texts if text not in found))
        if missing:
            # Copies: a row of the batch would keep the whole batch in memory, and be changed with it.
            fresh = {text: row.copy() for text, row in zip(missing, _encoded(encode, missing), strict=True)}
            found |= fresh
            self._remember(fresh)
        dimensions = sorted({len(row) for row in found.values()})
        if len(dimensions) > 1:
            raise VectorError(
                f"the embedder gives vectors of {dimensions[0]} and of {dimensions[-1]} dimensions. "
                "Was its model changed while the collection was open? Open it again",
                dimensions=dimensions,
            )
        return np.stack([found[text] for text in texts])

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
