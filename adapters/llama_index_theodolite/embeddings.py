"""Adapters in both directions: LlamaIndex `BaseEmbedding` as an embedder, theodolite embedders as `BaseEmbedding`."""

import asyncio
from collections.abc import Callable, Sequence
from copy import copy
from typing import Any, Literal, Self

import numpy as np
from llama_index.core import Settings
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.bridge.pydantic import PrivateAttr

from theodolite import Embedder
from theodolite.integration import as_lists, await_each, check_count, resolve_embedder

Side = Literal["query", "document"]


class EmbeddingEmbedder:
    """A LlamaIndex `BaseEmbedding` as a `theodolite.Embedder`, with the same checks as any other embedder."""

    def __init__(self, embed_model: BaseEmbedding | None = None) -> None:
        """
        Args:
            embed_model: the model. None takes `Settings.embed_model` at first use and keeps it.
        """
        self._embed_model = embed_model
        self._dimension: int | None = None

    @property
    def embed_model(self) -> BaseEmbedding:
        """The LlamaIndex model."""
        if self._embed_model is None:
            self._embed_model = Settings.embed_model
        return self._embed_model

    @property
    def name(self) -> str:
        """The class name, followed by the model name if there is one. `info()` and messages show it."""
        found = self._embed_model or Settings._embed_model  # the public property would create an OpenAI model
        if found is None:
            return "Settings.embed_model"
        kind, model = type(found).__name__, found.model_name
        return kind if model in ("", "unknown") else f"{kind}:{model}"

    @property
    def dimension(self) -> int:
        """The length of the vectors. The first access embeds one short text to find it."""
        if self._dimension is None:
            self._dimension = len(self.embed_model.get_text_embedding("dimension"))
        return self._dimension

    def encode_query(self, texts: Sequence[str], /) -> Any:
        """Return the vectors of queries, (n, d)."""
        return self._encode("query", texts, lambda some: [self.embed_model.get_query_embedding(text) for text in some])

    def encode_document(self, texts: Sequence[str], /) -> Any:
        """Return the vectors of passages, (n, d)."""
        return self._encode("document", texts, lambda some: self.embed_model.get_text_embedding_batch(some))

    async def aencode_query(self, texts: Sequence[str], /) -> Any:
        """Await the vectors of queries, several at a time."""
        return await await_each(self.embed_model.aget_query_embedding, texts)

    async def aencode_document(self, texts: Sequence[str], /) -> Any:
        """Await the vectors of passages."""
        vectors = await self.embed_model.aget_text_embedding_batch(list(texts))
        check_count("document", texts, vectors, "the embed_model")
        return vectors

    def _encode(self, side: Side, texts: Sequence[str], embed: Callable[[list[str]], list[list[float]]]) -> Any:
        if not texts:
            return np.zeros((0, self.dimension), np.float32)
        vectors = embed(list(texts))
        check_count(side, texts, vectors, "the embed_model")
        return vectors


class TheodoliteEmbedding(BaseEmbedding):
    """Any theodolite embedder as a LlamaIndex `BaseEmbedding`.

    >>> from theodolite.testing import HashingEmbedder
    >>> len(TheodoliteEmbedding(HashingEmbedder(64)).get_query_embedding("How long do refunds take?"))
    64
    """

    _embedder: Any = PrivateAttr()

    def __init__(self, embedder: Any, **kwargs: Any) -> None:
        """
        Args:
            embedder: a `BaseEmbedding`, or anything that `Retriever.open(embedder=...)` accepts: a model name or
                folder, an object, functions. Copies share it.
            kwargs: fields of `BaseEmbedding`: embed_batch_size, callback_manager, ...

        Raises:
            ConfigError, MissingExtraError: the same errors as `Retriever.open`.
        """
        found = resolve_embedder(as_embedder(embedder))
        name = getattr(found, "name", None)
        super().__init__(**{"model_name": name if isinstance(name, str) else type(found).__name__, **kwargs})
        self._embedder = found

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        return copy(self)

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = super().__getstate__()
        if "_embedder" not in state["__pydantic_private__"]:  # LlamaIndex drops attributes that it cannot pickle
            raise TypeError(
                f"{type(self.embedder).__name__} cannot be pickled, which num_workers needs: leave that out, or make "
                "the embedder again in the other process"
            )
        return state

    @property
    def embedder(self) -> Embedder:
        """The embedder of this model."""
        found: Embedder = self._embedder
        return found

    @classmethod
    def class_name(cls) -> str:
        return "TheodoliteEmbedding"

    def _get_query_embedding(self, query: str) -> list[float]:
        return as_lists(self.embedder.encode_query([query]))[0]

    def _get_text_embedding(self, text: str) -> list[float]:
        return as_lists(self.embedder.encode_document([text]))[0]

    def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return as_lists(self.embedder.encode_document(texts)) if texts else []

    # Each call runs in a thread, so the event loop never waits for a model.
    async def _aget_query_embedding(self, query: str) -> list[float]:
        return await asyncio.to_thread(self._get_query_embedding, query)

    async def _aget_text_embedding(self, text: str) -> list[float]:
        return await asyncio.to_thread(self._get_text_embedding, text)

    async def _aget_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return await asyncio.to_thread(self._get_text_embeddings, texts)


def as_embedder(embed_model: Any) -> Any:
    """Return an embedder for `Retriever.open(embedder=...)`. Wraps a `BaseEmbedding`; returns anything else unchanged.

    `Settings` itself stands for `Settings.embed_model`, which is read at first use.
    """
    if embed_model is Settings:
        return EmbeddingEmbedder()
    if isinstance(embed_model, TheodoliteEmbedding):
        return embed_model.embedder
    return EmbeddingEmbedder(embed_model) if isinstance(embed_model, BaseEmbedding) else embed_model
