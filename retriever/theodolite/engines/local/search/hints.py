"""What callers should know of an answer that they cannot see in it: filters that cannot match, dates that are none."""

import sqlite3
from collections.abc import Collection, Iterator
from datetime import date

import numpy as np

from theodolite.engines.local.derived.snapshot import Snapshot, SnapshotManager
from theodolite.engines.local.search.field_summary import FEW, FieldSummaries
from theodolite.errors import MetadataWarning, warn_caller
from theodolite.filters import And, Compare, Filter, In, Not, Or, fields, instant
from theodolite.filters.operands import shown
from theodolite.filters.silent import silent_notes

_WARNED = 1000  # notes that are remembered, so that each is a warning once only


class Hints:
    """Notes on searches, counts and deletions; each is a warning, too, when it is first made."""

    def __init__(self, snapshots: SnapshotManager, known: FieldSummaries) -> None:
        self._snapshots = snapshots
        self._fields = known
        self._warned: set[str] = set()
        self._dated: set[str] = set()

    def notes(
        self,
        connection: sqlite3.Connection,
        snapshot: Snapshot,
        where: Filter | None,
        within: Filter | None,
        *,
        found: int,
        dated: Collection[str] = (),
    ) -> tuple[str, ...]:
        """Notes on a filter, within the snapshot's transaction.

        Args:
            where: the filter.
            within: what confines it; nothing outside is told.
            found: how many documents pass.
            dated: fields that are read as dates for other reasons.
        """
        told = self._unread(connection, snapshot, {*dates(where), *dated}, within)
        if not found and where is not None:
            known = self._fields.fields(connection, snapshot, within, 0, frozenset(fields(where)))
            place = "document" if within is None else "document of this scope"
            told += silent_notes(where, known, lambda: self._fields.sample(connection, snapshot, within), where=place)
        for note in told:
            if note not in self._warned and len(self._warned) < _WARNED:
                self._warned.add(note)
                warn_caller(note, MetadataWarning)
        return told

    def unreadable(self, connection: sqlite3.Connection, snapshot: Snapshot, within: Filter | None) -> dict[str, int]:
        """By field, how many documents hold strings that look like dates and are none.

        Of the fields that were read as dates so far; of small collections all fields.
        """
        small = snapshot.state.live <= FEW
        only = None if small else frozenset(self._dated)
        known = self._fields.fields(connection, snapshot, within, 0, only) if small or only else {}
        return {name: field.unreadable_dates for name, field in known.items() if field.unreadable_dates}

    def _unread(
        self, connection: sqlite3.Connection, snapshot: Snapshot, names: Collection[str], within: Filter | None
    ) -> tuple[str, ...]:
        if not names:
            return ()
        self._dated.update(names)
        likely = [name for name in names if self._has_unreadable(connection, snapshot, name)]
        known = self._fields.fields(connection, snapshot, within, 0, frozenset(likely)) if likely else {}
        return tuple(
            f"{field.unreadable_dates:,} of {field.count:,} documents hold a string in {shown(name)} that looks like a "
            f"date and is none, such as {shown(self._example(connection, snapshot, name, within))}: it is text, and no "
            "date is compared with it. Write dates as 2025-06-15 or 2025-06-15T12:30:45Z"
            for name, field in known.items()
            if field.unreadable_dates
        )

    def _has_unreadable(self, connection: sqlite3.Connection, snapshot: Snapshot, name: str) -> bool:
        column = self._snapshots.column(snapshot, name, connection)
        return any(len(segment.dictionary.unreadable()) for segment in column.segments)

    def _example(self, connection: sqlite3.Connection, snapshot: Snapshot, name: str, within: Filter | None) -> str:
        """The first such string among the documents within."""
        mask = self._snapshots.mask(snapshot, within, connection)
        for segment in self._snapshots.column(snapshot, name, connection).segments:
            is_unreadable = np.zeros(segment.dictionary.starts[-1], np.bool_)
            is_unreadable[segment.dictionary.unreadable()] = True
            rows = np.flatnonzero(segment.each(is_unreadable)[: snapshot.rows - segment.start]) + segment.start
            for row in rows[:1] if mask is None else rows[mask[rows]][:1]:
                return str(segment.dictionary.value(segment.code(int(row) - segment.start)))
        return ""


def dates(tree: Filter | None) -> Iterator[str]:
    """The fields that a filter compares with dates."""
    match tree:
        case Not(part=part):
            yield from dates(part)
        case And(parts=parts) | Or(parts=parts):
            for part in parts:
                yield from dates(part)
        case Compare(field=field, value=value):
            if instant(value) is not None:
                yield field
        case In(field=field, values=values):
            if any(issubclass(kind, date) for kind in set(map(type, values))):
                yield field
