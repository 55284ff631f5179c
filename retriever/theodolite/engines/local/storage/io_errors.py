"""Errors of SQLite and of the operating system: translate them into ours, and free room on a full disk.

Every commit needs room for the write-ahead log, even one that deletes. So some room is set aside as a reserve, and
documents can still be deleted.
"""

import contextlib
import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from theodolite.engines.local.storage.folder import PARTIAL_INDEX, RESERVE, STORE, Folder, generations, vectors_name
from theodolite.errors import CorruptionError, EngineError, LockedError
from theodolite.forking import COLLECTIONS

RESERVED = 512 << 10
"""Size of the reserve in bytes. To open, to delete some documents and to delete all take about 100 KB each."""
FOR_DELETING, FOR_CLEARING = 384 << 10, 128 << 10
"""Bytes of the reserve that stay for deletions, and for `clear` alone."""

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

# sqlite3 raises these, without an error code, when stored bytes have changed.
_SIGNS_OF_DAMAGE = ("Could not decode", "malformed JSON", "no such column", "no such table")


def is_busy(error: sqlite3.Error) -> bool:
    """Return whether another connection holds the lock."""
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


def is_full(error: BaseException | None) -> bool:
    """Return whether an error, or one of its causes, says that the disk is full."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _FULL:
            return True
        code = getattr(error, "sqlite_errorcode", 0)
        if code & 0xFF == sqlite3.SQLITE_FULL or code == sqlite3.SQLITE_IOERR_SHMSIZE:
            return True
        error = error.__cause__
    return False


def keep_reserve(folder: Folder) -> None:
    """Create the reserve if it is missing and the disk has room for it."""
    status = folder.stat(RESERVE)
    if status is None or status.st_size < RESERVED:
        with contextlib.suppress(OSError, CorruptionError), folder.replacing(RESERVE) as file:
            file.write(os.urandom(RESERVED))  # a file system that compresses would store zeros in no space


def free_room(folder: Folder, leave: int) -> bool:
    """Delete codes, columns and a half-built index, and shrink the reserve to `leave` bytes.

    Returns whether there was anything to delete.
    """
    present = folder.names()
    names = [name for generation, name in generations(present) if name != vectors_name(generation)]
    names += [name for name in (PARTIAL_INDEX,) if name in present]
    folder.remove(names)
    status = folder.stat(RESERVE)
    if status is None or status.st_size <= leave:
        return bool(names)
    with folder.open_to_change(RESERVE) as file:
        file.truncate(leave)
    return True
