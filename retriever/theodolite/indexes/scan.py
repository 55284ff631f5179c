"""One pass over the codes of all blocks, and the bounds that follow from it."""

import itertools
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import numkong
import numpy as np
from numpy.typing import NDArray

from theodolite.indexes.blocks import GROUP, Block, rotation
from theodolite.indexes.workers import Workers
from theodolite.types import Mask, Metric, Rows

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]

_EPS = 16 * 2.0**-24
"""Slack for float rounding, relative to the largest value that can occur: a dozen roundings of float32's half ulp."""

_SMALLEST = 2.0**-149  # scores below it are 0 in float32, and tie
_LOWEST = float(np.finfo(np.float64).min)
_WITHIN = np.arange(GROUP)[:, None]
_BATCH = 64  # queries scanned together: what the kernel gains from more is little
_BUFFER = 1 << 25  # values held at a time, 128 MB
_KEPT = 1 << 23  # values a thread keeps room for between searches


class Scan:
    """Approximate similarities of every row of some blocks, and bounds on their error.

    What is kept of a row is for dot and cosine the product of its code with the query's, int32, and for L2 minus the
    squared distance but for a constant, float32.
    """

    def __init__(self, metric: Metric, dimension: int, blocks: Sequence[Block], pool: Workers) -> None:
        self.metric: Metric = metric
        self.blocks = blocks
        self.dtype: Any = np.float32 if metric == "l2" else np.int32
        self.least: Any = -np.inf if metric == "l2" else np.iinfo(np.int32).min
        self._pool = pool
        self.starts = np.array([block.start for block in blocks], np.int64)
        groups = np.array([block.groups for block in blocks], np.int64)
        self.group_start = np.concatenate([[0], np.cumsum(groups)]).astype(np.int64)
        self.groups = int(self.group_start[-1])
        self.group_block = np.repeat(np.arange(len(blocks)), groups)
        self.scale: Floats = np.concatenate([np.empty(0, np.float32), *(block.scale for block in blocks)])
        # (4, groups): the largest residual, code length, norm and squared norm of each group's rows.
        norms = np.concatenate([np.zeros((3, 0)), *(block.bounds for block in blocks)], axis=1, dtype=np.float64)
        self.bounds: Doubles = np.vstack([norms, np.square(norms[2:])])
        self.centers: Doubles = np.zeros((len(blocks), dimension))
        for center, block in zip(self.centers, blocks, strict=True):
            center[:] = block.center
        self.center_norms: Doubles = np.sqrt(np.einsum("bd,bd->b", self.centers, self.centers))
        self.turned = np.array([block.rotated for block in blocks], np.bool_)
        self._scratch = threading.local()

    def parts(self, queries: int) -> Iterator[slice]:
        """How to cut a batch so that the buffer stays small."""
        step = max(1, min(_BATCH, _BUFFER // max(1, self.groups * GROUP)))
        return (slice(start, start + step) for start in range(0, queries, step))

    def run(self, queries: Floats, mask: Mask | None) -> "Scanned":
        """Scan all blocks with an eligible row for `queries`, (m, d)."""
        coded = QueryCodes(self, queries)
        m = len(queries)
        room = self._room(m)
        tops = np.full((m, self.groups), self.least, self.dtype)

        def one(number: int) -> None:
            block = self.blocks[number]
            hidden = None
            if mask is not None:
                allowed = mask[block.start : block.stop]
                eligible = np.count_nonzero(allowed)
                if not eligible:
                    return
                hidden = ~allowed if eligible < block.size else None
            tile = room.tiles[number]
            codes = coded.codes[number % len(coded.codes)]
            if room.outs[number] is not None:
                numkong.dots_packed(codes, block.packed, out=room.outs[number])
            else:
                products = np.asarray(numkong.dots_packed(codes, block.packed))
                tile[:, block.size :] = self.least
                if self.metric == "l2":
                    # In numpy int32 × float32 would be float64; int32 above 2^24 rounds, which the slack covers.
                    live = np.multiply(products, coded.inner[number], dtype=np.float32, casting="unsafe")
                    live *= np.tile(block.scale, GROUP)[: block.size]
                    np.subtract(live, block.square, out=tile[:, : block.size])
                else:
                    tile[:, : block.size] = products
            if hidden is not None:
                np.copyto(tile[:, : block.size], self.least, where=hidden)
            top = tops[:, self.group_start[number] : self.group_start[number + 1]]
            np.maximum.reduce(tile.reshape(m, GROUP, block.groups), axis=1, out=top)

        self._pool.run(one, range(len(self.blocks)))
        return Scanned(self, coded, room.values, tops)

    def _room(self, m: int) -> "Room":
        """Room for m queries, kept by the thread: fresh memory would cost a page fault every 4 KB."""
        held: Room | None = getattr(self._scratch, "room", None)
        if held is not None and held.m == m:
            return held
        room = Room(self, m)
        if len(room.values) <= _KEPT or m == 1:
            self._scratch.room = room
        return room


class Room:
    """Where a thread's scans of m queries put what they find.

    Attributes:
        values: all tiles, one after the other.
        tiles: for each block (m, groups × GROUP).
        outs: the same tile for the kernel to write to, where it can: full blocks of int32.
    """

    def __init__(self, scan: Scan, m: int) -> None:
        self.m = m
        self.values: NDArray[Any] = np.empty(m * scan.groups * GROUP, scan.dtype)
        edges = (m * scan.group_start * GROUP).tolist()
        self.tiles = [self.values[a:b].reshape(m, -1) for a, b in itertools.pairwise(edges)]
        self.outs = [
            numkong.from_dlpack(tile) if scan.dtype is np.int32 and tile.shape[1] == block.size else None
            for tile, block in zip(self.tiles, scan.blocks, strict=True)
        ]


class QueryCodes:
    """Queries in int8, as the blocks see them.

    For L2 a block sees w = q − μ, for dot and cosine q itself. Where all blocks see the same there is one variant,
    else one for each block.

    Attributes:
        codes: (variants, m, d) int8.
        inner: (blocks, m, 1) for L2, what a product is multiplied by, beside the row's scale, before ‖v‖² is taken off.
        outer: (variants, m) for dot and cosine, what a product is multiplied by beside the row's scale.
        weights: (variants, m, 4) the error per unit of each of the groups' bounds.
        constant: (blocks, m) what is added: q·μ, or −‖w‖² for L2.
        slack: (blocks, m) what float rounding may add whatever the row is.
    """

    def __init__(self, scan: Scan, queries: Floats) -> None:
        wide = queries.astype(np.float64)
        l2 = scan.metric == "l2"
        # (variants, m, d)
        seen = wide - scan.centers[:, None] if l2 else wide[None]
        square: Doubles = np.einsum("bmd,bmd->bm", seen, seen)
        length = np.sqrt(square)
        base = self._turned(scan, seen)
        largest = np.abs(base).max(axis=2)
        scale: Doubles = np.where(largest > 0, largest / 127, 1.0)
        levels = np.rint(base / scale[:, :, None])
        self.codes: NDArray[np.int8] = levels.astype(np.int8)
        levels *= scale[:, :, None]
        levels -= base
        error = np.sqrt(np.einsum("bmd,bmd->bm", levels, levels))
        length = np.broadcast_to(length, error.shape)
        self.weights: Doubles = np.stack([length, error, _EPS * length, np.zeros_like(length)], axis=2)
        if l2:
            self.inner: Floats = (2 * scale)[:, :, None].astype(np.float32)
            self.weights *= 2
            self.weights[:, :, 3] = _EPS
            self.constant: Doubles = -square
            self.slack: Doubles = _EPS * square
        else:
            self.outer: Doubles = scale
            self.constant = scan.centers @ wide.T
            self.slack = _EPS * scan.center_norms[:, None] * length[:1]
        self.slack += _SMALLEST

    @staticmethod
    def _turned(scan: Scan, seen: Doubles) -> Doubles:
        """R applied where blocks are rotated; a variant for each block if they differ in that."""
        if not scan.turned.any():
            return seen
        turn = rotation(seen.shape[2]).T.astype(np.float64)
        if scan.turned.all():
            return seen @ turn
        base = np.repeat(seen, len(scan.turned) // len(seen), axis=0)
        base[scan.turned] = base[scan.turned] @ turn
        return base


class Scanned:
    """What a scan found, until the thread scans again."""

    def __init__(self, scan: Scan, queries: QueryCodes, values: NDArray[Any], tops: NDArray[Any]) -> None:
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
        constant = q.constant[:, number][of]
        error = q.slack[:, number][of]
        error += self._weighted(number)
        gain = self._gain(number)
        high = self._tops[number] * gain
        high += constant
        low = high - error
        high += error
        # The best rows of k groups are k rows, so the k-th largest of their lower bounds is a threshold.
        threshold = np.partition(low, scan.groups - k)[scan.groups - k] if scan.groups > k else -np.inf
        groups = np.flatnonzero(high >= max(threshold, _LOWEST))
        return self._rows(groups, number, k, threshold, gain[groups], constant[groups], error[groups])

    def _gain(self, number: int) -> Doubles:
        """(groups,) what the kept values are multiplied by."""
        scan = self._scan
        if scan.metric == "l2":
            return np.ones(scan.groups)
        outer = self._queries.outer[:, number]
        return np.multiply(scan.scale, outer if len(outer) == 1 else outer[scan.group_block], dtype=np.float64)

    def _weighted(self, number: int) -> Doubles:
        weights = self._queries.weights[:, number]
        if len(weights) == 1:
            error: Doubles = weights[0] @ self._scan.bounds
        else:
            error = np.einsum("gw,wg->g", weights[self._scan.group_block], self._scan.bounds)
        return error

    def _rows(
        self,
        groups: NDArray[np.int64],
        number: int,
        k: int,
        threshold: float,
        gain: Doubles,
        constant: Doubles,
        error: Doubles,
    ) -> tuple[Rows, Doubles, Doubles]:
        """The rows of these groups whose own upper bound reaches the threshold, and then the one they set."""
        scan = self._scan
        of = scan.group_block[groups]
        first = scan.group_start[of]
        count = scan.group_start[of + 1] - first
        # Query `number`'s tile of a block starts at m·first + number·count groups; row i·count + g is in group g.
        local = _WITHIN * count + (groups - first)
        kept = self._values[local + (len(self._tops) * first + number * count) * GROUP]
        # In the kept values' own terms, so that only what passes is converted.
        reach = kept >= (threshold - constant - error) / gain
        reach &= kept > scan.least
        within, at = np.nonzero(reach)
        values = kept[within, at] * gain[at] + constant[at]
        low, high = values - error[at], values + error[at]
        rows = scan.starts[of[at]] + local[within, at]
        if len(rows) > k:
            keep = high >= np.partition(low, len(low) - k)[len(low) - k]
            rows, low, high = rows[keep], low[keep], high[keep]
        order = np.argsort(rows)
        return rows[order], low[order], high[order]
