"""HNSW, a graph of neighbors, by hnswlib.

hnswlib checks little of its input, and some mistakes end the process. So only this module calls it, and never with more
rows than it has room for, with a file that was not checked whole, or while it is empty.
"""

import errno
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from theodolite.errors import ConfigError, CorruptionError, VectorError
from theodolite.forking import COLLECTIONS
from theodolite.indexes.flat.workers import processors
from theodolite.indexes.hnsw_file import check_graph
from theodolite.plugins import optional
from theodolite.types import Rows, Space, Vectors
from theodolite.vectors.metrics import get_metric

_CHUNK = 2048  # rows added at a time: about half a second, for Ctrl-C and for progress
_SEED = 100
_L2 = 1 << 40  # added to the labels of a graph by distance, because the file does not say its metric
_NOTHING = np.empty(0, np.int64)


class HnswIndex:
    """Candidates from a graph that links each row to rows near it. A search walks along links towards the query.

    Builds on all processors. With more than one, two builds of the same rows differ in a few links.

    Args:
        M: links for each row, and twice as many on the lowest level. More links are better, slower and larger.
        ef_construction: the number of rows to look at when a row's links are chosen.
        ef_search: the least effort of a search. The effort is at least the number of proposals.
    """

    validates = True  # `load` checks every number in a file

    def __init__(self, M: int = 16, ef_construction: int = 200, ef_search: int = 0) -> None:
        for name, value, least, most in (
            ("M", M, 2, 1000),
            ("ef_construction", ef_construction, 1, 100_000),
            ("ef_search", ef_search, 0, 100_000),
        ):
            if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
                raise ConfigError(f"hnsw: {name} is {value!r}; expected an int from {least} to {most}")
        with optional("hnsw"):
            import hnswlib
        self._hnswlib: Any = hnswlib
        self.M = M
        self.ef_construction = ef_construction
        self.ef_search = ef_search
        self._graph: Any = None
        self._base = 0

    def __len__(self) -> int:
        return 0 if self._graph is None else int(self._graph.get_current_count())

    def build(self, vectors: Vectors, space: Space, progress: Callable[[int], object] | None = None) -> None:
        """Add the rows that the graph lacks. Never call it while another thread searches: that ends the process."""
        total, dimension = vectors.shape
        if total <= len(self):
            return
        self._check(dimension)
        if self._graph is None:
            graph = self._empty(space, dimension)
            graph.init_index(total, M=self.M, ef_construction=self.ef_construction, random_seed=_SEED)
            self._adopt(graph, space)
        elif self._graph.get_max_elements() < total:
            self._graph.resize_index(total)
        threads = processors()
        for start in range(len(self), total, _CHUNK):
            stop = min(start + _CHUNK, total)
            labels = np.arange(self._base + start, self._base + stop)
            part = vectors[start:stop]
            try:
                self._graph.add_items(part, labels, num_threads=threads)
            except Exception:
                self._graph = None  # it is unknown which rows of the part are in
                raise
            if progress is not None:
                progress(stop - start)

    def propose(self, query: Vectors, n: int) -> Rows:
        """Return up to n rows, nearest first. Fewer if no more can be reached through the graph."""
        if self._graph is None:
            return _NOTHING
        self._check(query.shape[1])
        wanted = min(n, self._graph.element_count)
        while wanted > 0:
            try:
                with COLLECTIONS:  # the graph has a lock, which must not be locked during a fork
                    labels, _ = self._graph.knn_query(query, k=wanted, num_threads=1)
            except RuntimeError as error:
                # hnswlib raises if it finds fewer than k.
                if "contiguous 2D array" not in str(error):
                    raise
                wanted = wanted * 3 // 4
                continue
            rows: Rows = labels[0].view(np.int64)
            return rows - self._base if self._base else rows
        return _NOTHING

    def save(self, path: Path) -> None:
        """Write the graph to `path`, durably. hnswlib itself does not report failed writes."""
        if self._graph is None:
            raise ConfigError("there is no graph to save: build it first")
        path.open("wb").close()  # raises the right error if it cannot be written, and removes an old file
        self._graph.save_index(os.fspath(path))
        with path.open("rb+") as file:
            os.fsync(file.fileno())
            size, expected = os.fstat(file.fileno()).st_size, self._graph.index_file_size()
        if size != expected:
            message = f"only {size} of {expected} bytes could be written"
            raise OSError(errno.ENOSPC, message, os.fspath(path))

    def load(self, path: Path, space: Space) -> None:
        """Read a graph of the same settings, dimension, and order (inner product or distance).

        Every number in the file is checked first, so a malicious file cannot make hnswlib read outside its memory.

        Raises:
            CorruptionError: the file is not such a graph. OSError: it cannot be read.
        """
        dimension = space.dimension or 0
        base = _base(space)
        rows = check_graph(path, dimension, self.M, self.ef_construction, base)
        graph = self._empty(space, dimension)
        try:
            graph.load_index(os.fspath(path), max_elements=rows)
        except RuntimeError as error:
            raise CorruptionError(f"{path.name} is damaged: {error}", path=str(path)) from error
        self._adopt(graph, space)

    def estimate(self, rows: int, dimension: int) -> dict[str, Any]:
        """Estimate the `seconds` to build, and the bytes of `memory` and of the `file`.

        Measured at d = 384, M = 16 and ef_construction = 200: each of 100,000 rows takes 620 µs of a processor, and 155
        µs more for each factor of e more rows. Other settings scale that as measured. On other machines the estimate
        may be off by a factor of two.
        """
        each = max(100e-6, 620e-6 + 155e-6 * math.log(max(1, rows) / 100_000))
        each *= (dimension + 200) / 584 * (self.M / 16) ** 0.35 * (self.ef_construction / 200) ** 0.8
        links = 4 * (2 * self.M + 1) + 4 + 4 * (self.M + 1) / (self.M - 1)
        size = rows * (4 * dimension + links + 8)
        return {"seconds": rows * each / processors(), "memory": int(size + rows * (8 + 24)), "file": int(size)}

    def _check(self, dimension: int) -> None:
        # hnswlib reads beyond the end of a shorter query.
        if self._graph is not None and dimension != self._graph.dim:
            raise VectorError(f"vectors have dimension {dimension}; the graph has {self._graph.dim}")

    def _empty(self, space: Space, dimension: int) -> Any:
        return self._hnswlib.Index("l2" if get_metric(space.metric).by_distance else "ip", dimension)

    def _adopt(self, graph: Any, space: Space) -> None:
        if self.ef_search:
            graph.set_ef(self.ef_search)
        self._base = _base(space)
        self._graph = graph


def _base(space: Space) -> int:
    """Return the label of row 0."""
    return _L2 if get_metric(space.metric).by_distance else 0
