"""The LlamaIndex adapter's verbs."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from llama_index.core import MockEmbedding
from llama_index.core.schema import MetadataMode, NodeWithScore, QueryBundle, TextNode
from llama_index.core.tools import ToolOutput
from llama_index.core.tools.calling import acall_tool, call_tool
from pydantic import Field
from tests.adapters.shared.verbs import Called, Found

from llama_index_theodolite import TheodoliteEmbedding, TheodoliteRerank, TheodoliteRetriever, as_embedder, as_tool
from theodolite import Document, Retriever


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
    return Found(one.node.node_id, one.node.get_content(MetadataMode.NONE), one.node.metadata, one.score)
