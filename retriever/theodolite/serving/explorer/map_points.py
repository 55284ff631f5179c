"""The map of a collection as JSON values: places of documents in two dimensions, in groups. Texts stay stored."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from theodolite.errors import did_you_mean
from theodolite.filters.summary import PARTS
from theodolite.overview.groups import groups
from theodolite.overview.map import SIDE, Map, project
from theodolite.overview.sample import Progress, draw
from theodolite.retriever import Retriever
from theodolite.serving.errors import param_error
from theodolite.types import Document

_GRID = 4095  # the largest coordinate on the page
_CHARACTERS = 300  # kept of a text while names are looked for
_MAX_FIELDS = 20  # fields that can color the map
_MIN_SHARE = 0.05  # of the documents in groups of their own


@dataclass(frozen=True, slots=True)
class Coloring:
    """Groups of the documents of a map.

    Attributes:
        groups: name, color, number of documents, and filter of each group; without a filter, ids select documents.
        codes: (n,) the number of each document's group.
    """

    groups: list[dict[str, Any]]
    codes: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class MapPoints:
    """The places of n documents.

    Attributes:
        total: how many documents the collection has.
        ids: their ids.
        x, y: (n,) whole numbers from 0 to 4095; y grows downwards.
        colorings: groups by the name of a field; of None, clusters.
        explained: the share of the variance that the two dimensions have.
    """

    total: int
    ids: list[str]
    x: NDArray[np.int64]
    y: NDArray[np.int64]
    colorings: Mapping[str | None, Coloring]
    explained: float

    def to_json(self, color: str | None) -> dict[str, Any]:
        """Return the map for the page.

        Args:
            color: the field that makes the groups; None for clusters.

        Raises:
            HttpError: no document has this field, or it cannot color the map (400).
        """
        coloring = self.colorings.get(color)
        fields = [name for name in self.colorings if name is not None]
        if coloring is None:
            raise param_error("color", f"the map has no field {color!r:.100}.{did_you_mean(str(color), fields)}")
        return {
            "total": self.total,
            "side": _GRID,
            "ids": self.ids,
            "x": self.x.tolist(),
            "y": self.y.tolist(),
            "group": coloring.codes.tolist(),
            "groups": coloring.groups,
            "fields": fields,
            "explained": self.explained,
        }


def measure_map(kb: Retriever, progress: Progress) -> MapPoints:
    """Read at most 100,000 documents, and place them by the principal components of their vectors."""
    engine, scope = kb._engine, kb._scope
    with draw(engine, None, scope, characters=_CHARACTERS, progress=progress) as sample:
        progress("Placing documents", 0, 0)
        drawn = project(sample.vectors, engine.space.metric)
        progress("Grouping documents", 0, 0)
        colorings = dict(_colorings(drawn, sample.documents))
        x, y = (np.rint(places.astype(np.float64) * _GRID / SIDE).astype(np.int64) for places in (drawn.x, drawn.y))
        ids = [document.id for document in sample.documents]
        return MapPoints(sample.total, ids, x, _GRID - y, colorings, sum(drawn.variance[:2]))


def _colorings(drawn: Map, documents: Sequence[Document]) -> Iterator[tuple[str | None, Coloring]]:
    yield None, _coloring(drawn, documents, None)
    fields: dict[str, bool] = {}
    for document in documents:
        _note_fields(document.metadata, fields)
    taken = 0
    for name in sorted(fields):
        # A filter also finds lists with the value in another place than the first, which the color goes by.
        coloring = _coloring(drawn, documents, name, filters=not (fields[name] or name.startswith("$")))
        colored = sum(group["count"] for group in coloring.groups if group["color"])
        if colored > _MIN_SHARE * len(documents):
            yield name, coloring
            taken += 1
            if taken == _MAX_FIELDS:
                return


def _note_fields(metadata: Mapping[str, Any], fields: dict[str, bool], prefix: str = "", depth: int = PARTS) -> None:
    """Add the names of fields, dotted as in filters, and whether one of their values is a list."""
    for name, value in metadata.items():
        kind = type(value)
        if kind is dict:
            if depth > 1:
                _note_fields(value, fields, f"{prefix}{name}.", depth - 1)
        else:
            fields[prefix + name] = fields.get(prefix + name, False) or kind is list


def _coloring(drawn: Map, documents: Sequence[Document], color: str | None, *, filters: bool = False) -> Coloring:
    codes, listed = np.zeros(len(documents), np.uint8), []
    for number, group in enumerate(groups(drawn, documents, color)):
        codes[group.rows] = number
        where = group.where if filters else None
        listed.append({"name": group.name, "color": group.color, "count": len(group.rows), "where": where})
    return Coloring(listed, codes)
