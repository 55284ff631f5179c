"""LlamaIndex's embedded vector stores, each in an index: how to open and persist it.

All are used as their guides say, with cosine similarity if it can be set, and otherwise their own defaults. Stores
without texts, SimpleVectorStore and FAISS, use the docstore of their index.
"""

import importlib
import logging
import warnings
from pathlib import Path
from typing import Any

from llama_index.core import StorageContext, VectorStoreIndex, load_index_from_storage
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.vector_stores.types import MetadataFilter, MetadataFilters
from tests.adapters.llama_index.conformance.stores import chroma, lancedb, qdrant

from benchmarks.framework import Peer
from benchmarks.stores_data import Rule

_NAME = "default__vector_store.json"  # of a store, in what a storage context persists


def _over(store: Any, embedding: BaseEmbedding) -> VectorStoreIndex:
    return VectorStoreIndex.from_vector_store(store, embed_model=embedding)


def _equal(rule: Rule, rows: int) -> dict[str, Any]:
    return {"filters": MetadataFilters(filters=[MetadataFilter(key=rule.field, value=rule.value)])}


def _theodolite(folder: Path, embedding: BaseEmbedding, dimension: int) -> VectorStoreIndex:
    store = importlib.import_module("llama_index_theodolite").TheodoliteVectorStore(folder, embedding)
    return _over(store, embedding)


def _reindex(index: Any, folder: Path) -> None:
    index.vector_store.kb.reindex("hnsw")


def _with_docstore(folder: Path, embedding: BaseEmbedding, store: Any) -> VectorStoreIndex:
    """Return the persisted index, or a new one. Without a store, the context creates a SimpleVectorStore."""
    kept = str(folder) if folder.exists() else None
    context = StorageContext.from_defaults(vector_store=store, persist_dir=kept)
    if kept is None:
        return VectorStoreIndex([], storage_context=context, embed_model=embedding)
    loaded = load_index_from_storage(context, embed_model=embedding)
    assert isinstance(loaded, VectorStoreIndex)
    return loaded


def _persist(index: Any, folder: Path) -> None:
    index.storage_context.persist(str(folder))


def _simple(folder: Path, embedding: BaseEmbedding, dimension: int) -> VectorStoreIndex:
    return _with_docstore(folder, embedding, None)


def _faiss(folder: Path, embedding: BaseEmbedding, dimension: int) -> VectorStoreIndex:
    """Open FAISS with inner products of unit vectors."""
    faiss = importlib.import_module("faiss")
    faiss.omp_set_num_threads(1)
    kind = importlib.import_module("llama_index.vector_stores.faiss").FaissVectorStore
    store = kind.from_persist_dir(str(folder)) if folder.exists() else kind(faiss.IndexFlatIP(dimension))
    return _with_docstore(folder, embedding, store)


def _chroma(folder: Path, embedding: BaseEmbedding, dimension: int) -> VectorStoreIndex:
    return _over(chroma(folder), embedding)


def _qdrant(folder: Path, embedding: BaseEmbedding, dimension: int) -> VectorStoreIndex:
    # It warns that local collections have no payload indexes, and recommends its server from 20,000 points on.
    warnings.filterwarnings("ignore", module="qdrant_client|llama_index.vector_stores.qdrant")
    return _over(qdrant(folder), embedding)


def _lancedb(folder: Path, embedding: BaseEmbedding, dimension: int) -> VectorStoreIndex:
    logging.getLogger("llama_index.vector_stores.lancedb.base").setLevel(logging.ERROR)  # it warns of a new table
    return _over(lancedb(folder), embedding)


def _turbovec(folder: Path, embedding: BaseEmbedding, dimension: int) -> VectorStoreIndex:
    kind = importlib.import_module("turbovec.llama_index").TurboQuantVectorStore
    return _over(kind.from_persist_path(str(folder / _NAME)) if folder.exists() else kind(), embedding)


def _turbovec_save(index: Any, folder: Path) -> None:
    folder.mkdir()
    index.vector_store.persist(str(folder / _NAME))


PEERS: dict[str, Peer] = {
    "theodolite": Peer(_theodolite, "theodolite", _equal),
    "theodolite, hnsw": Peer(_theodolite, "hnswlib", _equal, _reindex),
    "SimpleVectorStore": Peer(_simple, "llama-index-core", _equal, _persist),
    "FAISS": Peer(_faiss, "faiss-cpu", None, _persist),
    "Chroma": Peer(_chroma, "chromadb", _equal),
    "Qdrant": Peer(_qdrant, "qdrant-client", _equal),
    "LanceDB": Peer(_lancedb, "lancedb", _equal),
    "turbovec": Peer(_turbovec, "turbovec", _equal, _turbovec_save),
}
SLOW = ("SimpleVectorStore", "Qdrant")
"""Only the smaller size: at 100,000 a question, or storing, takes them too long."""
