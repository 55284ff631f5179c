"""How the command line finds a server that serves a collection: a file in the user's runtime folder.

The file is named after the identity of the collection's folder, so nothing inside a collection is trusted. It counts
only if it is this user's alone, and the process that wrote it still runs.
"""

import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from theodolite.errors import ConfigError


@dataclass(frozen=True, slots=True)
class RunningServer:
    """A server, and a collection that it serves.

    Attributes:
        host, port: where it listens.
        name: the collection's.
        token: a token that may read it; made when the server started, and known to this user alone.
        pid, started: the process, and when it started, as the system tells it.
    """

    host: str
    port: int
    name: str
    token: str
    pid: int
    started: str


@contextmanager
def announced(folders: Mapping[str, Path], host: str, port: int, token: str) -> Iterator[None]:
    """Let the command line find a server while it runs.

    Args:
        folders: the folders of its collections, by name.
    """
    written = []
    with suppress(OSError):  # without it, commands open collections themselves
        runtime = _runtime_folder(create=True)
        for name, folder in folders.items():
            if runtime is None:
                break
            server = RunningServer(host, port, name, token, os.getpid(), _started(os.getpid()))
            path = _path(runtime, folder)
            _write(path, json.dumps(asdict(server)))
            written.append(path)
    try:
        yield
    finally:
        for path in written:
            if (server_at := _read(path)) is not None and server_at.pid == os.getpid():
                path.unlink(missing_ok=True)


@contextmanager
def private_file(name: str, text: str) -> Iterator[Path]:
    """Write a file that only this user can read into the runtime folder, and remove it at the end."""
    runtime = _runtime_folder(create=True)
    if runtime is None:
        raise ConfigError("this user's runtime folder cannot be used: another user can write to it. Pass --token-file")
    path = runtime / name
    _write(path, text)
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def find_server(folder: str | os.PathLike[str]) -> RunningServer | None:
    """Return the server of this user that serves the collection in a folder; None if there is none."""
    try:
        runtime = _runtime_folder(create=False)
        if runtime is None:
            return None
        server = _read(_path(runtime, folder))
    except (OSError, ValueError):
        return None
    return server if server is not None and _runs(server) else None


def _write(path: Path, text: str) -> None:
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
    temporary.replace(path)


def _path(runtime: Path, folder: str | os.PathLike[str]) -> Path:
    """Return the path of the file for a folder. Device and number identify a folder, whatever its path."""
    status = os.stat(folder)
    return runtime / f"serve-{status.st_dev:x}-{status.st_ino:x}.json"


def _runtime_folder(*, create: bool) -> Path | None:
    """Return this user's folder for running programs; None if it is not there, or not this user's alone."""
    given = os.environ.get("XDG_RUNTIME_DIR") or ""
    if os.path.isdir(given):
        folder = Path(given, "theodolite")
    else:
        import tempfile  # slow to import, and a search rarely needs it

        if sys.platform == "win32":
            folder = Path(os.environ.get("LOCALAPPDATA") or tempfile.gettempdir(), "theodolite", "run")
        else:
            folder = Path(tempfile.gettempdir(), f"theodolite-{os.getuid()}")
    if create:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder if folder.is_dir() and _is_private(folder) else None


def _is_private(path: Path) -> bool:
    """Return whether a path is not a link, and only this user may write to it."""
    if sys.platform == "win32":  # the folder is within the user's own
        return not path.is_symlink()
    status = path.lstat()
    return status.st_uid == os.getuid() and not path.is_symlink() and not status.st_mode & 0o077


def _read(path: Path) -> RunningServer | None:
    try:
        if not _is_private(path):
            return None
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return RunningServer(**values)
    except (OSError, ValueError, TypeError):
        return None


def _runs(server: RunningServer) -> bool:
    """Return whether the process that wrote the file runs, as this user's."""
    if type(server.pid) is not int or server.pid <= 0:
        return False
    if sys.platform == "win32":
        return True  # no signal asks there; a connection does
    try:
        os.kill(server.pid, 0)  # PermissionError: another user's
    except (OSError, OverflowError):
        return False
    return server.started == _started(server.pid)


def _started(pid: int) -> str:
    """Return when a process started, where the system tells: numbers of processes are used again."""
    try:
        # The name of the program, in parentheses, may have spaces.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""
