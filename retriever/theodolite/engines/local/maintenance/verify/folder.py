"""Files that nothing needs."""

import stat
from collections.abc import Iterator

from theodolite.engines.local.maintenance.verify.report import Report
from theodolite.engines.local.maintenance.verify.truth import Truth
from theodolite.engines.local.storage.paths import (
    BUILD_LOCK,
    DATABASE,
    MONITOR,
    PARTIAL_GENERATION,
    PARTIAL_INDEX,
    RECORDS,
    RESERVE,
    STORE,
    WRITER,
    codes_folder,
    codes_name,
    columns_folder,
    index_folder,
    vectors_name,
)
from theodolite.indexes.flat.codes import BLOCK

_DATABASES = tuple(part.removeprefix(STORE) for part in DATABASE)  # what SQLite adds to their names
_FILES = {WRITER, RESERVE} | {name + part for name in (STORE, BUILD_LOCK, MONITOR, RECORDS) for part in _DATABASES}
_OURS = ("vectors-", "codes-", "columns-", "index-")


def check_folder(truth: Truth, report: Report) -> None:
    """Warnings: what is left over, and `derived` of it what repair removes."""
    names = truth.folder.names()
    report.checked["files"] += len(names)
    for name, why, ours in leftovers(truth):
        what = "repair() removes it" if ours else "it is left where it is"
        report.warning("folder", f"{name}: {why}; {what}", derived=ours, path=truth.folder / name)


def leftovers(truth: Truth) -> Iterator[tuple[str, str, bool]]:
    """Names, what each is, and whether it can be removed without a loss."""
    folder, generation, record = truth.folder, truth.state.generation, truth.record
    codes, columns = codes_folder(generation), columns_folder(generation)
    index = index_folder(record.files) if record is not None and record.files else None
    folders = {codes, columns, PARTIAL_INDEX, PARTIAL_GENERATION, index}
    for name in folder.names():
        found = folder.stat(name)
        if found is None:
            continue
        if name in folders:
            if not stat.S_ISDIR(found.st_mode):
                yield name, "not a folder, and never opened", True
        elif name in _FILES and not stat.S_ISREG(found.st_mode):
            yield name, "not a regular file, and never opened", name in (WRITER, BUILD_LOCK)
        elif name == vectors_name(generation) or any(name.startswith(known) for known in _FILES):
            continue
        elif name.startswith(_OURS):
            yield name, "left from an earlier state of the collection", True
        elif name.startswith("orphan-"):
            yield name, "a write that was cut off before it was committed", False
        else:
            yield name, "not a file of the collection", False
    expected = {codes_name(generation, block) for block in range(len(truth.live) // BLOCK)}
    for name in folder.names(codes):
        if f"{codes}/{name}" not in expected:
            yield f"{codes}/{name}", "no codes of this collection", True
    for name in folder.names(columns):
        if not name.endswith(".column"):
            yield f"{columns}/{name}", "left by a write that was cut off", True
    if record is not None and index is not None:
        for name in folder.names(index):
            if name not in (record.hashes or {}):
                yield f"{index}/{name}", "no part of the index", True
