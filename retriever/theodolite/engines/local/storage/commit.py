"""The commit protocol: a durable frame of vectors, then one transaction that names it.

Killed at any point, either the transaction is there, and with it the frame, or neither is: a frame beyond the
committed end is moved aside by the next writer.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from theodolite.engines.local.storage import lexical_table
from theodolite.engines.local.storage.change_log import beginning, write_entry
from theodolite.engines.local.storage.database import State, Store, change_state, read_manifest
from theodolite.engines.local.storage.digest import seal
from theodolite.engines.local.storage.frames import append, has_orphan, move_orphan_aside, planned, surplus
from theodolite.engines.local.storage.generation_base import drop_base
from theodolite.engines.local.storage.paths import vectors_name
from theodolite.engines.local.storage.records import Record
from theodolite.errors import VectorError
from theodolite.types import Space, Vectors

_MANY = 500  # parameters of one statement; old SQLites take 999


def commit(
    connection: sqlite3.Connection,
    store: Store,
    state: State,
    *,
    ended: Sequence[tuple[Any, ...]] = (),
    records: Sequence[Record] = (),
    hashes: Sequence[bytes] = (),
    vectors: Vectors,
) -> None:
    """Append rows and end others, within a write transaction that the caller commits.

    Args:
        ended: key and text of documents that cease to be.
        records, hashes: the documents of the new rows,
        vectors: and their vectors, (n, d).
    """
    lexical_table.upgrade(connection)
    dimension = vectors.shape[1]
    file = store.vectors(state.generation) if state.slots else store.made_vectors(state.generation)
    size = state.slots * 4 * dimension + surplus(file, state.slots, dimension)
    if has_orphan(file, state.slots, state.sequence, dimension, size):
        move_orphan_aside(file, store.folder, state.slots, state.sequence, dimension)
    sequence = state.sequence + 1
    begin = beginning(read_manifest(connection).uid, state.generation)
    frame = planned(state.slots, sequence, state.keys, vectors)
    digest = write_entry(connection, frame, hashes, [row for row, _ in ended], begin)
    store.begin_frame(file, state.slots * 4 * dimension)
    append(file, frame, digest, vectors, durable=store.durable)
    store.committing(sequence, digest)
    if ended:
        lexical_table.delete(connection, ended)
        connection.executemany("DELETE FROM documents WHERE row = ?", [(row,) for row, _ in ended])
    connection.executemany(
        "INSERT INTO documents VALUES (?, ?, ?, ?, ?, ?, ?)",
        ((row, *record, digest) for row, (record, digest) in enumerate(zip(records, hashes, strict=True), state.keys)),
    )
    lexical_table.insert(connection, state.keys, [record.text for record in records])
    keys, live = state.keys + len(records), state.live + len(records) - len(ended)
    change_state(connection, state._replace(sequence=sequence, keys=keys, slots=frame.slot + frame.rows, live=live))


def pin(connection: sqlite3.Connection, space: Space) -> None:
    """Settle the manifest's space with the first batch, or see that the batch fits it.

    Raises:
        VectorError: the vectors were prepared for another space, because another writer was quicker.
    """
    manifest = read_manifest(connection)
    if manifest.space == space:
        return
    if manifest.space.dimension is not None:
        raise VectorError(
            f"the vectors are prepared for {space}, but the collection is pinned to {manifest.space}: "
            "another writer has settled it first",
            expected=manifest.space.dimension,
            got=space.dimension,
        )
    value = manifest.settled(space).to_json()
    connection.execute("UPDATE manifest SET value = ?, hash = ?", (value, seal(value)))


def select(
    connection: sqlite3.Connection, columns: str, key: str, values: Sequence[object], partition: str | None = None
) -> Iterator[Any]:
    """Rows of `documents` whose `key` is one of `values`, of one partition if that is given, in any order."""
    there, place = ("", ()) if partition is None else (" AND partition = ?", (partition,))
    for start in range(0, len(values), _MANY):
        part = values[start : start + _MANY]
        marks = ",".join("?" * len(part))
        yield from connection.execute(
            f"SELECT {columns} FROM documents WHERE {key} IN ({marks}){there}",  # noqa: S608 - names are ours
            (*part, *place),
        )


def begin_generation(connection: sqlite3.Connection, store: Store, state: State, dimension: int) -> None:
    """End all documents and start an empty vector file, within a write transaction that the caller commits."""
    fresh = state._replace(generation=state.generation + 1, keys=0, slots=0, live=0)
    store.folder.remove([vectors_name(fresh.generation)])  # of a generation that was never committed
    lexical_table.clear(connection)
    for table in ("documents", "frames", "tombstones"):
        connection.execute(f"DELETE FROM {table}")  # noqa: S608 - names are ours
    drop_base(connection)
    commit(connection, store, fresh, vectors=none(dimension))


def none(dimension: int) -> Vectors:
    """No vectors, of this dimension."""
    return Vectors(np.empty((0, dimension), np.float32))
