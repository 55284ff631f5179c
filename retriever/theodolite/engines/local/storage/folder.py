"""A collection's folder, opened once, and the names of the files in it. All files of a collection are opened here.

Where the system supports it, files are opened relative to the folder's descriptor. So they belong to the folder that
was opened, even if its path leads elsewhere by now. Only regular files are opened, never a link, a pipe or a device:
the folder may come from somebody else.
"""

import contextlib
import os
import re
import stat
import sys
import threading
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from io import BufferedRandom, BufferedReader
from pathlib import Path

from theodolite.errors import CorruptionError, EngineError

STORE = "store.sqlite"
DATABASE = (STORE, f"{STORE}-wal", f"{STORE}-shm", f"{STORE}-journal")
"""The database, and the files that SQLite keeps beside it."""

WRITER = "writer.pid"
BUILD_LOCK = "build.lock"
RESERVE = "reserve.bin"
"""Disk space set aside, freed when the disk is full, so that documents can still be deleted."""

PARTIAL_INDEX = "index-partial"
"""The folder of an index that is being built, or whose build was interrupted."""

PARTIAL_GENERATION = "generation-partial"
"""The folder of a generation that a compaction is making, or whose compaction was interrupted."""

MONITOR = "monitor.sqlite"  # written by `monitoring`; the engine does not read it
JUDGMENTS = "judgments.sqlite"  # written by `evaluation.feedback`; the engine does not read it
RECORDS = "records.sqlite"  # written by the LangChain adapter; the engine does not read it

_OF_GENERATION = re.compile(r"vectors-([1-9]\d*)\.f32|(?:codes|columns)-([1-9]\d*)")

_RELATIVE = os.open in os.supports_dir_fd and hasattr(os, "O_NOFOLLOW") and hasattr(os, "O_DIRECTORY")
"""Whether files can be opened relative to a descriptor. Windows has no such calls."""

