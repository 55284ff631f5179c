"""The names of a collection's files, relative to its folder."""

import re
from collections.abc import Iterable, Iterator

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
RECORDS = "records.sqlite"  # written by the LangChain adapter; the engine does not read it


def vectors_name(generation: int) -> str:
    return f"vectors-{generation}.f32"


def codes_folder(generation: int) -> str:
    return f"codes-{generation}"


def codes_name(generation: int, block: int) -> str:
    return f"{codes_folder(generation)}/{block:06d}.i8"


def columns_folder(generation: int) -> str:
    return f"columns-{generation}"


_OF_GENERATION = re.compile(r"vectors-([1-9]\d*)\.f32|(?:codes|columns)-([1-9]\d*)")


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
