"""The map and the health of collections as JSON values, measured when they are first asked for."""

from collections.abc import Callable, Mapping
from typing import Any

from theodolite.async_pool import in_thread
from theodolite.metadata import as_json
from theodolite.overview.lines import Line, histogram_line, similarity_lines, variance_line
from theodolite.overview.overview import Overview, examine
from theodolite.overview.sample import Progress
from theodolite.reporting.sections import Table, sections
from theodolite.retriever import Retriever
from theodolite.serving.explorer.jobs import Job, Jobs
from theodolite.serving.explorer.map_points import measure_map


class Overviews:
    """Measurements of collections: their maps and their health."""

    def __init__(self) -> None:
        self._jobs = Jobs()

    async def map(self, kb: Retriever, color: str | None, number: int | None) -> dict[str, Any]:
        """Return a map, or how far it is.

        Args:
            number: of the job that was begun by an earlier request; None for the first one.
        """
        job = await self._job(kb, measure_map, number)
        progress = await job.answer()
        return await in_thread(job.result().to_json, color) if progress is None else progress

    async def health(self, kb: Retriever, number: int | None) -> dict[str, Any]:
        """Return the health, or how far it is measured."""
        job = await self._job(kb, _measure_health, number)
        progress = await job.answer()
        health: dict[str, Any] = job.result() if progress is None else progress
        return health

    async def _job(self, kb: Retriever, measure: Callable[[Retriever, Progress], Any], number: int | None) -> Job:
        state = await in_thread(lambda: (kb.count(), kb._engine.info().get("commits")))
        return self._jobs.get((id(kb), measure), state, lambda progress: measure(kb, progress), number)


def _measure_health(kb: Retriever, progress: Progress) -> dict[str, Any]:
    """Return the sections of the report, as texts, lines of charts, and tables, without the map."""
    overview = examine(kb, progress=progress)
    charts = _charts(overview)
    return {
        "created": overview.created.isoformat(),
        "sections": [
            {
                "title": section.title,
                "text": list(section.text),
                "chart": charts.get(section.name),
                "tables": list(map(_table, section.tables)),
            }
            for section in sections(overview)
            if section.name != "map"
        ],
    }


def _charts(overview: Overview) -> dict[str, dict[str, Any]]:
    """Return the lines of charts by the name of their section."""
    charts: dict[str, dict[str, Any]] = {}
    if overview.similarities is not None:
        charts["similarities"] = _chart("cosine similarity", "share", similarity_lines(overview.similarities))
    if overview.map.variance:
        line = {"variance explained": variance_line(overview.map.variance)}
        charts["dimensions"] = _chart("principal components", "variance explained", line, logarithmic=True)
    if overview.norms is not None:
        charts["norms"] = _chart("length", "share", {"documents": histogram_line(overview.norms)})
    return charts


def _chart(x: str, y: str, lines: Mapping[str, Line], *, logarithmic: bool = False) -> dict[str, Any]:
    return {
        "x": x,
        "y": y,
        "logarithmic": logarithmic,
        "lines": [{"name": name, "points": lines[name]} for name in lines],
    }


def _table(table: Table) -> dict[str, Any]:
    rows = [[as_json(cell) if isinstance(cell, (int, float)) else str(cell) for cell in row] for row in table.rows]
    return {"caption": table.caption, "head": list(table.head), "rows": rows, "details": table.details}
