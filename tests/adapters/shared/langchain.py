"""The LangChain adapter's verbs."""

from collections.abc import Sequence
from typing import Any

from langchain_core.documents import Document as LangChainDocument
from langchain_core.messages import ToolMessage
from langchain_core.utils.function_calling import convert_to_openai_tool
from tests.adapters.langchain.tables import Table
from tests.adapters.shared.verbs import Called, Condition, Found

from langchain_theodolite import (
    TheodoliteEmbeddings,
    TheodoliteReranker,
    TheodoliteRetriever,
    TheodoliteVectorStore,
    as_embedder,
    theodolite_tool,
)
from theodolite import Document, Retriever


class Model(Table):
    def __init__(self, size: int) -> None:
        super().__init__({}, size)
        self.asked = self.embedded


class LangChain:
    names = {"k": "k", "filter": "filter", "embedder": "embedding"}  # noqa: RUF012

    def tool(self, kb: Retriever, **options: Any) -> Any:
        return theodolite_tool(kb, **options)

    def call(self, tool: Any, /, **arguments: Any) -> Called:
        return _called(tool.invoke(_sent(tool, arguments)))

    async def acall(self, tool: Any, /, **arguments: Any) -> Called:
        return _called(await tool.ainvoke(_sent(tool, arguments)))

    def parameters(self, tool: Any) -> dict[str, Any]:
        found: dict[str, Any] = convert_to_openai_tool(tool)["function"]["parameters"]
        return found

    def retriever(self, kb: Retriever | None = None, **options: Any) -> Any:
        given = {self.names.get(name, name): value for name, value in options.items()}
        return TheodoliteRetriever(**given) if kb is None else TheodoliteRetriever(kb=kb, **given)

    def retrieve(self, retriever: Any, query: str) -> list[Found]:
        return [_found(document) for document in retriever.invoke(query)]

    async def aretrieve(self, retriever: Any, query: str) -> list[Found]:
        return [_found(document) for document in await retriever.ainvoke(query)]

    def store(self, location: Any = None, embedder: Any = None, /, **options: Any) -> Any:
        return TheodoliteVectorStore(embedder, location, **options)

    def store_of(self, kb: Any) -> Any:
        return TheodoliteVectorStore.from_retriever(kb)

    def order(self) -> str:
        return "TheodoliteVectorStore(embedding, location)"

    def add(self, store: Any, documents: Sequence[Document], **options: Any) -> list[str]:
        stored: list[str] = store.add_documents(self.given(documents), **options)
        return stored

    async def aadd(self, store: Any, documents: Sequence[Document], **options: Any) -> list[str]:
        stored: list[str] = await store.aadd_documents(self.given(documents), **options)
        return stored

    def find(self, store: Any, query: str, k: int, conditions: Sequence[Condition] = (), **options: Any) -> list[Found]:
        return _scored(store.similarity_search_with_score(query, k, filter=_filter(conditions), **options))

    async def afind(
        self, store: Any, query: str, k: int, conditions: Sequence[Condition] = (), **options: Any
    ) -> list[Found]:
        return _scored(await store.asimilarity_search_with_score(query, k, filter=_filter(conditions), **options))

    def delete(self, store: Any, conditions: Sequence[Condition], **options: Any) -> None:
        store.delete(filter=_filter(conditions), **options)

    async def adelete(self, store: Any, conditions: Sequence[Condition], **options: Any) -> None:
        await store.adelete(filter=_filter(conditions), **options)

    def by_ids(self, store: Any, ids: list[str]) -> list[Found]:
        return [_found(document) for document in store.get_by_ids(ids)]

    async def aby_ids(self, store: Any, ids: list[str]) -> list[Found]:
        return [_found(document) for document in await store.aget_by_ids(ids)]

    def reranker(self, reranker: Any, **fields: Any) -> Any:
        return TheodoliteReranker(reranker=reranker, **fields)

    def given(self, documents: Sequence[Document]) -> list[Any]:
        return [LangChainDocument(one.text, id=one.id, metadata=dict(one.metadata)) for one in documents]

    def rerank(self, reranker: Any, given: list[Any], query: str) -> list[Found]:
        return [_reranked(document) for document in reranker.compress_documents(given, query)]

    async def arerank(self, reranker: Any, given: list[Any], query: str) -> list[Found]:
        return [_reranked(document) for document in await reranker.acompress_documents(given, query)]

    def model(self, dimension: int) -> Any:
        return Model(dimension)

    def as_embedder(self, model: Any) -> Any:
        return as_embedder(model)

    def embeddings(self, embedder: Any) -> Any:
        return TheodoliteEmbeddings(embedder)

    def embed_query(self, model: Any, text: str) -> list[float]:
        found: list[float] = model.embed_query(text)
        return found

    def embed_documents(self, model: Any, texts: list[str]) -> list[list[float]]:
        found: list[list[float]] = model.embed_documents(texts)
        return found


def _sent(tool: Any, arguments: dict[str, Any]) -> dict[str, Any]:
    return {"type": "tool_call", "id": "1", "name": tool.name, "args": arguments}


def _called(message: Any) -> Called:
    assert isinstance(message, ToolMessage)
    if message.status == "error":
        assert message.artifact is None
    return Called(message.status == "error", str(message.content), [_found(one) for one in message.artifact or ()])


def _found(document: LangChainDocument) -> Found:
    score = document.metadata.get("theodolite", {}).get("score")
    return Found(document.id, document.page_content, document.metadata, score)


def _filter(conditions: Sequence[Condition]) -> dict[str, Any] | None:
    return {"$and": [{field: {operator: value}} for field, operator, value in conditions]} if conditions else None


def _scored(found: list[tuple[LangChainDocument, float]]) -> list[Found]:
    return [Found(one.id, one.page_content, one.metadata, score) for one, score in found]


def _reranked(document: LangChainDocument) -> Found:
    return Found(document.id, document.page_content, document.metadata, document.metadata.get("relevance_score"))
