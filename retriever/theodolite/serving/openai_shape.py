"""OpenAI's shape of vector stores, read-only: `/v1/vector_stores/...`. A store is a collection, a file a document.

A file's id is the document's id, its name the document's `path`, or its id. Scores are relevance, in [0, 1].
"""

import math
from collections import deque
from collections.abc import Iterator, Mapping
from datetime import datetime
from itertools import islice
from typing import Any
from urllib.parse import unquote

from starlette.requests import Request
from starlette.routing import BaseRoute, Route

from theodolite.async_pool import in_thread
from theodolite.metadata import as_json
from theodolite.retriever import Retriever
from theodolite.serving.bodies import check_known, flag_of
from theodolite.serving.collections import Collections, Served
from theodolite.serving.errors import HttpError, param_error
from theodolite.serving.json_response import json_body
from theodolite.serving.limits import Limits
from theodolite.serving.native import Endpoint, answering
from theodolite.serving.security import grant_of
from theodolite.types import Document, Hit, Hits

_STORES = "/v1/vector_stores"
_SEARCH = ("query", "filters", "max_num_results", "ranking_options", "rewrite_query")
_RANKERS = ("none", "auto", "default-2024-11-15")
_COMPARISONS = ("eq", "ne", "gt", "gte", "lt", "lte", "in", "nin")
_LISTED = ("after", "before", "limit", "order", "filter")
_MOST = 50  # results of a search
_PAGE = 100  # entries on a page
_DEEPEST = 32  # levels of a filter
_FUSION = 60.0  # added to ranks where several queries are fused
_KEYS, _KEY, _VALUE = 16, 64, 512  # attributes of a file: how many, and the longest key and value
_CONTENT = b"/content"


def routes(collections: Collections, limits: Limits) -> Iterator[BaseRoute]:
    """Yield the routes of OpenAI's shape."""
    api = OpenAIShape(collections, limits)
    one = f"{_STORES}/{{store}}"
    table: list[tuple[str, str, Endpoint]] = [
        ("GET", _STORES, api.stores),
        ("POST", f"{one}/search", api.search_store),
        ("GET", f"{one}/files", api.files),
        ("GET", f"{one}/files/{{file:path}}", api.file_or_content),
        ("GET", one, api.store),
    ]
    for method, path, function in table:
        yield Route(path, answering(function, limits), methods=[method])
    methods = ["GET", "POST", "PUT", "PATCH", "DELETE"]
    yield Route("/v1/{rest:path}", answering(_refused, limits), methods=methods)


async def _refused(request: Request) -> Any:
    """Refuse the calls that have no meaning here."""
    raise HttpError(
        404,
        "NotFound",
        f"{request.method} {request.url.path[:200]} is not supported. Vector stores can be listed, retrieved and "
        "searched; documents are added through /api/v1/collections/{name}/add",
    )


