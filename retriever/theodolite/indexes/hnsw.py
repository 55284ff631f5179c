"""HNSW, a graph of neighbors, by hnswlib.

hnswlib checks little of its input, and some mistakes end the process. So only this module calls it, and never with more
rows than it has room for, with a file that was not checked whole, or while it is empty.

hnswlib trusts every number in a file: a link to a row that does not exist makes a search read outside its memory. The
file may come from somebody else, together with a matching hash, so the hash proves nothing. `check_graph` checks the
whole file first.

A file is a header, the rows and the upper lists. A row is a word with its number of links, room for 2 * M links, the
vector and the label. After all rows comes for each row the size of its upper lists, and the lists: one for each level,
a word with the number of links and room for M links. Words are 32 bits, in the byte order of the machine.
"""

import errno
import math
import os
import struct
from bisect import bisect_left
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from theodolite.errors import ConfigError, CorruptionError, VectorError
from theodolite.forking import COLLECTIONS
from theodolite.indexes.flat.workers import processors
from theodolite.plugins import optional
from theodolite.types import Rows, Space, Vectors
from theodolite.vectors.metrics import get_metric

_CHUNK = 2048  # rows added at a time: about half a second, for Ctrl-C and for progress
_SEED = 100
_L2 = 1 << 40  # added to the labels of a graph by distance, because the file does not say its metric
_NOTHING = np.empty(0, np.int64)
_HEADER = struct.Struct("@6NiI3NdN")  # of a graph's file
_PART = 1 << 14  # rows checked at a time
_HIGHEST = 64  # levels; a graph of 2**32 rows with M=2 has 32

Words = NDArray[np.uint32]


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
        """Estimate the `seconds` to build, and the bytes of `memory`, of the `file` and of the `peak` while building.

        Measured at d = 384, M = 16 and ef_construction = 200: each of 100,000 rows takes 620 µs of a processor, and 155
        µs more for each factor of e more rows. Other settings scale that as measured. On other machines the estimate
        may be off by a factor of two.
        """
        each = max(100e-6, 620e-6 + 155e-6 * math.log(max(1, rows) / 100_000))
        each *= (dimension + 200) / 584 * (self.M / 16) ** 0.35 * (self.ef_construction / 200) ** 0.8
        links = 4 * (2 * self.M + 1) + 4 + 4 * (self.M + 1) / (self.M - 1)
        size = rows * (4 * dimension + links + 8)
        memory = int(size + rows * (8 + 24))
        return {"seconds": rows * each / processors(), "memory": memory, "file": int(size), "peak": memory}

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


def check_graph(path: Path, dimension: int, links: int, effort: int, base: int) -> int:
    """Check a file of hnswlib and return its number of rows.

    Takes one pass over the links of all rows, and copies the upper lists, about 9 bytes a row.

    Args:
        links: M.
        effort: ef_construction.
        base: the label of row 0.

    Raises:
        CorruptionError: hnswlib did not write the file with these settings, or it is damaged.
        OSError: it cannot be read.
    """
    rows, size, level, entry = _header(path, dimension, links, effort)
    raw: NDArray[np.uint8] = np.memmap(path, np.uint8, mode="r")
    stop = _HEADER.size + rows * size
    if len(raw) < stop + 4 * rows or len(raw) % 4:
        raise _damaged(path, f"it has {len(raw)} bytes, not those of {rows} rows")
    levels, lists = _upper(path, raw[stop:].view(np.uint32), rows, links)
    if levels.max() != level or levels[entry] != level:
        raise _damaged(path, f"its highest level is not {level}, that of row {entry}, where searches begin")
    _check_rows(path, raw[_HEADER.size : stop].reshape(rows, size), links, base)
    for number, some in enumerate(lists, 1):
        _check_lists(path, some, levels, number)
    return rows


