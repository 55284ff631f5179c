"""Check the primary data, which cannot be rebuilt: database, manifest, change log, notes, vectors and documents.

It also has the report in which all checks collect their findings.
"""

import errno
import sqlite3
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from theodolite.engines.local.derived.index_record import IndexRecord, read_index_record
from theodolite.engines.local.derived.snapshot import frames_with_rows, live_rows_after
from theodolite.engines.local.storage.change_log import (
    Base,
    Log,
    keys_of,
    log_origin,
    placed_frames,
    read_base,
    read_log,
)
from theodolite.engines.local.storage.database import State, check_note, read_manifest
from theodolite.engines.local.storage.folder import Folder, vectors_name
from theodolite.engines.local.storage.records import Keys
from theodolite.engines.local.storage.schema import foreign_entries
from theodolite.engines.local.storage.vector_file import (
    Frame,
    MappedVectors,
    VectorFile,
    header_slots,
    holds_frame,
    surplus_bytes,
    too_short_error,
)
from theodolite.engines.records import Record
from theodolite.errors import EngineError, IntegrityError, TheodoliteError
from theodolite.maintenance_reports import Problem, Verification
from theodolite.settings import Manifest
from theodolite.types import Mask, Space

Progress = Callable[[int], object]

# Errors that reading damaged bytes can raise. Python's own come from values that have changed.
DAMAGE = (
    IntegrityError,
    sqlite3.Error,
    OSError,
    ValueError,
    TypeError,
    IndexError,
    OverflowError,
    AttributeError,
    KeyError,
    RecursionError,
)

# Errors of the process and the machine, which say nothing about the stored data.
_OF_THE_SYSTEM = frozenset(
    getattr(errno, name)
    for name in (
        *("EMFILE", "ENFILE", "EACCES", "EPERM", "ENOMEM", "EIO", "ENOSPC", "EDQUOT", "EFBIG", "EROFS"),
        *("EINTR", "EAGAIN", "EBUSY", "ENOLCK", "ESTALE", "ETIMEDOUT", "ENXIO", "ENODEV"),
    )
    if hasattr(errno, name)  # Windows lacks some
)
_OF_SQLITE = frozenset(
    (
        *(sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_FULL),
        *(sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PERM, sqlite3.SQLITE_READONLY),
        *(sqlite3.SQLITE_INTERRUPT, sqlite3.SQLITE_PROTOCOL),
    )
)

_CHUNK = 4096  # rows at a time
_MAX_MESSAGES = 10  # of SQLite


