"""Forked processes: the one place that decides what a child does with its parent's locks, threads and connections.

A forked child has only the thread that forked. A lock that another thread held stays locked there, and what it
guarded may be half changed. Two mechanisms cover all of it:

- An object with locks, threads or connections registers itself. In a child its locks are new, and its method
  `forked(held)` lets go of the rest.
- Code that must not be cut in two runs inside a `ForkGate`: SQLite calls, and libraries with locks of their own. A fork
  waits until all other threads have left; after `PATIENCE` seconds it waits no longer, and the child raises
  EngineError at the next use.
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
"""Seconds that a fork waits for threads inside a gate."""

_LOCK = type(threading.Lock())
_RLOCK = type(threading.RLock())
_TELLING = ("torch",)  # packages with thread pools that a fork breaks


class ForkGate:
    """Code that a fork must not interrupt: `with gate:`. Threads do not exclude one another; a thread may nest it."""

    def __init__(self, what: str) -> None:
        """
        Args:
            what: is used inside, for messages: "a collection".
        """
        self.lost = False
        """Whether this process was forked while a thread was inside: what is inside cannot be used here."""
        self._what = what
        self._inside: dict[int, int] = {}  # how deep each thread is inside
        self._shut = False  # a fork is under way, or lost
        self._cut = False  # whether that fork finds a thread inside
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
        while depth == 1 and self._shut:  # the fork waits for threads that are inside already
            del self._inside[me]
            time.sleep(0.001)
            self._inside[me] = depth

    def drop(self, connections: "list[sqlite3.Connection]") -> None:
        """In a forked child: close the parent's connections, or leave them alone if SQLite cannot be used here.

        SQLite would take the parent's locks for the child's own, for new connections, too: writes could be lost.
        Closed at once, while the parent still holds its locks, the connections change nothing in the files.
        """
        while connections:
            connection = connections.pop()
            if self.lost:
                leave(connection)
            else:
                connection.close()

    def _shut_out(self) -> None:
        """Let no thread in that is not inside already."""
        self._shut = self._cut = True

    def _empty(self, deadline: float) -> None:
        """Wait until the other threads have left. A thread that comes now looks inside for a moment, and goes."""
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
_forking = threading.Lock()  # held from before a fork until after it: two threads may fork at a time

COLLECTIONS = ForkGate("a collection")
"""SQLite, and the indexes of a collection. Both have locks of their own."""


def register_at_fork(owner: object) -> None:
    """In each child that is forked from now on, give the owner's attributes new locks and events.

    The last line of `__init__`. Then the owner's method `forked(held)` is called, if there is one; `held` says whether
    another thread held one of the locks: what they guard may be half changed.
    """
    number = id(owner)
    _registered[number] = weakref.ref(owner, lambda _: _registered.pop(number, None))


def inherited(package: str) -> bool:
    """Whether this process was forked from one that had loaded the package: "torch"."""
    return package in _inherited


def leave(inherited: object) -> None:
    """Keep an object of the parent for ever: its end would wait for locks or threads that are not here."""
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
