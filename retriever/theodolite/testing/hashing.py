"""An embedder without a model, for tests, examples and offline experiments."""

import hashlib
import math
import re
from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from theodolite.errors import ConfigError

_WORD = re.compile(r"\w+")
_WORD_WEIGHT = 4  # a shared word counts for more than a few shared letters


class HashingEmbedder:
    """An embedder that hashes words and their trigrams into unit vectors: texts that share words are near.

    The same text gives the same vector, bit for bit, in every process and on every platform, because features are
    hashed with BLAKE2b and summed as integers. The vectors do not reflect meaning. A text without letters or digits
    gives the zero vector, which the cosine metric rejects.
    """

    def __init__(self, dimension: int = 64, *, query_prefix: str = "") -> None:
        """
        Args:
            dimension: the number of components; with more, fewer words collide.
            query_prefix: a prefix for each query, as in models with instructions; makes queries differ from documents.
        """
        if dimension < 1:
            raise ConfigError(f"dimension is {dimension}; it must be at least 1", dimension=dimension)
        self._dimension = dimension
        self._query_prefix = query_prefix

    @property
    def dimension(self) -> int:
        """The number of components."""
        return self._dimension

    def encode_query(self, texts: Sequence[str], /) -> NDArray[np.float32]:
        """Return the vectors of queries, shape (n, dimension)."""
        return self._encode([self._query_prefix + text for text in texts])

    def encode_document(self, texts: Sequence[str], /) -> NDArray[np.float32]:
        """Return the vectors of passages, shape (n, dimension)."""
        return self._encode(texts)

    def _encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        vectors = np.zeros((len(texts), self._dimension), np.float32)
        for row, text in enumerate(texts):
            vectors[row] = self._vector(text)
        return vectors

    def _vector(self, text: str) -> NDArray[np.float64]:
        counts = np.zeros(self._dimension, np.int64)
        for word in _WORD.findall(text.lower()):
            for place, weight in _places(word, self._dimension):
                counts[place] += weight
        length = math.sqrt(int(counts @ counts))
        return counts / (length or 1.0)


@lru_cache(maxsize=1 << 16)
def _places(word: str, dimension: int) -> tuple[tuple[int, int], ...]:
    """Return the components that a word adds to, and the amounts."""
    found = []
    for feature, weight in _features(word):
        # Lone surrogates are not text, but must not raise an error here.
        digest = hashlib.blake2b(feature.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        number = int.from_bytes(digest, "big")
        found.append(((number >> 1) % dimension, weight if number & 1 else -weight))
    return tuple(found)


def _features(word: str) -> Iterator[tuple[str, int]]:
    yield word, _WORD_WEIGHT
    framed = f"<{word}>"
    for start in range(len(framed) - 2):
        yield "trigram:" + framed[start : start + 3], 1
