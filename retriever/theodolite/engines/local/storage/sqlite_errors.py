"""SQLite's and the system's errors: as ours, with the cause, and what they say."""

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from theodolite.engines.local.storage.folder import Folder
from theodolite.engines.local.storage.paths import STORE
from theodolite.errors import CorruptionError, EngineError, LockedError
from theodolite.forking import COLLECTIONS

# What sqlite3 says, without a code of its own, where stored bytes have changed.
_SIGNS_OF_DAMAGE = ("Could not decode", "malformed JSON", "no such column", "no such table")


def _damaged(folder: Folder | Path, error: Exception) -> CorruptionError:
    return CorruptionError(f"{folder}/{STORE} is damaged ({error}). Restore the folder from a copy", folder=str(folder))


def is_busy(error: sqlite3.Error) -> bool:
    """Whether another connection holds a lock that was waited for."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def is_full(error: BaseException | None) -> bool:
    """Whether an error, or what caused it, says that the disk is full."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _NO_ROOM:
            return True
        code = getattr(error, "sqlite_errorcode", 0)
        if code & 0xFF == sqlite3.SQLITE_FULL or code == sqlite3.SQLITE_IOERR_SHMSIZE:
            return True
        error = error.__cause__
    return False


_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def translated(folder: Folder | Path, *, sqlite: bool = True) -> Iterator[None]:
    """SQLite's and the system's errors as ours, with the cause.

    Args:
        sqlite: whether SQLite is used within: a fork waits until the block has ended.
    """
    try:
        with COLLECTIONS if sqlite else nullcontext():
            yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0)
        if code == sqlite3.SQLITE_CORRUPT_VTAB or "fts5" in str(error):
            raise CorruptionError(
                f"{folder}: SQLite cannot read the lexical index ({error}). Run repair()",
                folder=str(folder),
                part="lexical",
            ) from error
        if code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB) or str(error).startswith(_SIGNS_OF_DAMAGE):
            raise _damaged(folder, error) from error
        if code & 0xFF == sqlite3.SQLITE_INTERRUPT:
            raise CorruptionError(
                f"{folder}/{STORE}: a query took more steps than a database of this size can need, so its pages are "
                "damaged. Restore the folder from a copy",
                folder=str(folder),
            ) from error
        if is_busy(error):
            raise LockedError(f"{folder}: another connection has locked the database; try again") from error
        raise EngineError(f"{folder}: the database says: {error}{_cure(error)}", folder=str(folder)) from error
    except UnicodeDecodeError as error:  # of a value that sqlite3 has read
        raise _damaged(folder, error) from error
    except OSError as error:
        raise EngineError(f"{folder}: {error.strerror or error}{_cure(error)}", folder=str(folder)) from error


def _cure(error: Exception) -> str:
    if is_full(error):
        return ". Free some room and try again"
    if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
        return ". Close some, or raise the limit (ulimit -n)"
    return ""


def fold_log(connection: sqlite3.Connection) -> None:
    """Copy the log into the database. Where it cannot be written, on a full disk for example, nothing is at risk: the
    log keeps every commit. Raises sqlite3.Error where the log cannot be read."""
    try:
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode in (sqlite3.SQLITE_IOERR_READ, sqlite3.SQLITE_IOERR_SHORT_READ):
            raise
