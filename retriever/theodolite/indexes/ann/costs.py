"""Costs: the seconds that the steps of a search take on this machine."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from theodolite.indexes.ann.calibration import synthetic_queries
from theodolite.indexes.flat.index import FlatIndex
from theodolite.indexes.flat.sources import VectorSource
from theodolite.indexes.flat.workers import workers
from theodolite.protocols import Candidates
from theodolite.types import Space, Vectors

_BLOCKS = 8  # blocks to scan; more would take as long per row
_BATCH = 32
_ROWS = 256  # rows to score exactly
_PICKED = 1024  # rows from which the best are picked
_EFFORTS = (16, 64, 256, 1024)
_REPEATS = 5
_BATCHES = 3  # repeats of batches
_PATIENCE = 0.02  # seconds of proposals after which no higher number is tried


@dataclass(frozen=True, slots=True)
class Costs:
    """Seconds, as measured.

    Attributes:
        scan: seconds to scan one row for one query, with the threads that a search uses.
        batch: seconds to scan one row for each query of a batch.
        score: seconds to score one row exactly.
        pick: seconds per eligible row to pick the best rows.
        call: the fixed cost of a search.
        proposals: (n, seconds) for n proposals to one query, by rising n. Empty if none were measured.
        shared: the share of these seconds that a query takes in a batch, where threads divide the queries.
    """

    scan: float
    batch: float
    score: float
    pick: float
    call: float
    proposals: tuple[tuple[int, float], ...] = ()
    shared: float = 1.0

    @classmethod
    def measure(cls, flat: FlatIndex, source: VectorSource, candidates: Candidates | None = None) -> "Costs":
        """Measure with a few real calls, 50 to 100 ms."""
        part = FlatIndex(flat.metric.name, flat.dimension, flat.blocks[:_BLOCKS])
        if not part.rows:
            return cls(0.0, 0.0, 0.0, 0.0, 0.0)
        # Never use the same query or rows twice: data in the processor's cache is several times faster.
        draw = np.random.default_rng(0)
        scattered = [np.sort(draw.integers(part.rows, size=_ROWS)) for _ in range(_REPEATS + 1)]
        sample = synthetic_queries(source.take(scattered[0]), Space(flat.metric.name, flat.dimension, "any"))
        queries = [Vectors(sample[i : i + 1]) for i in range(_REPEATS * len(_EFFORTS))]
        batches = [Vectors(sample[i * _BATCH : (i + 1) * _BATCH]) for i in range(1, 1 + _BATCHES)]
        call = _typical(lambda i: flat.score(queries[i][0], scattered[i + 1][:1], source))
        score = _typical(lambda i: flat.score(queries[i][0], scattered[i + 1][1:], source))
        picked = [np.sort(draw.integers(part.rows, size=_PICKED)) for _ in range(_REPEATS)]
        pick = _typical(lambda i: flat.search_rows(queries[i][0], picked[i], 10, source))
        proposals, shared = (
            _proposing(candidates, queries, batches) if candidates is not None and len(candidates) else ((), 1.0)
        )
        return cls(
            scan=_typical(lambda i: part.search(queries[i], 10, source)) / part.rows,
            batch=_typical(lambda i: part.search(batches[i], 10, source), _BATCHES) / part.rows / _BATCH,
            score=max(0.0, score - call) / (_ROWS - 2),
            pick=max(0.0, pick - call) / _PICKED,
            call=call,
            proposals=proposals,
            shared=shared,
        )

    def exact(self, flat: FlatIndex, eligible: int, queries: int) -> float:
        """Return the seconds of exact search for each of `queries` queries with `eligible` eligible rows."""
        if eligible <= flat.max_direct:
            return self.call + self.pick * eligible
        return self.call + (self.scan if queries == 1 else self.batch) * (flat.rows - flat.first)

    def propose(self, n: int) -> float:
        """Return the seconds of n proposals, interpolated between the measured numbers."""
        if not self.proposals:
            return math.inf
        at, took = zip(*self.proposals, strict=True)
        return float(took[-1] * n / at[-1] if n > at[-1] else np.interp(n, at, took))


def _proposing(
    candidates: Candidates, queries: list[Vectors], batches: list[Vectors]
) -> tuple[tuple[tuple[int, float], ...], float]:
    """Measure `Costs.proposals` and `Costs.shared`."""
    proposals: list[tuple[int, float]] = []
    began = time.perf_counter()
    for n in _EFFORTS:
        if time.perf_counter() - began > _PATIENCE:
            break
        fresh = queries[_REPEATS * len(proposals) :]
        proposals.append((n, _typical(lambda i: candidates.propose(fresh[i], n))))  # noqa: B023 - called before the next round

    effort, alone = proposals[min(1, len(proposals) - 1)]

    def one(query: Vectors) -> None:
        candidates.propose(query, effort)

    def batch(number: int) -> None:
        workers.run(one, [Vectors(batches[number][i : i + 1]) for i in range(_BATCH)])

    return tuple(proposals), _typical(batch, _BATCHES) / _BATCH / alone


def _typical(call: Callable[[int], object], repeats: int = _REPEATS) -> float:
    """Return the median seconds of call(0), call(1), …"""
    times = []
    for i in range(repeats):
        began = time.perf_counter()
        call(i)
        times.append(time.perf_counter() - began)
    return float(np.median(times))
