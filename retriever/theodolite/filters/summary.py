"""What there is to filter by: the fields that documents have, and what they hold.

`Survey` goes from document to document, and is the reference that every engine's `fields` is held against. An engine
that knows better how many hold what tells each field's `FieldStats`.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from theodolite.filters.dates import instant, is_unreadable
from theodolite.filters.values import MISSING, kind_of, lookup
from theodolite.types import Field, FieldKind

PARTS = 4
"""Names of more parts than that, `a.b.c.d.e` say, are left out."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_WHOLE = 1 << 63


class FieldStats:
    """What is known of one field so far.

    Args:
        most: different values up to which they are kept.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._kinds: Counter[FieldKind] = Counter()
        self._values: dict[tuple[FieldKind, Any], int] | None = {}
        self._ends: dict[FieldKind, tuple[Any, Any]] = {}
        self._elements: Counter[FieldKind] = Counter()
        self._unreadable = 0

    def hold(self, kind: FieldKind, documents: int) -> None:
        """So many documents hold a value of this kind."""
        if documents:
            self._kinds[kind] += documents

    def hold_inside(self, kind: FieldKind, documents: int) -> None:
        """So many documents hold a list with an element of this kind."""
        if documents:
            self._elements[kind] += documents

    def hold_unreadable(self, documents: int) -> None:
        """So many documents hold a string that looks like a date and is none."""
        self._unreadable += documents

    def reach(self, kind: FieldKind, low: Any, high: Any) -> None:
        """There are such a number, or instant in microseconds, and such another."""
        first, last = self._ends.get(kind, (low, high))
        self._ends[kind] = min(first, low), max(last, high)

    def count(self, kind: FieldKind, value: Any, documents: int) -> None:
        """So many documents hold this value, or a list with it. Dates are instants in microseconds."""
        if self._values is None:
            return
        if isinstance(value, float) and value.is_integer() and abs(value) < _WHOLE:
            value = int(value)
        key = kind, value
        self._values[key] = self._values.get(key, 0) + documents
        if len(self._values) > self._most:
            self._values = None

    def overflow(self) -> None:
        """There are more values than are kept."""
        self._values = None

    def field(self) -> Field | None:
        """All of it, or None where no document has the field."""
        if not self._kinds:
            return None
        dates = self._ends.get("date")
        # Kinds before values: those of different kinds have no order.
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


class Survey:
    """Fields of documents, one by one."""

    def __init__(self, most: int) -> None:
        self._tallies: defaultdict[str, FieldStats] = defaultdict(lambda: FieldStats(most))

    def add(self, metadata: Mapping[str, Any]) -> None:
        for name in set(names(metadata)):
            value = lookup(metadata, name)
            if value is not MISSING:
                _tell(self._tallies[name], value)

    def fields(self) -> dict[str, Field]:
        return summarize(self._tallies.items())


def summarize(tallies: Iterable[tuple[str, FieldStats]]) -> dict[str, Field]:
    """The fields that some document has, in the order of their names."""
    found = ((name, tally.field()) for name, tally in tallies)
    return dict(sorted((name, field) for name, field in found if field is not None))


def names(metadata: Mapping[str, Any], before: str = "") -> Iterator[str]:
    """Dotted names that could lead to something in stored metadata: all that do are among them, some twice."""
    for key, value in metadata.items():
        name = before + key
        if name.count(".") < PARTS:
            yield name
            if isinstance(value, dict):
                yield from names(value, name + ".")


def moment(microseconds: int) -> datetime:
    """An instant in UTC. Those that only have a name in other zones, at the ends of time, are drawn in."""
    try:
        return _EPOCH + timedelta(microseconds=microseconds)
    except OverflowError:
        return datetime.max.replace(tzinfo=UTC) if microseconds > 0 else datetime.min.replace(tzinfo=UTC)


def _by_count(kinds: Counter[FieldKind]) -> dict[FieldKind, int]:
    return dict(sorted(kinds.items(), key=lambda one: (-one[1], one[0])))


def _tell(tally: FieldStats, value: Any) -> None:
    kind = kind_of(value)
    tally.hold(kind, 1)
    if kind == "list":
        for inner in set(map(kind_of, value)):
            tally.hold_inside(inner, 1)
    elif kind == "string":
        tally.hold_unreadable(is_unreadable(value))
    if kind == "number":
        tally.reach(kind, value, value)
    elif kind == "date":
        when = instant(value)
        tally.reach(kind, when, when)
    for key in {key for item in (value if kind == "list" else [value]) if (key := _key(item)) is not None}:
        tally.count(*key, 1)


def _key(value: Any) -> tuple[FieldKind, Any] | None:
    """What a value is counted as: equal strings are the same strings, and no dates."""
    match kind_of(value):
        case "string" | "number" | "boolean" as kind:
            return kind, value
        case "date":
            return ("string", value) if isinstance(value, str) else ("date", instant(value))
    return None
