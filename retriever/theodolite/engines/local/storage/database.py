"""store.sqlite and the vector file: connections, transactions, the write lock, and that all of it belongs together."""

import contextlib
import os
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import quote

from theodolite.engines.local.storage.crash_points import crash_point
from theodolite.engines.local.storage.defensive import defend
from theodolite.engines.local.storage.digest import seal
from theodolite.engines.local.storage.folder import Folder, replaced
from theodolite.engines.local.storage.frames import holds_frame
from theodolite.engines.local.storage.identity import Commit, Identity, commit_at
from theodolite.engines.local.storage.index_trust import IndexTrust
from theodolite.engines.local.storage.paths import DATABASE, STORE
from theodolite.engines.local.storage.schema import STATE
from theodolite.engines.local.storage.sqlite_errors import fold_log, is_busy, is_full, translated
from theodolite.engines.local.storage.vector_file import VectorFile, too_short
from theodolite.engines.local.storage.writer_pid import announce, last_writer
from theodolite.errors import CorruptionError, EngineError, LockedError, ManifestError, TheodoliteError
from theodolite.forking import COLLECTIONS, register_at_fork
from theodolite.manifest import Manifest

_MOST = 1 << 48  # of rows, commits or generations


class State(NamedTuple):
    """The row of the table `state`. Its `keys` is the column `rows`: see `keys.Keys`."""

    generation: int
    sequence: int
    keys: int
    slots: int
    live: int
    approximate: int


