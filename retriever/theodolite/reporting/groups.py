"""Groups: the documents of a map by cluster, or by the values of a field, each with a color and a name."""

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from theodolite.display import shortened
from theodolite.overview.overview import Overview, value_at

_VALUES = 8  # values with a color of their own
_NAME = 70  # columns of a name


@dataclass(frozen=True, slots=True)
class Group:
    """Documents of one color.

    Attributes:
        name: the value, or the beginning of the cluster's most central passage.
        color: the number of the color, from 1; 0 for documents that belong to none.
        rows: their rows.
        example: the id of a document: of a cluster, the most central one.
    """

    name: str
    color: int
    rows: NDArray[np.int64]
    example: str


def groups(overview: Overview) -> list[Group]:
    """Return the groups of the documents, the largest first; other values and no value come last."""
    if overview.color is None:
        return [
            Group(
                shortened(overview.documents[cluster.central].text, _NAME) or "(no text)",
                number + 1,
                np.flatnonzero(overview.map.clusters == number),
                overview.documents[cluster.central].id,
            )
            for number, cluster in enumerate(overview.map.names)
        ]
    values = [value_at(document, overview.color) for document in overview.documents]
    often = [value for value, _ in Counter(value for value in values if value).most_common(_VALUES)]
    place = {value: number for number, value in enumerate(often)}
    codes = np.array([place.get(value, _VALUES + (not value)) for value in values])
    named = [*((value, number, number + 1) for value, number in place.items()), ("other values", _VALUES, 0)]
    named.append(("no value", _VALUES + 1, 0))
    found = []
    for value, code, color in named:
        rows = np.flatnonzero(codes == code)
        if len(rows):
            found.append(Group(shortened(value, _NAME), color, rows, overview.documents[int(rows[0])].id))
    return found
