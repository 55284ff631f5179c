"""The peers of the flat index, each with one way to search: queries (m, d) in, rows (m, k) out."""

import importlib
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.graph_peers import Zvec
from theodolite.types import Vectors

Floats = NDArray[np.float32]
Ids = NDArray[np.int64]
Searching = Callable[[Vectors, int], Ids]

PEERS = ("numpy", "faiss", "usearch", "turbovec", "zvec")


def with_numpy(vectors: Floats, threads: int) -> Searching:
    """Search by a matrix product and a partition, with a reused buffer for the scores."""
    held: dict[int, Floats] = {}

    def search(queries: Vectors, k: int) -> Ids:
        m, n = len(queries), len(vectors)
        scores = held.setdefault(m, np.empty((m, n), np.float32))
        if m == 1:
            np.dot(vectors, queries[0], out=scores[0])
        else:
            np.matmul(queries, vectors.T, out=scores)
        found: Ids = np.argpartition(scores, n - k, axis=1)[:, n - k :].astype(np.int64)
        return found

    return search


def with_faiss(vectors: Floats, threads: int) -> Searching:
    faiss: Any = importlib.import_module("faiss")
    faiss.omp_set_num_threads(threads)
    index = faiss.IndexFlatIP(vectors.shape[1])
    for start in range(0, len(vectors), 1 << 16):
        index.add(vectors[start : start + (1 << 16)])

    def search(queries: Vectors, k: int) -> Ids:
        found: Ids = index.search(queries, k)[1]
        return found

    return search


def with_usearch(vectors: Floats, threads: int) -> Searching:
    module: Any = importlib.import_module("usearch.index")

    def search(queries: Vectors, k: int) -> Ids:
        matches = module.search(vectors, queries, k, module.MetricKind.IP, exact=True, threads=threads)
        return np.asarray(matches.keys, np.int64).reshape(len(queries), k)

    return search


def with_turbovec(vectors: Floats, threads: int) -> Searching:
    """Search with four bits per component, calibrated on a sample. RAYON_NUM_THREADS sets its threads."""
    index: Any = importlib.import_module("turbovec").TurboQuantIndex(dim=vectors.shape[1], bit_width=4)
    sample = np.random.default_rng(3).choice(len(vectors), min(4096, len(vectors)), replace=False)
    index.calibrate(np.ascontiguousarray(vectors[np.sort(sample)]))
    for start in range(0, len(vectors), 1 << 16):
        index.add(np.ascontiguousarray(vectors[start : start + (1 << 16)]))

    def search(queries: Vectors, k: int) -> Ids:
        found: Ids = index.search(queries, k=k)[1]
        return found

    return search


def with_zvec(vectors: Floats, threads: int) -> Searching:
    """Search a collection's flat index, one query after the other; it returns documents."""
    folder = tempfile.TemporaryDirectory(prefix="zvec-")
    rows = Zvec(Vectors(vectors), Path(folder.name), threads, exact=True)

    def search(queries: Vectors, k: int, kept: object = folder) -> Ids:
        return np.stack([rows.search(query, k, 0) for query in queries])

    return search


BUILD: dict[str, Callable[[Floats, int], Searching]] = {
    "numpy": with_numpy,
    "faiss": with_faiss,
    "usearch": with_usearch,
    "turbovec": with_turbovec,
    "zvec": with_zvec,
}
