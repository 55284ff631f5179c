"""From a file to documents: passages with ids that are the same in every run."""

import csv
from collections.abc import Iterator
from typing import Any

from theodolite.errors import DocumentError, MissingExtraError
from theodolite.metadata import encode
from theodolite.readers.files import File, Options, Skipped
from theodolite.readers.formats import Unit, units
from theodolite.readers.splitting import Headings, Splitter
from theodolite.types import Document

PATH = "path"
"""The metadata field that says which file a passage is from."""


def read(file: File, options: Options, splitter: Splitter) -> Iterator[Document | Skipped]:
    """The passages of a file.

    The first passage of a file is called after its source, the others `source#2`, `source#3` and so on. A record of
    JSON Lines or CSV keeps its own id, or is called `source#line`; where it is cut up, the further passages are
    `id#2` and so on.

    Metadata are `path` (the source), `modified` and `chunk` (from 1), with `heading`, `title`, `page` or `line` where
    there are such; a record's own come first, but for `path`.

    What cannot be read is `Skipped`: a record, or the rest of the file.
    """
    try:
        number = 0
        above: tuple[str, ...] = ()
        for unit in units(file, options):
            if isinstance(unit, Skipped):
                yield unit
                continue
            headings = Headings(unit.text, above) if unit.markdown else None
            own = 0
            for place, text in splitter.split(unit.text, markdown=unit.markdown):
                number, own = number + 1, own + 1
                known: dict[str, Any] = {"modified": file.modified}
                if headings is not None and (path := headings.at(place)):
                    known["heading"] = " > ".join(path)
                yield _document(file, unit, text, known, number if unit.line is None else own)
            if headings is not None:
                above = headings.last
    except MissingExtraError as error:
        yield Skipped(file.source, f"cannot be read without {error.hint}")
    except UnicodeDecodeError as error:
        yield Skipped(file.source, f"cannot be read: not {error.encoding} at byte {error.start}")
    except (DocumentError, OSError, csv.Error) as error:
        yield Skipped(file.source, f"cannot be read: {getattr(error, 'strerror', None) or error}")


def _document(file: File, unit: Unit, text: str, known: dict[str, Any], number: int) -> Document | Skipped:
    if unit.line is None:
        base = file.source
    else:
        base = unit.id or f"{file.source}#{unit.line}"
        known["line"] = unit.line
    metadata = {**known, "chunk": number, **unit.metadata, PATH: file.source}
    document = Document(text, metadata, base if number == 1 else f"{base}#{number}")
    try:
        encode(metadata)
        document.id.encode()
    except (DocumentError, UnicodeEncodeError) as error:
        return Skipped(file.source, f"line {unit.line}: {error}" if unit.line else str(error))
    return document
