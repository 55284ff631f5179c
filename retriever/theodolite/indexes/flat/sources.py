"""Where the flat index gets vectors, and codes of them."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from theodolite.indexes.flat.codes import WIDE, Codes, compressed, quantize
from theodolite.types import Rows

Floats = NDArray[np.float32]


class VectorSource(Protocol):
    """The float32 vectors of all rows."""

    def take(self, rows: Rows, out: Floats | None = None) -> Floats:
        """Return the vectors of these rows, (n, d).

        Args:
            out: (m, d) with m ≥ n, C-contiguous: where they may be written. Fresh memory costs a page fault every 4 KB.
        """
        ...

    def span(self, start: int, stop: int) -> Floats:
        """Return the vectors of the rows from `start` to `stop`, (stop − start, d)."""
        ...


class CodesFor(Protocol):
    """Makes the codes of full blocks, for instance by reading them from a cache."""

    def __call__(self, source: VectorSource, start: int, stop: int, *, wide: bool = False) -> Codes:
        """Return the codes of the rows from `start` to `stop`, with 8 bits if `wide`."""
        ...


def make_codes(source: VectorSource, start: int, stop: int, *, wide: bool = False) -> Codes:
    """Compute codes from the vectors."""
    vectors = source.span(start, stop)
    return quantize(vectors, WIDE) if wide else compressed(vectors)
