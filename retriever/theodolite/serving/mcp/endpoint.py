"""`/mcp` of the HTTP server. The SDK takes a second to import, so the first request for it waits, not the start."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib.util import find_spec
from typing import Protocol

from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from theodolite import plugins
from theodolite.async_pool import in_thread
from theodolite.serving.app import Extension
from theodolite.serving.collections import Collections
from theodolite.serving.limits import Limits
from theodolite.serving.mcp.budget import DEFAULT

PATH = "/mcp"


class Sessions(Protocol):
    """The SDK's side of the endpoint."""

    app: ASGIApp

    def run(self) -> AbstractAsyncContextManager[None]:
        """Run it until the end of the block."""


def is_installed() -> bool:
    """Return whether the SDK is installed, without importing it."""
    return all(find_spec(name) is not None for name in ("mcp", "mcp_types"))  # older versions have one package


def extension(
    collections: Collections, limits: Limits, hosts: Iterable[str], *, max_tokens: int = DEFAULT
) -> Extension:
    """Return `/mcp` for the HTTP server, which checks tokens before.

    Args:
        hosts: as of `make_app`.
    """
    names = tuple(hosts)

    def make() -> Sessions:
        with plugins.optional("mcp"):
            from theodolite.serving.mcp.server import HttpSessions
        return HttpSessions(collections, limits, names, max_tokens)

    endpoint = _Endpoint(make)
    # Without sessions there is nothing to listen to (GET) or to end (DELETE).
    return Extension([Route(PATH, endpoint, methods=["POST"])], lifespan=endpoint.lifespan)


class _Endpoint:
    """An ASGI application that is made when it is first asked."""

    __name__ = "mcp"  # for metrics

    def __init__(self, make: Callable[[], Sessions]) -> None:
        self._make = make

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._asked.set()
        app = await asyncio.shield(self._app)  # a client that goes away leaves it to the others
        await app(scope, receive, send)

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        """Run the application, once it is made, until the end of the block."""
        self._asked = asyncio.Event()
        self._app: asyncio.Future[ASGIApp] = asyncio.get_running_loop().create_future()
        running = asyncio.create_task(self._run())
        try:
            yield
        finally:
            running.cancel()
            await asyncio.wait([running])

    async def _run(self) -> None:
        await self._asked.wait()
        try:
            sessions = await in_thread(self._make)
            async with sessions.run():
                self._app.set_result(sessions.app)
                await asyncio.Event().wait()
        except Exception as error:
            if self._app.done():
                raise
            self._app.set_exception(error)  # each request is answered with it
