"""Sources: the folders and files that passages come from, and how they are recognized after a move.

A source has a name, which is the prefix of its file names, and a root, the absolute path it was indexed from. The root
is its identity: another folder with the same name is another source. Checkouts and mounts move, so a missing root
may be found in another place, by the content of its files.
"""

import json
import os
import stat
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from theodolite.errors import ConfigError, CorruptionError, InputError
from theodolite.files.readers.find import name_of
from theodolite.files.sync.report import Relocated
from theodolite.protocols import Notes, require
from theodolite.retriever import Retriever

_NOTE = "sources"

Overlap = Callable[[str, Path], int]
"""A function that counts the stored files under a name whose content is found under a path."""


@dataclass(frozen=True, slots=True)
class Source:
    """The origin of the passages under a name.

    Attributes:
        root: the absolute path of the folder or file, as it was given.
        alias: the same path relative to the collection's folder, with forward slashes, for collections that move with
            their sources; None if no relative path exists.
        now: if the root is gone, the prefix that its files were found under. The source is forgotten once no passage is
            stored under its name.
    """

    root: str
    alias: str | None = None
    now: str | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """A path to read, and the names of its files.

    Attributes:
        path: absolute.
        name: the name of the source that this path is, or is part of.
        prefix: the prefix of its file names: the source's name, plus the relative path if it is a part.
        inner: sources below it that keep their names, by the prefix that their files would otherwise have.
    """

    path: Path
    name: str
    prefix: str
    inner: dict[str, str] = field(default_factory=dict)

    def named(self, source: str) -> str:
        """Return a file's name, taking sources below this place into account."""
        for prefix, name in self.inner.items():
            if source == prefix or source.startswith(f"{prefix}/"):
                return name + source[len(prefix) :]
        return source


class Sources:
    """The recorded sources of a collection, or of one of its partitions.

    They are stored as a note of the engine, which is not a commit. Call `save` before writing the first passage, so
    that no passage is ever stored without its source.
    """

    def __init__(self, kb: Retriever, files: Callable[[str], int], overlap: Overlap, *, remove: bool) -> None:
        """
        Args:
            files: returns the number of files stored under a name.
            overlap: see `Overlap`.
            remove: whether passages may be removed; renaming a source removes some.
        """
        self._kb = kb
        self._note = _NOTE if kb.partition is None else f"{_NOTE} of {json.dumps(kb.partition)}"
        self._files = files
        self._overlap = overlap
        self._remove = remove
        self._saved = self._load()
        self.known = dict(self._saved)
        self.relocated: list[Relocated] = []

    def identify(self, paths: Sequence[Path], name: str | None) -> list[Place]:
        """Name the files below each path. Nothing is saved yet.

        Args:
            paths: absolute paths, with no path inside another.
            name: the name of the source, whatever its path. None determines it.

        Raises:
            InputError: the name is invalid, or is given for several paths.
            ConfigError: a path is not the one that was indexed under its name, or two paths have the same name.
        """
        if name is not None:
            check_name(name, paths)
        places: dict[str, Place] = {}
        for path in paths:
            place = self._place(path) if name is None else self._named(path, name)
            if place.prefix in places:
                raise ConfigError(
                    f"{places[place.prefix].path} and {path} have the same name, {place.prefix!r}. Index a folder "
                    "above both, or index them one by one and name each (--source, source=)"
                )
            places[place.prefix] = place
        return [replace(place, inner=self._inner(place)) for place in places.values()]

    @property
    def renamed(self) -> list[str]:
        """The sources whose files now have other names."""
        return [name for name, known in self.known.items() if known.now is not None]

    def lost(self) -> list[str]:
        """Return the sources with a missing root and passages that nothing replaces yet."""
        return [
            name for name, known in self.known.items() if known.now is None and self._files(name) and _gone(known.root)
        ]

    def rename(self, name: str, place: Place) -> None:
        """Record that the files of a source were found below a place, under other names."""
        known = self.known[name]
        self.known[name] = replace(known, now=place.prefix)
        self.relocated.append(Relocated(name, known.root, str(place.path)))

    def path_of(self, source: str) -> str | None:
        """Return the current or former path of a stored file, or None if its source is not recorded."""
        name, _, way = source.partition("/")
        known = self.known.get(name)
        return None if known is None else os.path.join(known.root, way) if way else known.root

    def forget(self, name: str) -> None:
        """Remove a source that has no passages anymore."""
        self.known.pop(name, None)

    def save(self) -> None:
        """Store the changes since the last save."""
        if self.known == self._saved:
            return
        changed = {name: known for name, known in self.known.items() if self._saved.get(name) != known}
        others = {name: known for name, known in self._load().items() if name in self.known or name not in self._saved}
        self.known = others | changed  # another process may have recorded sources in the meantime
        text = json.dumps({name: asdict(known) for name, known in sorted(self.known.items())})
        self._notes().write_note(self._note, text)
        self._saved = dict(self.known)

    def _notes(self) -> Notes:
        return require(self._kb._engine, Notes, "sync()")

    def _load(self) -> dict[str, Source]:
        text = self._notes().read_note(self._note)
        if text is None:
            return {}
        try:
            return {
                str(name): Source(str(known["root"]), known.get("alias")) for name, known in json.loads(text).items()
            }
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise CorruptionError(f"the record of sources cannot be read: {error}", note=self._note) from error

    def _place(self, path: Path) -> Place:
        renamed = self.renamed
        for name, known in sorted(self.known.items(), key=lambda item: item[0] in renamed):
            if same(known.root, str(path)):
                return self._recorded(name, Path(known.root))
        for name, known in self.known.items():
            if name not in renamed and (way := way_below(path, known.root)) is not None:
                return Place(path, name, f"{name}/{way}")
        # The collection was created before sources were recorded.
        for outer in path.parents:
            way = path.relative_to(outer).as_posix()
            if outer.name and outer.name not in self.known and self._found(f"{outer.name}/{way}", path):
                self._recorded(outer.name, outer)
                return Place(path, outer.name, f"{outer.name}/{way}")
        name = name_of(path)
        real = name_of(Path(os.path.realpath(path)))
        if real != name and not self._files(name) and real not in self.known and self._found(real, path):
            name = real  # links used to be named after their target
        if name in self.known:
            self._check_moved(name, path)
        elif self._files(name) and not self._found(name, path):
            raise ConfigError(
                f"{path} does not look like the source {name!r}: of the {self._files(name)} files stored under that "
                f"name, {self._overlap(name, path)} are found there; at least half are expected. {_advice(name)}",
                source=name,
                given=str(path),
                files=self._files(name),
            )
        return self._recorded(name, path)

    def _named(self, path: Path, name: str) -> Place:
        known = self.known.get(name)
        if known is not None and not same(known.root, str(path)):
            self.relocated.append(Relocated(name, known.root, str(path)))
        place = self._recorded(name, path)
        for other in [other for other, known in self.known.items() if other != name and same(known.root, str(path))]:
            if not self._files(other):
                self.forget(other)
            else:
                if not self._remove:
                    raise ConfigError(
                        f"{path} is already stored as {other!r}. Add it under that name, or rename the source with "
                        f"`theodolite index --source {name}` (sync(..., source={name!r}))",
                        source=other,
                    )
                self.rename(other, place)
        return place

    def _recorded(self, name: str, path: Path) -> Place:
        folder = self._kb.location
        alias = None
        if folder is not None:
            try:
                alias = Path(os.path.relpath(path, folder)).as_posix()
            except ValueError:  # on another Windows drive
                alias = None
        self.known[name] = Source(str(path), alias)
        return Place(path, name, name)

    def _inner(self, place: Place) -> dict[str, str]:
        """Return the known sources below a place that are not part of the same source."""
        found = {}
        for name, known in self.known.items():
            if name != place.name and known.now is None:
                way = way_below(Path(known.root), str(place.path))
                if way is not None:
                    found[f"{place.prefix}/{way}"] = name
        return dict(sorted(found.items(), reverse=True))  # innermost first

    def _check_moved(self, name: str, path: Path) -> None:
        """Raise ConfigError unless a source of this name has moved to the path."""
        files, known = self._files(name), self.known[name]
        if not files:
            return
        gone = _gone(known.root)
        moved_along = self._alias_leads_to(known, path)
        found = self._overlap(name, path) if gone or moved_along else 0
        if (gone and moved_along and found) or ((gone or moved_along) and 2 * found >= files):
            self.relocated.append(Relocated(name, known.root, str(path)))
            return
        if gone:
            state = f"is gone, and {found} of its {files} files are found here; at least half are expected after a move"
        else:
            state = f"is still there, with {files} files stored from it"
        raise ConfigError(
            f"{path} is not the folder that {name!r} was indexed from: {known.root} {state}. {_advice(name)}",
            source=name,
            recorded=known.root,
            given=str(path),
            files=files,
        )

    def _alias_leads_to(self, known: Source, path: Path) -> bool:
        folder = self._kb.location
        return folder is not None and known.alias is not None and same(os.path.join(folder, known.alias), str(path))

    def _found(self, name: str, path: Path) -> bool:
        """Return whether at least half of the files stored under a name are found below a path."""
        files = self._files(name)
        return files > 0 and 2 * self._overlap(name, path) >= files


