"""The Markdown reader: one section for each heading."""

import re
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

from theodolite.files.readers.decoding import opened, windows
from theodolite.files.readers.splitting import Unit
from theodolite.plugins import optional

Headings = tuple[tuple[int, str], ...]
"""The headings above a text, outermost first: level and name."""

_WINDOW = 1 << 18  # characters parsed together
_FRONT = re.compile(r"\A---[ \t]*\n((?:[^\n]*\S[^\n]*\n)+?)---[ \t]*(?:\n|\Z)")
_TITLE = re.compile(r"^title:[ \t]*(['\"]?)(.+?)\1[ \t]*$", re.MULTILINE)


def read_markdown(path: Path) -> Iterator[Unit]:
    """Yield the sections of a file, read in pieces. A title in the front matter applies to all sections."""
    with opened(path) as file:
        title = rest = ""
        above: Headings = ()
        while part := file.read(_WINDOW):
            if not rest and not title and (front := _FRONT.match(part)):
                part = part[front.end() :]
                title = found[2] if (found := _TITLE.search(front[1])) else ""
            *whole, (headings, rest) = sections(rest + part, above)
            yield from (_unit(text, known, title) for known, text in whole)
            above = headings
            if len(rest) >= _WINDOW:
                *large, rest = windows([rest, ""], _WINDOW // 2)
                yield from (_unit(text, above, title) for text in large)
        yield from (_unit(text, known, title) for known, text in sections(rest, above) if text.strip())


def units_of(text: str, title: str = "") -> Iterator[Unit]:
    """Yield the sections of a Markdown text."""
    return (_unit(part, headings, title) for headings, part in sections(text))


def sections(text: str, above: Headings = ()) -> list[tuple[Headings, str]]:
    """Split a text before its headings. A heading without text of its own stays with the next section.

    Args:
        above: the headings above the beginning of the text.

    Returns:
        At least one part, each with the headings above it, including its own.
    """
    lines = [0, *(match.end() for match in re.finditer("\n", text))]
    found: list[tuple[Headings, int]] = [(above, 0)]
    headings, behind = above, 0  # `behind` is where the text after the last heading begins
    for token, content in pairwise(_blocks().parse(text)):
        if token.type != "heading_open" or token.level or token.map is None:
            continue
        level = int(token.tag[1])
        headings = (*(each for each in headings if each[0] < level), (level, _plain(content.content)))
        start, end = (lines[min(line, len(lines) - 1)] for line in token.map)
        if text[behind:start].strip():
            found.append((headings, start))
        else:
            found[-1] = (headings, found[-1][1])
        behind = end
    ends = [*(start for _, start in found[1:]), len(text)]
    return [(headings, text[start:end]) for (headings, start), end in zip(found, ends, strict=True)]


def _unit(text: str, headings: Headings, title: str) -> Unit:
    metadata = {"heading": " > ".join(name for _, name in headings), "title": title}
    return Unit(text, markdown=True, metadata={name: value for name, value in metadata.items() if value})


@cache
def _blocks() -> Any:
    with optional("cli"):
        from markdown_it import MarkdownIt
    return MarkdownIt("commonmark").disable("inline")


@cache
def _inline() -> Any:
    with optional("cli"):
        from markdown_it import MarkdownIt
    return MarkdownIt("commonmark")


def _plain(heading: str) -> str:
    """Return the plain text of a heading."""
    (token,) = _inline().parseInline(heading)
    return " ".join("".join(child.content or " " * (child.type == "softbreak") for child in token.children).split())
