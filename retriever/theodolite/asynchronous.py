"""Async twins: the same calls on threads of one bounded pool, so that an event loop never waits for them."""

import os
import threading
from collections.abc import Callable, Coroutine, Iterable
from contextvars import copy_context
from functools import partial, wraps
from typing import TYPE_CHECKING, Any, Concatenate, Literal, ParamSpec, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from theodolite.collection import Collection
from theodolite.embedders.awaiting import LOOP
from theodolite.searching import Searching
from theodolite.types import Document

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

S = TypeVar("S")
P = ParamSpec("P")
T = TypeVar("T")

THREADS = min(32, (os.cpu_count() or 1) + 4)

_lock = threading.Lock()
_pool: "ThreadPoolExecutor | None" = None


def twin(
    method: Callable[Concatenate[S, P], T], before: Callable[..., Coroutine[Any, Any, None]] | None = None
) -> Callable[Concatenate[S, P], Coroutine[Any, Any, T]]:
    """An async method that calls the method of that name, as subclasses have it, on a thread of the pool.

    Args:
        before: is awaited before, with the same arguments.
    """
    name = method.__name__

    @wraps(method)
    async def call(self: S, /, *args: P.args, **kwargs: P.kwargs) -> T:
        if before is not None:
            await before(self, *args, **kwargs)
        found: T = await in_thread(getattr(self, name), *args, **kwargs)
        return found

    call.__name__ = f"a{name}"
    call.__qualname__ = f"{method.__qualname__.rpartition('.')[0]}.a{name}".lstrip(".")
    call.__doc__ = f"`{name}`, awaited: on a thread of a pool that the process shares.\n\n{method.__doc__ or ''}"
    return call


class Asynchronous(Searching):
    """What can be awaited: each of these is the method without the `a`, with its arguments, result and errors.

    At most `THREADS` calls of a process run at a time; others wait, without holding up the event loop. Cancelling an
    await leaves out what has not begun; what has begun goes on to its end in its thread, so that a write is there
    whole or not at all, and nobody is told which.
    """

    async def _embed(self, queries: Any, vectors: Any, mode: str) -> None:
        """Embed questions where the embedder can be awaited. What is wrong with them, the search itself will say."""
        if self._encoding is None or vectors is not None or mode == "lexical" or self._engine.space.dimension is None:
            return
        if isinstance(queries, (list, tuple)) and all(isinstance(text, str) and text.strip() for text in queries):
            await self._encoding.awaited(queries)

    async def _before_search(self, query: Any = None, *, vector: Any = None, mode: str = "dense", **_: Any) -> None:
        await self._embed([query], vector, mode)

    async def _before_many(self, queries: Any = None, *, vectors: Any = None, mode: str = "dense", **_: Any) -> None:
        await self._embed(queries, vectors, mode)

    asearch = twin(Searching.search, _before_search)
    asearch_many = twin(Searching.search_many, _before_many)
    aupdate = twin(Collection.update)
    adelete = twin(Collection.delete)
    aclear = twin(Collection.clear)
    acount = twin(Collection.count)

    @overload
    async def aget(self, ids: str | Iterable[str], *, vectors: Literal[False] = False) -> list[Document]: ...
    @overload
    async def aget(
        self, ids: str | Iterable[str], *, vectors: Literal[True]
    ) -> list[tuple[Document, NDArray[np.float32]]]: ...
    async def aget(
        self, ids: str | Iterable[str], *, vectors: bool = False
    ) -> list[Document] | list[tuple[Document, NDArray[np.float32]]]:
        """`get`, awaited: on a thread of a pool that the process shares."""
        return await in_thread(self.get, ids, vectors=vectors)


async def in_thread(function: Callable[..., T], /, *args: Any, **kwargs: Any) -> T:
    """What the function returns, called on a thread of the pool with a copy of the caller's context variables.

    An embedder that can be awaited is, by the caller's event loop (see `embedders.awaiting`).
    """
    from asyncio import get_running_loop  # who awaits has it, and others need not wait for it to be imported

    def call() -> T:
        try:
            return function(*args, **kwargs)
        except StopIteration as error:  # no future takes it: whoever awaits would wait for ever
            raise RuntimeError(f"{function.__name__} raised StopIteration") from error

    loop, context = get_running_loop(), copy_context()
    # Whom a thread of the pool waits for, an embedder that searches, does not wait for one: it may be the last.
    pool = _threads() if LOOP.get() is None else None
    context.run(LOOP.set, loop)
    return await loop.run_in_executor(pool, partial(context.run, call))


def _threads() -> "ThreadPoolExecutor":
    """The pool, made when it is first needed. The interpreter, when it ends, waits for what is running in it."""
    global _pool
    from concurrent.futures import ThreadPoolExecutor

    with _lock:
        if _pool is None:
            _pool = ThreadPoolExecutor(THREADS, thread_name_prefix="theodolite")
        return _pool


def _forked() -> None:
    """In a forked process: its parent's threads are not there."""
    global _lock, _pool
    _lock, _pool = threading.Lock(), None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
