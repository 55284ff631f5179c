"""The flat index: the true top k, from one pass over int8 codes.

The codes give each row an approximate similarity and a bound on its error (see `blocks`). The k-th largest lower
bound is a threshold no row of the top k can stay below, so only rows whose upper bound reaches it are scored exactly,
from the vectors themselves. Nothing is approximate about the answer.

For L2 the scan works on −‖x − q‖² = 2w·v − ‖v‖² − ‖w‖² with w = q − μ, which has the same order.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from theodolite.errors import CorruptionError
from theodolite.indexes.flat import boosted
from theodolite.indexes.flat.boosted_score import BoostedScore, reached
from theodolite.indexes.flat.codes import BLOCK, Block, Codes, quantise
from theodolite.indexes.flat.scan import Scan, kth_largest
from theodolite.indexes.flat.workers import Workers, workers
from theodolite.indexes.timing import best_time
from theodolite.types import Mask, Rows, Scores, Vectors
from theodolite.vectors.metrics import MetricName, get_metric

_EXCHANGE = 12.0  # what `exchange` usually is
_LARGE = 4 * BLOCK  # rows that make a measurement worth its milliseconds
_SCORED = 2048  # rows picked from to measure: more than the nearer caches hold
_FEW = 128  # rows that are all scored exactly: to rule some out first would take as long
_GATHERED = 1024  # vectors at a time whose products are taken: they fit the nearer caches

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]


class VectorSource(Protocol):
    """Where the rows' float32 vectors are."""

    def take(self, rows: Rows) -> Floats:
        """(n, d) vectors of these rows."""
        ...

    def span(self, start: int, stop: int) -> Floats:
        """(stop − start, d) vectors of a run of rows."""
        ...


class ArraySource:
    """Vectors in memory."""

    def __init__(self, vectors: Floats) -> None:
        self._vectors = vectors

    def take(self, rows: Rows) -> Floats:
        return self._vectors[rows]

    def span(self, start: int, stop: int) -> Floats:
        return self._vectors[start:stop]


@dataclass(frozen=True, slots=True)
class Found:
    """Rows found for one query, by falling worth if it was asked for, then by falling score, then rising row.

    At least min(k, eligible) of them, but for those that are worth nothing, and with a row all others that are its
    equals in this (of those that were proposed, where they were): the caller breaks ties.

    Attributes:
        rows, scores: (n,) the rows and their exact similarities.
        scored: rows whose exact similarity was computed.
        path: `scan`, `rows` or `empty`; `index` where an approximate index has proposed rows.
        proposed: rows that were proposed.
        complete: whether this is proven to be the true top k.
        worths: (n,) what the rows are worth, above −inf; None where that was not asked for.
    """

    rows: Rows
    scores: Scores
    scored: int
    path: str
    proposed: int = 0
    complete: bool = True
    worths: Doubles | None = None


CodesFor = Callable[[int, int], Codes]


