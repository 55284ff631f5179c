"""Blocks of codes of 4 or 8 bits, and the bounds of their error.

A row x of a block with mean μ is v = x − μ, stored as a code c of small numbers and a scale s, so that v ≈ s·Rᵀc;
64 rows share a scale, so the largest product of codes among them is also the largest similarity.
R is the identity, or a fixed rotation where a few outlier components would waste the code's range. For a query q

    |q·v − s·(q̂·c)| ≤ ‖q‖·r + ‖Rq − q̂‖·‖s·c‖,    r = ‖v − s·Rᵀc‖

by Cauchy–Schwarz: q·v − q̂·sc = Rq·(Rv − sc) + (Rq − q̂)·sc, and R keeps lengths. It holds for any q̂ and c, so it does
not matter how many bits a code has, or that some components are clipped; r is measured, not estimated. The rounding of
floats adds to this; `scan` accounts for it.

- **8 bits.** c holds integers in [−127, 127]; the scale is such that the largest component just fits. r is about 0.01
  of ‖v‖.
- **4 bits.** c holds u − 7.5 for u in 0 … 15. The scale puts the ends at 2.7 times the root mean square of the longest
  row, which costs less than a coarser scale would; r is about 0.13 of ‖v‖. A row takes half the memory, and a scan of
  one query about half the time.

q̂ is the query in 8 bits, t·p with p in [−127, 127]. For 4-bit rows it is split: p + 128 = 16·h + l, so that one pass
computes h·u and l·u. Then p·c = 16·h·u + l·u − 128·Σu − 7.5·Σp, where 128·Σu belongs to the row and 7.5·Σp to the
query.

Products of codes are exact integers, computed by numkong. No other module imports it.
"""

import os
import struct
import threading
import zlib
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, BinaryIO

import numkong
import numpy as np
from numpy.typing import NDArray

from theodolite.errors import CorruptionError
from theodolite.indexes.flat.mapped_file import mapped

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
Doubles = NDArray[np.float64]

NARROW, WIDE = 4, 8
"""Bits of a code."""

_CLIP = 2.7  # root mean squares; about 0.7 % of normal components lie beyond
_MIDDLE = np.float32(7.5)
_HALF = 128  # added to an 8-bit query, so that its halves are not negative
_MIN_DIMENSION = 192  # below, 8-bit rows are short enough that reading them is not what takes time
_SAMPLE = 1024  # rows
_QUERIES = 12
_MOST_LEFT = 0.04  # share of rows that would be scored exactly, above which 8 bits are faster
_OUTLIER = 6.0  # largest component over root mean square; about 3 to 4 for rows without outliers
_TINY = np.float32(1e-36)  # below, a scale has no precision left: such rows get the code 0
_LEVELS = np.float32(127)
_SLICE = 256  # rows
_WIDTH = 64  # columns that numkong takes at once
_PACKED = 16  # one in so many blocks is packed with each search
_MAGIC = {WIDE: b"theo-c8\x02", NARROW: b"theo-c4\x02"}  # the last byte is the version
_HEADER = struct.Struct("<8s16sqqq?7xI")
_scratch = threading.local()


@dataclass(frozen=True, slots=True)
class Codes:
    """Codes of n vectors of dimension d, in G groups that share a scale.

    Attributes:
        bits: `WIDE` or `NARROW`.
        center: (d,) the mean, which was subtracted.
        rotated: whether R·v was coded, not v.
        codes: (n, d) int8; with 4 bits (n, w) uint8, where `unpacked` finds u.
        scale: (G,).
        bounds: (3, G) upper bounds of ‖v − s·Rᵀc‖, ‖s·c‖ and ‖v‖ over the rows of each group.
        square: (n,) ‖v‖².
    """

    bits: int
    center: Floats
    rotated: bool
    codes: NDArray[np.int8] | NDArray[np.uint8]
    scale: Floats
    bounds: Floats
    square: Floats

    def levels(self, rows: slice) -> Floats:
        """Return s·c of these rows, (m, d)."""
        d = len(self.center)
        steps = self.codes[rows] if self.bits == WIDE else unpacked(self.codes[rows])[:, :d] - _MIDDLE
        return steps * np.tile(self.scale, GROUP)[: len(self.codes)][rows, None]


