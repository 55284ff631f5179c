"""The LlamaIndex adapter's verbs."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from llama_index.core import MockEmbedding
from llama_index.core.schema import BaseNode, MetadataMode, NodeWithScore, QueryBundle, TextNode
from llama_index.core.tools import ToolOutput
from llama_index.core.tools.calling import acall_tool, call_tool
from llama_index.core.vector_stores.types import (
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
    VectorStoreQuery,
    VectorStoreQueryResult,
)
from pydantic import Field
from tests.adapters.shared.verbs import Called, Condition, Found

from llama_index_theodolite import (
    TheodoliteEmbedding,
    TheodoliteRerank,
    TheodoliteRetriever,
    TheodoliteVectorStore,
    as_embedder,
    as_tool,
)
from theodolite import Document, Retriever

_OPERATORS = {
    "$eq": FilterOperator.EQ,
    "$ne": FilterOperator.NE,
    "$gt": FilterOperator.GT,
    "$gte": FilterOperator.GTE,
    "$lt": FilterOperator.LT,
    "$lte": FilterOperator.LTE,
    "$in": FilterOperator.IN,
    "$nin": FilterOperator.NIN,
    "$contains": FilterOperator.CONTAINS,
}


class Model(MockEmbedding):
    """Gives each text a vector of its own."""

    asked: list[str] = Field(default_factory=list)

    def _get_query_embedding(self, query: str) -> list[float]:
        self.asked.append(query)
        seed = list(query.encode()) or [0]
        found: list[float] = np.random.default_rng(seed).standard_normal(self.embed_dim).tolist()
        return found

    def _get_text_embedding(self, text: str) -> list[float]:
        return self._get_query_embedding(text)

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return self._get_query_embedding(query)

    async def _aget_text_embedding(self, text: str) -> list[float]:
        return self._get_query_embedding(text)


class LlamaIndex:
    names = {"k": "similarity_top_k", "filter": "filters", "embedder": "embed_model"}  # noqa: RUF012

    def tool(self, kb: Retriever, **options: Any) -> Any:
        return as_tool(kb, **options)

    def call(self, tool: Any, /, **arguments: Any) -> Called:
        return _called(call_tool(tool, arguments))

    async def acall(self, tool: Any, /, **arguments: Any) -> Called:
        return _called(await acall_tool(tool, arguments))

    def parameters(self, tool: Any) -> dict[str, Any]:
        found: dict[str, Any] = tool.metadata.to_openai_tool()["function"]["parameters"]
        return found

    def retriever(self, kb: Retriever | None = None, **options: Any) -> Any:
        given = {self.names.get(name, name): value for name, value in options.items()}
        return TheodoliteRetriever(**given) if kb is None else TheodoliteRetriever(kb, **given)

    def retrieve(self, retriever: Any, query: str) -> list[Found]:
        return [_found(one) for one in retriever.retrieve(query)]

    async def aretrieve(self, retriever: Any, query: str) -> list[Found]:
        return [_found(one) for one in await retriever.aretrieve(query)]

    def store(self, location: Any = None, embedder: Any = None, /, **options: Any) -> Any:
        return TheodoliteVectorStore(location, embedder, **options)

    def store_of(self, kb: Any) -> Any:
        return TheodoliteVectorStore.from_retriever(kb)

    def order(self) -> str:
        return "TheodoliteVectorStore(location, embed_model)"

    def add(self, store: Any, documents: Sequence[Document], **options: Any) -> list[str]:
        stored: list[str] = store.add(_embedded(store, documents), **options)
        return stored

    async def aadd(self, store: Any, documents: Sequence[Document], **options: Any) -> list[str]:
        stored: list[str] = await store.async_add(_embedded(store, documents), **options)
        return stored

    def find(self, store: Any, query: str, k: int, conditions: Sequence[Condition] = (), **options: Any) -> list[Found]:
        return _scored(store.query(_question(query, k, conditions), **options))

    async def afind(
        self, store: Any, query: str, k: int, conditions: Sequence[Condition] = (), **options: Any
    ) -> list[Found]:
        return _scored(await store.aquery(_question(query, k, conditions), **options))

    def delete(self, store: Any, conditions: Sequence[Condition], **options: Any) -> None:
        store.delete_nodes(filters=_filters(conditions), **options)

    async def adelete(self, store: Any, conditions: Sequence[Condition], **options: Any) -> None:
        await store.adelete_nodes(filters=_filters(conditions), **options)

    def by_ids(self, store: Any, ids: list[str]) -> list[Found]:
        return [_node(node, None) for node in store.get_nodes(ids)]

    async def aby_ids(self, store: Any, ids: list[str]) -> list[Found]:
        return [_node(node, None) for node in await store.aget_nodes(ids)]

    def reranker(self, reranker: Any, **fields: Any) -> Any:
        return TheodoliteRerank(reranker, **{"mode": MetadataMode.NONE, **fields})

    def given(self, documents: Sequence[Document]) -> list[Any]:
        return [
            NodeWithScore(node=TextNode(id_=one.id, text=one.text, metadata=dict(one.metadata)), score=0.1)
            for one in documents
        ]

    def rerank(self, reranker: Any, given: list[Any], query: str) -> list[Found]:
        return [_found(one) for one in reranker.postprocess_nodes(given, query_str=query)]

    async def arerank(self, reranker: Any, given: list[Any], query: str) -> list[Found]:
        return [_found(one) for one in await reranker.apostprocess_nodes(given, QueryBundle(query))]

    def model(self, dimension: int) -> Any:
        return Model(embed_dim=dimension)

    def as_embedder(self, model: Any) -> Any:
        return as_embedder(model)

    def embeddings(self, embedder: Any) -> Any:
        return TheodoliteEmbedding(embedder)

    def embed_query(self, model: Any, text: str) -> list[float]:
        found: list[float] = model.get_query_embedding(text)
        return found

    def embed_documents(self, model: Any, texts: list[str]) -> list[list[float]]:
        found: list[list[float]] = model.get_text_embedding_batch(texts)
        return found


def _called(output: ToolOutput) -> Called:
    if output.is_error:
        assert isinstance(output.raw_output, str)
        return Called(True, output.content, [])
    return Called(False, output.content, [_found(one) for one in output.raw_output])


def _found(one: NodeWithScore) -> Found:
    return _node(one.node, one.score)


def _node(node: BaseNode, score: float | None) -> Found:
    return Found(node.node_id, node.get_content(MetadataMode.NONE), node.metadata, score)


def _embedded(store: Any, documents: Sequence[Document]) -> list[TextNode]:
    """Return nodes with embeddings of their texts, as an index passes them."""
    vectors = store.embed_model.get_text_embedding_batch([one.text for one in documents])
    return [
        TextNode(id_=one.id, text=one.text, metadata=dict(one.metadata), embedding=vector)
        for one, vector in zip(documents, vectors, strict=True)
    ]


def _filters(conditions: Sequence[Condition]) -> MetadataFilters | None:
    parts: list[Any] = [
        MetadataFilter(key=key, operator=_OPERATORS[name], value=value) for key, name, value in conditions
    ]
    return MetadataFilters(filters=parts) if parts else None


def _question(query: str, k: int, conditions: Sequence[Condition]) -> VectorStoreQuery:
    return VectorStoreQuery(query_str=query, similarity_top_k=k, filters=_filters(conditions))


def _scored(result: VectorStoreQueryResult) -> list[Found]:
    return [_node(node, score) for node, score in zip(result.nodes or (), result.similarities or (), strict=True)]
