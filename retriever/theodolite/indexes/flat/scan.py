"""The scan: one pass over the codes of all blocks, and the bounds that follow from it."""

import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from theodolite.indexes.flat.codes import (
    GROUP,
    NARROW,
    Block,
    nibbles,
    output,
    padded,
    products,
    query_halves,
    rotation,
)
from theodolite.indexes.flat.workers import Workers
from theodolite.types import Mask, Rows
from theodolite.vectors.metrics import Metric

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]

_EPS = 16 * 2.0**-24
"""Slack for float rounding, relative to the largest possible value: room for a dozen roundings in float32."""

_SMALLEST = 2.0**-149  # scores below it are 0 in float32, and tie
_LOWEST = float(np.finfo(np.float64).min)
_WITHIN = np.arange(GROUP)
_RUNS = 512
_LITTLE = 8  # if fewer than 1 in 8 rows pass, ruling out more in advance does not pay
_PROMISING = 54  # rows scored exactly for a threshold, in addition to k
_MANY = 2  # that many times more groups pass without it, where it pays
_SHARED = 4  # scans of a block (0.2 ms) that are worth a second thread
_INFINITY = np.float32(np.inf).view(np.int32)
_BATCH = 64  # queries scanned together; the kernel gains little from more
_BUFFER = 1 << 25  # values held at a time, 128 MB
_KEPT = 1 << 23  # values for which a thread keeps its buffers between searches


Exact = Callable[[Rows, Doubles, Doubles], Doubles]
"""exact(rows, values, errors): the exact values of rows with these scan values, (n,), checked against the errors."""


