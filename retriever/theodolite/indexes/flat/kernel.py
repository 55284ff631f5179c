"""The int8 kernel: exact integer products of codes. The only module that imports numkong."""

from typing import Any

import numkong
import numpy as np
from numpy.typing import NDArray

_WIDTH = 64  # columns that the kernel takes at once

products: Any = numkong.dots_packed
"""products(codes, packed, out=None): the int32 products of codes, (m, d), with packed codes of n rows, (m, n)."""

output: Any = numkong.from_dlpack
"""output(array): an array that `products` can write to."""


def pack(codes: NDArray[np.int8]) -> Any:
    """Return codes, (n, d), in the kernel's own layout."""
    return numkong.dots_pack(codes, "int8")


def padded(codes: NDArray[np.int8]) -> NDArray[np.int8]:
    """Return codes, (…, d), with zeros up to the next multiple of 64 columns.

    The kernel takes twice as long for columns that are left over. Packed codes are no larger with the zeros.
    """
    left = -codes.shape[-1] % _WIDTH
    return np.pad(codes, [(0, 0)] * (codes.ndim - 1) + [(0, left)]) if left else codes
