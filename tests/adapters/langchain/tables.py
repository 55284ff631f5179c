"""Embeddings whose vectors are known, for tests of scores."""

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
from langchain_core.embeddings import Embeddings

REFERENCE = {
    "question": [1.0, 0.0, 0.0],
    "same": [1.0, 0.0, 0.0],
    "near": [0.9, float(np.sqrt(0.19)), 0.0],
    "orthogonal": [0.0, 1.0, 0.0],
    "opposite": [-1.0, 0.0, 0.0],
}
"""Unit vectors: cosines of 1, 0.9, 0 and -1 with the question."""


class Table(Embeddings):
    """Looks vectors up; an unknown text gets a new vector."""

    def __init__(self, vectors: Mapping[str, Sequence[float]] = REFERENCE, size: int = 3) -> None:
        self.vectors, self.size = vectors, size
        self.embedded: list[str] = []

    def embed_query(self, text: str) -> list[float]:
        self.embedded.append(text)
        return self.vector(text)

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        self.embedded += texts
        return [self.vector(text) for text in texts]

    def vector(self, text: str) -> list[float]:
        if text in self.vectors:
            return list(self.vectors[text])
        seed = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
        found: list[float] = np.random.default_rng(seed).standard_normal(self.size).tolist()
        return found


class Native(Table):
    """The same, with native async methods; counts calls of the synchronous ones."""

    def __init__(self, size: int = 8) -> None:
        super().__init__({}, size)
        self.awaited: list[str] = []

    async def aembed_query(self, text: str) -> list[float]:
        self.awaited.append(text)
        return self.vector(text)

    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        self.awaited += texts
        return [self.vector(text) for text in texts]
