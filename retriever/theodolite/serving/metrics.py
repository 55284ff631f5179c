"""`/metrics`: requests, their time and the collections' sizes, for Prometheus."""

import time
from collections.abc import Iterable, Iterator

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from theodolite.async_pool import in_thread
from theodolite.errors import TheodoliteError
from theodolite.serving.collections import Collections
from theodolite.serving.errors import HttpError
from theodolite.serving.security import grant_of

PATH = "/metrics"

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics:
    """The metrics of one server, in a registry of its own."""

    def __init__(self, collections: Collections) -> None:
        self._registry = CollectorRegistry()
        labels = ("route", "status")
        self._requests = Counter("theodolite_requests", "Requests.", labels, registry=self._registry)
        self._seconds = Histogram(
            "theodolite_request_seconds", "Seconds to answer.", ("route",), buckets=_BUCKETS, registry=self._registry
        )
        self._running = Gauge("theodolite_requests_in_progress", "Requests in progress.", registry=self._registry)
        self._registry.register(_Sizes(collections))

    def routes(self) -> Iterator[BaseRoute]:
        """Yield the route of `/metrics`. It needs a token that sees everything, since it names all collections."""

        async def show(request: Request) -> Response:
            if not grant_of(request).is_whole:
                raise HttpError(403, "Forbidden", "metrics need a token for all collections, without a scope")
            text = await in_thread(generate_latest, self._registry)
            return Response(text, headers={"content-type": CONTENT_TYPE_LATEST})

        yield Route(PATH, show, methods=["GET"])

    def counting(self, app: ASGIApp) -> ASGIApp:
        """Return an application that counts the requests to another one."""

        async def counted(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http":
                await app(scope, receive, send)
                return
            status, started = 500, time.perf_counter()

            async def watched(message: Message) -> None:
                nonlocal status
                if message["type"] == "http.response.start":
                    status = message["status"]
                await send(message)

            self._running.inc()
            try:
                await app(scope, receive, watched)
            finally:
                self._running.dec()
                route = getattr(scope.get("endpoint"), "__name__", "none")
                self._requests.labels(route, str(status)).inc()
                self._seconds.labels(route).observe(time.perf_counter() - started)

        return counted


class _Sizes(Collector):
    """Counts the documents of each collection when it is asked."""

    def __init__(self, collections: Collections) -> None:
        self._collections = collections

    def collect(self) -> Iterable[Metric]:
        family = GaugeMetricFamily("theodolite_documents", "Documents of a collection.", labels=["collection"])
        for served in self._collections:
            try:
                family.add_metric([served.name], served.kb.count())
            except TheodoliteError:  # /health says what is wrong
                continue
        return [family]

    def describe(self) -> Iterable[Metric]:
        return []
