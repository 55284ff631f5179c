"""SymphonyQG, a graph of neighbors with their codes beside them, by rabitqlib.

Each row of the graph holds 32 neighbors and a code of one bit per dimension for each, so that a step of a search
estimates 32 distances at once. Rows themselves are kept in 8 bits a dimension: they only rank proposals, which the
flat index scores.

rabitqlib builds a graph in one call, which cannot be interrupted or resumed. It runs on a thread of its own. If the
build is stopped, the thread is left to finish, its graph is dropped, and the next build waits for it.

A file is the one that rabitqlib writes. The file may come from somebody else, together with a matching hash, so
`check_graph` checks it whole before rabitqlib reads it. It is a header, the center of the vectors, the rows, and the
signs of a rotation. A row is its code, two factors, the codes of its neighbors, two factors for each, and their
numbers. All are little-endian. rabitqlib takes 64 dimensions or more, so shorter vectors are filled up with zeros, and
their true dimension follows at the end of the file.
"""

import errno
import math
import os
import platform
import struct
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from theodolite.errors import ConfigError, CorruptionError, UnsupportedError, VectorError
from theodolite.forking import COLLECTIONS, register_at_fork
from theodolite.indexes.flat.codes import instruction_sets
from theodolite.indexes.flat.workers import processors
from theodolite.plugins import optional
from theodolite.types import Rows, Space, Vectors
from theodolite.vectors.metrics import get_metric

_PART = 8192  # rows copied or checked at a time
_LEAST_DIMENSION = 64
_MOST_PROPOSALS = 4096  # beyond it, the time of a search grows with the square of their number
_LONGEST = 1e9  # the length of a row beyond which the factors of its code may not be finite
_LARGEST = 1e30  # the squared length of a query beyond which products may not be finite
_PROGRESS = 0.1  # seconds between calls of `progress` while the library builds
_BUILDING = 700  # bytes a row that only a build takes, beside the copy of the vectors
_NOTHING = np.empty(0, np.int64)

_HEADER = struct.Struct("<8sIQQQQIBBQ")
_MAGIC, _VERSION, _ROTATION = b"QTIBARGQ", 1, 1
_TRUE_DIMENSION = struct.Struct("<Q")
_FEW = struct.Struct("<8sQQB")  # the header of a file of few rows, which follow as they are
_FEW_MAGIC = b"theoqgfw"


