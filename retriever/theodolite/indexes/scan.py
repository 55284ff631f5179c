"""One pass over the codes of all blocks, and the bounds that follow from it."""

import threading
from collections.abc import Iterator, Sequence
from typing import Any

import numkong
import numpy as np
from numpy.typing import NDArray

from theodolite.indexes.blocks import BLOCK, GROUP, Block, rotation
from theodolite.indexes.workers import Workers
from theodolite.types import Mask, Metric, Rows

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]

_EPS = 16 * 2.0**-24
"""Slack for float rounding, relative to the largest value that can occur: a dozen roundings of float32's half ulp."""

_BATCH = 16  # queries scanned together: enough to share the reading of a block
_BUFFER = 1 << 24  # approximate similarities held at a time


class QueryCodes:
    """Queries in int8, for each of the blocks.

    For L2 a block sees w = q − μ, for dot and cosine q itself.

    Attributes:
        codes: (blocks or 1, m, d) int8.
        gain: (blocks, m) what a code product must be multiplied by, beside the row's scale.
        length: (blocks, m) the norm of w or q.
        error: (blocks, m) the norm of what the code leaves of it.
        constant: (blocks, m) what is added to the product: q·μ, or −‖w‖² for L2.
        slack: (blocks, m) what float rounding may add whatever the row is, and
        slope: (blocks, m) per unit of the row's norm.
    """

    def __init__(self, queries: Floats, metric: Metric, blocks: Sequence[Block]) -> None:
        m, d = queries.shape
        wide = queries.astype(np.float64)
        centers = np.array([block.codes.center for block in blocks], np.float64).reshape(len(blocks), d)
        turned = np.array([block.codes.rotated for block in blocks], np.bool_)
        # (blocks, m, d)
        seen = wide[None] - centers[:, None] if metric == "l2" else np.broadcast_to(wide, (len(blocks), m, d))
        square = np.einsum("bmd,bmd->bm", seen, seen)
        self.length: Doubles = np.sqrt(square)
        # One variant serves all blocks unless they differ in what they see of the query.
        if metric == "l2" or turned.any():
            base = seen.copy()
            if turned.any():
                base[turned] = base[turned] @ rotation(d).T.astype(np.float64)
        else:
            base = wide[None]
        largest = np.abs(base).max(axis=2)
        scale = np.where(largest > 0, largest / 127, 1.0)
        levels = np.rint(base / scale[:, :, None])
        self.codes: NDArray[np.int8] = levels.astype(np.int8)
        levels *= scale[:, :, None]
        levels -= base
        shape = (len(blocks), m)
        error = np.sqrt(np.einsum("bmd,bmd->bm", levels, levels))
        self.error: Doubles = np.broadcast_to(error, shape)
        self.gain: Doubles = np.broadcast_to(scale, shape)
        if metric == "l2":
            self.gain = 2 * self.gain
            self.constant: Doubles = -square
            self.slack: Doubles = _EPS * square
            self.slope: Doubles = 2 * _EPS * self.length
        else:
            self.constant = centers @ wide.T
            self.slack = _EPS * self.length * np.sqrt(np.einsum("bd,bd->b", centers, centers))[:, None]
            self.slope = _EPS * self.length


