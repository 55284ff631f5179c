"""Listing documents: page by page, each page within one transaction."""

import itertools
import sqlite3
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from theodolite.engines.local.derived.snapshot import Snapshot
from theodolite.engines.local.storage.records import Record, select_documents
from theodolite.errors import CorruptionError
from theodolite.types import Document, Mask

_PAGE = 256  # documents
_STRIDE = 8192  # ids looked at in one step
_FEW = 4096  # eligible rows whose ids are read straight away

Pair = tuple[Document, NDArray[np.float32]]
Place = tuple[str, str]
"""An id and a partition: what documents are listed by."""


@dataclass(frozen=True, slots=True)
class Page:
    """Some documents in the order of their ids; `after` is where the next page begins, None behind the last."""

    pairs: list[Pair]
    after: "Place | None"


def behind(name: str) -> Place:
    """The place behind all documents with this id."""
    return name, "\U0010ffff"


def page(connection: sqlite3.Connection, snapshot: Snapshot, mask: Mask | None, after: Place) -> Page:
    """The first documents behind `after` among the eligible rows (None: all)."""
    if mask is not None and np.count_nonzero(mask) <= _FEW:
        listed = select_documents(connection, "id, partition, row", "row", snapshot.keys_of(np.flatnonzero(mask)))
        named = sorted(one for one in listed if one[:2] > after)
        more = len(named) > _PAGE
    else:
        named, after, more = _scan(connection, snapshot, mask, after)
    named = named[:_PAGE]
    if more and named:
        after = named[-1][:2]
    return Page(pairs(connection, snapshot, [key for *_, key in named]), after if more else None)


def _scan(
    connection: sqlite3.Connection, snapshot: Snapshot, mask: Mask | None, after: Place
) -> tuple[list[tuple[str, str, int]], Place, bool]:
    """Ids, partitions and keys from the index over the ids; where to go on; and whether there is more."""
    step = _PAGE
    found: list[tuple[str, str, int]] = []
    while len(found) < _PAGE:
        part = connection.execute(
            "SELECT id, partition, row FROM documents WHERE (id, partition) > (?, ?) ORDER BY id, partition LIMIT ?",
            (*after, step),
        ).fetchall()
        if mask is None:
            found += part
        else:
            eligible = mask[snapshot.rows_of([key for *_, key in part])].tolist()
            found += itertools.compress(part, eligible)
        if len(part) < step:
            return found, after, len(found) > _PAGE
        after = part[-1][:2]
        step = min(2 * step, _STRIDE)  # few of them are eligible
    return found, after, True


def pairs(connection: sqlite3.Connection, snapshot: Snapshot, keys: list[int]) -> list[Pair]:
    """Documents, by their keys, with their vectors. Raises CorruptionError where the row is not alive."""
    rows = snapshot.rows_of(keys)
    dead = np.flatnonzero(~snapshot.live[rows])
    if len(dead):
        raise CorruptionError(f"the database holds documents of rows that are not alive, first row {rows[dead[0]]}")
    found = {key: Record(*rest) for key, *rest in select_documents(connection, "row, id, text, metadata", "row", keys)}
    lost = [key for key in keys if key not in found]
    if lost:
        raise CorruptionError(
            f"document number {lost[0]} is listed but not there: the database is damaged. Run verify()"
        )
    vectors = snapshot.vectors.take(rows)
    return [(found[key].document(), vector) for key, vector in zip(keys, vectors, strict=True)]
