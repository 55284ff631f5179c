"""Verify, repair, compact and back up a collection.

Every row has a digest of its document and vector (`engines.records.Record.hash`), and the columns that filters and
lexical search read are computed again and compared. The server's own structures are its concern: run its checksums and
amcheck for them.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from theodolite import plugins
from theodolite.engines.postgres.approximate import NOTE, ApproximateIndex
from theodolite.engines.postgres.binary import decode_vectors, encode_keys
from theodolite.engines.postgres.catalog import Collection, leaf_tables, read_state
from theodolite.engines.postgres.codec import COLUMNS, encode_rows, read_rows, row_values
from theodolite.engines.postgres.connections import Connection, Connections
from theodolite.engines.postgres.term_tokens import TermEncoder
from theodolite.engines.records import Record
from theodolite.engines.remote.escaping import unescape
from theodolite.errors import ConfigError, CorruptionError, TheodoliteError
from theodolite.maintenance_reports import Compaction, Problem, Verification
from theodolite.settings import CollectionSettings
from theodolite.types import Vectors

Progress = Callable[[int], object]

_PAGE = 1_000
_DERIVED = ("tokens", "fields", "words", "length")
_NAMES = COLUMNS.split(", ")
_PLACE = {name: place + 1 for place, name in enumerate(_NAMES)}  # behind the key


class Maintainer:
    """Implements `protocols.Maintenance`."""

    def __init__(self, connections: Connections, collection: Collection) -> None:
        self._connections = connections
        self._collection = collection
        self._terms = TermEncoder()

    def verify(self, progress: Progress | None) -> Verification:
        """Check all rows, counts and indexes. Raises CorruptionError if there are problems."""
        verification = self._examine(progress)[0]
        if verification.problems:
            first, more = verification.problems[0], len(verification.problems) - 1
            also = f" (and {more} more: see the error's `verification`)" if more else ""
            cure = ". repair() rebuilds it" if all(problem.derived for problem in verification.problems) else ""
            raise CorruptionError(
                f"{self._collection.shown}: {first.message}{also}{cure}", verification=verification, part=first.part
            )
        return verification

    def repair(self, progress: Progress | None) -> Verification:
        """Compute damaged columns again, count again, and drop an approximate index that cannot be used."""
        self._connections.check_writable()
        verification, damaged, indexes = self._examine(progress)
        repaired = []
        if damaged:
            self._connections.write(lambda connection: self._rewrite(connection, damaged))
            repaired.append(f"the columns for filters and lexical search of {len(damaged):,} documents")
        if any(problem.part == "state" for problem in verification.problems):
            self._connections.write(self._recount)
            repaired.append("the counts of documents")
        with self._connections.outside() as connection:
            for name in indexes:
                if "_hnsw_" in name:
                    connection.execute(f'DROP INDEX IF EXISTS {self._collection.schema}."{name}"'.encode())
                else:
                    connection.execute(f'REINDEX INDEX {self._collection.schema}."{name}"'.encode())
                repaired.append(f"the index {name}")
        left = tuple(problem for problem in verification.problems if not problem.derived)
        return Verification(left, verification.warnings, verification.checked, tuple(repaired))

    def compact(self, progress: Progress | None) -> Compaction:
        """Let the server use the space of dead rows again."""
        self._connections.check_writable()
        table = self._collection.documents
        with self._connections.outside() as connection:
            before, dead = self._size(connection)
            connection.execute("SELECT set_config('statement_timeout', '0', false)")
            connection.execute(f"VACUUM (ANALYZE) {table}".encode())
            after, _ = self._size(connection)
        if progress is not None and dead:
            progress(dead)
        return Compaction(dead, before, after)

    def backup(self, target: Path, progress: Progress | None) -> None:
        """Export the collection, as of one commit, to a new folder: a collection of the local engine."""
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise ConfigError(f"{target} exists and is not empty. Name a new folder", folder=str(target))
        target.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as folder:
            copy = Path(folder) / "copy"
            self._export(copy, progress)
            if target.exists():
                target.rmdir()
            copy.rename(target)

    def _export(self, folder: Path, progress: Progress | None) -> None:
        local: Any = plugins.load("engines", "file")
        with self._connections.outside() as connection:
            connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            manifest = read_state(connection, self._collection).manifest
            space = manifest.space
            settings = CollectionSettings(
                space.metric,
                space.norms,
                manifest.partition,
                embedder=manifest.embedder,
                k1=manifest.bm25.k1,
                b=manifest.bm25.b,
            )
            engine = local.open(folder, settings, create=True)
            try:
                for page in _pages(self._rows(connection)):
                    vectors = decode_vectors([row[_PLACE["embedding"]] for row in page], space.dimension or 0)
                    records = [_record(row) for row in page]
                    documents = [record.document() for record in records]
                    truncated = {place for place, record in enumerate(records) if record.truncated}
                    engine.add(documents, Vectors(vectors), space, truncated=truncated)
                    if progress is not None:
                        progress(vectors.nbytes + sum(len(value) for row in page for value in row[:5]))
                notes = connection.execute(
                    f"SELECT name, value FROM {self._collection.notes} WHERE collection = %s",
                    (self._collection.number,),
                )
                for name, value in notes.fetchall():
                    if not name.startswith("engine:"):
                        engine.write_note(unescape(name), unescape(value))
            finally:
                engine.close()

    def _examine(self, progress: Progress | None) -> tuple[Verification, list[int], list[str]]:
        """Return the findings, the keys of rows whose derived columns are damaged, and the indexes to rebuild."""
        problems: list[Problem] = []
        damaged: list[int] = []
        changed: list[str] = []
        rows = truncated = 0
        with self._connections.outside() as connection:
            connection.execute("SELECT set_config('statement_timeout', '0', false)")
            connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            state = read_state(connection, self._collection)
            dimension = state.manifest.space.dimension
            for page in _pages(self._rows(connection)):
                bad, derived = self._check_page(page, dimension or 0)
                changed += bad
                damaged += derived
                rows += len(page)
                truncated += sum(row[_PLACE["truncated"]] == b"\1" for row in page)
                if progress is not None:
                    progress(len(page))
            problems += _problem(changed, "documents", "documents or vectors do not match their hash", derived=False)
            problems += _problem(
                damaged, "lexical", "documents have damaged columns for filters or words", derived=True
            )
            if (rows, truncated) != (state.live, state.truncated):
                message = f"{rows:,} documents are stored, {truncated:,} truncated; the counts say otherwise"
                problems.append(Problem("state", message, derived=True))
            indexes = self._check_schema(connection, dimension, problems)
        checked = {"documents": rows, "vectors": rows}
        return Verification(tuple(problems), (), checked), damaged, indexes

    def _check_page(self, page: Sequence[Sequence[bytes]], dimension: int) -> tuple[list[str], list[int]]:
        """Return the ids of rows that do not match their checksum, and the keys of rows with wrong derived columns."""
        changed: list[str] = []
        damaged: list[int] = []
        terms = self._terms.terms([unescape(row[_PLACE["text"]].decode()) for row in page])
        for row, words in zip(page, terms, strict=True):
            stored = row[_PLACE["embedding"]]
            name = row[_PLACE["id"]].decode(errors="replace")
            try:
                if len(stored) != 4 + 4 * dimension:
                    raise ValueError("another dimension")
                vector = decode_vectors([stored], dimension)[0]
                expected = row_values(_record(row), words, vector, stored)
            except (ValueError, TypeError, LookupError, TheodoliteError):
                changed.append(name)
                continue
            if row[_PLACE["digest"]] != expected[_PLACE["digest"] - 1]:
                changed.append(name)
            elif any(not _same(each, row[_PLACE[each]], expected[_PLACE[each] - 1]) for each in _DERIVED):
                damaged.append(_key(row))
        return changed, damaged

    def _check_schema(self, connection: Connection, dimension: int | None, problems: list[Problem]) -> list[str]:
        """Check the vector's type and the indexes. Return the names of indexes that cannot be used."""
        table, leaves = self._collection.documents, leaf_tables(connection, self._collection)
        row = connection.execute(
            "SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = %s::regclass "
            "AND attname = 'embedding'",
            (table,),
        ).fetchone()
        wanted = "vector" if dimension is None else f"vector({dimension})"
        if row is None or str(row[0]).rpartition(".")[2] != wanted:
            problems.append(Problem("schema", f"the column of vectors is {row and row[0]}, not {wanted}"))
        found = connection.execute(
            "SELECT c.relname, i.indisvalid AND i.indisready FROM pg_index AS i "
            "JOIN pg_class AS c ON c.oid = i.indexrelid WHERE i.indrelid = ANY(%s::regclass[])",
            (leaves,),
        ).fetchall()
        broken = [str(name) for name, valid in found if not valid]
        if broken:
            message = f"{len(broken)} indexes are not valid, first {broken[0]}"
            problems.append(Problem("index", message, derived=True))
        note = connection.execute(
            f"SELECT value FROM {self._collection.notes} WHERE (collection, name) = (%s, %s)",
            (self._collection.number, NOTE),
        ).fetchone()
        if note is not None:
            index = ApproximateIndex.from_note(unescape(note[0]))
            missing = set(index.names(len(leaves))) - {str(name) for name, _ in found}
            if missing:
                problems.append(Problem("index", f"the index {min(missing)} is missing. Run reindex()"))
        return broken

    def _rewrite(self, connection: Connection, keys: Sequence[int]) -> None:
        """Compute the derived columns of rows again."""
        read_state(connection, self._collection, lock=True)
        wanted = set(keys)
        page = [row for row in self._rows(connection) if _key(row) in wanted]
        records = [_record(row) for row in page]
        vectors = decode_vectors(
            [row[_PLACE["embedding"]] for row in page], (len(page[0][_PLACE["embedding"]]) - 4) // 4
        )
        table = self._collection.documents
        connection.execute(f"CREATE TEMPORARY TABLE repaired (LIKE {table}) ON COMMIT DROP".encode())
        connection.execute("ALTER TABLE repaired ALTER COLUMN key DROP NOT NULL")
        with connection.cursor().copy(f"COPY repaired ({COLUMNS}) FROM STDIN (FORMAT BINARY)".encode()) as copy:
            for piece in encode_rows(records, self._terms, vectors):
                copy.write(piece)
        columns = ", ".join(f"{name} = new.{name}" for name in _DERIVED)
        connection.execute(
            f"UPDATE {table} AS old SET {columns} FROM repaired AS new "
            "WHERE (old.partition, old.id) = (new.partition, new.id) AND old.key = ANY(%s::bigint[])".encode(),
            (encode_keys(np.array(keys, np.int64)),),
        )

    def _recount(self, connection: Connection) -> None:
        read_state(connection, self._collection, lock=True)
        connection.execute(
            f"UPDATE {self._collection.collections} SET (live, truncated) = (SELECT count(*), count(*) FILTER "
            f"(WHERE truncated) FROM {self._collection.documents}) WHERE number = %s",
            (self._collection.number,),
        )

    def _rows(self, connection: Connection) -> Iterator[tuple[bytes, ...]]:
        """Yield the key and the columns of all rows, in binary form."""
        query = f"COPY (SELECT key, {COLUMNS} FROM {self._collection.documents} ORDER BY key) TO STDOUT (FORMAT BINARY)"
        with connection.cursor().copy(query.encode()) as copy:
            yield from read_rows(copy)

    def _size(self, connection: Connection) -> tuple[int, int]:
        row = connection.execute(
            "SELECT sum(pg_total_relation_size(leaf)), sum(pg_stat_get_dead_tuples(leaf)) "
            "FROM unnest(%s::regclass[]) AS t(leaf)",
            (leaf_tables(connection, self._collection),),
        ).fetchone()
        return (0, 0) if row is None else (int(row[0]), int(row[1]))


def _pages(rows: Iterator[tuple[bytes, ...]]) -> Iterator[list[tuple[bytes, ...]]]:
    while page := list(islice(rows, _PAGE)):
        yield page


def _key(row: Sequence[bytes]) -> int:
    return int.from_bytes(row[0], "big", signed=True)


def _record(row: Sequence[bytes]) -> Record:
    partition, name, text, metadata = (row[_PLACE[each]].decode() for each in ("partition", "id", "text", "metadata"))
    return Record(unescape(name), unescape(text), metadata, row[_PLACE["truncated"]] == b"\1", unescape(partition))


def _same(name: str, found: bytes, expected: bytes) -> bool:
    if name != "fields":
        return found == expected
    # The server orders the keys of JSON its own way.
    return bool(
        json.loads(found[1:], parse_float=str, parse_int=str)
        == json.loads(expected[1:], parse_float=str, parse_int=str)
    )


def _problem(names: Sequence[object], part: str, what: str, *, derived: bool) -> list[Problem]:
    return [Problem(part, f"{len(names):,} {what}, first {names[0]!r:.80}", derived)] if names else []
