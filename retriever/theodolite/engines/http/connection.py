"""Connections to a server: one for each thread, kept open between requests."""

import json
import re
import threading
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException, HTTPMessage, HTTPResponse, HTTPSConnection
from typing import Any
from urllib.parse import urlsplit

from theodolite import errors
from theodolite.engines import refusals
from theodolite.errors import CollectionNotFoundError, ConfigError, EngineError, InputError, TheodoliteError
from theodolite.forking import register_at_fork

_USUAL = re.compile(
    rb"HTTP/1\.1 (?P<status>[2-5]\d\d) [^\r\n]*\r\n(?:[^\r\n]+\r\n)*?content-length: ?(?P<length>\d+)(?:\r\n[^\r\n]+)*",
    re.IGNORECASE,
)
_SPECIAL = re.compile(
    rb"\r\n(?:connection|transfer-encoding|[ \t])|content-length.*content-length", re.IGNORECASE | re.DOTALL
)
_NAME = re.compile(r"/([A-Za-z0-9_][A-Za-z0-9_.-]{0,127})/?", re.ASCII)
_KINDS = {"NotFound": CollectionNotFoundError, "Unauthorized": ConfigError, "Forbidden": EngineError}


class Connections:
    """The connections of one open collection.

    Attributes:
        location: its URL.
        name: its name on the server.
    """

    def __init__(self, url: str, token: str | None, timeout: float) -> None:
        """Raises InputError if the URL names no server and collection; the message shows no password."""
        try:
            parts = urlsplit(url)
            self._host, self._port = parts.hostname or "", parts.port
        except ValueError:
            raise InputError("the URL of the server cannot be parsed; expected http://host:port/collection") from None
        named = _NAME.fullmatch(parts.path)
        if not self._host or named is None or parts.username or parts.query or parts.fragment:
            raise InputError(
                f"{parts.scheme}://{self._host}{parts.path} is not a collection on a server; expected "
                "http://host:port/collection, and a token as token=..."
            )
        if token is not None and (not isinstance(token, str) or not token.isascii() or not token.isprintable()):
            raise InputError("token is not a string of ASCII characters")
        self.name = named[1]
        host = f"[{self._host}]" if ":" in self._host else self._host
        address = host if self._port is None else f"{host}:{self._port}"
        self.location = f"{parts.scheme}://{address}/{self.name}"
        self._secure, self._timeout = parts.scheme == "https", timeout
        self._path = f"/api/v1/collections/{self.name}/engine/"
        self._headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if token is not None:
            self._headers["Authorization"] = f"Bearer {token}"
        self._own = threading.local()
        self._lock = threading.Lock()
        self._open: set[HTTPConnection] = set()
        self._closed = False
        register_at_fork(self)

    def call(self, method: str, body: Mapping[str, Any]) -> Any:
        """Call a method of the engine on the server, and return its result.

        Raises:
            TheodoliteError: the error that the server has answered with, or EngineError if it has not answered.
        """
        content = json.dumps(body, separators=(",", ":")).encode()  # a filter may hold text that is not Unicode
        self.check_open()
        connection: HTTPConnection | None = getattr(self._own, "connection", None)
        try:
            if connection is not None:
                try:
                    return self._send(connection, method, content)
                except (ConnectionError, HTTPException):  # the server has closed it meanwhile: writes are by id
                    self._drop(connection)
            connection = self._connect()
            return self._send(connection, method, content)
        except (OSError, HTTPException, ValueError) as error:
            if isinstance(error, TheodoliteError):
                raise
            if connection is not None:
                self._drop(connection)
            self.check_open()
            raise EngineError(f"the server at {self.location} does not answer: {error}") from error

    def check_open(self) -> None:
        """Raise EngineError if this is closed."""
        if self._closed:
            raise refusals.closed()

    def close(self) -> None:
        """Close all connections. Closing twice is fine."""
        with self._lock:
            self._closed = True
            connections, self._open = self._open, set()
        for each in connections:
            each.close()

    def __del__(self) -> None:
        for each in getattr(self, "_open", ()):
            each.close()

    def forked(self, held: bool) -> None:
        """Leave the parent's connections alone in a forked child."""
        self._own, self._open = threading.local(), set()

    def _connect(self) -> HTTPConnection:
        make = _HttpsConnection if self._secure else _HttpConnection
        connection: HTTPConnection = make(self._host, self._port, timeout=self._timeout)
        with self._lock:
            self._open.add(connection)
        self._own.connection = connection
        return connection

    def _drop(self, connection: HTTPConnection) -> None:
        connection.close()
        with self._lock:
            self._open.discard(connection)
        self._own.connection = None

    def _send(self, connection: HTTPConnection, method: str, content: bytes) -> Any:
        connection.request("POST", self._path + method, content, self._headers)
        answer = connection.getresponse()
        body = answer.read()
        if answer.status == 200:
            return json.loads(body)
        raise self._error(answer.status, body)

    def _error(self, status: int, body: bytes) -> TheodoliteError:
        """Return the error of an answer, of the class it was raised with on the server."""
        try:
            found = json.loads(body)["error"]
            kind, message, details = found["type"], str(found["message"]), dict(found.get("details") or {})
        except (ValueError, LookupError, TypeError):
            return EngineError(f"{self.location} answers with status {status}: is it a theodolite server?")
        details.pop("override", None)
        cls = _KINDS.get(kind) or getattr(errors, str(kind), None)
        if not isinstance(cls, type) or not issubclass(cls, TheodoliteError):
            return EngineError(f"{self.location}: {message}", status=status)
        if kind in _KINDS:
            return cls(f"{self.location}: {message}", status=status)
        return cls(message, **{name: value for name, value in details.items() if name != "message"})


class _Response(HTTPResponse):
    """Reads the usual head of an answer itself: the standard library's parser of mails takes longer than a search."""

    def begin(self) -> None:
        head, end, _ = self.fp.peek(1).partition(b"\r\n\r\n")
        usual = _USUAL.fullmatch(head)
        if not end or usual is None or usual["status"] in (b"204", b"304") or _SPECIAL.search(head) is not None:
            super().begin()
            return
        self.fp.read(len(head) + len(end))
        self.version, self.code, self.reason = 11, int(usual["status"]), ""
        self.status, self.length = self.code, int(usual["length"])
        self.chunked, self.will_close = False, False
        self.headers = self.msg = HTTPMessage()


class _OneWrite(HTTPConnection):
    """Sends the head and the body of a request in one write, so that the server wakes up once. Each has a body."""

    response_class = _Response
    _head = b""

    def send(self, data: Any) -> None:
        if not self._head:
            self._head = data
            return
        whole, self._head = self._head + data, b""
        super().send(whole)


class _HttpConnection(_OneWrite):
    pass


class _HttpsConnection(_OneWrite, HTTPSConnection):
    pass
