"""What fields there are: from the documents where they are few, else from the columns."""

import sqlite3
import threading
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from theodolite.engines.local.derived.columns.dictionary import FALSE, FIRST, MAPPING, NONE, NOTHING, TRUE, Dictionary
from theodolite.engines.local.derived.columns.segment import Lists, Segment
from theodolite.engines.local.derived.snapshot import Snapshot, SnapshotManager, StaleSnapshot
from theodolite.engines.local.storage.records import check_depth, decode_stored, select_documents, stored_metadata
from theodolite.errors import CorruptionError
from theodolite.filters import Filter
from theodolite.filters.summary import PARTS, FieldStats, Survey, names, told
from theodolite.filters.values import kind_of
from theodolite.forking import register_at_fork
from theodolite.types import Field, FieldKind, Mask

FEW = 5000
"""Documents up to which each is read: sooner done than looking at every row of every column."""
MANY = 200
"""Names above which each document is read: a column for each would take more time, and memory."""

_KEPT = 16  # answers
_SAMPLE = 500  # documents that tell which names there are
_FETCH = 512  # documents parsed in one piece

Counts = NDArray[np.int64]
Key = tuple[int, int, str, int, frozenset[str] | None]


class _Names(NamedTuple):
    """Names in the rows of a generation up to `rows`; of those alive at the commit `read_at`, at least."""

    generation: int = -1
    rows: int = 0
    read_at: int = 0
    names: frozenset[str] = frozenset()


