"""The checks that every request passes before its route: host, origin, content type, size, load and token."""

import asyncio
from collections.abc import Collection, Iterable
from typing import Any
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from theodolite.serving.access import Access, Grant
from theodolite.serving.errors import HttpError, error_answer, logger, unauthorized, unexpected_answer
from theodolite.serving.limits import Limits

CSP = "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
"""The Content-Security-Policy of every answer."""

_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", CSP.encode()),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
]
_WITH_BODY = {"POST", "PUT", "PATCH"}


def grant_of(request: Request) -> Grant:
    """Return what a request may do. Raises HttpError (401) on a public path without a valid token."""
    grant: Grant | None = request.scope.get("theodolite.grant")
    if grant is None:
        raise unauthorized()
    return grant


class Security:
    """An ASGI application that checks requests before another one, and adds security headers to its answers."""

    def __init__(
        self, app: ASGIApp, access: Access, *, hosts: Iterable[str], limits: Limits, public: Collection[str] = ()
    ) -> None:
        """
        Args:
            hosts: the names and addresses, without a port, that requests may be for.
            public: paths that need no token; one that ends with a slash stands for all below it.
        """
        self._app = app
        self._access = access
        self._hosts = frozenset(host.lower() for host in hosts)
        self._limits = limits
        self._public = frozenset(path for path in public if not path.endswith("/"))
        self._folders = tuple(path for path in public if path.endswith("/"))
        self._running = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        answering = _Answering(send)
        try:
            received = self._check(scope, receive)
        except HttpError as error:
            # Closing keeps the rest of a body that was refused from being read as a request.
            answer = error_answer(scope["path"], error)
            answer.headers["connection"] = "close"
            await answer(scope, receive, answering.send)
            return
        self._running += 1
        try:
            await self._app(scope, received, answering.send)
        except HttpError as error:
            if answering.started:
                raise
            answer = error_answer(scope["path"], error)
            answer.headers["connection"] = "close"
            await answer(scope, receive, answering.send)
        except Exception:
            logger.exception("%s %s failed", scope["method"], scope["path"])
            if answering.started:
                raise
            await unexpected_answer(scope["path"])(scope, receive, answering.send)
        finally:
            self._running -= 1

    def _check(self, scope: Scope, receive: Receive) -> Receive:
        """Check a request, put its grant into the scope, and return a `receive` that limits its body."""
        headers = scope["headers"]
        self._check_host(_all(headers, b"host"))
        self._check_origin(headers, scope["scheme"])
        length, chunked = _one(headers, b"content-length"), _one(headers, b"transfer-encoding")
        if scope["method"] in _WITH_BODY or chunked or length not in (None, "0"):
            _check_type(_one(headers, b"content-type"))
        if length is not None and length.isascii() and length.isdigit() and int(length) > self._limits.body:
            raise self._too_large()
        if self._running >= self._limits.requests:
            raise HttpError(503, "Busy", "too many requests are in progress", {"retry-after": "1"})
        grant = self._access.grant(_one(headers, b"authorization"))
        path = scope["path"]
        if grant is None and path not in self._public and not path.startswith(self._folders or ("//",)):
            raise unauthorized()
        scope["theodolite.grant"] = grant
        return self._limited(receive) if length not in (None, "0") or chunked else receive

    def _check_host(self, hosts: list[str]) -> None:
        if len(hosts) != 1 or _host_name(hosts[0]) not in self._hosts:
            raise HttpError(
                403,
                "Forbidden",
                "the Host header does not name this server. Start it with --allowed-host to serve another name",
            )

    def _check_origin(self, headers: Iterable[tuple[bytes, bytes]], scheme: str) -> None:
        if _one(headers, b"sec-fetch-site") in ("cross-site", "same-site"):
            raise HttpError(403, "Forbidden", "requests from other sites are refused")
        for origin in _all(headers, b"origin"):
            try:
                parts = urlsplit(origin)
                same = parts.scheme in ("http", "https") and parts.netloc.lower() == _one(headers, b"host", "").lower()
            except ValueError:
                same = False
            if not same:
                raise HttpError(403, "Forbidden", "requests from other origins are refused")

    def _limited(self, receive: Receive) -> Receive:
        """Return a `receive` that refuses bodies that are too large or too slow."""
        loop = asyncio.get_running_loop()
        deadline, size, more = loop.time() + self._limits.body_seconds, 0, True

        async def limited() -> Message:
            nonlocal size, more
            if not more:  # what follows is the client's end of the connection
                return await receive()
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError:
                raise HttpError(408, "Timeout", "the body did not arrive in time") from None
            size += len(message.get("body", b""))
            if size > self._limits.body:
                raise self._too_large()
            more = message.get("more_body", False)
            return message

        return limited

    def _too_large(self) -> HttpError:
        return HttpError(413, "TooLarge", f"the body has more than {self._limits.body:,} bytes")


class _Answering:
    """Sends the answer to a request, with security headers where the route has not set its own."""

    def __init__(self, send: Send) -> None:
        self.started = False
        self._send = send

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            given = {name.lower() for name, _ in message.get("headers", ())}
            extra = [pair for pair in _HEADERS if pair[0] not in given]
            message = {**message, "headers": [*message.get("headers", ()), *extra]}
        await self._send(message)


def _check_type(content_type: str | None) -> None:
    kind, _, parameters = (content_type or "").partition(";")
    charset = parameters.strip().lower().replace('"', "").replace(" ", "")
    if kind.strip().lower() != "application/json" or charset not in ("", "charset=utf-8"):
        raise HttpError(415, "UnsupportedMediaType", "the body must be JSON: send Content-Type: application/json")


def _host_name(host: str) -> str:
    """Return the name or address in a Host header, without the port."""
    host = host.strip().lower()
    if host.startswith("["):
        address, bracket, _ = host.partition("]")
        return address + bracket
    return host.partition(":")[0]


def _all(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> list[str]:
    return [value.decode("latin-1") for key, value in headers if key == name]


def _one(headers: Iterable[tuple[bytes, bytes]], name: bytes, default: Any = None) -> Any:
    """Return the value of a header; of several, the last one."""
    for key, value in reversed(list(headers)):
        if key == name:
            return value.decode("latin-1")
    return default
