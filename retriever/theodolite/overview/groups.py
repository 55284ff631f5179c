"""Groups: the documents of a map by cluster, or by the values of a field, each with a color and a name."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
from numpy.typing import NDArray

from theodolite.display import shortened
from theodolite.filters import MISSING, lookup
from theodolite.overview.map import Map
from theodolite.types import Document

COLORS = 8
"""How many groups have a color of their own."""

_NAME = 70  # columns of a name


@dataclass(frozen=True, slots=True)
class Group:
    """Documents of one color.

    Attributes:
        name: the value, a range of values, or the beginning of the cluster's most central passage.
        color: the number of the color, from 1; 0 for documents that belong to none.
        rows: their rows.
        example: the id of a document: of a cluster, the most central one.
        where: the filter for the group's values, as JSON; None for clusters, and for documents that belong to none.
    """

    name: str
    color: int
    rows: NDArray[np.int64]
    example: str
    where: Mapping[str, Any] | None = None


def groups(found: Map, documents: Sequence[Document], color: str | None) -> list[Group]:
    """Return the groups of the documents of a map.

    Args:
        color: the field that makes the groups; None for clusters. Its most frequent values have colors, the largest
            group first; other values and no value come last. Dates and numbers of more than eight different values
            become ranges of about as many documents each, in ascending order.
    """
    if color is None:
        return list(_clusters(found, documents))
    values = [_value_at(document, color) for document in documents]
    counts = Counter(value for value in values if value != "")
    ranges = _ranges(counts) if len(counts) > COLORS else None
    wanted = ranges or [[value] for value, _ in counts.most_common(COLORS)]
    place = {value: number for number, inside in enumerate(wanted) for value in inside}
    other, none = len(wanted), len(wanted) + 1
    codes = np.array([place.get(value, none if value == "" else other) for value in values], np.int64)
    made = []
    for number, name in enumerate([*map(_name, wanted), "other values", "no value"]):
        rows = np.flatnonzero(codes == number)
        if len(rows):
            example = documents[int(rows[0])]
            where = _filter(color, wanted[number]) if number < other else None
            made.append(Group(shortened(name, _NAME), number + 1 if where else 0, rows, example.id, where))
    return made


def has_value(document: Document, name: str) -> bool:
    """Return whether a document has a value in a field that can color it."""
    return bool(_value_at(document, name) != "")


def _clusters(found: Map, documents: Sequence[Document]) -> Iterator[Group]:
    for number, cluster in enumerate(found.names):
        central = documents[cluster.central]
        rows = np.flatnonzero(found.clusters == number)
        yield Group(shortened(central.text, _NAME) or "(no text)", number + 1, rows, central.id)


def _value_at(document: Document, name: str) -> Any:
    """Return the value of a field, of a list its first value; empty text if there is none. Dates become texts."""
    value = lookup(document.metadata, name)
    if type(value) is str:
        return value
    if isinstance(value, (list, tuple)):
        value = value[0] if value else None
    if value is MISSING or value is None or isinstance(value, (Mapping, list, tuple)):
        return ""
    return value.isoformat() if isinstance(value, date) else value


def _ranges(counts: Mapping[Any, int]) -> list[list[Any]] | None:
    """Return eight or fewer ranges of values, ascending; None if the values are neither numbers nor dates."""
    if not (all(isinstance(value, (int, float)) for value in counts) or all(map(_is_date, counts))):
        return None
    ranges: list[list[Any]] = []
    total, before, last = sum(counts.values()), 0, -1
    for value in sorted(counts):
        number = before * COLORS // total
        if number != last:
            ranges.append([])
            last = number
        ranges[-1].append(value)
        before += counts[value]
    return ranges


def _is_date(value: Any) -> bool:
    if not isinstance(value, str):
        return False
    try:
        date.fromisoformat(value[:10])
    except ValueError:
        return False
    return True


def _name(values: Sequence[Any]) -> str:
    """Return the name of a value, or of a range of values; dates are named by their days."""
    if len(values) == 1:
        return _text(values[0])
    return " to ".join(each[:10] if isinstance(each, str) else _text(each) for each in (values[0], values[-1]))


def _filter(field: str, values: Sequence[Any]) -> dict[str, Any]:
    """Return the filter for a value, or for a range of values."""
    return {field: {"$gte": values[0], "$lte": values[-1]} if len(values) > 1 else values[0]}


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
