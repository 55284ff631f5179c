"""Fork safety: handles a parent's locks, threads and connections in forked children.

A forked child has only the thread that forked. A lock that another thread held stays locked in the child, and the data
it guards may be half changed. Two mechanisms handle this:

- An object with locks, threads or connections registers itself. In a child, it gets new locks, and its method
  `forked(held)` releases the rest.
- Code that a fork must not interrupt runs inside a `ForkGate`: SQLite calls, and libraries with their own locks. A fork
  waits until all other threads have left the gate. After `PATIENCE` seconds it goes ahead, and the child raises
  EngineError on the next use.
"""

import ctypes
import os
import sqlite3
import sys
import threading
import time
import weakref
from threading import get_ident
from types import TracebackType
from typing import Any

from theodolite.errors import EngineError

PATIENCE = 2.0
"""Maximum seconds that a fork waits for threads inside a gate."""

_LOCK = type(threading.Lock())
_RLOCK = type(threading.RLock())
_TELLING = ("torch",)  # packages with thread pools that a fork breaks


class ForkGate:
    """A gate around code that a fork must not interrupt: `with gate:`. Threads may share it, and nest it."""

    def __init__(self, what: str) -> None:
        """
        Args:
            what: the resource used inside the gate, for messages: "a collection".
        """
        self.lost = False
        """Whether this process was forked while a thread was inside: the resource cannot be used in this process."""
        self._what = what
        self._inside: dict[int, int] = {}  # nesting depth of each thread
        self._shut = False  # a fork is in progress, or `lost`
        self._cut = False  # whether the fork interrupts a thread inside
        _gates.append(self)

    def __enter__(self) -> None:
        me = get_ident()
        depth = self._inside[me] = self._inside.get(me, 0) + 1
        if self._shut:
            self._wait(me, depth)

    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:
        me = get_ident()
        depth = self._inside[me] - 1
        if depth:
            self._inside[me] = depth
        else:
            del self._inside[me]

    def _wait(self, me: int, depth: int) -> None:
        if self.lost:
            self.__exit__()
            raise EngineError(
                f"a thread of the parent process was using {self._what} when this process was forked, so it cannot be "
                "used here. Fork while no thread searches, writes or embeds, or start processes by spawn or forkserver"
            )
        while depth == 1 and self._shut:  # nested threads must go on: the fork waits for them
            del self._inside[me]
            time.sleep(0.001)
            self._inside[me] = depth

    def drop(self, connections: "list[sqlite3.Connection]") -> None:
        """Close the parent's connections in a forked child, or leave them alone if SQLite cannot be used here.

        SQLite would mistake the parent's locks for the child's own, also in new connections, and writes could be lost.
        Closing the connections at once, while the parent still holds its locks, changes nothing in the files.
        """
        while connections:
            connection = connections.pop()
            if self.lost:
                leave(connection)
            else:
                connection.close()

    def _shut_out(self) -> None:
        """Block threads that are not inside already."""
        self._shut = self._cut = True

    def _empty(self, deadline: float) -> None:
        """Wait until the other threads have left. A thread that arrives now counts as inside only for a moment."""
        me = get_ident()
        while (occupied := any(thread != me for thread in list(self._inside))) and time.monotonic() < deadline:
            time.sleep(0.0005)
        self._cut = occupied or me in self._inside

    def _open(self) -> None:
        self._shut = self.lost

    def _forked(self) -> None:
        me = get_ident()
        self._shut = self.lost = self.lost or self._cut
        self._inside = {me: self._inside[me]} if me in self._inside else {}


_gates: list[ForkGate] = []
_registered: dict[int, "weakref.ref[Any]"] = {}
_inherited: set[str] = set()
_forking = threading.Lock()  # held during a fork, since two threads may fork at the same time

COLLECTIONS = ForkGate("a collection")
"""The gate for SQLite and the indexes of a collection. Both have their own locks."""


def register_at_fork(owner: object) -> None:
    """Replace the owner's locks and events in every child forked from now on.

    Call this in the last line of `__init__`. In the child, the owner's method `forked(held)` is called afterwards, if
    it has one. `held` is True if a thread held one of the locks, so the data they guard may be half changed.
    """
    number = id(owner)
    _registered[number] = weakref.ref(owner, lambda _: _registered.pop(number, None))


def inherited(package: str) -> bool:
    """Return whether this process was forked from one that had loaded the package ("torch")."""
    return package in _inherited


def leave(inherited: object) -> None:
    """Never free this object of the parent: freeing it would wait for locks or threads that this process lacks."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(inherited))


def _before() -> None:
    _forking.acquire()
    for gate in _gates:
        gate._shut_out()
    deadline = time.monotonic() + PATIENCE
    for gate in _gates:
        gate._empty(deadline)


def _in_parent() -> None:
    for gate in _gates:
        gate._open()
    _forking.release()


def _in_child() -> None:
    global _forking
    _forking = threading.Lock()
    for gate in _gates:
        gate._forked()
    _inherited.update(name for name in _TELLING if name in sys.modules)
    for reference in list(_registered.values()):
        owner = reference()
        if owner is not None:
            _renew(owner)


def _renew(owner: Any) -> None:
    held = False
    for name, value in list(vars(owner).items()):
        if isinstance(value, _LOCK):
            held |= value.locked()
            setattr(owner, name, threading.Lock())
        elif isinstance(value, _RLOCK):
            held |= not value.acquire(blocking=False)
            setattr(owner, name, threading.RLock())
        elif isinstance(value, threading.Event):
            event = threading.Event()
            if value.is_set():
                event.set()
            setattr(owner, name, event)
    if hasattr(owner, "forked"):
        owner.forked(held)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)
