"""Documents that were found lately, in memory."""

import threading
from sqlite3 import Connection

from theodolite.engines.local.storage.records import Record, select_documents
from theodolite.errors import CorruptionError
from theodolite.forking import register_at_fork
from theodolite.types import Document

BUDGET = 32 << 20
"""Bytes of text and metadata that are kept; the oldest give way."""

_EACH = 300  # bytes of a record beside its texts


class DocumentCache:
    """Records of one era, by key. Shared by threads; no key means two documents, so nothing kept can be out of date.

    Records, not documents: whoever is given a document may change its metadata.
    """

    def __init__(self, budget: int = BUDGET) -> None:
        self._budget = budget
        self._held = _Held(0)
        self._lock = threading.Lock()
        register_at_fork(self)

    def forked(self, held: bool) -> None:
        """In a forked child: what another thread was changing is read again."""
        if held:
            self._held = _Held(0)

    def documents(self, connection: Connection, era: int, keys: list[int]) -> list[Document]:
        """The documents of living rows, in their order, within a transaction.

        Raises:
            CorruptionError: one is not there.
        """
        held = self._held  # once: another thread may be in another era
        if held.era != era:
            self._held = held = _Held(era)
        known = {key: record for key in keys if (record := held.records.get(key)) is not None}
        if len(known) < len(keys):
            missing = [key for key in dict.fromkeys(keys) if key not in known]
            read = {
                key: Record(*rest)
                for key, *rest in select_documents(connection, "row, id, text, metadata", "row", missing)
            }
            if len(read) < len(missing):
                lost = next(key for key in missing if key not in read)
                raise CorruptionError(f"the document of row {lost} is missing: the database is damaged. Run verify()")
            known |= read
            with self._lock:
                held.keep(read, self._budget)
        return [known[key].document() for key in keys]


class _Held:
    """Records of one era, the oldest first."""

    def __init__(self, era: int) -> None:
        self.era = era
        self.records: dict[int, Record] = {}
        self._bytes = 0

    def keep(self, read: dict[int, Record], budget: int) -> None:
        for row, record in read.items():
            if row not in self.records:
                self.records[row] = record
                self._bytes += _size(record)
        while self._bytes > budget:
            oldest = next(iter(self.records))
            self._bytes -= _size(self.records.pop(oldest))


def _size(record: Record) -> int:
    return len(record.id) + len(record.text) + len(record.metadata) + _EACH
