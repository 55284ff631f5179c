"""Embedders that can be awaited: on the event loop of whoever awaits the collection's methods, not on their threads."""

from collections.abc import Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Literal

from theodolite.protocols import Embedder

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from concurrent.futures import Future

Side = Literal["query", "document"]

LOOP: ContextVar["AbstractEventLoop | None"] = ContextVar("theodolite_loop", default=None)
"""The event loop that waits for what runs on this thread; None where none does."""

_LOOK = 1.0  # seconds, after which a thread that waits for a loop looks whether that still runs


def encode(embedder: Embedder, side: Side, texts: Sequence[str]) -> Any:
    """The embedder's vectors. Where an event loop waits for this thread, that loop awaits `aencode_*`.

    One that has stopped, as it does when whoever awaited has given up, is not waited for: it may never run again.
    """
    loop = LOOP.get()
    method = None if loop is None else getattr(embedder, f"aencode_{side}", None)
    if loop is not None and method is not None and not _runs_here():
        future = _begun(method, texts, loop)
        while future is not None:
            try:
                return future.result(_LOOK)
            except TimeoutError:
                if future.done():  # just now, or the embedder has raised it
                    return future.result()
                if not loop.is_running():
                    if not loop.is_closed():
                        future.cancel()
                    break
    return embedder.encode_query(texts) if side == "query" else embedder.encode_document(texts)


def _begun(method: Any, texts: Sequence[str], loop: "AbstractEventLoop") -> "Future[Any] | None":
    """The loop is to await the method; None: it does not run."""
    from asyncio import run_coroutine_threadsafe

    async def call() -> Any:
        return await method(texts)

    if not loop.is_running():
        return None
    coroutine = call()
    try:
        return run_coroutine_threadsafe(coroutine, loop)
    except RuntimeError:  # closed just now
        coroutine.close()
        return None


def _runs_here() -> bool:
    """Whether an event loop runs on this thread (what it awaits has called a collection): it cannot wait for itself."""
    from asyncio import get_running_loop

    try:
        get_running_loop()
    except RuntimeError:
        return False
    return True
