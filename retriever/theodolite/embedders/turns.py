"""One at a time, in turn."""

import threading
from types import TracebackType


class Turns:
    """A lock that serves waiting threads before the one that has just released it.

    A plain lock mostly goes back to a thread that releases it and asks again at once: a question would wait
    until a long `add` has embedded its last batch.
    """

    def __init__(self) -> None:
        self._gate = threading.Lock()
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        # Whoever waits holds the gate: the thread that releases the lock cannot overtake it.
        with self._gate:
            self._lock.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.release()
