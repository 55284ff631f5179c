"""Results of finding and reading files: files, units of text, and notes on skipped or changed parts."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from theodolite.files.readers.options import Options

SkipKind = Literal["failed", "unknown", "empty", "binary", "large", "link", "excluded"]
"""Why something was skipped. `failed` is a fault to look at; the others are decided without reading the file."""


@dataclass(frozen=True, slots=True)
class File:
    """A file to read.

    Attributes:
        path: the location of the file.
        source: its name, independent of the working directory: `folder/below/file.md` for a file under a given folder,
            and `file.md` for a given file.
        kind: the name of its format, see `registry.FORMATS`.
        size: the size in bytes.
        modified: UTC, in whole seconds.
    """

    path: Path
    source: str
    kind: str
    size: int
    modified: datetime


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file or record that was skipped.

    Attributes:
        source: the file.
        reason: a sentence for people.
        kind: a category for programs, and to count similar ones together.
    """

    source: str
    reason: str
    kind: SkipKind = field(default="failed", compare=False)


@dataclass(frozen=True, slots=True)
class Repaired:
    """A file with characters that are not valid text (NUL, lone surrogates), which were replaced by U+FFFD."""

    source: str
    characters: int


@dataclass(frozen=True, slots=True)
class Note:
    """Something to know about a file that was read, such as the columns that were read as numbers."""

    source: str
    text: str


@dataclass(frozen=True, slots=True)
class Unit:
    """A part of a file that is split on its own: a section, a definition, a page, a record.

    Attributes:
        text: the text to split into passages.
        markdown: whether to split at Markdown syntax.
        metadata: fields for all of its passages.
        record: the number of a record, from 1: its line, or its place in a list; None for a part of a text.
        counted: the noun for what `record` numbers, and the name of its metadata field.
        id: the id of a record, if it has one.
    """

    text: str
    markdown: bool = False
    metadata: Mapping[str, Any] = field(default_factory=dict)
    record: int | None = None
    counted: Literal["line", "record"] = "line"
    id: str | None = None


Reader = Callable[[File, Options], Iterator[Unit | Skipped | Note]]
"""Reads one format. Unreadable parts are `Skipped`.

Raises:
    DocumentError: the file cannot be read as its apparent format.
    MissingExtraError: the package for its format is not installed.
    OSError, UnicodeError.
"""


def reason_of(error: Exception) -> str:
    """Return an error's text without the number and the file name of an OSError."""
    return getattr(error, "strerror", None) or str(error)
