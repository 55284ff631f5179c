"""The files of the page: HTML, a style sheet and modules, served as they are."""

from collections.abc import Iterator
from importlib.resources import files

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from theodolite.serving.errors import not_found

PREFIX = "/explorer/"
"""Where the page is. It holds no data, so it needs no token."""

_KINDS = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}


def page_routes() -> Iterator[BaseRoute]:
    """Yield the routes of the page. The names of files are looked up in a table, so no path leads elsewhere."""
    folder = files("theodolite.serving.explorer").joinpath("static")
    known = {path.name: path.read_bytes() for path in folder.iterdir() if path.name.rpartition(".")[2] in _KINDS}

    async def file(request: Request) -> Response:
        name = request.path_params.get("file", "index.html")
        if name not in known:
            raise not_found("file of this name")
        return Response(known[name], media_type=_KINDS[name.rpartition(".")[2]])

    async def to_page(request: Request) -> Response:
        return RedirectResponse(PREFIX)

    yield Route(PREFIX, file, methods=["GET"])
    yield Route(PREFIX + "{file}", file, methods=["GET"])
    yield Route(PREFIX.rstrip("/"), to_page, methods=["GET"])
