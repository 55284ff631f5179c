"""The lock that one builder of an index or a generation holds."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager

from theodolite.engines.local.storage.database import connect
from theodolite.engines.local.storage.folder import Folder
from theodolite.engines.local.storage.paths import BUILD_LOCK
from theodolite.engines.local.storage.sqlite_errors import is_busy, translate_errors
from theodolite.errors import LockedError
from theodolite.forking import COLLECTIONS, register_at_fork


@contextmanager
def only_builder(folder: Folder, timeout: float) -> Iterator[None]:
    """One process and thread builds at a time; the lock is SQLite's, so it ends with its process.

    Raises:
        LockedError: another one is still building after `timeout` seconds.
        EngineError: the lock cannot be taken.
    """
    lock = _BuildLock(folder)
    deadline = time.monotonic() + timeout
    try:
        while not lock.taken():
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

    def taken(self) -> bool:
        """Take the lock, unless it is held. Raises EngineError where it cannot be taken, on a full disk for example."""
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
        """In a forked child: the lock is the parent's; kept open, it would seem to be the child's, too."""
        COLLECTIONS.drop([self._connection])
