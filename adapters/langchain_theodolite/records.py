"""A record manager beside the documents: "exists" is asked of the collection, so the two cannot drift apart."""

import json
import sqlite3
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from langchain_core.documents import Document
from langchain_core.indexing import RecordManager
from langchain_core.runnables import run_in_executor

from langchain_theodolite.documents import from_core
from theodolite import ConfigError, EngineError, InputError, Retriever
from theodolite import Document as TheodoliteDocument

_FILE = "records.sqlite"  # `verify` and `backup` of the core know the name
_FORMAT = 1
_PAGE = 1000  # keys asked of the collection at a time
_SAMPLE = 100  # documents looked at to find the field that holds the source
_UNDER_WAY = 3600.0  # seconds that `index()` may take from `exists` to the write
_BUSY = 30.0  # seconds to wait for another process
_CLOCK = "(julianday('now') - 2440587.5) * 86400.0"

_TABLES = (
    "CREATE TABLE IF NOT EXISTS clock (at REAL NOT NULL)",
    "INSERT INTO clock SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM clock)",
    "CREATE TABLE IF NOT EXISTS records (namespace TEXT, key TEXT, source, at REAL NOT NULL, pending INTEGER NOT NULL, "
    "PRIMARY KEY (namespace, key)) WITHOUT ROWID",
    "CREATE INDEX IF NOT EXISTS by_time ON records (namespace, at, key)",
    "CREATE INDEX IF NOT EXISTS by_source ON records (namespace, source, at)",
    "CREATE INDEX IF NOT EXISTS by_pending ON records (namespace, at, key) WHERE pending",
)