class Store:
    """Connections to one store.sqlite, each used by one thread at a time and kept for the next; and the vector file."""

    def __init__(
        self,
        folder: Folder,
        *,
        uid: str,
        mode: str,
        lock_timeout: float,
        durable: bool = True,
        trust_index: bool = False,
    ) -> None:
        """`uid` is the collection's. `mode` is `rw`, `ro`, or `immutable` for folders nothing can write to."""
        self.folder = folder
        self.mode = mode
        self.lock_timeout = lock_timeout
        self.durable = durable
        self.identity = Identity(folder, uid)
        self.trust = IndexTrust(trust_index)
        self._idle: list[sqlite3.Connection] = []
        self._connections: set[int] = set()  # their ids: a forked child must not end those of its parent
        self._committing: tuple[int, bytes] | None = None
        self._vectors: VectorFile | None = None
        self._frame: tuple[VectorFile, int] | None = None
        self._writing = threading.Lock()
        self._closed = False
        self.when_released: Callable[[], object] = lambda: None  # called when a closed store has let go of its files
        register_at_fork(self)

    @contextmanager
    def read(self) -> Iterator[tuple[sqlite3.Connection, State]]:
        """A read transaction, and the state it sees."""
        with self._connection() as connection:
            connection.execute("BEGIN")
            try:
                yield connection, read_state(connection)
            finally:
                connection.execute("ROLLBACK")

    @contextmanager
    def write(self, timeout: float | None = None) -> Iterator[tuple[sqlite3.Connection, State]]:
        """A write transaction: committed on leaving, rolled back if an exception leaves it.

        Args:
            timeout: seconds to wait for the lock; None takes `lock_timeout`.

        Raises:
            EngineError: opened read-only, or the folder is no longer the one that was opened. Nothing is written.
            LockedError: another writer held the lock for so long.
        """
        self.check_writable()
        timeout = self.lock_timeout if timeout is None else timeout
        deadline = time.monotonic() + timeout
        if not self._writing.acquire(timeout=timeout):
            raise self._locked(timeout)
        try:
            with self._connection() as connection:
                self._begin(connection, deadline, timeout)
                try:
                    state = read_state(connection)
                    self._prove(connection, state)
                    announce(self.folder)
                    yield connection, state
                    crash_point("transaction.filled")
                    connection.execute("COMMIT")
                    if self._committing is not None:
                        self.identity.know(*self._committing)
                except BaseException as error:
                    if connection.in_transaction:
                        connection.execute("ROLLBACK")
                    if is_full(error):
                        self._take_back_frame()
                    raise
                crash_point("transaction.committed")
        finally:
            self._committing = self._frame = None
            self._writing.release()

    def committing(self, sequence: int, digest: bytes) -> None:
        """Within a write transaction: it makes this commit."""
        self._committing = sequence, digest

    def _prove(self, connection: sqlite3.Connection, state: State) -> None:
        """Before anything is written: what is open is in the folder, and all of one collection and history."""
        self.identity.check_folder()
        manifest = read_manifest(connection)
        last = commit_at(connection, state.sequence)
        self.identity.check_history(connection, manifest.uid, last)
        if last is not None:
            file = self.proved_vectors(connection, state.generation, last, manifest.space.dimension or 1)
            if not file.is_at(self.folder.stat(file.name)):
                raise too_short(file.path, file.size, 0)
        elif state.sequence:
            raise CorruptionError(f"{self.folder}: the change log lacks commit {state.sequence}; restore the folder")

    def begin_frame(self, file: VectorFile, size: int) -> None:
        """Called before a frame is appended to a file of this size, within a write transaction."""
        self._frame = file, size

    def _take_back_frame(self) -> None:
        """Cut off the frame of a transaction that is rolled back: there is no room to move it aside."""
        if self._frame is not None:
            file, size = self._frame
            with contextlib.suppress(OSError):
                file.truncate(size)

    def vectors(self, generation: int) -> VectorFile:
        """The generation's vector file. Raises FileNotFoundError where there is none."""
        held = self._vectors
        if held is not None and held.generation == generation:
            return held
        return self._hold(VectorFile(self.folder, generation, writable=self.mode == "rw"))

    def made_vectors(self, generation: int) -> VectorFile:
        """The file of a generation without commits, made if there is none; within a write transaction."""
        try:
            return self._hold(VectorFile(self.folder, generation, writable=True))
        except FileNotFoundError:
            made = VectorFile.create(self.folder, generation)
        crash_point("vectors.created")
        self.folder.sync()
        return self._hold(made)

    def proved_vectors(
        self, connection: sqlite3.Connection, generation: int, commit: Commit, dimension: int
    ) -> VectorFile:
        """The generation's vector file, proved to hold a commit's frame.

        Raises:
            FileNotFoundError: there is none.
            EngineError: it is the file of another collection. CorruptionError: it is damaged.
        """
        file = self.vectors(generation)
        if holds_frame(file, *commit, dimension):
            return file
        if not file.is_at(self.folder.stat(file.name)):
            # Made again by another process, before its first commit.
            file = self._hold(VectorFile(self.folder, generation, writable=self.mode == "rw"))
        self.identity.check_vectors(connection, file, commit, dimension)
        return file

    def _hold(self, file: VectorFile) -> VectorFile:
        if self._vectors is None or self._vectors.generation <= file.generation:
            self._vectors = file
        return file

    def connect(self) -> sqlite3.Connection:
        """A connection of one's own, to be closed after use.

        Raises:
            EngineError: the folder is no longer the one that was opened.
        """
        if not self.identity.is_reachable():
            raise replaced(self.folder)
        connection = connect(self.folder, self.mode, self.lock_timeout)
        try:
            self.identity.check_connection(connection, read_manifest(connection).uid)
        except BaseException:
            connection.close()
            raise
        return connection

    def close(self) -> None:
        self._closed = True
        self._vectors = None
        if not self._idle:
            self._release()
            return
        with translated(self.folder):
            while (connection := self._kept()) is not None:
                try:
                    if self.mode == "rw" and not self._idle:
                        fold_log(connection)
                finally:
                    self._drop(connection)

    def forked(self, held: bool) -> None:
        """In a forked child: let go of the parent's connections."""
        COLLECTIONS.drop(self._idle)
        self._connections.clear()

    def _drop(self, connection: sqlite3.Connection) -> None:
        self._connections.discard(id(connection))
        connection.close()
        if self._closed:
            self._release()

    def _release(self) -> None:
        """Let go of all files, once no thread is in the middle of anything."""
        if not self._connections:
            self._vectors = None
            self.folder.close()
            self.when_released()

    def check_writable(self) -> None:
        """Raises EngineError where the collection is closed, or opened read-only."""
        self._check_open()
        if self.mode != "rw":
            raise EngineError(
                f"{self.folder} is opened read-only. Open it without read_only=True to write", folder=str(self.folder)
            )

    def _check_open(self) -> None:
        if self._closed:
            raise EngineError("the collection is closed; open it again")

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        self._check_open()
        with translated(self.folder):
            connection = self._kept() or self._connect()
            try:
                yield connection
            except BaseException as error:
                # Where the folder was replaced, readers can get no other. On a full disk neither: with the last
                # connection the index of the log would go.
                if (isinstance(error, TheodoliteError) or is_full(error)) and not connection.in_transaction:
                    self._idle.append(connection)
                else:
                    self._drop(connection)
                raise
            self._idle.append(connection)
            if self._closed:  # by another thread, meanwhile
                self.close()

    def _kept(self) -> sqlite3.Connection | None:
        try:
            return self._idle.pop()
        except IndexError:  # there is none, or another thread was quicker
            return None

    def _connect(self) -> sqlite3.Connection:
        if not self.identity.is_reachable():
            return self._awaited()
        connection = self.connect()
        self._connections.add(id(connection))
        if self.mode == "rw":
            connection.execute(f"PRAGMA synchronous={'FULL' if self.durable else 'OFF'}")
            # Debian's SQLite would write every page that is given up once more, so that to clear needs a full copy.
            connection.execute("PRAGMA secure_delete=FAST")
            connection.execute("PRAGMA cache_size=-32768")
            # A batch of some thousand documents fills the default of 1,000 pages, and would be copied at once.
            connection.execute("PRAGMA wal_autocheckpoint=8000")
            if sys.platform == "darwin":
                connection.execute("PRAGMA fullfsync=1")
                connection.execute("PRAGMA checkpoint_fullfsync=1")
        return connection

    def _awaited(self) -> sqlite3.Connection:
        """A connection that another thread gives back: new ones can no longer be made."""
        deadline = time.monotonic() + self.lock_timeout
        while self._connections and time.monotonic() < deadline:
            if (connection := self._kept()) is not None:
                return connection
            time.sleep(0.005)
        raise replaced(self.folder)

    def _begin(self, connection: sqlite3.Connection, deadline: float, timeout: float) -> None:
        # Short tries instead of SQLite's own waiting, so that Ctrl-C is heard.
        connection.execute("PRAGMA busy_timeout=0")
        while True:
            try:
                connection.execute("BEGIN IMMEDIATE")
                connection.execute(f"PRAGMA busy_timeout={int(1000 * self.lock_timeout)}")
                return
            except sqlite3.OperationalError as error:
                if not is_busy(error):
                    raise
                if time.monotonic() >= deadline:
                    raise self._locked(timeout) from error
            time.sleep(0.005)

    def _locked(self, timeout: float) -> LockedError:
        pid = last_writer(self.folder)
        holder = "this process" if pid == os.getpid() else f"process {pid}" if pid else "another process"
        return LockedError(
            f"{self.folder}: the write lock was not free within {timeout:g} s; {holder} was the last to take it. "
            "Let it finish, or raise lock_timeout",
            pid=pid,
            folder=str(self.folder),
        )


