"""Plain functions as an embedder: an API's client, or a model of one's own."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from theodolite.embedders.validate_texts import as_list
from theodolite.errors import ConfigError, VectorError
from theodolite.types import Space
from theodolite.vectors.metrics import Dot
from theodolite.vectors.prepare import prepare

Encode = Callable[[list[str]], Any]
"""Takes n texts, returns n vectors in the same order: an array (n, d), a tensor, or nested lists."""


class CallableEmbedder:
    """Two functions as an embedder: one for questions, one for passages. They may be the same.

    They are called from whatever thread searches or adds, and never with an empty list.
    """

    def __init__(self, encode_query: Encode, encode_document: Encode, dimension: int | None = None) -> None:
        """
        Args:
            encode_query: takes n questions, returns n vectors.
            encode_document: takes n passages, returns n vectors.
            dimension: the vectors' length. If it is not given, one short text is encoded when it is first
                asked for.

        Raises:
            ConfigError: a function that cannot be called, or a dimension below 1.
        """
        for side, function in (("encode_query", encode_query), ("encode_document", encode_document)):
            if not callable(function):
                raise ConfigError(f"{side} is {function!r}; pass a function from texts to vectors")
        if dimension is not None and dimension < 1:
            raise ConfigError(f"dimension is {dimension}; it must be at least 1", dimension=dimension)
        self._query = encode_query
        self._document = encode_document
        self._dimension = dimension

    @property
    def dimension(self) -> int:
        """The vectors' length.

        Raises:
            VectorError: it had to be found, and what `encode_document` returned is no vector.
        """
        if self._dimension is None:
            probe = self.encode_document(["dimension"])
            prepared, _ = prepare(probe, Space(Dot.name, norms="any"), name="the embedder's vectors")
            self._dimension = prepared.shape[1]
        return self._dimension

    def encode_query(self, texts: Sequence[str], /) -> Any:
        """Vectors of questions, n of them, as the function returns them; no texts give shape (0, dimension).

        Raises:
            InputError: what is not a list of texts.
            VectorError: another number of vectors than texts.
        """
        return self._encode(self._query, texts, "encode_query")

    def encode_document(self, texts: Sequence[str], /) -> Any:
        """Vectors of passages, as `encode_query`."""
        return self._encode(self._document, texts, "encode_document")

    def _encode(self, function: Encode, texts: Sequence[str], side: str) -> Any:
        given = as_list(texts)
        if not given:
            return np.zeros((0, self.dimension), np.float32)
        # A copy: the function may change its list, and what it was given is still counted afterwards.
        vectors = function(list(given))
        if isinstance(vectors, Iterable) and not hasattr(vectors, "__len__"):
            vectors = list(vectors)
        if not hasattr(vectors, "__len__"):
            kind = type(vectors).__name__
            raise VectorError(f"{side} returned a {kind} for {len(given)} texts; expected a vector for each")
        if len(vectors) != len(given):
            raise VectorError(
                f"{side} returned {len(vectors)} vectors for {len(given)} texts. "
                "It is given a list of texts and must return one vector for each, in the same order",
                expected=len(given),
                got=len(vectors),
            )
        return vectors
