"""Counts of searches with range filters, by field: `compact()` builds indexes for the fields that are often filtered.

Each process counts in memory, and adds its counts to a note from time to time. Counts are a hint: a lost one only
delays an index, so a note that cannot be written is no error.

Searches within a scope are not counted, so that a tenant's filters leave no trace that others can read.
"""

import json
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple

from theodolite.engines.postgres.catalog import Collection
from theodolite.engines.postgres.connections import Connection, Connections
from theodolite.engines.postgres.range_indexes import Indexed
from theodolite.engines.remote.escaping import escape, unescape
from theodolite.errors import FilterError, TheodoliteError
from theodolite.filters import And, Compare, Filter, Or
from theodolite.filters.parse import check_field
from theodolite.protocols import Scope

NOTE = "engine:ranges"
"""The name of the note: a JSON object with the number of searches and the day of the last one, for each field."""

OFTEN = 100
"""Searches with a range of a field, by which it counts as often filtered."""

MAX_FIELDS = 4
"""Most fields with indexes that no one has declared."""

MIN_DOCUMENTS = 10_000
"""Documents below which no index is built. Reading 10,000 takes 13 to 35 ms on a busy machine, and 2 to 4 with one."""

FORGOTTEN = timedelta(days=30)
"""Time without a search, after which a field is forgotten and its index dropped."""

_EVERY = 100  # searches between two writes
_MOST_COUNTED = 50  # fields


class RangeCount(NamedTuple):
    """How many searches had a range of a field, and the day of the last one."""

    searches: int
    last: date


class RangeCounter:
    """Counts searches of one collection. Threads may lose a count to each other, which does not matter."""

    def __init__(self, connections: Connections, collection: Collection) -> None:
        self._connections = connections
        self._collection = collection
        self._counts: dict[str, int] = {}
        self._unsaved = 0  # searches since the last attempt to save

    def count(self, where: Filter | None, scope: Scope | None) -> None:
        """Count a search. Every 100 counted searches, one statement saves the counts."""
        if where is None or scope is not None or self._connections.read_only:
            return
        fields = range_fields(where)
        if not fields:
            return
        counts = self._counts
        for field in fields:
            if field in counts or len(counts) < _MOST_COUNTED:
                counts[field] = counts.get(field, 0) + 1
        self._unsaved += 1
        if self._unsaved >= _EVERY:
            self.save()

    def save(self) -> None:
        """Add the counts to those of other processes. Keeps them for the next time if that fails."""
        counts, self._counts, self._unsaved = self._counts, {}, 0
        if not counts:
            return
        today = _today()
        added = {escape(field): (searches, today.isoformat()) for field, searches in counts.items()}
        try:
            with self._connections.single() as connection:
                connection.execute(
                    # Another process that saves its counts, or a user without the right to, must delay no search.
                    f"INSERT INTO {self._collection.notes} AS known (collection, name, value) "
                    "SELECT %s, %s, %s FROM set_config('lock_timeout', '10ms', true) "
                    "ON CONFLICT (collection, name) DO UPDATE SET value = ("
                    "SELECT coalesce(json_object_agg(field, json_build_array(searches, last)), '{}')::text FROM ("
                    "SELECT field, sum((entry->>0)::bigint) AS searches, max(entry->>1) AS last FROM ("
                    "SELECT * FROM jsonb_each(known.value::jsonb) UNION ALL "
                    "SELECT * FROM jsonb_each(excluded.value::jsonb)) AS entries(field, entry) "
                    "WHERE entry->>1 >= %s GROUP BY field ORDER BY searches DESC LIMIT %s) AS merged)",
                    (
                        self._collection.number,
                        NOTE,
                        json.dumps(added),
                        (today - FORGOTTEN).isoformat(),
                        _MOST_COUNTED,
                    ),
                )
        except TheodoliteError:
            self._counts = {**counts, **self._counts}


def wanted_fields(counts: Mapping[str, RangeCount], documents: int, known: Indexed) -> Indexed:
    """Return the fields that should have indexes: the declared ones, and those that are often filtered.

    Args:
        documents: the number of documents.
        known: the fields that have indexes. They keep them until they are forgotten.
    """
    since = _today() - FORGOTTEN
    recent = {field: count.searches for field, count in counts.items() if count.last >= since}
    chosen = [field for field, reason in known.items() if reason == "often filtered" and field in recent]
    if documents >= MIN_DOCUMENTS:
        new = [field for field, searches in recent.items() if searches >= OFTEN and field not in known]
        chosen += sorted(new, key=lambda field: (-recent[field], field))
    declared = {field: reason for field, reason in known.items() if reason == "declared"}
    return {**declared, **dict.fromkeys(chosen[:MAX_FIELDS], "often filtered")}


def range_fields(tree: Filter) -> set[str]:
    """Return the fields of a filter's ranges that an index can answer. A negated one is not among them."""
    match tree:
        case Compare(field=field):
            return {field} if _is_possible(field) else set()
        case And(parts=parts) | Or(parts=parts):
            return set().union(*map(range_fields, parts))
        case _:
            return set()


def _is_possible(field: str) -> bool:
    try:
        check_field(field)
    except FilterError:
        return False
    return True


def read_counts(connection: Connection, collection: Collection) -> dict[str, RangeCount]:
    """Return the saved counts; none if the note is damaged."""
    row = connection.execute(
        f"SELECT value FROM {collection.notes} WHERE (collection, name) = (%s, %s)", (collection.number, NOTE)
    ).fetchone()
    try:
        stored = json.loads(row[0] if row else "{}")
        return {
            unescape(field): RangeCount(int(searches), date.fromisoformat(last))
            for field, (searches, last) in stored.items()
        }
    except (ValueError, TypeError, AttributeError):
        return {}


def _today() -> date:
    return datetime.now(UTC).date()
