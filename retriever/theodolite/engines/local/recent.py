"""Documents that were found lately, in memory."""

import threading
from sqlite3 import Connection

from theodolite.engines.local.commit import select
from theodolite.engines.local.records import Record
from theodolite.errors import CorruptionError
from theodolite.forking import register_at_fork
from theodolite.types import Document

BUDGET = 32 << 20
"""Bytes of text and metadata that are kept; the oldest give way."""

_EACH = 300  # bytes of a record beside its texts


class Recent:
    """Records of one generation, by row. Shared by threads; rows never change, so nothing kept can be out of date.

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

    def documents(self, connection: Connection, generation: int, rows: list[int]) -> list[Document]:
        """The documents of living rows, in their order, within a transaction.

        Raises:
            CorruptionError: one is not there.
        """
        held = self._held  # once: another thread may be in another generation
        if held.generation != generation:
            self._held = held = _Held(generation)
        known = {row: record for row in rows if (record := held.records.get(row)) is not None}
        if len(known) < len(rows):
            missing = [row for row in dict.fromkeys(rows) if row not in known]
            read = {row: Record(*rest) for row, *rest in select(connection, "row, id, text, metadata", "row", missing)}
            if len(read) < len(missing):
                lost = next(row for row in missing if row not in read)
                raise CorruptionError(f"row {lost} is live but has no document: the database is damaged. Run verify()")
            known |= read
            with self._lock:
                held.keep(read, self._budget)
        return [known[row].document() for row in rows]


class _Held:
    """Records of one generation, the oldest first."""

    def __init__(self, generation: int) -> None:
        self.generation = generation
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
