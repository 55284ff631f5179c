"""Run the application: sockets, time limits for connections, and a graceful stop."""

import asyncio
import re
import socket
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from starlette.types import ASGIApp
from uvicorn import Config, Server
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from theodolite.errors import MetadataWarning, TruncationWarning
from theodolite.serving.limits import Limits

GRACE = 10
"""Seconds that requests in progress have when the server stops."""

_KEEP_ALIVE = 75  # seconds that an idle connection stays open
_CONNECTIONS = 1000
_HEADERS = 32 * 1024  # bytes of a request's headers
_UPGRADE = re.compile(rb"\r\nupgrade:", re.IGNORECASE)


@contextmanager
def without_warnings_of_requests() -> Iterator[None]:
    """Issue no warnings about single requests: their answers say the same. It is for the whole process."""
    with warnings.catch_warnings():
        for category in (MetadataWarning, TruncationWarning):
            warnings.simplefilter("ignore", category)
        yield


def listening_socket(host: str, port: int) -> socket.socket:
    """Return a socket that listens on an address, for IPv4 or IPv6. Port 0 takes a free one.

    Raises:
        OSError: the address is not this machine's, or the port is taken.
    """
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    listener = socket.socket(family, kind, protocol)
    try:
        if socket.has_ipv6 and family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        # Restarts need not wait for connections of the last run. On Windows the option would share the port.
        if hasattr(socket, "SO_EXCLUSIVEADDRUSE"):
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        else:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_CONNECTIONS)
        listener.set_inheritable(False)
    except BaseException:
        listener.close()
        raise
    return listener


def make_server(app: ASGIApp, limits: Limits) -> Server:
    """Return a server for an application; `run(sockets=[...])` runs it until a signal stops it.

    Requests in progress have `GRACE` seconds to end then.
    """

    class TimedProtocol(_TimedProtocol):
        seconds = limits.body_seconds

    config = Config(
        app,
        http=TimedProtocol,
        ws="none",
        lifespan="on",
        log_level="warning",
        access_log=False,
        server_header=False,
        date_header=True,
        proxy_headers=False,
        timeout_keep_alive=_KEEP_ALIVE,
        timeout_graceful_shutdown=GRACE,
        limit_concurrency=_CONNECTIONS,
    )
    return _Server(config)


class _Server(Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Let signals stop the server. uvicorn raises them again at the end, before its caller can close anything."""
        with super().capture_signals():
            yield
            self._captured_signals.clear()


class _TimedProtocol(HttpToolsProtocol):
    """Closes connections whose next request does not arrive whole in time, or has headers that are too long.

    uvicorn has a limit for idle connections only, so a client could hold one by sending a header a minute. It also
    drops the body of a request that offers another protocol, as clients in Java do with HTTP/2.
    """

    seconds = 15.0

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self._arriving: asyncio.TimerHandle | None = None
        self._size = 0  # bytes of headers that have arrived in part

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        if not self._is_answering() and (b"pgrade:" in data or b"PGRADE:" in data):
            head, end, body = data.partition(b"\r\n\r\n")
            data = _UPGRADE.sub(b"\r\nx-upgrade:", head) + end + body
        super().data_received(data)
        if self.transport.is_closing():
            return
        # Most requests arrive whole, so the limit is set only where one does not.
        if self._is_answering():  # the application limits the time of the body
            self._stop_waiting()
            return
        self._size += len(data)
        if self._size > _HEADERS:
            self.send_400_response("The headers are too long.")
        elif self._arriving is None:
            self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def _is_answering(self) -> bool:
        """Return whether the headers of a request have arrived, and the answer to it has not ended."""
        return self.cycle is not None and not self.cycle.response_complete

    def _wait(self) -> None:
        self._arriving = self.loop.call_later(self.seconds, self._too_slow)

    def _stop_waiting(self) -> None:
        self._size = 0
        if self._arriving is not None:
            self._arriving.cancel()
            self._arriving = None

    def _too_slow(self) -> None:
        self._arriving = None
        if not self.transport.is_closing():
            self.transport.close()
