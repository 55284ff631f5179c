"""The bounded pool of threads that async methods run in, so that an event loop never waits for a search."""

import os
import threading
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, TypeVar

from theodolite.forking import register_at_fork

if TYPE_CHECKING:
    from asyncio import Future
    from concurrent.futures import ThreadPoolExecutor

T = TypeVar("T")

THREADS = min(32, (os.cpu_count() or 1) + 4)


class _Pool:
    """Threads, started when they are first needed. At exit the interpreter waits for running calls to end."""

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
        """Start over in a forked child, which has none of its parent's threads."""
        self._executor = None


_pool = _Pool()


async def in_thread(function: Callable[..., T], /, *args: Any, **kwargs: Any) -> T:
    """Call a function on a thread of the pool, with a copy of the caller's context variables.

    At most `THREADS` calls of a process run at a time. Cancelling drops a call that has not started; one that has
    started runs to its end, and its result is dropped.
    """
    from asyncio import get_running_loop  # imported by now wherever something is awaited

    # `loop.run_in_executor` chains two futures and takes twice as long, as much as a small search.
    loop, context = get_running_loop(), copy_context()
    future: Future[T] = loop.create_future()

    def call() -> None:
        if future.cancelled():
            return
        try:
            result = context.run(function, *args, **kwargs)
        except StopIteration as error:  # a future cannot hold it, and the await would never end
            failure = RuntimeError(f"{function.__name__} raised StopIteration")
            failure.__cause__ = error
            settle(future.set_exception, failure)
        except BaseException as error:
            settle(future.set_exception, error)
        else:
            settle(future.set_result, result)

    def settle(method: Callable[[Any], None], value: Any) -> None:
        with suppress(RuntimeError):  # the loop was closed meanwhile, so nobody waits
            loop.call_soon_threadsafe(lambda: None if future.cancelled() else method(value))

    _pool.executor().submit(call)
    return await future
