"""Files that nothing needs."""

from collections.abc import Iterator
from pathlib import Path

from theodolite.engines.local.files import (
    BUILD_LOCK,
    MONITOR,
    RECORDS,
    STORE,
    WRITER,
    codes_folder,
    codes_path,
    columns_folder,
    index_folder,
    partial_folder,
    vectors_path,
)
from theodolite.engines.local.verify.report import Report
from theodolite.engines.local.verify.truth import Truth
from theodolite.indexes.blocks import BLOCK

_KNOWN = (STORE, WRITER, BUILD_LOCK, MONITOR, RECORDS)  # and what SQLite adds to their names
_OURS = ("vectors-", "codes-", "columns-", "index-")


def check_folder(truth: Truth, report: Report) -> None:
    """Warnings: what is left over, and `derived` of it what repair removes."""
    report.checked["files"] += sum(1 for _ in truth.folder.iterdir())
    for path, why, ours in leftovers(truth):
        what = "repair() removes it" if ours else "it is left where it is"
        report.warning("folder", f"{path.relative_to(truth.folder)}: {why}; {what}", derived=ours, path=path)


def leftovers(truth: Truth) -> Iterator[tuple[Path, str, bool]]:
    """Paths, what each is, and whether it can be removed without a loss."""
    folder, generation, record = truth.folder, truth.state.generation, truth.record
    used = {
        vectors_path(folder, generation),
        codes_folder(folder, generation),
        columns_folder(folder, generation),
        partial_folder(folder),
    }
    if record is not None and record.files:
        used.add(index_folder(folder, record.files))
    for path in sorted(folder.iterdir()):
        if path in used or any(path.name.startswith(name) for name in _KNOWN):
            continue
        if path.name.startswith(_OURS):
            yield path, "left from an earlier state of the collection", True
        elif path.name.startswith("orphan-"):
            yield path, "a write that was cut off before it was committed", False
        else:
            yield path, "not a file of the collection", False
    expected = {codes_path(folder, generation, block) for block in range(truth.state.rows // BLOCK)}
    for path in _inside(codes_folder(folder, generation)):
        if path not in expected:
            yield path, "no codes of this collection", True
    for path in _inside(columns_folder(folder, generation)):
        if path.suffix != ".column":
            yield path, "left by a write that was cut off", True
    if record is not None and record.files:
        place = index_folder(folder, record.files)
        for path in _inside(place):
            if path.name not in (record.hashes or {}):
                yield path, "no part of the index", True


def _inside(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []
