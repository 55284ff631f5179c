"""HTML of values that may be hostile: everything is escaped, and control characters are replaced."""

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from theodolite.display import Markup, printable


def escaped(value: Any) -> str:
    """Return a value as HTML, also within attributes; `Markup` as it is."""
    return value if isinstance(value, Markup) else escape(printable(str(value)).encode("utf-8", "replace").decode())


def table(caption: str, head: Sequence[str], rows: Iterable[Sequence[Any]], kind: str = "") -> Markup:
    """Return a table that scrolls within the page, by keyboard, too. The first cell of each row is its header."""
    top = "".join(f'<th scope="col">{escaped(cell)}</th>' for cell in head)
    body = "".join(
        f'<tr><th scope="row">{escaped(first)}</th>{"".join(f"<td>{escaped(cell)}</td>" for cell in rest)}</tr>'
        for first, *rest in rows
    )
    return Markup(
        f'<div class="scroll" role="region" tabindex="0" aria-label="{escaped(caption)}">'
        f'<table class="{escaped(kind)}">'
        f"<caption>{escaped(caption)}</caption><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>"
    )
