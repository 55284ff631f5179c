"""verify(): every row against its hash, the counts and the files. Exhaustive; samples have missed real losses."""

import sqlite3
import zlib
from pathlib import Path

import numpy as np

from theodolite.engines.local.files import vectors_path
from theodolite.engines.local.frames import Frame, check_frame
from theodolite.engines.local.records import Record
from theodolite.engines.local.snapshot import Snapshot, Stale
from theodolite.errors import CorruptionError

_CHUNK = 4096


def verify(connection: sqlite3.Connection, snapshot: Snapshot, folder: Path) -> None:
    """Check a snapshot within its transaction.

    Raises:
        CorruptionError: naming what does not agree, how many, and the first.
        Stale: the vector file is gone; another process may have begun a new generation.
    """
    if snapshot.state.sequence and not vectors_path(folder, snapshot.state.generation).exists():
        raise Stale
    problems = [text for (text,) in connection.execute("PRAGMA integrity_check(3)") if text != "ok"]
    if problems:
        raise CorruptionError(f"{folder}: the database is damaged: {problems[0]}", problems=problems)
    try:
        _check_frames(connection, snapshot, folder)
    except FileNotFoundError:
        raise Stale from None
    _check_rows(connection, snapshot, folder)
    _check_lexical(connection, folder)


def _check_frames(connection: sqlite3.Connection, snapshot: Snapshot, folder: Path) -> None:
    state, dimension = snapshot.state, snapshot.manifest.space.dimension
    if dimension is None:
        return
    path = vectors_path(folder, state.generation)
    expected_row, previous = 0, None
    for values in connection.execute("SELECT * FROM frames ORDER BY sequence"):
        frame = Frame(*values)
        check_frame(path, frame, dimension)
        if frame.first_row != expected_row or (previous is not None and frame.sequence != previous + 1):
            raise CorruptionError(f"{folder}: commit {frame.sequence} does not follow the one before it")
        expected_row, previous = frame.first_row + frame.rows, frame.sequence
        crc = 0
        for start in range(frame.first_row, expected_row, _CHUNK):
            part = snapshot.vectors.span(start, min(start + _CHUNK, expected_row))
            crc = zlib.crc32(np.ascontiguousarray(part).data, crc)
        if crc != frame.crc:
            raise CorruptionError(
                f"{path}: the vectors of commit {frame.sequence} (rows {frame.first_row} to {expected_row - 1}) "
                "do not match their checksum. Restore the file from a copy",
                sequence=frame.sequence,
            )
    if expected_row != state.rows or previous != state.sequence:
        raise CorruptionError(f"{folder}: the change log ends at row {expected_row}, the state says {state.rows}")


def _check_rows(connection: sqlite3.Connection, snapshot: Snapshot, folder: Path) -> None:
    state = snapshot.state
    seen, bad = 0, []
    cursor = connection.execute(
        "SELECT row, id, text, metadata, truncated, partition, hash FROM documents ORDER BY row"
    )
    while part := cursor.fetchmany(_CHUNK):
        rows = np.array([row[0] for row in part], np.int64)
        if rows[-1] >= state.rows or not snapshot.live[rows].all():
            raise CorruptionError(f"{folder}: the database holds documents of rows that are not alive")
        vectors = snapshot.vectors.take(rows)
        seen += len(part)
        for (row, *record, digest), vector in zip(part, vectors, strict=True):
            if record[3] not in (0, 1) or Record(*record).hash(vector) != digest:
                bad.append((row, record[0]))
    if bad:
        raise CorruptionError(
            f"{folder}: {len(bad)} of {seen} documents do not match their hash, first {bad[0][1]!r} (row {bad[0][0]})",
            ids=[name for _, name in bad],
        )
    if seen != state.live or seen != int(np.count_nonzero(snapshot.live)):
        raise CorruptionError(
            f"{folder}: {seen} documents are stored, the state says {state.live}, "
            f"the change log {int(np.count_nonzero(snapshot.live))}"
        )


def _check_lexical(connection: sqlite3.Connection, folder: Path) -> None:
    # FTS5's own check is a write, which a read transaction cannot make; the numbers of documents can be compared.
    (indexed,) = connection.execute("SELECT count(*) FROM lexical_docsize").fetchone()
    (stored,) = connection.execute("SELECT count(*) FROM documents").fetchone()
    if indexed != stored:
        raise CorruptionError(f"{folder}: {indexed} documents are indexed for lexical search, {stored} are stored")
