"""The vector file of one generation, opened once: read, mapped and written through one descriptor."""

import mmap
import os
import weakref
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from theodolite.engines.local.storage.folder import Folder, sync_file
from theodolite.engines.local.storage.paths import vectors_name
from theodolite.errors import CorruptionError


class VectorFile:
    """An open file of vectors. It stays open as long as a snapshot uses it, whatever becomes of its name.

    Attributes:
        name: in the folder.
        path: the same, for messages.
        proved: the stamp it had when it was last seen to hold what is committed.
    """

    def __init__(self, folder: Folder, generation: int, *, writable: bool) -> None:
        """Open a generation's file.

        Raises:
            FileNotFoundError: there is none.
            CorruptionError: there is something else than a file. OSError: it cannot be opened.
        """
        self.name = vectors_name(generation)
        self.path = folder.given / self.name
        self.generation = generation
        try:
            self._handle = folder.open_handle(self.name, os.O_RDWR if writable else os.O_RDONLY)
        except PermissionError:
            if not writable:
                raise
            self._handle = folder.open_handle(self.name, os.O_RDONLY)  # writing says that it cannot
        weakref.finalize(self, os.close, self._handle).atexit = False
        self.proved = (-1, -1)

    @classmethod
    def create(cls, folder: Folder, generation: int) -> "VectorFile":
        """Make a generation's file, and open it."""
        os.close(folder.open_handle(vectors_name(generation), os.O_RDWR | os.O_CREAT | os.O_EXCL))
        return cls(folder, generation, writable=True)

    @property
    def size(self) -> int:
        """In bytes."""
        return os.fstat(self._handle).st_size

    def is_at(self, found: os.stat_result | None) -> bool:
        """Whether what was found under a name is this file."""
        return found is not None and os.path.samestat(found, os.fstat(self._handle))

    def stamp(self) -> tuple[int, int]:
        """Size and time: others when somebody has written to it, though times tick coarsely."""
        found = os.fstat(self._handle)
        return found.st_size, found.st_mtime_ns

    def read(self, offset: int, size: int) -> bytes:
        """The bytes from an offset on, fewer at the file's end."""
        if hasattr(os, "pread"):
            return os.pread(self._handle, size, offset)
        with open(self.path, "rb", buffering=0) as file:  # a descriptor's place is shared by threads
            file.seek(offset)
            return file.read(size)

    def write(self, offset: int, data: memoryview) -> None:
        """Overwrite, or append. One thread writes at a time."""
        if not hasattr(os, "pwrite"):
            os.lseek(self._handle, offset, os.SEEK_SET)
        while data:
            written = os.pwrite(self._handle, data, offset) if hasattr(os, "pwrite") else os.write(self._handle, data)
            data, offset = data[written:], offset + written

    def sync(self) -> None:
        """Return when what was written would survive a power cut."""
        sync_file(self._handle)

    def truncate(self, size: int) -> None:
        """Cut off what no commit names, and nobody maps."""
        os.ftruncate(self._handle, size)

    def mapped(self, slots: int, dimension: int) -> NDArray[np.float32]:
        """The first slots, (slots, dimension), as pages of the file.

        Raises:
            CorruptionError: the file is shorter (mapped, that would end the process).
        """
        size = slots * 4 * dimension
        found = self.size
        if found < size:
            raise too_short(self.path, size, found)
        # As a plain array: each operation on a memmap makes one anew, which takes longer than it does itself.
        pages = mmap.mmap(self._handle, size, access=mmap.ACCESS_READ)
        return np.frombuffer(pages, np.float32).reshape(slots, dimension)


def too_short(path: Path, expected: int, got: int) -> CorruptionError:
    return CorruptionError(
        f"{path.name} has {got} bytes where {expected} are committed: vectors are missing. "
        "Restore the folder from a copy",
        path=str(path),
        expected=expected,
        got=got,
    )