def same(first: str, second: str) -> bool:
    """Return whether two absolute paths lead to the same file or folder, even if spelled differently."""
    if first == second:
        return True
    try:
        return os.path.isabs(first) and os.path.samefile(first, second)
    except (OSError, ValueError):  # a path does not exist, or is from another operating system
        return False


def way_below(path: Path, root: str) -> str | None:
    """Return the relative path below a root, as `sub/file.md`, or None if the path is not below it or is hidden."""
    for start in dict.fromkeys((path, Path(os.path.realpath(path)))):
        for outer in start.parents:
            if same(root, str(outer)):
                way = start.relative_to(outer)
                return None if any(part.startswith(".") for part in way.parts) else way.as_posix()
    return None


def _gone(root: str) -> bool:
    """Return whether the root no longer exists. An empty folder counts too: unmounting leaves one behind."""
    if not os.path.isabs(root):
        return True  # from another operating system
    try:
        if not stat.S_ISDIR(os.stat(root).st_mode):
            return False
        with os.scandir(root) as entries:
            return next(entries, None) is None
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return True
    except OSError:  # it may exist
        return False


def check_name(name: str, paths: Sequence[Path]) -> None:
    """Raise InputError if the name is not a valid source name, or is given for several paths."""
    if len(paths) != 1:
        raise InputError(f"source={name!r} can name one folder or file, not {len(paths)}. Index them one by one")
    if not isinstance(name, str) or not name.strip() or "/" in name or "\0" in name:
        raise InputError(f"source is {name!r:.80}; expected a name without slashes, such as 'handbook'")
    try:
        name.encode()
    except UnicodeEncodeError:
        raise InputError(
            f"source is {name!r:.80}, which contains half of a surrogate pair and cannot be stored as text"
        ) from None


def _advice(name: str) -> str:
    return (
        "Nothing was changed. To store it beside the other, give it another name: --source other (source='other'). To "
        f"replace the other, use --source {name} (source={name!r})"
    )
