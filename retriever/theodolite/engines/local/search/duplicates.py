"""Near-duplicates: pairs of one commit, with the documents as they are when the pair is reached."""

from collections.abc import Callable, Iterator
from functools import partial
from sqlite3 import Connection

import numpy as np

from theodolite.engines.local.derived.snapshot import Snapshot, SnapshotManager
from theodolite.engines.local.storage.records import Record, select_documents
from theodolite.errors import CorruptionError
from theodolite.filters import Filter
from theodolite.indexes.flat.pairs import Pairs, close_pairs
from theodolite.types import Duplicate, Rows

_PAGE = 512  # pairs whose documents are read together


def duplicates(
    snapshots: SnapshotManager, tree: Filter | None, threshold: float, progress: Callable[[int], object] | None
) -> Iterator[Duplicate]:
    """See `protocols.Engine.duplicates`. No transaction is open while the caller has a pair."""

    def begin(connection: Connection, snapshot: Snapshot) -> tuple[Snapshot, Rows]:
        mask = snapshots.mask(snapshot, tree, connection)
        return snapshot, np.arange(snapshot.rows) if mask is None else np.flatnonzero(mask)

    # A commit's vectors stay as they are for as long as they are mapped, whatever is written.
    snapshot, rows = snapshots.read(begin)
    for found in close_pairs(snapshot.vectors, rows, threshold):
        for start in range(0, len(found.first), _PAGE):
            listed = snapshots.read(partial(_read, found=found, page=slice(start, start + _PAGE), begun=snapshot))
            if listed is None:  # all was deleted; what is there now has the same keys
                return
            yield from listed
        if progress is not None:
            progress(found.compared)


def _read(
    connection: Connection, snapshot: Snapshot, *, found: Pairs, page: slice, begun: Snapshot
) -> list[Duplicate] | None:
    """Return the pairs whose documents both still exist; None if the collection has been cleared.

    Args:
        begun: the snapshot that the pairs are of.
    """
    if snapshot.era != begun.era:
        return None
    first, second = begun.keys_of(found.first[page]), begun.keys_of(found.second[page])
    keys = sorted({*first, *second})
    documents = {
        key: Record(*record).document()
        for key, *record in select_documents(connection, "row, id, text, metadata", "row", keys)
    }
    rows = snapshot.keys.find(np.array(keys, np.int64)).tolist()
    missing = [row for key, row in zip(keys, rows, strict=True) if key not in documents]
    lost = [row for row in missing if row >= 0 and snapshot.live[row]]
    if lost:
        raise CorruptionError(f"row {lost[0]} is live but has no document: the database is damaged. Run verify()")
    return [
        Duplicate(documents[one], documents[other], similarity)
        for one, other, similarity in zip(first, second, found.cosines[page].tolist(), strict=True)
        if one in documents and other in documents
    ]
