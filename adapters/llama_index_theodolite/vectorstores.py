"""TheodoliteVectorStore: a collection as LlamaIndex's vector store."""

import asyncio
import warnings
from collections.abc import Sequence
from os import PathLike
from typing import Any, NoReturn, Self

import numpy as np
from llama_index.core.bridge.pydantic import PrivateAttr
from llama_index.core.schema import BaseNode, ImageNode, MetadataMode
from llama_index.core.vector_stores.types import (
    BasePydanticVectorStore,
    MetadataFilters,
    VectorStoreQuery,
    VectorStoreQueryResult,
)

from llama_index_theodolite.documents import from_core, to_core
from llama_index_theodolite.embeddings import EmbeddingEmbedder, TheodoliteEmbedding, as_embedder
from llama_index_theodolite.filters import as_where
from llama_index_theodolite.persisting import persist, persisted
from llama_index_theodolite.searching import asked, of_documents, within
from theodolite import ConfigError, DocumentError, InputError, Retriever, VectorError
from theodolite.integration import check_names, open_collection, opening_options

_SAME = 0.9  # cosine of two embeddings of one text: far below what rounding and batches do, far above chance
_HINTS = {
    "persist_dir": "location, a folder; or from_persist_dir",
    "persist_path": "location, a folder",
    "path": "location, a folder",
    "collection_name": "location: one folder for each collection",
    "embedder": "embed_model",
    "embedding": "embed_model",
    "embed_dim": "not needed: the first nodes settle it",
    "dim": "not needed: the first nodes settle it",
    "distance_strategy": "metric: 'cosine', 'dot' or 'l2'",
    "stores_text": "not an option: it does",
}


