"""The peers of the filter benchmark: rules become a library's own filters first, then queries run one at a time.

Each peer is built from a corpus, answers with row numbers, and keeps its files below the given folder.
"""

import functools
import importlib
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from benchmarks.filter_cases import Corpus, Rule
from benchmarks.truth import Floats, Ids, Truth
from theodolite import Document, Retriever

BATCH = 10_000
TARGET = 0.99
LADDER = (16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)


class Peer(Protocol):
    def native(self, rule: Rule) -> Any:
        """Convert a rule to this library's filter. This is not timed."""
        ...

    def search(self, query: Floats, k: int, native: Any) -> Ids:
        """Return the rows found for one query, (d,)."""
        ...


class Theodolite:
    """A collection in a temporary folder, searched through the public API."""

    def __init__(self, corpus: Corpus, folder: Path, threads: int, index: str | None = None) -> None:
        self._kb = Retriever.open(folder / f"theodolite-{index or 'flat'}")
        for start in range(0, len(corpus.vectors), BATCH):
            part = corpus.vectors[start : start + BATCH]
            rows = corpus.metadata(start, start + len(part))
            documents = [Document("", fields, f"{start + i:07d}") for i, fields in enumerate(rows)]
            self._kb.add(documents, vectors=part, batch_size=None)
        if index is not None:
            self._kb.reindex(index, queries=corpus.spare, target_recall=TARGET)
        self.paths: Counter[str] = Counter()

    def native(self, rule: Rule) -> Any:
        terms = [{clause.field: {f"${clause.op}": clause.value}} for clause in rule]
        return {"$and": terms} if len(terms) > 1 else terms[0] if terms else None

    def search(self, query: Floats, k: int, native: Any) -> Ids:
        hits = self._kb.search(vector=query, k=k, where=native)
        self.paths[hits.trace.path] += 1
        return np.array([int(hit.document.id) for hit in hits], np.int64)


class Faiss:
    """`IndexFlatIP` or `IndexHNSWFlat` with a selector made beforehand: FAISS knows rows and no fields.

    The flat index takes an array of rows, the graph a bitmap: for each the fastest selector there is. `ef` is the
    least that reaches the target without a filter.
    """

    def __init__(self, corpus: Corpus, folder: Path, threads: int, graph: bool = False) -> None:
        self._faiss: Any = importlib.import_module("faiss")
        self._faiss.omp_set_num_threads(threads)
        self._corpus = corpus
        self._graph = graph
        self._ef = 0
        dimension = corpus.vectors.shape[1]
        if not graph:
            self._index = self._faiss.IndexFlatIP(dimension)
            self._index.add(corpus.vectors)
            return
        self._index = self._faiss.IndexHNSWFlat(dimension, 16, self._faiss.METRIC_INNER_PRODUCT)
        self._index.hnsw.efConstruction = 200
        self._index.add(corpus.vectors)
        truth = Truth(corpus.vectors, corpus.spare)
        for self._ef in LADDER:
            found = [self.search(query, truth.k, self._parameters()) for query in corpus.spare]
            if truth.recall(range(len(found)), found) >= TARGET:
                break

    def native(self, rule: Rule) -> Any:
        if not rule:
            return self._parameters()
        mask = self._corpus.mask(rule)
        if self._graph:
            return self._parameters(sel=self._faiss.IDSelectorBitmap(np.packbits(mask, bitorder="little")))
        return self._parameters(sel=self._faiss.IDSelectorArray(np.flatnonzero(mask)))

    def _parameters(self, **given: Any) -> Any:
        if self._graph:
            return self._faiss.SearchParametersHNSW(efSearch=self._ef, **given)
        return self._faiss.SearchParameters(**given)

    def search(self, query: Floats, k: int, native: Any) -> Ids:
        found: Ids = self._index.search(query[None], k, params=native)[1][0]
        return found[found >= 0]


class Chroma:
    """A persistent client; its graph's `ef_search` is 100, as it is by default."""

    def __init__(self, corpus: Corpus, folder: Path, threads: int) -> None:
        chromadb = importlib.import_module("chromadb")
        settings = importlib.import_module("chromadb.config").Settings(anonymized_telemetry=False)
        client = chromadb.PersistentClient(str(folder / "chroma"), settings=settings)
        graph = {"space": "cosine", "max_neighbors": 16, "ef_construction": 200, "ef_search": 100}
        self._rows = client.create_collection("rows", embedding_function=None, configuration={"hnsw": graph})
        step = min(BATCH, client.get_max_batch_size())
        for start in range(0, len(corpus.vectors), step):
            part = corpus.vectors[start : start + step]
            ids = [str(start + i) for i in range(len(part))]
            self._rows.add(ids=ids, embeddings=part, metadatas=corpus.metadata(start, start + len(part)))

    def native(self, rule: Rule) -> Any:
        terms = [{clause.field: {f"${clause.op}": clause.value}} for clause in rule]
        return {"$and": terms} if len(terms) > 1 else terms[0] if terms else None

    def search(self, query: Floats, k: int, native: Any) -> Ids:
        found = self._rows.query(query_embeddings=[query], n_results=k, where=native, include=[])
        return np.array([int(number) for number in found["ids"][0]], np.int64)


