"""The flat index: the true top k, from one pass over codes of 4 or 8 bits.

The codes give each row an approximate similarity and a bound on its error (see `codes`). The k-th largest lower bound,
or the k-th best exact score of the most promising rows, is a threshold that every row of the top k reaches. So only
rows whose upper bound reaches it are scored exactly, from the vectors themselves. The result is exact.

Codes of 4 bits answer one query at a time. Many queries in batches, or many for which 4 bits rule out too few
rows, make codes of 8 bits for the same rows; these stay in memory while they are used.

The scan works on a scale of its own: the inner product, or −‖x − q‖² = 2w·v − ‖v‖² − ‖w‖² with w = q − μ for metrics by
distance, which has the same order (`Metric.to_scan`).
"""

import math
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from theodolite.errors import CorruptionError
from theodolite.frozen import frozen
from theodolite.indexes.flat.boosted import BoostedScore, boosted_candidates, lower_bound, lowered, upper_bound
from theodolite.indexes.flat.codes import BLOCK, WIDE, Block
from theodolite.indexes.flat.scan import Scan, kth_largest
from theodolite.indexes.flat.sources import CodesFor, VectorSource, make_codes
from theodolite.indexes.flat.wide_blocks import WideBlocks
from theodolite.indexes.flat.workers import Workers, workers
from theodolite.types import Mask, Rows, Scores, Vectors
from theodolite.vectors.metrics import MetricName, get_metric

_SCANS_PER_SCORE = 12.0  # a typical `scans_per_score`
_LARGE = 4 * BLOCK  # rows for which a measurement is worth its milliseconds
_REPEATS = 3  # of a measurement
_SCORED = 2048  # rows scored for a measurement
_ALL_EXACT = 128  # up to this many rows are all scored exactly; ruling some out first would take as long
_GATHERED = 1024  # vectors multiplied at a time: they fit the nearer caches
_LEFT = 32  # if 4 bits leave 1 in 32 rows to be scored exactly, that takes a third of the time of a scan
_WORTH = 128  # queries that 8 bits would answer faster, after which making these codes pays

_scratch = threading.local()  # the gathered vectors of each thread

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]


@frozen()
class Found:
    """The rows found for one query, by falling boosted score (if there is one), falling similarity, then rising row.

    There are at least min(k, eligible) rows, except that rows with a boosted score of −inf are left out. All rows that
    tie with the last one are included (all proposed ones, if rows were proposed), so that the caller can break ties.

    Attributes:
        rows, scores: (n,) the rows and their exact similarities.
        scored: the number of rows that were scored exactly.
        path: `scan`, `rows` or `empty`; `index` if an approximate index proposed rows.
        proposed: the number of proposed rows.
        complete: whether this is proven to be the true top k.
        boosted: (n,) boosted scores, above −inf; None for a search without boosts and threshold.
    """

    rows: Rows
    scores: Scores
    scored: int
    path: str
    proposed: int = 0
    complete: bool = True
    boosted: Doubles | None = None


class _Scored:
    """The rows that have been scored exactly for a query, in this order.

    Attributes:
        rows, scores: (n,) the rows and their exact similarities.
    """

    def __init__(self, index: "FlatIndex", query: NDArray[np.float32], source: VectorSource) -> None:
        self.rows: Rows = np.empty(0, np.int64)
        self.scores: Scores = np.empty(0, np.float32)
        self._index = index
        self._query = query
        self._source = source

    def __call__(self, rows: Rows, near: Doubles, error: Doubles) -> Doubles:
        """Score further rows with these scan values, (n,). Return the exact values.

        Raises:
            CorruptionError: a score is further from its scan value than the largest possible error.
        """
        scores = self._index.verified_scores(self._query, rows, near, error, self._source)
        self.rows = np.concatenate([self.rows, rows]) if len(self.rows) else rows
        self.scores = np.concatenate([self.scores, scores]) if len(self.scores) else scores
        return self._index.metric.to_scan(scores)


