"""Show results: one line for a prompt, tables as text, and HTML for notebooks.

Ids, texts and metadata come from documents, which may be hostile: control characters never reach a terminal, and
everything is escaped in HTML.
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from theodolite.types import Hit, Hits

WIDTH = 100
"""Columns of a line of text."""

_SHOWN = 10  # hits in a table
_ID = 24  # columns for an id
_VALUE = 60  # characters of a metadata value
_OPEN = frozenset({"similarity", "lexical", "fusion", "rerank"})  # parts of a score without a largest value
_TEXT = 400  # characters of a passage in HTML
# All except the newline; with the marks that change the direction of the text around them.
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_CELL = "text-align:left;vertical-align:top"


class Markup(str):
    """HTML that is escaped already."""

    __slots__ = ()


def printable(text: str) -> str:
    """Replace control characters."""
    return _CONTROL.sub("\ufffd", text)


def one_line(text: str) -> str:
    """Return a text on one line, without control characters."""
    return printable(" ".join(text.split()))


def shortened(text: str, width: int) -> str:
    """Return the beginning of a text on one line, at most `width` columns of a terminal."""
    line = one_line(text[: 4 * width])
    if _columns(line) <= width and len(text) <= 4 * width:
        return line
    used = 0
    for place, character in enumerate(line):
        used += _columns(character)
        if used > width - 1:
            return line[:place].rstrip() + "…"
    return line + "…"


def number(value: float) -> str:
    """Format a score; small ones, such as reciprocal ranks, with the same number of significant digits."""
    return f"{value:.3f}" if abs(value) >= 0.1 or not value else f"{value:#.3g}"


def hit_line(hit: "Hit") -> str:
    """Return a hit in a line."""
    document = hit.document
    start = f"<Hit {hit.rank}: {number(hit.score)} {shortened(str(document.id), _ID)!r} "
    return f"{start}{shortened(str(document.text), max(20, WIDTH - _columns(start) - 3))!r}>"


def hits_table(hits: "Hits") -> str:
    """Return a heading, and a line for each of the first hits."""
    rows = [(str(hit.rank), number(hit.score), shortened(str(hit.document.id), _ID)) for hit in hits[:_SHOWN]]
    widths = [max(map(_columns, column)) for column in zip(*rows, strict=True)]
    lines = [f"<Hits: {_heading(hits)}>"]
    for (rank, score, name), hit in zip(rows, hits, strict=False):
        start = f"{rank:>{widths[0] + 1}}  {score:>{widths[1]}}  {name}{' ' * (widths[2] - _columns(name))}  "
        lines.append(start + shortened(str(hit.document.text), max(20, WIDTH - _columns(start))))
    if len(hits) > _SHOWN:
        lines.append(f"  … and {len(hits) - _SHOWN:,} more")
    return "\n".join(line.rstrip() for line in lines)


def hits_html(hits: "Hits") -> str:
    """Return the hits as an HTML table, with the sentence that matches best marked."""
    rows = [
        (str(hit.rank), _shown_score(hit), hit.document.id, passage_html(hit), _metadata(hit.document.metadata))
        for hit in hits
    ]
    return html_table(f"Hits: {_heading(hits)}", ("", "score", "id", "text", "metadata"), rows)


def hit_html(hit: "Hit") -> str:
    """Return a hit as an HTML table."""
    document = hit.document
    rows: list[tuple[str, Any]] = [("id", document.id), ("text", passage_html(hit))]
    rows += [(f"score, {name}", _shown_part(name, value)) for name, value in hit.scores.items()]
    rows += [(str(name), _value(value)) for name, value in document.metadata.items()]
    return html_table(f"Hit {hit.rank}: {number(hit.score)}", (), rows)


def _shown_score(hit: "Hit") -> Markup:
    relevance = hit.scores.get("rerank_relevance", hit.scores.get("relevance"))
    bar = "" if relevance is None else f"{_bar('relevance', relevance)} "
    return Markup(bar + number(hit.score))


def _shown_part(name: str, value: float) -> Markup:
    """Return a part of a score in digits, after a bar if it lies in [0, 1]."""
    return Markup(number(value) if name in _OPEN else f"{_bar(name, value)} {number(value)}")


def _bar(name: str, value: float) -> str:
    share = min(1.0, max(0.0, value))
    return f'<progress max="1" value="{share:.3f}" aria-label="{_escaped(f"{name}: {number(value)}")}"></progress>'


def passage_html(hit: "Hit") -> Markup:
    """Return a passage as HTML, beginning shortly before the best matching sentence, which is marked."""
    text = str(hit.document.text)
    best = next(iter(hit.highlights), None)
    if best is None:
        return Markup(_escaped(text[:_TEXT]) + ("…" if len(text) > _TEXT else ""))
    first = 0 if best.end <= _TEXT else max(0, best.start - _TEXT // 4)
    last = max(best.end, first + _TEXT)
    before, after = text[first : best.start], text[best.end : last]
    marked = f"{_escaped(before)}<mark>{_escaped(best.text)}</mark>{_escaped(after)}"
    return Markup(("…" if first else "") + marked + ("…" if last < len(text) else ""))


def html_table(caption: str, head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return an HTML table. All cells are escaped, except for `Markup`."""
    top = "".join(f'<th style="{_CELL}">{_escaped(cell)}</th>' for cell in head)
    body = "".join(
        "<tr>" + "".join(f'<td style="{_CELL}">{_escaped(cell)}</td>' for cell in row) + "</tr>" for row in rows
    )
    thead = f"<thead><tr>{top}</tr></thead>" if head else ""
    return f'<table><caption style="text-align:left">{_escaped(caption)}</caption>{thead}<tbody>{body}</tbody></table>'


def _heading(hits: "Hits") -> str:
    trace = hits.trace
    noun = "document" if trace.eligible == 1 else "documents"
    heading = f"{len(hits):,} of {trace.eligible:,} {noun}, {trace.mode}"
    verdict = hits.verdict
    if verdict is None or verdict.probability is None:
        return heading
    return f"{heading}, verdict {verdict.label} ({verdict.probability:.2f})"


def _metadata(metadata: Any) -> str:
    return ", ".join(f"{name}: {_value(value)}" for name, value in metadata.items())


def _value(value: Any) -> str:
    return shortened(str(value), _VALUE)


def _escaped(cell: Any) -> str:
    return cell if isinstance(cell, Markup) else escape(printable(str(cell)))


def _columns(text: str) -> int:
    """Count the columns that a text takes at a terminal: wide characters take two, marks none."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(one) else 2 if unicodedata.east_asian_width(one) in "WF" else 1 for one in text
    )