class SymqgIndex:
    """Candidates from a graph with codes. A search walks along links towards the query, 32 estimates at each step.

    Builds on all processors. Collections with no more rows than `degree` are too small for a graph: they are kept as
    they are, and ranked exactly.

    Args:
        degree: links for each row, a multiple of 32. More are larger and not faster.
        ef_construction: the number of rows to look at when a row's links are chosen.
        bits: bits for each dimension of a row, 4 or 8.
    """

    validates = True  # `load` checks every number in a file

    def __init__(self, degree: int = 32, ef_construction: int = 200, bits: int = 8) -> None:
        if type(degree) is not int or not 32 <= degree <= 1024 or degree % 32:
            raise ConfigError(f"symqg: degree is {degree!r}; expected a multiple of 32 up to 1024")
        if type(ef_construction) is not int or not 1 <= ef_construction <= 100_000:
            raise ConfigError(f"symqg: ef_construction is {ef_construction!r}; expected an int from 1 to 100000")
        if type(bits) is not int or bits not in (4, 8):
            raise ConfigError(f"symqg: bits is {bits!r}; expected 4 or 8")
        check_processor()
        with optional("symqg"):
            import rabitqlib
        self._rabitqlib: Any = rabitqlib
        self.degree = degree
        self.ef_construction = ef_construction
        self.bits = bits
        self._graph: Any = None
        self._few: Vectors | None = None  # instead of a graph
        self._by_distance = False
        self._rows = 0
        self._dimension = 0

    def __len__(self) -> int:
        return self._rows

    def build(self, vectors: Vectors, space: Space, progress: Callable[[int], object] | None = None) -> None:
        """Build the graph, from the start also if a smaller one is there. Stops when `progress` raises.

        Raises:
            UnsupportedError: some vectors are too long.
        """
        total, dimension = vectors.shape
        self._check(dimension)
        before = self._rows
        if total <= before:
            return
        by_distance = get_metric(space.metric).by_distance
        copy = np.zeros((total, max(dimension, _LEAST_DIMENSION)), np.float32)
        for start in range(0, total, _PART):
            part = copy[start : start + _PART, :dimension]
            part[:] = vectors[start : start + _PART]
            if not np.vecdot(part, part, dtype=np.float64).max() <= _LONGEST**2:
                raise UnsupportedError(f"symqg: vectors may not be longer than {_LONGEST:g}. Divide them by a number")
            if progress is not None:
                progress(0)
        if total <= self.degree:
            self._adopt(total, dimension, by_distance, few=Vectors(copy[:, :dimension].copy()))
        else:
            graph = self._rabitqlib.SymqgIndex(copy.shape[1], self.degree, "l2" if by_distance else "ip", self.bits)
            _BUILDS.run(lambda: graph.build(copy, self.ef_construction, processors()), progress)
            self._adopt(total, dimension, by_distance, graph=graph)
        if progress is not None:
            progress(total - before)

    def propose(self, query: Vectors, n: int) -> Rows:
        """Return up to n rows, nearest first by their codes: at most 4,096, and fewer if no more can be reached."""
        if not self._rows:
            return _NOTHING
        self._check(query.shape[1])
        if not float(np.vdot(query, query)) < _LARGEST:
            return _NOTHING  # rabitqlib would rank infinite products and NaN at random
        if self._few is not None:
            return _nearest(self._few, query, n, self._by_distance)
        if query.shape[1] < _LEAST_DIMENSION:
            query = Vectors(np.pad(query, ((0, 0), (0, _LEAST_DIMENSION - query.shape[1]))))
        wanted = min(n, self._rows, _MOST_PROPOSALS)
        while wanted > 0:
            try:
                with COLLECTIONS:  # the graph has a lock, which must not be locked during a fork
                    labels, _ = self._graph.search(query, wanted, wanted, 1)
            except RuntimeError as error:
                # rabitqlib raises if it finds fewer than it is asked for.
                if "could not produce k results" not in str(error):
                    raise
                wanted = wanted * 3 // 4
                continue
            rows: Rows = labels[0].astype(np.int64)
            return rows
        return _NOTHING

    def save(self, path: Path) -> None:
        """Write the index to `path`, durably."""
        if not self._rows:
            raise ConfigError("there is no graph to save: build it first")
        with path.open("wb") as file:  # raises the right error if it cannot be written
            if self._few is not None:
                file.write(_FEW.pack(_FEW_MAGIC, *self._few.shape, self._by_distance) + self._few.tobytes())
        if self._few is not None:
            expected = _FEW.size + 4 * self._few.size
        else:
            expected = _Layout(self._rows, self._dimension, self.degree, self.bits).size
            try:
                self._graph.save(os.fspath(path))
            except RuntimeError as error:
                raise OSError(errno.EIO, str(error), os.fspath(path)) from error
        with path.open("rb+") as file:
            if self._few is None and self._dimension < _LEAST_DIMENSION:
                file.seek(0, os.SEEK_END)
                file.write(_TRUE_DIMENSION.pack(self._dimension))
                file.flush()
            os.fsync(file.fileno())
            size = os.fstat(file.fileno()).st_size
        if size != expected:
            message = f"only {size} of {expected} bytes could be written"
            raise OSError(errno.ENOSPC, message, os.fspath(path))

    def load(self, path: Path, space: Space) -> None:
        """Read an index of the same settings, dimension, and order (inner product or distance).

        Every number in the file is checked first, so a malicious file cannot make rabitqlib read outside its memory.

        Raises:
            CorruptionError: the file is not such an index. OSError: it cannot be read.
        """
        dimension, by_distance = space.dimension or 0, get_metric(space.metric).by_distance
        with path.open("rb") as file:
            magic = file.read(len(_FEW_MAGIC))
        if magic == _FEW_MAGIC:
            few = read_few(path, dimension, by_distance, self.degree)
            self._adopt(len(few), dimension, by_distance, few=few)
            return
        if dimension >= _LEAST_DIMENSION:
            self._load_graph(path, dimension, by_distance)
            return
        with path.open("rb") as file, tempfile.TemporaryDirectory() as folder:
            whole = file.read()
            if whole[-_TRUE_DIMENSION.size :] != _TRUE_DIMENSION.pack(dimension):
                raise _damaged(path, f"it is not a graph of dimension {dimension}")
            copy = Path(folder) / path.name
            copy.write_bytes(whole[: -_TRUE_DIMENSION.size])
            self._load_graph(copy, dimension, by_distance)

    def _load_graph(self, path: Path, dimension: int, by_distance: bool) -> None:
        rows = check_graph(path, dimension, by_distance, self.degree, self.bits)
        try:
            graph = self._rabitqlib.SymqgIndex.load(os.fspath(path))
        except (RuntimeError, ValueError) as error:
            raise CorruptionError(f"{path.name} is damaged: {error}", path=str(path)) from error
        self._adopt(rows, dimension, by_distance, graph=graph)

    def estimate(self, rows: int, dimension: int) -> dict[str, Any]:
        """Estimate the `seconds` to build, and the bytes of `memory`, of the `file` and of the `peak` while building.

        Measured at d = 384, degree = 32 and ef_construction = 200: each of 100,000 rows takes 800 µs of a processor,
        and 130 µs more for each factor of e more rows. On other machines the time may be off by a factor of two.
        """
        each = max(150e-6, 800e-6 + 130e-6 * math.log(max(1, rows) / 100_000))
        each *= (dimension + 200) / 584 * (self.degree / 32) * (self.ef_construction / 200) ** 0.4
        size = _Layout(rows, dimension, self.degree, self.bits).size if rows else 0
        building = rows * (4 * max(dimension, _LEAST_DIMENSION) + _BUILDING)
        return {"seconds": rows * each / processors(), "memory": size, "file": size, "peak": size + building}

    def _check(self, dimension: int) -> None:
        if self._rows and dimension != self._dimension:
            raise VectorError(f"vectors have dimension {dimension}; the graph has {self._dimension}")

    def _adopt(
        self, rows: int, dimension: int, by_distance: bool, *, graph: Any = None, few: Vectors | None = None
    ) -> None:
        self._graph, self._few = graph, few
        self._rows, self._dimension, self._by_distance = rows, dimension, by_distance


