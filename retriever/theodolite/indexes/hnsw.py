"""HNSW, a graph of neighbours, over hnswlib.

hnswlib checks little of what it is given, and some mistakes end the process. So it is called here and nowhere else:
never with rows it has no room for, on a file that was not checked whole, or before it holds anything.
"""

import errno
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
_L2 = 1 << 40  # added to the labels of an L2 graph: the file has no other place that tells its metric
_NOTHING = np.empty(0, np.int64)


class HnswIndex:
    """Candidates from a graph: each row is linked to rows near it, and a search walks towards the query.

    Cosine and dot use inner products, L2 the distance. Built on all processors; with more than one, two builds of the
    same rows differ in a few links.

    Args:
        M: links of a row, twice as many on the lowest level. More is better, slower and larger.
        ef_construction: how many rows are looked at to choose a row's links.
        ef_search: the least effort of a search. Otherwise it is the number of proposals asked for.
    """

    validates = True  # `load` checks every number of a file

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
        """Index what is not in yet. Never while another thread searches: that ends the process."""
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
                self._graph = None  # which rows of the part are in is not known
                raise
            if progress is not None:
                progress(stop - start)

    def propose(self, query: Vectors, n: int) -> Rows:
        """Up to n rows, nearest first. Fewer where the graph has no way to more of them."""
        if self._graph is None:
            return _NOTHING
        self._check(query.shape[1])
        wanted = min(n, self._graph.element_count)
        while wanted > 0:
            try:
                with COLLECTIONS:  # the graph has a lock that a fork must not find locked
                    labels, _ = self._graph.knn_query(query, k=wanted, num_threads=1)
            except RuntimeError as error:
                # It refuses to return fewer than it was asked for.
                if "contiguous 2D array" not in str(error):
                    raise
                wanted = wanted * 3 // 4
                continue
            rows: Rows = labels[0].view(np.int64)
            return rows - self._base if self._base else rows
        return _NOTHING

    def save(self, path: Path) -> None:
        """Write the graph to `path`, durably. hnswlib itself notices no failure to write."""
        if self._graph is None:
            raise ConfigError("there is no graph to save: build it first")
        path.open("wb").close()  # refused for the right reason, and nothing old stays
        self._graph.save_index(os.fspath(path))
        with path.open("rb+") as file:
            os.fsync(file.fileno())
            size, expected = os.fstat(file.fileno()).st_size, self._graph.index_file_size()
        if size != expected:
            message = f"only {size} of {expected} bytes could be written"
            raise OSError(errno.ENOSPC, message, os.fspath(path))

    def load(self, path: Path, space: Space) -> None:
        """Read a graph of the same settings, dimension and metric (cosine and dot count as one).

        Every number in the file is checked first, so a file of anybody's cannot make hnswlib read elsewhere.

        Raises:
            CorruptionError: it is not such a graph. OSError: it cannot be read.
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

    def _check(self, dimension: int) -> None:
        # hnswlib would read beyond the end of a shorter query.
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
    """The label of row 0."""
    return _L2 if get_metric(space.metric).by_distance else 0