class Scan:
    """Approximate similarities of every row of some blocks, with bounds on their error.

    The value of a row is the int32 product of its code with the query's code; for rows of 4 bits without the part that
    belongs to the query, `QueryCodes.shift`. For metrics by distance it is minus the squared distance, up to a
    constant, in float32.

    Blocks of 4 bits can be scanned for one query at a time (see `codes`).
    """

    def __init__(self, metric: Metric, dimension: int, blocks: Sequence[Block], pool: Workers) -> None:
        self.metric = metric
        self.by_distance = metric.by_distance
        self.blocks = blocks
        self.origin = blocks[0].start if blocks else 0  # the row that masks begin with
        self.dtype: Any = np.float32 if self.by_distance else np.int32
        # The value of a hidden row, and the lowest value of a real one.
        self.no_row: Any = -np.inf if self.by_distance else np.iinfo(np.int32).min
        self.lowest_value = _LOWEST if self.by_distance else float(self.no_row + 1)
        self._pool = pool
        groups = np.array([block.groups for block in blocks], np.int64)
        self.group_start = np.concatenate([[0], np.cumsum(groups)]).astype(np.int64)
        self.groups = int(self.group_start[-1])
        self.group_counts = groups
        # (3, blocks): the first group, the number of groups and the first row.
        self.layout = np.array([self.group_start[:-1], groups, [block.start for block in blocks]], np.int64)
        self.runs = np.arange(0, self.groups, max(1, self.groups // _RUNS))
        self.scale: Doubles = np.concatenate([np.empty(0), *(block.scale for block in blocks)])
        self.bounds = self._bounds()
        self.largest_bounds: Doubles = self.bounds.max(axis=1, initial=0.0)
        self.centers: Doubles = np.zeros((len(blocks), dimension))
        for center, block in zip(self.centers, blocks, strict=True):
            center[:] = block.center
        self.center_slack: Doubles = _EPS * np.sqrt(np.vecdot(self.centers, self.centers))[:, None]
        self.rotated = np.array([block.rotated for block in blocks], np.bool_)
        self.any_rotated = bool(self.rotated.any())
        self.narrow = np.array([block.bits == NARROW for block in blocks], np.bool_)
        self.any_narrow = bool(self.narrow.any())
        self._scratch = threading.local()

    def _bounds(self) -> Doubles:
        """Return the bounds that `QueryCodes.weights` multiply, (2 or 3, groups), including float rounding."""
        residual, code, norm = np.concatenate(
            [np.zeros((3, 0)), *(block.bounds for block in self.blocks)], axis=1, dtype=np.float64
        )
        rounded = [np.square(norm) * _EPS] if self.by_distance else []
        return np.array([residual + _EPS * norm, code, *rounded])

    def parts(self, queries: int) -> Iterator[slice]:
        """Cut a batch of queries so that the buffers stay small."""
        step = 1 if self.any_narrow else max(1, min(_BATCH, _BUFFER // max(1, self.groups * GROUP)))
        return (slice(start, start + step) for start in range(0, queries, step))

    def run(self, queries: Floats, mask: Mask | None) -> "ScanResult":
        """Scan every block that has an eligible row for `queries`, (m, d)."""
        coded = QueryCodes(self, queries)
        buffers = self._buffers(len(queries))
        variants = len(coded.codes)

        def one(number: int) -> None:
            packed, tile, out, rounds, top = buffers.places[number]
            codes = coded.codes[number % variants]
            hidden = None
            if mask is not None:
                block = self.blocks[number]
                allowed = mask[block.start - self.origin : block.stop - self.origin]
                eligible = np.count_nonzero(allowed)
                if not eligible:
                    top.fill(self.no_row)
                    return
                hidden = ~allowed if eligible < block.size else None
            if self.narrow[number]:
                products_of_rows = self.blocks[number].narrow_products(coded.halves[number % variants])
                self._fill(tile, products_of_rows, coded, number)
            elif out is not None:
                products(codes, packed, out=out)
            else:
                self._fill(tile, np.asarray(products(codes, packed)), coded, number)
            if hidden is not None:
                shown = tile[:, : hidden.size]
                np.minimum(shown, self._ceilings(hidden), out=shown)
            np.maximum.reduce(rounds, axis=1, out=top)

        self._pool.run(one, range(len(self.blocks)), share=len(self.blocks) * len(queries) >= _SHARED)
        return ScanResult(self, coded, buffers, masked=mask is not None)

    def _ceilings(self, hidden: Mask) -> NDArray[Any]:
        """Return the lowest possible value for hidden rows and the highest for others, (n,).

        Computed by arithmetic: `np.where` takes a branch for each row, which is sixteen times slower for a random mask.
        """
        found = hidden.astype(np.int32)
        if self.dtype is np.int32:
            found += np.int32(np.iinfo(np.int32).max)  # adding 1 more wraps to the lowest value
        else:
            found <<= 31  # the sign of infinity
            found |= _INFINITY
        return found.view(self.dtype)

    def _fill(self, tile: NDArray[Any], counts: NDArray[np.int32], queries: "QueryCodes", number: int) -> None:
        """Fill a tile that the kernel cannot write itself: distances, and blocks that do not fill their groups."""
        block = self.blocks[number]
        tile[:, block.size :] = self.no_row
        if self.by_distance:
            # In numpy int32 × float32 would be float64; int32 above 2^24 rounds, which the slack covers.
            if self.narrow[number]:
                counts = counts + queries.shift[number]
            live = np.multiply(counts, queries.inner[number], dtype=np.float32, casting="unsafe")
            live *= np.tile(block.scale, GROUP)[: block.size]
            np.subtract(live, block.square, out=tile[:, : block.size])
        else:
            tile[:, : block.size] = counts

    def _buffers(self, m: int) -> "Buffers":
        """Return buffers for m queries. The thread keeps them: fresh memory costs a page fault every 4 KB."""
        kept: Buffers | None = getattr(self._scratch, "buffers", None)
        if kept is not None and kept.m == m:
            return kept
        buffers = Buffers(self, m)
        if len(buffers.values) <= _KEPT or m == 1:
            self._scratch.buffers = buffers
        return buffers


class Buffers:
    """The buffers of a thread's scans of m queries.

    Attributes:
        values: one tile of (m, groups × GROUP) for each block, one after the other.
        tops: (m, groups) the maxima of the groups.
        places: for each block: its packed codes; its tile; the tile as an output of the kernel, or None; the tile as
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
            out: Any = output(tile) if fits else None
            self.places.append((block.packed, tile, out, tile.reshape(m, GROUP, -1), self.tops[:, first:last]))


class QueryCodes:
    """Queries in int8.

    For metrics by distance a block is compared with w = q − μ, otherwise with q itself. There is one variant of the
    codes if they are the same for all blocks, otherwise one for each block.

    Attributes:
        codes: (variants, m, d) int8.
        inner: (blocks, m, 1) for metrics by distance, the factor of a product, beside the row's scale, before ‖v‖² is
            subtracted.
        outer: (variants, m) for inner products, the factor of a product beside the row's scale.
        halves: for each variant, the halves of the only query, if blocks have 4 bits.
        shift: (blocks,) the part of a product that belongs to the query: −7.5·Σp for blocks of 4 bits, otherwise 0.
        weights: (variants, m, 2 or 3) the error for each unit of the groups' bounds.
        constant: (blocks, m) the constant to add: q·μ, or −‖w‖² by distance.
        slack: (blocks, m) the error of float rounding that does not depend on the row.
        max_error: (m,) the largest error of any row.
    """

    def __init__(self, scan: Scan, queries: Floats) -> None:
        wide = queries.astype(np.float64)
        # (variants, m, d)
        seen = wide - scan.centers[:, None] if scan.by_distance else wide[None]
        base = self._rotated(scan, seen) if scan.any_rotated else seen
        scale: Doubles = np.maximum.reduce(np.abs(base), axis=2)
        scale /= 127
        np.maximum(scale, _SMALLEST, out=scale)  # not 0
        levels = base / scale[:, :, None]
        np.rint(levels, out=levels)
        self.codes: NDArray[np.int8] = padded(levels.astype(np.int8))
        if scan.any_narrow:
            self.halves = [nibbles(query_halves(variant[0])) for variant in levels]
            self.shift: Doubles = np.where(scan.narrow, -7.5 * np.add.reduce(levels, axis=2)[:, 0], 0.0)
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
        self.max_error: Doubles = most + np.maximum.reduce(self.slack, axis=0)

    @staticmethod
    def _rotated(scan: Scan, seen: Doubles) -> Doubles:
        """Apply R where blocks are rotated. One variant for each block if only some of them are."""
        turn = rotation(seen.shape[2]).T.astype(np.float64)
        if scan.rotated.all():
            return seen @ turn
        base = np.repeat(seen, len(scan.rotated) // len(seen), axis=0)
        base[scan.rotated] = base[scan.rotated] @ turn
        return base


class ScanResult:
    """The result of a scan. It is valid until the thread scans again."""

    def __init__(self, scan: Scan, queries: QueryCodes, buffers: Buffers, *, masked: bool) -> None:
        self.scan = scan
        self._queries = queries
        self._buffers = buffers
        self._masked = masked

    def candidates(self, number: int, k: int, exact: Exact) -> tuple[Rows, Doubles, Doubles]:
        """Return the rows that may be among the k best for one of the queries, in no particular order.

        Also returns their scan values and the largest error of each.

        Args:
            exact: scores rows exactly, for a better threshold where errors are large.
        """
        best, most = self.group_best(number), self.max_error(number)
        # The best rows of k groups are k rows, so the k-th largest of their lower bounds is a threshold. The first
        # threshold takes runs of groups and the largest error of all, so that few passes over all groups are needed.
        runs = np.maximum.reduceat(best, self.scan.runs) if len(self.scan.runs) >= k else best
        threshold = kth_largest(runs, k) - most
        groups = (best >= max(threshold - most, _LOWEST)).nonzero()[0]
        if self.scan.any_narrow and len(groups) > _MANY * (k + _PROMISING):
            threshold = max(threshold, kth_largest(exact(*self.promising(number, best, k + _PROMISING)), k))
            groups = groups[best[groups] >= threshold - most]
        best = best[groups]
        error = self.group_errors(number, groups)
        threshold = max(threshold, kth_largest(best - error, k))
        keep = (best + error >= threshold).nonzero()[0]
        groups, error = groups[keep], error[keep]
        rows, values, error = self.rows(number, groups, error, threshold - error)
        if len(rows) > k:
            keep = (values + error >= kth_largest(values - error, k)).nonzero()[0]
            rows, values, error = rows[keep], values[keep], error[keep]
        return rows, values, error

    def promising(self, number: int, best: Doubles, count: int) -> tuple[Rows, Doubles, Doubles]:
        """Return the `count` rows with the highest scan values, as `candidates` does.

        Args:
            best: (groups,) the best value of each group. More than `count` groups have an eligible row.
        """
        groups = np.argpartition(-best, count)[:count]
        error = self.group_errors(number, groups)
        rows, values, error = self.rows(number, groups, error, np.full(count, best[groups].min()))
        top = np.argpartition(-values, count)[:count] if len(rows) > count else slice(None)
        return rows[top], values[top], error[top]

    def group_best(self, number: int) -> Doubles:
        """Return the best scan value of each group, (groups,); −inf if the group has no eligible row."""
        tops = self._buffers.tops[number]
        counts = self.scan.group_counts
        best: Doubles
        if self.scan.by_distance:
            best = tops.astype(np.float64)
        else:
            outer = self._queries.outer[:, number]
            if self.scan.any_narrow:
                tops = tops + self._queries.shift.repeat(counts)
            best = tops * (self.scan.scale * (outer if len(outer) == 1 else outer.repeat(counts)))
        best += self._queries.constant[:, number].repeat(counts)
        if self._masked:
            best[self._buffers.tops[number] == self.scan.no_row] = -np.inf
        return best

    def max_error(self, number: int) -> float:
        """Return the largest error of any row."""
        return float(self._queries.max_error[number])

    def group_errors(self, number: int, groups: NDArray[np.int64]) -> Doubles:
        """Return the largest error of each of these groups, (n,)."""
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
        threshold: Doubles,
        factors: tuple[Doubles, Doubles] | None = None,
    ) -> tuple[Rows, Doubles, Doubles]:
        """Return the eligible rows of these groups whose scan value is at least their group's `threshold`.

        Also returns their scan values, and the `error` of their groups.

        Args:
            factors: the factors of all rows, and for each group the factor that a row needs. They are applied only
                if many rows pass without them.
        """
        scan, m, of = self.scan, self._buffers.m, self._blocks(groups)
        first, count, start = scan.layout[:, of]
        constant = self._queries.constant[:, number][of]
        within = groups - first
        # Query `number`'s tile of a block starts at m·first + number·count groups; row i·count + g is in group g.
        # Neighbors in memory are taken one after the other, which is three times as fast for many groups.
        offsets = _WITHIN[:, None] * count
        kept = self._buffers.values.take(offsets + ((m * first + number * count) * GROUP + within))
        # Convert the thresholds to the scale of the buffered values, so that only rows that pass are converted back.
        threshold = threshold - constant
        gain = None
        if scan.by_distance:
            enough = kept >= np.maximum(threshold, scan.lowest_value)
        else:
            outer = self._queries.outer[:, number]
            gain = scan.scale[groups] * (outer if len(outer) == 1 else outer[of])
            threshold /= gain
            if scan.any_narrow:
                shift = self._queries.shift[of]
                threshold -= shift
            enough = kept >= np.clip(np.ceil(threshold), scan.lowest_value, -scan.lowest_value).astype(np.int32)
        if factors is not None and np.count_nonzero(enough) > enough.size // _LITTLE:
            # In a block that is not full, groups end in places without a row.
            enough &= factors[0].take(offsets + (start + within), mode="clip") >= factors[1]
        passed = enough.ravel().nonzero()[0]
        place = passed // max(1, len(groups))
        at = passed - place * len(groups)  # divmod would take five times as long
        rows = (start + within)[at] + place * count[at]
        values: Doubles = kept.ravel()[passed].astype(np.float64)
        if gain is not None:
            if scan.any_narrow:
                values += shift[at]
            values *= gain[at]
        values += constant[at]
        return rows, values, error[at]

    def _blocks(self, groups: NDArray[np.int64]) -> NDArray[np.int64]:
        return self.scan.group_start.searchsorted(groups, "right") - 1


def kth_largest(values: Doubles, k: int) -> float:
    """Return the k-th largest of the values; minus infinity if there are fewer than k."""
    return float(np.partition(values, len(values) - k)[len(values) - k]) if len(values) >= k else -np.inf
