"""The names of a collection's files, and durable writes to them."""

import contextlib
import os
import re
import shutil
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

STORE = "store.sqlite"
WRITER = "writer.pid"
BUILD_LOCK = "build.lock"
MONITOR = "monitor.sqlite"  # kept by `quality`; nothing here reads it
RECORDS = "records.sqlite"  # kept by the LangChain adapter; nothing here reads it


def vectors_path(folder: Path, generation: int) -> Path:
    return folder / f"vectors-{generation}.f32"


def codes_folder(folder: Path, generation: int) -> Path:
    return folder / f"codes-{generation}"


def codes_path(folder: Path, generation: int, block: int) -> Path:
    return codes_folder(folder, generation) / f"{block:06d}.i8"


def columns_folder(folder: Path, generation: int) -> Path:
    return folder / f"columns-{generation}"


_OF_GENERATION = re.compile(r"vectors-([1-9]\d*)\.f32|(?:codes|columns)-([1-9]\d*)")


def generations(folder: Path) -> Iterator[tuple[int, Path]]:
    """The vector files and the folders of codes and columns, each with the generation it belongs to."""
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries]
    for name in names:
        if found := _OF_GENERATION.fullmatch(name):
            yield int(found[1] or found[2]), folder / name


def index_folder(folder: Path, number: int) -> Path:
    return folder / f"index-{number}"


def partial_folder(folder: Path) -> Path:
    """Where an index is built, and what is left of one that was interrupted."""
    return folder / "index-partial"


def orphan_path(folder: Path, generation: int, sequence: int) -> Path:
    """Where a frame that no commit names is kept, for people to look at; nothing reads it."""
    return folder / f"orphan-{generation}-{sequence}.f32"


def remove(paths: Iterable[Path]) -> None:
    """Delete files and folders, as far as that is possible: a file that somebody on Windows holds stays."""
    for path in paths:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with contextlib.suppress(FileNotFoundError, PermissionError):
                path.unlink()


def sync_file(file: BinaryIO) -> None:
    """Return when the file's contents would survive a power cut."""
    file.flush()
    if sys.platform == "darwin":
        import fcntl

        # fsync on macOS leaves the data in the drive's cache.
        fcntl.fcntl(file.fileno(), fcntl.F_FULLFSYNC)
    else:
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Return when files created in the folder would survive a power cut. Windows has no such call."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def folder_size(folder: Path) -> int:
    """Bytes of all files below the folder."""
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):  # files come and go while others write
            total += path.stat().st_size if path.is_file() else 0
    return total
