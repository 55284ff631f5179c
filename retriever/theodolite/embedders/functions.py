"""Plain functions as an embedder, for example calls to an API."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from theodolite.embedders.validate_texts import as_list
from theodolite.errors import ConfigError, VectorError, type_of
from theodolite.types import Space
from theodolite.vectors.metrics import Dot
from theodolite.vectors.prepare import prepare

Encode = Callable[[list[str]], Any]
"""Takes n texts and returns n vectors in the same order: an array (n, d), a tensor, or nested lists."""


class CallableEmbedder:
    """An embedder made of two functions: one for queries, one for documents. They may be the same function.

    They are called from the thread that searches or adds, and never with an empty list.
    """

    def __init__(self, encode_query: Encode, encode_document: Encode, dimension: int | None = None) -> None:
        """
        Args:
            encode_query: takes n queries, returns n vectors.
            encode_document: takes n documents, returns n vectors.
            dimension: number of dimensions. Default: measured by encoding a short text when it is first needed.

        Raises:
            ConfigError: an argument is not callable, or the dimension is below 1.
        """
        for side, function in (("encode_query", encode_query), ("encode_document", encode_document)):
            if not callable(function):
                raise ConfigError(f"{side} is {function!r}; pass a function from a list of texts to their vectors")
        if dimension is not None and dimension < 1:
            raise ConfigError(f"dimension is {dimension}; it must be at least 1", dimension=dimension)
        self._query = encode_query
        self._document = encode_document
        self._dimension = dimension

    @property
    def dimension(self) -> int:
        """Number of dimensions of the vectors.

        Raises:
            VectorError: it had to be measured, and `encode_document` did not return a vector.
        """
        if self._dimension is None:
            probe = self.encode_document(["dimension"])
            prepared, _ = prepare(probe, Space(Dot.name, norms="any"), name="the embedder's vectors")
            self._dimension = prepared.shape[1]
        return self._dimension

    def encode_query(self, texts: Sequence[str], /) -> Any:
        """Return the vectors of n queries as the function returns them; without texts, an array (0, dimension).

        Raises:
            InputError: `texts` is not a list of strings.
            VectorError: the function returned more or fewer vectors than texts.
        """
        return self._encode(self._query, texts, "encode_query")

    def encode_document(self, texts: Sequence[str], /) -> Any:
        """Return the vectors of n documents, like `encode_query`."""
        return self._encode(self._document, texts, "encode_document")

    def _encode(self, function: Encode, texts: Sequence[str], side: str) -> Any:
        given = as_list(texts)
        if not given:
            return np.zeros((0, self.dimension), np.float32)
        # A copy, because the function may change its list and the texts are counted afterwards.
        vectors = function(list(given))
        if isinstance(vectors, Iterable) and not hasattr(vectors, "__len__"):
            vectors = list(vectors)
        if not hasattr(vectors, "__len__"):
            message = f"{side} returned {type_of(vectors)} for {len(given)} texts; expected one vector for each text"
            raise VectorError(message)
        if len(vectors) != len(given):
            raise VectorError(
                f"{side} returned {len(vectors)} vectors for {len(given)} texts. "
                "It gets a list of texts and must return one vector for each, in the same order",
                expected=len(given),
                got=len(vectors),
            )
        return vectors