class OpenAIShape:
    """The endpoints. Each returns JSON values in OpenAI's shape."""

    def __init__(self, collections: Collections, limits: Limits) -> None:
        self._collections = collections
        self._limits = limits

    async def stores(self, request: Request) -> Any:
        """List the vector stores."""
        limit, descending, after, before = _paging(request, _LISTED[:4])
        grant = grant_of(request)
        names = self._collections.names(grant)
        if descending:
            names.reverse()
        for cursor, name in ((after, "after"), (before, "before")):
            if cursor is not None and cursor not in names:
                raise param_error(name, f"{name} is not the id of a vector store")
        if after is not None:
            names = names[names.index(after) + 1 :]
        if before is not None:
            names = names[: names.index(before)] if before in names else []
            page, more = names[-limit:], len(names) > limit
        else:
            page, more = names[:limit], len(names) > limit
        served = [self._collections.get(name, grant) for name in page]
        return _list([await in_thread(_store, each, each.seen_by(grant)) for each in served], more)

    async def store(self, request: Request) -> Any:
        """Retrieve a vector store."""
        served = self._served(request)
        return await in_thread(_store, served, served.seen_by(grant_of(request)))

    async def search_store(self, request: Request) -> Any:
        """Search a vector store."""
        body = await json_body(request)
        check_known(body, _SEARCH)
        queries = _queries(body.get("query"), self._limits.queries)
        number = body.get("max_num_results", 10)
        if isinstance(number, bool) or not isinstance(number, int) or not 1 <= number <= _MOST:
            raise param_error("max_num_results", f"max_num_results is not a whole number from 1 to {_MOST}")
        if flag_of(body, "rewrite_query"):
            raise param_error("rewrite_query", "queries are not rewritten here: leave rewrite_query out")
        served = self._served(request)
        ranker, threshold = _ranking(body.get("ranking_options"))
        where = self._limits.check_where(_filter(body.get("filters"), 1), "filters")
        rerank = served.rerank if ranker not in (None, "none") else None
        kb = served.seen_by(grant_of(request))
        if len(queries) == 1:
            found = [await kb.asearch(queries[0], k=number, where=where, rerank=rerank)]
        else:
            found = await kb.asearch_many(queries, k=number, where=where, rerank=rerank)
        scored = [(score, hit) for score, hit in _fused(found, kb) if score >= threshold][:number]
        return {
            "object": "vector_store.search_results.page",
            "search_query": queries,
            "data": [_result(score, hit) for score, hit in scored],
            "has_more": False,
            "next_page": None,
        }

    async def files(self, request: Request) -> Any:
        """List the documents of a vector store, in the order of their ids."""
        limit, descending, after, before = _paging(request, _LISTED)
        served = self._served(request)
        if request.query_params.get("filter", "completed") != "completed":
            return _list([], False)
        kb = served.seen_by(grant_of(request))

        def page() -> Any:
            documents, more = _page(kb, limit, descending, after, before)
            created = _created(kb)
            return _list([_file(served.name, document, created) for document in documents], more)

        return await in_thread(page)

    async def file_or_content(self, request: Request) -> Any:
        """Retrieve a document, or its text. An id with a slash comes as %2F, which only the raw path keeps apart."""
        served = self._served(request)
        raw = request.scope.get("raw_path") or b""
        _, _, name = raw.partition(b"?")[0].partition(b"/files/")
        is_content = name.endswith(_CONTENT)
        try:
            file = unquote((name.removesuffix(_CONTENT) if is_content else name).decode("latin-1"), errors="strict")
        except UnicodeDecodeError:
            raise param_error("file_id", "the id of the file is not UTF-8") from None
        kb = served.seen_by(grant_of(request))
        found = await kb.aget([file]) if file else []
        if not found:
            raise HttpError(404, "NotFound", f"there is no file {file!r:.200} in {served.name!r}")
        if not is_content:
            return await in_thread(lambda: _file(served.name, found[0], _created(kb)))
        return {
            "object": "vector_store.file_content.page",
            "data": [{"type": "text", "text": found[0].text}],
            "has_more": False,
            "next_page": None,
        }

    def _served(self, request: Request) -> Served:
        return self._collections.get(request.path_params["store"], grant_of(request))


def _queries(given: Any, most: int) -> list[str]:
    queries = [given] if isinstance(given, str) else given
    if not isinstance(queries, list) or not queries or not all(isinstance(each, str) for each in queries):
        raise param_error("query", "query is not a string, or a list of strings")
    if len(queries) > most:
        raise param_error("query", f"query has {len(queries):,} strings, at most {most}")
    return queries


def _ranking(options: Any) -> tuple[str | None, float]:
    """Return the ranker and the score threshold."""
    if options is None:
        return None, -math.inf
    if not isinstance(options, dict):
        raise param_error("ranking_options", "ranking_options is not an object")
    check_known(options, ("ranker", "score_threshold"))
    ranker, threshold = options.get("ranker"), options.get("score_threshold")
    if ranker is not None and ranker not in _RANKERS:
        raise param_error("ranking_options.ranker", f"ranker is not one of {', '.join(_RANKERS)}")
    if threshold is None:
        return ranker, -math.inf
    if isinstance(threshold, bool) or not isinstance(threshold, (int, float)) or not 0 <= threshold <= 1:
        raise param_error("ranking_options.score_threshold", "score_threshold is not a number from 0 to 1")
    return ranker, float(threshold)


def _filter(given: Any, depth: int) -> dict[str, Any] | None:
    """Return OpenAI's form of a filter in ours. Raises InputError."""
    if given is None:
        return None
    if not isinstance(given, Mapping) or depth > _DEEPEST:
        raise param_error("filters", "filters is not an object with 'type'" if depth == 1 else "filters is too deep")
    kind = given.get("type")
    if isinstance(kind, str) and kind in ("and", "or"):
        check_known(given, ("type", "filters"))
        parts = given.get("filters")
        if not isinstance(parts, list) or not parts or not all(isinstance(part, Mapping) for part in parts):
            raise param_error("filters", f"a filter of type {kind} has no list 'filters'")
        return {f"${kind}": [_filter(part, depth + 1) for part in parts]}
    if not isinstance(kind, str) or kind not in _COMPARISONS:
        raise param_error("filters", f"the type of a filter is not one of and, or, {', '.join(_COMPARISONS)}")
    check_known(given, ("type", "key", "value"))
    key = given.get("key")
    if not isinstance(key, str) or not key or key.startswith("$") or "value" not in given:
        raise param_error("filters", f"a filter of type {kind} needs a 'key' and a 'value'")
    return {key: {f"${kind}": given["value"]}}


