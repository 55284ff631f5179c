"""Blocks of int8 codes, with what bounds their error.

A row x of a block with mean μ is v = x − μ, stored as a code c of small integers and a scale s, so that v ≈ s·Rᵀc.
R is the identity, or a fixed rotation where a few outlier components would waste the code's range. For a query q

    |q·v − s·(q̂·c)| ≤ ‖q‖·r + ‖Rq − q̂‖·‖s·c‖,    r = ‖v − s·Rᵀc‖

by Cauchy–Schwarz, whatever R and q̂ are. q̂ is the query in the same kind of code. What the rounding of floats adds is
in `flat`, with the rest of the bound.
"""

import struct
import zlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numkong
import numpy as np
from numpy.typing import NDArray

from theodolite.errors import CorruptionError

BLOCK = 16_384
"""Rows of a full block: large enough to hide the cost of a call, small enough to spread over threads."""

GROUP = 64
"""Rows that share a maximum; row i of a block with G groups belongs to group i mod G."""

Floats = NDArray[np.float32]

_OUTLIER = 6.0  # largest component over root mean square; about 3 to 4 for rows without outliers
_TINY = np.float32(1e-36)  # below, a scale has no precision left: such rows get the code 0
_LEVELS = np.float32(127)
_MAGIC = b"theo-i8\x01"
_HEADER = struct.Struct("<8s16sqqq?7xI")


@dataclass(frozen=True, slots=True)
class Codes:
    """Int8 codes of n vectors of dimension d.

    Attributes:
        center: (d,) the mean that was taken off.
        rotated: whether the codes are of R·v.
        codes: (n, d) int8.
        scale: (n,).
        residual: (n,) upper bounds of ‖v − s·Rᵀc‖.
        length: (n,) upper bounds of ‖s·c‖.
        norm: (n,) upper bounds of ‖v‖.
    """

    center: Floats
    rotated: bool
    codes: NDArray[np.int8]
    scale: Floats
    residual: Floats
    length: Floats
    norm: Floats


def quantise(vectors: Floats, *, center: bool = True) -> Codes:
    """The codes of `vectors`, (n, d) with n ≥ 1. Queries are not centred."""
    d = vectors.shape[1]
    mean = vectors.mean(axis=0, dtype=np.float64).astype(np.float32) if center else np.zeros(d, np.float32)
    v = vectors - mean
    largest = np.maximum(v.max(axis=1), -v.min(axis=1))
    norm = _norms(v)
    rotated = center and _has_outliers(largest, norm, d)
    turned = v
    if rotated:
        turned = v @ rotation(d).T
        largest = np.maximum(turned.max(axis=1), -turned.min(axis=1))
    scale = largest / _LEVELS
    scale[scale < _TINY] = 1.0
    levels = turned / scale[:, None]
    np.rint(levels, out=levels)
    codes = levels.astype(np.int8)
    length = _norms(levels) * scale
    levels *= scale[:, None]
    residual = _norms(v - (levels @ rotation(d) if rotated else levels))
    up = np.float32(1 + (d + 8) * 2.0**-22)  # what float32 sums over d terms may have lost
    return Codes(mean, rotated, codes, scale, residual * up, length * up, norm * up)


@lru_cache(maxsize=4)
def rotation(d: int) -> Floats:
    """A fixed random rotation, (d, d). The bound holds for any matrix; orthogonal ones make it tight."""
    q, r = np.linalg.qr(np.random.default_rng(d).standard_normal((d, d)))
    turned: Floats = np.ascontiguousarray(q * np.sign(np.diag(r)), dtype=np.float32)
    return turned


def _norms(rows: Floats) -> Floats:
    # float64 sums: float32 squares of small components would underflow.
    squares: NDArray[np.float64] = np.einsum("ij,ij->i", rows, rows, dtype=np.float64)
    return np.sqrt(squares).astype(np.float32)


def _has_outliers(largest: Floats, norm: Floats, d: int) -> bool:
    alive = norm > _TINY
    if d < 32 or not alive.any():
        return False
    return bool(np.mean(largest[alive] / norm[alive]) * np.sqrt(d) > _OUTLIER)


class Block:
    """An immutable run of rows, packed for the kernel.

    Attributes:
        start, stop: the rows it covers.
        packed: the codes, in the kernel's own layout.
        groups: the number of groups of GROUP rows.
        bounds: (3, groups) the largest residual, length and norm in each group.
    """

    __slots__ = ("bounds", "codes", "groups", "packed", "size", "start", "stop")

    def __init__(self, start: int, codes: Codes) -> None:
        size = len(codes.scale)
        self.start = start
        self.stop = start + size
        self.size = size
        self.packed: Any = numkong.dots_pack(codes.codes, "int8")
        # The packed copy is all the scan needs; keep the rest of `codes` without its array.
        self.codes = Codes(
            codes.center,
            codes.rotated,
            codes.codes[:0],
            codes.scale,
            codes.residual,
            codes.length,
            codes.norm,
        )
        self.groups = -(-size // GROUP)
        padded = np.zeros((3, self.groups * GROUP), np.float32)
        padded[:, :size] = codes.residual, codes.length, codes.norm
        self.bounds: Floats = padded.reshape(3, GROUP, self.groups).max(axis=1)


def save_codes(path: Path, codes: Codes, start: int, owner: bytes) -> None:
    """Write codes with a checksum. Raises OSError.

    Args:
        start: the first row.
        owner: 16 bytes that name the collection and generation.
    """
    payload = [
        np.ascontiguousarray(part).data.cast("B")
        for part in (codes.center, codes.scale, codes.residual, codes.length, codes.norm, codes.codes)
    ]
    n, d = codes.codes.shape
    crc = zlib.crc32(_fields(owner, start, n, d, codes.rotated))
    for part in payload:
        crc = zlib.crc32(part, crc)
    with path.open("wb") as file:
        file.write(_HEADER.pack(_MAGIC, owner, start, n, d, codes.rotated, crc))
        for part in payload:
            file.write(part)


def load_codes(path: Path, start: int, size: int, dimension: int, owner: bytes) -> Codes:
    """Read what `save_codes` wrote.

    Raises:
        FileNotFoundError: there is none.
        CorruptionError: the file is not what it should be; quantise anew.
    """
    raw = np.fromfile(path, np.uint8)
    n, d = size, dimension
    floats = d + 4 * n
    if len(raw) != _HEADER.size + 4 * floats + n * d:
        raise CorruptionError(f"{path.name} has {len(raw)} bytes, not those of {n} rows", path=str(path))
    magic, whose, first, rows, dims, rotated, crc = _HEADER.unpack_from(raw.data)
    body = raw[_HEADER.size :]
    if (magic, whose, first, rows, dims) != (_MAGIC, owner, start, n, d):
        raise CorruptionError(f"{path.name} belongs to other data", path=str(path))
    if zlib.crc32(body.data, zlib.crc32(_fields(owner, start, n, d, rotated))) != crc:
        raise CorruptionError(f"{path.name} does not match its checksum", path=str(path))
    # Copies: views would keep the whole file in memory beside its packed form.
    values = body[: 4 * floats].view(np.float32).copy()
    scale, residual, length, norm = values[d:].reshape(4, n)
    codes = body[4 * floats :].view(np.int8).reshape(n, d)
    return Codes(values[:d], rotated, codes, scale, residual, length, norm)


def _fields(owner: bytes, start: int, n: int, d: int, rotated: bool) -> bytes:
    return struct.pack("<16sqqq?", owner, start, n, d, rotated)