class FieldSummaries:
    """Tells the fields of a collection, or of what passes a filter; the last answers are kept."""

    def __init__(self, snapshots: SnapshotManager) -> None:
        self._snapshots = snapshots
        self._names = _Names()
        self._kept: dict[Key, dict[str, Field]] = {}
        self._lock = threading.Lock()
        register_at_fork(self)

    def fields(
        self,
        connection: sqlite3.Connection,
        snapshot: Snapshot,
        where: Filter | None,
        most: int,
        only: frozenset[str] | None = None,
    ) -> dict[str, Field]:
        """The fields of the documents that pass, or only these fields, within the snapshot's transaction."""
        key = snapshot.state.generation, snapshot.state.sequence, repr(where), most, only
        with self._lock:
            found = self._kept.get(key)
        if found is None:
            found = self._found(connection, snapshot, where, most, only)
            with self._lock:
                self._kept[key] = found
                while len(self._kept) > _KEPT:
                    del self._kept[next(iter(self._kept))]
        return {name: replace(field, kinds=dict(field.kinds)) for name, field in found.items()}

    def sample(self, connection: sqlite3.Connection, snapshot: Snapshot, where: Filter | None) -> set[str]:
        """Names of fields in some of the documents that pass, evenly spread over them."""
        mask = self._snapshots.mask(snapshot, where, connection)
        rows = np.arange(snapshot.rows) if mask is None else np.flatnonzero(mask)
        rows = rows[:: max(1, len(rows) // _SAMPLE)]
        return {
            name
            for (text,) in select_documents(connection, "metadata", "row", snapshot.keys_of(rows))
            for name in names(decode_stored(text))
        }

    def _found(
        self,
        connection: sqlite3.Connection,
        snapshot: Snapshot,
        where: Filter | None,
        most: int,
        only: frozenset[str] | None,
    ) -> dict[str, Field]:
        mask = self._snapshots.mask(snapshot, where, connection)
        if only is not None:
            return told((name, self._tally(connection, snapshot, name, mask, most)) for name in only)
        count = snapshot.state.live if mask is None else int(np.count_nonzero(mask))
        if count > FEW:
            known = self._known(connection, snapshot)
            if len(known) <= MANY:
                return told((name, self._tally(connection, snapshot, name, mask, most)) for name in known)
        keys = snapshot.keys_of(np.arange(snapshot.rows) if mask is None else np.flatnonzero(mask))
        survey = Survey(most)
        for (metadata,) in select_documents(connection, "metadata", "row", keys):
            survey.add(stored_metadata(metadata))
        return survey.fields()

    def _known(self, connection: sqlite3.Connection, snapshot: Snapshot) -> frozenset[str]:
        """All names in the snapshot, and maybe some that no living document has any more."""
        state = snapshot.state
        with self._lock:
            held = self._names
            if held.generation != state.generation:
                if held.generation > state.generation:
                    raise StaleSnapshot
                held = _Names(state.generation)
            if held.rows < snapshot.rows:
                found = set(held.names)
                since = snapshot.keys.key(held.rows)
                cursor = connection.execute("SELECT metadata FROM documents WHERE row >= ?", (since,))
                while texts := cursor.fetchmany(_FETCH):
                    for (text,) in texts:
                        check_depth(text)
                    for metadata in decode_stored(f"[{','.join(text for (text,) in texts)}]"):
                        if not isinstance(metadata, dict):
                            raise CorruptionError(f"stored metadata is damaged: {metadata!r:.80} is no mapping")
                        found.update(metadata)
                        if dict in map(type, metadata.values()):
                            found.update(names(metadata))
                found = {name for name in found if name.count(".") < PARTS}
                held = self._names = _Names(state.generation, snapshot.rows, state.sequence, frozenset(found))
            elif held.read_at > state.sequence:
                raise StaleSnapshot  # it lacks names of rows that have died since
            return held.names

    def _tally(
        self, connection: sqlite3.Connection, snapshot: Snapshot, name: str, mask: Mask | None, most: int
    ) -> FieldStats:
        tally = FieldStats(most)
        rows = snapshot.rows
        for segment in self._snapshots.column(snapshot, name, connection).segments:
            if segment.start >= rows:
                break
            inside = np.zeros(segment.stop - segment.start, np.bool_)  # it may reach beyond the snapshot
            inside[: rows - segment.start] = True if mask is None else mask[segment.start : segment.stop]
            _tell(tally, segment, inside, most)
        return tally


def _tell(tally: FieldStats, segment: Segment, inside: Mask, most: int) -> None:
    """What one segment holds in the rows `inside`, (stop − start,)."""
    of = segment.dictionary
    rows = inside if segment.places is None else inside[segment.places]
    counts = np.bincount(segment.codes if rows.all() else segment.codes[rows], minlength=of.starts[-1])
    ints, floats, moments, texts, end = of.starts
    tally.hold("none", int(counts[NONE]))
    tally.hold("boolean", int(counts[FALSE] + counts[TRUE]))
    tally.hold("list", int(counts[NOTHING:MAPPING].sum()))
    tally.hold("mapping", int(counts[MAPPING]))
    tally.hold("number", int(counts[FIRST:moments].sum()))
    tally.hold("date", int(counts[moments:texts].sum()))
    tally.hold("string", int(counts[texts:end].sum()))
    tally.hold_unreadable(int(counts[of.unreadable()].sum()))
    for number, large in enumerate(of.rest):  # in no order
        if counts[FIRST + number]:
            tally.reach("number", large, large)
    for start, stop in ((ints, floats), (floats, moments)):
        there = np.flatnonzero(counts[start:stop]) + start
        if len(there):
            tally.reach("number", of.value(int(there[0])), of.value(int(there[-1])))
    there = np.flatnonzero(counts[moments:texts])
    if len(there):
        tally.reach("date", int(of.moments[there[0]]), int(of.moments[there[-1]]))
    _values(tally, of, counts, most)
    if segment.lists is not None:
        _values(tally, segment.lists.dictionary, _holding(segment.lists, inside), most)
        _elements(tally, segment.lists, inside)


def _elements(tally: FieldStats, lists: Lists, inside: Mask) -> None:
    """How many of the lists, of the rows `inside`, have an element of each kind."""
    of = lists.dictionary
    _, _, moments, texts, end = of.starts
    inner: list[FieldKind] = ["list" if isinstance(value, list) else "number" for value in of.rest]
    kinds: list[FieldKind] = ["none", "none", "boolean", "boolean", "list", "list", "mapping", *inner]
    kinds += ["number"] * (moments - len(kinds))
    kinds += ["date"] * (texts - moments)
    kinds += ["string"] * (end - texts)
    known = list(dict.fromkeys(kinds))
    of_code = np.array([known.index(kind) for kind in kinds], np.int64)
    sizes = np.diff(lists.ends)
    owners = np.repeat(np.arange(len(sizes)), sizes)
    kept = inside[lists.places][owners]
    pairs = np.unique(owners[kept] * len(known) + of_code[lists.codes[kept]])
    for number, count in enumerate(np.bincount(pairs % len(known), minlength=len(known)).tolist()):
        tally.hold_inside(known[number], count)


def _holding(lists: Lists, inside: Mask) -> Counts:
    """In how many of the lists, of the rows `inside`, each element is."""
    codes = np.repeat(np.arange(len(lists.bounds) - 1), np.diff(lists.bounds))
    counted = inside[lists.owners]
    # The owners of a code are in order, so a list that has it twice stands there twice in a row.
    counted[1:] &= (codes[1:] != codes[:-1]) | (lists.owners[1:] != lists.owners[:-1])
    return np.bincount(codes[counted], minlength=len(lists.bounds) - 1)


def _values(tally: FieldStats, of: Dictionary, counts: Counts, most: int) -> None:
    """Tell the values, if they can be few. Equal numbers too large for 64 bits may have two codes."""
    there = np.flatnonzero(counts)
    there = there[(there == FALSE) | (there == TRUE) | (there >= FIRST)]
    if len(there) - len(of.rest) > most:
        tally.overflow()
        return
    _, _, moments, texts, _ = of.starts
    for code in there.tolist():
        if moments <= code < texts:
            iso = of.iso[code - moments]
            tally.count("string" if iso else "date", iso or int(of.moments[code - moments]), int(counts[code]))
        elif (kind := kind_of(of.value(code))) != "list":
            tally.count(kind, of.value(code), int(counts[code]))
