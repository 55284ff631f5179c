"""Embedders that can be awaited: on the event loop of whoever awaits the collection's methods, not on their threads."""

from collections.abc import Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Literal

from theodolite.protocols import Embedder

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

Side = Literal["query", "document"]

LOOP: ContextVar["AbstractEventLoop | None"] = ContextVar("theodolite_loop", default=None)
"""The event loop that waits for what runs on this thread; None where none does."""


def encode(embedder: Embedder, side: Side, texts: Sequence[str]) -> Any:
    """The embedder's vectors. Where an event loop waits for this thread, that loop awaits `aencode_*`."""
    loop = LOOP.get()
    method = None if loop is None else getattr(embedder, f"aencode_{side}", None)
    if loop is None or method is None or _runs_here():
        return embedder.encode_query(texts) if side == "query" else embedder.encode_document(texts)
    from asyncio import run_coroutine_threadsafe

    return run_coroutine_threadsafe(method(texts), loop).result()


def _runs_here() -> bool:
    """Whether an event loop runs on this thread (what it awaits has called a collection): it cannot wait for itself."""
    from asyncio import get_running_loop

    try:
        get_running_loop()
    except RuntimeError:
        return False
    return True
