"""Field summaries: the metadata fields of documents, and the values they hold.

`summarize_documents` reads the documents one by one. It defines the right answer of every engine's `fields`. An engine
that can count faster fills a `FieldStats` for each field itself and calls `summarize`.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from theodolite.filters.dates import instant, is_unreadable
from theodolite.filters.values import MISSING, kind_of, lookup
from theodolite.types import Field, FieldKind

PARTS = 4
"""Maximum parts of a dotted name. Longer names, such as `a.b.c.d.e`, are left out."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_WHOLE = 1 << 63


class FieldStats:
    """Running statistics of one field.

    Args:
        most: the maximum number of distinct values to keep; beyond it, none are listed.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._kinds: Counter[FieldKind] = Counter()
        self._values: dict[tuple[FieldKind, Any], int] | None = {}
        self._ends: dict[FieldKind, tuple[Any, Any]] = {}
        self._elements: Counter[FieldKind] = Counter()
        self._unreadable = 0

    def hold(self, kind: FieldKind, documents: int) -> None:
        """Count documents that hold a value of this kind."""
        if documents:
            self._kinds[kind] += documents

    def hold_inside(self, kind: FieldKind, documents: int) -> None:
        """Count documents that hold a list with an element of this kind."""
        if documents:
            self._elements[kind] += documents

    def hold_unreadable(self, documents: int) -> None:
        """Count documents that hold a string that looks like a date but is not."""
        self._unreadable += documents

    def reach(self, kind: FieldKind, low: Any, high: Any) -> None:
        """Extend the range of this kind to include `low` and `high`: numbers, or instants in microseconds."""
        first, last = self._ends.get(kind, (low, high))
        self._ends[kind] = min(first, low), max(last, high)

    def count(self, kind: FieldKind, value: Any, documents: int) -> None:
        """Count documents that hold this value, or a list with it. Dates are instants in microseconds."""
        if self._values is None:
            return
        if isinstance(value, float) and value.is_integer() and abs(value) < _WHOLE:
            value = int(value)
        key = kind, value
        self._values[key] = self._values.get(key, 0) + documents
        if len(self._values) > self._most:
            self._values = None

    def overflow(self) -> None:
        """Discard the values: there are more than the maximum."""
        self._values = None

    def field(self) -> Field | None:
        """Return the statistics, or None if no document has the field."""
        if not self._kinds:
            return None
        dates = self._ends.get("date")
        # Sort by kind before value: values of different kinds cannot be compared.
        known = sorted((self._values or {}).items(), key=lambda one: (-one[1], *one[0]))
        return Field(
            self._kinds.total(),
            _by_count(self._kinds),
            tuple((moment(value) if kind == "date" else value, count) for (kind, value), count in known),
            self._ends.get("number"),
            None if dates is None else (moment(dates[0]), moment(dates[1])),
            _by_count(self._elements),
            self._unreadable,
        )


def summarize_documents(documents: Iterable[Mapping[str, Any]], max_values: int) -> dict[str, Field]:
    """Return the fields in the metadata of documents.

    Args:
        max_values: list the values of fields that have at most this many distinct ones.
    """
    stats: defaultdict[str, FieldStats] = defaultdict(lambda: FieldStats(max_values))
    for metadata in documents:
        for name in set(names(metadata)):
            value = lookup(metadata, name)
            if value is not MISSING:
                _count_value(stats[name], value)
    return summarize(stats.items())


def summarize(stats: Iterable[tuple[str, FieldStats]]) -> dict[str, Field]:
    """Return the fields that at least one document has, sorted by name."""
    found = ((name, each.field()) for name, each in stats)
    return dict(sorted((name, field) for name, field in found if field is not None))


def names(metadata: Mapping[str, Any], before: str = "") -> Iterator[str]:
    """Yield the dotted names in stored metadata. Includes every name with a value, maybe others, and duplicates."""
    for key, value in metadata.items():
        name = before + key
        if name.count(".") < PARTS:
            yield name
            if isinstance(value, dict):
                yield from names(value, name + ".")


def moment(microseconds: int) -> datetime:
    """Return an instant in UTC. Instants outside the years 1 to 9999 become the nearest datetime."""
    try:
        return _EPOCH + timedelta(microseconds=microseconds)
    except OverflowError:
        return datetime.max.replace(tzinfo=UTC) if microseconds > 0 else datetime.min.replace(tzinfo=UTC)


def _by_count(kinds: Counter[FieldKind]) -> dict[FieldKind, int]:
    return dict(sorted(kinds.items(), key=lambda one: (-one[1], one[0])))


def _count_value(stats: FieldStats, value: Any) -> None:
    """Count one document's value of a field."""
    kind = kind_of(value)
    stats.hold(kind, 1)
    if kind == "list":
        for inner in set(map(kind_of, value)):
            stats.hold_inside(inner, 1)
    elif kind == "string":
        stats.hold_unreadable(is_unreadable(value))
    if kind == "number":
        stats.reach(kind, value, value)
    elif kind == "date":
        when = instant(value)
        stats.reach(kind, when, when)
    for key in {key for item in (value if kind == "list" else [value]) if (key := _key(item)) is not None}:
        stats.count(*key, 1)


def _key(value: Any) -> tuple[FieldKind, Any] | None:
    """Return the key a value is counted under, or None. A string counts as a string even if it reads as a date."""
    match kind_of(value):
        case "string" | "number" | "boolean" as kind:
            return kind, value
        case "date":
            return ("string", value) if isinstance(value, str) else ("date", instant(value))
    return None
