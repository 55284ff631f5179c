"""Async twins: the same calls on threads of one bounded pool, so that an event loop never waits for them."""

import os
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence
from contextlib import asynccontextmanager
from contextvars import copy_context
from functools import partial, wraps
from typing import TYPE_CHECKING, Any, Concatenate, Literal, ParamSpec, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from theodolite.collection import Collection
from theodolite.embedders.async_encode import Side, awaits, embedded
from theodolite.forking import register_at_fork
from theodolite.searching import Searching
from theodolite.types import Document

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

S = TypeVar("S")
P = ParamSpec("P")
T = TypeVar("T")

THREADS = min(32, (os.cpu_count() or 1) + 4)


class _Pool:
    """Threads, made when they are first needed. The interpreter waits at its end for what is running in them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._executor: ThreadPoolExecutor | None = None
        register_at_fork(self)

    def executor(self) -> "ThreadPoolExecutor":
        from concurrent.futures import ThreadPoolExecutor

        with self._lock:
            if self._executor is None:
                self._executor = ThreadPoolExecutor(THREADS, thread_name_prefix="theodolite")
            return self._executor

    def forked(self, held: bool) -> None:
        """In a forked child: its parent's threads are not there."""
        self._executor = None


_pool = _Pool()


def twin(method: Callable[Concatenate[S, P], T]) -> Callable[Concatenate[S, P], Coroutine[Any, Any, T]]:
    """An async method that calls the method of that name, as subclasses have it, on a thread of the pool."""
    name = method.__name__

    @wraps(method)
    async def call(self: S, /, *args: P.args, **kwargs: P.kwargs) -> T:
        found: T = await in_thread(getattr(self, name), *args, **kwargs)
        return found

    call.__name__ = f"a{name}"
    call.__qualname__ = f"{method.__qualname__.rpartition('.')[0]}.a{name}".lstrip(".")
    call.__doc__ = f"`{name}`, awaited: on a thread of a pool that the process shares.\n\n{method.__doc__ or ''}"
    return call


def asking(
    method: Callable[Concatenate[S, P], T], questions: Callable[..., list[str]]
) -> Callable[Concatenate[S, P], Coroutine[Any, Any, T]]:
    """A twin of what embeds questions: an embedder that can be awaited is, before.

    Args:
        questions: takes the same arguments, and tells what will be embedded.
    """
    plain = twin(method)

    @wraps(plain)
    async def call(self: S, /, *args: P.args, **kwargs: P.kwargs) -> T:
        async with self._embedded("query", questions(self, *args, **kwargs)):  # type: ignore[attr-defined]  # of those below
            return await plain(self, *args, **kwargs)

    return call


class Asynchronous(Searching):
    """What can be awaited: each of these is the method without the `a`, with its arguments, result and errors.

    At most `THREADS` calls of a process run at a time; others wait, without holding up the event loop. Cancelling an
    await leaves out what has not begun; what has begun goes on to its end in its thread, so that a write is there
    whole or not at all, and nobody is told which.
    """

    def _awaits(self, side: Side) -> bool:
        return self._encoding is not None and awaits(self._encoding.embedder, side)

    @asynccontextmanager
    async def _embedded(self, side: Side, texts: Sequence[str]) -> AsyncIterator[None]:
        """Within it these texts are embedded, if the embedder can be awaited. What is wrong, the method will say."""
        if self._encoding is None or not texts or not self._awaits(side):
            yield
            return
        async with embedded(self._encoding.embedder, side, texts) as known:
            if self._watch.unlike(side):
                await in_thread(self._watch.awaited, side, *next(iter(known.items())))
            yield

    def _questions(self, queries: Any, mode: Any) -> list[str]:
        """Those that will be embedded."""
        if self._encoding is None or mode not in ("dense", "hybrid") or not isinstance(queries, (list, tuple)):
            return []
        if not all(isinstance(text, str) and text.strip() for text in queries) or self._engine.space.dimension is None:
            return []
        return self._encoding.missing(queries)

    def _asked(
        self, query: Any = None, *_: Any, vector: Any = None, like: Any = None, mode: Any = "dense", **__: Any
    ) -> list[str]:
        return self._questions([query], mode) if vector is None and like is None else []

    def _asked_many(
        self, queries: Any = None, *_: Any, vectors: Any = None, mode: Any = "dense", **__: Any
    ) -> list[str]:
        return self._questions(queries, mode) if vectors is None else []

    asearch = asking(Searching.search, _asked)
    asearch_many = asking(Searching.search_many, _asked_many)
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
    """What the function returns, called on a thread of the pool with a copy of the caller's context variables."""
    from asyncio import get_running_loop  # who awaits has it, and others need not wait for it to be imported

    def call() -> T:
        try:
            return function(*args, **kwargs)
        except StopIteration as error:  # no future takes it: whoever awaits would wait for ever
            raise RuntimeError(f"{function.__name__} raised StopIteration") from error

    return await get_running_loop().run_in_executor(_pool.executor(), partial(copy_context().run, call))
