"""A fair lock, and the locks around models."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

from theodolite.forking import ForkGate, inherited, register_at_fork

MODELS = ForkGate("a model")
"""Entered while a model or a tokenizer computes: their libraries have locks and threads that a fork would break."""


class FairLock:
    """A fair lock: waiting threads come before the thread that has just released it.

    A plain lock usually goes back to a thread that releases it and acquires it again at once. A query would wait
    until a long `add` has embedded its last batch.
    """

    def __init__(self) -> None:
        self._gate = threading.Lock()
        self._lock = threading.Lock()
        register_at_fork(self)

    def __enter__(self) -> None:
        # A waiting thread holds the gate, so the thread that releases the lock cannot overtake it.
        with self._gate:
            self._lock.acquire()
        try:
            MODELS.__enter__()
        except BaseException:
            self._lock.release()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        MODELS.__exit__()
        if self._lock.locked():  # a child that was forked while it was held has a new lock
            self._lock.release()


TORCH = FairLock()
"""One lock for all models of a process: torch gets many times slower when several threads compute at the same time,
and calls change the settings of a shared tokenizer."""


@contextmanager
def torch_threads(number: int | None) -> Iterator[None]:
    """Set the number of CPU threads that torch uses inside the block; None leaves it unchanged.

    A process that was forked after torch was loaded uses one thread from then on: torch's thread pool stayed in the
    parent, and a computation would wait for it forever.
    """
    if number is None and not inherited("torch"):
        yield
        return
    import torch

    if number is None or inherited("torch"):
        torch.set_num_threads(1)
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
