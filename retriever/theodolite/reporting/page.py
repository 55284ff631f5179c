"""The report as one HTML page: no script, nothing loaded, and a policy that allows neither."""

import base64
import hashlib
from pathlib import Path

from theodolite.overview.overview import Overview
from theodolite.reporting.html import escaped, table
from theodolite.reporting.sections import Section, Table, sections

_STYLE = Path(__file__).with_name("page.css")


def page(overview: Overview, title: str) -> str:
    """Return the page."""
    style = _STYLE.read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'"
    parts = sections(overview)
    links = "".join(f'<li><a href="#{part.name}">{escaped(part.title)}</a></li>' for part in parts)
    made = f"{overview.created:%Y-%m-%d %H:%M} UTC"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark"><meta name="referrer" content="no-referrer">'
        f'<link rel="icon" href="data:,"><title>{escaped(title)}</title><style>{style}</style></head>\n'
        f"<body><header><h1>{escaped(title)}</h1><p>{overview.total:,} documents, measured on {made}</p>"
        f'<nav aria-label="Sections"><ul>{links}</ul></nav></header>\n<main>'
        + "\n".join(_section(part) for part in parts)
        + "</main>\n<footer><p>Made by theodolite. This page loads nothing and runs no script.</p></footer>"
        + "</body></html>\n"
    )


def _section(part: Section) -> str:
    text = "".join(f"<p>{escaped(line)}</p>" for line in part.text)
    drawn = "".join(_picture(picture.draw(), picture.alt) for picture in part.pictures)
    tables = "".join(map(_table, part.tables))
    return (
        f'<section id="{part.name}" aria-labelledby="{part.name}-title"><h2 id="{part.name}-title">'
        f"{escaped(part.title)}</h2>{text}{drawn}{tables}</section>"
    )


def _picture(drawn: str, alt: str) -> str:
    if 'role="img"' not in drawn[:200]:
        drawn = drawn.replace("<svg ", f'<svg role="img" aria-label="{escaped(alt)}" ', 1)
    return f'<figure class="scroll" role="group" tabindex="0" aria-label="{escaped(alt)}">{drawn}</figure>'


def _table(one: Table) -> str:
    drawn = table(one.caption, one.head, one.rows, one.kind)
    return f"<details><summary>{escaped(one.caption)}</summary>{drawn}</details>" if one.details else drawn
