"""The file records.sqlite: when documents were indexed, and from which source. Several processes may open it."""

import json
import os
import sqlite3
import stat
import threading
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from theodolite import ConfigError, EngineError, ForkGate, register_at_fork

FILE = "records.sqlite"  # `verify` and `backup` of the core know this name

_FORMAT = 1
_PAGE = 1000  # keys
_UNDER_WAY = 3600.0  # the longest time in seconds between `index()` asking for a document and writing it
_BUSY = 30.0  # seconds to wait for another process
_CLOCK = "(julianday('now') - 2440587.5) * 86400.0"

# `pending`: about to be written, or written but not recorded yet. The source is unknown.
_TABLES = (
    "CREATE TABLE IF NOT EXISTS clock (at REAL NOT NULL)",
    "INSERT INTO clock SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM clock)",
    "CREATE TABLE IF NOT EXISTS records (namespace TEXT, key TEXT, source, at REAL NOT NULL, pending INTEGER NOT NULL, "
    "PRIMARY KEY (namespace, key)) WITHOUT ROWID",
    "CREATE INDEX IF NOT EXISTS by_time ON records (namespace, at, key)",
    "CREATE INDEX IF NOT EXISTS by_source ON records (namespace, source, at, key)",
    "CREATE INDEX IF NOT EXISTS by_pending ON records (namespace, at, key) WHERE pending",
)


_GATE = ForkGate("the records of index()")


