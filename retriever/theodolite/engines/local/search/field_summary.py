"""The fields of a collection, and notes on filters that do not fit them.

Fields are read from the documents if these are few, else from the columns. The notes are about filters that match
nothing and about strings that only look like dates.
"""

import sqlite3
import threading
from collections.abc import Collection
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from theodolite.columns.dictionary import (
    EMPTY_LIST,
    FALSE,
    FIRST,
    MAPPING,
    NONE,
    TRUE,
    Dictionary,
)
from theodolite.columns.segment import Segment
from theodolite.engines.local.derived.snapshot import Snapshot, SnapshotManager, StaleSnapshot
from theodolite.engines.local.search.value_counts import ELEMENT_KINDS, Counts, ValueCounts, ValueCountsCache
from theodolite.engines.local.storage.records import select_documents
from theodolite.errors import CorruptionError
from theodolite.filters import Filter, fields
from theodolite.filters.non_matching import non_matching_notes
from theodolite.filters.summary import PARTS, FieldStats, names, summarize, summarize_documents
from theodolite.filters.values import kind_of
from theodolite.forking import register_at_fork
from theodolite.metadata import check_depth, decode_stored, stored_metadata
from theodolite.ranking.notes import NoteWarnings, filter_dates, unreadable_note
from theodolite.types import Field, Mask

MAX_READ = 5000
"""Documents up to which each one is read: faster than a pass over all rows of every column."""
MAX_COLUMNS = 200
"""Names above which each document is read: columns for all of them would take more time, and memory."""

_MAX_SUMMARIES = 16  # kept for the next call
_SAMPLE = 500  # documents whose names are looked at for "did you mean"
_CHUNK = 512  # documents parsed at a time

Key = tuple[int, int, str, int, frozenset[str] | None]


class _Names(NamedTuple):
    """The names in the first `rows` rows of a generation; complete for documents that live at the commit `read_at`."""

    generation: int = -1
    rows: int = 0
    read_at: int = 0
    names: frozenset[str] = frozenset()