def _nearest(few: Vectors, query: Vectors, n: int, by_distance: bool) -> Rows:
    near = few @ query[0]
    if by_distance:
        near = 2 * near - np.vecdot(few, few)
    return np.argsort(-near, kind="stable")[:n].astype(np.int64)


class _Builds:
    """Calls of the library that build a graph: one at a time in this process, each on a thread of its own."""

    def __init__(self) -> None:
        self._free = threading.Lock()
        register_at_fork(self)

    def run(self, work: Callable[[], object], progress: Callable[[int], object] | None) -> None:
        """Call `work` and wait for it. If `progress` raises, or Ctrl-C is pressed, leave the call to itself."""
        while not self._free.acquire(timeout=_PROGRESS):  # a build that was stopped has not ended yet
            if progress is not None:
                progress(0)
        errors: list[BaseException] = []
        free, ended = self._free, threading.Event()

        def call() -> None:
            try:
                work()
            except BaseException as error:
                errors.append(error)
            finally:
                free.release()
                ended.set()

        # A daemon, so that a process that ends does not wait for it. A thread of its own also keeps the library's
        # threads out of forked children, where they would be missing.
        threading.Thread(target=call, name="theodolite-symqg", daemon=True).start()
        while not ended.wait(_PROGRESS):
            if progress is not None:
                progress(0)
        if errors:
            raise ConfigError(f"symqg cannot index these vectors: {errors[0]}") from errors[0]


_BUILDS = _Builds()


def check_processor() -> None:
    """Raise UnsupportedError if rabitqlib has no code for this processor: it needs AVX2 and FMA, or NEON."""
    if platform.machine().lower() in ("x86_64", "amd64") and "haswell" not in instruction_sets():
        raise UnsupportedError("symqg needs a processor with AVX2 and FMA. Use the index 'hnsw' on this machine")


