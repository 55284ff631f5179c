"""From a file to documents: passages with ids that are the same in every run."""

from collections.abc import Iterator
from typing import Any

from theodolite.errors import DocumentError, MissingExtraError
from theodolite.metadata import encode
from theodolite.readers.files import File, Options, Skipped, whole_seconds
from theodolite.readers.markdown import read_markdown
from theodolite.readers.prose import read_html, read_pdf, read_text
from theodolite.readers.records import read_csv, read_json_lines
from theodolite.readers.splitting import Splitter
from theodolite.readers.units import Unit
from theodolite.types import Document

PATH = "path"
"""The metadata field that says which file a passage is from."""

_NAMED = 100  # records of a file that are skipped by name; the rest are counted


def read(file: File, options: Options, splitter: Splitter) -> Iterator[Document | Skipped]:
    """The passages of a file.

    The first passage of a file is called after its source, the others `source#2`, `source#3` and so on. A record of
    JSON Lines or CSV keeps its own id, or is called `source#line`; where it is cut up, the further passages are
    `id#2` and so on.

    Metadata are `path` (the source), `modified` and `chunk` (from 1), with `heading`, `title`, `page` or `line` where
    there are such; a record's own come first, but for `path`.

    What cannot be read is `Skipped`: a record, or the rest of the file.
    """
    found = skipped = 0
    try:
        for item in _passages(file, options, splitter):
            if isinstance(item, Document):
                found += 1
                yield item
                continue
            skipped += 1
            if skipped <= _NAMED:
                yield item
        if skipped > _NAMED:
            yield Skipped(file.source, f"and {skipped - _NAMED:,} more")
        stat = file.path.stat()
        if (stat.st_size, whole_seconds(stat)) != (file.size, file.modified):
            yield Skipped(file.source, "it has changed while it was read: the next run reads it anew")
        elif not found and not skipped:
            yield Skipped(file.source, "no text in it")
    except MissingExtraError as error:
        yield Skipped(file.source, f"cannot be read without {error.hint}")
    except UnicodeError as error:
        yield Skipped(file.source, f"cannot be read: {error}")
    except (DocumentError, OSError) as error:
        yield Skipped(file.source, f"cannot be read: {getattr(error, 'strerror', None) or error}")


def _units(file: File, options: Options) -> Iterator[Unit | Skipped]:
    """The sections, pages or records of a file; records that cannot be read are `Skipped`.

    Raises:
        DocumentError: the file cannot be read as what it seems to be.
        MissingExtraError: the package for its format is not installed.
        OSError, UnicodeError.
    """
    match file.kind:
        case "markdown":
            return read_markdown(file.path)
        case "html":
            return read_html(file.path)
        case "jsonl":
            return read_json_lines(file, options)
        case "csv":
            return read_csv(file, options)
        case "pdf":
            return read_pdf(file.path)
        case _:
            return read_text(file.path)


def _passages(file: File, options: Options, splitter: Splitter) -> Iterator[Document | Skipped]:
    number = 0
    for unit in _units(file, options):
        if isinstance(unit, Skipped):
            yield unit
            continue
        if unit.line is not None:
            number = 0
        for text in splitter.split(unit.text, markdown=unit.markdown):
            number += 1
            yield _document(file, unit, text, number)


def _document(file: File, unit: Unit, text: str, number: int) -> Document | Skipped:
    base = file.source
    known: dict[str, Any] = {"modified": file.modified}
    if unit.line is not None:
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
