"""A Milvus server from the package `milvus`, in a separate virtual environment, on free ports."""

import os
import shutil
import socket
import tempfile
import time
from pathlib import Path
from types import TracebackType

from theodolite.testing.guarded import Guarded

ENVIRONMENT = Path(os.environ.get("THEODOLITE_MILVUS_ENVIRONMENT", Path(__file__).parents[1] / ".venv-milvus"))
"""A virtual environment with the package: `make test-milvus` makes it. It needs an old setuptools."""

_PATIENCE = 120.0
# Milliseconds. Reads wait for the next tick of the server's clock, and loading a collection for the next check of its
# state. By default these are 200 to 1,000, which made the tests four times as long.
_SETTINGS = {
    "PROXY_TIMETICKINTERVAL": "10",
    "QUERYCOORD_CHECKSEGMENTINTERVAL": "50",
    "QUERYCOORD_CHECKCHANNELINTERVAL": "50",
    "QUERYCOORD_COLLECTIONOBSERVERINTERVAL": "50",
    "QUERYCOORD_DISTPULLINTERVAL": "50",
}


class MilvusServer:
    """A server that can be stopped and started again: `with MilvusServer() as server`."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="milvus-"))
        self._process: Guarded | None = None
        self.port = _free_port()

    def __enter__(self) -> "MilvusServer":
        try:
            self.start()
        except BaseException:
            self.remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()

    def url(self, collection: str) -> str:
        """Return the URL of a collection."""
        return f"milvus://127.0.0.1:{self.port}/{collection}"

    def start(self) -> None:
        """Start the server, and wait until it takes connections."""
        program = ENVIRONMENT / "bin" / "milvus-server"
        if not program.exists():
            raise RuntimeError(f"{program} does not exist: run make test-milvus")
        self._process = Guarded(
            [program, "--data", self._folder / "data", "--proxy-port", str(self.port)],
            self._folder / "log",
            env={**os.environ, **_SETTINGS},
        )
        deadline = time.monotonic() + _PATIENCE
        while not _listens(self.port):
            if self._process.has_ended() or time.monotonic() > deadline:
                log_text = (self._folder / "log").read_text(errors="replace")
                self.stop()
                raise RuntimeError(f"Milvus did not start: {log_text[-2000:]}")
            time.sleep(0.2)

    def stop(self) -> None:
        """End the program, and the server that it has started."""
        if self._process is not None:
            self._process.stop()
        self._process = None

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
