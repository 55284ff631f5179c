"""writer.pid: the process that wrote last, for the message of one that waits."""

import contextlib
import os

from theodolite.engines.local.storage.folder import Folder
from theodolite.engines.local.storage.paths import WRITER
from theodolite.errors import CorruptionError


def announce(folder: Folder) -> None:
    """Leave our pid. On a full disk, or where there is something else than a file, only the message lacks it."""
    ours = str(os.getpid()).encode()
    with contextlib.suppress(OSError, CorruptionError):
        with contextlib.suppress(FileNotFoundError):
            if _announced(folder) == ours:
                return
        with folder.create(WRITER) as file:
            file.write(ours)


def last_writer(folder: Folder) -> int | None:
    """The process that wrote last, if that is known."""
    try:
        return int(_announced(folder))
    except (OSError, ValueError, CorruptionError):
        return None


def _announced(folder: Folder) -> bytes:
    with folder.open(WRITER) as file:
        return file.read(32)
