"""Values in PostgreSQL's binary form: vectors of pgvector, and arrays of keys and of texts."""

import struct
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

_HEADER = 4  # bytes of a vector: its dimension and zero; 32-bit floats follow, all big-endian
_VECTOR = struct.Struct(">HH").pack
_SIZE = struct.Struct(">i").pack
_ARRAY = struct.Struct(">iiIii").pack  # dimensions, nulls, the type's number, length, first index
_EMPTY_ARRAY = struct.Struct(">iiI").pack
_TEXT = 25
_BIGINT = 20


class BinaryParameter(bytes):
    """A parameter in binary form. The statement names its type: %s::vector."""


class BinaryArray(BinaryParameter):
    """An array of any length.

    `= ANY` of an array is a lookup in a hash table if the plan is made for this array. So such statements
    are not prepared.
    """


def encode_vectors(vectors: NDArray[np.float32]) -> list[bytes]:
    """Return each row of (n, d)."""
    count, dimension = vectors.shape
    rows = np.zeros((count, _HEADER + 4 * dimension), np.uint8)
    rows[:, :2] = np.array([dimension], ">u2").view(np.uint8)
    rows[:, _HEADER:] = vectors.astype(">f4").view(np.uint8).reshape(count, 4 * dimension)
    return [row.tobytes() for row in rows]


def encode_vector(vector: NDArray[np.float32]) -> BinaryParameter:
    """Return one vector, (d,), as a parameter."""
    return BinaryParameter(_VECTOR(len(vector), 0) + vector.astype(">f4").tobytes())


def decode_vectors(stored: Sequence[bytes], dimension: int) -> NDArray[np.float32]:
    """Return vectors as an array, (n, d)."""
    if not stored:
        return np.empty((0, dimension), np.float32)
    rows = np.frombuffer(b"".join(stored), np.uint8).reshape(len(stored), _HEADER + 4 * dimension)
    return np.ascontiguousarray(rows[:, _HEADER:]).view(">f4").astype(np.float32)


def vector_length(stored: Sequence[bytes]) -> int:
    """Return the dimension of vectors; 0 if there are none."""
    return (len(stored[0]) - _HEADER) // 4 if stored else 0


def encode_keys(keys: NDArray[np.int64]) -> BinaryArray:
    """Return keys, (n,), as a parameter of the type bigint[]."""
    if not len(keys):
        return BinaryArray(_EMPTY_ARRAY(0, 0, _BIGINT))
    items = np.empty(len(keys), [("size", ">i4"), ("key", ">i8")])
    items["size"], items["key"] = 8, keys
    return BinaryArray(_ARRAY(1, 0, _BIGINT, len(keys), 1) + items.tobytes())


def encode_texts(values: Iterable[str]) -> BinaryArray:
    """Return texts as a parameter of the type text[]."""
    return BinaryArray(text_array([sized(value.encode()) for value in values]))


def text_array(items: Sequence[bytes]) -> bytes:
    """Return an array of texts that `sized` has encoded."""
    if not items:
        return _EMPTY_ARRAY(0, 0, _TEXT)
    return _ARRAY(1, 0, _TEXT, len(items), 1) + b"".join(items)


def sized(value: bytes) -> bytes:
    """Return a value with its length before it."""
    return _SIZE(len(value)) + value
