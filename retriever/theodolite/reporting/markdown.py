"""The report as Markdown: its texts and tables; pictures as their text alternatives."""

import re
from typing import Any

from theodolite.display import Markup, one_line
from theodolite.overview.overview import Overview
from theodolite.reporting.sections import Section, sections

_SPECIAL = re.compile(r"([\\`*_\[\]<>|~$&#!])")
_MAX_ROWS = 100  # of a table; longer ones are left out
_HTML = re.compile(r"<[^>]*>")


def markdown(overview: Overview, title: str) -> str:
    """Return the Markdown. Values cannot make markup of their own: everything special is escaped."""
    made = f"{overview.total:,} documents, measured on {overview.created:%Y-%m-%d %H:%M} UTC"
    lines = [f"# {_plain(title)}", "", made]
    for section in sections(overview):
        lines += ["", *_section(section)]
    return "\n".join(lines) + "\n"


def _section(section: Section) -> list[str]:
    lines = [f"## {_plain(section.title)}"]
    for text in section.text:
        lines += ["", _plain(text)]
    for picture in section.pictures:
        lines += ["", f"*{_plain(picture.alt)}*"]
    for one in section.tables:
        if len(one.rows) > _MAX_ROWS:
            continue
        places = [place for place, name in enumerate(one.head) if name != "color"]
        lines += ["", f"**{_plain(one.caption)}**", ""]
        lines += [_row([one.head[place] for place in places]), "|" + " --- |" * len(places)]
        lines += [_row([row[place] for place in places]) for row in one.rows]
    return lines


def _row(cells: list[Any]) -> str:
    return "| " + " | ".join(_plain(cell) or " " for cell in cells) + " |"


def _plain(value: Any) -> str:
    text = _HTML.sub("", value) if isinstance(value, Markup) else str(value)
    return _SPECIAL.sub(r"\\\1", one_line(text))
