"""LlamaIndex adapter for theodolite: vector store and embeddings.

>>> from llama_index.core.schema import TextNode
>>> from llama_index_theodolite import TheodoliteVectorStore
>>> store = TheodoliteVectorStore()
>>> store.add([TextNode(id_="refunds", text="Refunds take five working days.", embedding=[0.6, 0.8])])
['refunds']
"""

from importlib.util import find_spec

from theodolite import MissingExtraError

if find_spec("llama_index") is None or find_spec("llama_index.core") is None:  # a namespace that others share
    raise MissingExtraError("llama_index_theodolite needs llama-index-core: pip install 'theodolite[llama-index]'")

from llama_index_theodolite.embeddings import TheodoliteEmbedding, as_embedder
from llama_index_theodolite.vectorstores import TheodoliteVectorStore

__all__ = [
    "TheodoliteEmbedding",
    "TheodoliteVectorStore",
    "as_embedder",
]
