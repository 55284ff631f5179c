"""Translate errors of SQLite and of the operating system into ours."""

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from theodolite.engines.local.storage.disk_full import is_full
from theodolite.engines.local.storage.folder import Folder
from theodolite.engines.local.storage.paths import STORE
from theodolite.errors import CorruptionError, EngineError, LockedError
from theodolite.forking import COLLECTIONS

# sqlite3 raises these, without an error code, when stored bytes have changed.
_SIGNS_OF_DAMAGE = ("Could not decode", "malformed JSON", "no such column", "no such table")


def is_busy(error: sqlite3.Error) -> bool:
    """Whether another connection holds the lock."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


@contextmanager
def translate_errors(folder: Folder | Path, *, sqlite: bool = True) -> Iterator[None]:
    """Raise errors of SQLite and of the operating system as ours, with the original as the cause.

    Args:
        sqlite: whether the block uses SQLite. If so, a fork waits until the block has ended.
    """
    try:
        with COLLECTIONS if sqlite else nullcontext():
            yield
    except sqlite3.Error as error:
        raise _translated(folder, error) from error
    except UnicodeDecodeError as error:  # of a value that sqlite3 has read
        raise _damaged_error(folder, error) from error
    except OSError as error:
        raise EngineError(f"{folder}: {error.strerror or error}{_advice(error)}", folder=str(folder)) from error


def _translated(folder: Folder | Path, error: sqlite3.Error) -> EngineError | CorruptionError:
    code = getattr(error, "sqlite_errorcode", 0)
    if code == sqlite3.SQLITE_CORRUPT_VTAB or "fts5" in str(error):
        return CorruptionError(
            f"{folder}: SQLite cannot read the lexical index ({error}). Run repair()",
            folder=str(folder),
            part="lexical",
        )
    if code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB) or str(error).startswith(_SIGNS_OF_DAMAGE):
        return _damaged_error(folder, error)
    if code & 0xFF == sqlite3.SQLITE_INTERRUPT:
        return CorruptionError(
            f"{folder}/{STORE}: a query took more steps than a database of this size can need, so its pages are "
            "damaged. Restore the folder from a copy",
            folder=str(folder),
        )
    if is_busy(error):
        return LockedError(f"{folder}: another connection has locked the database; try again")
    return EngineError(f"{folder}: the database says: {error}{_advice(error)}", folder=str(folder))


def _damaged_error(folder: Folder | Path, error: Exception) -> CorruptionError:
    return CorruptionError(f"{folder}/{STORE} is damaged ({error}). Restore the folder from a copy", folder=str(folder))


def _advice(error: Exception) -> str:
    if is_full(error):
        return ". Free some room and try again"
    if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
        return ". Close some, or raise the limit (ulimit -n)"
    return ""
