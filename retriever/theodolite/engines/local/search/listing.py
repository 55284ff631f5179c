"""List documents with their vectors: page by page, each page in one transaction."""

import itertools
import sqlite3
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from theodolite.engines.local.derived.snapshot import Snapshot
from theodolite.engines.local.storage.records import read_records, select_documents
from theodolite.errors import CorruptionError
from theodolite.types import Document, Mask

_PAGE = 256  # documents
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
