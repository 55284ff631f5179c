"""Markup with headings: Markdown, HTML, reStructuredText. One section for each heading."""

import re
import warnings
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from typing import Any

from theodolite.errors import DocumentError
from theodolite.files.readers.options import Options
from theodolite.files.readers.results import File, Unit
from theodolite.files.readers.text import WIDE, is_binary, opened, whole_text, windows
from theodolite.plugins import optional

Headings = tuple[tuple[int, str], ...]
"""The headings above a text, outermost first: level and name."""

_WINDOW = 1 << 18  # characters parsed together
_FRONT = re.compile(r"\A---[ \t]*\n((?:[^\n]*\S[^\n]*\n)+?)---[ \t]*(?:\n|\Z)")
_OUTSIDE = (
    'nav, [role="navigation"], [hidden], [aria-hidden="true"], '
    "script, style, noscript, template, iframe, svg, button, select"
)
_BLOCKS = ["address", "aside", "details", "fieldset", "footer", "form", "header", "main", "summary"]
_UNMARKED = ["a", "img", "b", "strong", "i", "em", "u", "s", "sub", "sup"]
_RST_LINE = re.compile(r"([!-/:-@\[-`{-~])\1+")
_RST_MARKUP = re.compile(r"\.\. |\s")  # a comment or directive ends without a blank line
_TITLE = re.compile(r"^title:[ \t]*(['\"]?)(.+?)\1[ \t]*$", re.MULTILINE)


def read_markdown(file: File, options: Options) -> Iterator[Unit]:
    """Yield the sections of a file, read in pieces. A title in the front matter applies to all sections."""
    with opened(file.path) as lines:
        title = rest = ""
        above: Headings = ()
        while part := lines.read(_WINDOW):
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


def read_html(file: File, options: Options) -> Iterator[Unit]:
    """Return the main text as Markdown with headings, lists, tables and code, but no inline markup."""
    return html_units(file.path.read_bytes())


def html_units(data: bytes | str) -> Iterator[Unit]:
    """Return the units of an HTML page. Raises DocumentError."""
    with optional("cli"):
        from bs4 import BeautifulSoup
        from bs4.exceptions import ParserRejectedMarkup
        from markdownify import MarkdownConverter
    if isinstance(data, bytes) and not data.startswith(WIDE) and is_binary(data, utf8=_is_utf8(data)):
        raise DocumentError("binary")
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="bs4")  # XHTML and short pages trigger warnings
            soup = BeautifulSoup(data, "html.parser")
        title = " ".join(soup.title.get_text().split()) if soup.title else ""
        for tag in soup.select(_OUTSIDE):
            tag.decompose()
        mains = soup.find_all("main")
        body = mains[0] if len(mains) == 1 else soup.body or soup
        for tag in body.find_all(_BLOCKS):  # the converter would join these with adjacent text
            tag.name = "div"
        converter = MarkdownConverter(
            heading_style="atx",
            bullets="-",
            strip=_UNMARKED,
            escape_asterisks=False,
            escape_underscores=False,
            escape_misc=False,
        )
        text = converter.convert_soup(body)
    except RecursionError:
        raise DocumentError("its elements are nested too deep") from None
    except ParserRejectedMarkup as error:
        raise DocumentError(f"damaged: {error}") from error
    return units_of(re.sub(r"\n{3,}", "\n\n", text), title)


def read_rst(file: File, options: Options) -> Iterator[Unit]:
    """Yield the sections of a reStructuredText file. Directives stay as they are written.

    docutils is not used: it drops the text in unknown directives, such as those of Sphinx, and reads files that an
    `include` directive names.
    """
    outline = Outline()
    lines = whole_text(file.path).splitlines()
    styles: list[str] = []  # of headings, outermost first: in the order in which a file uses them
    skip = 0
    for number, line in enumerate(lines):
        if skip:
            skip -= 1
            continue
        title, style = _rst_title(lines, number)
        if not style:
            outline.text(f"{line}\n")
            continue
        skip = len(style)
        if style not in styles:
            styles.append(style)
        outline.heading(styles.index(style) + 1, title)
    return outline.units()


def _rst_title(lines: list[str], number: int) -> tuple[str, str]:
    """Return the title that begins in a line, and its style: one mark for an underline, two with an overline."""
    if number and lines[number - 1].strip() and not _RST_MARKUP.match(lines[number - 1]):
        return "", ""  # within a paragraph
    line, below, last = (*lines[number : number + 3], "", "")[:3]
    if (
        _RST_LINE.fullmatch(line.rstrip())
        and line.rstrip() == last.rstrip()
        and len(line.rstrip()) >= len(below.strip()) > 0
    ):
        return below.strip(), line[0] * 2
    if (
        line.strip()
        and not line[0].isspace()
        and _RST_LINE.fullmatch(below.rstrip())
        and (len(below.rstrip()) >= min(4, len(line.rstrip())))
        and not _RST_LINE.fullmatch(line.rstrip())
    ):
        return line.strip(), below[0]
    return "", ""


class Outline:
    """Collects the sections of a text: headings, and the text below each.

    A heading without text of its own stays with the next section.
    """

    def __init__(self, title: str = "") -> None:
        self.title = title
        self._parts: list[tuple[Headings, list[str]]] = [((), [])]
        self._below = False  # whether there is text below the last heading

    def heading(self, level: int, name: str) -> None:
        """Begin a section. The heading is also the first line of its text."""
        name = " ".join(name.split())
        headings = (*(each for each in self._parts[-1][0] if each[0] < level), (level, name))
        self._begin(headings, f"{name}\n\n")

    def text(self, text: str) -> None:
        """Add text, with its line breaks."""
        self._parts[-1][1].append(text)
        self._below = self._below or bool(text.strip())

    def markdown(self, text: str) -> None:
        """Add Markdown. Its headings continue those above."""
        above = self._parts[-1][0]
        for number, (headings, part) in enumerate(sections(text, above)):
            if number or headings != above:
                self._begin(headings, "")
            self._parts[-1][1].append(f"{part.rstrip()}\n\n")
            self._below = self._below or any(line.strip() and line[0] != "#" for line in part.splitlines())

    def _begin(self, headings: Headings, text: str) -> None:
        if self._below:
            self._parts.append((headings, [text]))
        else:
            self._parts[-1] = (headings, [*self._parts[-1][1], text])
        self._below = False

    def units(self, *, markdown: bool = False) -> Iterator[Unit]:
        """Yield the sections."""
        for headings, parts in self._parts:
            if (text := "".join(parts)).strip():
                yield _unit(text, headings, self.title, markdown=markdown)


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


def _unit(text: str, headings: Headings, title: str, *, markdown: bool = True) -> Unit:
    metadata = {"heading": " > ".join(name for _, name in headings), "title": title}
    return Unit(text, markdown=markdown, metadata={name: value for name, value in metadata.items() if value})


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


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