class Ledger:
    """The records of one namespace."""

    def __init__(self, path: Path | None, namespace: str) -> None:
        """
        Args:
            path: the file, created if it does not exist. None keeps the records in memory.

        Raises:
            EngineError: the file cannot be read or written. ConfigError: a newer version wrote the file.
        """
        self._place = ":memory:" if path is None else str(path)
        self._namespace = namespace
        self._lock = threading.Lock()
        self._held: list[sqlite3.Connection] = []  # at most one
        weakref.finalize(self, _close, self._held)
        register_at_fork(self)
        self.create()

    def create(self) -> None:
        """Create the tables if they do not exist."""
        with self._using() as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
        with self._writing() as connection:
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version not in (0, _FORMAT):
                raise ConfigError(f"{self._place} is of version {version}, and this program reads {_FORMAT}: update it")
            for statement in _TABLES:
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {_FORMAT}")

    def forked(self, held: bool) -> None:
        """Drop the parent's connection in a forked child. Records in memory stay."""
        if _GATE.lost or self._place != ":memory:":
            _GATE.drop(self._held)

    def now(self) -> float:
        """Return seconds since 1970. Every call returns a later time than the last, in every process."""
        with self._writing() as connection:
            return _now(connection)

    def record(self, keys: Sequence[str], sources: Sequence[str | None] | None, time_at_least: float | None) -> None:
        """Record documents as written now. Without sources, recorded sources stay.

        Raises:
            ValueError: the clock is behind `time_at_least`.
        """
        # After a crash before the sources arrive, documents must still have their old sources.
        changed = "" if sources is None else ", source = excluded.source, pending = 0"
        entries = zip(keys, [None] * len(keys) if sources is None else sources, strict=True)
        with self._writing() as connection:
            now = _now(connection)
            if time_at_least is not None and now < time_at_least:
                raise ValueError(f"the clock says {now}, before {time_at_least}: is that time from another machine?")
            connection.executemany(
                f"INSERT INTO records VALUES (?, ?, ?, ?, 0) ON CONFLICT DO UPDATE SET at = excluded.at{changed}",  # noqa: S608 - one of two texts
                [(self._namespace, key, source, now) for key, source in entries],
            )

    def announce(self, keys: Sequence[str]) -> None:
        """Record that documents are about to be written."""
        with self._writing() as connection:
            now = _now(connection)
            connection.executemany(
                "INSERT INTO records VALUES (?, ?, NULL, ?, 1) ON CONFLICT DO UPDATE SET at = excluded.at",
                [(self._namespace, key, now) for key in keys],
            )

    def delete(self, keys: Sequence[str], *, old: bool = False) -> None:
        """Delete the records of documents. With `old`, keep recent ones: their write may still be under way."""
        than = f" AND at < {_CLOCK} - {_UNDER_WAY}" if old else ""
        if keys:
            with self._writing() as connection:
                connection.executemany(
                    f"DELETE FROM records WHERE namespace = ? AND key = ?{than}",  # noqa: S608 - one of two texts
                    [(self._namespace, key) for key in keys],
                )

    def pages(
        self,
        before: float | None,
        after: float | None,
        sources: Sequence[str] | None = None,
        *,
        pending: bool = False,
    ) -> Iterator[list[str]]:
        """Yield pages of keys of documents from these sources, written between two times, oldest first.

        Args:
            pending: yield only documents with an unknown source.
        """
        tests: dict[str, Any] = {"namespace = ?": self._namespace}
        if before is not None:
            tests["at < ?"] = before
        if after is not None:
            tests["at > ?"] = after
        if sources is not None:
            tests["NOT pending AND source IN (SELECT value FROM json_each(?))"] = json.dumps(list(sources))
        if pending:
            tests["pending AND ?"] = True
        query = (
            f"SELECT at, key FROM records WHERE {' AND '.join(tests)} AND (at, key) > (?, ?) "  # noqa: S608 - our texts
            f"ORDER BY at, key LIMIT {_PAGE}"
        )
        at, key = 0.0, ""
        while True:
            with self._using() as connection:
                rows = connection.execute(query, (*tests.values(), at, key)).fetchall()
            if not rows:
                return
            at, key = rows[-1]
            yield [key for _, key in rows]

    def latest(self, sources: Sequence[str], limit: int) -> dict[str, str]:
        """Return up to `limit` of the most recently recorded documents from these sources, with their sources."""
        with self._using() as connection:
            rows = connection.execute(
                "SELECT key, source FROM records WHERE namespace = ? AND NOT pending "
                "AND source IN (SELECT value FROM json_each(?)) ORDER BY at DESC LIMIT ?",
                (self._namespace, json.dumps(list(sources)), limit),
            ).fetchall()
        return dict(rows)

    @contextmanager
    def _using(self) -> Iterator[sqlite3.Connection]:
        """Hold the connection for one thread at a time."""
        with self._lock, _GATE:
            try:
                if not self._held:
                    _check_files(self._place)
                    self._held.append(
                        sqlite3.connect(self._place, timeout=_BUSY, isolation_level=None, check_same_thread=False)
                    )
                yield self._held[0]
            except sqlite3.Error as error:
                raise EngineError(
                    f"{self._place}: {error}. Only index() needs it. If it is damaged, delete it and index everything "
                    "again: stored documents are not written twice",
                    path=self._place,
                ) from error

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """Run a transaction: it stores everything durably, or nothing."""
        with self._using() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                connection.rollback()
                raise


def _close(held: list[sqlite3.Connection]) -> None:
    while held:
        held.pop().close()


def _check_files(place: str) -> None:
    """Raise EngineError for links, pipes and other special files: the folder may come from an untrusted source."""
    for suffix in ("", "-wal", "-shm", "-journal"):
        file = place + suffix
        if os.path.lexists(file) and not stat.S_ISREG(os.lstat(file).st_mode):
            raise EngineError(f"{file} is not a regular file; it is not opened. Remove it", path=file)


def _now(connection: sqlite3.Connection) -> float:
    """Return the time of SQLite's clock, or the last returned time plus one microsecond if that is later."""
    connection.execute(f"UPDATE clock SET at = max(at + 1e-6, {_CLOCK})")  # noqa: S608 - our text
    (now,) = connection.execute("SELECT at FROM clock").fetchone()
    return float(now)
