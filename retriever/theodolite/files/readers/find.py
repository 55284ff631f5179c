"""Find the files under some paths, and report the skipped ones with reasons."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from theodolite.errors import ConfigError, InputError, type_of

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
"""The kind of a file by its suffix."""

_OUTSIDE = "a link that leads outside the folder; --follow-links (follow_links=True) reads it"
_HEAD = 8192  # bytes at the beginning that are checked for binary data
WIDE = (b"\xff\xfe", b"\xfe\xff", b"\0\0\xfe\xff")
"""Byte order marks of UTF-16 and UTF-32, whose characters contain NUL bytes."""

_CONTROLS = bytes({*range(32), 127} - set(b"\t\n\v\f\r\x1b"))  # rare in texts


@dataclass(frozen=True, slots=True)
class Options:
    """How files are read and split into passages.

    Attributes:
        chunk_tokens: maximum size of a passage in the embedder's tokens, never more than the embedder's limit.
            Default: that limit, but at most 256; a single vector for more than a few paragraphs covers too many topics.
        overlap: number of tokens a passage shares with the previous one.
        text, id: the fields (JSON Lines) or columns (CSV) of a record's text and id.
        metadata: the fields or columns to keep as metadata. Default: the field `metadata` of JSON Lines if there is
            one, otherwise everything except text and id.
        max_bytes: skip larger files. Text, Markdown, JSON Lines and CSV are read in pieces. HTML and PDF are read as a
            whole, which takes many times their size in memory.
        follow_links: read links to files and folders outside the given folder; otherwise they are skipped.
    """

    chunk_tokens: int | None = None
    overlap: int = 0
    text: str = "text"
    id: str = "id"
    metadata: tuple[str, ...] | None = None
    max_bytes: int = 50_000_000
    follow_links: bool = False

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
        path: the location of the file.
        source: its name, independent of the working directory: `folder/below/file.md` for a file under a given folder,
            and `file.md` for a given file.
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
    """A file or record that was skipped."""

    source: str
    reason: str


@dataclass(frozen=True, slots=True)
class Repaired:
    """A file with characters that are not valid text (NUL, lone surrogates), which were replaced by U+FFFD."""

    source: str
    characters: int


def absolute(paths: Iterable[str | Path]) -> list[Path]:
    """Return the given files and folders as absolute paths, without duplicates. Links in them are kept.

    Raises:
        InputError: a path does not exist, cannot be read, or is not text.
        ConfigError: a path lies within another.
    """
    if isinstance(paths, (str, bytes, os.PathLike)) or not isinstance(paths, Iterable):
        raise InputError(f"paths is one {type(paths).__name__}; pass a list of paths")
    found: dict[str, Path] = {}
    for given in paths:
        path = _absolute(given)
        try:
            path.stat()
        except FileNotFoundError:
            raise InputError(f"{given} does not exist", path=str(given)) from None
        except OSError as error:
            raise InputError(f"{given} cannot be read: {_reason(error)}", path=str(given)) from error
        found.setdefault(os.path.normcase(os.path.realpath(path)), path)
    real = {path: Path(os.path.realpath(path)) for path in found.values()}
    for path in real:
        outer = next((other for other in real if real[other] in real[path].parents), None)
        if outer is not None:
            raise ConfigError(f"{path} lies in {outer}, so it would be read twice under two names: leave it out")
    return list(found.values())


def name_of(path: Path) -> str:
    """Return the default name of a file or folder."""
    return path.name or path.anchor.strip("\\/:") or "root"


def roots(paths: Iterable[str | Path]) -> dict[str, Path]:
    """Return the given files and folders by name.

    Raises:
        InputError: see `absolute`.
        ConfigError: two paths have the same name, so their passages would clash, or one lies within another.
    """
    named: dict[str, Path] = {}
    for path in absolute(paths):
        name = name_of(path)
        if name in named:
            raise ConfigError(
                f"{named[name]} and {path} have the same name, {name!r}. Index a folder above both, or index them one "
                "by one and name each (--source, source=)"
            )
        named[name] = path
    return named


def find(paths: Iterable[str | Path], options: Options) -> Iterator[File | Skipped]:
    """Yield the files at and below the paths, sorted by name.

    Hidden files and folders are left out silently, as are links to folders that are found anyway. Files that are of an
    unknown kind, binary, empty, too large, unreadable or links to the outside are `Skipped` with the reason.

    Raises:
        InputError, ConfigError: see `roots`.
    """
    for name, path in roots(paths).items():
        yield from below(path, name, options)


def below(path: Path, name: str, options: Options) -> Iterator[File | Skipped]:
    """Yield the files of one folder, or one file, under the given name."""
    if not path.is_dir():
        # An explicitly given file of an unknown kind is read as plain text.
        yield _inspect(path, name, options, {path.suffix.lower(): "text", **KINDS})
        return
    root = Path(os.path.realpath(path))
    for found in _walk(path, root, options):
        if isinstance(found, Skipped):
            yield Skipped(name if found.source == "." else f"{name}/{found.source}", found.reason)
            continue
        item = _inspect(found, f"{name}/{found.relative_to(path).as_posix()}", options, KINDS)
        if isinstance(item, File) and not options.follow_links and _leads_outside(found, root):
            item = Skipped(item.source, _OUTSIDE)
        yield item


def _absolute(given: str | Path) -> Path:
    """Return the absolute path. Raises InputError if the value is not a path."""
    if not isinstance(given, (str, os.PathLike)) or not isinstance(text := os.fspath(given), str):
        raise InputError(f"{given!r:.80} is {type_of(given)}; paths are str or Path (os.fsdecode makes one)")
    if not text or "\0" in text:
        raise InputError(f"{text!r:.80} is not a path: it {'contains a null byte' if text else 'is empty'}")
    try:
        # Only the file system can resolve `..` behind a link.
        path = Path(os.path.realpath(text) if ".." in Path(text).parts else os.path.abspath(text))
    except OSError as error:  # the working directory was deleted
        raise InputError(f"{text!r:.80} cannot be found: {_reason(error)}", path=text) from error
    if (printable := _printable(path.name)) != path.name:
        raise InputError(f"the name of {printable!r} is not text, and passages are named after it: rename it")
    return path


def _walk(given: Path, root: Path, options: Options) -> Iterator[Path | Skipped]:
    failed: list[OSError] = []
    seen = {root}
    for place, folders, files in os.walk(given, followlinks=True, onerror=failed.append):
        while failed:
            yield _failed(failed.pop(), given)
        kept = []
        for name in sorted(name for name in folders if not name.startswith(".")):
            folder = Path(place, name)
            real = Path(os.path.realpath(folder))
            inside = real.is_relative_to(root)
            if folder.is_symlink() and not inside and (not options.follow_links or root.is_relative_to(real)):
                reason = "a link to a folder that holds this one" if root.is_relative_to(real) else _OUTSIDE
                yield Skipped(_printable(folder.relative_to(given).as_posix()), reason)
            # Following a link to a folder that is found anyway would give its passages a second name.
            elif real not in seen and not (inside and folder.is_symlink()):
                seen.add(real)
                kept.append(name)
        folders[:] = kept
        yield from (Path(place, name) for name in sorted(files) if not name.startswith("."))
    while failed:
        yield _failed(failed.pop(), given)


def _leads_outside(path: Path, root: Path) -> bool:
    return path.is_symlink() and not Path(os.path.realpath(path)).is_relative_to(root)


def _failed(error: OSError, root: Path) -> Skipped:
    path = Path(error.filename)
    return Skipped(_printable(path.relative_to(root).as_posix()), f"the folder cannot be read: {_reason(error)}")


def _inspect(path: Path, source: str, options: Options, kinds: dict[str, str]) -> File | Skipped:
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
            head = file.read(_HEAD)
    except OSError as error:
        return Skipped(source, f"cannot be read: {_reason(error)}")
    if kind == "pdf":
        if b"%PDF-" not in head:
            return Skipped(source, "not a PDF file")
    elif not head.startswith(WIDE) and is_binary(head):
        return Skipped(source, "binary")
    return File(path, source, kind, stat.st_size, whole_seconds(stat))


def is_binary(data: bytes, *, utf8: bool = True) -> bool:
    """Return whether data with NUL bytes is binary: some part has too many control characters.

    Args:
        utf8: whether the data may be UTF-8. Binary data are never valid UTF-8 by chance.
    """
    if b"\0" not in data:
        return False
    for start in range(0, len(data), _HEAD):
        part = data[start : start + _HEAD]
        controls = len(part) - len(part.translate(None, _CONTROLS))
        if b"\0" in part and controls > max(1, len(part) * (0.1 if utf8 else 0.01)):
            return True
    return False


def whole_seconds(stat: os.stat_result) -> datetime:
    """Return the time of a file's last change, in UTC and whole seconds."""
    return datetime.fromtimestamp(int(stat.st_mtime), UTC)


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


def _printable(name: str) -> str:
    """Return a file name with surrogates (bytes that are not UTF-8) escaped."""
    return name.encode(errors="backslashreplace").decode()
