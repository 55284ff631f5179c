"""Near-duplicates: pairs of one commit, with the documents as they are when the pair is yielded."""

from collections.abc import Callable, Iterator
from functools import partial
from sqlite3 import Connection

import numpy as np

from theodolite.engines.local.derived.snapshot import Snapshot, SnapshotManager
from theodolite.engines.local.storage.records import read_records
from theodolite.errors import CorruptionError
from theodolite.filters import Filter
from theodolite.indexes.flat.pairs import Pairs, close_pairs
from theodolite.types import Duplicate, Rows

_PAGE = 512  # pairs whose documents are read together


def duplicates(
    snapshots: SnapshotManager, tree: Filter | None, threshold: float, progress: Callable[[int], object] | None
) -> Iterator[Duplicate]:
    """Implement `protocols.Engine.duplicates`. No transaction is open while the caller handles a pair."""

    def begin(connection: Connection, snapshot: Snapshot) -> tuple[Snapshot, Rows]:
        mask = snapshots.mask(snapshot, tree, connection)
        return snapshot, np.arange(snapshot.rows) if mask is None else np.flatnonzero(mask)

    # The vectors of a commit stay the same while they are mapped, whatever is written.
    snapshot, rows = snapshots.read(begin)
    for pairs in close_pairs(snapshot.vectors, rows, threshold):
        for start in range(0, len(pairs.first), _PAGE):
            page = slice(start, start + _PAGE)
            listed = snapshots.read(partial(_read_page, pairs=pairs, page=page, begun=snapshot))
            if listed is None:  # the collection was cleared; new documents have the same keys
                return
            yield from listed
        if progress is not None:
            progress(pairs.compared)


def _read_page(
    connection: Connection, snapshot: Snapshot, *, pairs: Pairs, page: slice, begun: Snapshot
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
