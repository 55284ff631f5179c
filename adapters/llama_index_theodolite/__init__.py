"""LlamaIndex adapter for theodolite: vector store, retriever, node postprocessor, tool, embeddings.

>>> from llama_index.core.schema import TextNode
>>> from llama_index_theodolite import TheodoliteVectorStore
>>> store = TheodoliteVectorStore()
>>> store.add([TextNode(id_="refunds", text="Refunds take five working days.", embedding=[0.6, 0.8])])
['refunds']
"""

from importlib.util import find_spec

from theodolite import MissingExtraError

if find_spec("llama_index") is None or find_spec("llama_index.core") is None:  # a namespace shared by other packages
    raise MissingExtraError("llama_index_theodolite needs llama-index-core: pip install 'theodolite[llama-index]'")

from llama_index_theodolite.embeddings import TheodoliteEmbedding, as_embedder
from llama_index_theodolite.rerankers import TheodoliteRerank
from llama_index_theodolite.retrievers import TheodoliteRetriever
from llama_index_theodolite.tools import as_tool
from llama_index_theodolite.vectorstores import TheodoliteVectorStore

__all__ = [
    "TheodoliteEmbedding",
    "TheodoliteRerank",
    "TheodoliteRetriever",
    "TheodoliteVectorStore",
    "as_embedder",
    "as_tool",
]
