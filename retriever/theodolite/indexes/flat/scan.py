"""One pass over the codes of all blocks, and the bounds that follow from it."""

import itertools
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import numkong
import numpy as np
from numpy.typing import NDArray

from theodolite.indexes.flat.codes import GROUP, Block, rotation, widened
from theodolite.indexes.flat.workers import Workers
from theodolite.types import Mask, Rows
from theodolite.vectors.metrics import Metric

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]

_EPS = 16 * 2.0**-24
"""Slack for float rounding, relative to the largest value that can occur: a dozen roundings of float32's half ulp."""

_SMALLEST = 2.0**-149  # scores below it are 0 in float32, and tie
_LOWEST = float(np.finfo(np.float64).min)
_WITHIN = np.arange(GROUP)
_HEADS = 512
_LITTLE = 8  # below this part of rows, nothing more needs to be ruled out in advance
_SHARED = 4  # scans of a block (0.2 ms) that are worth a second thread
_INFINITY = np.float32(np.inf).view(np.int32)
_BATCH = 64  # queries scanned together: what the kernel gains from more is little
_BUFFER = 1 << 25  # values held at a time, 128 MB
_KEPT = 1 << 23  # values a thread keeps room for between searches


class Scan:
    """Approximate similarities of every row of some blocks, and bounds on their error.

    What is kept of a row is for dot and cosine the product of its code with the query's, int32, and for L2 minus the
    squared distance but for a constant, float32.
    """

    def __init__(self, metric: Metric, dimension: int, blocks: Sequence[Block], pool: Workers) -> None:
        self.metric = metric
        self.by_distance = metric.by_distance
        self.blocks = blocks
        self.origin = blocks[0].start if blocks else 0  # the row that masks begin with
        self.dtype: Any = np.float32 if self.by_distance else np.int32
        # What stands for no row, and what is above it and below all others.
        self.least: Any = -np.inf if self.by_distance else np.iinfo(np.int32).min
        self.lowest = _LOWEST if self.by_distance else float(self.least + 1)
        self._pool = pool
        groups = np.array([block.groups for block in blocks], np.int64)
        self.group_start = np.concatenate([[0], np.cumsum(groups)]).astype(np.int64)
        self.groups = int(self.group_start[-1])
        self.group_counts = groups
        # (3, blocks): the first group, the number of groups and the first row.
        self.layout = np.array([self.group_start[:-1], groups, [block.start for block in blocks]], np.int64)
        self.heads = np.arange(0, self.groups, max(1, self.groups // _HEADS))
        self.scale: Doubles = np.concatenate([np.empty(0), *(block.scale for block in blocks)])
        self.bounds = self._bounds()
        self.largest_bounds: Doubles = self.bounds.max(axis=1, initial=0.0)
        self.centers: Doubles = np.zeros((len(blocks), dimension))
        for center, block in zip(self.centers, blocks, strict=True):
            center[:] = block.center
        self.center_slack: Doubles = _EPS * np.sqrt(np.vecdot(self.centers, self.centers))[:, None]
        self.turned = np.array([block.rotated for block in blocks], np.bool_)
        self.turns = bool(self.turned.any())
        self._scratch = threading.local()

    def _bounds(self) -> Doubles:
        """(2 or 3, groups): what `QueryCodes.weights` multiply; they hold the rounding of floats, too."""
        residual, code, norm = np.concatenate(
            [np.zeros((3, 0)), *(block.bounds for block in self.blocks)], axis=1, dtype=np.float64
        )
        rounded = [np.square(norm) * _EPS] if self.by_distance else []
        return np.array([residual + _EPS * norm, code, *rounded])

    def parts(self, queries: int) -> Iterator[slice]:
        """How to cut a batch so that the buffer stays small."""
        step = max(1, min(_BATCH, _BUFFER // max(1, self.groups * GROUP)))
        return (slice(start, start + step) for start in range(0, queries, step))

    def run(self, queries: Floats, mask: Mask | None) -> "Scanned":
        """Scan all blocks with an eligible row for `queries`, (m, d)."""
        coded = QueryCodes(self, queries)
        room = self._room(len(queries))
        variants = len(coded.codes)

        def one(number: int) -> None:
            packed, tile, out, rounds, top = room.places[number]
            codes = coded.codes[number % variants]
            hidden = None
            if mask is not None:
                block = self.blocks[number]
                allowed = mask[block.start - self.origin : block.stop - self.origin]
                eligible = np.count_nonzero(allowed)
                if not eligible:
                    top.fill(self.least)
                    return
                hidden = ~allowed if eligible < block.size else None
            if out is not None:
                numkong.dots_packed(codes, packed, out=out)
            else:
                self._fill(tile, np.asarray(numkong.dots_packed(codes, packed)), coded, number)
            if hidden is not None:
                shown = tile[:, : hidden.size]
                np.minimum(shown, self._ceilings(hidden), out=shown)
            np.maximum.reduce(rounds, axis=1, out=top)

        self._pool.run(one, range(len(self.blocks)), share=len(self.blocks) * len(queries) >= _SHARED)
        return Scanned(self, coded, room, masked=mask is not None)

    def _ceilings(self, hidden: Mask) -> NDArray[Any]:
        """The least value there is for rows that are hidden, the largest for others, (n,).

        Computed, not chosen: choosing takes a branch a row, and by a mask without order sixteen times as long.
        """
        found = hidden.astype(np.int32)
        if self.dtype is np.int32:
            found += np.int32(np.iinfo(np.int32).max)  # 1 more is the least one
        else:
            found <<= 31  # the sign of infinity
            found |= _INFINITY
        return found.view(self.dtype)

    def _fill(self, tile: NDArray[Any], products: NDArray[np.int32], queries: "QueryCodes", number: int) -> None:
        """What the kernel cannot write itself: L2, and blocks that do not fill their groups."""
        block = self.blocks[number]
        tile[:, block.size :] = self.least
        if self.by_distance:
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
        places: for each block its codes; its tile; the tile for the kernel to write to, where it can; the tile as
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
            self.places.append((block.packed, tile, out, tile.reshape(m, GROUP, -1), self.tops[:, first:last]))


class QueryCodes:
    """Queries in int8, as the blocks see them.

    For L2 a block sees w = q − μ, for dot and cosine q itself. Where all blocks see the same there is one variant,
    else one for each block.

    Attributes:
        codes: (variants, m, d) int8.
        inner: (blocks, m, 1) for L2, what a product is multiplied by, beside the row's scale, before ‖v‖² is taken off.
        outer: (variants, m) for dot and cosine, what a product is multiplied by beside the row's scale.
        weights: (variants, m, 2 or 3) the error per unit of each of the groups' bounds.
        constant: (blocks, m) what is added: q·μ, or −‖w‖² for L2.
        slack: (blocks, m) what float rounding may add whatever the row is.
        most: (m,) the largest error of any row.
    """

    def __init__(self, scan: Scan, queries: Floats) -> None:
        wide = queries.astype(np.float64)
        # (variants, m, d)
        seen = wide - scan.centers[:, None] if scan.by_distance else wide[None]
        base = self._turned(scan, seen) if scan.turns else seen
        scale: Doubles = np.maximum.reduce(np.abs(base), axis=2)
        scale /= 127
        np.maximum(scale, _SMALLEST, out=scale)  # not 0
        levels = base / scale[:, :, None]
        np.rint(levels, out=levels)
        self.codes: NDArray[np.int8] = widened(levels.astype(np.int8))
        levels *= scale[:, :, None]
        levels -= base
        square: Doubles = np.vecdot(seen, seen)
        length = np.sqrt(square)
        self.weights: Doubles = np.ones((*scale.shape, len(scan.bounds)))
        self.weights[:, :, 0] = length
        self.weights[:, :, 1] = np.sqrt(np.vecdot(levels, levels))
        if scan.by_distance:
            self.inner: Floats = (2 * scale)[:, :, None].astype(np.float32)
            self.weights[:, :, :2] *= 2
            self.constant: Doubles = -square
            self.slack: Doubles = _EPS * square
        else:
            self.outer: Doubles = scale
            self.constant = scan.centers @ wide.T
            self.slack = scan.center_slack * length
        self.slack += _SMALLEST
        most = np.maximum.reduce(self.weights @ scan.largest_bounds, axis=0)
        self.most: Doubles = most + np.maximum.reduce(self.slack, axis=0)

    @staticmethod
    def _turned(scan: Scan, seen: Doubles) -> Doubles:
        """R applied where blocks are rotated; a variant for each block if they differ in that."""
        turn = rotation(seen.shape[2]).T.astype(np.float64)
        if scan.turned.all():
            return seen @ turn
        base = np.repeat(seen, len(scan.turned) // len(seen), axis=0)
        base[scan.turned] = base[scan.turned] @ turn
        return base


class Scanned:
    """What a scan found, until the thread scans again."""

    def __init__(self, scan: Scan, queries: QueryCodes, room: Room, *, masked: bool) -> None:
        self.scan = scan
        self._queries = queries
        self._room = room
        self._masked = masked

    def candidates(self, number: int, k: int) -> tuple[Rows, Doubles, Doubles]:
        """Rows that may be among the k best for one of the queries, in no particular order.

        With approximate similarities, for L2 of −d², and the largest error of each.
        """
        best, most = self.best(number), self.most(number)
        # The best rows of k groups are k rows, so the k-th largest of their lower bounds is a threshold. First with
        # runs of groups, and the largest error there is for that of each: few passes over all groups are enough.
        heads = np.maximum.reduceat(best, self.scan.heads) if len(self.scan.heads) >= k else best
        threshold = kth_largest(heads, k) - most
        groups = (best >= max(threshold - most, _LOWEST)).nonzero()[0]
        best = best[groups]
        error = self.errors(number, groups)
        threshold = max(threshold, kth_largest(best - error, k))
        keep = (best + error >= threshold).nonzero()[0]
        groups, error = groups[keep], error[keep]
        rows, values, error = self.rows(number, groups, error, threshold - error)
        if len(rows) > k:
            keep = (values + error >= kth_largest(values - error, k)).nonzero()[0]
            rows, values, error = rows[keep], values[keep], error[keep]
        return rows, values, error

    def best(self, number: int) -> Doubles:
        """The best approximate similarity of each group, (groups,); −inf where none of its rows is eligible."""
        tops = self._room.tops[number]
        counts = self.scan.group_counts
        best: Doubles
        if self.scan.by_distance:
            best = tops.astype(np.float64)
        else:
            outer = self._queries.outer[:, number]
            best = tops * (self.scan.scale * (outer if len(outer) == 1 else outer.repeat(counts)))
        best += self._queries.constant[:, number].repeat(counts)
        if self._masked:
            best[tops == self.scan.least] = -np.inf
        return best

    def most(self, number: int) -> float:
        """The largest error of any row."""
        return float(self._queries.most[number])

    def errors(self, number: int, groups: NDArray[np.int64]) -> Doubles:
        """The largest errors of these groups' rows."""
        of = self._blocks(groups)
        weights = self._queries.weights[:, number]
        bounds = self.scan.bounds[:, groups]
        error: Doubles = weights[0] @ bounds if len(weights) == 1 else np.vecdot(weights[of], bounds.T)
        error += self._queries.slack[:, number][of]
        return error

    def rows(
        self,
        number: int,
        groups: NDArray[np.int64],
        error: Doubles,
        reach: Doubles,
        factors: tuple[Doubles, Doubles] | None = None,
    ) -> tuple[Rows, Doubles, Doubles]:
        """The eligible rows of these groups whose approximate similarity is at least the group's `reach`.

        With their approximate similarities, and with `error` of their groups.

        Args:
            factors: of all rows, and the least of each group that a row must have, where it rules out enough for
                that to be of use.
        """
        scan, m, of = self.scan, self._room.m, self._blocks(groups)
        first, count, start = scan.layout[:, of]
        constant = self._queries.constant[:, number][of]
        within = groups - first
        # Query `number`'s tile of a block starts at m·first + number·count groups; row i·count + g is in group g.
        # Neighbours in memory are taken one after the other: of many groups that is three times as fast.
        offsets = _WITHIN[:, None] * count
        kept = self._room.values.take(offsets + ((m * first + number * count) * GROUP + within))
        # In the kept values' own terms, so that only what passes is converted.
        reach = reach - constant
        gain = None
        if scan.by_distance:
            enough = kept >= np.maximum(reach, scan.lowest)
        else:
            outer = self._queries.outer[:, number]
            gain = scan.scale[groups] * (outer if len(outer) == 1 else outer[of])
            reach /= gain
            enough = kept >= np.clip(np.ceil(reach), scan.lowest, -scan.lowest).astype(np.int32)
        if factors is not None and np.count_nonzero(enough) > enough.size // _LITTLE:
            # Groups end in places without a row where a block is not full.
            enough &= factors[0].take(offsets + (start + within), mode="clip") >= factors[1]
        passed = enough.ravel().nonzero()[0]
        place = passed // max(1, len(groups))
        at = passed - place * len(groups)  # divmod would take five times as long
        rows = (start + within)[at] + place * count[at]
        values: Doubles = kept.ravel()[passed].astype(np.float64)
        if gain is not None:
            values *= gain[at]
        values += constant[at]
        return rows, values, error[at]

    def _blocks(self, groups: NDArray[np.int64]) -> NDArray[np.int64]:
        return self.scan.group_start.searchsorted(groups, "right") - 1


def kth_largest(values: Doubles, k: int) -> float:
    """The k-th largest of the values; minus infinity if there are fewer."""
    return float(np.partition(values, len(values) - k)[len(values) - k]) if len(values) >= k else -np.inf