def is_damage(error: BaseException) -> bool:
    """Return whether an error raised while reading can come from the bytes that were read."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, MemoryError) or (isinstance(cause, OSError) and cause.errno in _OF_THE_SYSTEM):
            return False
        if getattr(cause, "sqlite_errorcode", 0) & 0xFF in _OF_SQLITE:
            return False
        cause = cause.__cause__
    return True


class Report:
    """Problems and warnings of one check, and how much was checked."""

    def __init__(self, progress: Progress | None) -> None:
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []
        self.checked: Counter[str] = Counter()
        self._progress = progress

    def passed(self, part: str, count: int) -> None:
        """Count checked items of a part, and report progress."""
        self.checked[part] += count
        if self._progress is not None:
            self._progress(count)

    def problem(self, part: str, message: str, *, derived: bool = False, path: Path | None = None) -> None:
        """Add a problem. `derived`: the data can be rebuilt."""
        self.problems.append(Problem(part, message, derived, None if path is None else str(path)))

    def warning(self, part: str, message: str, *, derived: bool = False, path: Path | None = None) -> None:
        """Add a warning. `derived`: repair removes the cause."""
        self.warnings.append(Problem(part, message, derived, None if path is None else str(path)))

    @contextmanager
    def part(self, part: str, *, derived: bool = False, path: Path | None = None) -> Iterator[None]:
        """Record errors of the block that damage can cause as a problem of this part.

        Raises:
            EngineError: the part could not be checked, for lack of file handles, memory or permissions, for example.
        """
        try:
            yield
        except (*DAMAGE, MemoryError) as error:
            message = str(error) if isinstance(error, TheodoliteError) else f"{part}: {type(error).__name__}: {error}"
            if not is_damage(error):
                raise EngineError(
                    f"{part} could not be checked, so its state is unknown: {error}", part=part
                ) from error
            self.problem(part, message, derived=derived, path=path)

    def verification(self) -> Verification:
        """Return the result of the check."""
        return Verification(tuple(self.problems), tuple(self.warnings), dict(self.checked))


@dataclass(frozen=True)
class PrimaryData:
    """The data that all other data is checked against.

    Attributes:
        base: the base of the generation, if a compaction has made it.
        log: the log after the base; None if nothing has been committed.
        committed: the frames of the vector file, with their hashes.
        frames: (n, 4) the frames that have rows, as in `Snapshot`.
        live: (rows,) which rows are living documents.
        file: the vector file, as found in the folder.
        record: the record of the approximate index; None if it is missing or unreadable.
    """

    folder: Folder
    state: State
    manifest: Manifest
    base: Base | None
    log: Log | None
    committed: list[tuple[Frame, bytes]]
    frames: NDArray[np.int64]
    live: Mask
    file: VectorFile | None
    vectors: MappedVectors
    record: IndexRecord | None

    @property
    def keys(self) -> Keys:
        """The keys of the rows."""
        return keys_of(self.base)

    @property
    def space(self) -> Space:
        """The space that the vectors are prepared for."""
        return self.manifest.space


def check_database(connection: sqlite3.Connection, report: Report) -> None:
    """Check the pages, and the indexes against their tables."""
    messages = [text for (text,) in connection.execute(f"PRAGMA integrity_check({_MAX_MESSAGES})") if text != "ok"]
    # An index over the documents can be rebuilt from them.
    derived = bool(messages) and all(_concerns_an_index(text) for text in messages)
    for text in messages:
        report.problem("database", f"the database is damaged: {text}", derived=derived)


def _concerns_an_index(text: str) -> bool:
    return "missing from index" in text or text.startswith("wrong # of entries in index")


def check_schema(connection: sqlite3.Connection, report: Report) -> None:
    """Check the declarations: with another one, a table reads the same bytes differently."""
    foreign = foreign_entries(connection)
    if foreign:
        report.problem("schema", f"{len(foreign)} tables or indexes have changed declarations, first {foreign[0]}")


def read_primary(connection: sqlite3.Connection, folder: Folder, state: State, report: Report) -> PrimaryData | None:
    """Read the manifest, the log and the vectors. Returns None if they are too damaged."""
    record, primary = None, None
    with report.part("index", derived=True):
        record = read_index_record(connection)
        if (record is not None) != (state.approximate > 0):
            report.problem("index", "the record of the approximate index is missing, or should not exist", derived=True)
    with report.part("manifest"):
        (pinned,) = connection.execute("SELECT count(*) FROM manifest").fetchone()
        if pinned != 1:
            report.problem("manifest", f"there are {pinned} manifests, not one")
        manifest = read_manifest(connection)
        report.passed("manifest", 1)
        with report.part("log"):
            log = None
            base = read_base(connection, manifest.uid, state.generation)
            live = np.ones(0 if base is None else base.frame.rows, np.bool_)
            if state.sequence:
                log = read_log(connection, *log_origin(base, manifest.uid, state.generation))
                report.checked["commits"] += len(log.frames)
                if base is not None:  # what comes before it is history
                    log = read_log(connection, base.frame.sequence, base.before)
                live = live_rows_after(live, log, state, base)
            elif connection.execute("SELECT count(*) FROM frames").fetchone() != (0,):
                report.problem("log", "the change log has entries, but nothing was committed")
            committed = _committed(base, log)
            frames = frames_with_rows((frame for frame, _ in committed), keys_of(base))
            with report.part("vectors", path=folder / vectors_name(state.generation)):
                file = _vector_file(folder, state, manifest.space)
                vectors = MappedVectors(file, manifest.space.dimension or 1, frames, state.slots)
                primary = PrimaryData(
                    folder, state, manifest, base, log, committed, frames, live, file, vectors, record
                )
    return primary


def _vector_file(folder: Folder, state: State, space: Space) -> VectorFile | None:
    """Open the file that is in the folder now. Returns None if it is missing and need not exist."""
    try:
        return VectorFile(folder, state.generation, writable=False)
    except FileNotFoundError:
        if state.slots:
            path = folder / vectors_name(state.generation)
            raise too_short_error(path, state.slots * 4 * (space.dimension or 1), 0) from None
        return None


def _committed(base: Base | None, log: Log | None) -> list[tuple[Frame, bytes]]:
    first = [] if base is None else [(base.frame, base.hash)]
    if log is None:
        return first
    logged = zip(log.frames, log.hashes, strict=True)
    return first + [(frame, bytes(digest)) for frame, digest in placed_frames(logged, base)]


def check_notes(connection: sqlite3.Connection, report: Report) -> None:
    for name, value, digest in connection.execute("SELECT name, value, hash FROM notes"):
        with report.part("notes"):
            check_note(name, value, digest)
        report.passed("notes", 1)


def check_vectors(primary: PrimaryData, report: Report) -> None:
    """Check the header and the checksum of each frame, and their order."""
    dimension, file = primary.space.dimension, primary.file
    if dimension is None or primary.log is None or file is None:
        return
    end, first_row = 0, primary.keys.shift
    bad: list[Frame] = []
    committed = primary.committed
    for frame, digest in committed:
        if (frame.slot, frame.first_row) != (end + header_slots(dimension), first_row):
            bad.append(frame)
            break
        first_row, end = frame.first_row + frame.rows, frame.slot + frame.rows
        if not _is_sound(file, frame, digest, primary, report):
            bad.append(frame)
    if bad:
        rows = sum(frame.rows for frame in bad)
        report.problem(
            "vectors",
            f"{file.name}: the frames of {len(bad)} of {len(committed)} commits, with {rows} vectors, do not "
            f"match their checksum, first that of commit {bad[0].sequence} (rows {bad[0].first_row} to "
            f"{bad[0].first_row + bad[0].rows - 1}). Restore the file from a copy",
            path=file.path,
        )
    elif end != primary.state.slots:
        report.problem("vectors", f"{file.name}: the frames end at slot {end}, the state says {primary.state.slots}")
    beyond = surplus_bytes(file, primary.state.slots, dimension)
    if beyond:
        report.warning(
            "vectors",
            f"{file.name} has {beyond} bytes beyond the last commit, from a write that was cut off or is in progress. "
            "The next write moves them aside",
            path=file.path,
        )


def _is_sound(file: VectorFile, frame: Frame, digest: bytes, primary: PrimaryData, report: Report) -> bool:
    vectors, first = primary.vectors, frame.first_row - primary.keys.shift
    crc, stop = 0, first + frame.rows
    for start in range(first, stop, _CHUNK):
        part = vectors.span(start, min(start + _CHUNK, stop))
        crc = zlib.crc32(part.data.cast("B"), crc)
        report.passed("vectors", len(part))
    return crc == frame.crc and holds_frame(file, frame, digest, vectors.dimension)


def check_documents(connection: sqlite3.Connection, primary: PrimaryData, report: Report) -> None:
    """Check each document and its vector against their hash, and that each living row has a document."""
    has_document = np.zeros(len(primary.live), np.bool_)
    bad, dead, seen = [], [], 0
    connection.text_factory = _text
    try:
        cursor = connection.execute(
            "SELECT row, id, text, metadata, truncated, partition, hash FROM documents ORDER BY row"
        )
        while part := cursor.fetchmany(_CHUNK):
            seen += len(part)
            rows = primary.keys.find(np.array([row[0] if type(row[0]) is int else -1 for row in part], np.int64))
            fits = (rows >= 0) & (rows < len(has_document))
            fits[fits] = primary.live[rows[fits]]
            dead += [row[1] for row, fit in zip(part, fits.tolist(), strict=True) if not fit]
            part = [row for row, fit in zip(part, fits.tolist(), strict=True) if fit]
            rows = rows[fits]
            has_document[rows] = True
            for (_, *record, digest), vector in zip(part, primary.vectors.take(rows), strict=True):
                if not _is_intact(record, digest, vector):
                    bad.append(record[0])
            report.passed("documents", len(part))
    finally:
        connection.text_factory = str
    if bad:
        report.problem(
            "documents",
            f"{len(bad)} of {seen} documents do not match their hash, first {bad[0]!r}. Restore the folder from a "
            "copy, or add these documents again",
        )
    if dead:
        report.problem(
            "documents", f"{len(dead)} of {seen} documents belong to rows that have ended, first {dead[0]!r}"
        )
    lost = np.flatnonzero(primary.live & ~has_document)
    if len(lost):
        report.problem(
            "documents", f"{len(lost)} of {primary.state.live} documents are missing, first that of row {lost[0]}"
        )


def _text(data: bytes) -> str | bytes:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data


def _is_intact(record: list[object], digest: object, vector: NDArray[np.float32]) -> bool:
    name, text, metadata, truncated, partition = record
    if not isinstance(name, str) or not isinstance(text, str) or truncated not in (0, 1):
        return False
    if not isinstance(metadata, str) or not isinstance(partition, str):
        return False
    return Record(name, text, metadata, bool(truncated), partition).hash(vector) == digest
