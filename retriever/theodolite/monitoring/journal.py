"""The monitor's file, monitor.sqlite: hourly series, the latest values, the baseline and the alerts, all bounded.

Processes share the file. Each adds its measurements in its own transaction and sees those of the others.

Recent searches are compared with baselines: the first week, and the week before the last 24 hours. The first week is
complete once its seven days have 200 searches. Until then the baseline is everything so far except the latest values.
The limits are wider for that time, since it does not cover daily and weekly cycles yet.
"""

import contextlib
import json
import logging
import os
import sqlite3
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

from theodolite.engines.local.storage.folder import DATABASE, MONITOR, STORE, Folder
from theodolite.errors import EngineError, TheodoliteError
from theodolite.forking import COLLECTIONS, register_at_fork
from theodolite.monitoring.alert_rules import Alert, Baseline, Finding
from theodolite.monitoring.histograms import Moments, Series
from theodolite.protocols import Engine, folder_of

_log = logging.getLogger("theodolite.monitor")

T = TypeVar("T")

_APPLICATION = 0x7468656D  # "them"
_FORMAT = 1
_HOURS = 840  # windows kept: 35 days
_LATEST = {"top1": 100, "empty": 100, "norm": 100, "recall": 200}  # individual values kept of each series
_ALERTS = 100
_BUSY = 2.0  # seconds to wait for another process

_HOUR = 3600
_WEEK = 7 * 24 * _HOUR
_MIN_COMPLETE = 200  # searches in a complete baseline
_MIN_SEARCHES = 100  # searches in an incomplete baseline, and in a week
_INCOMPLETE = 2.0  # tolerance of an incomplete baseline

# Errors that are temporary or need an administrator. All other SQLite errors mean damage.
_TEMPORARY = {
    *(sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PERM, sqlite3.SQLITE_READONLY),
    *(sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_NOMEM),
}
_DAMAGE = (sqlite3.DatabaseError, ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError)

_TABLES = """
CREATE TABLE IF NOT EXISTS series (
    start INTEGER, name TEXT, count INTEGER, total REAL, squares REAL, bins BLOB, PRIMARY KEY (start, name)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS latest (number INTEGER PRIMARY KEY, name TEXT, start INTEGER, value REAL);
CREATE TABLE IF NOT EXISTS alerts (
    number INTEGER PRIMARY KEY, cause TEXT, at REAL, value REAL, before REAL, message TEXT
);
CREATE TABLE IF NOT EXISTS notes (name TEXT PRIMARY KEY, value TEXT);
"""

Rules = Callable[[Mapping[str, Sequence[float]], Mapping[str, Moments], Sequence[Baseline]], Iterator[Finding]]


