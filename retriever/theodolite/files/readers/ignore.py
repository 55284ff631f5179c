"""Exclude files of a folder: patterns of the options, and `.gitignore` files."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from theodolite.errors import ConfigError
from theodolite.files.readers.options import Options
from theodolite.plugins import optional

_BY_GITIGNORE = "excluded by .gitignore; --no-gitignore (gitignore=False) reads it"
_GITIGNORE = ".gitignore"


def compiled(patterns: Iterable[str]) -> Any:
    """Return the patterns in the syntax of `.gitignore` as a `pathspec.GitIgnoreSpec`.

    Raises:
        ConfigError: a pattern is not valid.
    """
    with optional("cli"):
        from pathspec import GitIgnoreSpec
    try:
        return GitIgnoreSpec.from_lines(patterns)
    except ValueError as error:
        raise ConfigError(f"not a valid pattern: {error}") from error


class Patterns:
    """The include and exclude patterns of the options."""

    def __init__(self, options: Options) -> None:
        self._include = compiled(options.include) if options.include else None
        self._exclude = compiled(options.exclude) if options.exclude else None

    def reason(self, path: str, *, is_folder: bool = False) -> str:
        """Return why a path below the given folder is left out, or ""."""
        if self._exclude is not None and self._exclude.match_file(f"{path}/" if is_folder else path):
            return "excluded by --exclude (exclude=)"
        if self._include is not None and not is_folder and not self._include.match_file(path):
            return "not among --include (include=)"
        return ""


class Rules:
    """Everything that leaves out files of one folder. `.gitignore` files apply as in git, also those above the folder.

    A walk goes from the top down and never enters an excluded folder, so each entry is checked on its own.
    """

    def __init__(self, root: Path, options: Options) -> None:
        self._root = root
        self._patterns = Patterns(options)
        self._gitignore = options.gitignore
        self._specs: dict[Path, Any] = {}
        if self._gitignore:
            for folder in _within_repository(root):
                self.enter(folder)
                spec = self._specs.get(folder)
                # The folder is given by name, so a rule that excludes it does not count.
                if spec is not None and spec.match_file(f"{root.relative_to(folder).as_posix()}/"):
                    del self._specs[folder]

    def enter(self, folder: Path) -> None:
        """Read the folder's own `.gitignore`, if it has one."""
        if not self._gitignore:
            return
        try:
            lines = (folder / _GITIGNORE).read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            return
        good = []
        for line in lines:  # git ignores patterns that are not valid
            try:
                compiled([line])
            except ConfigError:
                continue
            good.append(line)
        self._specs[folder] = compiled(good)

    def reason(self, path: Path, *, is_folder: bool) -> str:
        """Return why a file or folder is left out, or ""."""
        if self._specs:
            for folder in path.parents:
                spec = self._specs.get(folder)
                if spec is not None:
                    way = path.relative_to(folder).as_posix()
                    decision = spec.check_file(f"{way}/" if is_folder else way).include
                    if decision is not None:
                        if decision:
                            return _BY_GITIGNORE
                        break
        return self._patterns.reason(path.relative_to(self._root).as_posix(), is_folder=is_folder)


def _within_repository(root: Path) -> list[Path]:
    """Return the folders above a folder, from the top of its git repository down."""
    if os.path.lexists(root / ".git"):
        return []
    for number, folder in enumerate(root.parents, start=1):
        if os.path.lexists(folder / ".git"):
            return list(root.parents)[:number][::-1]
    return []
