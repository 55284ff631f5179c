"""The peers of approximate search, all with the same graph parameters: one query in, rows out, with an effort.

The effort (`ef`) trades time for recall. Each peer is built from prepared vectors and keeps its files below the given
folder.
"""

import contextlib
import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from benchmarks.measure import folder_bytes
from benchmarks.truth import Floats, Ids
from theodolite import Document, Retriever
from theodolite.engines.local import LocalEngine
from theodolite.indexes.ann import Approximate, Calibration, calibrate
from theodolite.indexes.flat.index import FlatIndex
from theodolite.indexes.registry import make_index
from theodolite.protocols import Request
from theodolite.testing.oracle import ArraySource
from theodolite.types import Space, Vectors

M = 16
EF_CONSTRUCTION = 200
HNSW = f"hnsw:M={M},ef_construction={EF_CONSTRUCTION}"
LADDER = (10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 768)
BATCH = 10_000
ZVEC_BATCH = 1000  # it takes at most 1,024


class Way(Protocol):
    """One library's index."""

    efforts: Sequence[int]  # ascending; a single one if there is no choice
    file_bytes: int

    def search(self, query: Floats, k: int, effort: int) -> Ids:
        """Return the rows found for one query, (d,)."""
        ...


class Hnswlib:
    efforts: Sequence[int] = LADDER

    def __init__(self, vectors: Vectors, folder: Path, threads: int) -> None:
        module: Any = importlib.import_module("hnswlib")
        self._index = module.Index("ip", vectors.shape[1])
        self._index.init_index(len(vectors), M=M, ef_construction=EF_CONSTRUCTION)
        self._index.add_items(vectors, num_threads=threads)
        self.file_bytes = int(self._index.index_file_size())

    def search(self, query: Floats, k: int, effort: int) -> Ids:
        self._index.set_ef(effort)
        found: Ids = self._index.knn_query(query[None], k, num_threads=1)[0][0].astype(np.int64)
        return found


class Faiss:
    efforts: Sequence[int] = LADDER

    def __init__(self, vectors: Vectors, folder: Path, threads: int) -> None:
        self._faiss: Any = importlib.import_module("faiss")
        self._faiss.omp_set_num_threads(threads)
        self._index = self._faiss.IndexHNSWFlat(vectors.shape[1], M, self._faiss.METRIC_INNER_PRODUCT)
        self._index.hnsw.efConstruction = EF_CONSTRUCTION
        self._index.add(vectors)
        self._parameters = {effort: self._faiss.SearchParametersHNSW(efSearch=effort) for effort in LADDER}
        self._faiss.write_index(self._index, str(folder / "faiss"))
        self.file_bytes = (folder / "faiss").stat().st_size

    def search(self, query: Floats, k: int, effort: int) -> Ids:
        found: Ids = self._index.search(query[None], k, params=self._parameters[effort])[1][0]
        return found


class Usearch:
    efforts: Sequence[int] = LADDER

    def __init__(self, vectors: Vectors, folder: Path, threads: int) -> None:
        module: Any = importlib.import_module("usearch.index")
        dimension = vectors.shape[1]
        graph = {"connectivity": M, "expansion_add": EF_CONSTRUCTION, "expansion_search": LADDER[0]}
        self._index = module.Index(ndim=dimension, metric="ip", dtype="f32", **graph)
        self._index.add(np.arange(len(vectors)), vectors, threads=threads)
        self._index.save(str(folder / "usearch"))
        self.file_bytes = (folder / "usearch").stat().st_size

    def search(self, query: Floats, k: int, effort: int) -> Ids:
        self._index.expansion_search = effort
        return np.asarray(self._index.search(query, k, threads=1).keys, np.int64)


