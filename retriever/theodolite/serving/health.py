"""`/health`: whether the collections can be read, and their embedders still fit them."""

import asyncio
import time
from collections.abc import Iterator
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from theodolite.async_pool import in_thread
from theodolite.errors import ConfigError, TheodoliteError
from theodolite.serving.access import Grant
from theodolite.serving.collections import Collections, Served
from theodolite.serving.json_response import JsonResponse

PATH = "/health"

_FRESH = 30.0  # seconds: an embedder check embeds some texts, so probes share it


def routes(collections: Collections) -> Iterator[BaseRoute]:
    """Yield the route of `/health`. Without a token it says only whether all is well."""
    checks: dict[str, tuple[float, dict[str, Any]]] = {}
    lock = asyncio.Lock()

    async def health(request: Request) -> Response:
        async with lock:
            now = time.monotonic()
            for served in collections:
                when, _ = checks.get(served.name, (-_FRESH, {}))
                if now - when >= _FRESH:
                    checks[served.name] = (now, await in_thread(check, served))
        found = {name: checks[name][1] for name in sorted(checks)}
        sound = all(each["status"] == "ok" for each in found.values())
        body: dict[str, Any] = {"status": "ok" if sound else "failing"}
        grant: Grant | None = request.scope.get("theodolite.grant")
        if grant is not None:
            shown = ("status", "embedder") if grant.scope is not None else ("status", "embedder", "message")
            body["collections"] = {
                name: {key: each[key] for key in shown if key in each}
                for name, each in found.items()
                if grant.covers(name)
            }
        return JsonResponse(body, 200 if sound else 503)

    yield Route(PATH, health, methods=["GET"])


def check(served: Served) -> dict[str, Any]:
    """Check one collection: that it answers, and that its embedder has not changed."""
    try:
        served.kb.count()
    except TheodoliteError as error:
        return {"status": "failing", "embedder": "unknown", "message": type(error).__name__}
    if served.problem is not None:
        return {"status": "failing", "embedder": "missing", "message": served.problem}
    try:
        result = served.kb.check_embedder()
    except ConfigError:  # vectors come with the documents
        return {"status": "ok", "embedder": "none"}
    except Exception as error:  # of the embedder, which may be anything
        return {"status": "failing", "embedder": "failing", "message": f"{type(error).__name__}: {error}"[:500]}
    if not result.ok:
        return {"status": "failing", "embedder": "changed", "message": result.message()}
    return {"status": "ok", "embedder": "ok"}
