"""Recently returned documents, in memory."""

import threading
from sqlite3 import Connection

from theodolite.engines.local.storage.records import Record, read_records
from theodolite.errors import CorruptionError
from theodolite.forking import register_at_fork
from theodolite.types import Document

BUDGET = 32 << 20
"""Bytes of ids, texts and metadata to keep; the oldest records are dropped first."""

_OVERHEAD = 300  # bytes of a record beside its strings


class DocumentCache:
    """A thread-safe cache of the records of one era, by key.

    A key never means two documents, so an entry is never out of date. The cache holds records and not documents,
    because callers may change the metadata of the documents that they get.
    """

    def __init__(self, budget: int = BUDGET) -> None:
        self._budget = budget
        self._entries = _Entries(0)
        self._lock = threading.Lock()
        register_at_fork(self)

    def forked(self, held: bool) -> None:
        """Empty the cache in a forked child if another thread may have been changing it."""
        if held:
            self._entries = _Entries(0)

    def documents(self, connection: Connection, era: int, keys: list[int]) -> list[Document]:
        """Return the documents with these keys, in their order, within a transaction.

        Raises:
            CorruptionError: a document is missing.
        """
        entries = self._entries  # read once: another thread may switch to another era
        if entries.era != era:
            self._entries = entries = _Entries(era)
        records = {key: record for key in keys if (record := entries.records.get(key)) is not None}
        if len(records) < len(keys):
            missing = [key for key in dict.fromkeys(keys) if key not in records]
            read = read_records(connection, missing)
            if len(read) < len(missing):
                lost = next(key for key in missing if key not in read)
                raise CorruptionError(f"the document of row {lost} is missing: the database is damaged. Run verify()")
            records |= read
            with self._lock:
                entries.add(read, self._budget)
        return [records[key].document() for key in keys]


class _Entries:
    """Records of one era, the oldest first."""

    def __init__(self, era: int) -> None:
        self.era = era
        self.records: dict[int, Record] = {}
        self._bytes = 0

    def add(self, records: dict[int, Record], budget: int) -> None:
        for key, record in records.items():
            if key not in self.records:
                self.records[key] = record
                self._bytes += len(record.id) + len(record.text) + len(record.metadata) + _OVERHEAD
        while self._bytes > budget:
            record = self.records.pop(next(iter(self.records)))
            self._bytes -= len(record.id) + len(record.text) + len(record.metadata) + _OVERHEAD
