"""The files under some paths, and what of them is left out."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from theodolite.errors import ConfigError, InputError

KINDS = {
    ".txt": "text",
    ".text": "text",
    ".log": "text",
    ".rst": "text",
    ".md": "markdown",
    ".markdown": "markdown",
    ".html": "html",
    ".htm": "html",
    ".xhtml": "html",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".tsv": "csv",
    ".pdf": "pdf",
}
"""What a suffix says about a file."""

_LOOKED_AT = 8192  # bytes at the beginning, where a binary file shows itself
WIDE = (b"\xff\xfe", b"\xfe\xff", b"\0\0\xfe\xff")
"""How UTF-16 and UTF-32 begin, whose letters hold NUL bytes."""


@dataclass(frozen=True, slots=True)
class Options:
    """How files become passages.

    Attributes:
        chunk_tokens: the size of a passage in the embedder's tokens, at most, and never more than the embedder reads.
            None takes what it reads, but 256 where that is more or unknown: one vector for more than a few paragraphs
            stands for too many subjects.
        overlap: tokens that a passage shares with the one before it.
        text, id: the fields (JSON Lines) or columns (CSV) of a record's text and name.
        metadata: the fields or columns to keep as metadata; None keeps the field `metadata` of JSON Lines where there
            is one, else everything but text and id.
        max_bytes: larger files are skipped. Text, Markdown, JSON Lines and CSV are read in pieces; HTML and PDF as a
            whole, which takes many times their size in memory.
    """

    chunk_tokens: int | None = None
    overlap: int = 0
    text: str = "text"
    id: str = "id"
    metadata: tuple[str, ...] | None = None
    max_bytes: int = 50_000_000

    def __post_init__(self) -> None:
        if self.chunk_tokens is not None and self.chunk_tokens < 1:
            raise ConfigError(f"chunk_tokens is {self.chunk_tokens}; it must be at least 1")
        if self.overlap < 0 or (self.chunk_tokens is not None and self.overlap >= self.chunk_tokens):
            raise ConfigError(f"overlap is {self.overlap}; it must be from 0 to below chunk_tokens")
        if self.max_bytes < 1:
            raise ConfigError(f"max_bytes is {self.max_bytes}; it must be at least 1")


@dataclass(frozen=True, slots=True)
class File:
    """A file to read.

    Attributes:
        path: where it is.
        source: its name, whatever the working directory: `folder/below/file.md` for a file under a given folder, and
            `file.md` for a given file.
        kind: one of the values of `KINDS`.
        size: in bytes.
        modified: UTC, in whole seconds.
    """

    path: Path
    source: str
    kind: str
    size: int
    modified: datetime


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file, or a record of one, that is left out."""

    source: str
    reason: str


def roots(paths: Iterable[str | Path]) -> dict[str, Path]:
    """The given files and folders by their names.

    Raises:
        InputError: a path that does not exist, or cannot be looked at.
        ConfigError: two of one name (what is stored of them could not be told apart), or one within another.
    """
    if isinstance(paths, (str, Path)):
        raise InputError("paths is one path; pass a list of them")
    named: dict[str, Path] = {}
    for given in paths:
        try:
            path = Path(given).resolve(strict=True)
        except FileNotFoundError:
            raise InputError(f"{given} does not exist", path=str(given)) from None
        except (OSError, RuntimeError) as error:  # RuntimeError: links in a circle, before Python 3.13
            raise InputError(f"{given} cannot be read: {_reason(error)}", path=str(given)) from error
        name = path.name or path.anchor
        if named.setdefault(name, path) != path:
            raise ConfigError(f"{named[name]} and {path} are both called {name!r}: index them from a folder above both")
    for path in named.values():
        outer = next((other for other in named.values() if other in path.parents), None)
        if outer is not None:
            raise ConfigError(f"{path} lies in {outer}, so it would be read twice under two names: leave it out")
    return named


def find(paths: Iterable[str | Path], options: Options) -> Iterator[File | Skipped]:
    """The files among and below the paths, in the order of their names.

    Left out in silence are hidden files and folders, and links to folders that are found without them. What is of an
    unknown kind, binary, empty, too large or unreadable is `Skipped` with the reason.

    Raises:
        InputError, ConfigError: see `roots`.
    """
    for name, path in roots(paths).items():
        if path.is_dir():
            for below in _walk(path):
                if isinstance(below, Skipped):
                    yield Skipped(name if below.source == "." else f"{name}/{below.source}", below.reason)
                else:
                    yield _looked_at(below, f"{name}/{below.relative_to(path).as_posix()}", options, KINDS)
        else:
            # Named by hand, a file of an unknown kind is taken for plain text.
            yield _looked_at(path, name, options, {path.suffix.lower(): "text", **KINDS})


def _walk(root: Path) -> Iterator[Path | Skipped]:
    failed: list[OSError] = []
    seen = {root}
    for place, folders, files in os.walk(root, followlinks=True, onerror=failed.append):
        while failed:
            yield _failed(failed.pop(), root)
        kept = []
        for name in sorted(name for name in folders if not name.startswith(".")):
            folder = Path(place, name)
            real = Path(os.path.realpath(folder))
            # A link to what is found anyway would give every passage below it a second name.
            found = folder.is_symlink() and (real.is_relative_to(root) or root.is_relative_to(real))
            if not found and real not in seen:
                seen.add(real)
                kept.append(name)
        folders[:] = kept
        yield from (Path(place, name) for name in sorted(files) if not name.startswith("."))
    while failed:
        yield _failed(failed.pop(), root)


def _failed(error: OSError, root: Path) -> Skipped:
    path = Path(error.filename)
    return Skipped(_printable(path.relative_to(root).as_posix()), f"the folder cannot be read: {_reason(error)}")


def _looked_at(path: Path, source: str, options: Options, kinds: dict[str, str]) -> File | Skipped:
    if (printable := _printable(source)) != source:
        return Skipped(printable, "its name is not text: rename it")
    kind = kinds.get(path.suffix.lower())
    if kind is None:
        return Skipped(source, f"unknown kind of file: {path.suffix or 'no suffix'}")
    try:
        stat = path.stat()
        if not path.is_file():
            return Skipped(source, "not a regular file")
        if not stat.st_size:
            return Skipped(source, "empty")
        if stat.st_size > options.max_bytes:
            size, limit = stat.st_size / 1e6, options.max_bytes / 1e6
            return Skipped(source, f"{size:,.1f} MB, above the limit of {limit:,.1f} MB")
        with path.open("rb") as file:
            head = file.read(_LOOKED_AT)
    except OSError as error:
        return Skipped(source, f"cannot be read: {_reason(error)}")
    if kind == "pdf":
        if b"%PDF-" not in head:
            return Skipped(source, "not a PDF file")
    elif b"\0" in head and not head.startswith(WIDE):
        return Skipped(source, "binary")
    return File(path, source, kind, stat.st_size, whole_seconds(stat))


def whole_seconds(stat: os.stat_result) -> datetime:
    """When a file was last modified: UTC, in whole seconds."""
    return datetime.fromtimestamp(int(stat.st_mtime), UTC)


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


def _printable(name: str) -> str:
    """A file's name without the surrogates that stand for bytes which are not UTF-8."""
    return name.encode(errors="backslashreplace").decode()
