"""Threads for scans, shared by the whole process, never more running than there are processors."""

import contextlib
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


class Workers:
    """Runs tasks on the calling thread and on helpers, at most `limit` threads at a time over all callers.

    A caller always works itself, so nobody waits for a helper to be free. Helpers join only while fewer than
    `limit` threads are at work, and leave after their task as soon as others have come.
    """

    def __init__(self, limit: int) -> None:
        self.limit = max(1, limit)
        self._running = 0
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None

    def run(self, task: Callable[[T], None], items: Sequence[T]) -> None:
        """Call `task` once for each item, in any order; the first exception is raised when all have stopped."""
        with self._lock:
            self._running += 1
        try:
            if self.limit == 1 or len(items) < 2:
                for item in items:
                    task(item)
            else:
                self._share(task, items)
        finally:
            with self._lock:
                self._running -= 1

    def _share(self, task: Callable[[T], None], items: Sequence[T]) -> None:
        left = iter(items)
        lock = threading.Lock()
        failed = threading.Event()

        def work(must_finish: bool) -> None:
            while not failed.is_set() and (must_finish or self._running <= self.limit):
                with lock:
                    item = next(left, left)
                if item is left:
                    return
                try:
                    task(item)  # type: ignore[arg-type]  # the sentinel has been ruled out
                except BaseException:
                    failed.set()
                    raise

        def help_out() -> None:
            try:
                work(must_finish=False)
            finally:
                with self._lock:
                    self._running -= 1

        helpers = self._invite(help_out, len(items) - 1)
        try:
            work(must_finish=True)
        except BaseException:
            failed.set()
            raise
        finally:
            for helper in helpers:
                if helper.cancel():  # it never started, so it never counted itself out
                    with self._lock:
                        self._running -= 1
            for helper in helpers:
                if not helper.cancelled():
                    helper.exception()
        for helper in helpers:
            if not helper.cancelled():
                helper.result()

    def _invite(self, work: Callable[[], None], most: int) -> list[Future[None]]:
        with self._lock:
            count = min(self.limit - self._running, most)
            if count <= 0:
                return []
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self.limit, thread_name_prefix="theodolite")
            helpers: list[Future[None]] = []
            # While the interpreter shuts down nothing can be submitted: the caller works alone.
            with contextlib.suppress(RuntimeError):
                helpers += [self._pool.submit(work) for _ in range(count)]
            self._running += len(helpers)
            return helpers


def processors() -> int:
    """The processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


workers = Workers(processors())


def _after_fork() -> None:
    # A child inherits the counts but not the threads.
    workers.__init__(workers.limit)  # type: ignore[misc]  # every user holds this very object


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