def _header(path: Path, dimension: int, links: int, effort: int) -> tuple[int, int, int, int]:
    """Return the number of rows, the bytes of each, the highest level, and the row where searches begin."""
    with path.open("rb") as file:
        head = file.read(_HEADER.size)
        whole = os.fstat(file.fileno()).st_size
    if len(head) < _HEADER.size:
        raise _damaged(path, f"it has {len(head)} bytes, less than a header")
    offset, _, rows, size, label_at, vector_at, level, entry, most, lowest, each, factor, looked_at = _HEADER.unpack(
        head
    )
    vector = 4 * (2 * links + 1)
    label = vector + 4 * dimension
    found = (offset, size, label_at, vector_at, most, lowest, each, looked_at)
    # hnswlib looks at least at as many rows as it links.
    expected = (0, label + 8, label, vector, links, 2 * links, links, max(effort, links))
    if found != expected or not math.isclose(factor, 1 / math.log(links)):
        raise _damaged(path, f"it is not a graph of dimension {dimension} with M={links} and ef_construction={effort}")
    if not (0 < rows <= whole // size and entry < rows and 0 <= level < _HIGHEST):
        raise _damaged(path, f"it has {whole} bytes, not those of {rows} rows")
    return rows, size, level, entry


def _upper(path: Path, words: Words, rows: int, links: int) -> tuple[NDArray[np.int8], list[Words]]:
    """Return the level of each row, and the lists of each level above 0, (n, links + 1)."""
    step = links + 1
    # On average there are rows / (links - 1) lists. Refuse a much larger file before it takes memory.
    if len(words) > rows + step * (2 * rows // (links - 1) + 1000):
        raise _damaged(path, f"it has {4 * len(words)} bytes of upper lists for {rows} rows")
    there = np.flatnonzero(words).tolist()
    levels = np.zeros(rows, np.int8)
    owners: list[int] = []
    starts: list[int] = []
    heights: list[int] = []
    at = row = 0
    while (next_one := bisect_left(there, at)) < len(there):  # skip rows without upper lists, which are zeros
        row += there[next_one] - at
        at = there[next_one]
        height, rest = divmod(int(words[at]), 4 * step)
        if row >= rows or rest or not height < _HIGHEST or at + 1 + height * step > len(words):
            raise _damaged(path, f"the upper lists of row {row} have {int(words[at])} bytes")
        owners.append(row)
        starts.append(at + 1)
        heights.append(height)
        at += 1 + height * step
        row += 1
    if row + len(words) - at != rows:
        raise _damaged(path, f"it has upper lists for {row + len(words) - at} rows, not for {rows}")
    owner, start, height_of = np.array(owners, np.int64), np.array(starts, np.int64), np.array(heights, np.int8)
    levels[owner] = height_of
    lists = []
    for level in range(1, int(levels.max()) + 1):
        reach = height_of >= level
        places = start[reach] + (level - 1) * step
        lists.append(words[places[:, None] + np.arange(step)])
    return levels, lists


def _check_rows(path: Path, raw: NDArray[np.uint8], links: int, base: int) -> None:
    rows = len(raw)
    seen = np.zeros(rows, np.bool_)
    for start in range(0, rows, _PART):
        part = raw[start : start + _PART]
        # hnswlib marks deleted rows in the third byte; our graphs have none.
        counts = np.ascontiguousarray(part[:, :4]).view(np.uint32)
        linked = np.ascontiguousarray(part[:, 4 : 4 + 8 * links]).view(np.uint32)
        # Unused room holds zeros or earlier links, so every number must be a row.
        if counts.max() > 2 * links or linked.max() >= rows:
            raise _damaged(path, f"rows from {start} on have links to rows that do not exist")
        labels = np.ascontiguousarray(part[:, -8:]).view(np.uint64)[:, 0] - np.uint64(base)
        if labels.max() >= rows:
            raise _damaged(path, "its labels are not the numbers of its rows: is it a graph for another metric?")
        seen[labels.astype(np.int64)] = True
    if not seen.all():
        raise _damaged(path, f"{rows - np.count_nonzero(seen)} labels are missing, first {int(seen.argmin())}")


def _check_lists(path: Path, words: Words, levels: NDArray[np.int8], level: int) -> None:
    counts, linked = words[:, :1], words[:, 1:]
    used = np.arange(linked.shape[1]) < counts
    if counts.max(initial=0) > linked.shape[1] or linked.max(initial=0, where=used) >= len(levels):
        raise _damaged(path, f"level {level} has links to rows that do not exist")
    if (levels[linked[used]] < level).any():
        raise _damaged(path, f"level {level} has links to rows of lower levels")


def _damaged(path: Path, reason: str) -> CorruptionError:
    return CorruptionError(f"{path.name} is damaged: {reason}", path=str(path))
