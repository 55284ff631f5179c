"""Embedders that can be awaited: on the event loop, before the work that needs their vectors goes to a thread.

So any number of questions wait for a service at a time, and no thread does.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from theodolite.errors import VectorError
from theodolite.protocols import Embedder
from theodolite.vectors.prepare import as_array

Side = Literal["query", "document"]
_Known = tuple[Embedder, Side, Mapping[str, NDArray[Any]]]

_KNOWN: ContextVar[_Known | None] = ContextVar("theodolite_awaited", default=None)


def awaits(embedder: Embedder, side: Side) -> bool:
    """Whether the embedder has a coroutine for this."""
    return hasattr(embedder, f"aencode_{side}")


@asynccontextmanager
async def embedded(embedder: Embedder, side: Side, texts: Sequence[str]) -> AsyncIterator[Mapping[str, NDArray[Any]]]:
    """Within it `encode` gives the vectors of these texts, which are awaited now. It gives them by their texts.

    Raises:
        VectorError: there is not one vector for each text.
    """
    distinct = list(dict.fromkeys(texts))
    name = f"the vectors of aencode_{side}"
    vectors = as_array(await getattr(embedder, f"aencode_{side}")(distinct), name)
    if vectors.ndim != 2 or len(vectors) != len(distinct):
        raise VectorError(
            f"{name} have shape {vectors.shape} for {len(distinct)} texts; expected ({len(distinct)}, dimension)",
            expected=len(distinct),
            shape=vectors.shape,
        )
    known = dict(zip(distinct, vectors, strict=True))
    token = _KNOWN.set((embedder, side, known))
    try:
        yield known
    finally:
        _KNOWN.reset(token)


def encode(embedder: Embedder, side: Side, texts: Sequence[str]) -> Any:
    """The embedder's vectors: those that were awaited, if they are of these texts; else it is asked."""
    known = _KNOWN.get()
    if (
        known is not None
        and known[0] is embedder
        and known[1] == side
        and texts
        and all(map(known[2].__contains__, texts))
    ):
        return np.stack([known[2][text] for text in texts])
    return embedder.encode_query(texts) if side == "query" else embedder.encode_document(texts)