class _Layout:
    """Where the parts of a file of rabitqlib lie."""

    def __init__(self, rows: int, dimension: int, degree: int, bits: int) -> None:
        self.dimension = max(dimension, _LEAST_DIMENSION)
        self.padded = -(-self.dimension // 32) * 32
        self.code = self.padded * bits // 8
        self.factors = self.code + 8  # where the codes of the neighbors begin
        self.batches = degree // 32
        self.batch = 4 * self.padded + 256
        self.links = self.factors + self.batches * self.batch
        self.row = self.links + 4 * degree
        self.start = _HEADER.size + 4 * self.padded
        self.stop = self.start + rows * self.row
        self.end = self.stop + self.padded // 2
        self.size = self.end + (_TRUE_DIMENSION.size if dimension < _LEAST_DIMENSION else 0)


def check_graph(path: Path, dimension: int, by_distance: bool, degree: int, bits: int) -> int:
    """Check a file as rabitqlib wrote it, and return its number of rows.

    Takes one pass over the links and factors of all rows.

    Raises:
        CorruptionError: rabitqlib did not write the file with these settings, or it is damaged.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(_HEADER.size)
        size = os.fstat(file.fileno()).st_size
    if len(head) < _HEADER.size:
        raise _damaged(path, f"it has only {size} bytes")
    magic, version, rows, links, length, padded, entry, rotation, product, width = _HEADER.unpack(head)
    layout = _Layout(min(rows, size), dimension, degree, bits)
    found = (magic, version, links, length, padded, rotation, product, width)
    expected = (_MAGIC, _VERSION, degree, layout.dimension, layout.padded, _ROTATION, 0 if by_distance else 1, bits)
    if found != expected:
        raise _damaged(
            path, f"it is not a graph of dimension {dimension} with degree={degree} and bits={bits} for this metric"
        )
    if not degree < rows or size != layout.end or not entry < rows:
        raise _damaged(path, f"it has {size} bytes, not those of {rows} rows")
    raw: NDArray[np.uint8] = np.memmap(path, np.uint8, mode="r")
    center = raw[_HEADER.size : layout.start].view(np.float32)
    if not np.isfinite(center).all():
        raise _damaged(path, "the center of its vectors is not finite")
    table = raw[layout.start : layout.stop].reshape(rows, layout.row)
    for start in range(0, rows, _PART):
        part = table[start : start + _PART]
        if _of(part, layout.links, layout.row, np.uint32).max() >= rows:
            raise _damaged(path, f"rows from {start} on have links to rows that do not exist")
        ends = [layout.factors + (number + 1) * layout.batch for number in range(layout.batches)]
        factors = [(layout.code, layout.factors), *((end - 256, end) for end in ends)]
        if not all(np.isfinite(_of(part, first, last, np.float32)).all() for first, last in factors):
            raise _damaged(path, f"rows from {start} on have factors that are not finite")
    return int(rows)


def _of(part: NDArray[np.uint8], first: int, last: int, kind: type[Any]) -> NDArray[Any]:
    """Return these bytes of all rows, as numbers of a kind."""
    return np.ascontiguousarray(part[:, first:last]).view(kind)


def read_few(path: Path, dimension: int, by_distance: bool, degree: int) -> Vectors:
    """Read a file of few rows. Raises CorruptionError if it is not one of this dimension and metric, or is damaged."""
    with path.open("rb") as file:
        raw = file.read(_FEW.size + 4 * degree * dimension + 1)
    if len(raw) < _FEW.size:
        raise _damaged(path, f"it has only {len(raw)} bytes")
    _, rows, length, distance = _FEW.unpack_from(raw)
    if (length, distance) != (dimension, by_distance):
        raise _damaged(path, f"it does not hold rows of dimension {dimension} for this metric")
    if not 1 <= rows <= degree or len(raw) != _FEW.size + 4 * rows * dimension:
        raise _damaged(path, f"it does not have the bytes of {rows} rows")
    few = np.frombuffer(raw, np.float32, offset=_FEW.size).reshape(rows, dimension).copy()
    if not np.isfinite(few).all():
        raise _damaged(path, "its rows are not finite")
    return Vectors(few)


def _damaged(path: Path, reason: str) -> CorruptionError:
    return CorruptionError(f"{path.name} is damaged: {reason}", path=str(path))