class TheodoliteRecordManager(RecordManager):
    """What `index()` needs to know of a collection: which documents it has written, when, and from which source.

    A document exists if it is in the collection, whatever is recorded of it. Times and sources are in
    `records.sqlite` in the collection's folder; of a collection in memory they live as long as the manager.

    `index()` writes documents first, and records them next. So that what a crash leaves between the two is known
    later, `exists` notes the keys that are not there yet: they are about to be written. The next `index()` completes
    them, or removes them when their source no longer has them. Documents that were added by other means are left
    alone.

        manager = TheodoliteRecordManager(store, "handbook")
        index(documents, manager, store, cleanup="incremental", source_id_key="source", key_encoder="blake2b")
    """

    def __init__(
        self, store: Any, namespace: str, *, source_id_key: str | Callable[[Document], Any] | None = None
    ) -> None:
        """
        Args:
            store: the vector store, or the `theodolite.Retriever` that it holds. In a scope of one partition the
                records are the partition's own.
            namespace: one for each set of documents that is indexed by itself.
            source_id_key: as for `index()`. Only needed where that is given a function, and only to find the source
                of what a crash has left; a field is recognised by what has been recorded.

        Raises:
            InputError: the store is not ours. EngineError: the records cannot be read or written.
            ConfigError: they are of a newer version.
        """
        super().__init__(namespace)
        kb = getattr(store, "kb", store)
        if not isinstance(kb, Retriever):
            raise InputError(
                f"a record manager needs a TheodoliteVectorStore or a Retriever, not {type(store).__name__}"
            )
        self._kb, self._source_id_key = kb, source_id_key
        self._space = namespace if kb.partition is None else json.dumps([namespace, kb.partition])
        self._place = path = ":memory:" if kb.location is None else str(kb.location / _FILE)
        self._lock = threading.Lock()
        try:
            self._connection = sqlite3.connect(path, timeout=_BUSY, isolation_level=None, check_same_thread=False)
        except sqlite3.Error as error:
            raise EngineError(f"the records in {path} cannot be opened: {error}", path=str(path)) from error
        weakref.finalize(self, self._connection.close)
        self.create_schema()

    def create_schema(self) -> None:
        """Make the tables where there are none; the constructor has done so already."""
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

    def get_time(self) -> float:
        """SQLite's clock, in seconds since 1970; never the same twice, never earlier than before, in any process."""
        with self._writing() as connection:
            return _now(connection)

    def update(
        self,
        keys: Sequence[str],
        *,
        group_ids: Sequence[str | None] | None = None,
        time_at_least: float | None = None,
    ) -> None:
        """Record documents as written now.

        Args:
            group_ids: their sources; None leaves those that are recorded.
            time_at_least: what the clock must have reached.

        Raises:
            ValueError: another number of sources than of keys, or a clock that is behind.
            EngineError: it cannot be written. Nothing is.
        """
        if group_ids is not None and len(group_ids) != len(keys):
            raise ValueError(f"there are {len(keys)} keys and {len(group_ids)} group_ids; each key needs one")
        with self._writing() as connection:
            now = _now(connection)
            if time_at_least is not None and now < time_at_least:
                raise ValueError(f"the clock says {now}, which is before {time_at_least}; is it another collection's?")
            # Without sources it only refreshes: a crash must not leave a document without the one it had.
            changed = "" if group_ids is None else ", source = excluded.source, pending = 0"
            connection.executemany(
                f"INSERT INTO records VALUES (?, ?, ?, ?, 0) ON CONFLICT DO UPDATE SET at = excluded.at{changed}",
                [
                    (self._space, key, source, now)
                    for key, source in zip(keys, group_ids or [None] * len(keys), strict=True)
                ],
            )

    def exists(self, keys: Sequence[str]) -> list[bool]:
        """Whether each document is in the collection. Those that are not are noted as about to be written."""
        live = self._live(keys)
        absent = [key for key in keys if key not in live]
        if absent:
            with self._writing() as connection:
                now = _now(connection)
                connection.executemany(
                    "INSERT INTO records VALUES (?, ?, NULL, ?, 1) ON CONFLICT DO UPDATE SET at = excluded.at",
                    [(self._space, key, now) for key in absent],
                )
        return [key in live for key in keys]

    def list_keys(
        self,
        *,
        before: float | None = None,
        after: float | None = None,
        group_ids: Sequence[str] | None = None,
        limit: int | None = None,
    ) -> list[str]:
        """The keys of documents that are recorded and still in the collection.

        Args:
            before, after: written before or after that time.
            group_ids: of these sources.
            limit: at most so many.
        """
        found: list[str] = []
        for page in self._pages(before, after, group_ids):
            live = self._live(page)
            found += [key for key in page if key in live]
            self._forget([key for key in page if key not in live])
            if limit is not None and len(found) >= limit:
                return found[:limit]
        if group_ids is not None:
            found += self._left_behind(before, after, group_ids)
        return found[:limit]

    def delete_keys(self, keys: Sequence[str]) -> None:
        """Forget these documents; in the collection they stay, if they are there."""
        with self._writing() as connection:
            connection.executemany(
                "DELETE FROM records WHERE namespace = ? AND key = ?", [(self._space, key) for key in keys]
            )

    async def acreate_schema(self) -> None:
        """`create_schema`, in a thread."""
        await run_in_executor(None, self.create_schema)

    async def aget_time(self) -> float:
        """`get_time`, in a thread."""
        return await run_in_executor(None, self.get_time)

    async def aupdate(
        self,
        keys: Sequence[str],
        *,
        group_ids: Sequence[str | None] | None = None,
        time_at_least: float | None = None,
    ) -> None:
        """`update`, in a thread."""
        await run_in_executor(None, self.update, keys, group_ids=group_ids, time_at_least=time_at_least)

    async def aexists(self, keys: Sequence[str]) -> list[bool]:
        """`exists`, in a thread."""
        return await run_in_executor(None, self.exists, keys)

    async def alist_keys(
        self,
        *,
        before: float | None = None,
        after: float | None = None,
        group_ids: Sequence[str] | None = None,
        limit: int | None = None,
    ) -> list[str]:
        """`list_keys`, in a thread."""
        return await run_in_executor(None, self.list_keys, before=before, after=after, group_ids=group_ids, limit=limit)

    async def adelete_keys(self, keys: Sequence[str]) -> None:
        """`delete_keys`, in a thread."""
        await run_in_executor(None, self.delete_keys, keys)

    def _live(self, keys: Sequence[str]) -> dict[str, TheodoliteDocument]:
        """The documents that are in the collection, by key."""
        return {document.id: document for document in self._kb.get(keys)}

    def _pages(
        self, before: float | None, after: float | None, sources: Sequence[str] | None, *, pending: bool = False
    ) -> Iterator[list[str]]:
        """Keys, page by page, those written first first."""
        tests: dict[str, Any] = {"namespace = ?": self._space}
        if before is not None:
            tests["at < ?"] = before
        if after is not None:
            tests["at > ?"] = after
        if sources is not None:
            tests["NOT pending AND source IN (SELECT value FROM json_each(?))"] = json.dumps(list(sources))
        elif pending:
            tests["pending AND ?"] = True
        query = (
            f"SELECT at, key FROM records WHERE {' AND '.join(tests)} AND (at, key) > (?, ?) ORDER BY at, key LIMIT ?"
        )
        at, key = 0.0, ""
        while True:
            with self._using() as connection:
                rows = connection.execute(query, (*tests.values(), at, key, _PAGE)).fetchall()
            if not rows:
                return
            at, key = rows[-1]
            yield [key for _, key in rows]

    def _left_behind(self, before: float | None, after: float | None, sources: Sequence[str]) -> Iterator[str]:
        """What was written and never recorded, of these sources."""
        source_of: Callable[[TheodoliteDocument], Any] | None = None
        for page in self._pages(before, after, None, pending=True):
            live = self._live(page)
            if live:
                source_of = source_of or self._source_of(sources)
                yield from (key for key, document in live.items() if source_of(document) in sources)
            self._forget([key for key in page if key not in live])

    def _source_of(self, sources: Sequence[str]) -> Callable[[TheodoliteDocument], Any]:
        """What gives a document's source: as told, or the fields that hold the source wherever it is recorded."""
        told = self._source_id_key
        if callable(told):
            return lambda document: told(from_core(document))
        fields: set[str] | None = None if told is None else {told}
        if fields is None:
            with self._using() as connection:
                rows = connection.execute(
                    "SELECT key, source FROM records WHERE namespace = ? AND NOT pending "
                    "AND source IN (SELECT value FROM json_each(?)) ORDER BY at DESC LIMIT ?",
                    (self._space, json.dumps(list(sources)), _SAMPLE),
                ).fetchall()
            recorded = dict(rows)
            for key, document in self._live(list(recorded)).items():
                holding = {name for name, value in document.metadata.items() if value == recorded[key]}
                fields = holding if fields is None else fields & holding
        names = sorted(fields or ())

        def source_of(document: TheodoliteDocument) -> Any:
            values = [document.metadata.get(name) for name in names]
            # Where several fields agree so far, one that does not now leaves the document alone.
            return values[0] if values and all(value == values[0] for value in values) else None

        return source_of

    def _forget(self, keys: Sequence[str]) -> None:
        """Records of what is gone from the collection, unless it may just be being written."""
        if keys:
            with self._writing() as connection:
                connection.executemany(
                    f"DELETE FROM records WHERE namespace = ? AND key = ? AND at < {_CLOCK} - ?",
                    [(self._space, key, _UNDER_WAY) for key in keys],
                )

    @contextmanager
    def _using(self) -> Iterator[sqlite3.Connection]:
        """The connection, for one thread at a time."""
        with self._lock:
            try:
                yield self._connection
            except sqlite3.Error as error:
                raise EngineError(f"the records in {self._place} cannot be used: {error}") from error

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


def _now(connection: sqlite3.Connection) -> float:
    """The time, and if need be a microsecond more than it was last."""
    connection.execute(f"UPDATE clock SET at = max(at + 1e-6, {_CLOCK})")
    (now,) = connection.execute("SELECT at FROM clock").fetchone()
    return float(now)
