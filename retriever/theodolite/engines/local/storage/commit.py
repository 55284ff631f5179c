"""The commit protocol: a durable frame of vectors, then one transaction that names it.

Killed at any point, either the transaction is there, and with it the frame, or neither is. The next writer moves a
frame beyond the committed end aside.
"""

import sqlite3
from collections.abc import Sequence
from typing import Any

from theodolite.engines.local.storage import lexical_table
from theodolite.engines.local.storage.change_log import chain_start, drop_base, write_entry
from theodolite.engines.local.storage.database import State, change_state
from theodolite.engines.local.storage.folder import vectors_name
from theodolite.engines.local.storage.store import Store
from theodolite.engines.local.storage.vector_file import (
    append_frame,
    empty_vectors,
    has_orphan,
    move_orphan_aside,
    plan_frame,
    surplus_bytes,
)
from theodolite.engines.records import Record
from theodolite.types import Vectors


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
        ended: keys and texts of the documents to remove.
        records: the documents of the new rows.
        hashes: their hashes.
        vectors: their vectors, (n, d).
    """
    lexical_table.upgrade(connection)
    dimension = vectors.shape[1]
    file = store.vectors(state.generation) if state.slots else store.create_vectors(state.generation)
    size = state.slots * 4 * dimension + surplus_bytes(file, state.slots, dimension)
    if has_orphan(file, state.slots, state.sequence, dimension, size):
        move_orphan_aside(file, store.folder, state.slots, state.sequence, dimension)
    sequence = state.sequence + 1
    start = chain_start(store.identity.uid, state.generation)
    frame = plan_frame(state.slots, sequence, state.keys, vectors)
    commit_hash = write_entry(connection, frame, hashes, [row for row, _ in ended], start)
    store.announce_frame(file, state.slots * 4 * dimension)
    append_frame(file, frame, commit_hash, vectors, durable=store.durable)
    store.announce_commit(sequence, commit_hash)
    if ended:
        lexical_table.delete(connection, ended)
        connection.executemany("DELETE FROM documents WHERE row = ?", [(row,) for row, _ in ended])
    connection.executemany(
        "INSERT INTO documents VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            (row, *record, record_hash)
            for row, (record, record_hash) in enumerate(zip(records, hashes, strict=True), state.keys)
        ),
    )
    lexical_table.insert(connection, state.keys, [record.text for record in records])
    keys, live = state.keys + len(records), state.live + len(records) - len(ended)
    change_state(connection, state._replace(sequence=sequence, keys=keys, slots=frame.slot + frame.rows, live=live))


def begin_generation(connection: sqlite3.Connection, store: Store, state: State, dimension: int) -> None:
    """End all documents and start an empty vector file, within a write transaction that the caller commits."""
    fresh = state._replace(generation=state.generation + 1, keys=0, slots=0, live=0)
    store.folder.remove([vectors_name(fresh.generation)])  # of a generation that was never committed
    lexical_table.clear(connection)
    for table in ("documents", "frames", "tombstones"):
        connection.execute(f"DELETE FROM {table}")  # noqa: S608 - names are ours
    drop_base(connection)
    commit(connection, store, fresh, vectors=empty_vectors(dimension))
