"""Find the files under some paths, and report the skipped ones with reasons."""

import os
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from theodolite.errors import ConfigError, InputError, type_of
from theodolite.files.readers.ignore import Patterns, Rules
from theodolite.files.readers.options import Options
from theodolite.files.readers.registry import FORMATS, suffixes
from theodolite.files.readers.results import File, Skipped, reason_of
from theodolite.files.readers.text import HEAD, WIDE, is_binary

_OUTSIDE = "a link that leads outside the folder; --follow-links (follow_links=True) reads it"


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
            raise InputError(f"{given} cannot be read: {reason_of(error)}", path=str(given)) from error
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
    unknown kind, binary, empty, too large, unreadable, excluded or links to the outside are `Skipped` with the reason.
    An excluded folder is one item.

    Raises:
        InputError, ConfigError: see `roots`.
    """
    for name, path in roots(paths).items():
        yield from below(path, name, options)


def below(path: Path, name: str, options: Options) -> Iterator[File | Skipped]:
    """Yield the files of one folder, or one file, under the given name."""
    kinds = suffixes(options)
    if not path.is_dir():
        # An explicitly given file of an unknown kind is read as plain text.
        reason = Patterns(options).reason(path.name)
        if reason:
            yield Skipped(name, reason, "excluded")
        else:
            yield _inspect(path, name, options, {path.suffix.lower(): "text", **kinds})
        return
    root = Path(os.path.realpath(path))
    for found in _walk(path, root, options):
        if isinstance(found, Skipped):
            yield Skipped(name if found.source == "." else f"{name}/{found.source}", found.reason, found.kind)
            continue
        item = _inspect(found, f"{name}/{found.relative_to(path).as_posix()}", options, kinds)
        if isinstance(item, File) and not options.follow_links and _leads_outside(found, root):
            item = Skipped(item.source, _OUTSIDE, "link")
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
        raise InputError(f"{text!r:.80} cannot be found: {reason_of(error)}", path=text) from error
    if (printable := _printable(path.name)) != path.name:
        raise InputError(f"the name of {printable!r} is not text, and passages are named after it: rename it")
    return path


def _walk(given: Path, root: Path, options: Options) -> Iterator[Path | Skipped]:
    failed: list[OSError] = []
    seen = {root}
    rules = Rules(given, options)
    for place, folders, files in os.walk(given, followlinks=True, onerror=failed.append):
        while failed:
            yield _failed(failed.pop(), given)
        rules.enter(Path(place))
        kept = []
        for name in sorted(name for name in folders if not name.startswith(".")):
            folder = Path(place, name)
            real = Path(os.path.realpath(folder))
            inside = real.is_relative_to(root)
            if reason := rules.reason(folder, is_folder=True):
                yield Skipped(_printable(folder.relative_to(given).as_posix()), reason, "excluded")
            elif folder.is_symlink() and not inside and (not options.follow_links or root.is_relative_to(real)):
                reason = "a link to a folder that holds this one" if root.is_relative_to(real) else _OUTSIDE
                yield Skipped(_printable(folder.relative_to(given).as_posix()), reason, "link")
            # Following a link to a folder that is found anyway would give its passages a second name.
            elif real not in seen and not (inside and folder.is_symlink()):
                seen.add(real)
                kept.append(name)
        folders[:] = kept
        for name in sorted(name for name in files if not name.startswith(".")):
            path = Path(place, name)
            if reason := rules.reason(path, is_folder=False):
                yield Skipped(_printable(path.relative_to(given).as_posix()), reason, "excluded")
            else:
                yield path
    while failed:
        yield _failed(failed.pop(), given)


def _leads_outside(path: Path, root: Path) -> bool:
    return path.is_symlink() and not Path(os.path.realpath(path)).is_relative_to(root)


def _failed(error: OSError, root: Path) -> Skipped:
    path = Path(error.filename)
    return Skipped(_printable(path.relative_to(root).as_posix()), f"the folder cannot be read: {reason_of(error)}")


def _inspect(path: Path, source: str, options: Options, kinds: dict[str, str]) -> File | Skipped:
    if (printable := _printable(source)) != source:
        return Skipped(printable, "its name is not text: rename it")
    try:
        stat = path.stat()
        if not path.is_file():
            return Skipped(source, "not a regular file", "unknown")
        if not stat.st_size:
            return Skipped(source, "empty", "empty")
        # A file without a suffix (README, Makefile) is text if it is not binary.
        kind = kinds.get(path.suffix.lower(), "" if path.suffix else "text")
        if not kind:
            reason = f"unknown kind of file: {path.suffix}; --as {path.suffix}=text (formats=) reads it"
            return Skipped(source, reason, "unknown")
        if stat.st_size > options.max_bytes:
            size, limit = stat.st_size / 1e6, options.max_bytes / 1e6
            reason = f"{size:,.1f} MB, above the limit of {limit:,.1f} MB; --max-mb (max_bytes=) raises it"
            return Skipped(source, reason, "large")
        with path.open("rb") as file:
            head = file.read(HEAD)
    except OSError as error:
        return Skipped(source, f"cannot be read: {reason_of(error)}")
    if marks := FORMATS[kind].marks:
        if not any(mark in head for mark in marks):
            return Skipped(source, f"not a {kind.upper()} file")
    elif not head.startswith(WIDE) and is_binary(head):
        return Skipped(source, "binary", "binary")
    return File(path, source, kind, stat.st_size, whole_seconds(stat))


def whole_seconds(stat: os.stat_result) -> datetime:
    """Return the time of a file's last change, in UTC and whole seconds."""
    return datetime.fromtimestamp(int(stat.st_mtime), UTC)


def _printable(name: str) -> str:
    """Return a file name with surrogates (bytes that are not UTF-8) escaped."""
    return name.encode(errors="backslashreplace").decode()
