"""Convert files to documents: passages with ids that are the same in every run."""

from collections.abc import Iterator, Mapping
from typing import Any

from theodolite.errors import DocumentError, MissingExtraError
from theodolite.files.readers.find import whole_seconds
from theodolite.files.readers.options import Options
from theodolite.files.readers.registry import FORMATS
from theodolite.files.readers.results import File, Note, Repaired, Skipped, Unit, reason_of
from theodolite.files.readers.splitting import Splitter
from theodolite.files.readers.text import valid, valid_values
from theodolite.metadata import encode_to_store
from theodolite.types import Document

PATH = "path"
"""The metadata field that names the file of a passage."""

_NAMED = 100  # skipped records reported per file; further ones are only counted
_WHOLE = 10_000  # passages of a text that are stored together


def read(file: File, options: Options, splitter: Splitter) -> Iterator[list[Document] | Skipped | Repaired | Note]:
    """Yield the passages of a file, in lists that must be stored completely or not at all.

    A list holds the passages of a record, or all passages of a text. For a text with more than 10,000 passages, the
    first list holds 10,000, and each further list holds one.

    The id of a file's first passage is its source; the others are `source#2`, `source#3` and so on. A record of JSON
    Lines or CSV keeps its own id, or gets `source#line`; one in a list gets `source#number`. If it is split, its
    further passages are `id#2` and so on.

    Metadata are `path` (the source), `modified` and `chunk` (from 1), and `heading`, `title`, `page`, `slide`, `line`,
    `record`, `symbol` or `language` if known. A record's own metadata override these, except `path`.

    Unreadable records and files are `Skipped`. Invalid characters are replaced and counted.
    """
    skipped = repaired = 0
    last: list[Document] = []
    found = False
    try:
        for item in _lists(file, options, splitter):
            if isinstance(item, Note):
                yield item
                continue
            if isinstance(item, Skipped):
                skipped += 1
                if skipped <= _NAMED:
                    yield item
                continue
            documents, replaced = item
            repaired += replaced
            if last:
                found = True
                yield last
            last = documents
        if skipped > _NAMED:
            yield Skipped(file.source, f"and {skipped - _NAMED:,} more")
        stat = file.path.stat()
        if (stat.st_size, whole_seconds(stat)) != (file.size, file.modified):
            yield Skipped(file.source, "it has changed while it was read: the next run reads it again")
            return
        if last:
            yield last
        elif not found and not skipped:
            yield Skipped(file.source, "no text in it")
        if repaired:
            yield Repaired(file.source, repaired)
    except MissingExtraError as error:
        yield Skipped(file.source, f"cannot be read without {error.hint}")
    except UnicodeError as error:
        yield Skipped(file.source, f"cannot be read: {error}")
    except (DocumentError, OSError) as error:
        binary = "binary" in str(error)
        yield Skipped(file.source, f"cannot be read: {reason_of(error)}", "binary" if binary else "failed")


def _lists(file: File, options: Options, splitter: Splitter) -> Iterator[tuple[list[Document], int] | Skipped | Note]:
    """Yield passages that belong together, with the number of replaced characters.

    Raises:
        DocumentError: a passage of a text cannot be stored. For a record, it is skipped instead.
    """
    whole: list[Document] = []
    number = replaced = 0
    for unit in FORMATS[file.kind].read(file, options):
        if not isinstance(unit, Unit):
            yield unit
            continue
        record = unit.record is not None
        if record:
            number = 0
        try:
            for document, repaired in _documents(file, unit, splitter, number, options):
                number += 1
                whole.append(document)
                replaced += repaired
                if not record and number >= _WHOLE:
                    yield whole, replaced
                    whole, replaced = [], 0
        except DocumentError as error:
            if not record:
                raise
            yield Skipped(file.source, f"{unit.counted} {unit.record}: {error}")
            whole, replaced = [], 0
        if record and whole:
            yield whole, replaced
            whole, replaced = [], 0
    if whole:
        yield whole, replaced


def _documents(
    file: File, unit: Unit, splitter: Splitter, before: int, options: Options
) -> Iterator[tuple[Document, int]]:
    """Yield the numbered passages of a unit. The first also carries the number of replaced characters.

    Args:
        before: the number of earlier passages of the file.

    Raises:
        DocumentError: an id or metadata value cannot be stored.
    """
    text, repaired = valid(unit.text)
    base = file.source
    known: dict[str, Any] = {"modified": file.modified}
    own: Any = unit.metadata
    if unit.record is not None:
        base = unit.id or f"{file.source}#{unit.record}"
        known[unit.counted] = unit.record
        _check_id(base)
    above = valid(_above(unit.metadata))[0] if options.with_headings else ""
    for number, piece in enumerate(splitter.split(text, markdown=unit.markdown, above=above), start=before + 1):
        metadata = {**known, "chunk": number, **own, PATH: file.source}
        if number == before + 1:
            try:
                encode_to_store(metadata)
            except DocumentError:
                own, replaced = valid_values(own)
                if not replaced:
                    raise
                repaired += replaced
                metadata = {**known, "chunk": number, **own, PATH: file.source}
                encode_to_store(metadata)
        yield Document(piece, metadata, base if number == 1 else f"{base}#{number}"), repaired
        repaired = 0


def _above(metadata: Mapping[str, Any]) -> str:
    """Return the title and headings of a unit, outermost first: `Guide > Install > Linux`."""
    title, heading = metadata.get("title"), metadata.get("heading") or metadata.get("symbol")
    parts = [each for each in (title, heading) if isinstance(each, str) and each]
    if len(parts) == 2 and (parts[1] == parts[0] or parts[1].startswith(f"{parts[0]} > ")):
        del parts[0]
    return " > ".join(" ".join(part.split()) for part in parts)


def _check_id(name: str) -> None:
    try:
        name.encode()
    except UnicodeEncodeError:
        raise DocumentError("its id holds half of a surrogate pair, which is not text") from None
