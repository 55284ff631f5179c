"""Texts through an embedder: what a retriever does before and after it."""

import inspect
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from theodolite.embedders.async_encode import awaits, encode
from theodolite.embedders.cache import QueryCache
from theodolite.errors import ConfigError, DocumentError, InputError, TruncationWarning, UnsupportedError, warn_caller
from theodolite.protocols import Embedder
from theodolite.types import Document, Space, Vectors
from theodolite.vectors.prepare import prepare
from theodolite.vectors.transforms import check_chain

OnTruncate = Literal["warn", "error", "ignore"]
Progress = Callable[[int], None]
"""Called with the number of texts that have been embedded since the last call."""


def check_policy(on_truncate: str) -> None:
    """Raises ConfigError for a policy that does not exist."""
    if on_truncate not in ("warn", "error", "ignore"):
        raise ConfigError(f"on_truncate is {on_truncate!r}; expected 'warn', 'error' or 'ignore'")


def check_dimension(embedder: Embedder, space: Space) -> None:
    """Raises ConfigError where the embedder's vectors are not of the dimension that the collection takes."""
    expected = space.raw_dimension
    if expected is None and not space.transforms:
        return  # nothing to compare with: some embedders embed, or load a model, to tell
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
    """Refuses texts without content, counts what the embedder does not read, and remembers recent questions."""

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
            space: gives the space that questions' vectors are prepared for.
            on_truncate: what to do about texts longer than the embedder reads. They are counted in any case.
            query_cache: how many questions' vectors to keep.
            seen: called with the norms of questions' vectors as the embedder gives them, (n,); not for questions
                whose vectors were kept.

        Raises:
            ConfigError: a setting that does not exist.
        """
        check_policy(on_truncate)
        self.embedder = embedder
        self._space = space
        self._seen = seen
        self._on_truncate = on_truncate
        self._cache = QueryCache(self._encode, query_cache)
        self._count: Any = getattr(embedder, "count_tokens", None)
        self._knows_queries = self._count is not None and "query" in inspect.signature(self._count).parameters
        self._overhead: dict[bool, int] = {}  # tokens of a text without any, for questions or not; -1: cannot tell
        parameters = inspect.signature(embedder.encode_document).parameters
        self._tells = "progress" in parameters

    def documents(self, batch: Sequence[Document], progress: Progress | None = None) -> tuple[Any, set[int]]:
        """The embedder's vectors of a batch, and the places of documents that it has not read to their end.

        Raises:
            DocumentError: documents without text, or, if so wanted, longer than the embedder reads.
        """
        for document in batch:
            if not isinstance(document.text, str):
                raise DocumentError(
                    f"the text of document {document.id!r} is a {type(document.text).__name__}, not a string. "
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
        texts = [document.text for document in batch]
        unread = self._unread(texts)
        truncated = [document.id for document, tokens in zip(batch, unread, strict=True) if tokens]
        if truncated and self._on_truncate != "ignore":
            first = next(i for i, tokens in enumerate(unread) if tokens)
            limit = self._limit() or 0
            message = (
                f"{len(truncated)} of {len(batch)} documents are longer than the {limit} tokens the embedder reads, "
                f"first {truncated[0]!r} with {limit + unread[first]}. "
            )
            if self._on_truncate == "error":
                raise DocumentError(
                    message + "Split them into passages. Nothing of this batch is stored", ids=truncated
                )
            _warn(message + "What lies beyond cannot be found: split them into passages, or open with")
        marked = {place for place, tokens in enumerate(unread) if tokens}
        if progress is not None and self._tells and not awaits(self.embedder, "document"):
            told: Any = self.embedder.encode_document
            return told(texts, progress=progress), marked
        vectors = encode(self.embedder, "document", texts)
        if progress is not None:
            progress(len(texts))
        return vectors, marked

    def queries(self, texts: Sequence[str]) -> tuple[Vectors, list[int]]:
        """Prepared vectors of questions, (n, d), and how many tokens of each the embedder has not read.

        Raises:
            InputError: a question is longer than the embedder reads, where that is to be an error.
        """
        unread = self._unread(texts, query=True)
        if any(unread) and self._on_truncate != "ignore":
            number = next(i for i, tokens in enumerate(unread) if tokens)
            message = f"the embedder does not read the last {unread[number]} tokens of query {number}. Shorten it"
            if self._on_truncate == "error":
                raise InputError(message, index=number)
            _warn(message + ", or open with")
        return Vectors(self._cache.encode_query(texts)), unread

    def missing(self, texts: Sequence[str]) -> list[str]:
        """Those of the questions whose vectors are not kept."""
        return self._cache.missing(texts)

    def _encode(self, texts: Sequence[str]) -> Vectors:
        """What the cache keeps: prepared vectors."""
        return prepare(encode(self.embedder, "query", texts), self._space(), name="query vectors", seen=self._seen)[0]

    def _limit(self) -> int | None:
        limit: int | None = getattr(self.embedder, "max_tokens", None)
        return limit

    def _unread(self, texts: Sequence[str], *, query: bool = False) -> list[int]:
        """How many tokens of each text lie beyond what the embedder reads; 0 where it cannot tell.

        An embedder that has another prompt for questions can be asked with `query=True`; others count passages.
        """
        unread = [0] * len(texts)
        limit = self._limit()
        if limit is None or self._count is None:
            return unread
        count = partial(self._count, query=True) if query and self._knows_queries else self._count
        if query not in self._overhead:
            try:
                self._overhead[query] = count([""])[0]
            except UnsupportedError:  # a model without a tokenizer
                self._overhead[query] = -1
        if self._overhead[query] < 0:
            return unread
        # A token stands for one ASCII character at least: short texts need not be counted.
        room = limit - self._overhead[query] - 1
        long = [i for i, text in enumerate(texts) if len(text) > room or not text.isascii()]
        if long:
            for i, tokens in zip(long, count([texts[i] for i in long]), strict=True):
                unread[i] = max(0, tokens - limit)
        return unread


def name_of(given: Any, embedder: Embedder) -> str:
    """What leads to the embedder again, where it was given by name or path; else what people call it."""
    if isinstance(given, (str, os.PathLike)):
        text = os.fspath(given)
        return str(Path(text).resolve()) if os.path.isdir(text) else text
    return str(getattr(embedder, "name", type(embedder).__name__))


def _warn(message: str) -> None:
    warn_caller(f"{message} on_truncate='ignore'", TruncationWarning)
