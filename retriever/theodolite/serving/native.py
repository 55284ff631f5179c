"""The native API, version 1: `/api/v1/collections/...`. `openapi` describes it."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from itertools import islice
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from theodolite.async_pool import in_thread
from theodolite.retriever import Retriever
from theodolite.serving import results
from theodolite.serving.bodies import (
    SEARCH,
    check_known,
    documents_of,
    flag_of,
    ids_of,
    search_options,
    text_of,
    vector_of,
)
from theodolite.serving.collections import Collections
from theodolite.serving.errors import HttpError, not_found, param_error
from theodolite.serving.json_response import JsonResponse, json_body
from theodolite.serving.limits import Limits
from theodolite.serving.openapi import describe
from theodolite.serving.security import grant_of

PREFIX = "/api/v1"

_HIDDEN = ("location", "columns")  # where the collection is on the server concerns nobody else

Endpoint = Callable[[Request], Awaitable[Any]]


def answering(function: Endpoint, limits: Limits) -> Callable[[Request], Awaitable[Response]]:
    """Return an endpoint that answers with a function's result as JSON, within the time limit."""

    async def endpoint(request: Request) -> Response:
        try:
            async with asyncio.timeout(limits.seconds):
                result = await function(request)
        except TimeoutError:
            message = f"this took more than {limits.seconds:g} seconds"
            raise HttpError(504, "Timeout", message) from None
        return result if isinstance(result, Response) else JsonResponse(result)

    endpoint.__name__ = function.__name__
    return endpoint


def routes(collections: Collections, limits: Limits) -> Iterator[BaseRoute]:
    """Yield the routes of the native API."""
    api = NativeApi(collections, limits)
    one = f"{PREFIX}/collections/{{name}}"
    table: list[tuple[str, str, Endpoint]] = [
        ("GET", f"{PREFIX}/openapi.json", api.openapi),
        ("GET", f"{PREFIX}/collections", api.list_collections),
        ("GET", one, api.info),
        ("POST", f"{one}/search", api.search),
        ("POST", f"{one}/get", api.get),
        ("POST", f"{one}/list", api.list),
        ("POST", f"{one}/count", api.count),
        ("POST", f"{one}/fields", api.fields),
        ("POST", f"{one}/explain", api.explain),
        ("POST", f"{one}/add", api.add),
        ("POST", f"{one}/update", api.update),
        ("POST", f"{one}/delete", api.delete),
    ]
    for method, path, function in table:
        yield Route(path, answering(function, limits), methods=[method])