class LanceDB:
    """A table without a vector index, so exact, and with an index for each field; filtered first."""

    def __init__(self, corpus: Corpus, folder: Path, threads: int) -> None:
        pa = importlib.import_module("pyarrow")
        vectors = pa.FixedSizeListArray.from_arrays(pa.array(corpus.vectors.reshape(-1)), corpus.vectors.shape[1])
        columns = {"id": np.arange(len(corpus.vectors)), "vector": vectors, **corpus.fields}
        database = importlib.import_module("lancedb").connect(str(folder / "lancedb"))
        self._rows = database.create_table("rows", pa.table(columns))
        kinds = importlib.import_module("lancedb.index")
        for name, values in corpus.fields.items():
            self._rows.create_index(name, config=kinds.BTree() if values.dtype == np.int64 else kinds.Bitmap())

    def native(self, rule: Rule) -> Any:
        signs = {"eq": "=", "lt": "<"}
        return " AND ".join(f"{clause.field} {signs[clause.op]} {_sql(clause.value)}" for clause in rule) or None

    def search(self, query: Floats, k: int, native: Any) -> Ids:
        asked = self._rows.search(query, vector_column_name="vector").distance_type("dot")
        if native is not None:
            asked = asked.where(native, prefilter=True)
        found: Ids = asked.limit(k).select(["id", "_distance"]).to_arrow()["id"].to_numpy()
        return found


class Qdrant:
    """The embedded client in memory, which is numpy and Python."""

    def __init__(self, corpus: Corpus, folder: Path, threads: int) -> None:
        client = importlib.import_module("qdrant_client")
        self._models = client.models
        rows, dimension = corpus.vectors.shape
        with warnings.catch_warnings():  # it warns and recommends its server from 20,000 points on
            warnings.simplefilter("ignore")
            self._client = client.QdrantClient(":memory:")
            size = self._models.VectorParams(size=dimension, distance=self._models.Distance.COSINE)
            self._client.create_collection("rows", vectors_config=size)
            payload = corpus.metadata(0, rows)
            self._client.upload_collection("rows", vectors=corpus.vectors, payload=payload, ids=range(rows))

    def native(self, rule: Rule) -> Any:
        def condition(field: str, op: str, value: Any) -> Any:
            if op == "eq":
                return self._models.FieldCondition(key=field, match=self._models.MatchValue(value=value))
            return self._models.FieldCondition(key=field, range=self._models.Range(lt=value))

        must = [condition(clause.field, clause.op, clause.value) for clause in rule]
        return self._models.Filter(must=must) if must else None

    def search(self, query: Floats, k: int, native: Any) -> Ids:
        found = self._client.query_points("rows", query=query, query_filter=native, limit=k, with_payload=False)
        return np.array([point.id for point in found.points], np.int64)


class LangChain:
    """`InMemoryVectorStore`, whose filter is a function of a document."""

    def __init__(self, corpus: Corpus, folder: Path, threads: int) -> None:
        stores = importlib.import_module("langchain_core.vectorstores")
        document = importlib.import_module("langchain_core.documents").Document

        class Given:
            def embed_documents(self, texts: list[str]) -> list[list[float]]:
                made: list[list[float]] = corpus.vectors[[int(text) for text in texts]].tolist()
                return made

        self._store = stores.InMemoryVectorStore(Given())
        fields = corpus.metadata(0, len(corpus.vectors))
        self._store.add_documents([document(str(i), metadata=one, id=str(i)) for i, one in enumerate(fields)])

    def native(self, rule: Rule) -> Any:
        def admits(document: Any) -> bool:
            values = document.metadata
            return all(
                values[clause.field] == clause.value if clause.op == "eq" else values[clause.field] < clause.value
                for clause in rule
            )

        return admits if rule else None

    def search(self, query: Floats, k: int, native: Any) -> Ids:
        found = self._store.similarity_search_with_score_by_vector(query.tolist(), k, filter=native)
        return np.array([int(document.id) for document, _ in found], np.int64)


class LlamaIndex:
    """`SimpleVectorStore`."""

    def __init__(self, corpus: Corpus, folder: Path, threads: int) -> None:
        self._types = importlib.import_module("llama_index.core.vector_stores.types")
        node = importlib.import_module("llama_index.core.schema").TextNode
        self._store = importlib.import_module("llama_index.core.vector_stores").SimpleVectorStore()
        fields = corpus.metadata(0, len(corpus.vectors))
        self._store.add(
            [node(id_=str(i), embedding=corpus.vectors[i].tolist(), metadata=one) for i, one in enumerate(fields)]
        )

    def native(self, rule: Rule) -> Any:
        operators = {"eq": self._types.FilterOperator.EQ, "lt": self._types.FilterOperator.LT}
        filters = [
            # Its values are strings or numbers: bools become 1 and 0, which are equal in Python.
            self._types.MetadataFilter(
                key=clause.field,
                operator=operators[clause.op],
                value=int(clause.value) if isinstance(clause.value, bool) else clause.value,
            )
            for clause in rule
        ]
        return self._types.MetadataFilters(filters=filters) if filters else None

    def search(self, query: Floats, k: int, native: Any) -> Ids:
        asked = self._types.VectorStoreQuery(query_embedding=query.tolist(), similarity_top_k=k, filters=native)
        return np.array([int(number) for number in self._store.query(asked).ids], np.int64)


def _sql(value: bool | int | str) -> str:
    return f"'{value}'" if isinstance(value, str) else str(value).lower()


BUILD: dict[str, Callable[[Corpus, Path, int], Peer]] = {
    "theodolite": Theodolite,
    "theodolite hnsw": functools.partial(Theodolite, index="hnsw"),
    "faiss flat": Faiss,
    "faiss hnsw": functools.partial(Faiss, graph=True),
    "chroma": Chroma,
    "lancedb": LanceDB,
    "qdrant": Qdrant,
    "langchain": LangChain,
    "llamaindex": LlamaIndex,
}
FAST = ("theodolite", "theodolite hnsw", "faiss flat", "faiss hnsw", "chroma", "lancedb")
SLOW = ("theodolite", "qdrant", "langchain", "llamaindex")
"""Those that go through all documents in Python; they get a smaller corpus."""
