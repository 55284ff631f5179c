"""LangChain adapter for theodolite: vector store, retrievers, embeddings.

>>> from langchain_core.embeddings import DeterministicFakeEmbedding
>>> from langchain_theodolite import TheodoliteVectorStore
>>> store = TheodoliteVectorStore(DeterministicFakeEmbedding(size=8))
>>> store.add_texts(["Refunds take five working days."], ids=["refunds"])
['refunds']
"""

from importlib.util import find_spec

from theodolite import MissingExtraError

if find_spec("langchain_core") is None:
    raise MissingExtraError("langchain_theodolite needs langchain-core: pip install 'theodolite[langchain]'")

from langchain_theodolite.embeddings import TheodoliteEmbeddings, as_embedder
from langchain_theodolite.filters import TheodoliteTranslator
from langchain_theodolite.records import TheodoliteRecordManager
from langchain_theodolite.rerankers import TheodoliteCrossEncoder, TheodoliteReranker, as_reranker
from langchain_theodolite.retrievers import TheodoliteRetriever, TheodoliteVectorStoreRetriever
from langchain_theodolite.tools import theodolite_tool
from langchain_theodolite.vectorstores import TheodoliteVectorStore

__all__ = [
    "TheodoliteCrossEncoder",
    "TheodoliteEmbeddings",
    "TheodoliteRecordManager",
    "TheodoliteReranker",
    "TheodoliteRetriever",
    "TheodoliteTranslator",
    "TheodoliteVectorStore",
    "TheodoliteVectorStoreRetriever",
    "as_embedder",
    "as_reranker",
    "theodolite_tool",
]
