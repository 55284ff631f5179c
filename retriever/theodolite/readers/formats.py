"""What is in a file: pieces of text, or records."""

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from theodolite.errors import DocumentError
from theodolite.metadata import decode
from theodolite.plugins import optional
from theodolite.readers.files import File, Options, Skipped

_WINDOW = 1 << 18  # characters of a text that are cut up together
_SAMPLE = 1 << 16  # bytes that show the encoding
_TAGS = ('"$date"', '"$datetime"')
_OUTSIDE = ("script", "style", "noscript", "template", "nav", "aside", "form", "iframe", "svg", "button")


@dataclass(frozen=True, slots=True)
class Unit:
    """Text that is cut up by itself.

    Attributes:
        text: of which passages are made.
        markdown: whether its headings count.
        metadata: what is known of it.
        line: of a record, from 1; None for a text.
        id: of a record that has one.
    """

    text: str
    markdown: bool = False
    metadata: Mapping[str, Any] = field(default_factory=dict)
    line: int | None = None
    id: str | None = None


def units(file: File, options: Options) -> Iterator[Unit | Skipped]:
    """The texts or records of a file; records that cannot be read are `Skipped`.

    Raises:
        DocumentError: the file cannot be read as what it seems to be.
        MissingExtraError: the package for its format is not installed.
        OSError.
    """
    match file.kind:
        case "markdown":
            yield from (Unit(text, markdown=True) for text in _windows(file.path, "\n#"))
        case "html":
            yield _html(file.path)
        case "jsonl":
            yield from _json_lines(file, options)
        case "csv":
            yield from _csv(file, options)
        case "pdf":
            yield from _pdf(file.path)
        case _:
            yield from (Unit(text) for text in _windows(file.path, "\n\n"))


def opened(path: Path) -> IO[str]:
    """A text file in its own encoding: UTF-8, what a byte order mark says, or what its letters make likely.

    Raises:
        DocumentError: it is none that could be recognised.
    """
    with path.open("rb") as raw:
        head = raw.read(_SAMPLE)
    if head.startswith((b"\xff\xfe\0\0", b"\0\0\xfe\xff")):
        encoding = "utf-32"
    elif head.startswith((b"\xff\xfe", b"\xfe\xff")):
        encoding = "utf-16"
    else:
        encoding = "utf-8-sig"
        try:
            # The sample may end within a character.
            io.TextIOWrapper(io.BytesIO(head[:-4] if len(head) == _SAMPLE else head), "utf-8").read()
        except UnicodeDecodeError as error:
            if error.start < len(head) - 8 or len(head) < _SAMPLE:
                encoding = _likely(head)
    return path.open(encoding=encoding, newline="")


def _likely(head: bytes) -> str:
    with optional("cli"):
        from charset_normalizer import from_bytes
    best = from_bytes(head).best()
    if best is None:
        raise DocumentError("its encoding is not known; convert it to UTF-8")
    return best.encoding


def _windows(path: Path, joint: str) -> Iterator[str]:
    """A text in pieces that end at a joint, such as an empty line, where there is one."""
    with opened(path) as file:
        rest = ""
        while part := file.read(_WINDOW):
            if "\0" in part:
                raise DocumentError("binary")
            rest = (rest + part).replace("\r\n", "\n")
            if len(rest) < _WINDOW:
                continue
            cut = max(rest.rfind(joint), 0) or max(rest.rfind("\n"), 0) or rest.rfind(" ") + 1 or len(rest)
            yield rest[:cut]
            rest = rest[cut:]
        if rest.strip():
            yield rest


