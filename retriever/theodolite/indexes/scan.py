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
        self.scale: Doubles = np.concatenate([np.empty(0), *(block.scale for block in blocks)])
        # (4, groups): the largest residual, code length, norm and squared norm of each group's rows.
        norms = np.concatenate([np.zeros((3, 0)), *(block.bounds for block in blocks)], axis=1, dtype=np.float64)
        self.bounds: Doubles = np.vstack([norms, np.square(norms[2:])])
        self.largest_bounds: Doubles = self.bounds.max(axis=1, initial=0.0)
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
        room = self._room(len(queries))
        if mask is not None:
            room.tops.fill(self.least)  # for blocks that are passed over

        def one(number: int) -> None:
            block, codes = self.blocks[number], coded.codes[number % len(coded.codes)]
            tile, out, rounds, top = room.places[number]
            hidden = None
            if mask is not None:
                allowed = mask[block.start : block.stop]
                eligible = np.count_nonzero(allowed)
                if not eligible:
                    return
                hidden = ~allowed if eligible < block.size else None
            if out is not None:
                numkong.dots_packed(codes, block.packed, out=out)
            else:
                products = np.asarray(numkong.dots_packed(codes, block.packed))
                self._fill(tile, products, block, coded, number)
            if hidden is not None:
                np.copyto(tile[:, : block.size], self.least, where=hidden)
            np.maximum.reduce(rounds, axis=1, out=top)

        self._pool.run(one, range(len(self.blocks)))
        return Scanned(self, coded, room)

    def _fill(
        self, tile: NDArray[Any], products: NDArray[np.int32], block: Block, queries: "QueryCodes", number: int
    ) -> None:
        """What the kernel cannot write itself: L2, and blocks that do not fill their groups."""
        tile[:, block.size :] = self.least
        if self.metric == "l2":
            # In numpy int32 × float32 would be float64; int32 above 2^24 rounds, which the slack covers.
            live = np.multiply(products, queries.inner[number], dtype=np.float32, casting="unsafe")
            live *= np.tile(block.scale, GROUP)[: block.size]
            np.subtract(live, block.square, out=tile[:, : block.size])
        else:
            tile[:, : block.size] = products

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
        values: for each block, one after the other, a tile of (m, groups × GROUP).
        tops: (m, groups) the maxima of the groups.
        places: for each block its tile; the tile for the kernel to write to, where it can; the tile as
            (m, GROUP, groups); and the block's part of `tops`.
    """

    def __init__(self, scan: Scan, m: int) -> None:
        self.m = m
        self.values: NDArray[Any] = np.empty(m * scan.groups * GROUP, scan.dtype)
        self.tops: NDArray[Any] = np.empty((m, scan.groups), scan.dtype)
        self.places = []
        for block, (first, last) in zip(scan.blocks, itertools.pairwise(scan.group_start.tolist()), strict=True):
            tile = self.values[m * first * GROUP : m * last * GROUP].reshape(m, -1)
            fits = scan.dtype is np.int32 and tile.shape[1] == block.size
            out: Any = numkong.from_dlpack(tile) if fits else None
            self.places.append((tile, out, tile.reshape(m, GROUP, -1), self.tops[:, first:last]))


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
        base = self._turned(scan, seen)
        largest = np.abs(base).max(axis=2, keepdims=True)
        scales: Doubles = np.where(largest > 0, largest / 127, 1.0)
        levels = np.rint(base / scales)
        self.codes: NDArray[np.int8] = levels.astype(np.int8)
        levels *= scales
        levels -= base
        scale = scales[:, :, 0]
        error = np.sqrt(np.einsum("bmd,bmd->bm", levels, levels))
        square: Doubles = np.einsum("bmd,bmd->bm", seen, seen)
        length = np.sqrt(square)
        self.weights: Doubles = np.empty((*error.shape, 4))
        self.weights[:, :, 0] = length
        self.weights[:, :, 1] = error
        self.weights[:, :, 2] = _EPS * length
        self.weights[:, :, 3] = 0
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

    def __init__(self, scan: Scan, queries: QueryCodes, room: Room) -> None:
        self._scan = scan
        self._queries = queries
        self._room = room

    def candidates(self, number: int, k: int) -> tuple[Rows, Doubles, Doubles]:
        """Rows that may be among the k best for one of the queries, with lower and upper bounds.

        The bounds are of the similarity, for L2 of −d². Rows are in rising order.
        """
        scan, q = self._scan, self._queries
        of = scan.group_block
        gain: Any = 1.0
        best = self._room.tops[number].astype(np.float64)
        if scan.metric != "l2":
            gain = scan.scale * (q.outer[0, number] if len(q.outer) == 1 else q.outer[:, number][of])
            best *= gain
        best += q.constant[:, number][of]
        # The best rows of k groups are k rows, so the k-th largest of their lower bounds is a threshold. First with
        # blocks for groups, and the largest error there is for that of each: few passes over all groups are enough.
        most = self._largest_error(number)
        heads = np.maximum.reduceat(best, scan.group_start[:-1]) if len(scan.blocks) >= k else best
        threshold = _kth_largest(heads, k) - most
        groups = np.flatnonzero(best >= max(threshold - most, _LOWEST))
        # Groups without an eligible row; in blocks that were passed over, the rest is left from earlier scans.
        groups = groups[self._room.tops[number][groups] > scan.least]
        best = best[groups]
        error = q.slack[of[groups], number] + self._weighted(number, groups)
        threshold = max(threshold, _kth_largest(best - error, k))
        keep = np.flatnonzero(best + error >= threshold)
        groups, error = groups[keep], error[keep]
        gains = gain[groups] if scan.metric != "l2" else np.ones(len(groups))
        return self._rows(groups, number, k, threshold, gains, q.constant[of[groups], number], error)

    def _largest_error(self, number: int) -> float:
        weighted = self._queries.weights[:, number] @ self._scan.largest_bounds
        return float(weighted.max() + self._queries.slack[:, number].max())

    def _weighted(self, number: int, groups: NDArray[np.int64]) -> Doubles:
        """The part of these groups' errors that depends on their rows."""
        weights = self._queries.weights[:, number]
        bounds = self._scan.bounds[:, groups]
        if len(weights) == 1:
            error: Doubles = weights[0] @ bounds
        else:
            error = np.einsum("gw,wg->g", weights[self._scan.group_block[groups]], bounds)
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
        kept = self._room.values.take(local + (self._room.m * first + number * count) * GROUP)
        # In the kept values' own terms, so that only what passes is converted.
        reach = kept >= (threshold - constant - error) / gain
        reach &= kept > scan.least
        within, at = np.nonzero(reach)
        values = kept[within, at] * gain[at] + constant[at]
        low, high = values - error[at], values + error[at]
        rows = scan.starts[of[at]] + local[within, at]
        if len(rows) > k:
            keep = high >= _kth_largest(low, k)
            rows, low, high = rows[keep], low[keep], high[keep]
        order = np.argsort(rows)
        return rows[order], low[order], high[order]


def _kth_largest(values: Doubles, k: int) -> float:
    """The k-th largest of the values; minus infinity if there are fewer."""
    return float(np.partition(values, len(values) - k)[len(values) - k]) if len(values) >= k else -np.inf
