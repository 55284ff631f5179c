"""Run the application: sockets, time limits for connections, and a graceful stop."""

import asyncio
import socket
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import h11
from starlette.types import ASGIApp
from uvicorn import Config, Server
from uvicorn.protocols.http.h11_impl import H11Protocol

from theodolite.errors import MetadataWarning, TruncationWarning
from theodolite.serving.limits import Limits

GRACE = 10
"""Seconds that requests in progress have when the server stops."""

_KEEP_ALIVE = 75  # seconds that an idle connection stays open
_CONNECTIONS = 1000
_HEADERS = 32 * 1024  # bytes of a request's headers


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
        h11_max_incomplete_event_size=_HEADERS,
    )
    return _Server(config)


class _Server(Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Let signals stop the server. uvicorn raises them again at the end, before its caller can close anything."""
        with super().capture_signals():
            yield
            self._captured_signals.clear()


class _TimedProtocol(H11Protocol):
    """Closes connections whose next request does not arrive whole in time.

    uvicorn has a limit for idle connections only, so a client could hold one by sending a header a minute.
    """

    seconds = 15.0

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self._arriving: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        if self._arriving is None:
            self._wait()
        super().data_received(data)
        # The request's headers are there, or the connection has ended. The application limits the time of the body.
        if self.conn.their_state is not h11.IDLE:
            self._stop_waiting()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def _wait(self) -> None:
        self._arriving = self.loop.call_later(self.seconds, self._too_slow)

    def _stop_waiting(self) -> None:
        if self._arriving is not None:
            self._arriving.cancel()
            self._arriving = None

    def _too_slow(self) -> None:
        self._arriving = None
        if not self.transport.is_closing():
            self.transport.close()
