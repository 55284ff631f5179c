"""Full disks: recognize them, and free room that was set aside, so that documents can still be deleted.

Every commit needs room for the write-ahead log, even one that deletes.
"""

import contextlib
import errno
import os
import sqlite3

from theodolite.engines.local.storage.folder import Folder
from theodolite.engines.local.storage.paths import PARTIAL_INDEX, RESERVE, generations, vectors_name
from theodolite.errors import CorruptionError

RESERVED = 512 << 10
"""Size of the reserve in bytes. To open, to delete some documents and to delete all take about 100 KB each."""
FOR_DELETING, FOR_CLEARING = 384 << 10, 128 << 10
"""Bytes of the reserve that stay for deletions, and for `clear` alone."""

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def is_full(error: BaseException | None) -> bool:
    """Whether an error, or one of its causes, says that the disk is full."""
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
            file.write(os.urandom(RESERVED))  # a file system that compresses would store zeros in no room


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
