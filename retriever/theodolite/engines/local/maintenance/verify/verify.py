"""Verify a collection: check all stored data.

The check is exhaustive, since samples have missed real losses, and continues after the first damage it finds. `primary`
checks the data that cannot be rebuilt, `derived` the data that can.
"""

import stat
from collections.abc import Iterator

from theodolite.engines.local.maintenance.verify.derived import check_codes, check_columns, check_index, check_lexical
from theodolite.engines.local.maintenance.verify.primary import (
    PrimaryData,
    check_database,
    check_documents,
    check_notes,
    check_schema,
    check_vectors,
    read_primary,
)
from theodolite.engines.local.maintenance.verify.report import DAMAGE, Progress, Report
from theodolite.engines.local.storage.folder import (
    BUILD_LOCK,
    DATABASE,
    MONITOR,
    PARTIAL_GENERATION,
    PARTIAL_INDEX,
    RECORDS,
    RESERVE,
    STORE,
    WRITER,
    Folder,
    codes_folder,
    codes_name,
    columns_folder,
    index_folder,
    vectors_name,
)
from theodolite.engines.local.storage.store import Store
from theodolite.errors import CorruptionError
from theodolite.indexes.flat.codes import BLOCK
from theodolite.types import Verification

_ATTEMPTS = 20
_SUFFIXES = tuple(part.removeprefix(STORE) for part in DATABASE)  # that SQLite adds to the name of a database
_FILES = {WRITER, RESERVE} | {name + part for name in (STORE, BUILD_LOCK, MONITOR, RECORDS) for part in _SUFFIXES}
_PREFIXES = ("vectors-", "codes-", "columns-", "index-")


def verify(store: Store, progress: Progress | None = None) -> Verification:
    """Check a collection as of one commit. Others may write meanwhile."""
    return examine(store, progress)[0]


def raise_damage(verification: Verification, folder: Folder) -> None:
    """Raise CorruptionError if there are problems."""
    if verification.problems:
        first, more = verification.problems[0], len(verification.problems) - 1
        also = f" (and {more} more: see the error's `verification`)" if more else ""
        cure = ". repair() rebuilds it" if all(problem.derived for problem in verification.problems) else ""
        raise CorruptionError(
            f"{folder}: {first.message}{also}{cure}", verification=verification, folder=str(folder), part=first.part
        )


def examine(store: Store, progress: Progress | None) -> tuple[Verification, PrimaryData | None]:
    """Check a collection, and return the primary data too, or None if it is too damaged to read.

    Raises:
        EngineError: the folder is no longer the one that was opened.
    """
    for _ in range(_ATTEMPTS):
        store.identity.check_folder()
        report = Report(progress)
        before = _files_in_use(store)
        primary = _check_all(store, report)
        if report.problems:
            store.identity.check_folder()  # the files of another collection are not damage of this one
        if not report.problems or before == _files_in_use(store):
            break  # otherwise files were deleted meanwhile: the collection was cleared, compacted or reindexed
    return report.verification(), primary


def _check_all(store: Store, report: Report) -> PrimaryData | None:
    primary = None
    with report.part("database"), store.read() as (connection, state):
        with report.part("database"):
            check_database(connection, report)
        with report.part("schema"):
            check_schema(connection, report)
        with report.part("notes"):
            check_notes(connection, report)
        primary = read_primary(connection, store.folder, state, report)
        if primary is not None:
            with report.part("vectors"):
                check_vectors(primary, report)
            with report.part("documents"):
                check_documents(connection, primary, report)
            check_codes(primary, report)
            check_columns(connection, primary, report)
            check_index(primary, store.trust, report)
            with report.part("folder"):
                _check_folder(primary, report)
    with report.part("lexical", derived=True):
        check_lexical(store, report)
    return primary


def _files_in_use(store: Store) -> tuple[int, int] | None:
    """Return the generation and the number of the index, which name the files in use; None if unreadable."""
    try:
        with store.read() as (_, state):
            return state.generation, state.approximate
    except DAMAGE:
        return None


def _check_folder(primary: PrimaryData, report: Report) -> None:
    """Report leftover files as warnings, `derived` if repair removes them."""
    names = primary.folder.names()
    report.checked["files"] += len(names)
    for name, description, removable in leftovers(primary):
        what = "repair() removes it" if removable else "it is left where it is"
        report.warning("folder", f"{name}: {description}; {what}", derived=removable, path=primary.folder / name)


def leftovers(primary: PrimaryData) -> Iterator[tuple[str, str, bool]]:
    """Yield leftover files: name, description, and whether it can be removed without a loss."""
    folder, generation, record = primary.folder, primary.state.generation, primary.record
    codes, columns = codes_folder(generation), columns_folder(generation)
    index = index_folder(record.files) if record is not None and record.files else None
    folders = {codes, columns, PARTIAL_INDEX, PARTIAL_GENERATION, index}
    for name in folder.names():
        status = folder.stat(name)
        if status is None:
            continue
        if name in folders:
            if not stat.S_ISDIR(status.st_mode):
                yield name, "not a folder, and never opened", True
        elif name in _FILES and not stat.S_ISREG(status.st_mode):
            yield name, "not a regular file, and never opened", name in (WRITER, BUILD_LOCK)
        elif name == vectors_name(generation) or any(name.startswith(known) for known in _FILES):
            continue
        elif name.startswith(_PREFIXES):
            yield name, "left from an earlier state of the collection", True
        elif name.startswith("orphan-"):
            yield name, "a write that was cut off before it was committed", False
        else:
            yield name, "not a file of the collection", False
    expected = {codes_name(generation, block) for block in range(len(primary.live) // BLOCK)}
    for name in folder.names(codes):
        if f"{codes}/{name}" not in expected:
            yield f"{codes}/{name}", "not a code file of this collection", True
    for name in folder.names(columns):
        if not name.endswith(".column"):
            yield f"{columns}/{name}", "left by a write that was cut off", True
    if record is not None and index is not None:
        for name in folder.names(index):
            if name not in (record.hashes or {}):
                yield f"{index}/{name}", "not part of the index", True