def _paging(request: Request, known: tuple[str, ...]) -> tuple[int, bool, str | None, str | None]:
    """Return the limit, whether the order descends, and the cursors of a list."""
    given = request.query_params
    check_known(given.keys(), known)
    limit, order = given.get("limit", "20"), given.get("order", "asc")
    if not limit.isascii() or not limit.isdigit() or len(limit) > 3 or not 1 <= int(limit) <= _PAGE:
        raise param_error("limit", f"limit is not a whole number from 1 to {_PAGE}")
    if order not in ("asc", "desc"):
        raise param_error("order", "order is not asc or desc")
    after, before = given.get("after"), given.get("before")
    if after and before:
        raise param_error("before", "a list takes either after or before")
    for name, cursor in (("after", after), ("before", before)):
        if cursor is not None and "\ufffd" in cursor and "%EF%BF%BD" not in str(request.url.query).upper():
            raise param_error(name, f"{name} is not UTF-8")
    return int(limit), order == "desc", after or None, before or None


def _page(
    kb: Retriever, limit: int, descending: bool, after: str | None, before: str | None
) -> tuple[list[Document], bool]:
    """Return a page of documents, and whether there are more in its direction.

    Collections list forwards. A page that ends at a document is found by reading all before it.
    """
    lower, upper = (before, after) if descending else (after, before)
    if upper is None and not (descending and lower is None):
        found = list(islice(kb.documents(after=lower or "", limit=limit + 1), limit + 1))
        page, more = found[:limit], len(found) > limit
    else:
        last: deque[Document] = deque(maxlen=limit + 1)
        for document in kb.documents():
            if upper is not None and document.id >= upper:
                break
            last.append(document)
        more = len(last) > limit
        page = list(last)[-limit:]
    return (page[::-1] if descending else page), more


def _fused(found: list[Hits], kb: Retriever) -> list[tuple[float, Hit]]:
    """Return the hits of one or several queries with their scores; those of several are fused by rank."""
    if len(found) == 1:
        return [(_score(hit, kb), hit) for hit in found[0]]
    worth: dict[str, float] = {}
    best: dict[str, tuple[float, Hit]] = {}
    for hits in found:
        for hit in hits:
            name, score = hit.document.id, _score(hit, kb)
            worth[name] = worth.get(name, 0.0) + 1.0 / (_FUSION + hit.rank)
            if name not in best or score > best[name][0]:
                best[name] = (score, hit)
    return [best[name] for name in sorted(worth, key=lambda each: (-worth[each], each))]


def _score(hit: Hit, kb: Retriever) -> float:
    """Return a hit's relevance. Dot products without one are squeezed into [0, 1], in their order."""
    for part in ("rerank_relevance", "relevance"):
        if part in hit.scores:
            return min(1.0, max(0.0, hit.scores[part]))
    similarity = hit.scores.get("similarity", hit.score)
    return 0.5 + 0.5 * similarity / (1.0 + abs(similarity))


def _result(score: float, hit: Hit) -> dict[str, Any]:
    document = hit.document
    return {
        "file_id": document.id,
        "filename": _filename(document),
        "score": score,
        "attributes": _attributes(document.metadata),
        "content": [{"type": "text", "text": document.text}],
    }


def _store(served: Served, kb: Retriever) -> dict[str, Any]:
    count, info = kb.count(), kb.info()
    counts = {"in_progress": 0, "completed": count, "failed": 0, "cancelled": 0, "total": count}
    return {
        "id": served.name,
        "object": "vector_store",
        "created_at": _created(kb),
        "name": served.name,
        "status": "completed",
        "usage_bytes": info.get("bytes") or 0,
        "file_counts": counts,
        "last_active_at": None,
        "expires_after": None,
        "expires_at": None,
        "metadata": {},
    }


def _file(store: str, document: Document, created: int) -> dict[str, Any]:
    return {
        "id": document.id,
        "object": "vector_store.file",
        "created_at": created,
        "vector_store_id": store,
        "status": "completed",
        "usage_bytes": len(document.text.encode()),
        "last_error": None,
        "attributes": _attributes(document.metadata),
    }


def _list(data: list[dict[str, Any]], more: bool) -> dict[str, Any]:
    ids = [each["id"] for each in data] or [None]
    return {"object": "list", "data": data, "first_id": ids[0], "last_id": ids[-1], "has_more": more}


def _created(kb: Retriever) -> int:
    """Return when the collection was created, in seconds since 1970; 0 if it does not say."""
    try:
        return int(datetime.fromisoformat(kb.info()["created"]).timestamp())
    except (KeyError, TypeError, ValueError):
        return 0


def _filename(document: Document) -> str:
    path = document.metadata.get("path")
    return path if isinstance(path, str) and path else document.id


def _attributes(metadata: Mapping[str, Any]) -> dict[str, str | float | bool]:
    """Return the metadata that OpenAI's attributes can hold: dates as text, without lists and nested values."""
    attributes: dict[str, str | float | bool] = {}
    for key, value in metadata.items():
        plain = as_json(value)
        if len(attributes) == _KEYS:
            break
        if len(key) <= _KEY and isinstance(plain, (str, int, float)):
            attributes[key] = plain[:_VALUE] if isinstance(plain, str) else plain
    return attributes
