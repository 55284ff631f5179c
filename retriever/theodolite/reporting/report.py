"""Report: an overview that can be shown and written as a page, Markdown, JSON or a table."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from theodolite.display import html_table, one_line, shortened
from theodolite.errors import InputError
from theodolite.evaluation.text_files import PathOf, write_text
from theodolite.inputs import as_path
from theodolite.overview.overview import Overview
from theodolite.reporting.markdown import markdown
from theodolite.reporting.page import page
from theodolite.reporting.table import to_arrow, write_parquet

_NAME = 80  # columns of the title


class Report:
    """A report about a collection: `write("report.html")`, or read its parts.

    Attributes:
        overview: the figures, as plain data.
        title: the heading.
    """

    def __init__(self, overview: Overview, title: str | None = None) -> None:
        self.overview = overview
        place = Path(overview.name).name or overview.name
        text = (title or place).encode("utf-8", "replace").decode()  # a path may hold bytes that are not text
        self.title = shortened(one_line(text), _NAME)

    def html(self) -> str:
        """Return one page that loads nothing and runs no script.

        Raises:
            MissingExtraError: the extra `report` is not installed.
        """
        return page(self.overview, self.title)

    def markdown(self) -> str:
        """Return the texts and tables as Markdown."""
        return markdown(self.overview, self.title)

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as JSON values, without the places of documents: `write("map.parquet")` has them."""
        found = self.overview
        heat = found.heat
        return {
            "name": found.name,
            "title": self.title,
            "created": found.created.isoformat(),
            "documents": found.total,
            "drawn": len(found.documents),
            "notes": list(found.notes),
            "info": dict(found.info),
            "findings": [
                {**asdict(finding), "rows": list(finding.rows), "ids": list(finding.ids)} for finding in found.findings
            ],
            "map": {
                "color": found.color,
                "variance": list(found.map.variance),
                "groups": [
                    {"name": group.name, "documents": len(group.rows), "example": group.example}
                    for group in found.groups()
                ],
            },
            "similarities": None if found.similarities is None else asdict(found.similarities),
            "norms": None if found.norms is None else asdict(found.norms),
            "duplicates": [{"first": a, "second": b, "similarity": cosine} for a, b, cosine in found.duplicates],
            "questions": None
            if heat is None
            else {
                "questions": list(heat.questions),
                "documents": list(heat.documents),
                "similarities": heat.similarities.tolist(),
                "ranks": heat.ranks.tolist(),
                "relevant": heat.relevant.tolist(),
            },
            "evaluation": None if found.evaluation is None else found.evaluation.to_dict(),
            "recall": None if found.recall is None else found.recall.to_dict(),
            "monitor": None if found.monitor is None else dict(found.monitor),
            "fields": {
                name: {"documents": each.count, "kinds": dict(each.kinds)} for name, each in found.fields.items()
            },
        }

    def to_arrow(self) -> Any:
        """Return the map as an Arrow table: `id`, `text`, `x`, `y`, `cluster`, `group` and `metadata.<field>`.

        Raises:
            MissingExtraError: pyarrow is not installed.
        """
        return to_arrow(self.overview)

    def write(self, path: PathOf) -> None:
        """Write a file that others see whole or not at all.

        Args:
            path: its ending says what is written: `.html` the page, `.md` Markdown, `.json` the figures, `.parquet`
                the map as a table, for Embedding Atlas and other tools.

        Raises:
            InputError: another ending. MissingExtraError: a package is not installed.
            EngineError: the file cannot be written.
        """
        file = as_path(path, "path")
        kind = check_suffix(file)
        if kind == ".parquet":
            write_parquet(self.overview, file)
        elif kind == ".md":
            write_text(file, [self.markdown()])
        elif kind == ".json":
            write_text(file, [json.dumps(self.to_dict(), ensure_ascii=False, default=str) + "\n"])
        else:
            write_text(file, [self.html()])

    def __repr__(self) -> str:
        found = self.overview
        severe = [each.name for each in found.findings if each.severity in ("warning", "error")]
        return f"<Report: {found.total:,} documents; {', '.join(severe) or 'no warnings'}>"

    def _repr_html_(self) -> str:
        reported = [each for each in self.overview.findings if each.severity != "ok"]
        rows = [(each.severity, each.name, each.found, f"{each.meaning} {each.advice}".strip()) for each in reported]
        return html_table(f"{self.title}: {self.overview.total:,} documents", ("", "check", "found", "meaning"), rows)


def check_suffix(file: Path) -> str:
    """Return the ending of a file that a report can be written to. Raises InputError for another one."""
    kind = {".htm": ".html", ".markdown": ".md"}.get(file.suffix.lower(), file.suffix.lower())
    if kind not in (".html", ".md", ".json", ".parquet"):
        raise InputError(
            f"{file} does not end with .html, .md, .json or .parquet, so it is not clear what to write", path=str(file)
        )
    return kind
