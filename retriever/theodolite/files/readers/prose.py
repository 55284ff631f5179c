"""The readers for plain text, HTML and PDF."""

import logging
import re
import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from theodolite.errors import DocumentError
from theodolite.files.readers.decoding import opened, windows
from theodolite.files.readers.find import WIDE, is_binary
from theodolite.files.readers.markdown import units_of
from theodolite.files.readers.splitting import Unit
from theodolite.plugins import optional

_WINDOW = 1 << 18  # characters of a text that are split together
_OUTSIDE = (
    'nav, [role="navigation"], [hidden], [aria-hidden="true"], '
    "script, style, noscript, template, iframe, svg, button, select"
)
_BLOCKS = ["address", "aside", "details", "fieldset", "footer", "form", "header", "main", "summary"]
_UNMARKED = ["a", "img", "b", "strong", "i", "em", "u", "s", "sub", "sup"]


def read_text(path: Path) -> Iterator[Unit]:
    with opened(path) as file:
        yield from map(Unit, windows(iter(partial(file.read, _WINDOW), ""), _WINDOW))


def read_html(path: Path) -> Iterator[Unit]:
    """Return the main text as Markdown with headings, lists, tables and code, but no inline markup."""
    with optional("cli"):
        from bs4 import BeautifulSoup
        from bs4.exceptions import ParserRejectedMarkup
        from markdownify import MarkdownConverter
    data = path.read_bytes()
    if not data.startswith(WIDE) and is_binary(data, utf8=_is_utf8(data)):
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


def read_pdf(path: Path) -> Iterator[Unit]:
    """Yield a unit for each page with text. All pages are read before the first unit is returned."""
    with optional("pdf"):
        from pypdf import PdfReader
    log = logging.getLogger("pypdf")
    if log.level == logging.NOTSET:  # otherwise each small fault of a file prints a line on stderr
        log.setLevel(logging.ERROR)
    units = []
    try:
        reader = PdfReader(path)
        if reader.is_encrypted and not reader.decrypt(""):
            raise DocumentError("encrypted")
        title = " ".join(str((reader.metadata and reader.metadata.title) or "").split())
        for number, page in enumerate(reader.pages, start=1):
            text = page.extract_text()
            if text.strip():
                units.append(Unit(text, metadata={"page": number, **({"title": title} if title else {})}))
    except (DocumentError, OSError, MemoryError):
        raise
    except Exception as error:  # damaged files raise almost any exception
        raise DocumentError(f"damaged, or made in an unknown way: {type(error).__name__}: {error}") from error
    if not units:
        raise DocumentError("no text in it: scanned pages need text recognition first")
    yield from units


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
