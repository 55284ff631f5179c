"""Room on the disk that is set aside, and given up when the disk is full: documents can still be deleted then.

A commit needs room for the log, even one that deletes.
"""

import contextlib
import os

from theodolite.engines.local.storage.folder import Folder
from theodolite.engines.local.storage.paths import PARTIAL_INDEX, RESERVE, generations, vectors_name
from theodolite.errors import CorruptionError

RESERVED = 512 << 10
"""Bytes of the reserve. To open, to delete some documents and to delete all take about 100 KB each."""
FOR_DELETING, FOR_CLEARING = 384 << 10, 128 << 10
"""What is left of it for deletions, and for `clear` alone."""


def keep_reserve(folder: Folder) -> None:
    """Set the room aside, unless it is, or the disk has none."""
    found = folder.stat(RESERVE)
    if found is None or found.st_size < RESERVED:
        with contextlib.suppress(OSError, CorruptionError), folder.replacing(RESERVE) as file:
            file.write(os.urandom(RESERVED))  # zeros take no room on a file system that compresses


def free_room(folder: Folder, leave: int) -> bool:
    """Delete what can be made again: codes, columns, a half-built index, and the reserve but for `leave` bytes.

    Returns whether there was any of it.
    """
    kept = folder.names()
    names = [name for generation, name in generations(kept) if name != vectors_name(generation)]
    names += [name for name in (PARTIAL_INDEX,) if name in kept]
    folder.remove(names)
    found = folder.stat(RESERVE)
    if found is None or found.st_size <= leave:
        return bool(names)
    with folder.open_to_change(RESERVE) as file:
        file.truncate(leave)
    return True