def connect(folder: Folder, mode: str, timeout: float, name: str = STORE) -> sqlite3.Connection:
    """A connection in autocommit mode; transactions are begun by hand.

    Raises:
        CorruptionError: one of the database's files is no file; SQLite would follow a link and hang on a pipe.
        EngineError: the folder is no longer the one that was opened.
    """
    for part in DATABASE:
        folder.check_file(part.replace(STORE, name))
    if not folder.is_in_place():
        raise replaced(folder)
    query = "mode=ro&immutable=1" if mode == "immutable" else f"mode={mode}"
    connection = sqlite3.connect(
        f"file:{quote(str(folder.path / name))}?{query}",
        uri=True,
        timeout=timeout,
        isolation_level=None,
        check_same_thread=False,
    )
    connection.execute("PRAGMA trusted_schema=OFF")
    connection.execute("PRAGMA temp_store=MEMORY")
    defend(connection, True)
    return connection


def read_state(connection: sqlite3.Connection) -> State:
    row = connection.execute(STATE).fetchone()
    if row is None:
        raise CorruptionError("the database has lost its state; restore the folder from a copy")
    return _checked(*row)


@lru_cache(maxsize=64, typed=True)  # every transaction begins with it
def _checked(*row: Any) -> State:
    *values, digest = row
    if any(type(value) is not int for value in values) or seal(*values) != digest:
        raise CorruptionError(f"the database's state is damaged ({row}); restore the folder from a copy")
    state = State(*values)
    # A stranger's state may carry the right hash. These numbers size what is allocated.
    if not 1 <= state.generation <= _MOST or not 0 <= state.sequence <= _MOST or not 0 <= state.approximate <= _MOST:
        raise CorruptionError(f"the database's state holds impossible numbers ({row}); restore the folder from a copy")
    if not 0 <= state.live <= min(state.keys, state.slots) <= max(state.keys, state.slots) <= _MOST:
        raise CorruptionError(f"the database's state holds impossible numbers ({row}); restore the folder from a copy")
    return state


def change_state(connection: sqlite3.Connection, state: State) -> None:
    """Within a write transaction."""
    connection.execute(
        "UPDATE state SET generation = ?, sequence = ?, rows = ?, slots = ?, live = ?, approximate = ?, hash = ?",
        (*state, seal(*state)),
    )


def read_manifest(connection: sqlite3.Connection) -> Manifest:
    row = connection.execute("SELECT value, hash FROM manifest").fetchone()
    if row is None:
        raise ManifestError("the database has lost its manifest; restore the folder from a copy")
    return _pinned(*row)


@lru_cache(maxsize=16, typed=True)  # every write reads it, more than once
def _pinned(value: Any, digest: Any) -> Manifest:
    if isinstance(value, str) and seal(value) == digest:
        manifest = Manifest.from_json(value)
        if manifest.is_possible():
            return manifest
    raise ManifestError(f"the collection's manifest is damaged: {value!r:.500}; restore the folder from a copy")
