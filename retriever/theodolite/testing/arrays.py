"""Vectors in memory, for tests and benchmarks of indexes."""

import numpy as np
from numpy.typing import NDArray

from theodolite.types import Rows


class ArraySource:
    """An array as a `VectorSource`."""

    def __init__(self, vectors: NDArray[np.float32]) -> None:
        self._vectors = vectors

    def take(self, rows: Rows) -> NDArray[np.float32]:
        return self._vectors[rows]

    def span(self, start: int, stop: int) -> NDArray[np.float32]:
        return self._vectors[start:stop]