class FlatIndex:
    """Exact search over rows 0 … n−1. Immutable; `grown` makes the next one and shares what stays the same.

    Attributes:
        first: rows below are not searched: 0, unless this is the tail of another index.
        exchange: how many rows are scanned in the time that one is scored; None where it has not been measured.
    """

    def __init__(
        self,
        metric: MetricName,
        dimension: int,
        blocks: Sequence[Block] = (),
        pool: Workers = workers,
        first: int = 0,
        exchange: float | None = None,
    ) -> None:
        self.metric = get_metric(metric)
        self.dimension = dimension
        self.blocks = tuple(blocks)
        self.rows = blocks[-1].stop if blocks else first
        self.first = first
        self.exchange = exchange
        self._cosines = self.metric.gives_cosines()
        self._pool = pool
        self._scan = Scan(self.metric, dimension, self.blocks, pool)

    def grown(self, source: VectorSource, rows: int, codes: CodesFor | None = None) -> "FlatIndex":
        """The index over `rows` rows, of which this one's come first.

        Args:
            codes: gives the codes of a full block's rows from `start` to `stop`, for instance from a cache.
        """
        if rows == self.rows:
            return self
        make = codes or (lambda start, stop: quantise(source.span(start, stop)))
        kept = list(self.blocks)
        spans = []
        start = self.rows
        while start < rows:
            stop = min(rows, start - start % BLOCK + BLOCK)
            # A short tail block is worth repacking with what follows, so their number stays logarithmic.
            while kept and kept[-1].stop == start and start % BLOCK and kept[-1].size <= stop - start:
                start = kept.pop().start
            spans.append((start, stop))
            start = stop
        made: dict[int, Block] = {}

        def fill(span: tuple[int, int]) -> None:
            first, last = span
            full = last - first == BLOCK
            made[first] = Block(first, make(first, last) if full else quantise(source.span(first, last)))

        self._pool.run(fill, spans)
        return FlatIndex(
            self.metric.name,
            self.dimension,
            kept + [made[start] for start, _ in spans],
            self._pool,
            self.first,
            self.exchange,
        )

    def measured(self, source: VectorSource) -> "FlatIndex":
        """The same index with `exchange` measured on this machine, if it is large enough for that to matter."""
        if self.exchange is not None or self.rows - self.first < _LARGE:
            return self
        part = FlatIndex(self.metric.name, self.dimension, self.blocks[: _LARGE // BLOCK], self._pool)
        rows = np.linspace(part.blocks[0].start, part.rows - 1, _SCORED).astype(np.int64)
        query = Vectors(source.take(rows[:1]))
        scan = best_time(lambda: part.search(query, 10, source)) / part.rows
        pick = best_time(lambda: self.among(query[0], rows, 10, source)) / _SCORED
        # A busy machine disturbs the measurement: it moves the usual rate, and does not replace it.
        exchange = min(max(pick / scan, _EXCHANGE / 2), _EXCHANGE * 2)
        return FlatIndex(self.metric.name, self.dimension, self.blocks, self._pool, self.first, exchange)

    def tail(self, first: int) -> "FlatIndex":
        """The index over the rows from `first` on. It shares the blocks."""
        kept = [block for block in self.blocks if block.stop > first]
        return FlatIndex(self.metric.name, self.dimension, kept, self._pool, first, self.exchange)

    def search(
        self,
        queries: Vectors,
        k: int,
        source: VectorSource,
        mask: Mask | None = None,
        worth: BoostedScore | None = None,
    ) -> list[Found]:
        """The k best rows for each of `queries`, (m, d), among those where `mask` (rows,) is True.

        The most similar ones, or those worth most: out of all, whatever their similarity.

        Raises:
            CorruptionError: a vector is not the one its code was made of.
            ConfigError: a relevance function gives what is no relevance.
        """
        mask = self._own(mask) if self.first else mask
        eligible = self.rows - self.first if mask is None else int(np.count_nonzero(mask))
        if not eligible or not len(queries):
            worths = None if worth is None else np.empty(0)
            nothing = Found(np.empty(0, np.int64), np.empty(0, np.float32), 0, "empty", worths=worths)
            return [nothing] * len(queries)
        if mask is not None and eligible <= self.few:
            rows = np.flatnonzero(mask) + self._scan.origin
            return [self.among(query, rows, k, source, worth) for query in queries]
        return self._scanned(queries, min(k, eligible), source, mask, worth)

    def score(self, query: NDArray[np.float32], rows: Rows, source: VectorSource) -> Scores:
        """The exact similarities of `query`, (d,), to these rows, (n,)."""
        return self._bounded(self._exact(query, rows, source), rows)

    @property
    def few(self) -> int:
        """How many eligible rows are scored directly, without the scan."""
        return max(256, int((self.rows - self.first) / (self.exchange or _EXCHANGE)))

    def _own(self, mask: Mask | None) -> Mask | None:
        """The mask of the rows from the first block on."""
        origin = self._scan.origin
        if self.first == origin:
            return None if mask is None else mask[origin:]
        own = np.ones(self.rows - origin, np.bool_) if mask is None else mask[origin:].copy()
        own[: self.first - origin] = False
        return own

    def among(
        self, query: NDArray[np.float32], rows: Rows, k: int, source: VectorSource, worth: BoostedScore | None = None
    ) -> Found:
        """The k best of these rows: products in float32, with a bound of their error, rule most of them out.

        |fl(q·x) − q·x| ≤ c·‖q‖·‖x‖ with c = d·u / (1 − d·u), in whatever order it is summed (Higham, Accuracy and
        Stability of Numerical Algorithms, section 3.1). c is doubled here, which covers the rounding of the bound.
        """
        if self.metric.by_distance or len(rows) <= max(_FEW, 4 * k):
            return self._pick(rows, self._exact(query, rows, source), k, "rows", worth)
        near, size = np.empty(len(rows), np.float32), np.ones(len(rows), np.float32)
        for start in range(0, len(rows), _GATHERED):
            part = slice(start, start + _GATHERED)
            vectors = source.take(rows[part])
            np.vecdot(vectors, query, out=near[part])
            if not self.metric.normalizes:
                np.sqrt(np.vecdot(vectors, vectors), out=size[part])
        d, length = self.dimension, float(np.linalg.norm(query.astype(np.float64)))
        # What small components lose by underflow: of a squared norm, and of a product.
        error = (d + 8) * 2.0**-23 * length * (size + 2e-19 * math.sqrt(d)) + d * 2.4e-38
        low, high = near - error, near + error
        if worth is None:
            least = np.partition(low, len(rows) - k)[len(rows) - k]
        else:
            high = boosted.highest(worth, rows, high, self.metric)
            least = reached(kth_largest(boosted.lowest(worth, rows, low, self.metric), k))
        keep = ~(high < least)
        if self.metric.normalizes:
            keep |= ~(np.abs(near) < 1 + 1e-3)  # damaged, which is told of a row that is scored
        rows = rows[keep]
        return self._pick(rows, self._exact(query, rows, source), k, "rows", worth)

    def _scanned(
        self, queries: Vectors, k: int, source: VectorSource, mask: Mask | None, worth: BoostedScore | None
    ) -> list[Found]:
        found = []
        for part in self._scan.parts(len(queries)):
            chunk = queries[part]
            scan = self._scan.run(chunk, mask)
            for number, query in enumerate(chunk):
                if worth is None:
                    rows, near, error = scan.candidates(number, k)
                else:
                    rows, near, error = boosted.candidates(scan, number, k, worth)
                found.append(self._settle(query, rows, near, error, k, source, worth))
        return found

    def _settle(
        self,
        query: NDArray[np.float32],
        rows: Rows,
        near: Doubles,
        error: Doubles,
        k: int,
        source: VectorSource,
        worth: BoostedScore | None,
    ) -> Found:
        """Score the candidates, the promising ones first: their exact scores rule out most of the rest."""
        if len(rows) > 2 * k + 64:
            high = near + error
            if worth is not None:
                high = boosted.highest(worth, rows, high, self.metric)
            first = np.argpartition(-high, 2 * k + 32)[: 2 * k + 32]
            exact = self._checked(query, rows[first], near[first], error[first], source)
            if worth is None:
                least = float(self.metric.to_scan(-np.partition(-exact, k - 1)[k - 1]))
            else:
                least = reached(kth_largest(worth.of(self._bounded(exact, rows[first]), rows[first]), k))
            rest = high >= least
            rest[first] = False
            more = np.flatnonzero(rest)
            scores = np.concatenate([exact, self._checked(query, rows[more], near[more], error[more], source)])
            rows = np.concatenate([rows[first], rows[more]])
        else:
            scores = self._checked(query, rows, near, error, source)
        return self._pick(rows, scores, k, "scan", worth)

    def _checked(
        self, query: NDArray[np.float32], rows: Rows, near: Doubles, error: Doubles, source: VectorSource
    ) -> Scores:
        scores = self._exact(query, rows, source)
        right = np.abs(self.metric.to_scan(scores) - near) <= error
        if not right.all():
            raise _damaged(rows, ~right)
        return scores

    def _bounded(self, scores: Scores, rows: Rows) -> Scores:
        """Scores in the metric's range. Cosines leave it by the rounding of unit vectors, or for damaged ones."""
        if not self._cosines:
            return scores
        size = np.abs(scores)
        if len(size) and not np.maximum.reduce(size) <= 1:
            wrong = ~(size < 1 + 1e-5)
            if wrong.any():
                raise _damaged(rows, wrong)
            return np.clip(scores, -1.0, 1.0)
        return scores

    def _exact(self, query: NDArray[np.float32], rows: Rows, source: VectorSource) -> Scores:
        # In the order of the file, and not all in memory at once.
        step = max(1024, (1 << 22) // max(1, self.dimension))
        if len(rows) <= step:
            return self.metric.scores(query, source.take(rows))
        parts = [
            self.metric.scores(query, source.take(rows[start : start + step])) for start in range(0, len(rows), step)
        ]
        return np.concatenate(parts)

    def _pick(self, rows: Rows, scores: Scores, k: int, path: str, worth: BoostedScore | None) -> Found:
        scores = self._bounded(scores, rows)
        best, kept, worths = top(rows, scores, k, None if worth is None else worth.of(scores, rows))
        return Found(best, kept, len(rows), path, worths=worths)


def top(rows: Rows, scores: Scores, k: int, worths: Doubles | None = None) -> tuple[Rows, Scores, Doubles | None]:
    """The k best rows and all that tie with the last of them, with their scores, and with what they are worth.

    By falling worth, if it is given, then by falling score, then rising row. What is worth −inf is left out.
    """
    leading = scores if worths is None else worths
    if worths is not None or len(rows) > 4 * k:  # of fewer, sorting all of them is as quick
        least = np.partition(leading, len(rows) - k)[len(rows) - k] if len(rows) > k else -np.inf
        keep = leading >= least if worths is None or least > -np.inf else leading > -np.inf
        rows, scores, worths = rows[keep], scores[keep], None if worths is None else worths[keep]
    order = np.lexsort((rows, -scores) if worths is None else (rows, -scores, -worths))
    rows, scores, worths = rows[order], scores[order], None if worths is None else worths[order]
    end = min(k, len(rows))
    while end and end < len(rows) and scores[end] == scores[k - 1] and (worths is None or worths[end] == worths[k - 1]):
        end += 1
    return rows[:end], scores[:end], None if worths is None else worths[:end]


def _damaged(rows: Rows, wrong: Mask) -> CorruptionError:
    return CorruptionError(
        f"{np.count_nonzero(wrong)} of {len(rows)} scored vectors are not those that were indexed, first row "
        f"{rows[np.argmax(wrong)]}: stored vectors or codes are damaged. Run verify()",
        rows=rows[wrong].tolist(),
    )