def _html(path: Path) -> Unit:
    with optional("cli"):
        from bs4 import BeautifulSoup
        from markdownify import MarkdownConverter
    soup = BeautifulSoup(path.read_bytes(), "html.parser")
    title = " ".join(soup.title.get_text().split()) if soup.title else ""
    for tag in soup(_OUTSIDE):
        tag.decompose()
    for tag in soup.select('[aria-hidden="true"], [hidden]'):
        tag.decompose()
    body = soup.find("main") or soup.find("article") or soup.body or soup
    converter = MarkdownConverter(heading_style="atx", bullets="-", strip=["a", "img"], escape_misc=False)
    text = re.sub(r"\n{3,}", "\n\n", converter.convert_soup(body))
    return Unit(text, markdown=True, metadata={"title": title} if title else {})


def _pdf(path: Path) -> Iterator[Unit]:
    with optional("pdf"):
        from pypdf import PdfReader
        from pypdf.errors import PyPdfError
    try:
        reader = PdfReader(path)
        if reader.is_encrypted and not reader.decrypt(""):
            raise DocumentError("encrypted")
        title = str((reader.metadata and reader.metadata.title) or "").strip()
        found = False
        for number, page in enumerate(reader.pages, start=1):
            text = page.extract_text()
            if text.strip():
                found = True
                yield Unit(text, metadata={"page": number, **({"title": title} if title else {})})
    except (PyPdfError, ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        if isinstance(error, DocumentError):
            raise
        raise DocumentError(f"damaged: {type(error).__name__}: {error}") from error
    if not found:
        raise DocumentError("no text in it: scanned pages need text recognition first")


def _json_lines(file: File, options: Options) -> Iterator[Unit | Skipped]:
    with opened(file.path) as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                record = decode(line) if any(tag in line for tag in _TAGS) else json.loads(line)
            except (ValueError, RecursionError) as error:
                yield Skipped(file.source, f"line {number} is not JSON: {error}")
                continue
            if not isinstance(record, dict):
                yield Skipped(file.source, f"line {number} is not an object with fields")
                continue
            given = record.get("metadata")
            known = given if isinstance(given, dict) and options.metadata is None else _others(record, options)
            yield _record(file.source, number, record, known, options)


def _csv(file: File, options: Options) -> Iterator[Unit | Skipped]:
    csv.field_size_limit(max(csv.field_size_limit(), min(options.max_bytes, 2**31 - 1)))
    with opened(file.path) as lines:
        rows = csv.DictReader(lines, dialect="excel-tab" if file.path.suffix.lower() == ".tsv" else "excel")
        try:
            if options.text not in (rows.fieldnames or ()):
                raise DocumentError(
                    f"no column is called {options.text!r}; there are {', '.join(map(str, rows.fieldnames or ()))}"
                )
            for row in rows:
                number = rows.line_num
                if None in row:
                    yield Skipped(file.source, f"line {number} has more values than the first line has names")
                    continue
                filled = {name: value for name, value in row.items() if value not in (None, "")}
                yield _record(file.source, number, filled, _others(filled, options), options)
        except csv.Error as error:
            raise DocumentError(f"line {rows.line_num}: {error}") from error


def _others(record: dict[str, Any], options: Options) -> dict[str, Any]:
    if options.metadata is None:
        return {name: value for name, value in record.items() if name not in (options.text, options.id)}
    inner = record.get("metadata")
    both = {**(inner if isinstance(inner, dict) else {}), **record}
    return {name: both[name] for name in options.metadata if name in both}


def _record(
    source: str, number: int, record: dict[str, Any], metadata: dict[str, Any], options: Options
) -> Unit | Skipped:
    text, name = record.get(options.text), record.get(options.id)
    if not isinstance(text, str) or not text.strip():
        return Skipped(source, f"line {number} has no text in {options.text!r}")
    try:
        text.encode()
    except UnicodeEncodeError:
        return Skipped(source, f"line {number} holds half of a surrogate pair, which is no character")
    if isinstance(name, int) and not isinstance(name, bool):
        name = str(name)
    if name is not None and (not isinstance(name, str) or not name):
        return Skipped(source, f"line {number} has no name in {options.id!r}: {name!r:.40}")
    return Unit(text, metadata=metadata, line=number, id=name)
