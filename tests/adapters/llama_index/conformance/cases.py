"""One store under test, in terms that hold for any: nodes have names, whatever their ids must be.

Ids are UUIDs, which all stores take. Stores that keep no text get a docstore, as LlamaIndex gives them one.
"""

import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from llama_index.core import StorageContext
from llama_index.core.schema import BaseNode, NodeRelationship, RelatedNodeInfo, TextNode
from llama_index.core.storage.docstore import SimpleDocumentStore
from llama_index.core.vector_stores.types import (
    FilterCondition,
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
    VectorStoreQuery,
    VectorStoreQueryMode,
    VectorStoreQueryResult,
)
from tests.adapters.llama_index.conformance.stores import DIMENSION, StoreSpec

Mode = VectorStoreQueryMode

VECTORS = {"same": (1, 0), "near": (0.6, 0.8), "orthogonal": (0, 1), "opposite": (-1, 0)}
COSINES = {"same": 1.0, "near": 0.6, "orthogonal": 0.0, "opposite": -1.0}
"""The nodes of `filled`, best first, and their cosine with the question (1, 0)."""

_names: dict[str, str] = {}


def uid(name: str) -> str:
    """The id of the node with this name."""
    made = str(uuid.uuid5(uuid.NAMESPACE_URL, name))
    _names[made] = name
    return made


def uids(*names: str) -> list[str]:
    return [uid(name) for name in names]


def names(ids: Iterable[str]) -> list[str]:
    return [_names[one] for one in ids]


def vector(*values: float) -> list[float]:
    """Of full length: zeros follow."""
    return [*(float(value) for value in values), *([0.0] * (DIMENSION - len(values)))]


def related(source: str | None) -> dict[NodeRelationship, Any]:
    return {} if source is None else {NodeRelationship.SOURCE: RelatedNodeInfo(node_id=uid(source))}


def node(name: str, values: Iterable[float] = (1, 0), source: str | None = None, **metadata: Any) -> TextNode:
    return TextNode(
        id_=uid(name),
        text=f"about {name}",
        metadata=metadata,
        relationships=related(source),
        embedding=vector(*values),
    )


def question(**fields: Any) -> VectorStoreQuery:
    return VectorStoreQuery(**{"query_embedding": vector(1, 0), "similarity_top_k": 10, **fields})


def condition(key: str, operator: str, value: Any) -> MetadataFilter:
    return MetadataFilter(key=key, value=value, operator=FilterOperator(operator))


def filters(*parts: Any, how: str | None = "and") -> MetadataFilters:
    return MetadataFilters(filters=list(parts), condition=None if how is None else FilterCondition(how))


def where(key: str, operator: str, value: Any) -> MetadataFilters:
    return filters(condition(key, operator, value))


@contextmanager
def refusal(word: str = "") -> Iterator[None]:
    """Accept an error that says what is wrong."""
    try:
        yield
    except Exception as error:
        if isinstance(error, AssertionError) or not str(error) or word not in str(error):
            raise


class Case:
    """A store in a folder, empty at first."""

    def __init__(self, spec: StoreSpec, folder: Path) -> None:
        self.spec = spec
        self.folder = folder
        self.docstore = SimpleDocumentStore()
        self._open: Any = None

    @property
    def store(self) -> Any:
        """The store; one that `reopens` is another object each time."""
        if self._open is None or self.spec.reopens:
            self.close()
            self._open = self.spec.open(self.folder)
        return self._open

    def saved(self) -> Any:
        """The store, kept in its folder, closed, and opened again."""
        if self._open is not None:
            self.spec.save(self._open, self.folder)
        self.close()
        return self.store

    def close(self) -> None:
        if self._open is not None:
            self.spec.close(self._open)
            self._open = None

    def context(self) -> StorageContext:
        return StorageContext.from_defaults(vector_store=self.store, docstore=self.docstore)

    def add(self, *nodes: BaseNode) -> list[str]:
        store = self.store
        made: list[str] = store.add(list(nodes))
        if not store.stores_text:
            self.docstore.add_documents(nodes)
        return names(made)

    def filled(self) -> "Case":
        """With a node at each of some angles: the even ones of document `doc0`, the odd ones of `doc1`."""
        self.add(
            *(
                node(name, values, source=f"doc{number % 2}", number=number)
                for number, (name, values) in enumerate(VECTORS.items())
            )
        )
        return self

    def query(self, **fields: Any) -> VectorStoreQueryResult:
        found: VectorStoreQueryResult = self.store.query(question(**fields))
        return found

    def found(self, **fields: Any) -> list[str]:
        """Return the names of the nodes found, best first."""
        return names(self.query(**fields).ids or [])

    def nodes(self, **fields: Any) -> list[BaseNode]:
        """Return the nodes found, best first."""
        result = self.query(**fields)
        if self.store.stores_text:
            return list(result.nodes or [])
        return self.docstore.get_nodes(result.ids or [])

    def node(self, name: str) -> BaseNode:
        (one,) = [one for one in self.nodes() if one.node_id == uid(name)]
        return one

    def got(self, *arguments: Any, **options: Any) -> list[str]:
        """Return the names of the nodes that `get_nodes` returns."""
        return names(one.node_id for one in self.store.get_nodes(*arguments, **options))
