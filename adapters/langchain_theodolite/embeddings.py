"""Adapters in both directions: LangChain `Embeddings` as an embedder, and any theodolite embedder as `Embeddings`."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal, TypeVar

import numpy as np
from langchain_core.embeddings import Embeddings

from theodolite.integration import as_lists, await_each, check_count, resolve_embedder

A = TypeVar("A")
T = TypeVar("T")
Side = Literal["query", "document"]


class EmbeddingsEmbedder:
    """LangChain `Embeddings` as a `theodolite.Embedder`, with the same checks as any other embedder."""

    def __init__(self, embeddings: Embeddings) -> None:
        self.embeddings = embeddings
        self._dimension: int | None = None

    @property
    def name(self) -> str:
        """The class name, followed by the model name if there is one. `info()` and messages show it."""
        kind = type(self.embeddings).__name__
        model = getattr(self.embeddings, "model", None) or getattr(self.embeddings, "model_name", None)
        return f"{kind}:{model}" if isinstance(model, str) else kind

    @property
    def dimension(self) -> int:
        """The length of the vectors. The first access embeds one short text to find it."""
        if self._dimension is None:
            self._dimension = len(self._documents(["dimension"])[0])
        return self._dimension

    def encode_query(self, texts: Sequence[str], /) -> Any:
        """Return the vectors of queries, (n, d)."""
        return self._encode("query", texts, lambda some: [self._query(text) for text in some])

    def encode_document(self, texts: Sequence[str], /) -> Any:
        """Return the vectors of passages, (n, d)."""
        return self._encode("document", texts, self._documents)

    def awaits(self, side: Side) -> bool:
        """Return whether these embeddings implement their own async method for this side."""
        name = "aembed_query" if side == "query" else "aembed_documents"
        return getattr(type(self.embeddings), name) is not getattr(Embeddings, name)

    def _query(self, text: str) -> list[float]:
        try:
            return self.embeddings.embed_query(text)
        except NotImplementedError:
            if not self.awaits("query"):
                raise
            return _run(self.embeddings.aembed_query, text)

    def _documents(self, texts: list[str]) -> list[list[float]]:
        try:
            return self.embeddings.embed_documents(texts)
        except NotImplementedError:
            if not self.awaits("document"):
                raise
            return _run(self.embeddings.aembed_documents, texts)

    def _encode(self, side: Side, texts: Sequence[str], embed: Callable[[list[str]], list[list[float]]]) -> Any:
        if not texts:
            return np.zeros((0, self.dimension), np.float32)
        vectors = embed(list(texts))
        check_count(side, texts, vectors, "the embeddings")
        return vectors


class AwaitedEmbedder(EmbeddingsEmbedder):
    """An embedder for embeddings with their own async methods. `asearch` and `aadd` await them."""

    async def aencode_query(self, texts: Sequence[str], /) -> Any:
        """Await the vectors of queries, several at a time."""
        return await await_each(self.embeddings.aembed_query, texts)

    async def aencode_document(self, texts: Sequence[str], /) -> Any:
        """Await the vectors of passages."""
        vectors = await self.embeddings.aembed_documents(list(texts))
        check_count("document", texts, vectors, "the embeddings")
        return vectors


class TheodoliteEmbeddings(Embeddings):
    """Any theodolite embedder as LangChain `Embeddings`.

    >>> from theodolite.testing import HashingEmbedder
    >>> len(TheodoliteEmbeddings(HashingEmbedder(64)).embed_query("How long do refunds take?"))
    64
    """

    def __init__(self, embedder: Any) -> None:
        """
        Args:
            embedder: anything that `Retriever.open(embedder=...)` accepts: a model name or folder, an object,
                functions.

        Raises:
            ConfigError, MissingExtraError: the same errors as `Retriever.open`.
        """
        self.embedder = resolve_embedder(embedder)

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Return the vectors of passages."""
        return as_lists(self.embedder.encode_document(texts))

    def embed_query(self, text: str) -> list[float]:
        """Return the vector of a query."""
        return as_lists(self.embedder.encode_query([text]))[0]


def as_embedder(embedding: Any) -> Any:
    """Return an embedder for `Retriever.open(embedder=...)`. Wraps `Embeddings` and returns anything else unchanged."""
    if isinstance(embedding, TheodoliteEmbeddings):
        return embedding.embedder
    if not isinstance(embedding, Embeddings):
        return embedding
    embedder = AwaitedEmbedder(embedding)
    return embedder if embedder.awaits("query") or embedder.awaits("document") else EmbeddingsEmbedder(embedding)


def _run(function: Callable[[A], Coroutine[Any, Any, T]], given: A) -> T:
    """Run an async function for async-only embeddings. Uses a thread, because this thread may run an event loop."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(lambda: asyncio.run(function(given))).result()
