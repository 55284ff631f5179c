"""A lock that allows one build at a time, of an index or a generation."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager

from theodolite.engines.local.storage.database import connect
from theodolite.engines.local.storage.folder import BUILD_LOCK, Folder
from theodolite.engines.local.storage.io_errors import is_busy, translate_errors
from theodolite.errors import LockedError
from theodolite.forking import COLLECTIONS, register_at_fork


@contextmanager
def only_builder(folder: Folder, timeout: float) -> Iterator[None]:
    """Hold the build lock of a collection. It is a lock of SQLite, so it ends with its process.

    Raises:
        LockedError: another process or thread holds it for more than `timeout` seconds.
        EngineError: the lock cannot be taken.
    """
    lock = _BuildLock(folder)
    deadline = time.monotonic() + timeout
    try:
        while not lock.take():
            if time.monotonic() >= deadline:
                raise LockedError(
                    f"{folder}: another process or thread is building an index; wait for it", folder=str(folder)
                )
            time.sleep(0.02)
        yield
    finally:
        lock.close()


class _BuildLock:
    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        with translate_errors(folder):
            self._connection = connect(folder, "rwc", 0, BUILD_LOCK)
        register_at_fork(self)

    def take(self) -> bool:
        """Take the lock. Returns False if it is held. Raises EngineError if it cannot be taken, e.g. on a full disk."""
        with translate_errors(self._folder):
            try:
                self._connection.execute("BEGIN EXCLUSIVE")
            except sqlite3.OperationalError as error:
                if is_busy(error):
                    return False
                raise
            return True

    def close(self) -> None:
        with COLLECTIONS:
            self._connection.close()

    def forked(self, held: bool) -> None:
        """Drop the connection in a forked child: the lock belongs to the parent."""
        COLLECTIONS.drop([self._connection])