class FlatIndex:
    """Exact search over rows 0 … n−1. Immutable; `grown` returns the next one, which shares unchanged blocks.

    Attributes:
        first: the first row to search; 0 unless this is the tail of another index.
        scans_per_score: the number of rows scanned in the time it takes to score one; None until it is measured.
    """

    def __init__(
        self,
        metric: MetricName,
        dimension: int,
        blocks: Sequence[Block] = (),
        pool: Workers = workers,
        first: int = 0,
        scans_per_score: float | None = None,
        codes: CodesFor = make_codes,
        wide: WideBlocks | None = None,
    ) -> None:
        self.metric = get_metric(metric)
        self.dimension = dimension
        self.blocks = tuple(blocks)
        self.rows = blocks[-1].stop if blocks else first
        self.first = first
        self.scans_per_score = scans_per_score
        self._cosines = self.metric.gives_cosines()
        self._pool = pool
        self._codes = codes
        self._wide = wide or WideBlocks()
        self._scan = Scan(self.metric, dimension, self.blocks, pool)
        self._wide_scan: Scan | None = None

    def grown(self, source: VectorSource, rows: int, codes: CodesFor | None = None) -> "FlatIndex":
        """Return the index over `rows` rows; the rows of this one come first.

        Args:
            codes: makes the codes of full blocks from now on.
        """
        if rows == self.rows:
            return self
        codes = codes or self._codes
        kept = list(self.blocks)
        spans = []
        start = self.rows
        while start < rows:
            stop = min(rows, start - start % BLOCK + BLOCK)
            # Repack a short last block with the rows that follow, so that the number of blocks stays logarithmic.
            while kept and kept[-1].stop == start and start % BLOCK and kept[-1].size <= stop - start:
                start = kept.pop().start
            spans.append((start, stop))
            start = stop
        made: dict[int, Block] = {}

        def fill(span: tuple[int, int]) -> None:
            first, last = span
            make = codes if last - first == BLOCK else make_codes
            made[first] = Block(first, make(source, first, last))

        self._pool.run(fill, spans)
        return self._with(kept + [made[start] for start, _ in spans], self.first, self.scans_per_score, codes)

    def _with(
        self, blocks: Sequence[Block], first: int, scans_per_score: float | None, codes: CodesFor | None = None
    ) -> "FlatIndex":
        """Return an index over these blocks."""
        return FlatIndex(
            self.metric.name,
            self.dimension,
            blocks,
            self._pool,
            first,
            scans_per_score,
            codes or self._codes,
            self._wide,
        )

    def measured(self, source: VectorSource) -> "FlatIndex":
        """Return this index with `scans_per_score` measured, if it is large enough for that to matter."""
        if self.scans_per_score is not None or self.rows - self.first < _LARGE:
            return self
        part = FlatIndex(self.metric.name, self.dimension, self.blocks[: _LARGE // BLOCK], self._pool)
        # Other rows each time: a filter's rows are not in the caches either.
        rows = np.arange(part.blocks[0].start, part.rows, (part.rows - part.blocks[0].start) // (_REPEATS * _SCORED))
        picked = iter([rows[start::_REPEATS][:_SCORED] for start in range(_REPEATS)])
        query = Vectors(source.take(rows[:1]))
        scan = _best_time(lambda: part.search(query, 10, source)) / (part.rows - part.blocks[0].start)
        pick = _best_time(lambda: self.search_rows(query[0], next(picked), 10, source)) / _SCORED
        # A busy machine disturbs the measurement, so it can only move the typical value by a factor of two.
        scans_per_score = min(max(pick / scan, _SCANS_PER_SCORE / 2), _SCANS_PER_SCORE * 2)
        return self._with(self.blocks, self.first, scans_per_score)

    def tail(self, first: int) -> "FlatIndex":
        """Return an index over the rows from `first` on. It shares the blocks."""
        kept = [block for block in self.blocks if block.stop > first]
        return self._with(kept, first, self.scans_per_score)

    def search(
        self,
        queries: Vectors,
        k: int,
        source: VectorSource,
        mask: Mask | None = None,
        boost: BoostedScore | None = None,
    ) -> list[Found]:
        """Return the k best rows for each of `queries`, (m, d), among those where `mask` (rows,) is True.

        The best rows are the most similar ones. With `boost` they are the ones with the highest boosted scores, out of
        all rows.

        Raises:
            CorruptionError: a vector does not match its code.
            ConfigError: the caller's relevance function returns values that are not a relevance.
        """
        mask = self._block_mask(mask) if self.first else mask
        eligible = self.rows - self.first if mask is None else int(np.count_nonzero(mask))
        if not eligible or not len(queries):
            none = None if boost is None else np.empty(0)
            empty = Found(np.empty(0, np.int64), np.empty(0, np.float32), 0, "empty", boosted=none)
            return [empty] * len(queries)
        if mask is not None and eligible <= self.max_direct:
            rows = np.flatnonzero(mask) + self._scan.origin
            return [self.search_rows(query, rows, k, source, boost) for query in queries]
        return self._scanned(queries, min(k, eligible), source, mask, boost)

    def score(self, query: NDArray[np.float32], rows: Rows, source: VectorSource) -> Scores:
        """Return the exact similarities of `query`, (d,), and these rows, (n,)."""
        return self._in_range(self._exact_scores(query, rows, source), rows)

    @property
    def max_direct(self) -> int:
        """The number of eligible rows up to which they are scored directly, without a scan."""
        return max(256, int((self.rows - self.first) / (self.scans_per_score or _SCANS_PER_SCORE)))

    def _block_mask(self, mask: Mask | None) -> Mask | None:
        """Return the mask of the rows from the first block on."""
        origin = self._scan.origin
        if self.first == origin:
            return None if mask is None else mask[origin:]
        own = np.ones(self.rows - origin, np.bool_) if mask is None else mask[origin:].copy()
        own[: self.first - origin] = False
        return own

    def search_rows(
        self, query: NDArray[np.float32], rows: Rows, k: int, source: VectorSource, boost: BoostedScore | None = None
    ) -> Found:
        """Return the k best of these rows. Products in float32, with a bound on their error, rule most of them out."""
        if self.metric.by_distance or len(rows) <= max(_ALL_EXACT, 4 * k):
            return self._top(rows, self._exact_scores(query, rows, source), k, "rows", boost)
        near, error = self._float32_products(query, rows, source)
        low, high = near - error, near + error
        if boost is None:
            threshold = np.partition(low, len(rows) - k)[len(rows) - k]
        else:
            high = upper_bound(boost, rows, high, self.metric)
            threshold = lowered(kth_largest(lower_bound(boost, rows, low, self.metric), k))
        keep = ~(high < threshold)
        if self.metric.normalizes:
            keep |= ~(np.abs(near) < 1 + 1e-3)  # damaged; scoring the row raises the error
        rows = rows[keep]
        return self._top(rows, self._exact_scores(query, rows, source), k, "rows", boost)

    def _float32_products(
        self, query: NDArray[np.float32], rows: Rows, source: VectorSource
    ) -> tuple[Floats, NDArray[np.floating[Any]]]:
        """Return q·x in float32 for these rows, (n,), and the largest error of each, (n,).

        |fl(q·x) − q·x| ≤ c·‖q‖·‖x‖ with c = d·u / (1 − d·u), for any order of summation (Higham, Accuracy and
        Stability of Numerical Algorithms, section 3.1). c is doubled here, which covers the rounding of the bound.
        """
        near, size = np.empty(len(rows), np.float32), np.ones(len(rows), np.float32)
        gathered: Floats | None = getattr(_scratch, "gathered", None)
        if gathered is None or gathered.shape[1] != self.dimension:
            gathered = _scratch.gathered = np.empty((_GATHERED, self.dimension), np.float32)
        for start in range(0, len(rows), _GATHERED):
            part = slice(start, start + _GATHERED)
            vectors = source.take(rows[part], gathered)
            np.vecdot(vectors, query, out=near[part])
            if not self.metric.normalizes:
                np.sqrt(np.vecdot(vectors, vectors), out=size[part])
        d, length = self.dimension, float(np.linalg.norm(query.astype(np.float64)))
        # The last terms cover underflow of small components: in a squared norm, and in a product.
        return near, (d + 8) * 2.0**-23 * length * (size + 2e-19 * math.sqrt(d)) + d * 2.4e-38

    def _scanned(
        self, queries: Vectors, k: int, source: VectorSource, mask: Mask | None, boost: BoostedScore | None
    ) -> list[Found]:
        found = []
        scan = self._scan_for(len(queries), source)
        for part in scan.parts(len(queries)):
            chunk = queries[part]
            result = scan.run(chunk, mask)
            for number, query in enumerate(chunk):
                scored = _Scored(self, query, source)
                if boost is None:
                    rows, near, error = result.candidates(number, k, scored)
                else:
                    rows, near, error = boosted_candidates(result, number, k, boost, scored)
                if scan.any_narrow:
                    self._wide.record(loose=_LEFT * len(rows) > self.rows - self.first)
                found.append(self._rescored(query, rows, near, error, k, source, boost, scored))
        return found

    def _scan_for(self, queries: int, source: VectorSource) -> Scan:
        """Return the scan for this many queries at once: with codes of 8 bits where these are faster and at hand."""
        wide = self._wide
        if not self._scan.any_narrow:
            return self._scan
        if queries == 1 and not wide.preferred:
            if self._wide_scan is not None and wide.rest():
                self._wide_scan = None
            return self._scan
        wide.use(queries)
        scan = self._wide_scan
        if scan is None:
            if wide.wanted < _WORTH:
                return self._scan
            self._wide_scan = scan = self._make_wide(source)
        return scan

    def _make_wide(self, source: VectorSource) -> Scan:
        known = self._wide.blocks
        blocks = {(block.start, block.stop): known.get((block.start, block.stop)) for block in self.blocks}

        def fill(block: Block) -> None:
            start, stop = block.start, block.stop
            if block.bits == WIDE:
                blocks[start, stop] = block
            elif blocks[start, stop] is None:
                make = self._codes if block.size == BLOCK else make_codes
                blocks[start, stop] = Block(start, make(source, start, stop, wide=True))

        self._pool.run(fill, self.blocks)
        made = {place: block for place, block in blocks.items() if block is not None}
        self._wide.blocks = made
        return Scan(self.metric, self.dimension, list(made.values()), self._pool)

    def _rescored(
        self,
        query: NDArray[np.float32],
        rows: Rows,
        near: Doubles,
        error: Doubles,
        k: int,
        source: VectorSource,
        boost: BoostedScore | None,
        scored: "_Scored",
    ) -> Found:
        """Score the candidates, the most promising first, since their exact scores rule out most of the others."""
        if not len(scored.rows) and len(rows) > 2 * k + 64:
            high = near + error
            if boost is not None:
                high = upper_bound(boost, rows, high, self.metric)
            first = np.argpartition(-high, 2 * k + 32)[: 2 * k + 32]
            scored(rows[first], near[first], error[first])
        if len(scored.rows):
            if boost is None:
                threshold = float(self.metric.to_scan(-np.partition(-scored.scores, k - 1)[k - 1]))
                rest = near + error >= threshold
            else:
                own = boost.score(self._in_range(scored.scores, scored.rows), scored.rows)
                threshold = lowered(kth_largest(own, k))
                rest = upper_bound(boost, rows, near + error, self.metric) >= threshold
            rest &= ~_is_among(rows, scored.rows)
            rows, near, error = rows[rest], near[rest], error[rest]
            if len(rows) > _ALL_EXACT and not self.metric.by_distance:
                rest = self._reaching(query, rows, near, error, threshold, source, boost)
                rows, near, error = rows[rest], near[rest], error[rest]
        scored(rows, near, error)
        return self._top(scored.rows, scored.scores, k, "scan", boost)

    def _reaching(
        self,
        query: NDArray[np.float32],
        rows: Rows,
        near: Doubles,
        error: Doubles,
        threshold: float,
        source: VectorSource,
        boost: BoostedScore | None,
    ) -> Mask:
        """Return which rows may reach the threshold, by products in float32."""
        nearer, rounding = self._float32_products(query, rows, source)
        right = np.abs(nearer - near) <= error + rounding
        if not right.all():
            raise _damage_error(rows, ~right)
        high = nearer.astype(np.float64) + rounding
        if boost is not None:
            high = upper_bound(boost, rows, high, self.metric)
        reaching: Mask = high >= threshold
        return reaching

    def verified_scores(
        self, query: NDArray[np.float32], rows: Rows, near: Doubles, error: Doubles, source: VectorSource
    ) -> Scores:
        """Return the exact similarities of rows, (n,), checked against their scan values and largest errors.

        Raises:
            CorruptionError: a vector does not match its code.
        """
        scores = self._exact_scores(query, rows, source)
        right = np.abs(self.metric.to_scan(scores) - near) <= error
        if not right.all():
            raise _damage_error(rows, ~right)
        return scores

    def _in_range(self, scores: Scores, rows: Rows) -> Scores:
        """Clip scores to the metric's range, which cosines leave by rounding. Further out, vectors are damaged."""
        if not self._cosines:
            return scores
        size = np.abs(scores)
        if len(size) and not np.maximum.reduce(size) <= 1:
            wrong = ~(size < 1 + 1e-5)
            if wrong.any():
                raise _damage_error(rows, wrong)
            return np.clip(scores, -1.0, 1.0)
        return scores

    def _exact_scores(self, query: NDArray[np.float32], rows: Rows, source: VectorSource) -> Scores:
        # Part by part, so that not all vectors are in memory at once.
        step = max(1024, (1 << 22) // max(1, self.dimension))
        if len(rows) <= step:
            return self.metric.scores(query, source.take(rows))
        parts = [
            self.metric.scores(query, source.take(rows[start : start + step])) for start in range(0, len(rows), step)
        ]
        return np.concatenate(parts)

    def _top(self, rows: Rows, scores: Scores, k: int, path: str, boost: BoostedScore | None) -> Found:
        scores = self._in_range(scores, rows)
        best, kept, boosted_scores = top(rows, scores, k, None if boost is None else boost.score(scores, rows))
        return Found(best, kept, len(rows), path, boosted=boosted_scores)


def _is_among(rows: Rows, few: Rows) -> Mask:
    """Return which rows are among a few others. `np.isin` takes ten times as long for some hundred rows."""
    ordered = np.sort(few)
    found: Mask = ordered[np.minimum(ordered.searchsorted(rows), len(ordered) - 1)] == rows
    return found


def top(rows: Rows, scores: Scores, k: int, boosted: Doubles | None = None) -> tuple[Rows, Scores, Doubles | None]:
    """Return the k best rows, plus all that tie with the last one, with their similarities and boosted scores.

    They are ordered by falling boosted score (if given), falling similarity, then rising row. Rows with a boosted score
    of −inf are left out.
    """
    leading = scores if boosted is None else boosted
    if boosted is not None or len(rows) > 4 * k:  # with fewer rows, sorting all of them is as quick
        threshold = np.partition(leading, len(rows) - k)[len(rows) - k] if len(rows) > k else -np.inf
        keep = leading >= threshold if boosted is None or threshold > -np.inf else leading > -np.inf
        rows, scores, boosted = rows[keep], scores[keep], None if boosted is None else boosted[keep]
    order = np.lexsort((rows, -scores) if boosted is None else (rows, -scores, -boosted))
    rows, scores, boosted = rows[order], scores[order], None if boosted is None else boosted[order]
    end = min(k, len(rows))
    while (
        end and end < len(rows) and scores[end] == scores[k - 1] and (boosted is None or boosted[end] == boosted[k - 1])
    ):
        end += 1
    return rows[:end], scores[:end], None if boosted is None else boosted[:end]


def _damage_error(rows: Rows, wrong: Mask) -> CorruptionError:
    return CorruptionError(
        f"{np.count_nonzero(wrong)} of {len(rows)} scored vectors are not those that were indexed, first row "
        f"{rows[np.argmax(wrong)]}: stored vectors or codes are damaged. Run verify()",
        rows=rows[wrong].tolist(),
    )


def _best_time(call: Callable[[], object]) -> float:
    """Return the seconds of the fastest of three calls."""
    times = []
    for _ in range(_REPEATS):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return min(times)
