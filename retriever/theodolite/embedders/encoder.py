"""Embed texts for a collection: check them, count truncated tokens, cache recent queries."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from theodolite.embedders.cache import QueryCache
from theodolite.embedders.options import OnTruncate
from theodolite.errors import (
    ConfigError,
    DocumentError,
    InputError,
    Override,
    TruncationWarning,
    UnsupportedError,
    VectorError,
    type_of,
    warn_caller,
)
from theodolite.protocols import Embedder
from theodolite.types import Document, Space, Vectors
from theodolite.vectors.prepare import as_array, prepare
from theodolite.vectors.transforms import check_chain

Progress = Callable[[int], None]
"""Called with the number of texts that have been embedded since the last call."""

Side = Literal["query", "document"]

_NO_WARNING = Override("on_truncate", "ignore", "turn this warning off")


class Awaited(NamedTuple):
    """The vectors of some texts, for a later call on another thread.

    Attributes:
        vectors: as the embedder returned them, (d,) by text.
        cached: prepared vectors of the other texts, from the cache.
    """

    vectors: Mapping[str, NDArray[Any]]
    cached: Mapping[str, NDArray[np.float32]]


def check_dimension(embedder: Embedder, space: Space) -> None:
    """Raise ConfigError if the embedder's vectors do not have the dimension that the collection takes."""
    expected = space.raw_dimension
    if expected is None and not space.transforms:
        return  # nothing to compare with, and some embedders embed a text or load a model to find out
    got = embedder.dimension
    if expected is not None and got != expected:
        verb = "takes" if space.transforms else "holds"
        raise ConfigError(
            f"the embedder gives {got} dimensions, the collection {verb} {expected}. "
            "Pass the embedder it was built with",
            expected=expected,
            got=got,
        )
    check_chain(space.transforms, got)


