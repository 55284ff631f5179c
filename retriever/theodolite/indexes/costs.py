"""What searching costs on this machine: measured, for the choice between ways that lead to the same answer."""

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from theodolite.indexes.flat import FlatIndex, VectorSource
from theodolite.protocols import Candidates
from theodolite.types import Rows, Vectors

_TRIES = 5
_SAMPLE = 2048  # rows scored exactly for the measurement
_BATCH = 16


@dataclass(frozen=True, slots=True)
class Costs:
    """Seconds.

    Attributes:
        rows: of the flat index when it was measured.
        row: to score one row exactly;
        scan: to answer one query by a scan under a mask;
        batch: for each of many queries scanned together.
        efforts: numbers of proposals, rising, and the seconds of each.
    """

    rows: int
    row: float
    scan: float
    batch: float
    efforts: tuple[tuple[int, float], ...]

    @classmethod
    def measure(cls, flat: FlatIndex, source: VectorSource, candidates: Candidates, rows: Rows, wanted: int) -> "Costs":
        """Time some calls of each kind: about 50 ms for 100,000 rows."""
        draw = np.random.default_rng(0)
        chosen = np.sort(draw.choice(rows, min(_BATCH, len(rows)), replace=False))
        queries = Vectors(source.take(chosen))
        some = np.sort(draw.choice(rows, min(_SAMPLE, len(rows)), replace=False))
        mask = np.ones(flat.rows, np.bool_)
        mask[draw.integers(flat.rows, size=max(1, flat.rows // 100))] = False
        one = Vectors(queries[:1])
        efforts = []
        for n in (wanted, 4 * wanted, 16 * wanted):
            n = min(n, len(rows))
            efforts.append((n, _proposing(candidates, queries, n)))
        return cls(
            flat.rows,
            _seconds(lambda: flat.score(one[0], some, source)) / len(some),
            _seconds(lambda: flat.search(one, 10, source, mask)),
            _seconds(lambda: flat.search(queries, 10, source, mask)) / len(queries),
            tuple(efforts),
        )

    def exact(self, eligible: int, queries: int) -> float:
        """To answer so many queries exactly, with so many eligible rows."""
        each = self.batch if queries >= _BATCH else self.scan
        return queries * min(each, eligible * self.row)

    def proposals(self, n: int) -> float:
        """To propose n rows: between the measured efforts, and beyond them in proportion."""
        numbers, seconds = zip(*self.efforts, strict=True)
        if n >= numbers[-1]:
            return float(seconds[-1] * n / numbers[-1])
        return float(np.interp(n, numbers, seconds))


def _proposing(candidates: Candidates, queries: Vectors, n: int) -> float:
    turns = itertools.cycle(range(len(queries)))  # the same query again would find all it needs in the caches
    return _seconds(lambda: candidates.propose(Vectors(queries[next(turns)][None]), n))


def _seconds(call: Callable[[], object]) -> float:
    """The median of some calls, after one that warms up."""
    call()
    times = []
    for _ in range(_TRIES):
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return sorted(times)[_TRIES // 2]
