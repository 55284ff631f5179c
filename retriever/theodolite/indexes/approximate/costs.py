"""What searches cost on this machine, and what an index would."""

import math
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from theodolite.indexes.approximate.queries import honest_queries
from theodolite.indexes.flat import FlatIndex, VectorSource
from theodolite.indexes.naming import make_index
from theodolite.indexes.timing import fastest
from theodolite.indexes.workers import processors
from theodolite.protocols import Candidates
from theodolite.types import Space, Vectors

_BLOCKS = 16  # scanned for the measurement; more take as long for each row
_BATCH = 16
_ROWS = 256  # scored exactly
_EFFORTS = (16, 64, 256, 1024)
_PATIENCE = 0.02  # seconds for proposals, after which no greater effort is tried


@dataclass(frozen=True, slots=True)
class Costs:
    """Seconds, as measured.

    Attributes:
        scan: to scan one row for one query; with the threads a search uses.
        batch: the same for each query of a batch.
        score: to score one row exactly.
        call: for any search, whatever it does.
        proposals: (n, seconds) for n proposals to one query, by rising n. Empty where none were measured.
    """

    scan: float
    batch: float
    score: float
    call: float
    proposals: tuple[tuple[int, float], ...] = ()

    @classmethod
    def measure(cls, flat: FlatIndex, source: VectorSource, candidates: Candidates | None = None) -> "Costs":
        """By a few real calls, about 50 ms."""
        part = FlatIndex(flat.metric, flat.dimension, flat.blocks[:_BLOCKS])
        if not part.rows:
            return cls(0.0, 0.0, 0.0, 0.0)
        rows = np.linspace(0, part.rows - 1, min(_ROWS, part.rows)).astype(np.int64)
        sample = source.take(rows)
        queries = honest_queries(sample[:_BATCH], Space(flat.metric, flat.dimension, "any"))
        first = Vectors(queries[:1])
        call = fastest(lambda: flat.score(first[0], rows[:1], source))
        score = fastest(lambda: flat.score(first[0], rows, source))
        scan = fastest(lambda: part.search(first, 10, source))
        batch = fastest(lambda: part.search(queries, 10, source))
        proposals = []
        if candidates is not None and len(candidates):
            began = time.perf_counter()
            for n in _EFFORTS:
                if time.perf_counter() - began > _PATIENCE:
                    break
                proposals.append((n, fastest(lambda: candidates.propose(first, n))))  # noqa: B023 - called at once
        return cls(
            scan=scan / part.rows,
            batch=batch / part.rows / len(queries),
            score=max(0.0, score - call) / max(1, len(rows) - 1),
            call=call,
            proposals=tuple(proposals),
        )

    def exact(self, flat: FlatIndex, eligible: int, queries: int) -> float:
        """For the exact answer to one of so many queries, with so many rows eligible."""
        if eligible <= flat.few:
            return self.call + self.score * eligible
        return self.call + (self.scan if queries == 1 else self.batch) * (flat.rows - flat.first)

    def propose(self, n: int) -> float:
        """For n proposals: in proportion between what was measured, and beyond."""
        if not self.proposals:
            return math.inf
        at, took = zip(*self.proposals, strict=True)
        if n > at[-1]:
            return float(took[-1] * n / at[-1])
        return float(np.interp(n, at, took))


def estimate(spec: str, rows: int, dimension: int) -> dict[str, Any]:
    """What an index of these rows would take: `seconds` to build on this machine's processors, `memory` and `file`
    in bytes. None for what is not known beforehand.

    For HNSW: 340 µs for a row at d = 384, M = 16, ef_construction = 200 and 20,000 rows on one processor, in proportion
    to the distances that are computed, which grow with the logarithm of the rows.
    """
    name = spec.partition(":")[0].strip()
    if name == "hnsw":
        return _hnsw(make_index(spec), rows, dimension)
    return {"seconds": None, "memory": None, "file": None}


def _hnsw(index: Any, rows: int, dimension: int) -> dict[str, Any]:
    each = 340e-6 * (dimension + 64) / 448 * (index.ef_construction / 200) * (index.M / 16) ** 0.5
    links = 4 * (2 * index.M + 1) + 4 + 4 * (index.M + 1) / (index.M - 1)
    size = rows * (4 * dimension + links + 8)
    return {
        "seconds": rows * each * math.log(max(2, rows)) / math.log(20_000) / processors(),
        "memory": int(size + rows * (8 + 24)),
        "file": int(size),
    }
