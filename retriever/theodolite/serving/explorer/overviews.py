"""The map and the health of collections as JSON values, measured when they are first asked for."""

from dataclasses import replace
from threading import Lock
from typing import Any

import numpy as np

from theodolite.forking import register_at_fork
from theodolite.metadata import as_json
from theodolite.overview.overview import Overview, examine
from theodolite.reporting.groups import groups
from theodolite.reporting.sections import Table, sections
from theodolite.retriever import Retriever

_GRID = 4095  # the largest coordinate on the page


class Overviews:
    """Overviews of collections. The last one of each view is kept until the collection has another commit."""

    def __init__(self) -> None:
        self._kept: dict[int, tuple[Any, Overview]] = {}
        self._lock = Lock()
        register_at_fork(self)

    def of(self, kb: Retriever) -> Overview:
        """Return the overview of a collection, or of a scope of it; measure it if documents have changed."""
        with self._lock:  # one at a time: each reads the whole collection
            info = kb.info()
            state = (info["documents"], kb._engine.info().get("commits"))
            known = self._kept.get(id(kb))
            if known is None or known[0] != state:
                known = self._kept[id(kb)] = (state, examine(kb))
            return known[1]


def map_of(overview: Overview, color: str | None) -> dict[str, Any]:
    """Return the places of documents in whole numbers, with the number of each one's group.

    Args:
        color: the field that makes the groups; None for clusters.
    """
    colored = replace(overview, color=color)
    found, drawn = groups(colored), overview.map
    numbers = np.zeros(len(overview.documents), np.int64)
    for number, group in enumerate(found):
        numbers[group.rows] = number
    names = [{"name": group.name, "color": group.color, "count": len(group.rows)} for group in found]
    return {
        "total": overview.total,
        "side": _GRID,
        "ids": [document.id for document in overview.documents],
        "x": _whole(drawn.x),
        "y": [_GRID - each for each in _whole(drawn.y)],
        "group": numbers.tolist(),
        "groups": names,
        "fields": sorted(name for name, field in overview.fields.items() if field.values),
    }


def health_of(overview: Overview) -> dict[str, Any]:
    """Return the sections of the report, as texts and tables, without the map."""
    return {
        "created": overview.created.isoformat(),
        "sections": [
            {"title": section.title, "text": list(section.text), "tables": list(map(_table, section.tables))}
            for section in sections(overview)
            if section.name != "map"
        ],
    }


def _table(table: Table) -> dict[str, Any]:
    rows = [[as_json(cell) if isinstance(cell, (int, float)) else str(cell) for cell in row] for row in table.rows]
    return {"caption": table.caption, "head": list(table.head), "rows": rows, "details": table.details}


def _whole(places: Any) -> list[int]:
    whole: list[int] = np.rint(places.astype(np.float64) * _GRID / 65_535).astype(np.int64).tolist()
    return whole
