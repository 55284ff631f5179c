"""Connections to one database: a pool, transactions, retries, and errors in our own words."""

import random
import select
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import psycopg
from psycopg import errors
from psycopg.adapt import AdaptersMap, Dumper
from psycopg.pq import Format, TransactionStatus

from theodolite.engines import refusals
from theodolite.engines.postgres.binary import BinaryArray, BinaryParameter
from theodolite.engines.postgres.location import PostgresLocation
from theodolite.errors import EngineError, LockedError, TheodoliteError
from theodolite.forking import leave, register_at_fork

T = TypeVar("T")
Connection = psycopg.Connection[tuple[Any, ...]]

_ATTEMPTS = 5  # of a transaction that met another one
_REPEATED = (errors.SerializationFailure, errors.DeadlockDetected)
_LOST = (psycopg.OperationalError, psycopg.InterfaceError)


@dataclass(frozen=True, slots=True)
class Limits:
    """Time limits, and the size of the pool.

    Attributes:
        connect: maximum seconds to wait for a connection.
        lock: maximum seconds to wait for another writer.
        statement: maximum seconds for one statement; 0 for no limit.
        connections: maximum number of open connections.
    """

    connect: float = 10.0
    lock: float = 5.0
    statement: float = 0.0
    connections: int = 16


class _BinaryDumper(Dumper):
    format = Format.BINARY
    oid = 0  # the statement says which type it is

    def dump(self, obj: Any) -> bytes:
        return bytes(obj)


