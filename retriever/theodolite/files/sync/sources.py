"""Sources: the folders and files that passages come from, and how they are known again.

A source has a name, with which the names of its files begin, and a root, the absolute path that it was indexed from.
The root is its identity: another folder of the same name is another source. Checkouts and mounts move, so a root that
is gone may be found in another place, by what its files hold.
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
"""How many of the stored files under a name are found, by what they hold, under a path."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where the passages under a name come from.

    Attributes:
        root: the absolute path of the folder or file, as it was given.
        alias: the same, from the collection's folder and with forward slashes, for collections that travel with their
            sources; None where there is no such path.
        now: where its root is gone, the prefix under which its files were found. The source is forgotten once nothing
            is stored under its name.
    """

    root: str
    alias: str | None = None
    now: str | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """A path to read, and what its files are called.

    Attributes:
        path: absolute.
        name: of the source that it is, or is a part of.
        prefix: with which the names of its files begin: the source's name, and for a part the way to it.
        inner: sources below it that keep their names, by the prefix that their files would have.
    """

    path: Path
    name: str
    prefix: str
    inner: dict[str, str] = field(default_factory=dict)

    def named(self, source: str) -> str:
        """A file's name, where it may belong to a source below this one."""
        for prefix, name in self.inner.items():
            if source == prefix or source.startswith(f"{prefix}/"):
                return name + source[len(prefix) :]
        return source


