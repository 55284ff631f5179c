"""Four nodes with known cosines, and questions about them."""

import warnings
from pathlib import Path
from typing import Any

from llama_index.core import MockEmbedding
from llama_index.core.schema import BaseNode, NodeRelationship, RelatedNodeInfo, TextNode
from llama_index.core.vector_stores.types import (
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
    VectorStoreQuery,
    VectorStoreQueryMode,
)

from llama_index_theodolite import TheodoliteVectorStore

Store = TheodoliteVectorStore
Mode = VectorStoreQueryMode

VECTORS = {"same": [1.0, 0.0], "near": [3.0, 4.0], "orthogonal": [0.0, 2.0], "opposite": [-1.0, 0.0]}
COSINES = {"same": 1.0, "near": 0.6, "orthogonal": 0.0, "opposite": -1.0}


def node(name: str, vector: list[float] | None = None, source: str | None = None, **metadata: Any) -> TextNode:
    related = {} if source is None else {NodeRelationship.SOURCE: RelatedNodeInfo(node_id=source)}
    return TextNode(id_=name, text=f"about {name}", metadata=metadata, relationships=related, embedding=vector)


def reference() -> list[BaseNode]:
    return [
        node(name, vector, source=f"doc{number % 2}", number=number)
        for number, (name, vector) in enumerate(VECTORS.items())
    ]


def question(**fields: Any) -> VectorStoreQuery:
    return VectorStoreQuery(**{"query_embedding": [1.0, 0.0], "similarity_top_k": 10, **fields})


def filters(key: str, value: Any, operator: str = "==") -> MetadataFilters:
    return MetadataFilters(filters=[MetadataFilter(key=key, value=value, operator=FilterOperator(operator))])


def ids(store: Store, **fields: Any) -> list[str]:
    return store.query(question(**fields)).ids or []


def stored(store: Store) -> set[str]:
    return {passage.id for passage in store.kb.documents()}


def commits(store: Store) -> int:
    found: int = store.kb.info()["commits"]
    return found


def plain(location: Path | None = None, **options: Any) -> Store:
    """Return a store without a model. A test below checks the warning for it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "without embed_model", UserWarning)
        return Store(location, **options)


class Letters(MockEmbedding):
    """Counts of some letters: enough to tell texts apart."""

    def _get_query_embedding(self, query: str) -> list[float]:
        return [query.count(letter) + 0.01 for letter in "abcd"]

    def _get_text_embedding(self, text: str) -> list[float]:
        return self._get_query_embedding(text)

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return self._get_query_embedding(query)

    async def _aget_text_embedding(self, text: str) -> list[float]:
        return self._get_text_embedding(text)