class TheodoliteVectorStore(BasePydanticVectorStore):
    """Nodes in a folder, searched exactly; LlamaIndex's interface to a `theodolite.Retriever`.

    >>> from llama_index.core.schema import TextNode
    >>> from llama_index.core.vector_stores.types import VectorStoreQuery
    >>> store = TheodoliteVectorStore()  # location="kb" keeps it in a folder
    >>> store.add([TextNode(id_="refunds", text="Refunds take five working days.", embedding=[0.6, 0.8])])
    ['refunds']
    >>> store.query(VectorStoreQuery(query_embedding=[1.0, 0.0], similarity_top_k=1)).similarities
    [0.6000000238418579]

    Ids are upserts, and each call that writes is one atomic commit. Filters decide before the best are chosen, so
    min(similarity_top_k, matching) nodes come back, best first. What `similarities` holds, higher is better:

    - DEFAULT, and MMR: cosines in [-1, 1] (the metric's own value). MMR's order is its own, its cosines need not fall.
    - TEXT_SEARCH and SPARSE, which are the same: BM25 of the words in `query_str`, at least 0.
    - HYBRID: the weighted reciprocal ranks that the list is ordered by; of `alpha`, 1 is vectors only, 0 words only.

    With boosts or a reranker (`vector_store_kwargs`) it is the score that these order by. Threads may share a store.
    What is awaited runs on threads, so an event loop never waits.
    """

    stores_text: bool = True
    is_embedding_query: bool = True

    _kb: Any = PrivateAttr()
    _shared: bool = PrivateAttr()
    _compared: bool = PrivateAttr(default=False)

    def __init__(
        self,
        location: str | PathLike[str] | None = None,
        embed_model: Any = None,
        *,
        kb: Retriever | None = None,
        **options: Any,
    ) -> None:
        """Open the collection in a folder, or make one where there is none.

        Args:
            location: a folder; None keeps the collection in a temporary one until the store is closed.
            embed_model: the model that the index embeds with: a `BaseEmbedding`, `Settings` for
                `Settings.embed_model`, or whatever `Retriever.open(embedder=...)` takes. Indexes pass vectors only; by
                it the collection tells another model from the one it was built with. A warning says where it is absent.
            kb: an open collection, or a scope of one, in place of all else; closing the store leaves it open.
            options: further arguments of `Retriever.open`: metric, index, partition, versions, ...

        Raises:
            TypeError: there is no such option. TheodoliteError: see `Retriever.open`.
        """
        check_names(options, opening_options(location), type(self).__name__, _HINTS)
        if kb is not None and (location is not None or embed_model is not None or options):
            raise ConfigError("kb is a collection that is open already: pass it alone")
        if kb is not None and not isinstance(kb, Retriever):
            raise ConfigError(f"kb is a {type(kb).__name__}; it must be a theodolite.Retriever")
        super().__init__(stores_text=True)
        self._shared = kb is not None
        self._kb = kb if kb is not None else open_collection(location, as_embedder(embed_model), **options)
        if self.kb.embedder is None and self.kb.location is not None:
            warnings.warn(
                "without embed_model nothing tells whether the vectors that come are of the model the collection was "
                "built with; pass embed_model=, the one that the index has, or embed_model=Settings",
                stacklevel=2,
            )

    @classmethod
    def from_retriever(cls, kb: Retriever) -> Self:
        """A store over an open collection, or a scope of one; closing the store leaves it open."""
        return cls(kb=kb)

    @classmethod
    def from_persist_dir(
        cls, persist_dir: str | PathLike[str] = "./storage", namespace: str = "default", **options: Any
    ) -> Self:
        """The store that `StorageContext.persist(persist_dir)` was called with.

        Args:
            persist_dir: where it was persisted. Pass the store on: `StorageContext.from_defaults(vector_store=store,
                persist_dir=persist_dir)`; by itself LlamaIndex looks for a store of its own there.
            namespace: the store's name in the context.
            options: as for the constructor: embed_model, ...

        Raises:
            ManifestError: there is none.
        """
        return cls(persisted(persist_dir, namespace), create=False, **options)

    @classmethod
    def class_name(cls) -> str:
        return "TheodoliteVectorStore"

    @property
    def kb(self) -> Retriever:
        """The collection: everything that LlamaIndex's interface has no name for."""
        found: Retriever = self._kb
        return found

    @property
    def client(self) -> Retriever:
        """The same as `kb`."""
        return self.kb

    @property
    def embed_model(self) -> Any:
        """What the collection knows of the model, as LlamaIndex's `BaseEmbedding`; None where it was opened without."""
        embedder = self.kb.embedder
        if embedder is None:
            return None
        return embedder.embed_model if isinstance(embedder, EmbeddingEmbedder) else TheodoliteEmbedding(embedder)

    def __repr__(self) -> str:
        return f"TheodoliteVectorStore({self.kb!r})"

    __str__ = __repr__

    def close(self) -> None:
        """Release files and memory, unless the collection is somebody else's (`kb=`)."""
        if not self._shared:
            self.kb.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __getstate__(self) -> NoReturn:
        raise TypeError(
            "an open collection cannot be pickled: pass its location, and open it there with TheodoliteVectorStore"
        )

    def __copy__(self) -> Self:
        return self  # a store is a handle: copies of what holds it share the collection

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        return self

    def add(self, nodes: Sequence[BaseNode], **kwargs: Any) -> list[str]:
        """Store nodes with their embeddings, in one commit; the same id replaces, within a call the last stays.

        Returns:
            The ids, in the order of the nodes.

        Raises:
            ValueError: a node without an embedding, one of another dimension, or what cannot be stored. Nothing is
                stored then. TypeError: any keyword.
        """
        check_names(kwargs, (), "add", {})
        listed = _nodes(nodes)
        if not listed:
            return []
        vectors = _embeddings(listed)
        first, embedder = not len(self.kb), self.kb.embedder
        if first and embedder is not None and vectors.shape[1] != embedder.dimension:
            raise VectorError(
                f"the nodes have embeddings of {vectors.shape[1]} dimensions, embed_model gives {embedder.dimension}; "
                "pass the model that the nodes were embedded with. Nothing is stored",
                expected=embedder.dimension,
                got=vectors.shape[1],
            )
        ids = self.kb.add([to_core(node) for node in listed], vectors=vectors, batch_size=None)
        if embedder is not None:
            if first:
                self.kb.search_many([])  # the embedder is about to be used: what it gives is put on record
            if not self._compared:
                self._compared = True
                _compare(embedder, listed[0], vectors[0])
        return ids

    async def async_add(self, nodes: Sequence[BaseNode], **kwargs: Any) -> list[str]:
        """`add`, awaited."""
        return await asyncio.to_thread(self.add, nodes, **kwargs)

    def delete(self, ref_doc_id: str, **delete_kwargs: Any) -> None:
        """Delete the nodes of a source document; those that are not there are fine, None and "" name none."""
        check_names(delete_kwargs, (), "delete", {"ref_doc_ids": "one at a time", "filters": "for delete_nodes"})
        if ref_doc_id is not None and not isinstance(ref_doc_id, str):
            raise InputError(f"ref_doc_id is {ref_doc_id!r}; it must be one id, a string")
        if ref_doc_id and ref_doc_id != "None":  # which LlamaIndex writes where a node has no source
            self.kb.delete(where=of_documents([ref_doc_id]))

    async def adelete(self, ref_doc_id: str, **delete_kwargs: Any) -> None:
        """`delete`, awaited."""
        await asyncio.to_thread(self.delete, ref_doc_id, **delete_kwargs)

    def delete_nodes(
        self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None, **delete_kwargs: Any
    ) -> None:
        """Delete nodes by id, or those that pass the filters; with both, those of these ids that pass.

        Of neither, and of empty ids or filters, nothing is deleted: `clear` deletes all.
        """
        check_names(delete_kwargs, (), "delete_nodes", {"ref_doc_id": "delete(ref_doc_id)", "ids": "node_ids"})
        where, names = as_where(filters), self._ids(node_ids)
        if (names is not None and not names) or (filters is not None and where is None):
            return
        if names is not None or where is not None:
            self.kb.delete(where=within(where, node_ids=names))

    async def adelete_nodes(
        self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None, **delete_kwargs: Any
    ) -> None:
        """`delete_nodes`, awaited."""
        await asyncio.to_thread(self.delete_nodes, node_ids, filters, **delete_kwargs)

    def get_nodes(self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None) -> list[BaseNode]:
        """Nodes with their embeddings: by id in the order asked, or those that pass the filters, or both; or all.

        Ids that are not there are skipped. Embeddings are as they are stored: of unit length where the metric is
        cosine. A collection with transforms stores what became of them, and the nodes come without.
        """
        transformed, names = bool(self.kb.info()["transforms"]), self._ids(node_ids)
        nodes = []
        for passage, vector in self.kb.documents(within(as_where(filters), node_ids=names), vectors=True):
            node = from_core(passage)
            node.embedding = None if transformed else vector.tolist()
            nodes.append(node)
        if names is None:
            return nodes
        found = {node.node_id: node for node in nodes}
        return [found[name] for name in dict.fromkeys(names) if name in found]

    async def aget_nodes(
        self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None
    ) -> list[BaseNode]:
        """`get_nodes`, awaited."""
        return await asyncio.to_thread(self.get_nodes, node_ids, filters)

    def clear(self) -> None:
        """Delete all nodes. Metric and dimension stay pinned."""
        self.kb.clear()

    async def aclear(self) -> None:
        """`clear`, awaited."""
        await self.kb.aclear()

    def query(self, query: VectorStoreQuery, **kwargs: Any) -> VectorStoreQueryResult:
        """The best nodes, best first, with their ids and `similarities` (see the class), higher is better.

        Args:
            query: `doc_ids` and `node_ids` narrow, as filters do. No `doc_ids` are no nodes; no `node_ids` are no
                restriction, since an index always passes some: those of its own `IndexNode`s, and then only these are
                found. `TheodoliteVectorStore` in `VectorStoreIndex.from_vector_store` has none.
            kwargs: `mmr_threshold` (from 0, as different as can be, to 1, as near as can be; before the query's),
                `pool` (how many of the nearest MMR chooses from), `scope`, and of `theodolite.Retriever.search` boosts,
                versions, as_of, superseded, min_relevance, rerank and dedupe.

        Raises:
            ValueError: no embedding (or no `query_str`, where words are read), one of another dimension, a top_k
                below 1, a filter or an option that does not fit, a mode that there is not.
            TypeError: any other keyword.
        """
        view, options, score = asked(self.kb, query, kwargs)
        return _result(() if view is None else view.search(**options), score)

    async def aquery(self, query: VectorStoreQuery, **kwargs: Any) -> VectorStoreQueryResult:
        """`query`, awaited."""
        return await asyncio.to_thread(self.query, query, **kwargs)

    def persist(self, persist_path: str, fs: Any = None) -> None:
        """Called by `StorageContext.persist`. What is in a folder is there already: only where it is, is written.

        A temporary collection is copied beside `persist_path`, in place of the copy before. `from_persist_dir` reads
        both.

        Raises:
            ConfigError: a file system that is not the local one.
        """
        persist(self.kb, persist_path, fs)

    def _ids(self, ids: Any) -> list[str] | None:
        """The ids. Raises InputError where they name no nodes: one string, or of any of several partitions."""
        if ids is None:
            return None
        if isinstance(ids, str):
            raise InputError(f"node_ids is one string; pass a list, [{ids!r}]")
        names = list(ids)
        if names:
            self.kb.get(names[0])  # which each partition may have: a filter would take all of them
        return names


