"""TheodoliteVectorStore: a collection as a LlamaIndex vector store."""

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

from llama_index_theodolite.documents import from_core, to_core, with_details
from llama_index_theodolite.embeddings import EmbeddingEmbedder, TheodoliteEmbedding, as_embedder
from llama_index_theodolite.filters import as_where
from llama_index_theodolite.persisting import persist, persisted
from llama_index_theodolite.searching import asked, of_documents, within
from theodolite import ConfigError, DocumentError, Hits, InputError, Retriever, VectorError
from theodolite.integration import (
    RECORDED,
    check_kb,
    check_names,
    check_order,
    loaded_embedder,
    open_collection,
    opening_options,
    verdict_details,
)

_SAME = 0.9  # cosine of two embeddings of one text: far below the effect of rounding and batching, far above chance
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
    """A LlamaIndex vector store over a `theodolite.Retriever`: nodes in a folder, with exact search.

    >>> from llama_index.core.schema import TextNode
    >>> from llama_index.core.vector_stores.types import VectorStoreQuery
    >>> store = TheodoliteVectorStore()  # location="kb" keeps it in a folder
    >>> store.add([TextNode(id_="refunds", text="Refunds take five working days.", embedding=[0.6, 0.8])])
    ['refunds']
    >>> store.query(VectorStoreQuery(query_embedding=[1.0, 0.0], similarity_top_k=1)).similarities
    [0.6000000238418579]

    Adding an existing id replaces the node, and each call that writes is one atomic commit. Filters apply before the
    best are selected, so min(similarity_top_k, matching) nodes come back, best first. In `similarities`, higher is
    better:

    - DEFAULT and MMR: cosines in [-1, 1] (the metric's own value). MMR has its own order, so its cosines may increase.
    - TEXT_SEARCH and SPARSE, which are the same: BM25 of the words in `query_str`, at least 0.
    - HYBRID: the weighted reciprocal ranks that order the list. An `alpha` of 1 uses only vectors, 0 only words.

    With boosts or a reranker (`vector_store_kwargs`) `similarities` holds the scores that they order by. Threads may
    share a store. Async methods run in threads, so the event loop never blocks.
    """

    stores_text: bool = True
    is_embedding_query: bool = True

    _kb: Any = PrivateAttr()
    _shared: bool = PrivateAttr()
    _compared: bool = PrivateAttr(default=False)

    def __init__(
        self,
        location: str | PathLike[str] | None = None,
        embed_model: Any = RECORDED,
        *,
        kb: Retriever | None = None,
        **options: Any,
    ) -> None:
        """Open the collection in a folder; or a new one, which the first nodes create.

        Args:
            location: a folder. None keeps the collection in a temporary folder until the store is closed.
            embed_model: the model that the index embeds with: a `BaseEmbedding`, `Settings` for `Settings.embed_model`,
                or anything that `Retriever.open(embedder=...)` accepts. Indexes pass only vectors, so the collection
                needs the model to detect a change of model. Default: the embedder that the collection records, which is
                loaded for queries without an embedding. A collection in a folder that records none triggers a warning.
            kb: an open collection, or a scope of one, instead of all other arguments. Closing the store leaves it open.
            options: further arguments of `Retriever.open`: metric, index, partition, versions, create, ...

        Raises:
            TypeError: an option is unknown. TheodoliteError: see `Retriever.open`.
        """
        check_order(location, embed_model, f"{type(self).__name__}(location, embed_model)")
        check_names(options, opening_options(location), type(self).__name__, _HINTS)
        has_model = embed_model is not None and embed_model is not RECORDED
        if kb is not None and (location is not None or has_model or options):
            raise ConfigError("kb is an open collection: pass no other arguments")
        if kb is not None:
            check_kb(kb, f"{type(self).__name__}(location)")
        super().__init__(stores_text=True)
        self._shared = kb is not None
        self._kb = kb if kb is not None else open_collection(location, as_embedder(embed_model), **options)
        known = loaded_embedder(self.kb) is not None or self.kb.info()["embedder"] is not None
        if not known and self.kb.location is not None:
            warnings.warn(
                "without embed_model, a change of the embedding model cannot be detected; pass the model of the index "
                "as embed_model=, or embed_model=Settings",
                stacklevel=2,
            )

    @classmethod
    def from_retriever(cls, kb: Retriever) -> Self:
        """Create a store over an open collection or a scope of one. Closing the store leaves the collection open."""
        return cls(kb=kb)

    @classmethod
    def from_persist_dir(
        cls, persist_dir: str | PathLike[str] = "./storage", namespace: str = "default", **options: Any
    ) -> Self:
        """Open the store that `StorageContext.persist(persist_dir)` persisted.

        Args:
            persist_dir: the folder it was persisted to. Pass the store on:
                `StorageContext.from_defaults(vector_store=store, persist_dir=persist_dir)`; otherwise LlamaIndex looks
                for its own kind of store there.
            namespace: the store's name in the context.
            options: as for the constructor: embed_model, ...

        Raises:
            ManifestError: no store was persisted there.
        """
        return cls(persisted(persist_dir, namespace), create=False, **options)

    @classmethod
    def class_name(cls) -> str:
        return "TheodoliteVectorStore"

    @property
    def kb(self) -> Retriever:
        """The collection, for features without a LlamaIndex equivalent."""
        found: Retriever = self._kb
        return found

    @property
    def client(self) -> Retriever:
        """The collection, the same as `kb`."""
        return self.kb

    @property
    def embed_model(self) -> Any:
        """The collection's embedder as a LlamaIndex `BaseEmbedding`, or None if it was opened without one."""
        embedder = self.kb.embedder
        if embedder is None:
            return None
        return embedder.embed_model if isinstance(embedder, EmbeddingEmbedder) else TheodoliteEmbedding(embedder)

    def __repr__(self) -> str:
        return f"TheodoliteVectorStore({self.kb!r})"

    __str__ = __repr__

    def close(self) -> None:
        """Release files and memory, unless the store was created with `kb=`."""
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
        return self  # a store is a handle: copies of its owner share the collection

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        return self

    def add(self, nodes: Sequence[BaseNode], **kwargs: Any) -> list[str]:
        """Store nodes with their embeddings in one commit. An existing id is replaced; for a repeated id the last
        stays.

        Returns:
            The ids, in the order of the nodes.

        Raises:
            ValueError: a node has no embedding or one of another dimension, or a value cannot be stored. Nothing is
                stored.
            TypeError: any keyword.
        """
        check_names(kwargs, (), "add", {})
        listed = _nodes(nodes)
        if not listed:
            return []
        vectors = _embeddings(listed)
        embedder = loaded_embedder(self.kb)
        first = embedder is not None and (self.kb.dimension is None or not len(self.kb))
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
                self.kb.search_many([])  # records the embedder's output before it is used
            if not self._compared:
                self._compared = True
                _compare(embedder, listed[0], vectors[0])
        return ids

    async def async_add(self, nodes: Sequence[BaseNode], **kwargs: Any) -> list[str]:
        """Run `add` in a thread."""
        return await asyncio.to_thread(self.add, nodes, **kwargs)

    def delete(self, ref_doc_id: str, **delete_kwargs: Any) -> None:
        """Delete the nodes of a source document. Unknown ids are ignored; None and "" delete nothing."""
        check_names(delete_kwargs, (), "delete", {"ref_doc_ids": "one at a time", "filters": "for delete_nodes"})
        if ref_doc_id is not None and not isinstance(ref_doc_id, str):
            raise InputError(f"ref_doc_id is {ref_doc_id!r}; it must be one id, a string")
        if ref_doc_id and ref_doc_id != "None":  # LlamaIndex's value for a node without a source
            self.kb.delete(where=of_documents([ref_doc_id]))

    async def adelete(self, ref_doc_id: str, **delete_kwargs: Any) -> None:
        """Run `delete` in a thread."""
        await asyncio.to_thread(self.delete, ref_doc_id, **delete_kwargs)

    def delete_nodes(
        self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None, **delete_kwargs: Any
    ) -> None:
        """Delete nodes by id, or nodes that pass the filters. With both, delete nodes that match both.

        With neither, or with empty ids or filters, nothing is deleted. `clear` deletes all nodes.
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
        """Run `delete_nodes` in a thread."""
        await asyncio.to_thread(self.delete_nodes, node_ids, filters, **delete_kwargs)

    def get_nodes(self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None) -> list[BaseNode]:
        """Return nodes with their embeddings: by id in the given order, by filters, by both, or all.

        Unknown ids are skipped. Embeddings are returned as stored: with unit length for the cosine metric. A collection
        with transforms stores transformed vectors, so its nodes come back without embeddings.
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
        """Run `get_nodes` in a thread."""
        return await asyncio.to_thread(self.get_nodes, node_ids, filters)

    def clear(self) -> None:
        """Delete all nodes. Metric and dimension stay fixed."""
        self.kb.clear()

    async def aclear(self) -> None:
        """Await `clear`."""
        await self.kb.aclear()

    def query(self, query: VectorStoreQuery, **kwargs: Any) -> VectorStoreQueryResult:
        """Return the best nodes, best first, with their ids and `similarities` (see the class), higher is better.

        Args:
            query: `doc_ids` and `node_ids` restrict the search, as filters do. Empty `doc_ids` match no nodes. Empty
                `node_ids` do not restrict, because an index always passes the ids of its own `IndexNode`s, if it has
                any, and then only these are found. `VectorStoreIndex.from_vector_store` with a `TheodoliteVectorStore`
                passes none.
            kwargs: `mmr_threshold` (from 0, most diverse, to 1, nearest to the query; overrides the query's), `pool`
                (the number of nearest nodes that MMR selects from), `scope`, and from `theodolite.Retriever.search`
                boosts, versions, as_of, superseded, min_relevance, rerank and dedupe.

        Raises:
            ValueError: the embedding is missing or has another dimension, `query_str` is missing where words are read,
                a top_k is below 1, a filter or an option is invalid, or the mode is unknown.
            TypeError: any other keyword.
        """
        view, options, score = asked(self.kb, query, kwargs)
        return _result(None if view is None else view.search(**options), score)

    async def aquery(self, query: VectorStoreQuery, **kwargs: Any) -> VectorStoreQueryResult:
        """Run `query` in a thread."""
        return await asyncio.to_thread(self.query, query, **kwargs)

    def persist(self, persist_path: str, fs: Any = None) -> None:
        """Persist the store for `StorageContext.persist`. A collection in a folder only has its location written.

        A temporary collection is copied beside `persist_path`, replacing an earlier copy. `from_persist_dir` reads
        both.

        Raises:
            ConfigError: the file system is not the local one.
        """
        persist(self.kb, persist_path, fs)

    def _ids(self, ids: Any) -> list[str] | None:
        """Return the ids. Raises InputError for one string, or if the collection has several partitions."""
        if ids is None:
            return None
        if isinstance(ids, str):
            raise InputError(f"node_ids is one string; pass a list, [{ids!r}]")
        names = list(ids)
        if names:
            self.kb.get(names[0])  # raises if several partitions may share an id: a filter would match all of them
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
    """Warn if a node's embedding does not match the store's model. An index passes vectors but not their model."""
    texts = [node.get_content(mode) for mode in (MetadataMode.EMBED, MetadataMode.NONE)]
    if isinstance(node, ImageNode) or not all(text.strip() for text in texts):
        return
    own = np.asarray(embedder.encode_document(texts), np.float64)
    with np.errstate(all="ignore"):
        cosine = max(own @ vector / (np.linalg.norm(own, axis=1) * np.linalg.norm(vector)))
    if not cosine >= _SAME:
        warnings.warn(
            f"the embedding of node {node.node_id!r} and the embedding of its text by embed_model have a cosine of "
            f"{cosine:.2f}: does the index embed with another model? Ignore this if the node's embedding is not of its "
            "text",
            stacklevel=3,
        )


def _result(hits: Hits | None, score: str | None) -> VectorStoreQueryResult:
    if hits is None:
        return VectorStoreQueryResult(nodes=[], similarities=[], ids=[])
    return VectorStoreQueryResult(
        nodes=[with_details(from_core(hit.document), verdict_details(hits)) for hit in hits],
        similarities=[float(hit.score if score is None else hit.scores[score]) for hit in hits],
        ids=[hit.document.id for hit in hits],
    )