# O_NONBLOCK: without it, opening would hang on a pipe that has replaced the file since it was checked.
_FLAGS = sum(getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY"))
_FOLDER = sum(getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_DIRECTORY", "O_CLOEXEC"))

_KINDS = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
    stat.S_IFREG: "a file",
}


def vectors_name(generation: int) -> str:
    return f"vectors-{generation}.f32"


def codes_folder(generation: int) -> str:
    return f"codes-{generation}"


def codes_name(generation: int, block: int, *, wide: bool = False) -> str:
    """Return the file of a block's codes; `wide` for a second one, with 8 bits."""
    return f"{codes_folder(generation)}/{block:06d}.{'wide' if wide else 'codes'}"


def first_codes_name(generation: int, block: int) -> str:
    """Return the file of a block's codes as the first version named it."""
    return f"{codes_folder(generation)}/{block:06d}.i8"


def columns_folder(generation: int) -> str:
    return f"columns-{generation}"


def generations(names: Iterable[str]) -> Iterator[tuple[int, str]]:
    """Yield the vector files and the folders of codes and columns among some names, with their generations."""
    for name in names:
        if match := _OF_GENERATION.fullmatch(name):
            yield int(match[1] or match[2]), name


def index_folder(number: int) -> str:
    return f"index-{number}"


def orphan_name(generation: int, sequence: int) -> str:
    """Return the name for a copy of a frame that no commit names. It is for inspection only."""
    return f"orphan-{generation}-{sequence}.f32"


class Folder:
    """An open folder, and operations on files in it. Names are relative, with at most one folder in them.

    Attributes:
        given: the path it was opened by, for messages; it may be a symbolic link.
        path: the resolved path, without links.
    """

    def __init__(self, given: Path) -> None:
        """Raises OSError if the folder is missing."""
        self.given = given
        self.path = Path(os.path.realpath(given))
        self._held: int | None = None
        self._first = os.stat(self.path)
        if _RELATIVE:
            self._open()

    def __str__(self) -> str:
        return str(self.given)

    def close(self) -> None:
        """Close the descriptor. It is opened again when needed, if the folder is still in place."""
        if self._held is not None:
            self._held = None
            self._release()

    def is_current(self) -> bool:
        """Return whether the path it was opened by still leads to it."""
        return self._is_at(self.given)

    def is_in_place(self) -> bool:
        """Return whether its own path, without links, still leads to it. SQLite opens files by that path."""
        return self._is_at(self.path)

    def check_current(self) -> None:
        """Raise EngineError if its path no longer leads to it."""
        if not self.is_current():
            raise replaced_error(self)

    def stat(self, name: str) -> os.stat_result | None:
        """Stat a name without following links. Returns None if it is missing or its path goes through a link."""
        try:
            if "/" not in name:  # before each write
                return os.stat(self._place(name), dir_fd=self._handle, follow_symlinks=False)
            with self._at(name) as (handle, last):
                return os.stat(last, dir_fd=handle, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError, CorruptionError):
            return None

    def is_file(self, name: str) -> bool:
        """Return whether a name is a regular file."""
        status = self.stat(name)
        return status is not None and stat.S_ISREG(status.st_mode)

    def check_file(self, name: str) -> os.stat_result | None:
        """Stat a regular file, None if it is missing. Raises CorruptionError for anything else."""
        status = self.stat(name)
        if status is not None and not stat.S_ISREG(status.st_mode):
            raise self._kind_error(name, status, "a file")
        return status

    def open_handle(self, name: str, flags: int) -> int:
        """Open a regular file. Returns its descriptor.

        Raises:
            CorruptionError: the name is not a regular file.
            OSError: it is missing, or cannot be opened.
        """
        status = self.check_file(name)
        with self._at(name) as (parent, last):
            handle = os.open(last, flags | _FLAGS, 0o666, dir_fd=parent)
        opened = os.fstat(handle)
        if stat.S_ISREG(opened.st_mode) and (status is None or os.path.samestat(status, opened)):
            return handle
        os.close(handle)
        raise CorruptionError(f"{self / name} was replaced while it was opened; try again", path=str(self / name))

    def open(self, name: str) -> BufferedReader:
        """Open a regular file for reading. Raises the same errors as `open_handle`."""
        return os.fdopen(self.open_handle(name, os.O_RDONLY), "rb")

    def open_to_change(self, name: str) -> BufferedRandom:
        """Open a regular file for reading and writing. Raises the same errors as `open_handle`."""
        return os.fdopen(self.open_handle(name, os.O_RDWR), "r+b")

    def create(self, name: str) -> BufferedRandom:
        """Create a file for writing. An existing one is unlinked, not truncated: somebody may have it mapped."""
        with self._at(name) as (parent, last):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(last, dir_fd=parent)
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | _FLAGS
            return os.fdopen(os.open(last, flags, 0o666, dir_fd=parent), "w+b")

    @contextmanager
    def replacing(self, name: str) -> Iterator[BufferedRandom]:
        """Create a file that gets its name at the end of the block, so that others see all of it or none of it.

        An exception removes it.
        """
        aside = f"{name}.{os.getpid()}-{threading.get_ident()}.tmp"
        try:
            with self.create(aside) as file:
                yield file
            self.rename(aside, name)
        except BaseException:
            with contextlib.suppress(OSError, CorruptionError):
                self.remove([aside])
            raise

    def names(self, inside: str = "") -> list[str]:
        """List the names in the folder, or in one inside it, sorted. A missing folder is empty."""
        try:
            with self._inside(inside) as (handle, path):
                return sorted(os.listdir(path if handle is None else handle))
        except (FileNotFoundError, NotADirectoryError, CorruptionError):
            return []

    def make(self, inside: str) -> None:
        """Create a folder inside this one, unless it exists. Raises CorruptionError if its name is not a folder."""
        with contextlib.suppress(FileExistsError):
            os.mkdir(self._place(inside), dir_fd=self._handle)
        with self._inside(inside):
            pass

    def rename(self, old: str, new: str) -> None:
        """Rename a file or a folder. Replaces a file that has the new name."""
        with self._at(old) as (source, first), self._at(new) as (target, last):
            os.replace(first, last, src_dir_fd=source, dst_dir_fd=target)

    def remove(self, names: Iterable[str]) -> None:
        """Delete files, links, and folders with their contents. Nothing outside is deleted.

        Missing names are skipped. On Windows, a file that somebody has open stays.
        """
        for name in names:
            status = self.stat(name)
            if status is None:
                continue
            with self._at(name) as (handle, last), contextlib.suppress(FileNotFoundError, PermissionError):
                if stat.S_ISDIR(status.st_mode):
                    import shutil  # seldom needed, and slow to import

                    shutil.rmtree(last, ignore_errors=True, dir_fd=handle)
                else:
                    os.unlink(last, dir_fd=handle)

    def sync(self, inside: str = "") -> None:
        """Wait until files created in the folder would survive a power cut. Does nothing on Windows."""
        with self._inside(inside) as (handle, _):
            if handle is not None:
                os.fsync(handle)

    def size(self, inside: str = "") -> int:
        """Return the size of all files below, in bytes."""
        total = 0
        for place, _, names in os.walk(self.reachable(inside)):
            for name in names:
                with contextlib.suppress(OSError):  # files come and go while others write
                    status = os.lstat(os.path.join(place, name))
                    total += status.st_size if stat.S_ISREG(status.st_mode) else 0
        return total

    def __truediv__(self, name: str) -> Path:
        """Return the path of a name, for messages."""
        return self.given / name

    def reachable(self, name: str = "") -> Path:
        """Return a path for libraries that open files by name.

        On Linux it leads into the opened folder even if the folder's own path leads elsewhere.
        """
        if self._handle is not None and sys.platform == "linux":
            by_handle = Path(f"/proc/self/fd/{self._handle}")
            if by_handle.exists():
                return by_handle / name
        return self.path / name

    @property
    def _handle(self) -> int | None:
        return self._held if self._held is not None or not _RELATIVE else self._open()

    def _open(self) -> int:
        """Raises OSError if the folder is missing, EngineError if another one has taken its path."""
        handle = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        if not os.path.samestat(os.fstat(handle), self._first):
            os.close(handle)
            raise replaced_error(self)
        self._release = weakref.finalize(self, os.close, handle)
        self._release.atexit = False
        self._held = handle
        return handle

    def _is_at(self, path: Path) -> bool:
        try:
            return os.path.samestat(os.stat(path), self._first)
        except OSError:
            return False

    @contextmanager
    def _at(self, name: str) -> Iterator[tuple[int | None, str]]:
        """Yield the descriptor that a name is relative to, and its last part. Without descriptors: None and a path."""
        inside, _, last = name.rpartition("/")
        if not inside:
            yield self._handle, self._place(name)
            return
        with self._inside(inside) as (handle, _):
            yield handle, self._place(name) if handle is None else last

    @contextmanager
    def _inside(self, inside: str) -> Iterator[tuple[int | None, str]]:
        """Open a folder inside this one, never through a link. Yields its descriptor, or None, and its path."""
        status = os.stat(self._place(inside), dir_fd=self._handle, follow_symlinks=False) if inside else None
        if status is not None and not stat.S_ISDIR(status.st_mode):
            raise self._kind_error(inside, status, "a folder")
        if self._handle is None:
            yield None, os.path.join(self.path, inside)
            return
        # Even the folder itself is opened again: copied descriptors share their position in a listing.
        handle = os.open(inside or ".", os.O_RDONLY | _FOLDER, dir_fd=self._handle)
        try:
            yield handle, inside
        finally:
            os.close(handle)

    def _place(self, name: str) -> str:
        return name if self._handle is not None else os.path.join(self.path, name)

    def _kind_error(self, name: str, status: os.stat_result, wanted: str) -> CorruptionError:
        kind = _KINDS.get(stat.S_IFMT(status.st_mode), "something else")
        return CorruptionError(
            f"{self / name} is {kind}, not {wanted}; it is not opened. Remove it, or restore it from a copy",
            path=str(self / name),
            folder=str(self.given),
        )


class TemporaryFolder:
    """A private folder, for a collection in memory."""

    def __init__(self) -> None:
        import tempfile  # collections in a folder do not need it

        self.path = Path(tempfile.mkdtemp(prefix="theodolite-"))
        self._pid = os.getpid()

    def remove(self) -> None:
        """Delete the folder. Does nothing in a forked child: it belongs to the parent."""
        if self._pid == os.getpid():
            import shutil

            shutil.rmtree(self.path, ignore_errors=True)


def replaced_error(folder: Folder) -> EngineError:
    """Return the error for a folder that is no longer the one that was opened."""
    if not os.path.lexists(folder.path):
        return EngineError(
            f"{folder}: the folder is no longer the one that was opened: it was deleted or moved meanwhile. Nothing "
            "was written. Put the folder back, or restore it from a copy; then close this collection and call "
            f"Retriever.open({str(folder)!r}, create=False)",
            folder=str(folder),
        )
    return EngineError(
        f"{folder}: the folder is no longer the one that was opened: it, or a file in it, was replaced, moved or "
        "removed. Nothing was written; open it again",
        folder=str(folder),
    )


def sync_file(file: BufferedRandom | int) -> None:
    """Wait until the file's contents would survive a power cut."""
    if not isinstance(file, int):
        file.flush()
        file = file.fileno()
    if sys.platform == "darwin":
        import fcntl

        # fsync on macOS leaves the data in the drive's cache.
        fcntl.fcntl(file, fcntl.F_FULLFSYNC)
    else:
        os.fsync(file)


def sync_folder(path: Path) -> None:
    """Wait until files created in any folder would survive a power cut."""
    Folder(path).sync()