class FieldSummaries:
    """Summarizes the fields of a collection, or of the documents that pass a filter. Keeps recent summaries."""

    def __init__(self, snapshots: SnapshotManager) -> None:
        self._snapshots = snapshots
        self._names = _Names()
        self._counts = ValueCountsCache()
        self._summaries: dict[Key, dict[str, Field]] = {}
        self._lock = threading.Lock()
        register_at_fork(self)

    def fields(
        self,
        connection: sqlite3.Connection,
        snapshot: Snapshot,
        where: Filter | None,
        max_values: int,
        only: frozenset[str] | None = None,
    ) -> dict[str, Field]:
        """Return the fields of the documents that pass, or only the named ones, within the snapshot's transaction.

        Args:
            max_values: distinct values up to which a field's values are listed.
        """
        key = snapshot.state.generation, snapshot.state.sequence, repr(where), max_values, only
        with self._lock:
            summary = self._summaries.get(key)
        if summary is None:
            summary = self._summarize(connection, snapshot, where, max_values, only)
            with self._lock:
                self._summaries[key] = summary
                while len(self._summaries) > _MAX_SUMMARIES:
                    del self._summaries[next(iter(self._summaries))]
        return {name: replace(field, kinds=dict(field.kinds)) for name, field in summary.items()}

    def sample_names(self, connection: sqlite3.Connection, snapshot: Snapshot, where: Filter | None) -> set[str]:
        """Return the names in a sample of the documents that pass, evenly spread over them."""
        mask = self._snapshots.mask(snapshot, where, connection)
        rows = np.arange(snapshot.rows) if mask is None else np.flatnonzero(mask)
        rows = rows[:: max(1, len(rows) // _SAMPLE)]
        return {
            name
            for (text,) in select_documents(connection, "metadata", "row", snapshot.keys_of(rows))
            for name in names(decode_stored(text))
        }

    def _summarize(
        self,
        connection: sqlite3.Connection,
        snapshot: Snapshot,
        where: Filter | None,
        max_values: int,
        only: frozenset[str] | None,
    ) -> dict[str, Field]:
        mask = self._snapshots.mask(snapshot, where, connection)

        def stats_of(name: str) -> FieldStats:
            return self._column_stats(connection, snapshot, name, repr(where), mask, max_values)

        if only is not None:
            return summarize((name, stats_of(name)) for name in only)
        count = snapshot.state.live if mask is None else int(np.count_nonzero(mask))
        if count > MAX_READ:
            known = self._known_names(connection, snapshot)
            if len(known) <= MAX_COLUMNS:
                return summarize((name, stats_of(name)) for name in known)
        keys = snapshot.keys_of(np.arange(snapshot.rows) if mask is None else np.flatnonzero(mask))
        rows = select_documents(connection, "metadata", "row", keys)
        return summarize_documents((stored_metadata(metadata) for (metadata,) in rows), max_values)

    def _known_names(self, connection: sqlite3.Connection, snapshot: Snapshot) -> frozenset[str]:
        """Return all names in the snapshot; some may belong to dead documents only."""
        state = snapshot.state
        with self._lock:
            known = self._names
            if known.generation != state.generation:
                if known.generation > state.generation:
                    raise StaleSnapshot
                known = _Names(state.generation)
            if known.rows < snapshot.rows:
                found = set(known.names)
                first_key = snapshot.keys.key(known.rows)
                cursor = connection.execute("SELECT metadata FROM documents WHERE row >= ?", (first_key,))
                while texts := cursor.fetchmany(_CHUNK):
                    for (text,) in texts:
                        check_depth(text)
                    for metadata in decode_stored(f"[{','.join(text for (text,) in texts)}]"):
                        if not isinstance(metadata, dict):
                            raise CorruptionError(f"stored metadata is damaged: {metadata!r:.80} is not a mapping")
                        found.update(metadata)
                        if dict in map(type, metadata.values()):
                            found.update(names(metadata))
                found = {name for name in found if name.count(".") < PARTS}
                known = self._names = _Names(state.generation, snapshot.rows, state.sequence, frozenset(found))
            elif known.read_at > state.sequence:
                raise StaleSnapshot  # it lacks names of rows that have died since
            return known.names

    def _column_stats(
        self,
        connection: sqlite3.Connection,
        snapshot: Snapshot,
        name: str,
        where: str,
        mask: Mask | None,
        max_values: int,
    ) -> FieldStats:
        stats = FieldStats(max_values)
        rows = snapshot.rows
        for segment in self._snapshots.column(snapshot, name, connection).segments:
            if segment.start >= rows:
                break
            passing = np.zeros(segment.stop - segment.start, np.bool_)  # the segment may reach beyond the snapshot
            passing[: rows - segment.start] = True if mask is None else mask[segment.start : segment.stop]
            _add_segment(stats, segment, self._counts.counts(segment, passing, where), max_values)
        return stats


def _add_segment(stats: FieldStats, segment: Segment, of_segment: ValueCounts, max_values: int) -> None:
    """Add the values of one segment."""
    of, counts = segment.dictionary, of_segment.values
    ints, floats, moments, texts, end = of.starts
    stats.hold("none", int(counts[NONE]))
    stats.hold("boolean", int(counts[FALSE] + counts[TRUE]))
    stats.hold("list", int(counts[EMPTY_LIST:MAPPING].sum()))
    stats.hold("mapping", int(counts[MAPPING]))
    stats.hold("number", int(counts[FIRST:moments].sum()))
    stats.hold("date", int(counts[moments:texts].sum()))
    stats.hold("string", int(counts[texts:end].sum()))
    stats.hold_unreadable(int(counts[of.unreadable()].sum()))
    for number, large in enumerate(of.rest):  # not sorted
        if counts[FIRST + number]:
            stats.reach("number", large, large)
    for start, stop in ((ints, floats), (floats, moments)):
        if (ends := _ends(counts[start:stop])) is not None:
            stats.reach("number", of.value(start + ends[0]), of.value(start + ends[1]))
    if (ends := _ends(counts[moments:texts])) is not None:
        stats.reach("date", int(of.moments[ends[0]]), int(of.moments[ends[1]]))
    _add_values(stats, of, counts, max_values)
    if segment.lists is not None:
        _add_values(stats, segment.lists.dictionary, of_segment.elements, max_values)
        for kind, count in zip(ELEMENT_KINDS, of_segment.kinds.tolist(), strict=True):
            stats.hold_inside(kind, count)


def _ends(counts: Counts) -> tuple[int, int] | None:
    """Return the first and the last place of a count above 0."""
    present = counts != 0
    first = int(present.argmax()) if len(present) else 0
    if not len(present) or not present[first]:
        return None
    return first, len(present) - 1 - int(present[::-1].argmax())


def _add_values(stats: FieldStats, of: Dictionary, counts: Counts, max_values: int) -> None:
    """Add the values if they can be few enough. Equal numbers too large for 64 bits may have two codes."""
    if np.count_nonzero(counts) - FIRST - len(of.rest) > max_values:  # the fast way for a name of its own in each row
        stats.overflow()
        return
    present = np.flatnonzero(counts)
    present = present[(present == FALSE) | (present == TRUE) | (present >= FIRST)]
    if len(present) - len(of.rest) > max_values:
        stats.overflow()
        return
    _, _, moments, texts, _ = of.starts
    for code in present.tolist():
        if moments <= code < texts:
            iso = of.iso[code - moments]
            stats.count("string" if iso else "date", iso or int(of.moments[code - moments]), int(counts[code]))
        elif (kind := kind_of(of.value(code))) != "list":
            stats.count(kind, of.value(code), int(counts[code]))


class Hints:
    """Writes notes on searches, counts and deletions. Each note is also a warning the first time."""

    def __init__(self, snapshots: SnapshotManager, summaries: FieldSummaries) -> None:
        self._snapshots = snapshots
        self._summaries = summaries
        self._warnings = NoteWarnings()
        self._date_fields: set[str] = set()

    def notes(
        self,
        connection: sqlite3.Connection,
        snapshot: Snapshot,
        where: Filter | None,
        within: Filter | None,
        *,
        matching: int,
        dates: Collection[str] = (),
    ) -> tuple[str, ...]:
        """Return notes on a filter, within the snapshot's transaction.

        Args:
            where: the filter.
            within: the filter of the scope; notes reveal nothing of other documents.
            matching: number of documents that pass.
            dates: fields that boosts or rules for versions read as dates.
        """
        notes = self._unreadable_notes(connection, snapshot, {*filter_dates(where), *dates}, within)
        if not matching and where is not None:
            known = self._summaries.fields(connection, snapshot, within, 0, frozenset(fields(where)))
            place = "document" if within is None else "document of this scope"
            notes += non_matching_notes(
                where, known, lambda: self._summaries.sample_names(connection, snapshot, within), where=place
            )
        self._warnings.warn(notes)
        return notes

    def unreadable(self, connection: sqlite3.Connection, snapshot: Snapshot, within: Filter | None) -> dict[str, int]:
        """Count, by field, the documents with strings that look like dates but are not.

        Covers the fields that were read as dates so far; in small collections all fields.
        """
        small = snapshot.state.live <= MAX_READ
        only = None if small else frozenset(self._date_fields)
        known = self._summaries.fields(connection, snapshot, within, 0, only) if small or only else {}
        return {name: field.unreadable_dates for name, field in known.items() if field.unreadable_dates}

    def _unreadable_notes(
        self, connection: sqlite3.Connection, snapshot: Snapshot, names: Collection[str], within: Filter | None
    ) -> tuple[str, ...]:
        if not names:
            return ()
        self._date_fields.update(names)
        likely = [name for name in names if self._has_unreadable(connection, snapshot, name)]
        known = self._summaries.fields(connection, snapshot, within, 0, frozenset(likely)) if likely else {}
        return tuple(
            unreadable_note(
                name, field.unreadable_dates, field.count, self._example(connection, snapshot, name, within)
            )
            for name, field in known.items()
            if field.unreadable_dates
        )

    def _has_unreadable(self, connection: sqlite3.Connection, snapshot: Snapshot, name: str) -> bool:
        column = self._snapshots.column(snapshot, name, connection)
        return any(len(segment.dictionary.unreadable()) for segment in column.segments)

    def _example(self, connection: sqlite3.Connection, snapshot: Snapshot, name: str, within: Filter | None) -> str:
        """Return the first such string in the scope."""
        mask = self._snapshots.mask(snapshot, within, connection)
        for segment in self._snapshots.column(snapshot, name, connection).segments:
            is_unreadable = np.zeros(segment.dictionary.starts[-1], np.bool_)
            is_unreadable[segment.dictionary.unreadable()] = True
            rows = np.flatnonzero(segment.each(is_unreadable)[: snapshot.rows - segment.start]) + segment.start
            for row in rows[:1] if mask is None else rows[mask[rows]][:1]:
                return str(segment.dictionary.value(segment.code(int(row) - segment.start)))
        return ""
