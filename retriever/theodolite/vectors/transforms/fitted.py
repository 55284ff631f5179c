"""Fitted transforms."""

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

_BITS = 26  # the bits of an integer in the fixed-point product


@dataclass(frozen=True, eq=False, repr=False)
class Fitted:
    """A fitted transform: x becomes (x − mean) · matrix. Equal if the hash is equal.

    Attributes:
        spec: the specification it was fitted from.
        input_dimension: the dimension of the vectors it takes.
        mean: (input_dimension,) float64, or None.
        matrix: (input_dimension, d) float32, or None.
    """

    spec: Transform
    input_dimension: int
    mean: Doubles | None = None
    matrix: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        for array in (self.mean, self.matrix):
            if array is not None:
                array.setflags(write=False)

    @cached_property
    def hash(self) -> str:
        """SHA-256 over the specification, the dimension and the arrays, in hexadecimal."""
        found: str = encode_transform(self)["sha256"]
        return found

    @property
    def gain(self) -> float:
        """The largest factor by which it can lengthen a vector."""
        return self._fixed[2] if self.matrix is not None else 1.0

    @property
    def subtracts_mean(self) -> bool:
        return self.mean is not None

    def output_dimension(self, dimension: int) -> int:
        """Return the output dimension. Raises ConfigError if it was fitted for another input dimension."""
        if dimension != self.input_dimension:
            raise ConfigError(
                f"{self.spec} was fitted for {self.input_dimension} dimensions, but vectors have {dimension} there",
                expected=self.input_dimension,
                got=dimension,
            )
        return self.spec.output_dimension(dimension)

    def rows_needed(self, dimension: int) -> int:
        return 0

    def fit_sample(self, sample: Floats) -> "Fitted":
        self.output_dimension(sample.shape[1])
        return self

    def apply(self, rows: Floats) -> Floats:
        """Transform rows, (n, input_dimension), to (n, d). No bit of a result depends on the other rows."""
        if self.mean is not None:
            rows = rows - self.mean
        if self.matrix is not None:
            return self._product(rows)
        return rows[:, : self.spec.output_dimension(self.input_dimension)]

    def _product(self, rows: Floats) -> Doubles:
        """Return rows · matrix, computed without rounding.

        The order in which BLAS adds depends on the number of rows, on threads and on the processor. Without rounding it
        does not matter: rows and columns are scaled by powers of two to a length of at most 1, and become integers in
        units of 2⁻²⁶. By Cauchy–Schwarz every sum of their products stays below 2⁵³.
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
        """Return the matrix as integers, the units of its columns' products, and its norm (columns are orthogonal)."""
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


def encode_transform(transform: Transform) -> dict[str, Any]:
    """Return a transform as JSON values, with a hash."""
    spec: Any = transform.spec
    fitted = transform if isinstance(transform, Fitted) else None
    values = {
        "name": type(spec).__name__,
        "d": spec.size,
        "entered": transform.input_dimension,
        "mean": None if fitted is None else _text(fitted.mean, "<f8"),
        "matrix": None if fitted is None else _text(fitted.matrix, "<f4"),
    }
    return {**values, "sha256": hash_of(values)}


def hash_of(values: dict[str, Any]) -> str:
    return sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _text(array: Floats | None, dtype: str) -> str | None:
    return None if array is None else b64encode(np.ascontiguousarray(array, dtype).tobytes()).decode()


def _power(lengths: Doubles) -> Doubles:
    """Return the smallest powers of two above the lengths, within a range in which scaling does not overflow."""
    powers: Doubles = np.ldexp(1.0, np.clip(np.frexp(lengths)[1], -900, 900))
    return powers
