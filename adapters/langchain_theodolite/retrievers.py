"""LangChain retrievers over a collection."""

from langchain_core.vectorstores import VectorStoreRetriever
from pydantic import ConfigDict


class TheodoliteVectorStoreRetriever(VectorStoreRetriever):
    """What `TheodoliteVectorStore.as_retriever` returns: LangChain's own, but unknown fields are refused."""

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")
