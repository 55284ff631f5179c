"""LlamaIndex's vector stores: search by store, by retriever and with a filter, adding, reopening.

    python benchmarks/llama_index.py
    python benchmarks/llama_index.py --sizes 10000 --peers theodolite FAISS Chroma --markdown

Every store gets the same nodes, with their embeddings, in the same batches through an index, and then the same
questions, in turns, ten each. A search ends when the nodes are loaded with their texts. Recall@10 is compared with
float64 over the rows that match the filter. Reopening is timed in fresh processes, from opening the stored data to the
first answer.
"""

import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.pop(0)  # this folder, in which `llama_index` would be this very file
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.bridge.pydantic import PrivateAttr
from llama_index.core.schema import BaseNode, NodeWithScore, QueryBundle, TextNode
from llama_index.core.vector_stores.types import VectorStoreQuery

from benchmarks.framework import Framework
from benchmarks.llama_index_peers import PEERS, SLOW
from benchmarks.stores import main
from benchmarks.stores_data import Known
from theodolite.types import Vectors


class Given(BaseEmbedding):
    """An embedder that looks vectors up. It is never called, because nodes and questions carry their vectors."""

    _known: Known = PrivateAttr()

    def __init__(self, known: Known) -> None:
        super().__init__(model_name="given")
        self._known = known

    def _get_text_embedding(self, text: str) -> list[float]:
        return self._known.of(text)

    def _get_query_embedding(self, query: str) -> list[float]:
        return self._known.of(query)

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return self._known.of(query)


def node(row: int, text: str, metadata: dict[str, Any]) -> TextNode:
    """Return a node with an id that every store accepts."""
    return TextNode(id_=str(uuid.UUID(int=row)), text=text, metadata=metadata)


def with_embeddings(nodes: list[BaseNode], vectors: Vectors) -> list[BaseNode]:
    """Attach the embeddings to one batch of nodes: lists of floats take eight times the memory of arrays."""
    return [one.model_copy(update={"embedding": vector}) for one, vector in zip(nodes, vectors.tolist(), strict=True)]


def add(index: Any, part: list[BaseNode]) -> None:
    index.insert_nodes(part)


def by_store(index: Any, vectors: list[list[float]], k: int, options: dict[str, Any]) -> Callable[[int], Any]:
    store, docstore, names = index.vector_store, index.docstore, index.index_struct.nodes_dict

    def search(number: int) -> Any:
        answer = store.query(VectorStoreQuery(query_embedding=vectors[number], similarity_top_k=k, **options))
        # As the retriever does for stores without texts.
        return docstore.get_nodes([names[name] for name in answer.ids]) if answer.nodes is None else answer.nodes

    return search


def by_retriever(index: Any, vectors: list[list[float]], k: int, options: dict[str, Any]) -> Callable[[int], Any]:
    retriever = index.as_retriever(similarity_top_k=k, **options)
    return lambda number: retriever.retrieve(QueryBundle(f"q{number}", embedding=vectors[number]))


def nodes_of(answer: list[Any]) -> list[BaseNode]:
    return [one.node if isinstance(one, NodeWithScore) else one for one in answer]


LLAMA_INDEX = Framework(
    script=__file__,
    noun="nodes",
    peers=PEERS,
    slow=SLOW,
    document=node,
    embedding=Given,
    batch=with_embeddings,
    add=add,
    ways={"query": by_store, "retriever": by_retriever},
    found=nodes_of,
    kb=lambda index: index.vector_store.kb,
    share=(0.3, 0.03),
)

if __name__ == "__main__":
    sys.exit(main(LLAMA_INDEX, __doc__))
