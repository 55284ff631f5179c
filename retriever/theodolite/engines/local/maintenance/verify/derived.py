"""What is made of the documents and vectors: codes, columns, the approximate index."""

import contextlib
import sqlite3
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from theodolite.engines.local.derived.code_cache import hash_by_row
from theodolite.engines.local.derived.columns.column import read
from theodolite.engines.local.derived.columns.column_files import OtherVersion, read_file
from theodolite.engines.local.derived.columns.segment import Segment
from theodolite.engines.local.derived.index_record import read_index
from theodolite.engines.local.maintenance.verify.primary import PrimaryData
from theodolite.engines.local.maintenance.verify.report import Report, is_damage
from theodolite.engines.local.storage.change_log import HASH, hash_at
from theodolite.engines.local.storage.database import undefended
from theodolite.engines.local.storage.index_trust import IndexTrust
from theodolite.engines.local.storage.lexical_table import OUTDATED, is_prepared
from theodolite.engines.local.storage.paths import codes_name, columns_folder, index_folder
from theodolite.engines.local.storage.schema import LEXICAL, SHADOW_TABLES
from theodolite.engines.local.storage.scripts import prepared
from theodolite.engines.local.storage.store import Store
from theodolite.errors import ConfigError, CorruptionError
from theodolite.indexes.flat.codes import BLOCK, Codes, group_count, load_codes, rotation
from theodolite.indexes.flat.workers import workers
from theodolite.protocols import Candidates
from theodolite.types import Rows, Vectors

_SLICE = 1024  # rows at a time
_SLACK = 1.001  # of a bound, for rounding; codes of other vectors are off by far more
_PROPOSED = (16, 128, 1024)  # in this order, until a row is among them
_TRIED = 10_000  # rows whose own vectors are searched: a search of all would take as long as building the index


