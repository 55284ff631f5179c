"""One at a time, in turn."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

from theodolite.forking import ForkGate, inherited, register_at_fork

MODELS = ForkGate("a model")
"""Models and tokenizers at work: their libraries have locks and threads of their own."""


class FairLock:
    """A lock that serves waiting threads before the one that has just released it.

    A plain lock mostly goes back to a thread that releases it and asks again at once: a question would wait
    until a long `add` has embedded its last batch.
    """

    def __init__(self) -> None:
        self._gate = threading.Lock()
        self._lock = threading.Lock()
        register_at_fork(self)

    def __enter__(self) -> None:
        # Whoever waits holds the gate: the thread that releases the lock cannot overtake it.
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
        if self._lock.locked():  # not in a child that was forked within this turn
            self._lock.release()


TORCH = FairLock()
"""For all models of a process: torch gets many times slower when threads compute at the same time, and tokenizers
keep settings that calls change."""


@contextmanager
def torch_threads(number: int | None) -> Iterator[None]:
    """Compute with so many CPU threads of torch meanwhile; None leaves its own number.

    One thread, and no more from then on, in a process that was forked after torch was loaded: the threads of its pool
    are the parent's, and a computation would wait for them for ever.
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
