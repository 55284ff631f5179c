"""The checks that every request passes before its route: host, origin, content type, size, load and token."""

import asyncio
from collections.abc import Collection, Iterable, Mapping
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
            if not answering.started:  # else the server closes the connection if the answer is not whole
                await unexpected_answer(scope["path"])(scope, receive, answering.send)
        finally:
            self._running -= 1

    def _check(self, scope: Scope, receive: Receive) -> Receive:
        """Check a request, put its grant into the scope, and return a `receive` that limits its body."""
        headers: dict[bytes, bytes] = dict(scope["headers"])  # of several with one name, the last
        self._check_host([value for name, value in scope["headers"] if name == b"host"])
        _check_origin(headers, [value for name, value in scope["headers"] if name == b"origin"])
        length, chunked = headers.get(b"content-length", b"0"), b"transfer-encoding" in headers
        has_body = chunked or length != b"0"
        if has_body or scope["method"] in _WITH_BODY:
            _check_type(headers.get(b"content-type", b""))
        if length.isdigit() and int(length) > self._limits.body:
            raise self._too_large()
        if self._running >= self._limits.requests:
            raise HttpError(503, "Busy", "too many requests are in progress", {"retry-after": "1"})
        grant = self._access.grant(headers.get(b"authorization", b"").decode("latin-1"))
        path = scope["path"]
        if grant is None and path not in self._public and not path.startswith(self._folders or ("//",)):
            raise unauthorized()
        scope["theodolite.grant"] = grant
        return self._limited(receive) if has_body else receive

    def _check_host(self, hosts: list[bytes]) -> None:
        if len(hosts) != 1 or _host_name(hosts[0].decode("latin-1")) not in self._hosts:
            raise HttpError(
                403,
                "Forbidden",
                "the Host header does not name this server. Start it with --allowed-host to serve another name",
            )

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


def _check_origin(headers: Mapping[bytes, bytes], origins: Iterable[bytes]) -> None:
    if headers.get(b"sec-fetch-site") in (b"cross-site", b"same-site"):
        raise HttpError(403, "Forbidden", "requests from other sites are refused")
    for origin in origins:
        try:
            parts = urlsplit(origin)
            same = parts.scheme in (b"http", b"https") and parts.netloc.lower() == headers[b"host"].lower()
        except ValueError:
            same = False
        if not same:
            raise HttpError(403, "Forbidden", "requests from other origins are refused")


def _check_type(content_type: bytes) -> None:
    if content_type == b"application/json":
        return
    kind, _, parameters = content_type.decode("latin-1").partition(";")
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
