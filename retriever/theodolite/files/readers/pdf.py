"""The PDF reader: one unit for each page."""

import logging
from collections.abc import Iterator

from theodolite.errors import DocumentError
from theodolite.files.readers.options import Options
from theodolite.files.readers.results import File, Unit
from theodolite.plugins import optional


def read_pdf(file: File, options: Options) -> Iterator[Unit]:
    """Yield a unit for each page with text. All pages are read before the first unit is returned."""
    with optional("pdf"):
        from pypdf import PdfReader
    log = logging.getLogger("pypdf")
    if log.level == logging.NOTSET:  # otherwise each small fault of a file prints a line on stderr
        log.setLevel(logging.ERROR)
    units = []
    try:
        reader = PdfReader(file.path)
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
        raise DocumentError(f"damaged, or not supported: {type(error).__name__}: {error}") from error
    if not units:
        raise DocumentError("no text in it: scanned pages need text recognition first")
    yield from units