def check_codes(truth: PrimaryData, report: Report) -> None:
    """The bounds that make the exact scan exact, row by row: with them every row finds itself."""
    if truth.log is None:
        return
    dimension = truth.space.dimension or 1
    owner = hash_by_row(truth.frames, np.array([one for _, one in truth.committed], HASH), truth.state.sequence)
    for start in range(0, len(truth.live) - len(truth.live) % BLOCK, BLOCK):
        name = codes_name(truth.state.generation, start // BLOCK)
        with report.part("codes", derived=True, path=truth.folder / name), np.errstate(all="ignore"):
            if truth.folder.stat(name) is None:
                continue  # they are made when they are needed
            with truth.folder.open(name) as file:
                codes = load_codes(file, start, BLOCK, dimension, owner(start + BLOCK - 1))
            wrong = _outside(codes, truth, start)
            if wrong:
                raise CorruptionError(f"{name}: the codes of {wrong} of {BLOCK} rows are not of their vectors")
            report.passed("codes", BLOCK)


def _outside(codes: Codes, truth: PrimaryData, start: int) -> int:
    """How many rows' codes break a bound that is said to hold."""
    groups = group_count(len(codes.codes))
    turn = rotation(len(codes.center)) if codes.rotated else None
    wrong = 0
    for first in range(0, len(codes.codes), _SLICE):
        rows = slice(first, min(first + _SLICE, len(codes.codes)))
        v = truth.vectors.span(start + rows.start, start + rows.stop) - codes.center
        of_group = np.arange(rows.start, rows.stop) % groups
        levels = codes.codes[rows] * codes.scale[of_group, None]
        sizes = np.stack([_norms(v - (levels if turn is None else levels @ turn)), _norms(levels), _norms(v)])
        slack = 1e-5 * sizes[2]  # float32: what is left of a difference
        fits = (sizes <= codes.bounds[:, of_group] * _SLACK + slack).all(axis=0)
        square = sizes[2] * sizes[2]
        fits &= np.abs(square - codes.square[rows]) <= 1e-3 * square + 1e-30
        wrong += int(np.count_nonzero(~fits))
    return wrong


def _norms(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    norms: NDArray[np.float32] = np.linalg.norm(rows, axis=1)
    return norms


def check_columns(connection: sqlite3.Connection, truth: PrimaryData, report: Report) -> None:
    """Each column that is kept in a file against the documents."""
    inside = columns_folder(truth.state.generation)
    for name in truth.folder.names(inside):
        if not name.endswith(".column"):
            continue
        with report.part("columns", derived=True, path=truth.folder / f"{inside}/{name}"):
            try:
                field, history, kept = read_file(truth.folder, f"{inside}/{name}")
            except OtherVersion:
                continue  # it is written again when it is needed
            if history != hash_at(connection, kept.read_at):
                raise CorruptionError(f"{name}: the column {field!r} is of other documents")
            fresh = read(connection, field, kept.start, kept.stop, truth.state.sequence, truth.keys)
            live = truth.live[kept.start : kept.stop]
            known: dict[tuple[str, str], int] = {}
            differing = np.flatnonzero(live & (_told(kept, known) != _told(fresh, known)))
            if len(differing):
                raise CorruptionError(
                    f"{name}: {len(differing)} values of the column {field!r} are not those of the documents, "
                    f"first that of row {differing[0] + kept.start}"
                )
            report.checked["columns"] += 1


def _told(segment: Segment, known: dict[tuple[str, str], int]) -> NDArray[np.int64]:
    """(rows,) a number for each value, the same for the same value and type; 0 where there is none."""
    places, numbers, values = segment.entries()
    codes = [known.setdefault((type(value).__name__, repr(value)), len(known) + 1) for value in values]
    told = np.zeros(segment.stop - segment.start, np.int64)
    if len(values):
        told[places] = np.array(codes, np.int64)[numbers]
    return told


def check_index(truth: PrimaryData, trust: IndexTrust, report: Report) -> None:
    """The files of the approximate index, the rows it holds, and which of them it can propose."""
    record = truth.record
    if record is None or not record.files or record.generation != truth.state.generation:
        return
    name = index_folder(record.files)
    place = truth.folder / name
    with report.part("index", derived=True, path=place):
        try:
            candidates, rows = read_index(truth.folder, name, record.spec, record.hashes or {}, truth.space, trust)
        except ConfigError as error:  # its package is not installed here or not known, or its file is not trusted
            report.warning("index", f"{place.name} cannot be checked: {error}", path=place)
            return
        live = np.flatnonzero(truth.live[: record.stop])
        missing = np.setdiff1d(live, rows, assume_unique=True)
        order = bool((np.diff(rows) > 0).all()) and rows[0] >= 0 and int(rows[-1]) == record.stop - 1
        if len(missing) or not order or len(rows) != record.covered:
            raise CorruptionError(
                f"{place.name}: the index does not hold the rows it stands for; {len(missing)} of {len(live)} are not "
                "in it"
            )
        labels = np.flatnonzero(truth.live[rows])
        labels = labels[:: -(-len(labels) // _TRIED)] if len(labels) else labels
        unreached = _unreached(candidates, rows, labels, truth, report)
        if unreached:
            report.warning(
                "index",
                f"{place.name}: {len(unreached)} of {len(labels)} rows tried are out of reach, even for themselves, "
                f"first row {unreached[0]}. A search may miss them; reindex() with more links reaches more",
                path=place,
            )


def _unreached(
    candidates: Candidates, rows: Rows, labels: NDArray[np.int64], truth: PrimaryData, report: Report
) -> list[int]:
    """Rows that a search of their own vector does not propose, nor any with the same vector."""
    found: list[int] = []

    def look(part: NDArray[np.int64]) -> None:
        vectors = truth.vectors.take(rows[part])
        for label, vector in zip(part.tolist(), vectors, strict=True):
            if not any(_proposes(candidates, rows, label, Vectors(vector[None]), n, truth) for n in _PROPOSED):
                found.append(int(rows[label]))
        report.passed("index", len(part))

    workers.run(look, list(_parts(labels)))
    return sorted(found)


def _parts(labels: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    for start in range(0, len(labels), _SLICE):
        yield labels[start : start + _SLICE]


def _proposes(candidates: Candidates, rows: Rows, label: int, vector: Vectors, n: int, truth: PrimaryData) -> bool:
    proposed = candidates.propose(vector, n)
    if (proposed == label).any():
        return True
    # Among many equal ones any will do: they have the same score.
    return bool((truth.vectors.take(rows[proposed]) == vector).all(axis=1).any())


def check_lexical(store: Store, report: Report) -> None:
    """In a transaction of its own: the index and the documents are of the same commit in any."""
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
            connection.execute("SELECT 1 FROM main.lexical_terms LIMIT 1").fetchone()  # that it can be opened as it is
            # 1: not only whole in itself, but also of these documents.
            connection.execute("INSERT INTO temp.lexical (lexical, rank) VALUES ('integrity-check', 1)")
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
            report.problem(
                "lexical",
                f"the lexical index is not that of the documents ({error}); repair() builds it again",
                derived=True,
            )
        report.checked["lexical"] += count


def _prepared(text: bytes) -> str:
    """What FTS5 was given of a text, as bytes: a damaged one may not be UTF-8."""
    return prepared(text.decode(errors="replace"))
