"""Read documents: the pages of a listing, the hits of searches from a cache, and pairs of near-duplicates."""

import itertools
import sqlite3
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from sqlite3 import Connection
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from theodolite.engines.local.derived.snapshot import Snapshot, SnapshotManager
from theodolite.engines.local.storage.records import read_records, select_documents
from theodolite.engines.records import Record
from theodolite.errors import CorruptionError
from theodolite.filters import Filter
from theodolite.forking import register_at_fork
from theodolite.types import Document, Duplicate, Mask, Rows

if TYPE_CHECKING:
    from theodolite.indexes.flat.pairs import Pairs

BUDGET = 32 << 20
"""Bytes of ids, texts and metadata to keep; the oldest records are dropped first."""

_OVERHEAD = 300  # bytes of a record beside its strings
_PAGE = 256  # documents of one page of a listing
_SAMPLED = 2000  # documents of a sample that are read together
_PAIRS = 512  # near-duplicates whose documents are read together
_MAX_STEP = 8192  # ids to look at in one step
_SORTED_BELOW = 4096  # eligible rows whose ids are read at once and sorted

Pair = tuple[Document, NDArray[np.float32]]
Place = tuple[str, str]
"""An id and a partition: the order of the listing."""


@dataclass(frozen=True, slots=True)
class Page:
    """Some documents in the order of their ids; the next page begins after `after`, None on the last page."""

    pairs: list[Pair]
    after: "Place | None"


def after_id(name: str) -> Place:
    """Return the place after all documents with this id."""
    return name, "\U0010ffff"


def read_page(connection: sqlite3.Connection, snapshot: Snapshot, mask: Mask | None, after: Place) -> Page:
    """Return the first documents after a place, among the eligible rows (None: all)."""
    if mask is not None and np.count_nonzero(mask) <= _SORTED_BELOW:
        listed = select_documents(connection, "id, partition, row", "row", snapshot.keys_of(np.flatnonzero(mask)))
        entries = sorted(entry for entry in listed if entry[:2] > after)
        more = len(entries) > _PAGE
    else:
        entries, after, more = _scan(connection, snapshot, mask, after)
    entries = entries[:_PAGE]
    if more and entries:
        after = entries[-1][:2]
    return Page(read_pairs(connection, snapshot, [key for *_, key in entries]), after if more else None)


def _scan(
    connection: sqlite3.Connection, snapshot: Snapshot, mask: Mask | None, after: Place
) -> tuple[list[tuple[str, str, int]], Place, bool]:
    """Return ids, partitions and keys in order, the place to continue after, and whether there may be more."""
    step = _PAGE
    entries: list[tuple[str, str, int]] = []
    while len(entries) < _PAGE:
        part = connection.execute(
            "SELECT id, partition, row FROM documents WHERE (id, partition) > (?, ?) ORDER BY id, partition LIMIT ?",
            (*after, step),
        ).fetchall()
        if mask is None:
            entries += part
        else:
            eligible = mask[snapshot.rows_of([key for *_, key in part])].tolist()
            entries += itertools.compress(part, eligible)
        if len(part) < step:
            return entries, after, len(entries) > _PAGE
        after = part[-1][:2]
        step = min(2 * step, _MAX_STEP)  # few of them are eligible
    return entries, after, True


def read_pairs(connection: sqlite3.Connection, snapshot: Snapshot, keys: list[int]) -> list[Pair]:
    """Return documents with their vectors, by key. Raises CorruptionError if a row is not live."""
    rows = snapshot.rows_of(keys)
    dead = np.flatnonzero(~snapshot.live[rows])
    if len(dead):
        raise CorruptionError(f"the database has documents for rows that are not live, first row {rows[dead[0]]}")
    records = read_records(connection, keys)
    lost = [key for key in keys if key not in records]
    if lost:
        raise CorruptionError(f"document number {lost[0]} is listed but missing: the database is damaged. Run verify()")
    vectors = snapshot.vectors.take(rows)
    return [(records[key].document(), vector) for key, vector in zip(keys, vectors, strict=True)]


def sample(snapshots: SnapshotManager, tree: Filter | None, count: int) -> Iterator[Pair]:
    """Implement `protocols.Sampling.sample`, in the order of rows. Only the documents in the sample are read."""

    def begin(connection: Connection, snapshot: Snapshot) -> tuple[int, Rows]:
        mask = snapshots.mask(snapshot, tree, connection)
        rows = np.arange(snapshot.rows) if mask is None else np.flatnonzero(mask)
        return snapshot.era, snapshot.keys.of(rows[:: max(1, -(-len(rows) // count))])

    def read(connection: Connection, snapshot: Snapshot, keys: Rows) -> list[Pair]:
        if snapshot.era != era:  # the collection was cleared; new documents have the same keys
            return []
        rows = snapshot.keys.find(keys)
        there = rows >= 0
        there[there] = snapshot.live[rows[there]]
        return read_pairs(connection, snapshot, keys[there].tolist())

    era, keys = snapshots.read(begin)
    for start in range(0, len(keys), _SAMPLED):
        yield from snapshots.read(partial(read, keys=keys[start : start + _SAMPLED]))


def duplicates(
    snapshots: SnapshotManager, tree: Filter | None, threshold: float, progress: Callable[[int], object] | None
) -> Iterator[Duplicate]:
    """Implement `protocols.Engine.duplicates`. No transaction is open while the caller handles a pair."""
    from theodolite.indexes.flat.pairs import close_pairs  # few programs need it

    def begin(connection: Connection, snapshot: Snapshot) -> tuple[Snapshot, Rows]:
        mask = snapshots.mask(snapshot, tree, connection)
        return snapshot, np.arange(snapshot.rows) if mask is None else np.flatnonzero(mask)

    # The vectors of a commit stay the same while they are mapped, whatever is written.
    snapshot, rows = snapshots.read(begin)
    for pairs in close_pairs(snapshot.vectors, rows, threshold):
        for start in range(0, len(pairs.first), _PAIRS):
            page = slice(start, start + _PAIRS)
            listed = snapshots.read(partial(_read_page, pairs=pairs, page=page, begun=snapshot))
            if listed is None:  # the collection was cleared; new documents have the same keys
                return
            yield from listed
        if progress is not None:
            progress(pairs.compared)


def _read_page(
    connection: Connection, snapshot: Snapshot, *, pairs: "Pairs", page: slice, begun: Snapshot
) -> list[Duplicate] | None:
    """Return the pairs whose documents both still exist; None if the collection has been cleared.

    Args:
        begun: the snapshot that the pairs are of.
    """
    if snapshot.era != begun.era:
        return None
    first, second = begun.keys_of(pairs.first[page]), begun.keys_of(pairs.second[page])
    keys = sorted({*first, *second})
    documents = {key: record.document() for key, record in read_records(connection, keys).items()}
    rows = snapshot.keys.find(np.array(keys, np.int64)).tolist()
    missing = [row for key, row in zip(keys, rows, strict=True) if key not in documents]
    lost = [row for row in missing if row >= 0 and snapshot.live[row]]
    if lost:
        raise CorruptionError(f"row {lost[0]} is live but has no document: the database is damaged. Run verify()")
    return [
        Duplicate(documents[one], documents[other], similarity)
        for one, other, similarity in zip(first, second, pairs.cosines[page].tolist(), strict=True)
        if one in documents and other in documents
    ]


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