@dataclass(slots=True)
class Batch:
    """Measurements since the last write: series by hour, and the latest individual values."""

    series: dict[tuple[int, str], Series] = field(default_factory=dict)
    latest: list[tuple[str, int, float]] = field(default_factory=list)

    def add(self, at: float, name: str, values: Sequence[float], latest: Sequence[float] | None = None) -> None:
        """Add values of one series. `latest` gives the individual values to keep if they differ (logarithms)."""
        start = int(at // _HOUR) * _HOUR
        self.series.setdefault((start, name), Series()).add(values, logarithms=latest is not None)
        if name in _LATEST:
            kept = values if latest is None else latest
            self.latest += [(name, start, value) for value in kept[-_LATEST[name] :]]

    def bound(self) -> None:
        """Drop entries that the file would not keep. Bounds the size of a batch that could not be written yet."""
        for key in sorted(self.series)[: -_HOURS * (len(_LATEST) + 1)]:
            del self.series[key]
        self.latest = self.latest[-2 * sum(_LATEST.values()) :]


@dataclass(frozen=True, slots=True)
class Contents:
    """Everything a report needs. `baseline` is None if nothing has been measured."""

    windows: dict[int, dict[str, Series]]
    latest: dict[str, list[float]]
    baseline: Baseline | None
    alerts: list[Alert]


class Journal:
    """The monitor's file, or a database in memory if `path` is None."""

    def __init__(self, path: Path | None, folder: Folder | None = None) -> None:
        """
        Args:
            path: the file, or None.
            folder: the collection's folder, if it holds the file. The folder is untrusted and may be replaced.
        """
        self.path = path
        self._folder = folder
        self._connections: list[sqlite3.Connection] = []  # at most one
        self._inode = 0  # inode of the open file; another process may have moved that file away
        weakref.finalize(self, _close_all, self._connections)
        register_at_fork(self)

    def record(self, batch: Batch, now: float, repeat: float, rules: Rules) -> list[Alert]:
        """Add a batch and evaluate it with `rules`. Return the alerts that are new within the last `repeat` seconds.

        Raises:
            OSError, sqlite3.Error: the file cannot be written now. Nothing was added.
        """
        before = self._file()
        try:
            return self._record(batch, now, repeat, rules)
        except _DAMAGE as error:
            if getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF in _TEMPORARY:
                raise
            self._set_aside(before, error)
            return self._record(batch, now, repeat, rules)

    def read(self) -> Contents:
        """Return the contents.

        Raises:
            EngineError: the file cannot be read.
        """
        with _as_engine_error(self.path), self._opened() as connection:
            return _read(connection)

    def alerts(self) -> list[Alert]:
        """Return the alerts, oldest first.

        Raises:
            EngineError: the file cannot be read.
        """
        with _as_engine_error(self.path), self._opened() as connection:
            return _alerts(connection)

    def restart(self, now: float) -> None:
        """Delete the baseline. A new one begins with the next full hour.

        Raises:
            EngineError: the file cannot be written.
        """
        with _as_engine_error(self.path), self._opened() as connection:
            connection.execute("BEGIN IMMEDIATE")
            _store_note(connection, "since", (int(now // _HOUR) + 1) * _HOUR)
            connection.execute("DELETE FROM notes WHERE name = 'baseline'")
            connection.execute("DELETE FROM latest")
            connection.execute("COMMIT")

    def _record(self, batch: Batch, now: float, repeat: float, rules: Rules) -> list[Alert]:
        with self._opened() as connection:
            connection.execute("BEGIN IMMEDIATE")
            new = [_merge(connection, start, name, series) for (start, name), series in batch.series.items()]
            if any(new):
                _prune_windows(connection)
            connection.executemany("INSERT INTO latest (name, start, value) VALUES (?, ?, ?)", batch.latest)
            _prune(connection)
            baselines = _baselines(connection, now)
            day = _totals(connection, now - 24 * _HOUR, now + _HOUR)
            alerts = []
            for cause, message, value, usual in rules(_latest_values(connection), day, baselines):
                if not _raised_recently(connection, cause, now, repeat):
                    connection.execute(
                        "INSERT INTO alerts (cause, at, value, before, message) VALUES (?, ?, ?, ?, ?)",
                        (cause, now, value, usual, message),
                    )
                    alerts.append(Alert(cause, message, _utc(now), value, usual))
            connection.execute("COMMIT")
            return alerts

    def close(self) -> None:
        """Close the file. The next use opens it again. A database in memory is lost."""
        if self._connections:
            with COLLECTIONS:
                _close_all(self._connections)
        if self._folder is not None:
            self._folder.close()

    def forked(self, held: bool) -> None:
        """Drop the parent's connection in a forked child. Keep a database in memory."""
        if COLLECTIONS.lost or self.path is not None:
            COLLECTIONS.drop(self._connections)

    @contextlib.contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        with COLLECTIONS:  # a child that inherits an open transaction would roll it back in shared memory
            yield from self._connection()

    def _connection(self) -> Iterator[sqlite3.Connection]:
        if self._folder is not None:
            _check_place(self._folder)
        if self.path is not None and self._file() != self._inode:
            self.close()
        if not self._connections:
            self._connections.append(_connect(self.path, "rwc"))
        (connection,) = self._connections
        try:
            if not _check(connection):
                _create(connection)
            self._inode = self._file()
            yield connection
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            if self.path is not None:
                self.close()
            raise

    def _file(self) -> int:
        """Return the inode of the file at `path`, or 0. It changes when a process moves a damaged file away."""
        return self.path.stat().st_ino if self.path is not None and self.path.exists() else 0

    def _set_aside(self, file: int, error: Exception) -> None:
        """Rename the damaged file, unless another process already has. Keep it for inspection."""
        if self.path is None or self._file() != file:
            return
        aside = self.path.with_name(f"{self.path.name}.damaged")
        os.replace(self.path, aside)
        for suffix in ("-wal", "-shm", "-journal"):
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)
        _log.warning(
            "%s is damaged or not a monitor's file (%s); moved to %s, starting a new one", self.path, error, aside.name
        )


def contents(path: Path, folder: Folder | None = None) -> Contents | None:
    """Return the contents of a monitor's file without changing it; None if there is no file.

    Args:
        folder: the collection's folder, if it holds the file.

    Raises:
        EngineError: the file cannot be read.
    """
    return _read_only(path, folder, _read)


def alerts_of(engine: Engine) -> list[Alert]:
    """Return the alerts that monitors of other programs have raised, oldest first, without changing their file.

    Raises:
        EngineError: the file cannot be read.
    """
    folder = folder_of(engine)
    if folder is None or not (folder / MONITOR).exists():
        return []
    return _read_only(folder / MONITOR, Folder(folder), _alerts) or []


def _read_only(path: Path, folder: Folder | None, read: Callable[[sqlite3.Connection], T]) -> T | None:
    """Read a monitor's file without changing it. Return None if there is no file."""
    if folder is not None:
        with _as_engine_error(path):
            _check_place(folder)
    if not path.exists():
        return None
    log = path.with_name(f"{path.name}-wal")
    # With a WAL, others may be writing. Without one, a plain read-only connection would leave a WAL behind.
    mode = "ro" if log.exists() and log.stat().st_size else "immutable"
    with _as_engine_error(path), COLLECTIONS, contextlib.closing(_connect(path, mode)) as connection:
        return read(connection) if _check(connection) else None


def _read(connection: sqlite3.Connection) -> Contents:
    windows: dict[int, dict[str, Series]] = {}
    for start, name, count, total, squares, bins in connection.execute("SELECT * FROM series ORDER BY start"):
        windows.setdefault(start, {})[name] = Series.of_bins(Moments(count, total, squares), bins)
    return Contents(windows, _latest_values(connection), _first_week(connection), _alerts(connection))


def _alerts(connection: sqlite3.Connection) -> list[Alert]:
    return [
        Alert(cause, message, _utc(at), value, before)
        for cause, at, value, before, message in connection.execute(
            "SELECT cause, at, value, before, message FROM alerts ORDER BY number"
        )
    ]


def _latest_values(connection: sqlite3.Connection, since: float = -1e18) -> dict[str, list[float]]:
    """Return the latest individual values of each series, in order."""
    latest: dict[str, list[float]] = {}
    for name, value in connection.execute("SELECT name, value FROM latest WHERE start >= ? ORDER BY number", (since,)):
        latest.setdefault(name, []).append(value)
    return latest


def _totals(connection: sqlite3.Connection, since: float, until: float) -> dict[str, Moments]:
    """Return the moments of each series over the windows that start in [since, until)."""
    rows = connection.execute(
        "SELECT name, sum(count), sum(total), sum(squares) FROM series WHERE start >= ? AND start < ? GROUP BY name",
        (since, until),
    )
    return {name: Moments(count, total, squares) for name, count, total, squares in rows}


def _baselines(connection: sqlite3.Connection, now: float) -> list[Baseline]:
    """Return the baselines with enough searches. Store the baseline as complete once its week is over."""
    first = _first_week(connection)
    if first is None:
        return []
    since = _since(connection)
    if first.tolerance == _INCOMPLETE and now - since >= _WEEK and first.of("empty").count >= _MIN_COMPLETE:
        first = Baseline("the baseline", first.series)
        _store_note(connection, "baseline", {name: [m.count, m.total, m.squares] for name, m in first.series.items()})
    baselines = [first]
    if first.tolerance < _INCOMPLETE:
        day = now - 24 * _HOUR
        baselines.append(Baseline("the week before", _totals(connection, max(since, day - _WEEK), day)))
    return [baseline for baseline in baselines if baseline.of("empty").count >= _MIN_SEARCHES]


def _first_week(connection: sqlite3.Connection) -> Baseline | None:
    """Return the first week, or everything so far except the latest values; None if nothing was measured."""
    row = connection.execute("SELECT value FROM notes WHERE name = 'baseline'").fetchone()
    if row is not None:
        return Baseline("the baseline", {name: Moments(*values) for name, values in json.loads(row[0]).items()})
    since = _since(connection)
    moments = _totals(connection, since, 1e18)
    for name, values in _latest_values(connection, since).items():
        moments[name] = moments.get(name, Moments()) - Moments.of(values)
    return Baseline("the baseline so far", moments, tolerance=_INCOMPLETE) if moments else None


def _store_note(connection: sqlite3.Connection, name: str, value: object) -> None:
    """Store a JSON value under a name."""
    connection.execute("INSERT OR REPLACE INTO notes VALUES (?, ?)", (name, json.dumps(value)))


def _since(connection: sqlite3.Connection) -> int:
    """Return the start of the baseline: the first window, or the time of the last reset."""
    row = connection.execute("SELECT value FROM notes WHERE name = 'since'").fetchone()
    if row is not None:
        return int(json.loads(row[0]))
    (first,) = connection.execute("SELECT min(start) FROM series").fetchone()
    return int(first or 0)


def _check_place(folder: Folder) -> None:
    """Raise OSError if the collection's folder was replaced, or a path of the database is not a regular file."""
    try:
        folder.check_current()
        for part in DATABASE:
            folder.check_file(part.replace(STORE, MONITOR))
    except TheodoliteError as error:
        raise OSError(str(error)) from error


@contextlib.contextmanager
def _as_engine_error(path: Path | None) -> Iterator[None]:
    try:
        yield
    except (OSError, *_DAMAGE) as error:
        raise EngineError(
            f"{path}: the monitor's file cannot be read ({error}). Delete it to start a new one",
            path=str(path),
        ) from error


def _connect(path: Path | None, mode: str) -> sqlite3.Connection:
    if path is None:
        return sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    query = "mode=ro&immutable=1" if mode == "immutable" else f"mode={mode}"
    uri = f"file:{quote(str(path.resolve()))}?{query}"
    connection = sqlite3.connect(uri, uri=True, timeout=_BUSY, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA trusted_schema=OFF")
    connection.execute("PRAGMA synchronous=NORMAL")
    return connection


def _close_all(held: list[sqlite3.Connection]) -> None:
    while held:
        held.pop().close()


def _check(connection: sqlite3.Connection) -> bool:
    """Return True for a monitor's database and False for an empty one. Raises ValueError for anything else."""
    (owner,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if (owner, version) == (_APPLICATION, _FORMAT):
        return True
    if owner == _APPLICATION and version > _FORMAT:
        raise OSError(f"a monitor's file of format {version}; this theodolite writes format {_FORMAT}")
    if owner or version or tables:
        raise ValueError(f"application {owner}, format {version}")
    return False


def _create(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("BEGIN IMMEDIATE")
    for statement in _TABLES.split(";\n"):
        connection.execute(statement)
    connection.execute(f"PRAGMA application_id={_APPLICATION}")
    connection.execute(f"PRAGMA user_version={_FORMAT}")
    connection.execute("COMMIT")


def _merge(connection: sqlite3.Connection, start: int, name: str, series: Series) -> bool:
    """Merge a series into the stored one. Return True if nothing was stored before."""
    row = connection.execute(
        "SELECT count, total, squares, bins FROM series WHERE start = ? AND name = ?", (start, name)
    ).fetchone()
    merged = Series() if row is None else Series.of_bins(Moments(*row[:3]), row[3])
    merged.merge(series)
    moments = merged.moments
    connection.execute(
        "INSERT OR REPLACE INTO series VALUES (?, ?, ?, ?, ?, ?)",
        (start, name, moments.count, moments.total, moments.squares, merged.bins()),
    )
    return row is None


def _prune_windows(connection: sqlite3.Connection) -> None:
    # Keep a number of windows instead of an age: a clock that is wrong for a moment must not delete good data.
    connection.execute(
        "DELETE FROM series WHERE start < "
        "(SELECT min(start) FROM (SELECT DISTINCT start FROM series ORDER BY start DESC LIMIT ?))",
        (_HOURS,),
    )


def _prune(connection: sqlite3.Connection) -> None:
    for name, count in _LATEST.items():
        connection.execute(
            "DELETE FROM latest WHERE name = ? AND number <= "
            "(SELECT number FROM latest WHERE name = ? ORDER BY number DESC LIMIT 1 OFFSET ?)",
            (name, name, count),
        )
    connection.execute("DELETE FROM alerts WHERE number <= (SELECT max(number) FROM alerts) - ?", (_ALERTS,))


def _raised_recently(connection: sqlite3.Connection, cause: str, now: float, repeat: float) -> bool:
    """Return whether this alert was raised within `repeat` seconds, also if the clock went back since."""
    return bool(
        connection.execute("SELECT 1 FROM alerts WHERE cause = ? AND abs(at - ?) < ?", (cause, now, repeat)).fetchone()
    )


def _utc(at: float) -> datetime:
    return datetime.fromtimestamp(at, UTC)