class Scan:
    """Approximate similarities of every row of some blocks.

    The buffer for m queries is laid out block by block: block b holds (m, padded size) floats from m × its offset.
    """

    def __init__(self, metric: Metric, blocks: Sequence[Block], pool: Workers) -> None:
        self.metric: Metric = metric
        self.blocks = blocks
        self._pool = pool
        groups = np.array([block.groups for block in blocks], np.int64)
        self.group_start = np.concatenate([[0], np.cumsum(groups)]).astype(np.int64)
        self.groups = int(self.group_start[-1])
        self.group_block = np.repeat(np.arange(len(blocks)), groups)
        self.bounds: Floats = (
            np.concatenate([block.bounds for block in blocks], axis=1) if blocks else np.zeros((3, 0), np.float32)
        )
        self._scratch = threading.local()

    def parts(self, queries: int) -> Iterator[slice]:
        """How to cut a batch so that the buffer stays small."""
        step = max(1, min(_BATCH, _BUFFER // max(1, self.groups * GROUP)))
        return (slice(start, start + step) for start in range(0, queries, step))

    def run(self, queries: QueryCodes, mask: Mask | None) -> "Scanned":
        """Scan all blocks with an eligible row."""
        m = queries.codes.shape[1]
        values = self._buffer(m * self.groups * GROUP)
        tops = np.full((m, self.groups), -np.inf, np.float32)

        def one(number: int) -> None:
            block = self.blocks[number]
            allowed = None if mask is None else mask[block.start : block.stop]
            if allowed is not None:
                if not allowed.any():
                    return
                if allowed.all():
                    allowed = None
            first = int(self.group_start[number])
            room = values[m * first * GROUP : m * (first + block.groups) * GROUP]
            tile = room.reshape(m, block.groups * GROUP)
            self._approximate(block, queries, number, tile, allowed)
            tile.reshape(m, GROUP, block.groups).max(axis=1, out=tops[:, first : first + block.groups])

        self._pool.run(one, range(len(self.blocks)))
        return Scanned(self, queries, values, tops)

    def _approximate(self, block: Block, queries: QueryCodes, number: int, tile: Floats, allowed: Mask | None) -> None:
        codes = queries.codes[min(number, len(queries.codes) - 1)]
        products = np.asarray(self._products(codes, block))
        live = tile[:, : block.size]
        # In numpy int32 × float32 would be float64; int32 above 2^24 rounds, which the slack covers.
        np.multiply(products, block.codes.scale, out=live, dtype=np.float32, casting="unsafe")
        if self.metric == "l2":
            live *= queries.gain[number].astype(np.float32)[:, None]
            live -= np.square(block.codes.norm)
        if allowed is not None:
            np.copyto(live, -np.inf, where=~allowed)
        tile[:, block.size :] = -np.inf

    def _products(self, codes: NDArray[np.int8], block: Block) -> Any:
        if block.size != BLOCK:
            return numkong.dots_packed(codes, block.packed)
        key = len(codes)
        outs: dict[int, Any] = self._scratch.__dict__.setdefault("products", {})
        if key not in outs:
            outs.clear()
            outs[key] = numkong.zeros((key, BLOCK), dtype="int32")
        return numkong.dots_packed(codes, block.packed, out=outs[key])

    def _buffer(self, size: int) -> Floats:
        """Room for `size` floats, kept by the thread: fresh memory would cost a page fault every 4 KB."""
        held: Floats | None = getattr(self._scratch, "values", None)
        if held is None or len(held) < size:
            held = self._scratch.values = np.empty(size, np.float32)
        return held[:size]


class Scanned:
    """What a scan found, until the thread scans again."""

    def __init__(self, scan: Scan, queries: QueryCodes, values: Floats, tops: Floats) -> None:
        self._scan = scan
        self._queries = queries
        self._values = values
        self._tops = tops

    def candidates(self, number: int, k: int) -> tuple[Rows, Doubles, Doubles]:
        """Rows that may be among the k best for one of the queries, with lower and upper bounds.

        The bounds are of the similarity, for L2 of −d². Rows are in rising order.
        """
        scan, q = self._scan, self._queries
        of = scan.group_block
        centre = self._tops[number] * self._gain(number)[of] + q.constant[:, number][of]
        error = self._error(number, of, *scan.bounds)
        low = centre - error
        threshold = -np.inf
        if scan.groups > k:
            threshold = np.partition(low, scan.groups - k)[scan.groups - k]
        groups = np.flatnonzero((centre + error >= threshold) & (self._tops[number] > -np.inf))
        rows, values, blocks = self._members(groups, number, threshold, error)
        return self._bounded(rows, values, blocks, number, k)

    def _gain(self, number: int) -> Doubles:
        # For L2 the gain is in the values already.
        gain = self._queries.gain[:, number]
        return np.ones_like(gain) if self._scan.metric == "l2" else gain

    def _error(self, number: int, of: NDArray[np.int64], residual: Floats, length: Floats, norm: Floats) -> Doubles:
        """How far values of block `of` may be from the truth, given the row's or the group's norms."""
        q = self._queries
        error = q.length[:, number][of] * residual
        error += q.error[:, number][of] * length
        if self._scan.metric == "l2":
            error *= 2
            error += _EPS * np.square(norm, dtype=np.float64)
        error += q.slope[:, number][of] * norm
        error += q.slack[:, number][of]
        return error

    def _members(
        self, groups: NDArray[np.int64], number: int, threshold: float, error: Doubles
    ) -> tuple[Rows, Doubles, NDArray[np.int64]]:
        """Rows of these groups that reach the threshold: row numbers, approximate similarities, blocks."""
        scan, q = self._scan, self._queries
        of = scan.group_block[groups]
        first = scan.group_start[of]
        count = scan.group_start[of + 1] - first
        m = len(self._tops)
        # Query `number`'s tile of a block starts at (m·first + number·count) groups; its row i·count + g is in group g.
        base = (m * first + number * count) * GROUP
        local = np.arange(GROUP)[:, None] * count + (groups - first)
        values = self._values[base + local] * self._gain(number)[of] + q.constant[:, number][of]
        reach = values + error[groups] >= threshold
        reach &= values > -np.inf
        starts = np.array([block.start for block in scan.blocks], np.int64)
        rows = (starts[of] + local)[reach]
        order = np.argsort(rows)
        return rows[order], values[reach][order], np.broadcast_to(of, reach.shape)[reach][order]

    def _bounded(
        self, rows: Rows, values: Doubles, blocks: NDArray[np.int64], number: int, k: int
    ) -> tuple[Rows, Doubles, Doubles]:
        norms = np.empty((3, len(rows)), np.float32)
        edges = np.searchsorted(blocks, np.arange(len(self._scan.blocks) + 1))
        for i in np.unique(blocks):
            block, part = self._scan.blocks[i], slice(edges[i], edges[i + 1])
            local = rows[part] - block.start
            norms[:, part] = block.codes.residual[local], block.codes.length[local], block.codes.norm[local]
        error = self._error(number, blocks, *norms)
        low, high = values - error, values + error
        if len(rows) > k:
            keep = high >= np.partition(low, len(low) - k)[len(low) - k]
            rows, low, high = rows[keep], low[keep], high[keep]
        return rows, low, high
