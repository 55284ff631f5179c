"""Vectors as pgvector sends and takes them: two 16-bit numbers, then 32-bit floats, all big-endian."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from theodolite.engines.postgres.connections import BinaryVector

_HEADER = 4  # bytes: the dimension, and zero


def encode_vectors(vectors: NDArray[np.float32]) -> list[bytes]:
    """Return each row of (n, d) in binary form."""
    count, dimension = vectors.shape
    rows = np.zeros((count, _HEADER + 4 * dimension), np.uint8)
    rows[:, :2] = np.array([dimension], ">u2").view(np.uint8)
    rows[:, _HEADER:] = vectors.astype(">f4").view(np.uint8).reshape(count, 4 * dimension)
    return [row.tobytes() for row in rows]


def encode_vector(vector: NDArray[np.float32]) -> BinaryVector:
    """Return one vector, (d,), as a parameter."""
    return BinaryVector(encode_vectors(vector[None])[0])


def decode_vectors(stored: Sequence[bytes], dimension: int) -> NDArray[np.float32]:
    """Return vectors in binary form as an array, (n, d)."""
    if not stored:
        return np.empty((0, dimension), np.float32)
    rows = np.frombuffer(b"".join(stored), np.uint8).reshape(len(stored), _HEADER + 4 * dimension)
    return np.ascontiguousarray(rows[:, _HEADER:]).view(">f4").astype(np.float32)
