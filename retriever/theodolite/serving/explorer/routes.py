"""The explorer as an extension of the server: its page, and the answers that only it asks for."""

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.routing import Route

from theodolite.async_pool import in_thread
from theodolite.serving.app import Extension
from theodolite.serving.bodies import SEARCH, check_known, ids_of, search_options, text_of, vector_of
from theodolite.serving.collections import Collections, Served
from theodolite.serving.errors import param_error
from theodolite.serving.explorer import documents
from theodolite.serving.explorer.overviews import Overviews
from theodolite.serving.explorer.pages import PREFIX, page_routes
from theodolite.serving.json_response import json_body
from theodolite.serving.limits import Limits
from theodolite.serving.native import Endpoint, answering
from theodolite.serving.security import grant_of

API = "/api/explorer/{name}"
"""The paths of what the page alone asks for. Unlike the page they need a token."""


def explorer(collections: Collections, limits: Limits) -> Extension:
    """Return the explorer of some collections, for `make_app`."""
    api = _Api(collections, limits)
    table: list[tuple[str, str, Endpoint]] = [
        ("GET", f"{API}/stages", api.stages),
        ("POST", f"{API}/document", api.document),
        ("POST", f"{API}/health", api.health),
        ("POST", f"{API}/map", api.map),
        ("POST", f"{API}/why_not", api.why_not),
    ]
    own = [Route(path, answering(function, limits), methods=[method]) for method, path, function in table]
    return Extension([*page_routes(), *own], public=(PREFIX.rstrip("/"), PREFIX))


class _Api:
    def __init__(self, collections: Collections, limits: Limits) -> None:
        self._collections = collections
        self._limits = limits
        self._overviews = Overviews()

    async def stages(self, request: Request) -> Any:
        """Describe which stages a search can have."""
        served, kb = self._seen(request)
        return await in_thread(documents.stages, served, kb)

    async def document(self, request: Request) -> Any:
        """Show a document with its versions and near-duplicates."""
        body = await json_body(request)
        check_known(body, ("id",))
        _, kb = self._seen(request)
        return await in_thread(documents.describe, kb, _id_of(body))

    async def why_not(self, request: Request) -> Any:
        """Say why a search does not find a document."""
        body = await json_body(request)
        check_known(body, (*SEARCH, "id"))
        served, kb = self._seen(request)
        options = search_options(body, served, self._limits)
        like = None if body.get("like") is None else ids_of(body, "like")
        query, vector, name = text_of(body, "query"), vector_of(body.get("vector")), _id_of(body)
        answer = await in_thread(kb.why_not, name, query, vector=vector, like=like, options=options)
        return answer.to_dict()

    async def map(self, request: Request) -> Any:
        """Return the places of documents in two dimensions, in groups by a field or by cluster; or the progress."""
        body = await json_body(request)
        check_known(body, ("color", "job"))
        _, kb = self._seen(request)
        return await self._overviews.map(kb, text_of(body, "color"), _job_of(body))

    async def health(self, request: Request) -> Any:
        """Return what the checks say about a collection; or the progress."""
        body = await json_body(request)
        check_known(body, ("job",))
        _, kb = self._seen(request)
        return await self._overviews.health(kb, _job_of(body))

    def _seen(self, request: Request) -> tuple[Served, Any]:
        grant = grant_of(request)
        served = self._collections.get(request.path_params["name"], grant)
        return served, served.seen_by(grant)


def _id_of(body: Mapping[str, Any]) -> str:
    name = body.get("id")
    if not isinstance(name, str) or not name:
        raise param_error("id", "id is not the id of a document")
    return name


def _job_of(body: Mapping[str, Any]) -> int | None:
    number = body.get("job")
    if number is not None and (isinstance(number, bool) or not isinstance(number, int)):
        raise param_error("job", "job is not the number of a job")
    return number
