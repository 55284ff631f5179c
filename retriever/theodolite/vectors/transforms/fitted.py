"""A transform that acts."""

import json
from base64 import b64encode
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import NDArray

from theodolite.errors import ConfigError
from theodolite.types import Transform

Floats = NDArray[np.float32] | NDArray[np.float64]
Doubles = NDArray[np.float64]

_BITS = 26  # of an integer in the fixed-point product


@dataclass(frozen=True, eq=False, repr=False)
class Fitted:
    """A transform that has been fitted: x becomes (x − mean) · matrix. Equal where the hash is.

    Attributes:
        spec: what was wanted.
        entered: the dimension that goes in.
        mean: (entered,) float64, or None.
        matrix: (entered, d) float32, or None.
    """

    spec: Transform
    entered: int
    mean: Doubles | None = None
    matrix: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        for array in (self.mean, self.matrix):
            if array is not None:
                array.setflags(write=False)

    @cached_property
    def hash(self) -> str:
        """SHA-256 over the specification, the dimension and the arrays, in hexadecimal."""
        found: str = encoded(self)["sha256"]
        return found

    @property
    def gain(self) -> float:
        """The factor by which a vector can grow at most."""
        return self._fixed[2] if self.matrix is not None else 1.0

    @property
    def moves(self) -> bool:
        return self.mean is not None

    def leaving(self, dimension: int) -> int:
        """The dimension that comes out. Raises ConfigError where it was fitted for another than `dimension`."""
        if dimension != self.entered:
            raise ConfigError(
                f"{self.spec} was fitted for {self.entered} dimensions, but vectors have {dimension} there",
                expected=self.entered,
                got=dimension,
            )
        return self.spec.leaving(dimension)

    def wanted(self, dimension: int) -> int:
        return 0

    def fitted(self, sample: Floats) -> "Fitted":
        self.leaving(sample.shape[1])
        return self

    def apply(self, rows: Floats) -> Floats:
        """(n, entered) to (n, d). What a row becomes does not depend, to the bit, on the rows beside it."""
        if self.mean is not None:
            rows = rows - self.mean
        if self.matrix is not None:
            return self._product(rows)
        return rows[:, : self.spec.leaving(self.entered)]

    def _product(self, rows: Floats) -> Doubles:
        """rows · matrix. BLAS adds in an order that depends on the number of rows, threads and processor.

        So that it does not matter, nothing is rounded: rows and columns, of length 1 at most once divided by a power
        of two, become integers in units of 2⁻²⁶. By Cauchy–Schwarz every sum of their products stays below 2⁵³.
        """
        wide = rows.astype(np.float64)
        lengths = np.sqrt(np.einsum("ij,ij->i", wide, wide))
        scales = _power(lengths)[:, None]
        wide *= 2.0**_BITS / scales
        np.rint(wide, out=wide)
        columns, column_scales, _ = self._fixed
        product: Doubles = wide @ columns
        product *= scales
        product *= column_scales
        return product

    @cached_property
    def _fixed(self) -> tuple[Doubles, Doubles, float]:
        """The matrix as integers, the units of its columns' products, and its norm (the columns are orthogonal)."""
        matrix = np.zeros((0, 0)) if self.matrix is None else self.matrix.astype(np.float64)
        lengths = np.sqrt(np.einsum("ij,ij->j", matrix, matrix))
        scales = _power(lengths)
        return np.rint(matrix * (2.0**_BITS / scales)), scales * 2.0 ** (-2 * _BITS), float(lengths.max(initial=0))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Fitted) and self.hash == other.hash

    def __hash__(self) -> int:
        return hash(self.hash)

    def __repr__(self) -> str:
        return f"{self.spec} fitted as {self.hash[:8]}"


def encoded(transform: Transform) -> dict[str, Any]:
    """As JSON values, with a hash."""
    spec: Any = transform.spec
    fitted = transform if isinstance(transform, Fitted) else None
    values = {
        "name": type(spec).__name__,
        "d": spec.size,
        "entered": transform.entered,
        "mean": None if fitted is None else _text(fitted.mean, "<f8"),
        "matrix": None if fitted is None else _text(fitted.matrix, "<f4"),
    }
    return {**values, "sha256": hash_of(values)}


def hash_of(values: dict[str, Any]) -> str:
    return sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _text(array: Floats | None, dtype: str) -> str | None:
    return None if array is None else b64encode(np.ascontiguousarray(array, dtype).tobytes()).decode()


def _power(lengths: Doubles) -> Doubles:
    """The least powers of two that are larger, but for ranges in which scaling would overflow."""
    powers: Doubles = np.ldexp(1.0, np.clip(np.frexp(lengths)[1], -900, 900))
    return powers
