"""Notes on filters that match nothing and on strings that only look like dates."""

import sqlite3
from collections.abc import Collection, Iterator
from datetime import date

import numpy as np

from theodolite.engines.local.derived.snapshot import Snapshot, SnapshotManager
from theodolite.engines.local.search import field_summary
from theodolite.engines.local.search.field_summary import FieldSummaries
from theodolite.errors import MetadataWarning, short_repr, warn_caller
from theodolite.filters import And, Compare, Filter, In, Not, Or, fields, instant
from theodolite.filters.non_matching import non_matching_notes

_MAX_WARNED = 1000  # notes to remember, so that each is a warning only once


class Hints:
    """Writes notes on searches, counts and deletions. Each note is also a warning the first time."""

    def __init__(self, snapshots: SnapshotManager, summaries: FieldSummaries) -> None:
        self._snapshots = snapshots
        self._summaries = summaries
        self._warned: set[str] = set()
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
        notes = self._unreadable_notes(connection, snapshot, {*_date_fields(where), *dates}, within)
        if not matching and where is not None:
            known = self._summaries.fields(connection, snapshot, within, 0, frozenset(fields(where)))
            place = "document" if within is None else "document of this scope"
            notes += non_matching_notes(
                where, known, lambda: self._summaries.sample_names(connection, snapshot, within), where=place
            )
        for note in notes:
            if note not in self._warned and len(self._warned) < _MAX_WARNED:
                self._warned.add(note)
                warn_caller(note, MetadataWarning)
        return notes

    def unreadable(self, connection: sqlite3.Connection, snapshot: Snapshot, within: Filter | None) -> dict[str, int]:
        """Count, by field, the documents with strings that look like dates but are not.

        Covers the fields that were read as dates so far; in small collections all fields.
        """
        small = snapshot.state.live <= field_summary.MAX_READ
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
            f"{field.unreadable_dates:,} of {field.count:,} documents have a string in {short_repr(name)} that looks "
            f"like a date but is not one, such as {short_repr(self._example(connection, snapshot, name, within))}. It "
            "is treated as text and never compared with a date. Write dates as 2025-06-15 or 2025-06-15T12:30:45Z"
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


def _date_fields(tree: Filter | None) -> Iterator[str]:
    """Yield the fields that a filter compares with dates."""
    match tree:
        case Not(part=part):
            yield from _date_fields(part)
        case And(parts=parts) | Or(parts=parts):
            for part in parts:
                yield from _date_fields(part)
        case Compare(field=field, value=value):
            if instant(value) is not None:
                yield field
        case In(field=field, values=values):
            if any(issubclass(kind, date) for kind in set(map(type, values))):
                yield field
