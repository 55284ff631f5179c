"""The readers for Word (`.docx`) and PowerPoint (`.pptx`). Both formats are XML in a ZIP archive."""

import re
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from theodolite.errors import DocumentError, MissingExtraError
from theodolite.files.readers.markup import Outline
from theodolite.files.readers.options import Options
from theodolite.files.readers.results import File, Unit
from theodolite.plugins import optional

_UNPACKED = 10  # times `max_bytes`: the limit for everything in an archive, mostly images
_XML = 2  # times `max_bytes`: the limit for its XML, which takes many times its size in memory
_HEADING = re.compile(r"heading (\d)", re.IGNORECASE)
_WORD = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_LEFT_OUT = {f"{_WORD}moveFrom", "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback"}
_BREAKS = {f"{_WORD}tab": "\t", f"{_WORD}br": "\n", f"{_WORD}cr": "\n", f"{_WORD}noBreakHyphen": "-"}


def read_docx(file: File, options: Options) -> Iterator[Unit]:
    """Yield the sections of a Word document: paragraphs, lists and tables, with tracked changes accepted."""
    with optional("office"):
        import docx

    def read() -> list[Unit]:
        document = docx.Document(str(file.path))
        outline = Outline(" ".join((document.core_properties.title or "").split()))
        for block in _blocks(document.element.body):
            if block.tag == f"{_WORD}tbl":
                outline.text(f"{_table(block)}\n\n")
                continue
            text = _text(block).strip()
            level = _level(block, document.styles)
            if text and level == 0 and not outline.title:
                outline.title = " ".join(text.split())
            elif text and level:
                outline.heading(level, text)
            elif text:
                is_item = block.pPr is not None and block.pPr.numPr is not None
                outline.text(f"{'- ' if is_item else ''}{text}\n\n")
        return list(outline.units())

    yield from _read(file.path, options, read)


def read_pptx(file: File, options: Options) -> Iterator[Unit]:
    """Yield a unit for each slide with text: its shapes and tables, then the speaker's notes."""
    with optional("office"):
        from pptx import Presentation

    def read() -> list[Unit]:
        presentation = Presentation(str(file.path))
        title = " ".join((presentation.core_properties.title or "").split())
        units = []
        for number, slide in enumerate(presentation.slides, start=1):
            heading = slide.shapes.title
            name = " ".join(heading.text_frame.text.split()) if heading is not None else ""
            parts = [part for shape in slide.shapes for part in _shape(shape)]
            if slide.has_notes_slide and slide.notes_slide.notes_text_frame is not None:
                parts.append(slide.notes_slide.notes_text_frame.text)
            text = "\n\n".join(part.replace("\v", "\n") for part in parts if part.strip())
            if text:
                metadata = {"slide": number, "heading": name, "title": title}
                units.append(Unit(text, metadata={key: value for key, value in metadata.items() if value}))
        return units

    yield from _read(file.path, options, read)


def _read(path: Path, options: Options, read: Callable[[], list[Unit]]) -> list[Unit]:
    """Read an archive after checking its unpacked size. Raises DocumentError."""
    with path.open("rb") as raw:
        if raw.read(4) == b"\xd0\xcf\x11\xe0":
            raise DocumentError("encrypted, or an old format: save it without a password, as .docx or .pptx")
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
        # zipfile stops reading an entry at its declared size, so a false size cannot bypass the limit.
        xml = sum(entry.file_size for entry in entries if entry.filename.lower().endswith((".xml", ".rels")))
        total = sum(entry.file_size for entry in entries)
        for size, times, what in ((total, _UNPACKED, ""), (xml, _XML, " of XML")):
            limit = times * options.max_bytes
            if size > limit:
                raise DocumentError(
                    f"it unpacks to {size / 1e6:,.1f} MB{what}, above the limit of {limit / 1e6:,.1f} MB "
                    f"({times} times --max-mb, max_bytes=): damaged, or an attack. "
                    "Split the document, or raise the limit"
                )
        return read()
    except (DocumentError, MissingExtraError, MemoryError):
        raise
    except Exception as error:  # damaged files raise almost any exception
        raise DocumentError(f"damaged, or not supported: {type(error).__name__}: {error}") from error


def _blocks(body: Any) -> Iterator[Any]:
    """Yield paragraphs and tables in order, including those in content controls, which python-docx skips."""
    for child in body.iterchildren():
        if child.tag in (f"{_WORD}p", f"{_WORD}tbl"):
            yield child
        elif child.tag in (f"{_WORD}sdt", f"{_WORD}sdtContent", f"{_WORD}customXml", f"{_WORD}ins"):
            yield from _blocks(child)


def _text(element: Any) -> str:
    """Return the text of a paragraph, including links, content controls and tracked insertions."""
    if element.tag == f"{_WORD}t":
        return element.text or ""
    if element.tag in _BREAKS:
        return _BREAKS[element.tag]
    return "".join(_text(child) for child in element.iterchildren() if child.tag not in _LEFT_OUT)


def _table(table: Any) -> str:
    """Return a table with a line for each row."""
    rows = []
    for row in table.iterchildren(f"{_WORD}tr"):
        cells = (" ".join(" ".join(_text(part) for part in cell.iter(f"{_WORD}p")).split()) for cell in row.tc_lst)
        if line := " | ".join(cell for cell in cells if cell):
            rows.append(line)
    return "\n".join(rows)


def _level(paragraph: Any, styles: Any) -> int | None:
    """Return the level of a heading, 0 for the document's title, or None for other paragraphs."""
    style = next((each for each in styles if each.style_id == paragraph.style), None) if paragraph.style else None
    seen = 0
    while style is not None and seen < 20:  # in a damaged file, styles may form a cycle
        name = style.name or ""
        if found := _HEADING.fullmatch(name):
            return int(found[1])
        if name.lower() == "title":
            return 0
        style, seen = style.base_style, seen + 1
    return None


def _shape(shape: Any) -> Iterator[str]:
    """Yield the texts of a shape, of all shapes in a group, or of the rows of a table."""
    if hasattr(shape, "shapes"):
        for inner in shape.shapes:
            yield from _shape(inner)
    elif getattr(shape, "has_table", False):
        for row in shape.table.rows:
            yield " | ".join(" ".join(cell.text.split()) for cell in row.cells if cell.text.strip())
    elif shape.has_text_frame:
        yield shape.text_frame.text
