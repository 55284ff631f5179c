"""The verbs that the shared tests use, and the form in which each adapter's answers come back."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from theodolite import Document, Retriever, TheodoliteError

REFUSED = (TypeError, ValueError, TheodoliteError)
"""How adapters refuse: pydantic raises ValueError for the fields that it checks itself."""


Condition = tuple[str, str, Any]
"""A field, an operator of the core, and a value: each adapter writes them as its framework's filter. All must hold."""


class Found(NamedTuple):
    """A document as a framework returns it."""

    id: str | None
    text: str
    metadata: dict[str, Any]
    score: float | None


@dataclass(frozen=True)
class Called:
    """A tool's result, as an agent gets it."""

    error: bool
    content: str
    found: list[Found]


class Adapter(Protocol):
    """One adapter. Tests use the core's option names; `names` maps them to the adapter's."""

    names: dict[str, str]

    def tool(self, kb: Retriever, **options: Any) -> Any: ...
    def call(self, tool: Any, /, **arguments: Any) -> Called: ...
    async def acall(self, tool: Any, /, **arguments: Any) -> Called: ...
    def parameters(self, tool: Any) -> dict[str, Any]:
        """Return the schema that is sent to a chat model."""
        ...

    def retriever(self, kb: Any = None, **options: Any) -> Any: ...
    def retrieve(self, retriever: Any, query: str) -> list[Found]: ...
    async def aretrieve(self, retriever: Any, query: str) -> list[Found]: ...

    def store(self, location: Any = None, embedder: Any = None, /, **options: Any) -> Any:
        """Open a vector store by the adapter's own order of arguments."""
        ...

    def store_of(self, kb: Any) -> Any: ...
    def order(self) -> str:
        """Return the order of the store's arguments as messages name it."""
        ...

    def add(self, store: Any, documents: Sequence[Document], **options: Any) -> list[str]: ...
    async def aadd(self, store: Any, documents: Sequence[Document], **options: Any) -> list[str]: ...
    def find(
        self, store: Any, query: str, k: int, conditions: Sequence[Condition] = (), **options: Any
    ) -> list[Found]: ...
    async def afind(
        self, store: Any, query: str, k: int, conditions: Sequence[Condition] = (), **options: Any
    ) -> list[Found]: ...
    def delete(self, store: Any, conditions: Sequence[Condition], **options: Any) -> None: ...
    async def adelete(self, store: Any, conditions: Sequence[Condition], **options: Any) -> None: ...
    def by_ids(self, store: Any, ids: list[str]) -> list[Found]: ...
    async def aby_ids(self, store: Any, ids: list[str]) -> list[Found]: ...

    def reranker(self, reranker: Any, **fields: Any) -> Any: ...
    def given(self, documents: Sequence[Document]) -> list[Any]:
        """Return documents in the framework's form."""
        ...

    def rerank(self, reranker: Any, given: list[Any], query: str) -> list[Found]: ...
    async def arerank(self, reranker: Any, given: list[Any], query: str) -> list[Found]: ...

    def model(self, dimension: int) -> Any:
        """Return an embedding model of the framework. It lists the texts that it embeds in `asked`."""
        ...

    def as_embedder(self, model: Any) -> Any: ...
    def embeddings(self, embedder: Any) -> Any:
        """Return an embedder of ours as a model of the framework."""
        ...

    def embed_query(self, model: Any, text: str) -> list[float]: ...
    def embed_documents(self, model: Any, texts: list[str]) -> list[list[float]]: ...


def ids(found: Sequence[Found]) -> list[str | None]:
    return [one.id for one in found]


def ids_and_scores(found: Sequence[Found]) -> list[tuple[str | None, float | None]]:
    return [(one.id, one.score) for one in found]
