"""Approximate search with pgvector's HNSW: the index is built while the table is in use, and calibrated.

`hnsw` has the settings `M` and `ef_construction`. A vector of more than 2,000 dimensions is indexed as halfvec, up to
4,000; stored vectors and scores stay float32. Iterative scans go on until enough documents pass a filter; where they
end short, `RemoteSearch` compares all eligible documents.
"""

import json
import re
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from theodolite.engines import refusals
from theodolite.engines.postgres.binary import decode_vectors, encode_keys, vector_length
from theodolite.engines.postgres.catalog import Collection, build_lock, leaf_tables, read_state
from theodolite.engines.postgres.connections import Connection, Connections
from theodolite.engines.postgres.notes import NoteStore
from theodolite.errors import ConfigError, CorruptionError, LockedError, UnsupportedError
from theodolite.indexes.ann.calibration import Calibration, Kind, Rung, synthetic_queries
from theodolite.types import Space, Vectors
from theodolite.vectors.metrics import get_metric

NOTE = "engine:index"
"""The name of the note that describes the index."""

FLAT = "flat"
MAX_FULL = 2_000
MAX_HALF = 4_000
MAX_EF = 1_000

_LADDER = (20, 30, 40, 60, 80, 100, 150, 200, 300, 400, 600, 800, MAX_EF)
_DEFAULTS = {"M": 16, "ef_construction": 64}
_LIMITS = {"M": (2, 100), "ef_construction": (4, 1000)}
_QUERIES = 200
_K = 10
_MEMORY = 2 << 30  # bytes of memory for a build; with less, it is many times slower
_FRESH = 2.0  # seconds before a note is read again
_POLL = 0.2


class Measure(Protocol):
    """Returns the similarities of the k documents nearest to each query."""

    def __call__(
        self, index: "ApproximateIndex", queries: Vectors, k: int, ef: int | None
    ) -> list[NDArray[np.float64]]:
        """`ef` is the value of `hnsw.ef_search`; None compares all documents."""
        ...


@dataclass(frozen=True, slots=True)
class ApproximateIndex:
    """An index that searches use.

    Attributes:
        spec: its name with all settings.
        name: its name in the database, or how the names begin if there are several tables.
        dimension: the dimension of the vectors.
        calibration: `n` is the number that `ef_search` must have.
    """

    spec: str
    name: str
    dimension: int
    calibration: Calibration

    @property
    def is_half(self) -> bool:
        return self.dimension > MAX_FULL

    def names(self, tables: int) -> list[str]:
        """Return the names of the indexes in the database: one for each table of documents."""
        return [self.name] if tables == 1 else [f"{self.name}_{number}" for number in range(tables)]

    def ef(self, k: int) -> int:
        """Return `hnsw.ef_search` for lists of length k."""
        return min(MAX_EF, max(k, self.calibration.needed(k)[0]))

    def to_note(self) -> str:
        values = {"spec": self.spec, "name": self.name, "dimension": self.dimension}
        return json.dumps({**values, "calibration": self.calibration.to_dict()})

    @classmethod
    def from_note(cls, text: str) -> "ApproximateIndex":
        """Read the output of `to_note`. Raises CorruptionError."""
        try:
            values = json.loads(text)
            found = cls(**{**values, "calibration": Calibration.from_dict(values["calibration"])})
            if type(found.dimension) is int and re.fullmatch(r"documents_\d+_hnsw_\d+", found.name):
                return found
        except (ValueError, TypeError, KeyError):
            pass
        raise CorruptionError(f"the note on the approximate index is damaged: {text!r:.200}. Run reindex()")


