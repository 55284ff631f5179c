"""Blocks of int8 codes and the bounds of their error.

A row x of a block with mean μ is v = x − μ, stored as a code c of small integers and a scale s, so that v ≈ s·Rᵀc;
64 rows share a scale, so the largest product of codes among them is also the largest similarity.
R is the identity, or a fixed rotation where a few outlier components would waste the code's range. For a query q

    |q·v − s·(q̂·c)| ≤ ‖q‖·r + ‖Rq − q̂‖·‖s·c‖,    r = ‖v − s·Rᵀc‖

by Cauchy–Schwarz, for any R and q̂. Here q̂ is the query in the same kind of code. The rounding of floats adds to this;
`scan` accounts for it.

Products of codes are exact integers, computed by numkong. No other module imports it.
"""

import os
import struct
import zlib
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, BinaryIO

import numkong
import numpy as np
from numpy.typing import NDArray

from theodolite.errors import CorruptionError

BLOCK = 16_384
"""Rows of a full block: large enough to hide the cost of a call, small enough to spread over threads."""

GROUP = 64
"""Rows that share a maximum; row i of a block with G groups belongs to group i mod G."""

products: Any = numkong.dots_packed
"""products(codes, packed, out=None): the int32 products of codes, (m, d), with packed codes of n rows, (m, n)."""

output: Any = numkong.from_dlpack
"""output(array): an array that `products` can write to."""


def instruction_sets() -> list[str]:
    """Return the SIMD instruction sets that numkong uses on this processor, such as `haswell`."""
    return [name for name, usable in numkong.get_capabilities().items() if usable and name != "serial"]


Floats = NDArray[np.float32]

_OUTLIER = 6.0  # largest component over root mean square; about 3 to 4 for rows without outliers
_TINY = np.float32(1e-36)  # below, a scale has no precision left: such rows get the code 0
_LEVELS = np.float32(127)
_SLICE = 256  # rows
_WIDTH = 64  # columns that numkong takes at once
_MAGIC = b"theo-i8\x01"
_HEADER = struct.Struct("<8s16sqqq?7xI")


@dataclass(frozen=True, slots=True)
class Codes:
    """Int8 codes of n vectors of dimension d, in G groups that share a scale.

    Attributes:
        center: (d,) the mean, which was subtracted.
        rotated: whether R·v was coded, not v.
        codes: (n, d) int8.
        scale: (G,).
        bounds: (3, G) upper bounds of ‖v − s·Rᵀc‖, ‖s·c‖ and ‖v‖ over the rows of each group.
        square: (n,) ‖v‖².
    """

    center: Floats
    rotated: bool
    codes: NDArray[np.int8]
    scale: Floats
    bounds: Floats
    square: Floats


