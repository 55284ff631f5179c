"""records.sqlite: when documents were indexed, and from which source. Several processes may have it open."""

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

FILE = "records.sqlite"  # `verify` and `backup` of the core know the name

_FORMAT = 1
_PAGE = 1000  # keys
_UNDER_WAY = 3600.0  # seconds that `index()` may take from asking for a document to writing it
_BUSY = 30.0  # seconds to wait for another process
_CLOCK = "(julianday('now') - 2440587.5) * 86400.0"

# `pending`: about to be written, or written and not recorded yet; the source is not known.
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
            path: the file, made where there is none; None keeps them in memory.

        Raises:
            EngineError: it cannot be read or written. ConfigError: it is of a newer version.
        """
        self._place = ":memory:" if path is None else str(path)
        self._namespace = namespace
        self._lock = threading.Lock()
        self._held: list[sqlite3.Connection] = []  # one, or none
        weakref.finalize(self, _close, self._held)
        register_at_fork(self)
        self.create()

    def create(self) -> None:
        """Make the tables where there are none."""
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
        """In a forked child: let go of the parent's connection. What is kept in memory stays."""
        if _GATE.lost or self._place != ":memory:":
            _GATE.drop(self._held)

    def now(self) -> float:
        """Seconds since 1970; never the same twice and never earlier than before, in any process."""
        with self._writing() as connection:
            return _now(connection)

    def record(self, keys: Sequence[str], sources: Sequence[str | None] | None, time_at_least: float | None) -> None:
        """Documents as written now. Without sources those that are recorded stay.

        Raises:
            ValueError: the clock is behind `time_at_least`.
        """
        # A crash before the sources come must not leave documents without those they had.
        changed = "" if sources is None else ", source = excluded.source, pending = 0"
        entries = zip(keys, [None] * len(keys) if sources is None else sources, strict=True)
        with self._writing() as connection:
            now = _now(connection)
            if time_at_least is not None and now < time_at_least:
                raise ValueError(f"the clock says {now}, which is before {time_at_least}: is that time from elsewhere?")
            connection.executemany(
                f"INSERT INTO records VALUES (?, ?, ?, ?, 0) ON CONFLICT DO UPDATE SET at = excluded.at{changed}",  # noqa: S608 - one of two texts
                [(self._namespace, key, source, now) for key, source in entries],
            )

    def announce(self, keys: Sequence[str]) -> None:
        """Documents that are about to be written."""
        with self._writing() as connection:
            now = _now(connection)
            connection.executemany(
                "INSERT INTO records VALUES (?, ?, NULL, ?, 1) ON CONFLICT DO UPDATE SET at = excluded.at",
                [(self._namespace, key, now) for key in keys],
            )

    def delete(self, keys: Sequence[str], *, old: bool = False) -> None:
        """Forget documents; with `old` only those that nobody can be about to write."""
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
        """Keys of documents written between two times, from these sources, page by page, the oldest first.

        Args:
            pending: only those whose source is not known.
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
        """Some of the documents recorded last from these sources, with their sources."""
        with self._using() as connection:
            rows = connection.execute(
                "SELECT key, source FROM records WHERE namespace = ? AND NOT pending "
                "AND source IN (SELECT value FROM json_each(?)) ORDER BY at DESC LIMIT ?",
                (self._namespace, json.dumps(list(sources)), limit),
            ).fetchall()
        return dict(rows)

    @contextmanager
    def _using(self) -> Iterator[sqlite3.Connection]:
        """The connection, for one thread at a time."""
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
                    "again: what is in the collection is not written twice",
                    path=self._place,
                ) from error

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction: all of it is stored, durably, or nothing."""
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
    """Raises EngineError where there is a link, a pipe or the like: the folder may come from somebody else."""
    for suffix in ("", "-wal", "-shm", "-journal"):
        file = place + suffix
        if os.path.lexists(file) and not stat.S_ISREG(os.lstat(file).st_mode):
            raise EngineError(f"{file} is not a regular file; it is not opened. Remove it", path=file)


def _now(connection: sqlite3.Connection) -> float:
    """The time of SQLite's clock, or a microsecond more than what was told last."""
    connection.execute(f"UPDATE clock SET at = max(at + 1e-6, {_CLOCK})")  # noqa: S608 - our text
    (now,) = connection.execute("SELECT at FROM clock").fetchone()
    return float(now)
