"""What an index would cost and whether it would pay, before it is built."""

import math
from typing import Any

from theodolite.indexes.naming import make_index
from theodolite.indexes.workers import processors

_ROW = 340e-6  # seconds to insert a row of 384 dimensions among 100,000, M=16, ef_construction=200, one thread
_SCANNED = 3.5e-11  # seconds to scan one dimension of one row, one thread
_SLOW = 5e-3  # seconds of an exact search beyond which a graph pays


def estimate(spec: str, rows: int, dimension: int) -> dict[str, Any]:
    """Seconds to build an HNSW index on this machine, and bytes in memory and on disk; none of it for others.

    Measured figures, carried over: work grows with ef_construction, with the dimension beside a fixed part, and with
    the logarithm of the rows. A row takes 4 bytes a dimension and 8 M for its links.
    """
    index: Any = make_index(spec)
    if not (hasattr(index, "M") and hasattr(index, "ef_construction")):
        return {"seconds": None, "bytes": None}
    work = (0.3 + 0.7 * dimension / 384) * index.ef_construction / 200 * (0.5 + index.M / 32)
    growth = max(0.2, math.log(max(rows, 2)) / math.log(100_000))
    return {
        "seconds": round(rows * _ROW * work * growth / (0.85 * processors() + 0.15), 1),
        "bytes": rows * (4 * dimension + 8 * index.M + 30),
    }


def recommended(rows: int, dimension: int) -> str | None:
    """The index that would make searches of so many rows faster; None where the exact scan is fast enough."""
    return "hnsw" if rows * dimension * _SCANNED > _SLOW else None