def _nodes(nodes: Any) -> list[BaseNode]:
    if isinstance(nodes, (BaseNode, str)):
        raise InputError(f"add takes a list of nodes, not one {type(nodes).__name__}")
    listed = list(nodes)
    for number, node in enumerate(listed):
        if not isinstance(node, BaseNode):
            raise InputError(f"number {number} of {len(listed)} nodes is a {type(node).__name__}. Nothing is stored")
    return listed


def _embeddings(nodes: list[BaseNode]) -> Any:
    missing = [node.node_id for node in nodes if node.embedding is None]
    if missing:
        raise DocumentError(
            f"{len(missing)} of {len(nodes)} nodes have no embedding; the first is {missing[0]!r}. Add them through an "
            "index or an IngestionPipeline, which embed them. Nothing is stored",
            ids=missing,
        )
    length = len(nodes[0].get_embedding())
    for node in nodes:
        if len(node.get_embedding()) != length:
            raise VectorError(
                f"node {node.node_id!r} has an embedding of {len(node.get_embedding())} dimensions, the first node one "
                f"of {length}. Nothing is stored",
                expected=length,
                got=len(node.get_embedding()),
            )
    return np.asarray([node.embedding for node in nodes], dtype=np.float64)


def _compare(embedder: Any, node: BaseNode, vector: Any) -> None:
    """Warn where a node's embedding is not of the store's model: an index passes vectors, not the model they are of."""
    texts = [node.get_content(mode) for mode in (MetadataMode.EMBED, MetadataMode.NONE)]
    if isinstance(node, ImageNode) or not all(text.strip() for text in texts):
        return
    own = np.asarray(embedder.encode_document(texts), np.float64)
    with np.errstate(all="ignore"):
        cosine = max(own @ vector / (np.linalg.norm(own, axis=1) * np.linalg.norm(vector)))
    if not cosine >= _SAME:
        warnings.warn(
            f"the embedding of node {node.node_id!r} and what embed_model gives for its text have a cosine of "
            f"{cosine:.2f}: does the index embed with another model? If it is an embedding of something else than the "
            "text, all is well",
            stacklevel=3,
        )


def _result(hits: Any, score: str | None) -> VectorStoreQueryResult:
    return VectorStoreQueryResult(
        nodes=[from_core(hit.document) for hit in hits],
        similarities=[float(hit.score if score is None else hit.scores[score]) for hit in hits],
        ids=[hit.document.id for hit in hits],
    )