class NativeApi:
    """The endpoints. Each returns JSON values, and raises `HttpError` or the library's own errors."""

    def __init__(self, collections: Collections, limits: Limits) -> None:
        self._collections = collections
        self._limits = limits

    async def openapi(self, request: Request) -> Any:
        """Describe the API."""
        grant_of(request)
        return describe(self._limits)

    async def list_collections(self, request: Request) -> Any:
        """List the collections that the request sees."""
        grant = grant_of(request)
        served = [self._collections.get(name, grant) for name in self._collections.names(grant)]
        counts = [await in_thread(each.seen_by(grant).count) for each in served]
        return {
            "collections": [
                {
                    "name": each.name,
                    "documents": count,
                    "metric": each.kb.metric,
                    "writable": each.write and grant.write,
                }
                for each, count in zip(served, counts, strict=True)
            ]
        }

    async def info(self, request: Request) -> Any:
        """Show a collection's contents and settings."""
        kb = self._seen(request)
        info = await in_thread(kb.info)
        return {"name": request.path_params["name"], **{key: info[key] for key in info if key not in _HIDDEN}}

    async def search(self, request: Request) -> Any:
        """Find the best passages for a query."""
        body = await json_body(request)
        check_known(body, SEARCH)
        served = self._collections.get(request.path_params["name"], grant_of(request))
        options = search_options(body, served, self._limits)
        query, vector = text_of(body, "query"), vector_of(body.get("vector"))
        like = None if body.get("like") is None else ids_of(body, "like")
        explain, highlight = flag_of(body, "explain"), flag_of(body, "highlight")
        kb = served.seen_by(grant_of(request))
        hits = await kb.asearch_with(options, query, vector=vector, like=like)
        return results.hits_as_json(query, hits, highlight=highlight, explain=explain)

    async def explain(self, request: Request) -> Any:
        """Search, and explain the rank of one document, or say that it is not among the hits."""
        body = await json_body(request)
        check_known(body, (*SEARCH, "id"))
        name = body.get("id")
        if not isinstance(name, str) or not name:
            raise param_error("id", "id is not the id of a document")
        served = self._collections.get(request.path_params["name"], grant_of(request))
        options = search_options(body, served, self._limits)
        kb = served.seen_by(grant_of(request))
        like = None if body.get("like") is None else ids_of(body, "like")
        vector = vector_of(body.get("vector"))
        hits = await kb.asearch_with(options, text_of(body, "query"), vector=vector, like=like)
        hit = next((hit for hit in hits if hit.document.id == name), None)
        if hit is None:
            if not await kb.aget([name]):
                raise not_found(f"document {name!r:.200}")
            return {"id": name, "found": False, "explanation": None}
        return {"id": name, "found": True, "explanation": results.hit_as_json(hit, explain=True)["explanation"]}

    async def get(self, request: Request) -> Any:
        """Return documents by id, without those that are not stored."""
        body = await json_body(request)
        check_known(body, ("ids", "vectors"))
        ids, with_vectors = ids_of(body), flag_of(body, "vectors")
        if len(ids) > self._limits.k:
            raise param_error("ids", f"ids has {len(ids):,} ids, at most {self._limits.k:,}")
        kb = self._seen(request)
        return await in_thread(lambda: {"documents": _documents(kb.get(ids, vectors=True), with_vectors)})

    async def list(self, request: Request) -> Any:
        """List documents in the order of their ids, a page at a time."""
        body = await json_body(request)
        check_known(body, ("where", "limit", "after", "vectors"))
        limit = self._limits.check_k(body.get("limit", 100), "limit")
        where, after = self._limits.check_where(body.get("where")), text_of(body, "after") or ""
        with_vectors = flag_of(body, "vectors")
        kb = self._seen(request)

        def page() -> Any:
            found = list(islice(kb.documents(where, limit=limit + 1, after=after, vectors=True), limit + 1))
            more = found[limit - 1][0].id if len(found) > limit else None
            return {"documents": _documents(found[:limit], with_vectors), "next": more}

        return await in_thread(page)

    async def count(self, request: Request) -> Any:
        """Count the documents, or those that pass a filter."""
        body = await json_body(request)
        check_known(body, ("where",))
        return {"count": await self._seen(request).acount(self._limits.check_where(body.get("where")))}

    async def fields(self, request: Request) -> Any:
        """Summarize the metadata fields of the documents, or of those that pass a filter."""
        body = await json_body(request)
        check_known(body, ("where", "values"))
        values = body.get("values", 20)
        if isinstance(values, bool) or not isinstance(values, int) or not 0 <= values <= self._limits.k:
            raise param_error("values", f"values is not a whole number from 0 to {self._limits.k:,}")
        known = await self._seen(request).afields(self._limits.check_where(body.get("where")), values=values)
        return {"fields": {name: results.field_as_json(field) for name, field in known.items()}}

    async def add(self, request: Request) -> Any:
        """Store documents in one commit; a document with a stored id replaces it."""
        kb = self._writable(request)
        body = await json_body(request)
        check_known(body, ("documents", "vectors"))
        documents, vectors = documents_of(body), body.get("vectors")
        if vectors is not None:
            if not isinstance(vectors, list):
                raise param_error("vectors", "vectors is not a list of vectors")
            vectors = [vector_of(each, "vectors") or () for each in vectors]
        return {"ids": await kb.aadd(documents, vectors=vectors, batch_size=None)}

    async def update(self, request: Request) -> Any:
        """Merge metadata into documents, or replace it, in one commit."""
        kb = self._writable(request)
        body = await json_body(request)
        check_known(body, ("ids", "metadata", "replace"))
        metadata = results.metadata_from_json(body.get("metadata"))
        ids = ids_of(body)
        await kb.aupdate(ids, metadata, replace=flag_of(body, "replace"))
        return {"updated": len(set(ids))}

    async def delete(self, request: Request) -> Any:
        """Delete documents by id, or those that pass a filter, in one commit."""
        kb = self._writable(request)
        body = await json_body(request)
        check_known(body, ("ids", "where"))
        ids = None if body.get("ids") is None else ids_of(body)
        return {"deleted": await kb.adelete(ids, where=self._limits.check_where(body.get("where")))}

    def _seen(self, request: Request) -> Retriever:
        grant = grant_of(request)
        return self._collections.get(request.path_params["name"], grant).seen_by(grant)

    def _writable(self, request: Request) -> Retriever:
        return self._collections.writable(request.path_params["name"], grant_of(request))


def _documents(found: Any, with_vectors: bool) -> list[dict[str, Any]]:
    return [
        {**results.document_as_json(document), **({"vector": vector.tolist()} if with_vectors else {})}
        for document, vector in found
    ]
