"""Engines by URL scheme: a path, None and `file://` lead to the local engine, other schemes to plug-ins."""

import inspect
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from theodolite import plugins
from theodolite.engines.missing import MissingCollection
from theodolite.errors import CollectionNotFoundError, ConfigError, InputError, did_you_mean
from theodolite.indexes.registry import make_index
from theodolite.inputs import as_folder
from theodolite.protocols import Engine, Indexing, require
from theodolite.settings import DEFAULT_BM25, CollectionSettings

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://", re.ASCII)  # two letters at least: `C:\kb` and `C:/kb` are paths
_GIVEN = ("location", "settings", "create", "read_only")  # parameters of `open` that are not options
_DEFAULT_INDEXES = (None, "auto", "flat")

Location = str | os.PathLike[str] | None
"""Where a collection is: a folder, a URL, or None for a temporary folder."""


@dataclass(frozen=True, slots=True)
class EngineOpener:
    """A location with the engine that serves it, ready to be opened."""

    location: Location
    engine: Any  # the class of the engine, with `open` (see protocols.Engine)
    options: Mapping[str, Any]

    @property
    def declared(self) -> list[str] | None:
        """The names of the engine's options; None if it takes any."""
        return _options_of(self.engine.open)

    def check(self, settings: CollectionSettings, *, create: bool) -> None:
        """Raise the errors of `open` about location and settings, if the engine supports it. Changes nothing."""
        check = getattr(self.engine, "check", None)
        if check is not None and self.location is not None:
            declared = _options_of(check)
            options = {name: value for name, value in self.options.items() if declared is None or name in declared}
            check(self.location, settings, create=create, **options)

    def open(self, settings: CollectionSettings, *, create: bool | None, read_only: bool) -> Engine:
        """Open the collection, or create it.

        Args:
            create: None returns a `MissingCollection` if there is none, unless `read_only` is set.

        Raises:
            CollectionNotFoundError: it does not exist and may not be created.
            UnsupportedError: an index is wanted, and the engine has none to choose from.
            ConfigError: `k1` or `b` is wanted, and the engine ranks with others.
        """
        if create is None and self.location is not None and not read_only:
            try:
                return self.open(settings, create=False, read_only=False)
            except CollectionNotFoundError as error:
                if settings.index not in _DEFAULT_INDEXES:
                    make_index(str(settings.index))  # which refuses one that cannot be made
                return MissingCollection(self.location, settings, error)
        may_create = create is not False
        opened = self.engine.open(self.location, settings, create=may_create, read_only=read_only, **self.options)
        if not isinstance(opened, Engine):
            raise ConfigError(f"{self.location}: {type(opened).__name__} lacks a method of protocols.Engine")
        try:
            settings.check_bm25(getattr(opened, "bm25", DEFAULT_BM25))
            if settings.index not in _DEFAULT_INDEXES:
                require(opened, Indexing, f"index={settings.index!r}")
        except BaseException:
            opened.close()
            raise
        return opened

    def later(self, settings: CollectionSettings) -> Callable[[bool], Engine]:
        """Return a function that opens the collection once it exists, or creates it."""
        return lambda create: self.open(settings, create=create, read_only=False)


def engine_for(location: Location, options: Mapping[str, Any]) -> EngineOpener:
    """Find the engine that serves a location.

    Raises:
        InputError: the location is not a path that can be opened.
        ConfigError: no engine is known for the URL's scheme.
        MissingExtraError: the engine needs a package that is not installed.
    """
    scheme = scheme_of(location)
    engine: Any = plugins.load("engines", _known(scheme, location))
    if not callable(getattr(engine, "open", None)):
        raise ConfigError(f"the engine for {scheme}:// URLs, {engine!r}, has no class method open()", scheme=scheme)
    if location is not None and scheme == "file":
        location = _folder_in(location) if isinstance(location, str) and _URL.match(location) else as_folder(location)
    return EngineOpener(location, engine, dict(options))


def scheme_of(location: Location) -> str:
    """Return the scheme of a URL in lower case; `file` for paths and None."""
    url = _URL.match(location) if isinstance(location, str) else None
    return "file" if url is None else url[1].lower()


def _known(scheme: str, location: Location) -> str:
    known = plugins.names("engines") if scheme != "file" else [scheme]
    if scheme not in known:
        raise ConfigError(
            f"there is no engine for {location!r}.{did_you_mean(scheme, known)} Known schemes: {', '.join(known)}. "
            f"Install the package that brings {scheme}:// (entry-point group theodolite.engines), or pass a folder",
            location=location,
            scheme=scheme,
            known=known,
        )
    return scheme


def _options_of(function: Any) -> list[str] | None:
    """Return the names of the options that a function declares; None if it takes any."""
    parameters = inspect.signature(function).parameters.values()
    if any(each.kind is each.VAR_KEYWORD for each in parameters):
        return None
    return [each.name for each in parameters if each.name not in _GIVEN]


def _folder_in(url: str) -> Path:
    """Return the folder that a `file://` URL names."""
    from urllib.parse import urlsplit  # few programs need these
    from urllib.request import url2pathname

    parts = urlsplit(url)
    if parts.netloc not in ("", "localhost"):
        raise InputError(f"{url!r} names the machine {parts.netloc!r}; write file:///path, with three slashes", url=url)
    if parts.query or parts.fragment:
        raise InputError(f"{url!r} has a part behind ? or #; write these characters as %3F and %23 in a path", url=url)
    return as_folder(url2pathname(parts.path))
