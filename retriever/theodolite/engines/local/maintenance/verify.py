"""Verify a collection: check all stored data.

The check is exhaustive, since samples have missed real losses, and continues after the first damage it finds. It begins
with the data that cannot be rebuilt (`verify_primary`). The checks of derived data, which can be, are here: codes,
columns, the approximate index and the lexical index.
"""

import contextlib
import itertools
import sqlite3
import stat
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from theodolite.analysis.unspaced_scripts import prepare_text
from theodolite.columns.segment import Segment
from theodolite.engines.local.derived.code_cache import hash_by_row
from theodolite.engines.local.derived.columns.column_cache import read_segment
from theodolite.engines.local.derived.columns.column_files import OtherVersion, read_file
from theodolite.engines.local.derived.index_record import read_index
from theodolite.engines.local.maintenance.verify_primary import (
    DAMAGE,
    PrimaryData,
    Progress,
    Report,
    check_database,
    check_documents,
    check_notes,
    check_schema,
    check_vectors,
    is_damage,
    read_primary,
)
from theodolite.engines.local.storage.change_log import HASH, hash_at
from theodolite.engines.local.storage.database import connect, undefended
from theodolite.engines.local.storage.folder import (
    BUILD_LOCK,
    DATABASE,
    JUDGMENTS,
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
from theodolite.engines.local.storage.index_trust import IndexTrust
from theodolite.engines.local.storage.lexical_table import OUTDATED, is_prepared
from theodolite.engines.local.storage.schema import LEXICAL, SHADOW_TABLES
from theodolite.engines.local.storage.store import Store
from theodolite.errors import ConfigError, CorruptionError
from theodolite.forking import COLLECTIONS
from theodolite.indexes.flat.codes import BLOCK, Codes, group_count, load_codes, rotation
from theodolite.indexes.flat.workers import workers
from theodolite.maintenance_reports import Verification
from theodolite.protocols import Candidates
from theodolite.types import Rows, Vectors

_ATTEMPTS = 20
_SUFFIXES = tuple(part.removeprefix(STORE) for part in DATABASE)  # that SQLite adds to the name of a database
_DATABASES = (STORE, BUILD_LOCK, JUDGMENTS, MONITOR, RECORDS)
_FILES = {WRITER, RESERVE} | {name + part for name in _DATABASES for part in _SUFFIXES}
_PREFIXES = ("vectors-", "codes-", "columns-", "index-")

_SLICE = 1024  # rows at a time
_SLACK = 1.001  # factor for rounding; codes of other vectors exceed a bound by far more
_PROPOSED = (16, 128, 1024)  # numbers of proposals to try, until a row is among them
_MAX_SEARCHED = 10_000  # rows to search by their own vector: all would take as long as building the index


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
                _check_judgments(store.folder, report)
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


def _check_judgments(folder: Folder, report: Report) -> None:
    """Report a damaged file of judgments as a warning: nothing that is searched needs it."""
    status = folder.stat(JUDGMENTS)
    if status is None or not stat.S_ISREG(status.st_mode):
        return
    try:
        with COLLECTIONS, contextlib.closing(connect(folder, "rw", 1.0, JUDGMENTS)) as connection:
            (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.DatabaseError as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF not in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            return  # in use, for example
        found = str(error)
    if found != "ok":
        what = f"{JUDGMENTS}: {found}; restore it from a copy, or move it away to start a new one"
        report.warning("judgments", what, path=folder / JUDGMENTS)


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
    blocks = range(len(primary.live) // BLOCK)
    expected = {codes_name(generation, block, wide=wide) for block in blocks for wide in (False, True)}
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


def check_codes(primary: PrimaryData, report: Report) -> None:
    """Check the bounds that make the scan exact, for every row."""
    if primary.log is None:
        return
    dimension = primary.space.dimension or 1
    owner = hash_by_row(primary.frames, np.array([one for _, one in primary.committed], HASH), primary.state.sequence)
    starts = range(0, len(primary.live) - len(primary.live) % BLOCK, BLOCK)
    for start, wide in itertools.product(starts, (False, True)):
        name = codes_name(primary.state.generation, start // BLOCK, wide=wide)
        with report.part("codes", derived=True, path=primary.folder / name), np.errstate(all="ignore"):
            if primary.folder.stat(name) is None:
                continue  # it is written when needed
            with primary.folder.open(name) as file:
                codes = load_codes(file, start, BLOCK, dimension, owner(start + BLOCK - 1))
            wrong = _count_violations(codes, primary, start)
            if wrong:
                raise CorruptionError(f"{name}: the codes of {wrong} of {BLOCK} rows do not fit their vectors")
            report.passed("codes", BLOCK)


def _count_violations(codes: Codes, primary: PrimaryData, start: int) -> int:
    """Return how many rows violate a bound of their codes."""
    groups = group_count(len(codes.codes))
    turn = rotation(len(codes.center)) if codes.rotated else None
    wrong = 0
    for first in range(0, len(codes.codes), _SLICE):
        rows = slice(first, min(first + _SLICE, len(codes.codes)))
        v = primary.vectors.span(start + rows.start, start + rows.stop) - codes.center
        of_group = np.arange(rows.start, rows.stop) % groups
        levels = codes.levels(rows)
        sizes = np.stack([_norms(v - (levels if turn is None else levels @ turn)), _norms(levels), _norms(v)])
        slack = 1e-5 * sizes[2]  # the rounding error of a difference in float32
        fits = (sizes <= codes.bounds[:, of_group] * _SLACK + slack).all(axis=0)
        square = sizes[2] * sizes[2]
        fits &= np.abs(square - codes.square[rows]) <= 1e-3 * square + 1e-30
        wrong += int(np.count_nonzero(~fits))
    return wrong


def _norms(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    norms: NDArray[np.float32] = np.linalg.norm(rows, axis=1)
    return norms


def check_columns(connection: sqlite3.Connection, primary: PrimaryData, report: Report) -> None:
    """Compare each column file with the documents."""
    inside = columns_folder(primary.state.generation)
    for name in primary.folder.names(inside):
        if not name.endswith(".column"):
            continue
        with report.part("columns", derived=True, path=primary.folder / f"{inside}/{name}"):
            try:
                field, history, stored = read_file(primary.folder, f"{inside}/{name}")
            except OtherVersion:
                continue  # it is rewritten when needed
            if history != hash_at(connection, stored.read_at):
                raise CorruptionError(f"{name}: the column {field!r} belongs to other documents")
            expected = read_segment(connection, field, stored.start, stored.stop, primary.state.sequence, primary.keys)
            live = primary.live[stored.start : stored.stop]
            known: dict[tuple[str, str], int] = {}
            differing = np.flatnonzero(live & (_value_numbers(stored, known) != _value_numbers(expected, known)))
            if len(differing):
                raise CorruptionError(
                    f"{name}: {len(differing)} values of the column {field!r} differ from the documents, "
                    f"first that of row {differing[0] + stored.start}"
                )
            report.checked["columns"] += 1


def _value_numbers(segment: Segment, known: dict[tuple[str, str], int]) -> NDArray[np.int64]:
    """Return a number for each row, (rows,): the same for the same value and type, 0 without a value."""
    places, numbers, values = segment.entries()
    codes = [known.setdefault((type(value).__name__, repr(value)), len(known) + 1) for value in values]
    result = np.zeros(segment.stop - segment.start, np.int64)
    if len(values):
        result[places] = np.array(codes, np.int64)[numbers]
    return result


def check_index(primary: PrimaryData, trust: IndexTrust, report: Report) -> None:
    """Check the files of the approximate index, its rows, and whether it can propose them."""
    record = primary.record
    if record is None or not record.files or record.generation != primary.state.generation:
        return
    name = index_folder(record.files)
    place = primary.folder / name
    with report.part("index", derived=True, path=place):
        try:
            candidates, rows = read_index(primary.folder, name, record.spec, record.hashes or {}, primary.space, trust)
        except ConfigError as error:  # its package is missing or unknown, or its file is not trusted
            report.warning("index", f"{place.name} cannot be checked: {error}", path=place)
            return
        live = np.flatnonzero(primary.live[: record.stop])
        missing = np.setdiff1d(live, rows, assume_unique=True)
        order = bool((np.diff(rows) > 0).all()) and rows[0] >= 0 and int(rows[-1]) == record.stop - 1
        if len(missing) or not order or len(rows) != record.covered:
            raise CorruptionError(
                f"{place.name}: the index lacks {len(missing)} of the {len(live)} rows that it should "
                "contain, or lists others"
            )
        labels = np.flatnonzero(primary.live[rows])
        labels = labels[:: -(-len(labels) // _MAX_SEARCHED)] if len(labels) else labels
        unreached = _unreached(candidates, rows, labels, primary, report)
        if unreached:
            report.warning(
                "index",
                f"{place.name}: {len(unreached)} of {len(labels)} rows tried cannot be found even by their "
                f"own vector, first row {unreached[0]}. A search may miss them; reindex() with more links finds more",
                path=place,
            )


def _unreached(
    candidates: Candidates, rows: Rows, labels: NDArray[np.int64], primary: PrimaryData, report: Report
) -> list[int]:
    """Return the rows for which a search by their own vector proposes neither them nor an equal vector."""
    unreached: list[int] = []

    def search(part: NDArray[np.int64]) -> None:
        vectors = primary.vectors.take(rows[part])
        for label, vector in zip(part.tolist(), vectors, strict=True):
            if not any(_proposes(candidates, rows, label, Vectors(vector[None]), n, primary) for n in _PROPOSED):
                unreached.append(int(rows[label]))
        report.passed("index", len(part))

    workers.run(search, list(_parts(labels)))
    return sorted(unreached)


def _parts(labels: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    for start in range(0, len(labels), _SLICE):
        yield labels[start : start + _SLICE]


def _proposes(candidates: Candidates, rows: Rows, label: int, vector: Vectors, n: int, primary: PrimaryData) -> bool:
    proposed = candidates.propose(vector, n)
    if (proposed == label).any():
        return True
    # Any of several equal vectors will do: they have the same score.
    return bool((primary.vectors.take(rows[proposed]) == vector).all(axis=1).any())


def check_lexical(store: Store, report: Report) -> None:
    """Check the lexical index against the documents, by FTS5's own check.

    That check is a write: it would make writers wait, and fails in a read-only folder. So the tables of the index are
    copied to a temporary database, over a view of the documents as they are prepared for the index, and checked there.
    Any transaction shows the index and the documents as of one commit, so this one need not be the caller's.
    """
    with contextlib.closing(store.connect()) as connection, undefended(connection):
        connection.execute("PRAGMA temp_store=FILE")
        connection.execute("BEGIN")
        text = "text"
        if is_prepared(connection):
            text = "prepared(CAST(text AS BLOB))"
            connection.create_function("prepared", 1, _prepared, deterministic=True)
        else:
            report.warning("lexical", OUTDATED)
        connection.execute(f"CREATE TEMP VIEW documents AS SELECT row, {text} AS text FROM main.documents")  # noqa: S608
        connection.execute(LEXICAL.replace("lexical", "temp.lexical", 1))
        for name, columns in SHADOW_TABLES.items():
            copied = f"SELECT {columns} FROM main.{name}"  # noqa: S608 - names are ours
            connection.execute(f"DELETE FROM temp.{name}")  # noqa: S608
            connection.execute(f"INSERT INTO temp.{name} ({columns}) {copied}")
        (count,) = connection.execute("SELECT count(*) FROM temp.lexical_docsize").fetchone()
        try:
            connection.execute("SELECT 1 FROM main.lexical_terms LIMIT 1").fetchone()  # the original can be opened
            # 1: compare it with the documents, too.
            connection.execute("INSERT INTO temp.lexical (lexical, rank) VALUES ('integrity-check', 1)")
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
            report.problem(
                "lexical",
                f"the lexical index does not match the documents ({error}). repair() rebuilds it",
                derived=True,
            )
        report.checked["lexical"] += count


def _prepared(text: bytes) -> str:
    """Prepare a text as for indexing. It is passed as bytes, since a damaged text may not be UTF-8."""
    return prepare_text(text.decode(errors="replace"))
