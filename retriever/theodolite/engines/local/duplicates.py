"""Near-duplicates: pairs of one commit, with the documents as they are when the pair is reached."""

from collections.abc import Callable, Iterator
from functools import partial
from sqlite3 import Connection

import numpy as np

from theodolite.engines.local.commit import select
from theodolite.engines.local.records import Record
from theodolite.engines.local.snapshot import Snapshot, View
from theodolite.errors import CorruptionError
from theodolite.filters import Filter
from theodolite.indexes.pairs import Pairs, close_pairs
from theodolite.types import Duplicate, Rows

_PAGE = 512  # pairs whose documents are read together


def duplicates(
    view: View, tree: Filter | None, threshold: float, progress: Callable[[int], object] | None
) -> Iterator[Duplicate]:
    """See `protocols.Engine.duplicates`. No transaction is open while the caller has a pair."""

    def begin(connection: Connection, snapshot: Snapshot) -> tuple[Snapshot, Rows]:
        mask = view.mask(snapshot, tree, connection)
        return snapshot, np.arange(snapshot.state.rows) if mask is None else np.flatnonzero(mask)

    # A commit's vectors stay as they are for as long as they are mapped, whatever is written.
    snapshot, rows = view.read(begin)
    generation = snapshot.state.generation
    for found in close_pairs(snapshot.vectors, rows, threshold):
        for start in range(0, len(found.first), _PAGE):
            listed = view.read(partial(_read, found=found, page=slice(start, start + _PAGE), generation=generation))
            if listed is None:  # all was deleted; what is there now has the same row numbers
                return
            yield from listed
        if progress is not None:
            progress(found.compared)


def _read(
    connection: Connection, snapshot: Snapshot, *, found: Pairs, page: slice, generation: int
) -> list[Duplicate] | None:
    """The pairs of which both documents are still there; None if the generation is over."""
    if snapshot.state.generation != generation:
        return None
    first, second = found.first[page].tolist(), found.second[page].tolist()
    rows = sorted({*first, *second})
    documents = {
        row: Record(*record).document() for row, *record in select(connection, "row, id, text, metadata", "row", rows)
    }
    lost = [row for row in rows if row not in documents and snapshot.live[row]]
    if lost:
        raise CorruptionError(f"row {lost[0]} is live but has no document: the database is damaged. Run verify()")
    return [
        Duplicate(documents[one], documents[other], similarity)
        for one, other, similarity in zip(first, second, found.cosines[page].tolist(), strict=True)
        if one in documents and other in documents
    ]