def group_count(rows: int) -> int:
    """Return the number of groups of this many rows."""
    return -(-rows // GROUP)


def quantize(vectors: Floats) -> Codes:
    """Return the codes of `vectors`, (n, d) with n ≥ 1."""
    n, d = vectors.shape
    groups = group_count(n)
    center = vectors.mean(axis=0)
    rotated = has_outliers(vectors, center)
    turn = rotation(d) if rotated else None
    # Whole rounds of groups at a time, so that intermediate arrays stay in the cache and the heap stays small.
    step = groups * max(1, _SLICE // groups)
    slices = [slice(start, min(start + step, n)) for start in range(0, n, step)]
    # Rows of zeros fill the last round; they do not raise a maximum.
    largest = np.zeros(groups * GROUP, np.float32)
    for rows in slices:
        v = vectors[rows] - center
        turned = v if turn is None else v @ turn.T
        largest[rows] = np.maximum(turned.max(axis=1), -turned.min(axis=1))
    scale = largest.reshape(GROUP, groups).max(axis=0) / _LEVELS
    scale[scale < _TINY] = 1.0
    codes = np.empty((n, d), np.int8)
    squares = np.zeros((3, groups * GROUP))
    row_scale = np.tile(scale, step // groups)[:, None]
    for rows in slices:
        v = vectors[rows] - center
        row_scale = row_scale[: len(v)]
        levels = (v if turn is None else v @ turn.T) / row_scale
        np.rint(levels, out=levels)
        codes[rows] = levels
        levels *= row_scale
        squares[0, rows] = _squares(v - (levels if turn is None else levels @ turn))
        squares[1, rows] = _squares(levels)
        squares[2, rows] = _squares(v)
    up = 1 + (d + 8) * 2.0**-22  # for the rounding of the float32 products above
    highest = np.sqrt(squares.reshape(3, GROUP, groups).max(axis=1)) * up
    bounds = np.nextafter(highest.astype(np.float32), np.float32(np.inf))
    return Codes(center, rotated, codes, scale, bounds, squares[2, :n].astype(np.float32))


@lru_cache(maxsize=4)
def rotation(d: int) -> Floats:
    """Return a fixed random rotation, (d, d). The bound holds for any matrix; orthogonal ones make it tight."""
    q, r = np.linalg.qr(np.random.default_rng(d).standard_normal((d, d)))
    turned: Floats = np.ascontiguousarray(q * np.sign(np.diag(r)), dtype=np.float32)
    return turned


def _squares(rows: Floats) -> NDArray[np.float64]:
    # float64: float32 squares of small components would underflow.
    wide = rows.astype(np.float64)
    squares: NDArray[np.float64] = np.einsum("ij,ij->i", wide, wide)
    return squares


def has_outliers(vectors: NDArray[np.floating[Any]], center: NDArray[np.floating[Any]]) -> bool:
    """Return whether single components dwarf the others, judged by a sample of rows."""
    n, d = vectors.shape
    sample = np.abs((vectors[:: -(-n // _SLICE)] - center).astype(np.float64))
    norms = np.sqrt(np.square(sample).sum(axis=1))
    alive = norms > 0
    if d < 32 or not alive.any():
        return False
    return bool(np.mean(sample.max(axis=1)[alive] / norms[alive]) * np.sqrt(d) > _OUTLIER)


class Block:
    """An immutable run of rows, packed for the kernel.

    Attributes:
        start, stop: the rows it covers.
        packed: the codes, in numkong's own layout.
        center, rotated, scale, bounds, square: as in `Codes`.
    """

    __slots__ = ("bounds", "center", "groups", "packed", "rotated", "scale", "size", "square", "start", "stop")

    def __init__(self, start: int, codes: Codes) -> None:
        self.size = len(codes.codes)
        self.start = start
        self.stop = start + self.size
        self.packed: Any = pack(padded(codes.codes))
        self.center = codes.center
        self.rotated = codes.rotated
        self.groups = group_count(self.size)
        self.scale = codes.scale
        self.bounds = codes.bounds
        self.square = codes.square


def save_codes(file: BinaryIO, codes: Codes, start: int, owner: bytes) -> None:
    """Write codes with a checksum. Raises OSError.

    Args:
        start: the first row.
        owner: 16 bytes that name the collection and generation of the vectors.
    """
    payload = [
        np.ascontiguousarray(part).data.cast("B")
        for part in (codes.center, codes.scale, codes.bounds, codes.square, codes.codes)
    ]
    n, d = codes.codes.shape
    crc = zlib.crc32(_fields(owner, start, n, d, codes.rotated))
    for part in payload:
        crc = zlib.crc32(part, crc)
    file.write(_HEADER.pack(_MAGIC, owner, start, n, d, codes.rotated, crc))
    for part in payload:
        file.write(part)


def load_codes(file: BinaryIO, start: int, size: int, dimension: int, owner: bytes) -> Codes:
    """Read codes that `save_codes` wrote.

    Raises:
        CorruptionError: the file is damaged or belongs to other vectors. Quantize the vectors again.
    """
    which = f"the codes of rows {start} to {start + size - 1}"
    n, d, g = size, dimension, group_count(size)
    floats = d + 4 * g + n
    expected, found = _HEADER.size + 4 * floats + n * d, os.fstat(file.fileno()).st_size
    if found != expected:
        raise CorruptionError(f"{which}: the file has {found} bytes; {n} rows take {expected}")
    raw = np.fromfile(file, np.uint8, expected)
    if len(raw) != expected:
        raise CorruptionError(f"{which}: {len(raw)} of {expected} bytes could be read")
    magic, whose, first, rows, dims, rotated, crc = _HEADER.unpack_from(raw.data)
    body = raw[_HEADER.size :]
    if (magic, whose, first, rows, dims) != (_MAGIC, owner, start, n, d):
        raise CorruptionError(f"{which} belong to other data")
    if zlib.crc32(body.data, zlib.crc32(_fields(owner, start, n, d, rotated))) != crc:
        raise CorruptionError(f"{which} do not match their checksum")
    # Copies: views would keep the whole file in memory beside its packed form.
    values = body[: 4 * floats].view(np.float32).copy()
    if not np.isfinite(values).all():
        raise CorruptionError(f"{which} have numbers that are not finite")
    center, scale, bounds, square = np.split(values, [d, d + g, d + 4 * g])
    codes = body[4 * floats :].view(np.int8).reshape(n, d)
    return Codes(center, rotated, codes, scale, bounds.reshape(3, g), square)


def _fields(owner: bytes, start: int, n: int, d: int, rotated: bool) -> bytes:
    return struct.pack("<16sqqq?", owner, start, n, d, rotated)


def pack(codes: NDArray[np.int8]) -> Any:
    """Return codes, (n, d), in numkong's own layout."""
    return numkong.dots_pack(codes, "int8")


def padded(codes: NDArray[np.int8]) -> NDArray[np.int8]:
    """Return codes, (…, d), with zeros up to the next multiple of 64 columns.

    numkong takes twice as long for columns that are left over. The zeros do not make packed codes larger.
    """
    left = -codes.shape[-1] % _WIDTH
    return np.pad(codes, [(0, 0)] * (codes.ndim - 1) + [(0, left)]) if left else codes
