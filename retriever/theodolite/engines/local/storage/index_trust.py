"""Decide which index files may be passed to libraries that do not check them.

FAISS trusts the numbers in its files: a changed one makes it read or write outside its memory. A hash in the same
folder proves nothing if the folder comes from somebody else. So the hashes of all indexes built here are kept in the
user's own state folder, and an index is loaded only if its hash is there. Copies and backups on the same machine have
the same hash.
"""

import logging
import os
import sys
from pathlib import Path

from theodolite.errors import ConfigError
from theodolite.protocols import Candidates

_log = logging.getLogger(__name__)

VARIABLE = "THEODOLITE_STATE"
"""The environment variable that names the state folder."""

_MAX_HASHES = 10_000  # the oldest are deleted


class IndexTrust:
    """The decisions for one open collection."""

    def __init__(self, everything: bool) -> None:
        """
        Args:
            everything: trust any index of the collection.
        """
        self._everything = everything
        self._refused: set[str] = set()

    def check(self, candidates: Candidates, digest: str) -> None:
        """Raise ConfigError unless the file with this SHA-256 may be loaded."""
        if self._everything or validates(candidates) or _is_known(digest):
            return
        self._refused.add(digest)
        raise ConfigError(
            f"the index was not built here by this user, and {type(candidates).__name__} cannot check its file. "
            "Pass trust_index=True if the folder is your own, or rebuild the index with reindex()"
        )

    def refused(self, digest: str) -> bool:
        """Return whether `check` has refused this file."""
        return digest in self._refused

    def record_built(self, candidates: Candidates, digest: str) -> None:
        """Record the SHA-256 of a file that was written here. Logs a warning if that fails."""
        if validates(candidates):
            return
        try:
            folder = _folder()
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            (folder / digest).touch(mode=0o600)
            known = [entry for entry in os.scandir(folder) if len(entry.name) == 64]
            for entry in sorted(known, key=lambda entry: entry.stat().st_mtime)[:-_MAX_HASHES]:
                os.unlink(entry)
        except (OSError, RuntimeError) as error:  # RuntimeError: there is no home directory
            _log.warning(
                "the hash of the new index cannot be saved (%s). The next opening searches exactly unless it has "
                "trust_index=True. The environment variable %s can name another folder for it",
                error,
                VARIABLE,
            )


def validates(candidates: Candidates) -> bool:
    """Return whether an index checks all numbers in the files it loads."""
    return getattr(type(candidates), "validates", False) is True


def state_folder() -> Path:
    """Return the folder of this user's state, outside of any collection."""
    if given := os.environ.get(VARIABLE):
        return Path(given).expanduser().absolute()
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Application Support"
    else:
        named = os.environ.get("XDG_STATE_HOME", "")
        base = Path(named) if os.path.isabs(named) else Path.home() / ".local" / "state"
    return base / "theodolite"


def _folder() -> Path:
    return state_folder() / "indexes"


def _is_known(digest: str) -> bool:
    try:
        folder = _folder()
        owner = os.stat(folder)
        if hasattr(os, "geteuid") and (owner.st_uid != os.geteuid() or owner.st_mode & 0o022):
            _log.warning("%s can be changed by others, so its hashes are ignored", folder)
            return False
        return (folder / digest).is_file()
    except (OSError, RuntimeError):  # there is no such folder, or no home directory
        return False