class Chroma:
    """A persistent client, opened again for each effort; otherwise it keeps searching with the old one."""

    efforts: Sequence[int] = LADDER

    def __init__(self, vectors: Vectors, folder: Path, threads: int) -> None:
        self._folder = folder / "chroma"
        self._open()
        graph = {"space": "cosine", "max_neighbors": M, "ef_construction": EF_CONSTRUCTION}
        rows = self._client.create_collection("rows", embedding_function=None, configuration={"hnsw": graph})
        self._rows, self._effort = rows, 0
        step = min(BATCH, self._client.get_max_batch_size())
        for start in range(0, len(vectors), step):
            part = vectors[start : start + step]
            self._rows.add(ids=[str(start + i) for i in range(len(part))], embeddings=part)
        self.file_bytes = folder_bytes(self._folder)

    def _open(self) -> None:
        settings = importlib.import_module("chromadb.config").Settings(anonymized_telemetry=False)
        self._client = importlib.import_module("chromadb").PersistentClient(str(self._folder), settings=settings)

    def search(self, query: Floats, k: int, effort: int) -> Ids:
        if effort != self._effort:
            self._rows.modify(configuration={"hnsw": {"ef_search": effort}})
            self._client.close()
            self._open()
            self._rows, self._effort = self._client.get_collection("rows", embedding_function=None), effort
        found = self._rows.query(query_embeddings=[query], n_results=k, include=[])
        return np.array([int(number) for number in found["ids"][0]], np.int64)


class LanceDB:
    """`IVF_HNSW_FLAT` with one partition: a graph over the vectors as they are, read from files."""

    efforts: Sequence[int] = LADDER

    def __init__(self, vectors: Vectors, folder: Path, threads: int) -> None:
        pa = importlib.import_module("pyarrow")
        column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), vectors.shape[1])
        database = importlib.import_module("lancedb").connect(str(folder / "lancedb"))
        self._rows = database.create_table("rows", pa.table({"id": np.arange(len(vectors)), "vector": column}))
        kind = importlib.import_module("lancedb.index").HnswFlat
        graph = kind(distance_type="dot", num_partitions=1, m=M, ef_construction=EF_CONSTRUCTION)
        self._rows.create_index("vector", config=graph)
        self.file_bytes = folder_bytes(folder / "lancedb")

    def search(self, query: Floats, k: int, effort: int) -> Ids:
        asked = self._rows.search(query, vector_column_name="vector").distance_type("dot").ef(effort)
        found: Ids = asked.limit(k).select(["id", "_distance"]).to_arrow()["id"].to_numpy()
        return found


class Zvec:
    """A collection in a folder; a search returns its documents, of an id and an empty text."""

    efforts: Sequence[int] = LADDER

    def __init__(self, vectors: Vectors, folder: Path, threads: int, exact: bool = False) -> None:
        self._zvec: Any = importlib.import_module("zvec")
        with contextlib.suppress(RuntimeError):  # it can be set up only once in a process
            self._zvec.init(log_level=self._zvec.LogLevel.ERROR, query_threads=threads, optimize_threads=threads)
        inner = self._zvec.MetricType.IP
        graph = self._zvec.HnswIndexParam(inner, m=M, ef_construction=EF_CONSTRUCTION)
        index = self._zvec.FlatIndexParam(inner) if exact else graph
        column = self._zvec.VectorSchema("vector", self._zvec.DataType.VECTOR_FP32, vectors.shape[1], index)
        text = self._zvec.FieldSchema("text", self._zvec.DataType.STRING)
        path = folder / ("zvec-flat" if exact else "zvec")
        schema = self._zvec.CollectionSchema("rows", fields=[text], vectors=[column])
        self._rows = self._zvec.create_and_open(str(path), schema)
        for start in range(0, len(vectors), ZVEC_BATCH):
            part = vectors[start : start + ZVEC_BATCH]
            self._rows.insert(
                [
                    self._zvec.Doc(str(start + i), vectors={"vector": row}, fields={"text": ""})
                    for i, row in enumerate(part)
                ]
            )
        self._rows.optimize()
        self._exact = exact
        self.file_bytes = folder_bytes(path)

    def search(self, query: Floats, k: int, effort: int) -> Ids:
        given = None if self._exact else self._zvec.HnswQueryParam(ef=effort)
        asked = self._zvec.Query("vector", vector=query, param=given)
        return np.array([int(document.id) for document in self._rows.query(asked, topk=k)], np.int64)


