"""The application: collections, tokens and limits become a Starlette application behind its security checks."""

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.types import ASGIApp

from theodolite.errors import TheodoliteError
from theodolite.serving import engine_api, health, native, openai_shape
from theodolite.serving.access import Access
from theodolite.serving.collections import Collections
from theodolite.serving.errors import HttpError, error_answer, on_http_error, unexpected_answer
from theodolite.serving.limits import Limits
from theodolite.serving.metrics import Metrics
from theodolite.serving.security import Security


@dataclass(frozen=True, slots=True)
class Extension:
    """Further routes of a server, such as pages or another protocol.

    Attributes:
        routes: Starlette's. Their requests have passed the security checks; `security.grant_of(request)` says what
            they may do, and `Collections.get(name, grant).seen_by(grant)` is the collection they may see.
        public: paths that need no token; one that ends with a slash stands for all below it.
        lifespan: makes a context manager that is entered when the server starts, and left when it stops.
    """

    routes: Sequence[BaseRoute] = ()
    public: tuple[str, ...] = ()
    lifespan: Callable[[], AbstractAsyncContextManager[object]] | None = None


def make_app(
    collections: Collections,
    access: Access,
    *,
    hosts: Iterable[str] = ("127.0.0.1", "localhost", "[::1]"),
    limits: Limits | None = None,
    extensions: Sequence[Extension] = (),
) -> ASGIApp:
    """Return an ASGI application that serves collections.

    Args:
        hosts: the names and addresses, without a port, that requests may be for.
        extensions: further routes.
    """
    limits = limits or Limits()
    metrics = Metrics(collections)
    own: list[BaseRoute] = [
        *native.routes(collections, limits),
        *engine_api.routes(collections, limits),
        *openai_shape.routes(collections, limits),
        *health.routes(collections),
        *metrics.routes(),
    ]

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            for extension in extensions:
                if extension.lifespan is not None:
                    await stack.enter_async_context(extension.lifespan())
            yield

    routes = [route for extension in extensions for route in extension.routes]
    app = Starlette(
        routes=[*own, *routes],
        exception_handlers={
            HttpError: on_http_error,
            TheodoliteError: on_http_error,
            Exception: _unexpected,
            404: _missing,
            405: _wrong_method,
        },
        lifespan=lifespan,
    )
    public = [health.PATH, *(path for extension in extensions for path in extension.public)]
    return Security(metrics.counting(app), access, hosts=hosts, limits=limits, public=public)


async def _unexpected(request: Request, error: Exception) -> Response:
    return unexpected_answer(request.url.path)  # Starlette raises the error again, and `Security` logs it


async def _missing(request: Request, error: Exception) -> Response:
    message = "there is nothing at this path. /api/v1/openapi.json describes what there is"
    return error_answer(request.url.path, HttpError(404, "NotFound", message))


async def _wrong_method(request: Request, error: Exception) -> Response:
    headers = getattr(error, "headers", None) or {}
    message = f"{request.method} is not a method of this path"
    return error_answer(request.url.path, HttpError(405, "MethodNotAllowed", message, headers))
