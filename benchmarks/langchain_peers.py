"""LangChain's embedded vector stores: how to open and persist each, and its filters.

All are used as their guides say, with cosine similarity and otherwise their own defaults.
"""

import importlib
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.vectorstores import InMemoryVectorStore, VectorStore

from benchmarks.framework import Peer
from benchmarks.stores_data import Rule

Opening = Callable[[Path, Embeddings, int], VectorStore]
"""Folder, embeddings, dimension: a store with what the folder holds, empty where there is none."""


def _equal(rule: Rule, rows: int) -> dict[str, Any]:
    return {"filter": {rule.field: rule.value}}


def _theodolite(folder: Path, embedding: Embeddings, dimension: int) -> VectorStore:
    made: VectorStore = importlib.import_module("langchain_theodolite").TheodoliteVectorStore(
        embedding=embedding, location=folder
    )
    return made


def _reindex(store: Any, folder: Path) -> None:
    store.kb.reindex("hnsw")


def _in_memory(folder: Path, embedding: Embeddings, dimension: int) -> VectorStore:
    file = folder / "store.json"
    return InMemoryVectorStore.load(str(file), embedding) if file.exists() else InMemoryVectorStore(embedding)


def open_faiss(folder: Path, embedding: Embeddings, dimension: int, plain: bool = False) -> VectorStore:
    """Open FAISS with inner products of unit vectors: its strategy `COSINE` uses L2. `plain`: L2, the default."""
    faiss = importlib.import_module("faiss")
    faiss.omp_set_num_threads(1)
    module = importlib.import_module("langchain_community.vectorstores.faiss")
    strategies = importlib.import_module("langchain_community.vectorstores.utils").DistanceStrategy
    strategy = strategies.EUCLIDEAN_DISTANCE if plain else strategies.MAX_INNER_PRODUCT
    if folder.exists():
        loaded: VectorStore = module.FAISS.load_local(
            str(folder), embedding, allow_dangerous_deserialization=True, distance_strategy=strategy
        )
        return loaded
    docstore = importlib.import_module("langchain_community.docstore.in_memory").InMemoryDocstore()
    index = faiss.IndexFlatL2(dimension) if plain else faiss.IndexFlatIP(dimension)
    made: VectorStore = module.FAISS(embedding, index, docstore, {}, distance_strategy=strategy)
    return made


def _fetch_all(rule: Rule, rows: int) -> dict[str, Any]:
    """Return keywords that fetch all rows, because FAISS filters after the search."""
    return {"filter": {rule.field: rule.value}, "fetch_k": rows}


def open_chroma(folder: Path, embedding: Embeddings, dimension: int, plain: bool = False) -> VectorStore:
    """Open Chroma with cosine distances. `plain`: squared L2, its default."""
    settings = importlib.import_module("chromadb.config").Settings(anonymized_telemetry=False)
    made: VectorStore = importlib.import_module("langchain_chroma").Chroma(
        embedding_function=embedding,
        persist_directory=str(folder),
        client_settings=settings,
        collection_configuration=None if plain else {"hnsw": {"space": "cosine"}},
    )
    return made


def _qdrant(folder: Path, embedding: Embeddings, dimension: int) -> VectorStore:
    client = importlib.import_module("qdrant_client")
    with warnings.catch_warnings():  # it warns and recommends its server from 20,000 points on
        warnings.simplefilter("ignore")
        opened = client.QdrantClient(path=str(folder))
        if not opened.collection_exists("rows"):
            size = client.models.VectorParams(size=dimension, distance=client.models.Distance.COSINE)
            opened.create_collection("rows", vectors_config=size)
        made: VectorStore = importlib.import_module("langchain_qdrant").QdrantVectorStore(opened, "rows", embedding)
    return made


def _qdrant_filter(rule: Rule, rows: int) -> dict[str, Any]:
    models = importlib.import_module("qdrant_client").models
    match = models.FieldCondition(key=f"metadata.{rule.field}", match=models.MatchValue(value=rule.value))
    return {"filter": models.Filter(must=[match])}


def _lancedb(folder: Path, embedding: Embeddings, dimension: int) -> VectorStore:
    """Open the store of langchain-community: the one of langchain-lancedb 0.1.0 has no filter."""
    database = importlib.import_module("lancedb").connect(str(folder))
    made: VectorStore = importlib.import_module("langchain_community.vectorstores.lancedb").LanceDB(
        database, embedding, table_name="rows", mode="append", distance="cosine"
    )
    return made


def _lancedb_filter(rule: Rule, rows: int) -> dict[str, Any]:
    value = f"'{rule.value}'" if isinstance(rule.value, str) else rule.value
    return {"filter": f"metadata.{rule.field} = {value}", "prefilter": True}


def _turbovec(folder: Path, embedding: Embeddings, dimension: int) -> VectorStore:
    store = importlib.import_module("turbovec.langchain").TurboQuantVectorStore
    made: VectorStore = store.load(folder, embedding) if folder.exists() else store(embedding)
    return made


def _admits(rule: Rule, rows: int) -> dict[str, Any]:
    def admits(document: Document) -> bool:
        held: bool = document.metadata[rule.field] == rule.value
        return held

    return {"filter": admits}


PEERS: dict[str, Peer] = {
    "theodolite": Peer(_theodolite, "theodolite", _equal),
    "theodolite, hnsw": Peer(_theodolite, "hnswlib", _equal, _reindex),
    "InMemoryVectorStore": Peer(
        _in_memory, "langchain-core", _admits, save=lambda store, folder: store.dump(str(folder / "store.json"))
    ),
    "FAISS": Peer(open_faiss, "faiss-cpu", _equal, save=lambda store, folder: store.save_local(str(folder))),
    "FAISS, fetch_k = all": Peer(open_faiss, "faiss-cpu", _fetch_all, shares="FAISS"),
    "Chroma": Peer(open_chroma, "langchain-chroma", _equal),
    "Qdrant": Peer(_qdrant, "langchain-qdrant", _qdrant_filter),
    "LanceDB": Peer(_lancedb, "lancedb", _lancedb_filter),
    "turbovec": Peer(_turbovec, "turbovec", _equal, save=lambda store, folder: store.dump(folder)),
}
SLOW = ("InMemoryVectorStore",)
"""Those that make an array of all vectors for each question: only the smaller size."""
