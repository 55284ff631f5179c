"""An open collection's storage: pooled connections, transactions, the write lock and the vector file."""

import contextlib
import os
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from theodolite.engines import refusals
from theodolite.engines.local.storage.crash_points import crash_point
from theodolite.engines.local.storage.database import State, connect, fold_log, read_manifest, read_state
from theodolite.engines.local.storage.folder import WRITER, Folder, replaced_error
from theodolite.engines.local.storage.identity import Commit, Identity, commit_at
from theodolite.engines.local.storage.index_trust import IndexTrust
from theodolite.engines.local.storage.io_errors import is_busy, is_full, translate_errors
from theodolite.engines.local.storage.vector_file import VectorFile, holds_frame, too_short_error
from theodolite.errors import CorruptionError, LockedError, TheodoliteError
from theodolite.forking import COLLECTIONS, register_at_fork


class Store:
    """The database and the vector file of one collection.

    Connections are pooled: each is used by one thread at a time.
    """

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
        """
        Args:
            uid: the collection's.
            mode: `rw`, `ro`, or `immutable` for a folder that nothing can write to.
        """
        self.folder = folder
        self.mode = mode
        self.lock_timeout = lock_timeout
        self.durable = durable
        self.identity = Identity(folder, uid)
        self.trust = IndexTrust(trust_index)
        self._idle: list[sqlite3.Connection] = []
        self._connections: set[int] = set()  # their ids: a forked child must not close those of its parent
        self._new_commit: tuple[int, bytes] | None = None
        self._vectors: VectorFile | None = None
        self._appended_at: tuple[VectorFile, int] | None = None
        self._writer: os.stat_result | None = None  # of writer.pid, as this process wrote it
        self._writing = threading.Lock()
        self._closed = False
        self.on_release: Callable[[], object] = lambda: None
        """Called when a closed store has released its files."""
        register_at_fork(self)

    @contextmanager
    def read(self) -> Iterator[tuple[sqlite3.Connection, State]]:
        """Open a read transaction, and yield it with the state that it sees."""
        with self._connection() as connection:
            connection.execute("BEGIN")
            try:
                yield connection, read_state(connection)
            finally:
                connection.execute("ROLLBACK")

    @contextmanager
    def write(self, timeout: float | None = None) -> Iterator[tuple[sqlite3.Connection, State]]:
        """Open a write transaction. It commits at the end of the block; an exception rolls it back.

        Args:
            timeout: seconds to wait for the lock. Default: `lock_timeout`.

        Raises:
            EngineError: opened read-only, or the folder is no longer the one that was opened. Nothing is written.
            LockedError: another writer held the lock until the timeout.
        """
        self.check_writable()
        timeout = self.lock_timeout if timeout is None else timeout
        deadline = time.monotonic() + timeout
        if not self._writing.acquire(timeout=timeout):
            raise self._locked_error(timeout)
        try:
            with self._connection() as connection:
                self._begin(connection, deadline, timeout)
                try:
                    state = read_state(connection)
                    self._check_identity(connection, state)
                    self._record_writer()
                    yield connection, state
                    crash_point("transaction.filled")
                    connection.execute("COMMIT")
                    if self._new_commit is not None:
                        self.identity.remember(*self._new_commit)
                except BaseException as error:
                    if connection.in_transaction:
                        connection.execute("ROLLBACK")
                    if is_full(error):
                        self._cut_off_frame()
                    raise
                crash_point("transaction.committed")
        finally:
            self._new_commit = self._appended_at = None
            self._writing.release()

    def announce_commit(self, sequence: int, commit_hash: bytes) -> None:
        """Name the commit that the current write transaction makes."""
        self._new_commit = sequence, commit_hash

    def announce_frame(self, file: VectorFile, size: int) -> None:
        """Call before a frame is appended to a file of this size, within a write transaction."""
        self._appended_at = file, size

    def _check_identity(self, connection: sqlite3.Connection, state: State) -> None:
        """Check, before anything is written, that the open files are in the folder and share one history."""
        self.identity.check_folder()
        manifest = read_manifest(connection)
        last = commit_at(connection, state.sequence)
        self.identity.check_history(connection, manifest.uid, last)
        if last is not None:
            file = self.verified_vectors(connection, state.generation, last, manifest.space.dimension or 1)
            if not file.is_at(self.folder.stat(file.name)):
                raise too_short_error(file.path, file.size, 0)
        elif state.sequence:
            raise CorruptionError(f"{self.folder}: the change log lacks commit {state.sequence}; restore the folder")

    def _cut_off_frame(self) -> None:
        """Remove the frame of a transaction that was rolled back: a full disk has no room to move it aside."""
        if self._appended_at is not None:
            file, size = self._appended_at
            with contextlib.suppress(OSError):
                file.truncate(size)

    def vectors(self, generation: int) -> VectorFile:
        """Return the vector file of a generation. Raises FileNotFoundError if it is missing."""
        current = self._vectors
        if current is not None and current.generation == generation:
            return current
        return self._keep_open(VectorFile(self.folder, generation, writable=self.mode == "rw"))

    def create_vectors(self, generation: int) -> VectorFile:
        """Open the vector file of a generation without commits, or create it. In a write transaction."""
        try:
            return self._keep_open(VectorFile(self.folder, generation, writable=True))
        except FileNotFoundError:
            created = VectorFile.create(self.folder, generation)
        crash_point("vectors.created")
        self.folder.sync()
        return self._keep_open(created)

    def verified_vectors(
        self, connection: sqlite3.Connection, generation: int, commit: Commit, dimension: int
    ) -> VectorFile:
        """Return the vector file of a generation after checking that it holds a commit's frame.

        Raises:
            FileNotFoundError: it is missing.
            EngineError: it belongs to another collection.
            CorruptionError: it is damaged.
        """
        file = self.vectors(generation)
        if holds_frame(file, *commit, dimension):
            return file
        if not file.is_at(self.folder.stat(file.name)):
            # Another process has replaced it, before its first commit.
            file = self._keep_open(VectorFile(self.folder, generation, writable=self.mode == "rw"))
        self.identity.check_vectors(connection, file, commit, dimension)
        return file

    def _keep_open(self, file: VectorFile) -> VectorFile:
        if self._vectors is None or self._vectors.generation <= file.generation:
            self._vectors = file
        return file

    def connect(self) -> sqlite3.Connection:
        """Open a connection outside the pool. The caller closes it.

        Raises:
            EngineError: the folder is no longer the one that was opened.
        """
        if not self.identity.is_reachable():
            raise replaced_error(self.folder)
        connection = connect(self.folder, self.mode, self.lock_timeout)
        try:
            self.identity.check_connection(connection, read_manifest(connection).uid)
        except BaseException:
            connection.close()
            raise
        return connection

    def close(self) -> None:
        """Close the idle connections. Those in use are closed when their block ends."""
        self._closed = True
        self._vectors = None
        if not self._idle:
            self._release()
            return
        with translate_errors(self.folder):
            while (connection := self._take_idle()) is not None:
                try:
                    if self.mode == "rw" and not self._idle:
                        fold_log(connection)
                finally:
                    self._drop(connection)

    def forked(self, held: bool) -> None:
        """Let go of the parent's connections, in a forked child."""
        COLLECTIONS.drop(self._idle)
        self._connections.clear()
        self._writer = None  # it names the parent

    def check_writable(self) -> None:
        """Raise EngineError if the collection is closed or was opened read-only."""
        self._check_open()
        if self.mode != "rw":
            raise refusals.read_only(self.folder, folder=str(self.folder))

    def _check_open(self) -> None:
        if self._closed:
            raise refusals.closed()

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        self._check_open()
        with translate_errors(self.folder):
            connection = self._take_idle() or self._new_connection()
            try:
                yield connection
            except BaseException as error:
                # After the folder was replaced, no new connection can be opened. On a full disk neither: closing the
                # last connection would delete the log's index.
                if (isinstance(error, TheodoliteError) or is_full(error)) and not connection.in_transaction:
                    self._idle.append(connection)
                else:
                    self._drop(connection)
                raise
            self._idle.append(connection)
            if self._closed:  # by another thread, meanwhile
                self.close()

    def _take_idle(self) -> sqlite3.Connection | None:
        try:
            return self._idle.pop()
        except IndexError:  # none is idle, or another thread took it
            return None

    def _drop(self, connection: sqlite3.Connection) -> None:
        self._connections.discard(id(connection))
        connection.close()
        if self._closed:
            self._release()

    def _release(self) -> None:
        """Release all files, once no thread uses a connection."""
        if not self._connections:
            self._vectors = None
            self.folder.close()
            self.on_release()

    def _new_connection(self) -> sqlite3.Connection:
        if not self.identity.is_reachable():
            return self._wait_for_idle()
        connection = self.connect()
        self._connections.add(id(connection))
        if self.mode == "rw":
            connection.execute(f"PRAGMA synchronous={'FULL' if self.durable else 'OFF'}")
            # Debian's SQLite would overwrite every page that it frees, so that clear() would write a full copy.
            connection.execute("PRAGMA secure_delete=FAST")
            connection.execute("PRAGMA cache_size=-32768")
            # A batch of some thousand documents fills the default of 1,000 pages, and would be copied at once.
            connection.execute("PRAGMA wal_autocheckpoint=8000")
            if sys.platform == "darwin":
                connection.execute("PRAGMA fullfsync=1")
                connection.execute("PRAGMA checkpoint_fullfsync=1")
        return connection

    def _wait_for_idle(self) -> sqlite3.Connection:
        """Wait for a connection that another thread gives back, since new ones cannot be opened."""
        deadline = time.monotonic() + self.lock_timeout
        while self._connections and time.monotonic() < deadline:
            if (connection := self._take_idle()) is not None:
                return connection
            time.sleep(0.005)
        raise replaced_error(self.folder)

    def _begin(self, connection: sqlite3.Connection, deadline: float, timeout: float) -> None:
        # Short attempts instead of SQLite's own waiting, so that Ctrl-C works.
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
                    raise self._locked_error(timeout) from error
            time.sleep(0.005)

    def _record_writer(self) -> None:
        """Write our pid to writer.pid. If that fails, only the message of a `LockedError` lacks it."""
        with contextlib.suppress(OSError, CorruptionError):
            status, pid = self.folder.stat(WRITER), str(os.getpid()).encode()
            # Each writer creates the file again, so the one with our pid is the same file only as long as it is ours.
            if self._writer is not None and _is_same(status, self._writer):
                return
            with contextlib.suppress(FileNotFoundError):
                if _read_writer(self.folder) == pid:  # raises for a link: verify() reports it
                    self._writer = status
                    return
            with self.folder.create(WRITER) as file:
                file.write(pid)
                file.flush()
                self._writer = os.fstat(file.fileno())

    def _locked_error(self, timeout: float) -> LockedError:
        pid = _last_writer(self.folder)
        holder = "this process" if pid == os.getpid() else f"process {pid}" if pid else "another process"
        return LockedError(
            f"{self.folder}: the write lock was not free within {timeout:g} s; {holder} was the last to take it. "
            "Let it finish, or raise lock_timeout",
            pid=pid,
            folder=str(self.folder),
        )


def _is_same(status: os.stat_result | None, other: os.stat_result) -> bool:
    return status is not None and (status.st_ino, status.st_mtime_ns) == (other.st_ino, other.st_mtime_ns)


def _last_writer(folder: Folder) -> int | None:
    """Return the pid of the last process that wrote, if known."""
    try:
        return int(_read_writer(folder))
    except (OSError, ValueError, CorruptionError):
        return None


def _read_writer(folder: Folder) -> bytes:
    with folder.open(WRITER) as file:
        return file.read(32)
