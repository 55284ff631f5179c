"""Any index that FAISS can build from a factory string: IVF, PQ, LSH, HNSW and combinations."""

import json
import os
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from theodolite.errors import ConfigError, CorruptionError, UnsupportedError, VectorError
from theodolite.forking import COLLECTIONS, register_at_fork
from theodolite.plugins import optional
from theodolite.types import Rows, Space, Vectors
from theodolite.vectors.metrics import get_metric

_CHUNK = 8192  # rows added at a time
_LEAST = 39  # training rows for each cell of a codebook; with fewer FAISS warns
_ENOUGH = 64
_SAMPLE = 16_384  # training rows, unless a codebook needs more
_SEED = 100
_MAGIC = b"theodolite faiss 1\n"
_LONGEST = 10_000  # bytes of the description in a file
_NOTHING = np.empty(0, np.int64)


class FaissIndex:
    """Candidates from an index of FAISS.

    Metrics by distance use METRIC_L2, the others METRIC_INNER_PRODUCT. If an index supports only L2, unit vectors are
    ranked by it, too, which is the same order. An index that needs training is trained on a sample of the rows. The
    effort of a search grows with the number of proposals: `efSearch` of a graph is at least that number. An inverted
    file visits a share of its cells that is the square root of the requested share of the rows.

    Args:
        factory: a factory string of FAISS: "IVF1024,PQ48", "HNSW32", "LSH", "OPQ16_64,IVF256,PQ16".
    """

    def __init__(self, factory: str = "") -> None:
        if not isinstance(factory, str) or not factory.strip():
            raise ConfigError(f"faiss: {factory!r} is not a factory string such as 'IVF1024,PQ48'")
        with optional("faiss"):
            import faiss
        self._faiss: Any = faiss
        self.factory = factory.strip()
        self._index: Any = None
        self._l2 = False
        register_at_fork(self)

    def forked(self, held: bool) -> None:
        """Use one thread in a forked child, which would wait forever for the threads of its parent."""
        self._faiss.omp_set_num_threads(1)

    def __len__(self) -> int:
        return 0 if self._index is None else int(self._index.ntotal)

    def build(self, vectors: Vectors, space: Space, progress: Callable[[int], object] | None = None) -> None:
        """Train the index once, and add the rows that it lacks. Never call it while another thread searches."""
        total = len(vectors)
        if total <= len(self):
            return
        self._check(vectors.shape[1])
        if self._index is None:
            self._index, self._l2 = self._trained(vectors, space), get_metric(space.metric).by_distance
        # Ctrl-C would leave a part half added. On another thread FAISS does not see signals.
        with ThreadPoolExecutor(1) as thread:
            for start in range(len(self), total, _CHUNK):
                part = np.ascontiguousarray(vectors[start : start + _CHUNK])
                try:
                    thread.submit(self._index.add, part).result()
                except Exception as error:
                    self._index = None  # it is unknown which rows of the part are in
                    raise self._refused(error) from error
                if progress is not None:
                    progress(len(part))

    def propose(self, query: Vectors, n: int) -> Rows:
        """Return up to n rows, nearest first by the index's own codes."""
        wanted = min(n, len(self))
        if wanted < 1:
            return _NOTHING
        self._check(query.shape[1])
        with COLLECTIONS:
            _, labels = self._index.search(query, wanted, params=self._effort(self._index, wanted))
        rows: Rows = labels[0]
        return rows if rows.min() >= 0 else rows[rows >= 0]

    def save(self, path: Path) -> None:
        """Write the index to `path`, durably."""
        if self._index is None:
            raise ConfigError("there is no index to save: build it first")
        with path.open("wb") as file:
            file.write(_MAGIC + json.dumps(self._description(self._index, self._l2)).encode() + b"\n")
            self._faiss.write_index(self._index, self._faiss.PyCallbackIOWriter(file.write))
            file.flush()
            os.fsync(file.fileno())

    def load(self, path: Path, space: Space) -> None:
        """Read an index of the same factory string, dimension, and order (inner product or distance)."""
        with path.open("rb") as file:
            if file.readline(len(_MAGIC)) != _MAGIC:
                raise CorruptionError(f"{path.name} is not an index of FAISS that theodolite wrote", path=str(path))
            try:
                found = json.loads(file.readline(_LONGEST))
                index = self._faiss.read_index(self._faiss.PyCallbackIOReader(file.read))
            except (RuntimeError, ValueError, MemoryError) as error:
                raise CorruptionError(f"{path.name} is damaged: {_reason(error)}", path=str(path)) from error
            whole = not file.read(1)
        expected = self._description(index, get_metric(space.metric).by_distance)
        if found != expected or index.d != space.dimension or not whole:
            raise CorruptionError(
                f"{path.name} does not hold {self.factory!r} for {space.metric} and dimension {space.dimension}, "
                f"but {found}",
                path=str(path),
            )
        self._index, self._l2 = index, expected["l2"]

    def estimate(self, rows: int, dimension: int) -> dict[str, Any]:
        """Estimate the bytes of `memory`, of the `file` and of the `peak` while building; None if FAISS does not tell.

        Codes, row numbers, links and centers, as the sizes of the parts of an empty index say.
        """
        index = self._by_factory(dimension, self._faiss.METRIC_L2)
        size = None if index is None else self._bytes(index, rows)
        training = 4 * dimension * min(rows, _SAMPLE) if index is not None and not index.is_trained else 0
        return {"seconds": None, "memory": size, "file": size, "peak": None if size is None else size + training}

    def _bytes(self, index: Any, rows: int) -> int | None:
        faiss, part = self._faiss, self._faiss.downcast_index(index)
        if isinstance(part, faiss.IndexPreTransform):
            return self._bytes(part.index, rows)
        if isinstance(part, faiss.IndexRefine):
            base, exact = self._bytes(part.base_index, rows), self._bytes(part.refine_index, rows)
            return None if base is None or exact is None else base + exact
        if isinstance(part, faiss.IndexHNSW):
            links = part.hnsw.nb_neighbors(0) + part.hnsw.nb_neighbors(1) / max(1, part.hnsw.nb_neighbors(1) - 1)
            stored = self._bytes(part.storage, rows)
            return None if stored is None else stored + int(rows * (4 * links + 8 + 4))
        if isinstance(part, faiss.IndexIVF):
            centers = self._bytes(part.quantizer, part.nlist)
            return None if centers is None else centers + rows * (part.code_size + 8)
        if isinstance(part, faiss.IndexFlatCodes):
            return rows * int(part.code_size)
        return None

    def _description(self, index: Any, l2: bool) -> dict[str, Any]:
        return {"factory": self.factory, "dimension": index.d, "rows": index.ntotal, "l2": l2}

    def _check(self, dimension: int) -> None:
        if self._index is not None and dimension != self._index.d:
            raise VectorError(f"vectors have dimension {dimension}; the index has {self._index.d}")

    def _empty(self, space: Space, dimension: int) -> Any:
        """Return an empty index."""
        faiss = self._faiss
        metric = get_metric(space.metric)
        euclidean = self._by_factory(dimension, faiss.METRIC_L2)
        if metric.by_distance and euclidean is not None:
            return euclidean
        product = self._by_factory(dimension, faiss.METRIC_INNER_PRODUCT) if not metric.by_distance else None
        if product is not None:
            return product
        if euclidean is None:
            raise ConfigError(
                f"faiss: {self.factory!r} cannot be built for dimension {dimension}. Check its spelling, and that the "
                "dimension is a multiple of the number after PQ",
                factory=self.factory,
            )
        if metric.normalizes:  # the nearest of unit vectors have the largest product
            return euclidean
        raise UnsupportedError(f"faiss: {self.factory!r} does not support the metric {space.metric!r}")

    def _by_factory(self, dimension: int, metric: int) -> Any:
        try:
            return self._faiss.index_factory(dimension, self.factory, metric)
        except RuntimeError:
            return None

    def _trained(self, vectors: Vectors, space: Space) -> Any:
        index = self._empty(space, vectors.shape[1])
        if index.is_trained:
            return index
        cells = max(self._codebooks(index), default=0)
        if len(vectors) < _LEAST * cells:
            raise self._too_few(len(vectors), _LEAST * cells)
        size = min(len(vectors), max(_SAMPLE, _ENOUGH * cells))
        rows = np.random.default_rng(_SEED).choice(len(vectors), size, replace=False)
        rows.sort()
        try:
            index.train(np.ascontiguousarray(vectors[rows]))
        except RuntimeError as error:
            if "interrupted" in str(error):
                raise KeyboardInterrupt from error
            asked = re.search(r"clusters \((\d+)\)", str(error))
            if asked:
                raise self._too_few(len(vectors), _LEAST * int(asked[1])) from error
            raise self._refused(error) from error
        return index

    def _codebooks(self, index: Any) -> Iterator[int]:
        """Yield the sizes of the codebooks that clustering learns."""
        for part in self._parts(index):
            if hasattr(part, "nlist"):
                yield part.nlist
            if hasattr(part, "pq"):
                yield part.pq.ksub

    def _parts(self, index: Any) -> Iterator[Any]:
        """Yield the index and its parts, the outermost first."""
        part = self._faiss.downcast_index(index)
        yield part
        for name in ("index", "base_index", "quantizer"):
            inner = getattr(part, name, None)
            if inner is not None:
                yield from self._parts(inner)

    def _effort(self, index: Any, n: int) -> Any:
        """Return search parameters for n proposals, to pass with the call: threads share the index's own."""
        faiss = self._faiss
        if isinstance(index, faiss.IndexPreTransform):
            inner = self._effort(faiss.downcast_index(index.index), n)
            return inner and faiss.SearchParametersPreTransform(index_params=inner)
        if isinstance(index, faiss.IndexRefine):
            inner = self._effort(faiss.downcast_index(index.base_index), n)
            return inner and faiss.IndexRefineSearchParameters(k_factor=1.0, base_index_params=inner)
        if isinstance(index, faiss.IndexHNSW):
            return faiss.SearchParametersHNSW(efSearch=max(n, index.hnsw.efSearch))
        if isinstance(index, faiss.IndexIVF):
            probes = int(np.ceil(index.nlist * np.sqrt(n / index.ntotal)))
            inner = self._effort(faiss.downcast_index(index.quantizer), probes)
            return faiss.SearchParametersIVF(nprobe=probes, quantizer_params=inner)
        return None

    def _too_few(self, rows: int, needed: int) -> ConfigError:
        return ConfigError(
            f"faiss: {self.factory!r} needs at least {needed} rows to train on; there are {rows}. Use fewer cells "
            "(the number after IVF) or fewer bits for a code",
            rows=rows,
            needed=needed,
        )

    def _refused(self, error: Exception) -> Exception:
        if not isinstance(error, RuntimeError):
            return error
        return ConfigError(
            f"faiss: {self.factory!r} cannot index these vectors: {_reason(error)}", factory=self.factory
        )


def _reason(error: Exception) -> str:
    """Return the message of FAISS without the place in its source."""
    return str(error).rpartition("failed: ")[2].rpartition(".cpp:")[2]
