"""Threads for scans, shared by the whole process, never more running than there are processors."""

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TypeVar

from theodolite.forking import register_at_fork

T = TypeVar("T")


class Workers:
    """Runs tasks on the calling thread and on helper threads, at most `limit` at a time over all callers.

    A caller waits for a place of its own, and takes helpers only for places that no other caller waits for. A helper
    leaves after its current task when a caller waits.
    """

    def __init__(self, limit: int) -> None:
        self.limit = max(1, limit)
        self._places = threading.Semaphore(self.limit)
        self._waiting = 0
        self._lock = threading.Lock()
        self._here = threading.local()  # `placed`: whether this thread has a place
        self._pool: ThreadPoolExecutor | None = None
        register_at_fork(self)

    def forked(self, held: bool) -> None:
        """In a forked child: it inherits the counts but not the threads."""
        self.__init__(self.limit)  # type: ignore[misc]  # every user holds this very object

    def run(self, task: Callable[[T], None], items: Sequence[T], *, share: bool = True) -> None:
        """Call `task` once for each item, in any order. When all threads have stopped, raise the first exception.

        `share=False` keeps short work on the calling thread: waking another thread takes about 0.1 ms.
        """
        if getattr(self._here, "placed", False):  # a task that runs tasks itself
            for item in items:
                task(item)
            return
        self._wait_for_a_place()
        self._here.placed = True
        try:
            if self.limit == 1 or len(items) < 2 or not share:
                for item in items:
                    task(item)
            else:
                self._share(task, items)
        finally:
            self._leave()

    def _share(self, task: Callable[[T], None], items: Sequence[T]) -> None:
        left = iter(items)
        lock = threading.Lock()
        failed = threading.Event()

        def work(*, helper: bool) -> None:
            while not failed.is_set() and not (helper and self._waiting):
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
            self._here.placed = True
            try:
                work(helper=True)
            finally:
                self._leave()

        helpers = self._invite(help_out, len(items) - 1)
        try:
            work(helper=False)
        except BaseException:
            failed.set()
            raise
        finally:
            for helper in helpers:
                if helper.cancel():  # it never started, so it never left its place
                    self._places.release()
            started = [helper for helper in helpers if not helper.cancelled()]
            wait(started)
        for helper in started:
            helper.result()

    def _wait_for_a_place(self) -> None:
        if self._places.acquire(blocking=False):
            return
        with self._lock:
            self._waiting += 1
        try:
            self._places.acquire()
        finally:
            with self._lock:
                self._waiting -= 1

    def _leave(self) -> None:
        self._here.placed = False
        self._places.release()

    def _invite(self, work: Callable[[], None], most: int) -> list[Future[None]]:
        helpers: list[Future[None]] = []
        while len(helpers) < most and not self._waiting and self._places.acquire(blocking=False):
            try:
                with self._lock:
                    self._pool = self._pool or ThreadPoolExecutor(self.limit, thread_name_prefix="theodolite")
                helpers.append(self._pool.submit(work))
            except RuntimeError:  # the interpreter is shutting down: the caller works alone
                self._places.release()
                break
            except BaseException:  # Ctrl-C
                self._places.release()
                raise
        return helpers


def processors() -> int:
    """Return the number of processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


workers = Workers(processors())
