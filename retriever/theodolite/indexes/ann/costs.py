"""What searches cost on this machine, and what an index would."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from theodolite.indexes.ann.synthetic_queries import synthetic_queries
from theodolite.indexes.flat.index import FlatIndex, VectorSource
from theodolite.indexes.flat.workers import processors, workers
from theodolite.indexes.registry import make_index
from theodolite.protocols import Candidates
from theodolite.types import Space, Vectors

_BLOCKS = 8  # scanned for the measurement; more take as long for each row
_BATCH = 32
_ROWS = 256  # scored exactly
_PICKED = 1024  # rows of which the best are picked
_EFFORTS = (16, 64, 256, 1024)
_REPEATS = 5
_FEWER = 3  # repeats of batches
_PATIENCE = 0.02  # seconds for proposals, after which no greater effort is tried


@dataclass(frozen=True, slots=True)
class Costs:
    """Seconds, as measured.

    Attributes:
        scan: to scan one row for one query; with the threads a search uses.
        batch: the same for each query of a batch.
        score: to score one row exactly.
        pick: to look at one of several eligible rows, for the best of them.
        call: for any search, whatever it does.
        proposals: (n, seconds) for n proposals to one query, by rising n. Empty where none were measured.
        shared: the part of that which a query of a batch takes, as threads share them.
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
        """By a few real calls, 50 to 100 ms."""
        part = FlatIndex(flat.metric.name, flat.dimension, flat.blocks[:_BLOCKS])
        if not part.rows:
            return cls(0.0, 0.0, 0.0, 0.0, 0.0)
        # Never the same query or rows twice: what the processor's cache still holds is several times faster.
        draw = np.random.default_rng(0)
        scattered = [np.sort(draw.integers(part.rows, size=_ROWS)) for _ in range(_REPEATS + 1)]
        sample = synthetic_queries(source.take(scattered[0]), Space(flat.metric.name, flat.dimension, "any"))
        queries = [Vectors(sample[i : i + 1]) for i in range(_REPEATS * len(_EFFORTS))]
        batches = [Vectors(sample[i * _BATCH : (i + 1) * _BATCH]) for i in range(1, 1 + _FEWER)]
        call = _typical(lambda i: flat.score(queries[i][0], scattered[i + 1][:1], source))
        score = _typical(lambda i: flat.score(queries[i][0], scattered[i + 1][1:], source))
        picked = [np.sort(draw.integers(part.rows, size=_PICKED)) for _ in range(_REPEATS)]
        pick = _typical(lambda i: flat.among(queries[i][0], picked[i], 10, source))
        proposals, shared = (
            _proposing(candidates, queries, batches) if candidates is not None and len(candidates) else ((), 1.0)
        )
        return cls(
            scan=_typical(lambda i: part.search(queries[i], 10, source)) / part.rows,
            batch=_typical(lambda i: part.search(batches[i], 10, source), _FEWER) / part.rows / _BATCH,
            score=max(0.0, score - call) / (_ROWS - 2),
            pick=max(0.0, pick - call) / _PICKED,
            call=call,
            proposals=proposals,
            shared=shared,
        )

    def exact(self, flat: FlatIndex, eligible: int, queries: int) -> float:
        """For the exact answer to one of so many queries, with so many rows eligible."""
        if eligible <= flat.few:
            return self.call + self.pick * eligible
        return self.call + (self.scan if queries == 1 else self.batch) * (flat.rows - flat.first)

    def propose(self, n: int) -> float:
        """For n proposals: in proportion between what was measured, and beyond."""
        if not self.proposals:
            return math.inf
        at, took = zip(*self.proposals, strict=True)
        return float(took[-1] * n / at[-1] if n > at[-1] else np.interp(n, at, took))


def _proposing(
    candidates: Candidates, queries: list[Vectors], batches: list[Vectors]
) -> tuple[tuple[tuple[int, float], ...], float]:
    """`Costs.proposals` and `Costs.shared`."""
    proposals: list[tuple[int, float]] = []
    began = time.perf_counter()
    for n in _EFFORTS:
        if time.perf_counter() - began > _PATIENCE:
            break
        fresh = queries[_REPEATS * len(proposals) :]
        proposals.append((n, _typical(lambda i: candidates.propose(fresh[i], n))))  # noqa: B023 - used up here

    effort, alone = proposals[min(1, len(proposals) - 1)]

    def one(query: Vectors) -> None:
        candidates.propose(query, effort)

    def batch(number: int) -> None:
        workers.run(one, [Vectors(batches[number][i : i + 1]) for i in range(_BATCH)])

    return tuple(proposals), _typical(batch, _FEWER) / _BATCH / alone


def _typical(call: Callable[[int], object], repeats: int = _REPEATS) -> float:
    """The median seconds of call(0), call(1), …"""
    times = []
    for i in range(repeats):
        began = time.perf_counter()
        call(i)
        times.append(time.perf_counter() - began)
    return float(np.median(times))


def estimate(spec: str, rows: int, dimension: int) -> dict[str, Any]:
    """What an index of these rows would take: `seconds` to build on this machine's processors, `memory` and `file`
    in bytes. None for what is not known beforehand.

    For HNSW: as measured, at d = 384, M = 16 and ef_construction = 200 each of 100,000 rows takes 620 µs of a
    processor, and 155 µs more or less for each factor of e more rows; other settings change that as they did there. On
    other machines it may be off by a factor of two.
    """
    name = spec.partition(":")[0].strip()
    if name == "hnsw":
        return _hnsw(make_index(spec), rows, dimension)
    return {"seconds": None, "memory": None, "file": None}


def _hnsw(index: Any, rows: int, dimension: int) -> dict[str, Any]:
    each = max(100e-6, 620e-6 + 155e-6 * math.log(max(1, rows) / 100_000))
    each *= (dimension + 200) / 584 * (index.M / 16) ** 0.35 * (index.ef_construction / 200) ** 0.8
    links = 4 * (2 * index.M + 1) + 4 + 4 * (index.M + 1) / (index.M - 1)
    size = rows * (4 * dimension + links + 8)
    return {
        "seconds": rows * each / processors(),
        "memory": int(size + rows * (8 + 24)),
        "file": int(size),
    }