class Indexes:
    """Builds the approximate index of a collection, and knows the current one. Thread-safe."""

    def __init__(self, connections: Connections, collection: Collection, notes: NoteStore, measure: Measure) -> None:
        self._connections = connections
        self._collection = collection
        self._notes = notes
        self._measure = measure
        self._known: tuple[float, ApproximateIndex | None] = (-np.inf, None)

    def current(self) -> ApproximateIndex | None:
        """Return the index that searches use. Another process's change is seen after two seconds."""
        read, found = self._known
        if time.monotonic() - read > _FRESH:
            note = self._notes.read(NOTE)
            found = None if note is None else ApproximateIndex.from_note(note)
            self._known = time.monotonic(), found
        return found

    def reindex(
        self,
        spec: str,
        target_recall: float,
        queries: Vectors | None,
        progress: Callable[[int], object] | None,
    ) -> None:
        """Implement `protocols.Indexing.reindex`."""
        settings = parse_spec(spec)
        self._connections.check_writable()
        with self._connections.outside() as connection:
            if not build_lock(connection, self._collection):
                raise LockedError(f"{self._collection.shown}: another process or thread is building an index")
            old = self._notes.read(NOTE)
            if settings is None:
                self._set(None)
                self._drop_others(connection, None)
                return
            index = self._build(connection, settings, progress)
            try:
                index = replace(index, calibration=self._calibrate(connection, index, target_recall, queries, progress))
            except BaseException:
                self._drop_others(connection, None if old is None else ApproximateIndex.from_note(old).name)
                raise
            self._set(index)
            self._drop_others(connection, index.name)

    def _set(self, index: ApproximateIndex | None) -> None:
        self._notes.write(NOTE, None if index is None else index.to_note(), replace=True, wait=True)
        self._known = time.monotonic(), index

    def _build(
        self, connection: Connection, settings: dict[str, int], progress: Callable[[int], object] | None
    ) -> ApproximateIndex:
        state = read_state(connection, self._collection)
        space = state.manifest.space
        if space.dimension is None:
            raise ConfigError("the collection has no vectors yet. Add documents first, then build the index")
        if space.dimension > MAX_HALF:
            raise UnsupportedError(
                f"vectors of {space.dimension:,} dimensions cannot be indexed: pgvector's HNSW takes {MAX_HALF:,}. "
                "Searches stay exact"
            )
        number = secrets.randbelow(10**15)  # not the time: clocks differ, and go back
        spec = "hnsw:" + ",".join(f"{name}={value}" for name, value in settings.items())
        nothing = Calibration(0.0, _K, _K, _K, 0.0, 0.0, 0, "noise")
        index = ApproximateIndex(spec, f"documents_{self._collection.number}_hnsw_{number}", space.dimension, nothing)
        operators = "l2_ops" if get_metric(space.metric).by_distance else "ip_ops"
        column = f"(embedding::halfvec({space.dimension})) halfvec" if index.is_half else "embedding vector"
        memory = min(_MEMORY, max(64 << 20, 2 * state.live * (4 * space.dimension + 40 * settings["M"])))
        connection.execute(
            "SELECT set_config('maintenance_work_mem', %s, false), set_config('statement_timeout', '0', false), "
            "set_config('lock_timeout', '0', false)",
            (f"{memory >> 10}kB",),
        )
        tables = leaf_tables(connection, self._collection)
        names = index.names(len(tables))
        try:
            for name, table in zip(names, tables, strict=True):
                statement = (
                    f"CREATE INDEX CONCURRENTLY {name} ON {table} USING hnsw ({column}_{operators}) "
                    f"WITH (m = {settings['M']}, ef_construction = {settings['ef_construction']})"
                )
                self._run(connection, statement, progress)
        except BaseException:
            # Drop the remains of an interrupted build: PostgreSQL cannot resume it.
            for name in names:
                connection.execute(f"DROP INDEX IF EXISTS {self._collection.schema}.{name}".encode())
            raise
        return index

    def _run(self, connection: Connection, statement: str, progress: Callable[[int], object] | None) -> None:
        """Run a statement in a thread, and report how many rows it has done. An exception of `progress` ends it."""
        failed: list[BaseException] = []

        def run() -> None:
            try:
                connection.execute(statement.encode())
            except BaseException as error:
                failed.append(error)

        thread = threading.Thread(target=run, name="theodolite-index", daemon=True)
        thread.start()
        seen = 0
        try:
            while thread.is_alive():
                thread.join(_POLL)
                if progress is not None and thread.is_alive():
                    done = self._done(connection.info.backend_pid)
                    if done > seen:
                        progress(done - seen)
                        seen = done
        except BaseException:
            connection.cancel()
            thread.join()
            raise
        if failed:
            raise failed[0]

    def _done(self, pid: int) -> int:
        row = self._connections.read(
            lambda connection: connection.execute(
                "SELECT tuples_done FROM pg_stat_progress_create_index WHERE pid = %s", (pid,)
            ).fetchone()
        )
        return 0 if row is None else int(row[0] or 0)

    def _calibrate(
        self,
        connection: Connection,
        index: ApproximateIndex,
        target: float,
        queries: Vectors | None,
        progress: Callable[[int], object] | None,
    ) -> Calibration:
        """Find the smallest `ef_search` whose recall, minus its standard error, reaches the target."""
        given = queries is not None
        if queries is None:
            queries = self._synthetic(connection, index)
        k = _K
        if not len(queries):
            return Calibration(target, k, k, k, 0.0, 0.0, 0, "noise")
        truth = self._measure(index, queries, k, None)
        ladder: list[Rung] = []
        for ef in _LADDER:
            found = self._measure(index, queries, k, ef)
            hits = np.zeros((len(queries), k), np.bool_)
            for number, (true, listed) in enumerate(zip(truth, found, strict=True)):
                least = true.min(initial=np.inf)
                hits[number, : np.count_nonzero(listed >= least - 1e-6 * abs(least))] = True
                hits[number, len(true) :] = True  # there are fewer documents than k
            ladder.append(Rung.of(ef, np.bincount(np.count_nonzero(hits, axis=1), minlength=k + 1)))
            if progress is not None:
                progress(len(queries))
            if ladder[-1].reaches(target):
                break
        best = max(ladder, key=lambda rung: (rung.reaches(target), rung.recall, -rung.n))
        kind: Kind = "given" if given else "noise"
        return Calibration(target, k, best.n, best.n, best.recall, best.lower, len(queries), kind, ladder=tuple(ladder))

    def _synthetic(self, connection: Connection, index: ApproximateIndex) -> Vectors:
        """Return queries near a sample of documents."""
        table = self._collection.documents
        row = connection.execute(f"SELECT coalesce(min(key), 0), coalesce(max(key), -1) FROM {table}").fetchone()
        low, high = row or (0, -1)
        picked = np.unique(np.random.default_rng(0).integers(low, max(low, high) + 1, 4 * _QUERIES))
        with connection.cursor(binary=True) as cursor:
            cursor.execute(
                f"SELECT embedding FROM {table} WHERE key = ANY(%s::bigint[]) LIMIT {_QUERIES}".encode(),
                (encode_keys(picked),),
            )
            stored = [found[0] for found in cursor]
        metric = read_state(connection, self._collection).manifest.space.metric
        if not stored:
            return Vectors(np.empty((0, index.dimension), np.float32))
        return synthetic_queries(decode_vectors(stored, vector_length(stored)), Space(metric, index.dimension, "any"))

    def _drop_others(self, connection: Connection, kept: str | None) -> None:
        """Drop all approximate indexes of the collection but one."""
        tables = leaf_tables(connection, self._collection)
        rows = connection.execute(
            "SELECT c.relname FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid "
            "WHERE i.indrelid = ANY(%s::regclass[]) AND c.relname LIKE %s",
            (tables, f"documents\\_{self._collection.number}\\_hnsw\\_%"),
        ).fetchall()
        left = set() if kept is None else {kept, *(f"{kept}_{number}" for number in range(len(tables)))}
        for (name,) in rows:
            if name not in left:
                connection.execute(f'DROP INDEX CONCURRENTLY IF EXISTS {self._collection.schema}."{name}"'.encode())


def parse_spec(spec: str) -> dict[str, int] | None:
    """Return the settings of an index; None for `flat`. Raises ConfigError."""
    if spec in (FLAT, "auto"):
        return None
    name, _, argument = spec.partition(":") if isinstance(spec, str) else (spec, "", "")
    if name != "hnsw":
        raise refusals.unknown_index(spec, [FLAT, "hnsw"])
    settings = dict(_DEFAULTS)
    for part in filter(None, (part.strip() for part in argument.split(","))):
        key, _, text = (side.strip() for side in part.partition("="))
        low, high = _LIMITS.get(key, (0, -1))
        if not (text.isascii() and text.isdigit() and low <= int(text) <= high):
            known = ", ".join(f"{each}={low}..{high}" for each, (low, high) in _LIMITS.items())
            raise ConfigError(f"hnsw: {part!r} is not a setting. Known: {known}", name=key)
        settings[key] = int(text)
    if settings["ef_construction"] < 2 * settings["M"]:
        raise ConfigError("hnsw: ef_construction must be at least twice M", name="ef_construction")
    return settings
