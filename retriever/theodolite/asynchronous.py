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
    method: Callable[Concatenate[S, P], T],
    before: Callable[..., Coroutine[Any, Any, Callable[[], None] | None]] | None = None,
) -> Callable[Concatenate[S, P], Coroutine[Any, Any, T]]:
    """An async method that calls the method of that name, as subclasses have it, on a thread of the pool.

    Args:
        before: is awaited before, with the same arguments; what it returns is called on the thread, before the method.
    """
    name = method.__name__

    @wraps(method)
    async def call(self: S, /, *args: P.args, **kwargs: P.kwargs) -> T:
        begin = None if before is None else await before(self, *args, **kwargs)

        @wraps(method)
        def work() -> T:
            if begin is not None:
                begin()
            found: T = getattr(self, name)(*args, **kwargs)
            return found

        return await in_thread(work)

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

    async def _embed(self, queries: Any, mode: Any) -> Callable[[], None] | None:
        """Embed questions where the embedder can be awaited. What is wrong with them, the search itself will say."""
        encoder = self._encoding
        if encoder is None or not encoder.awaits or mode not in ("dense", "hybrid"):
            return None
        if not isinstance(queries, (list, tuple)) or not all(isinstance(one, str) and one.strip() for one in queries):
            return None
        if self._engine.space.dimension is None:
            return None
        if not self._watch.done:  # first: what an embedder gives that has changed is not to be kept
            await in_thread(self._watch.ready)
        return partial(encoder.giving, await encoder.awaited(queries))

    async def _before_search(
        self, query: Any = None, *_: Any, vector: Any = None, like: Any = None, mode: Any = "dense", **__: Any
    ) -> Callable[[], None] | None:
        return await self._embed([query], mode) if vector is None and like is None else None

    async def _before_many(
        self, queries: Any = None, *_: Any, vectors: Any = None, mode: Any = "dense", **__: Any
    ) -> Callable[[], None] | None:
        return await self._embed(queries, mode) if vectors is None else None

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