def group_count(rows: int) -> int:
    """Return the number of groups of this many rows."""
    return -(-rows // GROUP)


def compressed(vectors: Floats) -> Codes:
    """Return the codes of `vectors` that are scanned fastest.

    Full blocks get 4 bits, unless these would rule out too few rows. For shorter ones their selection would take as
    long as the scan.
    """
    n, d = vectors.shape
    if d >= _MIN_DIMENSION and n == BLOCK and share_left(vectors) <= _MOST_LEFT:
        return quantize(vectors, NARROW)
    return quantize(vectors, WIDE)


def share_left(vectors: Floats) -> float:
    """Estimate the share of rows that 4-bit codes cannot rule out.

    Some rows are queries, and the threshold is the score of their nearest neighbor in the block: one block of many has
    about one of the ten nearest rows.
    """
    n = len(vectors)
    center = vectors.mean(axis=0)
    queries = vectors[:: -(-n // _QUERIES)] - center
    with np.errstate(all="ignore"):  # lengths beyond float32 leave NaN, which counts as left
        near = queries @ vectors.T
        nearest = np.partition(near, n - 2, axis=1)[:, n - 2]  # the last is the query itself
        error = quantize(vectors[:: -(-n // _SAMPLE)], NARROW).bounds[0].mean() * np.linalg.norm(queries, axis=1)
        left = ~(near < (nearest - error)[:, None])
    return float(np.median(left.mean(axis=1)))


def quantize(vectors: Floats, bits: int = WIDE) -> Codes:
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
    squares = np.zeros((3, groups * GROUP))
    for rows in slices:
        v = vectors[rows] - center
        squares[2, rows] = _squares(v)
        if bits == WIDE:
            turned = v if turn is None else v @ turn.T
            largest[rows] = np.maximum(turned.max(axis=1), -turned.min(axis=1)) / _LEVELS
    if bits == NARROW:
        largest[:] = np.sqrt(squares[2] / d) * (_CLIP / _MIDDLE)
    scale = largest.reshape(GROUP, groups).max(axis=0)
    scale[scale < _TINY] = 1.0 if bits == WIDE else _TINY  # 4 bits have no code for 0
    width = d + -d % _WIDTH
    codes: NDArray[np.int8] | NDArray[np.uint8]
    codes = np.empty((n, d), np.int8) if bits == WIDE else np.empty((n, width // 2), np.uint8)
    row_scale = np.tile(scale, step // groups)[:, None]
    for rows in slices:
        v = vectors[rows] - center
        row_scale = row_scale[: len(v)]
        levels = (v if turn is None else v @ turn.T) / row_scale
        if bits == WIDE:
            np.rint(levels, out=levels)
            codes[rows] = levels
        else:
            levels += np.float32(8)
            np.clip(levels, 0, 15, out=levels)
            halves = levels.astype(np.uint8)  # truncated, so that u − 7.5 is the nearest level
            codes[rows] = packed_halves(halves, width)
            np.subtract(halves, _MIDDLE, out=levels)
        levels *= row_scale
        squares[0, rows] = _squares(v - (levels if turn is None else levels @ turn))
        squares[1, rows] = _squares(levels)
    up = 1 + (d + 8) * 2.0**-22  # for the rounding of the float32 products above
    highest = np.sqrt(squares.reshape(3, GROUP, groups).max(axis=1)) * up
    bounds = np.nextafter(highest.astype(np.float32), np.float32(np.inf))
    return Codes(bits, center, rotated, codes, scale, bounds, squares[2, :n].astype(np.float32))


def packed_halves(values: NDArray[np.uint8], width: int) -> NDArray[np.uint8]:
    """Return values from 0 to 15, (…, d), two a byte, (…, width / 2).

    The lower half of byte j holds value j, the upper half value j + width / 2; missing ones are 0. Rows and queries
    are packed alike, so the order of the columns does not matter.
    """
    half = width // 2
    out = np.zeros((*values.shape[:-1], half), np.uint8)
    lower, upper = values[..., :half], values[..., half:]
    out[..., : lower.shape[-1]] = lower
    out[..., : upper.shape[-1]] |= upper << 4
    return out


def unpacked(packed: NDArray[Any]) -> NDArray[np.uint8]:
    """Return the values of `packed_halves`, (n, width)."""
    return np.concatenate([packed & 15, packed >> 4], axis=1, dtype=np.uint8)


def query_halves(levels: Doubles) -> NDArray[np.uint8]:
    """Return the two halves of a query in 8 bits, (d,), packed as the rows are: h and l, (2, w)."""
    d = len(levels)
    shifted = (levels + _HALF).astype(np.uint8)
    return packed_halves(np.array([shifted >> 4, shifted & 15]), d + -d % _WIDTH)


def nibbles(packed: NDArray[np.uint8]) -> Any:
    """Return values of `packed_halves` as a tensor that `products` can read."""
    return numkong.from_pointer(packed.ctypes.data, packed.shape, "uint4", owner=packed)


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

    Packing codes of 4 bits takes as long as a few scans of them as they are, and such a scan a fifth longer than one of
    packed codes. So they are packed later, some blocks with each search after the first.

    Attributes:
        start, stop: the rows it covers.
        packed: the codes, in numkong's own layout; None for codes of 4 bits that are not packed yet.
        offset: (n,) int32 128·Σu of the rows' 4-bit codes; (0,) with 8 bits.
        bits, center, rotated, scale, bounds, square: as in `Codes`.
    """

    __slots__ = (
        "_scans_left",
        "_unpacked",
        "bits",
        "bounds",
        "center",
        "groups",
        "offset",
        "packed",
        "rotated",
        "scale",
        "size",
        "square",
        "start",
        "stop",
    )

    def __init__(self, start: int, codes: Codes) -> None:
        self.size = len(codes.codes)
        self.start = start
        self.stop = start + self.size
        self.bits = codes.bits
        self.offset = np.empty(0, np.int32)
        self.packed: Any = None
        self._unpacked: Any = None
        self._scans_left = 1 + start // BLOCK % _PACKED
        if codes.bits == WIDE:
            self.packed = pack(padded(codes.codes.view(np.int8)))
        else:
            self._unpacked = nibbles(codes.codes.view(np.uint8))
            ones = np.full((1, codes.codes.shape[1]), 0x11, np.uint8)
            self.offset = self._products(nibbles(ones))[0] * np.int32(_HALF)
        self.center = codes.center
        self.rotated = codes.rotated
        self.groups = group_count(self.size)
        self.scale = codes.scale
        self.bounds = codes.bounds
        self.square = codes.square

    def narrow_products(self, halves: Any) -> NDArray[np.int32]:
        """Return p·u = 16·h·u + l·u − 128·Σu for the 4-bit codes u of all rows, (1, n).

        Args:
            halves: h and l, the result of `query_halves` as a tensor.
        """
        rows = self._unpacked
        if rows is not None:
            if self._scans_left > 0:
                self._scans_left -= 1
            else:
                self.packed = numkong.dots_pack(rows, dtype="uint4")
                self._unpacked = None
        parts = self._products(halves)
        counts = parts[:1]
        counts <<= 4
        counts += parts[1]
        counts -= self.offset
        return counts

    def _products(self, halves: Any) -> NDArray[np.int32]:
        rows = self._unpacked
        if rows is None:  # `packed` was set before
            return np.asarray(products(halves, self.packed)).view(np.int32)
        return np.asarray(products(rows, numkong.dots_pack(halves, dtype="uint4"))).view(np.int32).T


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
    n, d = len(codes.codes), len(codes.center)
    crc = zlib.crc32(_fields(owner, start, n, d, codes.rotated))
    for part in payload:
        crc = zlib.crc32(part, crc)
    file.write(_HEADER.pack(_MAGIC[codes.bits], owner, start, n, d, codes.rotated, crc))
    for part in payload:
        file.write(part)


def load_codes(file: BinaryIO, start: int, size: int, dimension: int, owner: bytes) -> Codes:
    """Read codes that `save_codes` wrote. Those of 8 bits are valid until this thread reads others.

    Raises:
        CorruptionError: the file is damaged or belongs to other vectors. Quantize the vectors again.
    """
    which = f"the codes of rows {start} to {start + size - 1}"
    n, d, g = size, dimension, group_count(size)
    floats = d + 4 * g + n
    widths = {WIDE: d, NARROW: (d + -d % _WIDTH) // 2}
    found = os.fstat(file.fileno()).st_size
    head = file.read(_HEADER.size)
    bits = NARROW if head.startswith(_MAGIC[NARROW]) else WIDE
    length = 4 * floats + n * widths[bits]
    if found != _HEADER.size + length:
        raise CorruptionError(f"{which}: the file has {found} bytes; {n} rows take {_HEADER.size + length}")
    body = mapped(file, found)[_HEADER.size :] if bits == NARROW else _read(file, length)
    if len(head) + len(body) != found:
        raise CorruptionError(f"{which}: {len(head) + len(body)} of {found} bytes could be read")
    magic, whose, first, rows, dims, rotated, crc = _HEADER.unpack(head)
    if (magic, whose, first, rows, dims) != (_MAGIC[bits], owner, start, n, d):
        raise CorruptionError(f"{which} belong to other data, or another version wrote them")
    if zlib.crc32(body.data, zlib.crc32(_fields(owner, start, n, d, rotated))) != crc:
        raise CorruptionError(f"{which} do not match their checksum")
    # Copies: they are needed longer than the codes, which are packed.
    values = body[: 4 * floats].view(np.float32).copy()
    if not np.isfinite(values).all():
        raise CorruptionError(f"{which} have numbers that are not finite")
    center, scale, bounds, square = np.split(values, [d, d + g, d + 4 * g])
    codes = body[4 * floats :].reshape(n, widths[bits])
    held = codes.view(np.int8) if bits == WIDE else codes
    return Codes(bits, center, rotated, held, scale, bounds.reshape(3, g), square)


def _read(file: BinaryIO, size: int) -> NDArray[np.uint8]:
    """Read up to `size` bytes into the thread's buffer. A fresh one would cost a page fault every 4 KB."""
    buffer: NDArray[np.uint8] | None = getattr(_scratch, "buffer", None)
    if buffer is None or len(buffer) < size:
        buffer = _scratch.buffer = np.empty(size, np.uint8)
    raw = buffer[:size]
    return raw[: file.readinto(raw.data)]  # type: ignore[attr-defined] # files that are opened for bytes have it


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