class Sources:
    """The recorded sources of a collection, or of one of its partitions.

    They are kept as a note of the engine, which is no commit: `save` before the first passage is written, so that
    none is ever stored without its source.
    """

    def __init__(self, kb: Retriever, files: Callable[[str], int], overlap: Overlap, *, remove: bool) -> None:
        """
        Args:
            files: how many files are stored under a name.
            remove: whether passages may be removed, which renaming a source does.
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
        """Say what the files below each path are called. Nothing is saved yet.

        Args:
            paths: absolute, none within another.
            name: of the source, whatever its path; None finds it out.

        Raises:
            InputError: a name that cannot be one, or for several paths.
            ConfigError: a path is not what was indexed under its name; two have the same name.
        """
        if name is not None:
            check_name(name, paths)
        places: dict[str, Place] = {}
        for path in paths:
            place = self._place(path) if name is None else self._named(path, name)
            if place.prefix in places:
                raise ConfigError(
                    f"{places[place.prefix].path} and {path} are both called {place.prefix!r}: index them from a "
                    "folder above both, or one by one with a name for each (--source, source=)"
                )
            places[place.prefix] = place
        return [replace(place, inner=self._inner(place)) for place in places.values()]

    @property
    def renamed(self) -> list[str]:
        """Sources whose files have other names now."""
        return [name for name, known in self.known.items() if known.now is not None]

    def lost(self) -> list[str]:
        """Sources whose root is gone, with passages that nothing replaces yet."""
        return [
            name for name, known in self.known.items() if known.now is None and self._files(name) and _gone(known.root)
        ]

    def rename(self, name: str, place: Place) -> None:
        """A source whose files are found below a place, under other names."""
        known = self.known[name]
        self.known[name] = replace(known, now=place.prefix)
        self.relocated.append(Relocated(name, known.root, str(place.path)))

    def path_of(self, source: str) -> str | None:
        """Where a stored file is, or was; None where its source is not recorded."""
        name, _, way = source.partition("/")
        known = self.known.get(name)
        return None if known is None else os.path.join(known.root, way) if way else known.root

    def forget(self, name: str) -> None:
        """A source that no passage comes from any more."""
        self.known.pop(name, None)

    def save(self) -> None:
        """Store what has changed since the last time."""
        if self.known == self._saved:
            return
        changed = {name: known for name, known in self.known.items() if self._saved.get(name) != known}
        others = {name: known for name, known in self._load().items() if name in self.known or name not in self._saved}
        self.known = others | changed  # another process may have recorded some meanwhile
        text = json.dumps({name: asdict(known) for name, known in sorted(self.known.items())})
        self._notes().remember(self._note, text)
        self._saved = dict(self.known)

    def _notes(self) -> Notes:
        return require(self._kb._engine, Notes, "sync()")

    def _load(self) -> dict[str, Source]:
        text = self._notes().note(self._note)
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
        # A collection that was made before sources were recorded.
        for outer in path.parents:
            way = path.relative_to(outer).as_posix()
            if outer.name and outer.name not in self.known and self._found(f"{outer.name}/{way}", path):
                self._recorded(outer.name, outer)
                return Place(path, outer.name, f"{outer.name}/{way}")
        name = name_of(path)
        real = name_of(Path(os.path.realpath(path)))
        if real != name and not self._files(name) and real not in self.known and self._found(real, path):
            name = real  # links were called after what they lead to
        if name in self.known:
            self._check_moved(name, path)
        elif self._files(name) and not self._found(name, path):
            raise ConfigError(
                f"{self._files(name)} files are stored under the name {name!r}, and {self._overlap(name, path)} of "
                f"them are found in {path}; half are needed to take it for the folder they are from. {_advice(name)}",
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
                        f"{path} is stored as {other!r} already. Add it under that name, or use index, which renames "
                        "it",
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
            except ValueError:  # on another drive of Windows
                alias = None
        self.known[name] = Source(str(path), alias)
        return Place(path, name, name)

    def _inner(self, place: Place) -> dict[str, str]:
        """Known sources below a place that are not part of the same source."""
        found = {}
        for name, known in self.known.items():
            if name != place.name and known.now is None:
                way = way_below(Path(known.root), str(place.path))
                if way is not None:
                    found[f"{place.prefix}/{way}"] = name
        return dict(sorted(found.items(), reverse=True))  # the innermost first

    def _check_moved(self, name: str, path: Path) -> None:
        """Raises ConfigError unless the path is where a source of this name has moved to."""
        files, known = self._files(name), self.known[name]
        if not files:
            return
        gone = _gone(known.root)
        travelled = self._alias_leads_to(known, path)
        found = self._overlap(name, path) if gone or travelled else 0
        if (gone and travelled and found) or ((gone or travelled) and 2 * found >= files):
            self.relocated.append(Relocated(name, known.root, str(path)))
            return
        if gone:
            state = f"is gone, and {found} of its {files} files are found here; half are needed to take it for moved"
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
        """Whether at least half of the files stored under a name are found below a path."""
        files = self._files(name)
        return files > 0 and 2 * self._overlap(name, path) >= files


def same(first: str, second: str) -> bool:
    """Whether two absolute paths lead to the same file or folder, however they are written."""
    if first == second:
        return True
    try:
        return os.path.isabs(first) and os.path.samefile(first, second)
    except (OSError, ValueError):  # one of them does not exist, or is of another system
        return False


def way_below(path: Path, root: str) -> str | None:
    """The way from a root down to a path, as `sub/file.md`; None where it is not below, or is hidden."""
    for start in dict.fromkeys((path, Path(os.path.realpath(path)))):
        for outer in start.parents:
            if same(root, str(outer)):
                way = start.relative_to(outer)
                return None if any(part.startswith(".") for part in way.parts) else way.as_posix()
    return None


def _gone(root: str) -> bool:
    """Whether nothing is there any more; a folder without entries is what a mount leaves behind."""
    if not os.path.isabs(root):
        return True  # of another operating system
    try:
        if not stat.S_ISDIR(os.stat(root).st_mode):
            return False
        with os.scandir(root) as entries:
            return next(entries, None) is None
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return True
    except OSError:  # it may be there
        return False


def check_name(name: str, paths: Sequence[Path]) -> None:
    """Raises InputError for what cannot be the name of a source, or for several paths."""
    if len(paths) != 1:
        raise InputError(f"source={name!r} names one folder or file, and {len(paths)} are given")
    if not isinstance(name, str) or not name.strip() or "/" in name or "\0" in name:
        raise InputError(f"source is {name!r:.80}; it must be a name without slashes, such as 'handbook'")
    try:
        name.encode()
    except UnicodeEncodeError:
        raise InputError(f"source is {name!r:.80}, which holds half of a surrogate pair and is not text") from None


def _advice(name: str) -> str:
    return (
        "Nothing is changed. Give it a name of its own, such as --source other (source='other'), or put it in the "
        f"other's place with --source {name} (source={name!r})"
    )