class Encoder:
    """Checks texts before they are embedded, counts the tokens that are cut off, and caches queries' vectors.

    An embedder that can be awaited is called in two steps: `await encoder.aqueries(texts)` on the event loop, then
    `queries(texts, awaited)` on any thread. Queries wait for a service in any number that way, and no thread does.
    """

    def __init__(
        self,
        embedder: Embedder,
        space: Callable[[], Space],
        *,
        on_truncate: OnTruncate = "warn",
        query_cache: int = 1024,
        seen: Callable[[NDArray[np.float64]], object] | None = None,
    ) -> None:
        """
        Args:
            space: returns the space that queries' vectors are prepared for.
            on_truncate: what to do about texts longer than the embedder's limit. They are counted in any case.
            query_cache: how many queries' vectors to cache.
            seen: called with the norms, (n,), of queries' vectors that the embedder has just returned.
        """
        self.embedder = embedder
        self._space = space
        self._seen = seen
        self._on_truncate = on_truncate
        self._cache = QueryCache(self._encode, query_cache)
        self._count: Any = getattr(embedder, "count_tokens", None)
        self._knows_queries = self._count is not None and "query" in inspect.signature(self._count).parameters
        self._overhead: dict[bool, int] = {}  # tokens of an empty text, as a query or not; -1: cannot count
        parameters = inspect.signature(embedder.encode_document).parameters
        self._reports = "progress" in parameters

    def awaits(self, side: Side) -> bool:
        """Return whether the embedder has a coroutine for queries, or for documents."""
        return hasattr(self.embedder, f"aencode_{side}")

    def documents(
        self, batch: Sequence[Document], progress: Progress | None = None, awaited: Awaited | None = None
    ) -> tuple[Any, set[int]]:
        """Return the embedder's vectors of a batch, and the positions of documents that were cut off.

        Args:
            awaited: the result of `adocuments` for the texts.

        Raises:
            DocumentError: documents without text, or, if `on_truncate` is "error", longer than the embedder's limit.
        """
        self.check_documents(batch)
        texts = [document.text for document in batch]
        cut = self._truncated_tokens(texts)
        truncated = [document.id for document, tokens in zip(batch, cut, strict=True) if tokens]
        if truncated and self._on_truncate != "ignore":
            first = next(i for i, tokens in enumerate(cut) if tokens)
            limit = self._limit() or 0
            message = (
                f"{len(truncated)} of {len(batch)} documents are longer than the {limit} tokens the embedder reads, "
                f"first {truncated[0]!r} with {limit + cut[first]}. "
            )
            if self._on_truncate == "error":
                raise DocumentError(
                    message + "Split them into passages. Nothing of this batch is stored", ids=truncated
                )
            warn_caller(
                message + "Searches cannot find the rest: split them into passages.", TruncationWarning, _NO_WARNING
            )
        marked = {place for place, tokens in enumerate(cut) if tokens}
        if progress is not None and self._reports and awaited is None:
            encode: Any = self.embedder.encode_document
            return encode(texts, progress=progress), marked
        vectors = self.embedder.encode_document(texts) if awaited is None else self._joined("document", texts, awaited)
        if progress is not None:
            progress(len(texts))
        return vectors, marked

    @staticmethod
    def check_documents(batch: Sequence[Document]) -> None:
        """Raise DocumentError if a document has no text to embed."""
        for document in batch:
            if not isinstance(document.text, str):
                raise DocumentError(
                    f"the text of document {document.id!r} is {type_of(document.text)}, not a string. "
                    "Nothing of this batch is stored",
                    ids=[document.id],
                )
        empty = [document.id for document in batch if not document.text.strip()]
        if empty:
            raise DocumentError(
                f"{len(empty)} of {len(batch)} documents have no text to embed, first {empty[0]!r}. "
                "Drop them, or pass their vectors. Nothing of this batch is stored",
                ids=empty,
            )

    def queries(self, texts: Sequence[str], awaited: Awaited | None = None) -> tuple[Vectors, list[int]]:
        """Return prepared vectors of queries, (n, d), and how many tokens of each the embedder cuts off.

        Args:
            awaited: the result of `aqueries` for the texts.

        Raises:
            InputError: a query is longer than the embedder's limit, and `on_truncate` is "error".
        """
        cut = self._truncated_tokens(texts, query=True)
        if any(cut) and self._on_truncate != "ignore":
            number = next(i for i, tokens in enumerate(cut) if tokens)
            message = f"the embedder does not read the last {cut[number]} tokens of query {number}. Shorten it."
            if self._on_truncate == "error":
                raise InputError(message, index=number)
            warn_caller(message, TruncationWarning, _NO_WARNING)
        if awaited is None:
            return Vectors(self._cache.encode_query(texts)), cut
        encode = partial(self._encode, awaited=awaited)
        return Vectors(self._cache.encode_query(texts, encode, awaited.cached)), cut

    async def aqueries(self, texts: Sequence[str]) -> Awaited:
        """Await the vectors of queries that are not cached, for `queries`."""
        cached = self._cache.cached(texts)
        return Awaited(await self._await("query", [text for text in texts if text not in cached]), cached)

    async def adocuments(self, texts: Sequence[str]) -> Awaited:
        """Await the vectors of documents' texts, for `documents`."""
        return Awaited(await self._await("document", texts), {})

    async def _await(self, side: Side, texts: Sequence[str]) -> dict[str, NDArray[Any]]:
        """
        Raises:
            VectorError: the embedder did not return one vector for each text.
        """
        distinct = list(dict.fromkeys(texts))
        if not distinct:
            return {}
        name = f"the vectors of aencode_{side}"
        vectors = as_array(await getattr(self.embedder, f"aencode_{side}")(distinct), name)
        if vectors.ndim != 2 or len(vectors) != len(distinct):
            raise VectorError(
                f"{name} have shape {vectors.shape} for {len(distinct)} texts; expected ({len(distinct)}, dimension)",
                expected=len(distinct),
                shape=vectors.shape,
            )
        return dict(zip(distinct, vectors, strict=True))

    def _joined(self, side: Side, texts: Sequence[str], awaited: Awaited) -> Any:
        """Return the awaited vectors of texts, (n, d); call the embedder if one of them was not awaited."""
        if texts and all(text in awaited.vectors for text in texts):
            return np.stack([awaited.vectors[text] for text in texts])
        return self.embedder.encode_query(texts) if side == "query" else self.embedder.encode_document(texts)

    def _encode(self, texts: Sequence[str], awaited: Awaited | None = None) -> Vectors:
        """Return the prepared vectors that the cache remembers."""
        vectors = self.embedder.encode_query(texts) if awaited is None else self._joined("query", texts, awaited)
        return prepare(vectors, self._space(), name="query vectors", seen=self._seen)[0]

    def _limit(self) -> int | None:
        limit: int | None = getattr(self.embedder, "max_tokens", None)
        return limit

    def _truncated_tokens(self, texts: Sequence[str], *, query: bool = False) -> list[int]:
        """Count how many tokens of each text lie beyond the embedder's limit; 0 where it cannot count.

        An embedder with another prompt for queries is asked with `query=True`; others count as for documents.
        """
        cut = [0] * len(texts)
        limit = self._limit()
        if limit is None or self._count is None:
            return cut
        count = partial(self._count, query=True) if query and self._knows_queries else self._count
        if query not in self._overhead:
            try:
                self._overhead[query] = count([""])[0]
            except UnsupportedError:  # a model without a tokenizer
                self._overhead[query] = -1
        if self._overhead[query] < 0:
            return cut
        # A token stands for at least one ASCII character: short texts need not be counted.
        room = limit - self._overhead[query] - 1
        long = [i for i, text in enumerate(texts) if len(text) > room or not text.isascii()]
        if long:
            for i, tokens in zip(long, count([texts[i] for i in long]), strict=True):
                cut[i] = max(0, tokens - limit)
        return cut