class Connections:
    """A pool of connections. Each is used by one thread at a time.

    A connection that the server has ended, because it was restarted, is noticed before it is used.
    """

    def __init__(self, location: PostgresLocation, limits: Limits, *, read_only: bool = False) -> None:
        self.location = location
        self.limits = limits
        self.read_only = read_only
        self._idle: list[Connection] = []
        self._closed = False
        self._adapters = AdaptersMap(psycopg.adapters)
        for kind in (BinaryParameter, BinaryArray):
            self._adapters.register_dumper(kind, _BinaryDumper)
        self._free = threading.BoundedSemaphore(limits.connections)
        register_at_fork(self)

    def read(self, work: Callable[[Connection], T]) -> T:
        """Run single statements. Each sees one commit."""
        return self._attempt(work, "")

    def snapshot(self, work: Callable[[Connection], T]) -> T:
        """Run statements that all see the same commit."""
        return self._attempt(work, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")

    def write(self, work: Callable[[Connection], T]) -> T:
        """Run a transaction, and commit it. It runs again if it meets another one.

        Raises:
            EngineError: opened read-only. Nothing is written.
        """
        self.check_writable()
        return self._attempt(work, "BEGIN")

    def check_writable(self) -> None:
        """Raise EngineError if the collection is closed or was opened read-only."""
        self.check_open()
        if self.read_only:
            raise refusals.read_only(self.location.shown, location=self.location.shown)

    @property
    def closed(self) -> bool:
        return self._closed

    def check_open(self) -> None:
        if self._closed:
            raise refusals.closed()

    def close(self) -> None:
        """Close the idle connections. Those in use are closed when their work ends."""
        self._closed = True
        while self._idle:
            self._idle.pop().close()

    def forked(self, held: bool) -> None:
        """Let go of the parent's connections, in a forked child: closing one would end the parent's session."""
        while self._idle:
            leave(self._idle.pop())
        self._free = threading.BoundedSemaphore(self.limits.connections)

    @contextmanager
    def outside(self) -> Iterator[Connection]:
        """Yield a new connection that does not count, for work that takes minutes. It is closed at the end."""
        self.check_open()
        with self._errors():
            connection = self._connect()
            try:
                yield connection
            finally:
                connection.close()

    @contextmanager
    def single(self) -> Iterator[Connection]:
        """Yield a connection for single statements. Each sees one commit."""
        with self._errors(), self._connection() as connection:
            yield connection

    @contextmanager
    def lasting(self) -> Iterator[Connection]:
        """Yield a connection in a transaction whose statements all see the same commit."""
        with self._errors(), self._connection() as connection:
            connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            yield connection
            connection.execute("ROLLBACK")

    def _attempt(self, work: Callable[[Connection], T], begin: str) -> T:
        with self._errors():
            for attempt in range(_ATTEMPTS):
                try:
                    return self._once(work, begin)
                except _REPEATED:
                    if attempt == _ATTEMPTS - 1:
                        raise
                    time.sleep(random.uniform(0, 0.01 * 2**attempt))  # noqa: S311 - so that two do not meet again
        raise AssertionError("unreachable")

    def _once(self, work: Callable[[Connection], T], begin: str) -> T:
        with self._connection() as connection:
            if not begin:
                return work(connection)
            connection.execute(begin)
            result = work(connection)
            connection.execute("COMMIT")
            return result

    @contextmanager
    def _connection(self) -> Iterator[Connection]:
        self.check_open()
        with self._free:
            connection = self._take_idle() or self._connect()
            try:
                yield connection
            except BaseException:
                _roll_back(connection)
                self._give_back(connection)
                raise
            self._give_back(connection)

    def _take_idle(self) -> Connection | None:
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:  # none is idle, or another thread took it
                return None
            if not connection.closed and not _has_news(connection):
                return connection
            connection.close()

    def _give_back(self, connection: Connection) -> None:
        if self._closed or connection.closed or connection.info.transaction_status != TransactionStatus.IDLE:
            connection.close()
        else:
            self._idle.append(connection)

    def _connect(self) -> Connection:
        limits = self.limits
        parameters = {"connect_timeout": max(2, round(limits.connect)), "application_name": "theodolite"}
        connection = psycopg.connect(
            **{**parameters, **self.location.parameters}, autocommit=True, context=self._adapters
        )
        try:
            # Compiling a plan pays for statements of seconds, and ours take milliseconds.
            connection.execute(
                "SELECT set_config('client_encoding', 'UTF8', false), set_config('jit', 'off', false), "
                "set_config('lock_timeout', %s, false), set_config('statement_timeout', %s, false), "
                "set_config('default_transaction_read_only', %s, false)",
                (f"{limits.lock * 1000:.0f}", f"{limits.statement * 1000:.0f}", "on" if self.read_only else "off"),
            )
            find_extension(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Turn the driver's errors into ours."""
        try:
            yield
        except TheodoliteError:
            raise
        except psycopg.Error as error:
            raise self._translated(error) from error

    def _translated(self, error: psycopg.Error) -> EngineError:
        shown, limits = self.location.shown, self.limits
        cause = str(error).strip().split("\n")[0]
        match error:
            case errors.LockNotAvailable():
                return LockedError(
                    f"{shown}: the write lock was not free within {limits.lock:g} s. Let the other writer finish, or "
                    "raise lock_timeout",
                    location=shown,
                )
            case errors.SerializationFailure() | errors.DeadlockDetected():
                return LockedError(f"{shown}: other writers kept changing the collection. Try again", location=shown)
            case errors.QueryCanceled():
                return EngineError(
                    f"{shown}: the server stopped a statement ({cause}). Open with a longer statement_timeout=",
                    location=shown,
                )
            case errors.DiskFull() | errors.OutOfMemory():
                return EngineError(f"{shown}: the server is out of space or memory: {cause}", location=shown)
            case errors.InsufficientPrivilege():
                return EngineError(f"{shown}: the database user lacks a permission: {cause}", location=shown)
            case errors.ReadOnlySqlTransaction():
                return EngineError(f"{shown} cannot be written to. Open it with read_only=True", location=shown)
            case errors.UndefinedTable() | errors.UndefinedColumn() | errors.InvalidSchemaName():
                return EngineError(f"{shown}: tables of the collection are gone: {cause}", location=shown)
            case psycopg.OperationalError() if error.sqlstate is None or error.sqlstate[:2] in ("08", "28", "3D", "57"):
                return EngineError(f"{shown} cannot be reached: {cause}", location=shown)
        return EngineError(f"{shown}: the server failed: {cause}", location=shown)


def find_extension(connection: Connection) -> None:
    """Let a connection find pgvector's operators, wherever the extension is installed, and no others."""
    connection.execute(
        "SELECT set_config('search_path', coalesce((SELECT quote_ident(nspname) FROM pg_catalog.pg_extension AS e "
        "JOIN pg_catalog.pg_namespace AS n ON n.oid = e.extnamespace WHERE extname = 'vector'), 'pg_catalog'), false)"
    )


def _roll_back(connection: Connection) -> None:
    if connection.closed or connection.info.transaction_status == TransactionStatus.IDLE:
        return
    try:
        connection.execute("ROLLBACK")
    except psycopg.Error:
        connection.close()


def _has_news(connection: Connection) -> bool:
    """Return whether the server has sent an unrequested message: usually, that it closed the connection."""
    if sys.platform == "win32":
        return bool(select.select([connection.fileno()], [], [], 0)[0])
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return bool(poll.poll(0))