class Flat:
    """The flat index of theodolite, without a store: exact."""

    efforts: Sequence[int] = (0,)
    file_bytes = 0

    def __init__(self, vectors: Vectors, folder: Path, threads: int) -> None:
        self.source = ArraySource(vectors)
        self.index = FlatIndex("cosine", vectors.shape[1]).grown(self.source, len(vectors))

    def search(self, query: Floats, k: int, effort: int) -> Ids:
        return self.index.search(Vectors(query[None]), k, self.source)[0].rows[:k]


class Ours:
    """An approximate index of theodolite, without a store. Calibration sets the effort."""

    efforts: Sequence[int] = (0,)

    def __init__(self, vectors: Vectors, folder: Path, threads: int, spec: str = HNSW) -> None:
        self._candidates = make_index(spec)
        self._candidates.build(vectors, Space("cosine", vectors.shape[1]))
        self._rows = np.arange(len(vectors))
        path = folder / f"ours-{spec.partition(':')[0]}-{len(spec)}"
        self._candidates.save(path)
        self.file_bytes = path.stat().st_size

    def calibrated(self, flat: Flat, queries: Vectors, target: float) -> Calibration:
        """Calibrate for `target` with these queries."""
        self._flat = flat
        made = calibrate(self._candidates, self._rows, flat.index, flat.source, None, queries, target_recall=target)
        self._index = Approximate(self._candidates, self._rows, made)
        return made

    def search(self, query: Floats, k: int, effort: int) -> Ids:
        return self._index.search(Vectors(query[None]), k, self._flat.index, self._flat.source, None)[0].rows[:k]


class Kb:
    """A collection searched through the public API, documents and all."""

    efforts: Sequence[int] = (0,)
    file_bytes = 0

    def __init__(self, vectors: Vectors, folder: Path, threads: int, spec: str = HNSW) -> None:
        self._folder = folder / "kb"
        self._spec = spec
        self._kb = Retriever.open(self._folder)
        for start in range(0, len(vectors), BATCH):
            part = vectors[start : start + BATCH]
            documents = [Document("", {}, f"{start + i:07d}") for i in range(len(part))]
            self._kb.add(documents, vectors=part, batch_size=None)

    def calibrated(self, queries: Vectors, target: float) -> None:
        """Build the index again, for `target` on these queries."""
        self._kb.reindex(self._spec, queries=queries, target_recall=target)
        self.file_bytes = folder_bytes(self._folder)

    @property
    def engine(self) -> LocalEngine:
        engine = self._kb._engine
        assert isinstance(engine, LocalEngine)
        return engine

    def search(self, query: Floats, k: int, effort: int) -> Ids:
        return np.array([int(hit.document.id) for hit in self._kb.search(vector=query, k=k)], np.int64)


class Engine:
    """The engine of such a collection: prepared vectors in, documents out."""

    efforts: Sequence[int] = (0,)

    def __init__(self, kb: Kb) -> None:
        self._engine = kb.engine
        self.file_bytes = kb.file_bytes

    def search(self, query: Floats, k: int, effort: int) -> Ids:
        (answer,) = self._engine.search(Request(Vectors(query[None]), k))
        return np.array([int(document.id) for document in answer.documents], np.int64)


PEERS: dict[str, Callable[[Vectors, Path, int], Way]] = {
    "hnswlib": Hnswlib,
    "faiss": Faiss,
    "usearch": Usearch,
    "chroma": Chroma,
    "lancedb": LanceDB,
    "zvec": Zvec,
}
